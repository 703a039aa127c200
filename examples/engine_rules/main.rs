//! How many engines this library makes of graphs, and how many TF-TRT's rule would: `engine_rules GRAPH...`.
//!
//! Each GRAPH is a serialized GraphDef whose nodes carry `_output_shapes` and `_output_types` attributes. For each, and for each with
//! one of its op types kept native, a line says: the file, the op type (or `-`), the engines of this library, those of TF-TRT's rule
//! over the same candidates.

mod contraction;

use contraction::{Edge, groups};
use prost::Message;
use std::collections::{BTreeSet, HashSet};
use tftrt::graph::Graph;
use tftrt::segment::{Device, Request, Rules, SegmentOptions, passes_through, segment, topological_order};
use tftrt::{convert, graph, proto};

fn main() {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    if paths.is_empty() {
        eprintln!("usage: engine_rules GRAPH...");
        std::process::exit(2);
    }
    for path in paths {
        if let Err(why) = compare(&path) {
            eprintln!("{path}: {why}");
            std::process::exit(1);
        }
    }
}

fn compare(path: &str) -> Result<(), Box<dyn std::error::Error>> {
    let def = proto::tensorflow::GraphDef::decode(bytes::Bytes::from(std::fs::read(path)?))?;
    let outputs = graph::annotated_outputs(&def);
    let graph = Graph::new(def, outputs)?;
    let ops: BTreeSet<String> = graph.nodes.iter().map(|node| node.op().to_string()).collect();
    for denied in std::iter::once(None).chain(ops.into_iter().map(Some)) {
        let segments = segments(&graph, denied.as_deref())?;
        let (ours, theirs) = (segments.len(), by_contraction(&graph, &segments)?);
        println!("{path} {} {ours} {theirs}", denied.as_deref().unwrap_or("-"));
    }
    Ok(())
}

/// The nodes of each segment that this library makes, however many there are and however small they are.
fn segments(graph: &Graph, denied: Option<&str>) -> Result<Vec<Vec<usize>>, String> {
    let rules = Rules {
        minimum_size: 1,
        implicit_batch: false,
        static_engine: false,
        default_device: Device::default(),
    };
    let options = SegmentOptions {
        max_engines: None,
        denied_ops: denied.into_iter().map(str::to_string).collect(),
        ..SegmentOptions::default()
    };
    let request = Request {
        rules: &rules,
        options: &options,
        preserve: &HashSet::new(),
        supports: &convert::supports,
        // No op that has a converter has a state.
        is_stateful: &|_| false,
    };
    let (found, _) = segment(graph, &request).map_err(|names| format!("a cycle through {names:?}"))?;
    Ok(found.segments.into_iter().map(|segment| segment.nodes).collect())
}

/// The number of segments by TF-TRT's rule. Its candidates are the nodes that this library puts into segments: the two differ in
/// what they merge alone.
fn by_contraction(graph: &Graph, segments: &[Vec<usize>]) -> Result<usize, String> {
    let mut candidate = vec![false; graph.nodes.len()];
    for &id in segments.iter().flatten() {
        candidate[id] = graph.nodes[id].op() != "Const";
    }
    let order = topological_order(graph).map_err(|names| format!("a cycle through {names:?}"))?;
    let mut edges = Vec::new();
    for (to, node) in graph.nodes.iter().enumerate() {
        let data = node.inputs.iter().map(|port| (port.node, true));
        let control = node.control_inputs.iter().map(|&from| (from, false));
        edges.extend(data.chain(control).map(|(from, data)| Edge { from, to, data }));
    }
    let group = groups(&candidate, &order, &edges);
    let counts = |id: &usize| candidate[*id] && !passes_through(graph.nodes[*id].op());
    let found: BTreeSet<usize> = (0..candidate.len()).filter(counts).map(|id| group[id]).collect();
    Ok(found.len())
}
