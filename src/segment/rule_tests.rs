//! Against TF-TRT's rule, on random graphs; `examples/engine_rules` does it on graphs from files.

use super::test_graphs::{Builder, supports};
use super::*;
use crate::segment::contraction::{Edge, groups};

/// The segments of one node and more, this library's and those of TF-TRT's rule.
fn both(b: &Builder) -> (usize, usize) {
    let graph = b.graph();
    let rules = Rules {
        minimum_size: 1,
        implicit_batch: false,
        static_engine: false,
        default_device: Device::default(),
    };
    let options = SegmentOptions {
        max_engines: None,
        ..SegmentOptions::default()
    };
    let request = Request {
        rules: &rules,
        options: &options,
        preserve: &HashSet::new(),
        supports: &supports,
        is_stateful: &|_| false,
    };
    let (found, _) = segment(&graph, &request).unwrap();
    let mut candidate = vec![false; graph.nodes.len()];
    for &id in found.segments.iter().flat_map(|s| &s.nodes) {
        candidate[id] = true;
    }
    let order = topological_order(&graph).unwrap();
    let edges: Vec<Edge> = (0..graph.nodes.len())
        .flat_map(|to| graph.nodes[to].inputs.iter().map(move |port| (port.node, to)))
        .map(|(from, to)| Edge { from, to, data: true })
        .collect();
    let group = groups(&candidate, &order, &edges);
    let theirs: HashSet<usize> = (0..candidate.len()).filter(|&id| candidate[id]).map(|id| group[id]).collect();
    (found.segments.len(), theirs.len())
}

#[test]
fn the_yardstick_merges_what_it_may() {
    // A diamond with one native arm: the other arm goes with one end only, or a cycle would come about.
    let mut b = Builder::default();
    b.add("in", "Placeholder", &[]);
    b.add("top", "Relu", &["in"]);
    b.add("left", "Relu", &["top"]);
    b.add("right", "NoSuch", &["top"]);
    b.add("bottom", "Add", &["left", "right"]);
    b.add("out", "NoSuch", &["bottom"]);
    assert_eq!(both(&b), (2, 2));
}

/// A graph of `count` nodes, each taking two of the `reach` before it: long, with ways around, and a quarter of it native.
fn any_graph(count: usize, reach: usize, mut state: u64) -> Builder {
    let mut below = |limit: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % limit
    };
    let mut b = Builder::default();
    b.add("n0", "Placeholder", &[]);
    for i in 1..=count {
        let inputs = [(); 2].map(|()| format!("n{}", i - 1 - below(i.min(reach))));
        let op = if below(4) == 0 { "NoSuch" } else { "Add" };
        b.add(&format!("n{i}"), op, &[&inputs[0], &inputs[1]]);
    }
    b.add("end", "NoSuch", &[&format!("n{count}")]);
    b
}

/// Both rules merge greedily, and neither is the best on every graph: over many, this one makes no more.
#[test]
fn no_more_segments_than_by_tftrts_rule_over_many_graphs() {
    let (mut ours, mut theirs) = (0, 0);
    let mut worse = 0;
    for seed in 0..600u64 {
        let (count, reach) = (5 + (seed as usize * 7) % 90, 2 + (seed as usize) % 20);
        let (a, b) = both(&any_graph(count, reach, seed));
        ours += a;
        theirs += b;
        worse += usize::from(a > b);
    }
    println!("{ours} segments, {theirs} by TF-TRT's rule, {worse} graphs of 600 with more");
    assert!(ours <= theirs, "{ours} segments, and {theirs} by TF-TRT's rule");
    assert!(worse <= 30, "{worse} graphs of 600 with more segments");
}
