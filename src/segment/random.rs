//! Random graphs through the whole segmenter: no cycle, nothing lost, nothing parted that could be together.

use super::test_graphs::{Builder, supports};
use super::*;
use crate::graph::DType;
use proptest::prelude::*;
use std::collections::HashMap;

#[derive(Clone, Debug)]
struct Plan {
    op: usize,
    dtype: usize,
    data: Vec<usize>,
    control: Option<usize>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let control = prop::option::weighted(0.1, any::<usize>());
    let data = prop::collection::vec(any::<usize>(), 1..4);
    (0usize..10, 0usize..12, data, control).prop_map(|(op, dtype, data, control)| Plan { op, dtype, data, control })
}

/// Two in ten are for no engine.
const OPS: [&str; 10] = ["Relu", "Add", "Mul", "Relu", "Identity", "Sum", "NoSuch", "Add", "NoOther", "Const"];

/// The graph of the plans: edges lead from earlier to later nodes, to near ones mostly. With `mixed`, a few tensors are of
/// types that cross no engine's border.
fn build(plans: &[Plan], mixed: bool) -> Builder {
    let mut b = Builder::default();
    b.add("n0", "Placeholder", &[]);
    for (i, plan) in plans.iter().enumerate() {
        let at = i + 1;
        let near = |d: usize| format!("n{}", at - 1 - d % at.min(if d.is_multiple_of(4) { usize::MAX } else { 5 }));
        let mut inputs: Vec<String> = match OPS[plan.op] {
            "Const" => Vec::new(),
            "Identity" => vec![near(plan.data[0])],
            _ => plan.data.iter().map(|&d| near(d)).collect(),
        };
        inputs.extend(plan.control.map(|c| format!("^n{}", c % at)));
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let dtype = match plan.dtype {
            0 if mixed => DType::INT64,
            1 if mixed => DType::DOUBLE,
            2 => DType::INT32,
            _ => DType::FLOAT,
        };
        b.typed(dtype, &format!("n{at}"), OPS[plan.op], &inputs);
    }
    b
}

/// Whether the graph has a cycle once the nodes of each group in `of` are one.
fn cyclic(graph: &Graph, of: &[usize]) -> bool {
    let mut edges: HashSet<(usize, usize)> = HashSet::new();
    for to in 0..graph.nodes.len() {
        let into = order::predecessors(graph, to).map(|from| (of[from], of[to]));
        edges.extend(into.filter(|(a, b)| a != b));
    }
    let mut waiting: HashMap<usize, usize> = of.iter().map(|&group| (group, 0)).collect();
    for &(_, to) in &edges {
        *waiting.entry(to).or_default() += 1;
    }
    let mut free: Vec<usize> = waiting.iter().filter(|(_, n)| **n == 0).map(|(&group, _)| group).collect();
    let mut done = 0;
    while let Some(group) = free.pop() {
        done += 1;
        for &(_, to) in edges.iter().filter(|(from, _)| *from == group) {
            let left = waiting.get_mut(&to).expect("an edge's end is a group");
            *left -= 1;
            if *left == 0 {
                free.push(to);
            }
        }
    }
    done < waiting.len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn segments_close_no_cycle_lose_no_node_and_are_as_few_as_they_can_be(
        plans in prop::collection::vec(plan(), 2..60),
        mixed in any::<bool>(),
        minimum_size in 1i64..4,
    ) {
        let graph = build(&plans, mixed).graph();
        let rules = Rules { minimum_size, implicit_batch: false, static_engine: false, default_device: Device::default() };
        let options = SegmentOptions { max_engines: None, ..SegmentOptions::default() };
        let preserve = HashSet::new();
        let request = Request { rules: &rules, options: &options, preserve: &preserve, supports: &supports, is_stateful: &|_| false };
        let (found, constants) = segment(&graph, &request).unwrap();

        // Each node is in one segment, or a constant, or left out with a reason.
        let count = graph.nodes.len();
        let mut of: Vec<usize> = (0..count).collect();
        let mut inside = vec![false; count];
        for segment in &found.segments {
            let first = segment.nodes.iter().copied().find(|&id| !constants.contains(id)).expect("more than constants");
            for &id in &segment.nodes {
                prop_assert!(!std::mem::replace(&mut inside[id], true), "'{}' is in two segments", graph.nodes[id].name());
                // Of a constant the engine has a copy: what waits for the constant waits for no engine.
                if !constants.contains(id) {
                    of[id] = first;
                }
            }
        }
        for (id, node) in graph.nodes.iter().enumerate() {
            let reason = found.excluded.get(&id);
            prop_assert!(!(inside[id] && reason.is_some()), "'{}' is inside, and left out: {:?}", node.name(), reason);
            let told = inside[id] || constants.contains(id) || reason.is_some_and(|r| !r.is_empty());
            prop_assert!(told, "'{}' ({}) is nowhere", node.name(), node.op());
            prop_assert!(!inside[id] || supports(&graph, id).is_ok(), "'{}' has no converter", node.name());
        }
        prop_assert!(!cyclic(&graph, &of), "a cycle through an engine");

        // Two segments with an edge between them are parted because together they would close a cycle.
        for (to, node) in graph.nodes.iter().enumerate().filter(|(to, _)| inside[*to]) {
            for from in node.inputs.iter().map(|port| port.node).filter(|&from| inside[from] && of[from] != of[to]) {
                if constants.contains(from) {
                    continue;
                }
                let (a, b) = (of[from], of[to]);
                let together: Vec<usize> = of.iter().map(|&group| if group == b { a } else { group }).collect();
                prop_assert!(cyclic(&graph, &together), "'{}' and '{}' could be in one engine", graph.nodes[from].name(), node.name());
            }
        }
    }
}
