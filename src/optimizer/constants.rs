//! Frees constants of waits that order nothing.

use crate::graph::{Graph, Input, parse_input};

/// Constant folding ties each constant that it makes to what the folded node had waited for. Where nothing with an effect is
/// behind that, the wait orders nothing; but it reads like a path from one part of a segment to another that leads through
/// the outside, and would cut the segment in two. Such waits are taken off the `Const` nodes.
///
/// `has_effect` says whether an op's node has one, or steers what runs.
pub fn free_constants(graph: &mut Graph, has_effect: impl Fn(&str) -> bool) {
    // On a cycle (a loop of TensorFlow 1) every wait may matter.
    let Ok(order) = graph.topological_order() else { return };
    let mut ordered = vec![false; graph.nodes.len()];
    for &id in &order {
        let node = &graph.nodes[id];
        ordered[id] = has_effect(node.op())
            || node.inputs.iter().any(|port| ordered[port.node])
            || node.control_inputs.iter().any(|&from| ordered[from]);
    }
    for id in order {
        if graph.nodes[id].op() == "Const" && !ordered[id] {
            let node = &mut graph.nodes[id];
            node.control_inputs.clear();
            node.def
                .input
                .retain(|input| !matches!(parse_input(input), Some(Input::Control(_))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tensorflow as tf;
    use std::collections::HashMap;

    fn graph(nodes: &[(&str, &str, &[&str])]) -> Graph {
        let node = |&(name, op, inputs): &(&str, &str, &[&str])| tf::NodeDef {
            name: name.into(),
            op: op.into(),
            input: inputs.iter().map(|i| i.to_string()).collect(),
            ..Default::default()
        };
        let def = tf::GraphDef {
            node: nodes.iter().map(node).collect(),
            ..Default::default()
        };
        Graph::new(def, HashMap::new()).unwrap()
    }

    #[test]
    fn a_wait_for_nothing_with_an_effect_goes_and_any_other_stays() {
        let mut g = graph(&[
            ("pure", "Shape", &[]),
            ("effect", "AssignVariableOp", &[]),
            ("behind", "Neg", &["^effect"]),
            ("free", "Const", &["^pure"]),
            ("bound", "Const", &["^pure", "^behind"]),
        ]);
        free_constants(&mut g, |op| op == "AssignVariableOp");
        let waits = |name: &str| g.nodes[g.find(name).unwrap()].def.input.clone();
        assert_eq!(waits("free"), Vec::<String>::new());
        assert_eq!(waits("bound"), ["^pure", "^behind"]);
        assert!(g.nodes[g.find("free").unwrap()].control_inputs.is_empty());
    }
}
