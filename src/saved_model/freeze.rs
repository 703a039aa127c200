//! Variables of a graph become constants.
//!
//! What carries a variable's handle carries its value afterwards: the handle becomes the constant, ops that hand it on stay with another
//! type, and reading is `Identity`. So a variable that goes into a loop's frame is frozen like any other.

use super::passes::{dtype, integer};
use crate::graph::{Input, parse_input};
use crate::proto::tensorflow as tf;
use std::collections::{BTreeMap, HashMap, HashSet};
use tf::attr_value::Value;

/// A variable of the graph: the node that is its handle, or the reference to it in graphs of TensorFlow 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    pub node: String,
    pub dtype: i32,
    pub reference: bool,
}

const HANDS_ON: [&str; 6] = ["Identity", "Enter", "Switch", "Merge", "NextIteration", "Exit"];

/// Only what the nodes `keep` need, which keep their order.
pub fn prune(graph: &mut tf::GraphDef, keep: &[String]) {
    let reached = needed(graph, keep);
    graph.node.retain(|node| reached.contains(&node.name));
}

/// The names of the nodes that the nodes `of` need, themselves among them.
pub fn needed(graph: &tf::GraphDef, of: &[String]) -> HashSet<String> {
    let nodes: HashMap<&str, &tf::NodeDef> = graph.node.iter().map(|node| (node.name.as_str(), node)).collect();
    let mut wanted: Vec<&tf::NodeDef> = of.iter().filter_map(|name| nodes.get(name.as_str()).copied()).collect();
    let mut reached: HashSet<String> = wanted.iter().map(|node| node.name.clone()).collect();
    while let Some(node) = wanted.pop() {
        for input in &node.input {
            if let Some(from) = nodes.get(node_of(input))
                && reached.insert(from.name.clone())
            {
                wanted.push(from);
            }
        }
    }
    reached
}

/// The node that an input, or the name of a tensor, comes from.
pub fn node_of(input: &str) -> &str {
    match parse_input(input) {
        Some(Input::Control(node) | Input::Data(node, _)) => node,
        None => input,
    }
}

/// Replaces the variables among the nodes `within` by the values that `read` gives for them, in order; says how many there were. A
/// variable that is there for initialization alone (the path of a file, say) stays one.
///
/// # Errors
/// What `read` says; or a node that does something else with a variable than reading it, by name.
pub fn freeze(
    graph: &mut tf::GraphDef,
    within: &HashSet<String>,
    read: impl FnOnce(&[Variable]) -> Result<Vec<tf::TensorProto>, String>,
) -> Result<usize, String> {
    let variables: Vec<Variable> = graph
        .node
        .iter()
        .filter(|node| within.contains(&node.name))
        .filter_map(variable)
        .collect();
    let carriers = carriers(graph, &variables)?;
    let values = read(&variables)?;
    let mut values: HashMap<String, tf::TensorProto> = variables.iter().map(|v| v.node.clone()).zip(values).collect();
    let mut axes = Vec::new();
    for node in &mut graph.node {
        if let Some(value) = values.remove(&node.name) {
            become_constant(node, value);
        } else if let Some(&(kind, _)) = carriers.get(&node.name) {
            node.attr.insert("T".into(), dtype(kind));
            if let Some(plain) = node.op.strip_prefix("Ref") {
                node.op = plain.into();
            }
        } else if let Some((kind, _)) = node.input.first().and_then(|input| carriers.get(node_of(input))) {
            axes.extend(become_reader(node, *kind));
        }
    }
    graph.node.extend(axes);
    Ok(variables.len())
}

fn variable(node: &tf::NodeDef) -> Option<Variable> {
    let reference = match node.op.as_str() {
        "VarHandleOp" => false,
        "VariableV2" | "Variable" => true,
        _ => return None,
    };
    let Some(Value::Type(dtype)) = node.attr.get("dtype").and_then(|attr| attr.value.as_ref()) else {
        return None;
    };
    Some(Variable {
        node: node.name.clone(),
        dtype: *dtype,
        reference,
    })
}

