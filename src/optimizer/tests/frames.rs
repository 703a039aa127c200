//! Graphs with loops, cut well and cut wrongly: what is handed out has no cycle, and each node is in the loop that it was in.

use super::{Keeper, convert, convert_with, explicit, item};
use crate::graph::{Graph, NodeId};
use crate::proto::{MESSAGE_LIMIT, tensorflow as tf};
use crate::segment::frame_tests::{build, steps, wrong};
use crate::segment::test_graphs::Builder;
use crate::segment::{Constants, Frames, Request, Segment, Segmentation, segment};
use proptest::prelude::*;
use std::collections::HashMap;

/// A segmenter that makes one segment of every `every` that it should have found, whatever that closes.
fn careless(graph: &Graph, request: &Request<'_>, every: usize) -> Result<(Segmentation, Constants), Vec<String>> {
    let (mut found, constants) = segment(graph, request)?;
    let frames = Frames::read(graph).expect("it was read before");
    let mut place = vec![0; graph.nodes.len()];
    for (at, &id) in frames.order().iter().enumerate() {
        if let Some(place) = place.get_mut(id) {
            *place = at;
        }
    }
    let join = |some: &[Segment]| {
        let mut nodes: Vec<NodeId> = some.iter().flat_map(|segment| segment.nodes.clone()).collect();
        nodes.sort_by_key(|&id| place[id]);
        Segment { nodes, ..some[0].clone() }
    };
    found.segments = found.segments.chunks(every).map(join).collect();
    Ok((found, constants))
}

/// What is wrong with a graph that is handed out.
fn fault(b: &Builder, after: &tf::GraphDef) -> Result<(), String> {
    let before = b.graph();
    let was = Frames::read(&before).map_err(|_| "it was no graph before")?;
    let graph = Graph::new(after.clone(), HashMap::new()).map_err(|error| error.to_string())?;
    let frames = Frames::read(&graph).map_err(|cycle| format!("a cycle of {} nodes", cycle.len()))?;
    for (id, node) in graph.nodes.iter().enumerate() {
        let path = frames.path(id).ok_or_else(|| format!("'{}' is in several loops", node.name()))?;
        if before.find(node.name()).is_some_and(|id| was.path(id) != Some(path)) {
            return Err(format!("'{}' came into another loop", node.name()));
        }
    }
    let alone: Vec<usize> = (0..graph.nodes.len()).collect();
    let path = |id: NodeId| frames.path(id).unwrap_or_default().to_string();
    if wrong(&graph, &alone, &path) {
        Err("a cycle".into())
    } else {
        Ok(())
    }
}

/// p -> loop of native nodes -> q, in one segment by a careless segmenter.
#[test]
fn a_segment_that_closes_a_cycle_is_undone_and_the_report_says_so() {
    let mut b = Builder::default();
    b.add("in", "Placeholder", &[]);
    b.add("p", "Relu", &["in"]);
    b.add("other", "Relu", &["in"]);
    b.add("x", "NoSuch", &["p"]);
    b.add("q", "Add", &["x", "p"]);
    b.add("out", "NoSuch", &["q", "other"]);
    let host = Keeper::default();
    let run = |every| {
        let item = item("tf_graph", &b, &["out"]);
        convert_with(&explicit(1), item, &host, MESSAGE_LIMIT, &|graph, request| {
            careless(graph, request, every)
        })
        .unwrap()
    };
    let count = |graph: &tf::GraphDef| graph.node.iter().filter(|node| node.op == "TRTEngineOp").count();
    assert_eq!(count(&run(1).graph.unwrap()), 3);
    let outcome = run(3);
    assert!(outcome.graph.is_none(), "its only segment is undone");
    let told = outcome.record.unwrap().json().to_string();
    assert!(told.contains("a cycle through 'x', 'TRTEngineOp_000_000'"), "{told}");
    assert!(told.contains("In a segment that stays native"), "{told}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_wrong_graph_is_handed_out(steps in steps(), every in 1usize..5) {
        let b = build(&steps);
        let host = Keeper::default();
        let good = convert(&explicit(1), item("tf_graph", &b, &["out"]), &host, MESSAGE_LIMIT).unwrap();
        let told = good.record.as_ref().map(|record| record.json().to_string()).unwrap_or_default();
        prop_assert!(!told.contains("bug in tftrt"), "{}", told);
        let bad = convert_with(&explicit(1), item("tf_graph", &b, &["out"]), &host, MESSAGE_LIMIT, &|graph, request| careless(graph, request, every)).unwrap();
        for graph in [good.graph, bad.graph].iter().flatten() {
            prop_assert_eq!(fault(&b, graph), Ok(()));
        }
    }
}
