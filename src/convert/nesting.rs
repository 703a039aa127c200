//! What an engine may not hold: a loop inside a conditional, and a conditional inside a loop.
//!
//! On an H200 TensorRT 8.6.0 ran loops inside loops and conditionals inside conditionals rightly, but a loop inside a conditional ended
//! the process, and a conditional inside a loop gave wrong numbers. Both are refused for every backend, since a model may be converted on
//! a machine without a GPU and served on one. A running sum and a recurrent layer count as loops: 8.6's ONNX parser makes one of them.

use super::Reason;
use crate::graph::{Graph, inner};
use crate::proto::{onnx, tensorflow as tf};

/// Ops of TensorFlow's that TensorRT makes a loop of.
const LOOPS: &[&str] = &["CudnnRNN", "CudnnRNNV2", "CudnnRNNV3", "Cumsum", "StatelessWhile"];
/// Those of ONNX's.
const ONNX_LOOPS: &[&str] = &["CumSum", "GRU", "LSTM", "Loop", "RNN", "Scan"];
/// The op of conditionals.
const CHOICE: &str = "StatelessIf";
const CALL: &str = "PartitionedCall";

/// Whether TensorRT makes a loop of a node, or of one in what it calls. (The conditionals of what is called never have graphs.)
fn is_loop(node: &tf::NodeDef) -> bool {
    let called = || inner::graphs(node).unwrap_or_default().into_iter().flat_map(|graph| graph.node);
    LOOPS.contains(&node.op.as_str()) || (node.op == CALL && called().any(|node| is_loop(&node)))
}

/// Whether a loop or conditional, a node of type `op`, may hold `inside`, of which nodes that hold graphs themselves have been asked.
///
/// # Errors
/// Which node is in the way.
pub fn may_nest(op: &str, inside: &Graph) -> Result<(), Reason> {
    let is_choice = op == CHOICE;
    let node = inside.nodes.iter().find(|node| match is_choice {
        true => is_loop(&node.def),
        false => node.op() == CHOICE && inner::functions(node).is_some(),
    });
    match node {
        None => Ok(()),
        Some(node) if is_choice => Err(format!(
            "node '{}' ({}) would be a loop inside a conditional, which ends the process in TensorRT 8.6",
            node.name(),
            node.op()
        )),
        Some(node) => Err(format!(
            "node '{}' ({}) would be a conditional inside a loop, which gives wrong numbers in TensorRT 8.6",
            node.name(),
            node.op()
        )),
    }
}

/// As [`may_nest`], of what became of the graph inside a node of ONNX type `op`: whatever it was in TensorFlow.
pub fn may_hold(op: &str, inside: &onnx::GraphProto) -> Result<(), Reason> {
    let is_choice = op == "If";
    let holds = |node: &&onnx::NodeProto| match is_choice {
        true => ONNX_LOOPS.contains(&node.op_type()),
        false => node.op_type() == "If",
    };
    match inside.node.iter().find(holds) {
        None => Ok(()),
        Some(node) => Err(format!(
            "'{}' ({}) would be inside ONNX's {op}: TensorRT 8.6 does not run loops and conditionals inside each other",
            node.name(),
            node.op_type()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn graph(op: &str) -> Graph {
        let node = tf::NodeDef {
            name: "n".into(),
            op: op.into(),
            attr: [(inner::GRAPHS.to_string(), inner::no_graphs())].into(),
            ..Default::default()
        };
        let def = tf::GraphDef {
            node: vec![node],
            ..Default::default()
        };
        Graph::new(def, HashMap::new()).unwrap()
    }

    #[test]
    fn what_a_call_holds_counts() {
        let call = |op: &str| {
            let node = tf::NodeDef {
                op: op.into(),
                ..Default::default()
            };
            let body = tf::GraphDef {
                node: vec![node],
                ..Default::default()
            };
            let mut call = graph(CALL);
            call.nodes[0]
                .def
                .attr
                .insert(inner::GRAPHS.into(), inner::to_attr(&[body]).unwrap());
            call
        };
        assert!(
            may_nest(CHOICE, &call("Cumsum"))
                .unwrap_err()
                .contains("a loop inside a conditional")
        );
        assert_eq!(may_nest(CHOICE, &call("Relu")), Ok(()));
    }

    #[test]
    fn one_kind_nests_and_two_do_not() {
        for (op, inside, fits) in [
            ("StatelessWhile", "StatelessWhile", true),
            ("StatelessIf", "StatelessIf", true),
            ("StatelessWhile", "StatelessIf", false),
            ("StatelessIf", "StatelessWhile", false),
            ("StatelessWhile", "Cumsum", true),
            ("StatelessIf", "Cumsum", false),
            ("StatelessIf", "Relu", true),
        ] {
            let said = may_nest(op, &graph(inside));
            assert_eq!(said.is_ok(), fits, "{inside} in {op}: {said:?}");
            assert!(
                said.err()
                    .is_none_or(|reason| reason.starts_with(&format!("node 'n' ({inside}) would be a ")))
            );
        }
    }

    #[test]
    fn what_came_of_it_is_looked_at_too() {
        let graph = |op: &str| onnx::GraphProto {
            node: vec![onnx::NodeProto {
                op_type: Some(op.into()),
                ..Default::default()
            }],
            ..Default::default()
        };
        assert!(may_hold("Loop", &graph("LSTM")).is_ok());
        assert!(may_hold("If", &graph("If")).is_ok());
        assert!(
            may_hold("If", &graph("LSTM"))
                .unwrap_err()
                .contains("(LSTM) would be inside ONNX's If")
        );
        assert!(may_hold("Loop", &graph("If")).is_err());
    }
}