/// The nodes that carry a variable, with its type and name: the variables and what hands them on. All others may only read them.
fn carriers(graph: &tf::GraphDef, variables: &[Variable]) -> Result<HashMap<String, (i32, String)>, String> {
    let mut carriers: HashMap<String, (i32, String)> = variables.iter().map(|v| (v.node.clone(), (v.dtype, v.node.clone()))).collect();
    let references: HashSet<&str> = variables.iter().filter(|v| v.reference).map(|v| v.node.as_str()).collect();
    // A loop hands on to what stands before it.
    loop {
        let known = carriers.len();
        for node in &graph.node {
            for (place, input) in node.input.iter().filter(|input| !input.starts_with('^')).enumerate() {
                let Some((kind, of)) = carriers.get(node_of(input)).cloned() else {
                    continue;
                };
                let plain = node.op.strip_prefix("Ref").unwrap_or(&node.op);
                if HANDS_ON.contains(&plain) {
                    carriers.entry(node.name.clone()).or_insert((kind, of));
                } else if !may_read(&node.op, place, references.contains(of.as_str())) {
                    return Err(format!(
                        "variable '{of}' cannot become a constant: node '{}' ({}) does more than read it; convert a model for inference, or with `python -m tftrt convert`",
                        node.name, node.op
                    ));
                }
            }
        }
        if carriers.len() == known {
            return Ok(carriers);
        }
    }
}

fn may_read(op: &str, place: usize, reference: bool) -> bool {
    match reference {
        // Any op takes the value of a reference; these change it.
        true => !(op.starts_with("Assign") || op.starts_with("Scatter") || op.contains("Apply") || op == "IsVariableInitialized"),
        false => place == 0 && matches!(op, "ReadVariableOp" | "ResourceGather" | "ResourceGatherNd" | "VariableShape"),
    }
}

fn become_constant(node: &mut tf::NodeDef, value: tf::TensorProto) {
    node.op = "Const".into();
    node.attr = BTreeMap::from([
        ("dtype".to_string(), dtype(value.dtype)),
        (
            "value".to_string(),
            tf::AttrValue {
                value: Some(Value::Tensor(value)),
            },
        ),
    ]);
}

/// A node that reads a variable reads its value; where that needs another constant, that is given.
fn become_reader(node: &mut tf::NodeDef, kind: i32) -> Option<tf::NodeDef> {
    match node.op.as_str() {
        "ReadVariableOp" => {
            node.op = "Identity".into();
            node.attr.remove("dtype");
            node.attr.insert("T".into(), dtype(kind));
            None
        }
        "VariableShape" => {
            node.op = "Shape".into();
            node.attr.insert("T".into(), dtype(kind));
            None
        }
        "ResourceGatherNd" => {
            node.op = "GatherNd".into();
            node.attr.remove("dtype");
            node.attr.insert("Tparams".into(), dtype(kind));
            None
        }
        "ResourceGather" => {
            let batch = match node.attr.get("batch_dims").and_then(|attr| attr.value.as_ref()) {
                Some(Value::I(batch)) => *batch,
                _ => 0,
            };
            node.op = "GatherV2".into();
            node.attr.remove("dtype");
            node.attr.remove("validate_indices");
            node.attr.insert("batch_dims".into(), integer(batch));
            node.attr.insert("Tparams".into(), dtype(kind));
            node.attr.insert("Taxis".into(), dtype(tf::DataType::DtInt32 as i32));
            let axis = axis_of(node, batch as i32);
            node.input.insert(2, axis.name.clone());
            Some(axis)
        }
        _ => None,
    }
}

