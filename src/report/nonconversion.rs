//! The non-conversion report (guide section 6.3.2): which ops stayed in TensorFlow, how many of them, and why.

use super::advice::advice;
use crate::files;
use crate::settings::Report;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

/// Ops that were not converted: op type, reason, nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NonConversionReport {
    ops: BTreeMap<String, BTreeMap<String, Nodes>>,
}

/// Nodes of one op type with one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Nodes {
    count: usize,
    /// The names of the first few.
    names: Vec<String>,
}

/// So many names of nodes are kept for each reason: enough to find the place in the model.
const NAMES: usize = 8;

const WIDTH: usize = 80;

impl NonConversionReport {
    pub fn add(&mut self, op: &str, reason: &str, node: &str) {
        let nodes = self.ops.entry(op.into()).or_default().entry(reason.into()).or_default();
        nodes.count += 1;
        if nodes.names.len() < NAMES {
            nodes.names.push(node.into());
        }
    }

    /// Op type, reason and count, in the order of the names.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str, usize)> {
        self.ops.iter().flat_map(|(op, reasons)| {
            let counts = reasons.iter();
            counts.map(move |(reason, nodes)| (op.as_str(), reason.as_str(), nodes.count))
        })
    }

    /// `[{"op", "reason", "advice", "count", "nodes"}]`: what to do about it is in `advice`, the names of the first few nodes in
    /// `nodes`.
    pub fn json(&self) -> Value {
        let reasons = self.ops.iter().flat_map(|(op, reasons)| reasons.iter().map(move |one| (op, one)));
        reasons
            .map(|(op, (reason, nodes))| {
                json!({
                    "op": op,
                    "reason": reason,
                    "advice": advice(op, reason),
                    "count": nodes.count,
                    "nodes": nodes.names,
                })
            })
            .collect()
    }

    /// The nodes reported.
    pub fn total(&self) -> usize {
        self.entries().map(|(_, _, count)| count).sum()
    }

    /// The report as the guide prints it: the most frequent op first, with the reasons if `detailed`.
    pub fn text(&self, detailed: bool) -> String {
        let by_count = |mut counts: Vec<(String, usize)>| {
            counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            counts
        };
        let mut text = format!("{}\n", "#".repeat(WIDTH));
        text.push_str("TensorRT unsupported/non-converted OP Report:\n");
        let totals = self
            .ops
            .iter()
            .map(|(op, reasons)| (op.clone(), reasons.values().map(|nodes| nodes.count).sum()))
            .collect();
        for (op, total) in by_count(totals) {
            let _ = writeln!(text, "\t- {op} -> {total}x");
            if detailed {
                let reasons = self.ops[&op].iter().map(|(reason, nodes)| (reason.clone(), nodes.count)).collect();
                for (reason, count) in by_count(reasons) {
                    let _ = writeln!(text, "\t\t- [Count: {count}x] {reason}");
                }
            }
        }
        let _ = writeln!(text, "{}", "-".repeat(WIDTH));
        let _ = writeln!(text, "\t- Total nonconverted OPs: {}", self.total());
        let _ = writeln!(text, "\t- Total nonconverted OP Types: {}", self.ops.len());
        if !detailed {
            text.push_str("Set TF_TRT_SHOW_DETAILED_REPORT=1 to see the reasons.\n");
        }
        text.push_str(&"#".repeat(WIDTH));
        text.push('\n');
        text
    }

    /// One line an op type and reason, fields quoted as RFC 4180 has it.
    pub fn csv(&self) -> String {
        let quoted = |field: &str| {
            if field.contains(['"', ',', '\n', '\r']) {
                format!("\"{}\"", field.replace('"', "\"\""))
            } else {
                field.to_string()
            }
        };
        let mut text = String::from("OP Name,Reason,Count\n");
        for (op, reason, count) in self.entries() {
            let _ = writeln!(text, "{},{},{count}", quoted(op), quoted(reason));
        }
        text
    }

    /// Prints to stdout and writes the CSV where `mode` asks for it. A file that cannot be written is warned of, no more.
    pub fn publish(&self, mode: &Report) {
        let mut out = std::io::stdout().lock();
        // A closed stdout is no reason to stop.
        let _ = out
            .write_all(self.text(*mode != Report::Summary).as_bytes())
            .and_then(|()| out.flush());
        if let Report::DetailedAndCsv(path) = mode
            && let Err(error) = files::replace(path, |out| out.write_all(self.csv().as_bytes()))
        {
            tracing::warn!("The conversion report (TF_TRT_SHOW_DETAILED_REPORT): {error}. Conversion goes on.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> NonConversionReport {
        let mut report = NonConversionReport::default();
        report.add("NoOp", "Op type NoOp is not supported.", "n");
        for i in 0..3 {
            report.add("Cast", "Allowed: [float, half]. Received: \"int32\"", &format!("cast_{i}"));
        }
        report.add("Cast", "Unsupported type uint8", "other");
        report
    }

    #[test]
    fn the_text_is_the_guides() {
        let lines: Vec<String> = report().text(true).lines().map(str::to_string).collect();
        assert_eq!(
            lines[1..8],
            [
                "TensorRT unsupported/non-converted OP Report:",
                "\t- Cast -> 4x",
                "\t\t- [Count: 3x] Allowed: [float, half]. Received: \"int32\"",
                "\t\t- [Count: 1x] Unsupported type uint8",
                "\t- NoOp -> 1x",
                "\t\t- [Count: 1x] Op type NoOp is not supported.",
                &"-".repeat(80),
            ]
        );
        assert_eq!(
            lines[8..10],
            ["\t- Total nonconverted OPs: 5", "\t- Total nonconverted OP Types: 2"]
        );
        assert!(!report().text(false).contains("[Count"));
    }

    #[test]
    fn the_csv_replaces_the_file_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.csv");
        std::fs::write(&path, "old").unwrap();
        report().publish(&Report::DetailedAndCsv(path.clone()));
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "OP Name,Reason,Count\nCast,\"Allowed: [float, half]. Received: \"\"int32\"\"\",3\nCast,Unsupported type uint8,1\nNoOp,Op type NoOp is not supported.,1\n"
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_json_names_the_first_nodes() {
        let mut report = report();
        for i in 0..20 {
            report.add("NoOp", "Op type NoOp is not supported.", &format!("more_{i}"));
        }
        let json = report.json();
        assert_eq!(json[0]["nodes"], serde_json::json!(["cast_0", "cast_1", "cast_2"]));
        assert_eq!(json[2]["op"], "NoOp");
        assert_eq!(json[2]["count"], 21);
        assert_eq!(json[2]["nodes"].as_array().unwrap().len(), NAMES);
        assert!(json[2]["advice"].as_str().unwrap().starts_with("Nothing"));
    }
}
