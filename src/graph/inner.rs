//! Loops and conditionals as one node each, with the graphs inside.
//!
//! `StatelessWhile` and `StatelessIf` name functions of the library. A node of these that goes into an engine has the graphs with it
//! besides, as [`GRAPHS`], so that whoever reads the node can read what it runs, without a library: the segmenter, the converter, the
//! fingerprint. Each graph takes all that the node takes (but an If's predicate) by `_Arg` nodes, and its nodes say of their outputs
//! what they are ([`super::annotated_outputs`]).

use super::{Graph, Node, NodeId, Port, TensorInfo, annotated_outputs};
use crate::proto::tensorflow as tf;
use bytes::Bytes;
use prost::Message;
use std::collections::HashMap;
use tf::attr_value::{ListValue, Value};

/// The attribute that holds the graphs, serialized: condition and body, or what runs where the predicate holds and what else.
pub const GRAPHS: &str = "_tftrt_graphs";
/// The attribute of a loop that says how many of its inputs change; they are the first ones.
pub const VARIABLES: &str = "_tftrt_variables";
/// The attributes that name the functions, in the order of the graphs.
pub const LOOP_FUNCTIONS: [&str; 2] = ["cond", "body"];
pub const CHOICE_FUNCTIONS: [&str; 2] = ["then_branch", "else_branch"];

/// A graph inside a node.
pub struct Inner {
    pub graph: Graph,
    /// For each of its arguments, the node that gives it: an `_Arg`, or a `Const` where the node is given a constant.
    pub args: Vec<NodeId>,
    /// What it gives, in order.
    pub results: Vec<Port>,
}

/// By which attributes a node names the functions whose graphs it holds; `None` for a node without graphs inside.
pub fn functions(node: &Node) -> Option<[&'static str; 2]> {
    functions_of(node.op()).filter(|_| node.def.attr.contains_key(GRAPHS))
}

/// The attributes by which nodes of an op name the functions that have graphs.
pub fn functions_of(op: &str) -> Option<[&'static str; 2]> {
    match op {
        "StatelessWhile" => Some(LOOP_FUNCTIONS),
        "StatelessIf" => Some(CHOICE_FUNCTIONS),
        _ => None,
    }
}

/// The graphs as the attribute [`GRAPHS`] holds them.
pub fn to_attr(graphs: &[tf::GraphDef]) -> tf::AttrValue {
    let list = ListValue {
        s: graphs.iter().map(|graph| Bytes::from(graph.encode_to_vec())).collect(),
        ..Default::default()
    };
    tf::AttrValue {
        value: Some(Value::List(list)),
    }
}

/// The graphs inside `def`; none where it holds none.
///
/// # Errors
/// What is no graph.
pub fn graphs(def: &tf::NodeDef) -> Result<Vec<tf::GraphDef>, String> {
    let Some(Value::List(list)) = def.attr.get(GRAPHS).and_then(|attr| attr.value.as_ref()) else {
        return Ok(Vec::new());
    };
    let read =
        |bytes: &Bytes| tf::GraphDef::decode(bytes.clone()).map_err(|e| format!("the graph inside '{}' cannot be read: {e}", def.name));
    list.s.iter().map(read).collect()
}

/// How many nodes compute in the graphs inside `node`, at all depths; 0 for one without.
pub fn weight(node: &Node) -> usize {
    fn inside(def: &tf::NodeDef) -> usize {
        let nodes = graphs(def).unwrap_or_default().into_iter().flat_map(|graph| graph.node);
        nodes
            .filter(|node| !matches!(node.op.as_str(), "Const" | "Identity" | "_Arg" | "_Retval"))
            .map(|node| 1 + inside(&node))
            .sum()
    }
    inside(&node.def)
}

/// Loops and conditionals inside each other, at most. A file that holds more was not written by us, and would be read by recursion.
const DEEPEST: usize = 16;

/// Whether graphs are inside each other within `def` at more depths than are read.
pub fn is_too_deep(def: &tf::NodeDef) -> bool {
    let mut level = graphs(def).unwrap_or_default();
    for _ in 0..DEEPEST {
        let nodes = level.iter().flat_map(|graph| &graph.node);
        level = nodes.flat_map(|node| graphs(node).unwrap_or_default()).collect();
    }
    !level.is_empty()
}

/// The two graphs inside node `id`. Arguments that are the same whenever the graph runs, and constants, are constants there, too.
///
/// # Errors
/// Why it has none that can be read.
pub fn open(graph: &Graph, id: NodeId) -> Result<[Inner; 2], String> {
    open_with(graph, id, Graph::constant_node)
}

/// [`open`] before the loop or conditional around the node is one node itself: constants come in through its `Enter` or `Switch`.
pub fn open_within(graph: &Graph, id: NodeId) -> Result<[Inner; 2], String> {
    open_with(graph, id, |graph, mut port| {
        loop {
            let node = &graph.nodes[port.node];
            let passes = match node.op() {
                "Enter" => node.attr_b("is_constant") == Some(true),
                op => matches!(op, "Switch" | "Identity"),
            };
            if !passes {
                return graph.constant_node(port);
            }
            port = *node.inputs.first()?;
        }
    })
}