/// The axis of a gather, as a constant in the frame of its indices.
fn axis_of(node: &tf::NodeDef, axis: i32) -> tf::NodeDef {
    let mut out = tf::NodeDef {
        name: format!("{}/tftrt_axis", node.name),
        device: node.device.clone(),
        input: node
            .input
            .get(1)
            .map(|indices| format!("^{}", node_of(indices)))
            .into_iter()
            .collect(),
        ..Default::default()
    };
    become_constant(
        &mut out,
        tf::TensorProto {
            dtype: tf::DataType::DtInt32 as i32,
            tensor_shape: Some(tf::TensorShapeProto::default()),
            int_val: vec![axis],
            ..Default::default()
        },
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOAT: i32 = tf::DataType::DtFloat as i32;

    fn node(name: &str, op: &str, inputs: &[&str]) -> tf::NodeDef {
        let mut node = tf::NodeDef {
            name: name.into(),
            op: op.into(),
            input: inputs.iter().map(|i| i.to_string()).collect(),
            ..Default::default()
        };
        node.attr.insert("dtype".into(), dtype(FLOAT));
        node
    }

    fn graph(nodes: Vec<tf::NodeDef>) -> tf::GraphDef {
        tf::GraphDef {
            node: nodes,
            ..Default::default()
        }
    }

    fn value() -> tf::TensorProto {
        tf::TensorProto {
            dtype: FLOAT,
            float_val: vec![2.5],
            ..Default::default()
        }
    }

    fn all(graph: &tf::GraphDef) -> HashSet<String> {
        graph.node.iter().map(|n| n.name.clone()).collect()
    }

    fn ops(graph: &tf::GraphDef) -> Vec<(&str, &str)> {
        graph.node.iter().map(|n| (n.name.as_str(), n.op.as_str())).collect()
    }

    #[test]
    fn a_handle_that_goes_into_a_loop_is_a_value_there() {
        let mut graph = graph(vec![
            node("v", "VarHandleOp", &[]),
            node("enter", "Enter", &["v"]),
            node("read", "ReadVariableOp", &["enter", "^other"]),
            node("other", "Placeholder", &[]),
        ]);
        let within = all(&graph);
        let seen = freeze(&mut graph, &within, |variables| {
            assert_eq!(variables.len(), 1);
            Ok(vec![value()])
        });
        assert_eq!(seen, Ok(1));
        assert_eq!(
            ops(&graph),
            [("v", "Const"), ("enter", "Enter"), ("read", "Identity"), ("other", "Placeholder")]
        );
        assert_eq!(graph.node[0].attr["value"].value, Some(Value::Tensor(value())));
        assert_eq!(graph.node[1].attr["T"], dtype(FLOAT));
        assert_eq!(graph.node[2].input, ["enter", "^other"]);
    }

    #[test]
    fn a_gather_gets_its_axis() {
        let mut gather = node("gather", "ResourceGather", &["v", "ids:0"]);
        gather.attr.insert("batch_dims".into(), integer(1));
        let mut graph = graph(vec![node("v", "VarHandleOp", &[]), node("ids", "Placeholder", &[]), gather]);
        let within = all(&graph);
        assert_eq!(freeze(&mut graph, &within, |_| Ok(vec![value()])), Ok(1));
        assert_eq!(graph.node[2].op, "GatherV2");
        assert_eq!(graph.node[2].input, ["v", "ids:0", "gather/tftrt_axis"]);
        assert_eq!(graph.node[3].input, ["^ids"]);
    }

    #[test]
    fn who_writes_a_variable_is_named() {
        let mut graph = graph(vec![
            node("v", "VarHandleOp", &[]),
            node("pass", "Identity", &["v"]),
            node("add", "AssignAddVariableOp", &["pass", "x"]),
        ]);
        let within = all(&graph);
        let why = freeze(&mut graph, &within, |_| panic!("nothing is read")).unwrap_err();
        assert!(why.contains("variable 'v'") && why.contains("'add' (AssignAddVariableOp)"), "{why}");
    }

    #[test]
    fn a_variable_of_the_initialization_stays() {
        let nodes = vec![
            node("path", "VarHandleOp", &[]),
            node("set", "AssignVariableOp", &["path", "file"]),
            node("file", "Const", &[]),
            node("v", "VarHandleOp", &[]),
            node("read", "ReadVariableOp", &["v"]),
        ];
        let mut graph = graph(nodes);
        let within = needed(&graph, &["read".to_string()]);
        assert_eq!(freeze(&mut graph, &within, |_| Ok(vec![value()])), Ok(1));
        assert_eq!(graph.node[0].op, "VarHandleOp");
        assert_eq!(graph.node[3].op, "Const");
    }

    #[test]
    fn what_nobody_asks_for_goes() {
        let mut graph = graph(vec![
            node("a", "Placeholder", &[]),
            node("b", "Placeholder", &[]),
            node("save", "SaveV2", &["a"]),
            node("out", "Identity", &["a:0", "^b"]),
        ]);
        prune(&mut graph, &["out".to_string()]);
        assert_eq!(graph.node.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["a", "b", "out"]);
    }
}
