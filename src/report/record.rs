//! What is kept of a conversion: with the model, so that `python -m tftrt report` can tell why long after, and in this process.
//!
//! The reasons could be found again from a converted model only in part: the converter's word on an op, yes, but not the
//! settings of that day (a denylist, the smallest segment, the number of engines). So they go where the model goes, as an
//! attribute of the graph's first engine: TensorFlow hands attributes whose names begin with '_' on, whatever saves the model.

use super::NonConversionReport;
use crate::process::Mutex;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// The attribute of the first engine of a graph that holds its [`Record`], as JSON.
pub const ATTRIBUTE: &str = "_tftrt_report";

/// The records of this process that are kept.
const KEPT: usize = 32;

/// A conversion of one graph.
#[derive(Clone, Debug)]
pub struct Record {
    /// "tf_graph", or a function's name.
    pub graph: String,
    /// Nodes of the graph before it was converted.
    pub nodes: usize,
    /// Engines by name, with the number of nodes that each replaces.
    pub engines: Vec<(String, usize)>,
    /// What was asked for: parameters, and the environment variables that decide.
    pub asked: Value,
    pub native: NonConversionReport,
}

impl Record {
    pub fn json(&self) -> Value {
        let engines: serde_json::Map<_, _> = self.engines.iter().map(|(name, nodes)| (name.clone(), json!(nodes))).collect();
        json!({
            "tftrt": env!("CARGO_PKG_VERSION"),
            "graph": self.graph,
            "nodes": self.nodes,
            "engines": engines,
            "asked": self.asked,
            "native": self.native.json(),
        })
    }
}

/// Those kept, and the number of all.
static RECORDS: Mutex<(VecDeque<Value>, usize)> = Mutex::new((VecDeque::new(), 0));

/// Keeps a record for [`kept`]; the oldest goes where there are too many.
pub fn keep(record: &Record) {
    let mut json = record.json();
    let (records, count) = &mut *RECORDS.lock();
    *count += 1;
    json["number"] = (*count).into();
    if records.len() == KEPT {
        records.pop_front();
    }
    records.push_back(json);
}

/// The latest conversions of this process, the oldest first, each with its "number", from 1 on.
pub fn kept() -> Vec<Value> {
    RECORDS.lock().0.iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_records_are_kept() {
        for at in 0..KEPT + 3 {
            keep(&Record {
                graph: at.to_string(),
                nodes: 0,
                engines: Vec::new(),
                asked: Value::Null,
                native: NonConversionReport::default(),
            });
        }
        let kept = kept();
        assert_eq!(kept.len(), KEPT);
        assert_eq!(
            (&kept[0]["graph"], &kept[KEPT - 1]["graph"]),
            (&json!("3"), &json!((KEPT + 2).to_string()))
        );
        assert_eq!(kept[0]["number"], 4);
    }
}
