//! Names of engines, and lists of names in messages.

use crate::graph::Graph;
use crate::proto::tensorflow as tf;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The name of the engine of segment `at` in the graph of that number.
pub fn engine_name(number: usize, at: usize) -> String {
    format!("TRTEngineOp_{number:03}_{at:03}")
}

/// The name of the function that holds an engine's native segment.
pub fn native_segment_name(engine: &str) -> String {
    format!("{engine}_native_segment")
}

/// The number for this graph's engines: one that no node and no function of a graph converted before has.
pub fn graph_number(counter: &AtomicUsize, graph: &Graph, library: Option<&tf::FunctionDefLibrary>) -> usize {
    let number = |name: &str| -> Option<usize> { name.strip_prefix("TRTEngineOp_")?.split_once('_')?.0.parse().ok() };
    let functions = library.into_iter().flat_map(|library| &library.function);
    let functions = functions
        .filter_map(|function| function.signature.as_ref())
        .map(|signature| signature.name.as_str());
    let used: HashSet<usize> = graph
        .nodes
        .iter()
        .map(|node| node.name())
        .chain(functions)
        .filter_map(number)
        .collect();
    loop {
        let next = counter.fetch_add(1, Ordering::Relaxed);
        if !used.contains(&next) {
            return next;
        }
    }
}

/// The first five names, and how many more there are.
pub fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(5) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