fn open_with(graph: &Graph, id: NodeId, constant: fn(&Graph, Port) -> Option<NodeId>) -> Result<[Inner; 2], String> {
    let node = &graph.nodes[id];
    let (skip, variables) = match node.op() {
        "StatelessIf" => (1, 0),
        _ => (0, usize::try_from(node.attr_i(VARIABLES).unwrap_or(0)).unwrap_or(0)),
    };
    let given = node.inputs.get(skip..).unwrap_or_default();
    let graphs = graphs(&node.def)?;
    let opened: Vec<Inner> = graphs
        .into_iter()
        .map(|def| inner(graph, given, variables, def, constant))
        .collect::<Result<_, _>>()?;
    let found = opened.len();
    opened
        .try_into()
        .map_err(|_| format!("it holds {found} graphs where 2 were expected; its functions are not read"))
}

fn inner(
    outer: &Graph,
    given: &[Port],
    variables: usize,
    mut def: tf::GraphDef,
    constant: fn(&Graph, Port) -> Option<NodeId>,
) -> Result<Inner, String> {
    let infos: HashMap<String, Vec<TensorInfo>> = annotated_outputs(&def);
    for node in def.node.iter_mut().filter(|node| node.op == "_Arg") {
        let at = index(node)?;
        let port = *given
            .get(at)
            .ok_or_else(|| format!("the graph inside takes an argument {at}, and the node has {}", given.len()))?;
        if at >= variables
            && let Some(constant) = constant(outer, port)
        {
            node.op = "Const".into();
            node.attr.extend(outer.nodes[constant].def.attr.clone());
        }
    }
    let graph = Graph::new(def, infos).map_err(|error| format!("what is inside is no graph: {error}"))?;
    let mut args = Vec::with_capacity(given.len());
    for at in 0..given.len() {
        let name = arg_name(at);
        args.push(graph.find(&name).ok_or_else(|| format!("the graph inside has no '{name}'"))?);
    }
    let mut results = Vec::new();
    while let Some(id) = graph.find(&result_name(results.len())) {
        results.push(*graph.nodes[id].inputs.first().ok_or("a result inside has no input")?);
    }
    Ok(Inner { graph, args, results })
}

fn index(node: &tf::NodeDef) -> Result<usize, String> {
    match node.attr.get("index").and_then(|attr| attr.value.as_ref()) {
        Some(&Value::I(at)) => usize::try_from(at).map_err(|_| format!("'{}' has index {at}", node.name)),
        _ => Err(format!("'{}' has no index", node.name)),
    }
}

/// The name of the `_Arg` of that index in a graph inside.
pub fn arg_name(at: usize) -> String {
    format!("tftrt_arg_{at}")
}

/// The name of the `_Retval` of that index in a graph inside.
pub fn result_name(at: usize) -> String {
    format!("tftrt_result_{at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(graphs: &[tf::GraphDef]) -> tf::NodeDef {
        tf::NodeDef {
            name: "loop".into(),
            op: "StatelessWhile".into(),
            attr: [(GRAPHS.to_string(), to_attr(graphs))].into(),
            ..Default::default()
        }
    }

    fn of(node: tf::NodeDef) -> tf::GraphDef {
        tf::GraphDef {
            node: vec![node],
            ..Default::default()
        }
    }

    #[test]
    fn graphs_come_back_and_are_counted() {
        let inner = holds(&[
            of(tf::NodeDef {
                op: "Relu".into(),
                ..Default::default()
            }),
            tf::GraphDef::default(),
        ]);
        let outer = holds(&[of(inner.clone()), tf::GraphDef::default()]);
        assert_eq!(graphs(&outer).unwrap()[0].node, [inner]);
        let graph = Graph::new(of(outer), HashMap::new()).unwrap();
        assert_eq!(weight(&graph.nodes[0]), 2);
        assert_eq!(functions(&graph.nodes[0]), Some(LOOP_FUNCTIONS));
    }

    #[test]
    fn too_many_inside_each_other_are_not_read() {
        let mut node = holds(&[]);
        for _ in 0..DEEPEST {
            node = holds(&[of(node)]);
        }
        assert!(!is_too_deep(&node));
        node = holds(&[of(node)]);
        node = holds(&[of(node)]);
        assert!(is_too_deep(&node));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let mut node = holds(&[]);
        let list = ListValue {
            s: vec![Bytes::from_static(b"\xff\xff")],
            ..Default::default()
        };
        node.attr.insert(
            GRAPHS.into(),
            tf::AttrValue {
                value: Some(Value::List(list)),
            },
        );
        assert!(graphs(&node).unwrap_err().contains("'loop' cannot be read"));
        let graph = Graph::new(of(node), HashMap::new()).unwrap();
        assert!(open(&graph, 0).is_err());
    }
}
