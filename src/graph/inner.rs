//! Loops, conditionals and calls as one node each, with the graphs inside.
//!
//! `StatelessWhile`, `StatelessIf` and `PartitionedCall` name functions of the library. A node of these that goes into an engine has the graphs with it
//! besides, as [`GRAPHS`], while it is converted or built, so that the segmenter and the converter need no library. Each graph takes all that the node takes (but an If's predicate) by `_Arg` nodes, and its nodes say of their outputs
//! what they are ([`super::annotated_outputs`]).

use super::{Graph, Node, NodeId, PartialShape, Port, TensorInfo, annotated_outputs};
use crate::memory::{self, NoMemory};
use crate::proto::tensorflow as tf;
use bytes::Bytes;
use std::collections::HashMap;
use tf::attr_value::{ListValue, Value};

/// The attribute that holds the graphs, serialized: condition and body, or what runs where the predicate holds and what else, or
/// what is called.
///
/// It is filled while a graph is converted, and while an engine is built. In a model it is there without graphs, as the mark of what may be
/// opened: the functions in the library are the one source of what runs, for TensorFlow's own passes rewrite them with the node.
pub const GRAPHS: &str = "_tftrt_graphs";
/// The attribute of a loop that says how many of its inputs change; they are the first ones.
pub const VARIABLES: &str = "_tftrt_variables";
/// The attributes that name the functions, in the order of the graphs.
pub const LOOP_FUNCTIONS: [&str; 2] = ["cond", "body"];
pub const CHOICE_FUNCTIONS: [&str; 2] = ["then_branch", "else_branch"];
pub const CALL_FUNCTIONS: [&str; 1] = ["f"];

/// The attribute in which a node inside says what of its outputs' shapes follows from its inputs.
const FORWARD: &str = "_tftrt_forward_shapes";

/// Has `node` say what of its outputs' shapes follows from its inputs.
pub fn note_forward(node: &mut tf::NodeDef, outputs: &[TensorInfo]) {
    let list = ListValue {
        shape: outputs.iter().map(|info| info.shape.to_proto()).collect(),
        ..Default::default()
    };
    let value = Some(Value::List(list));
    node.attr.insert(FORWARD.into(), tf::AttrValue { value });
}

/// What [`note_forward`] was told of the nodes of a graph inside, by name; `None` where it was told nothing.
pub fn forward(graph: &Graph) -> Option<HashMap<String, Vec<TensorInfo>>> {
    let mut found = HashMap::new();
    for node in &graph.nodes {
        let Some(Value::List(list)) = node.def.attr.get(FORWARD).and_then(|attr| attr.value.as_ref()) else {
            continue;
        };
        let infos = list.shape.iter().zip(&node.outputs).map(|(shape, known)| TensorInfo {
            dtype: known.dtype,
            shape: PartialShape::from_proto(shape),
        });
        found.insert(node.name().to_string(), infos.collect());
    }
    (!found.is_empty()).then_some(found)
}

/// A graph inside a node.
pub struct Inner {
    pub graph: Graph,
    /// For each of its arguments, the node that gives it: an `_Arg`, or a `Const` where the node is given a constant.
    pub args: Vec<NodeId>,
    /// What it gives, in order.
    pub results: Vec<Port>,
}

/// What the graphs inside `node` are given: all that it takes but a conditional's predicate.
pub fn given(node: &Node) -> &[Port] {
    let skip = usize::from(node.op() == "StatelessIf");
    node.inputs.get(skip..).unwrap_or_default()
}

/// How many of these change from round to round; they are the first ones.
pub fn variables(node: &Node) -> usize {
    let said = node.attr_i(VARIABLES).filter(|_| node.op() != "StatelessIf");
    usize::try_from(said.unwrap_or(0)).unwrap_or(0)
}

/// By which attributes a node names the functions whose graphs it holds; `None` for a node without graphs inside.
pub fn functions(node: &Node) -> Option<&'static [&'static str]> {
    functions_of(node.op()).filter(|_| node.def.attr.contains_key(GRAPHS))
}

/// The attributes by which nodes of an op name the functions that have graphs.
pub fn functions_of(op: &str) -> Option<&'static [&'static str]> {
    match op {
        "StatelessWhile" => Some(&LOOP_FUNCTIONS),
        "StatelessIf" => Some(&CHOICE_FUNCTIONS),
        "PartitionedCall" => Some(&CALL_FUNCTIONS),
        _ => None,
    }
}

/// The attribute [`GRAPHS`] of a node in a model: the mark without graphs.
pub fn no_graphs() -> tf::AttrValue {
    tf::AttrValue {
        value: Some(Value::List(ListValue::default())),
    }
}

/// The graphs as the attribute [`GRAPHS`] holds them.
///
/// # Errors
/// There is no memory for them.
pub fn to_attr(graphs: &[tf::GraphDef]) -> Result<tf::AttrValue, NoMemory> {
    let written = |graph| memory::encode("a graph inside a node", graph).map(Bytes::from);
    let list = ListValue {
        s: graphs.iter().map(written).collect::<Result<_, _>>()?,
        ..Default::default()
    };
    Ok(tf::AttrValue {
        value: Some(Value::List(list)),
    })
}

/// The graphs inside `def`; none where it holds none.
///
/// # Errors
/// What is no graph.
pub fn graphs(def: &tf::NodeDef) -> Result<Vec<tf::GraphDef>, String> {
    let Some(Value::List(list)) = def.attr.get(GRAPHS).and_then(|attr| attr.value.as_ref()) else {
        return Ok(Vec::new());
    };
    let unreadable = |e| format!("the graph inside '{}' cannot be read: {e}", def.name);
    let read = |bytes: &Bytes| memory::decode("the graph", bytes.clone()).map_err(unreadable);
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

/// The graphs inside node `id`, in the order of its functions. Arguments that are the same whenever the graph runs, and constants, are constants there, too.
///
/// # Errors
/// Why it has none that can be read.
pub fn open(graph: &Graph, id: NodeId) -> Result<Vec<Inner>, String> {
    open_with(graph, id, Graph::constant_node)
}

/// [`open`] before the loop or conditional around the node is one node itself: constants come in through its `Enter` or `Switch`.
pub fn open_within(graph: &Graph, id: NodeId) -> Result<Vec<Inner>, String> {
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

fn open_with(graph: &Graph, id: NodeId, constant: fn(&Graph, Port) -> Option<NodeId>) -> Result<Vec<Inner>, String> {
    let node = &graph.nodes[id];
    let (given, variables) = (given(node), variables(node));
    let graphs = graphs(&node.def)?;
    let opened: Vec<Inner> = graphs
        .into_iter()
        .map(|def| inner(graph, given, variables, def, constant))
        .collect::<Result<_, _>>()?;
    let (found, expected) = (opened.len(), functions(node).map_or(0, <[_]>::len));
    match found == expected {
        true => Ok(opened),
        false => Err(format!(
            "it holds {found} graphs where {expected} were expected; its functions are not read"
        )),
    }
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

/// The name that node `inside` of the body of `call` has where that is written out.
pub fn written_out(call: &str, inside: &str) -> String {
    format!("{call}/tftrt_call/{inside}")
}

/// `nodes` with the bodies of calls, as far as they hold these, in the place of the calls: the nodes of a body, and one that gives the
/// results under the call's name.
///
/// # Errors
/// A call whose body does not fit it.
pub fn write_out_calls(nodes: Vec<tf::NodeDef>) -> Result<Vec<tf::NodeDef>, String> {
    let mut out = Vec::with_capacity(nodes.len());
    for node in nodes {
        write_out(node, &mut out, DEEPEST)?;
    }
    Ok(out)
}

fn write_out(call: tf::NodeDef, out: &mut Vec<tf::NodeDef>, depth: usize) -> Result<(), String> {
    if call.op != "PartitionedCall" || !call.attr.contains_key(GRAPHS) {
        out.push(call);
        return Ok(());
    }
    let misfit = |what: &str| format!("the call '{}' {what}", call.name);
    let deeper = depth.checked_sub(1).ok_or_else(|| misfit("holds too many inside each other"))?;
    let [body] = <[tf::GraphDef; 1]>::try_from(graphs(&call)?).map_err(|_| misfit("holds more than one body"))?;
    let is_data = |input: &&String| !input.starts_with('^');
    let mut results: Vec<(usize, String)> = Vec::new();
    for mut node in body.node {
        node.name = written_out(&call.name, &node.name);
        for input in &mut node.input {
            *input = match input.strip_prefix('^') {
                Some(rest) => format!("^{}", written_out(&call.name, rest)),
                None => written_out(&call.name, input),
            };
        }
        if matches!(node.op.as_str(), "_Arg" | "_Retval") {
            let at = index(&node)?;
            if node.op == "_Arg" {
                let given = call.input.iter().filter(is_data).nth(at);
                node.input = vec![given.ok_or_else(|| misfit("is given too little"))?.clone()];
            } else {
                results.push((at, node.name.clone()));
            }
            node.op = "Identity".into();
            node.attr.remove("index");
        }
        write_out(node, out, deeper)?;
    }
    results.sort();
    let types = call.attr.get("Tout").ok_or_else(|| misfit("does not say what it gives"))?;
    let waits = call.input.iter().filter(|input| input.starts_with('^')).cloned();
    out.push(tf::NodeDef {
        name: call.name.clone(),
        op: "IdentityN".into(),
        input: results.into_iter().map(|(_, name)| name).chain(waits).collect(),
        device: call.device.clone(),
        attr: [("T".to_string(), types.clone())].into(),
        ..Default::default()
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(graphs: &[tf::GraphDef]) -> tf::NodeDef {
        tf::NodeDef {
            name: "loop".into(),
            op: "StatelessWhile".into(),
            attr: [(GRAPHS.to_string(), to_attr(graphs).unwrap())].into(),
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
        assert_eq!(functions(&graph.nodes[0]), Some(&LOOP_FUNCTIONS[..]));
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
    fn calls_are_written_out_at_all_depths() {
        let node = |name: &str, op: &str, inputs: &[&str], at: Option<i64>| tf::NodeDef {
            name: name.into(),
            op: op.into(),
            input: inputs.iter().map(|input| input.to_string()).collect(),
            attr: at
                .map(|at| {
                    let value = Some(Value::I(at));
                    ("index".to_string(), tf::AttrValue { value })
                })
                .into_iter()
                .collect(),
            ..Default::default()
        };
        let call = |name: &str, inputs: &[&str], body: Vec<tf::NodeDef>| {
            let graph = tf::GraphDef {
                node: body,
                ..Default::default()
            };
            let mut def = node(name, "PartitionedCall", inputs, None);
            def.attr.insert(GRAPHS.into(), to_attr(&[graph]).unwrap());
            def.attr.insert("Tout".into(), tf::AttrValue::default());
            def
        };
        let inner = call(
            "g",
            &["relu"],
            vec![
                node("tftrt_arg_0", "_Arg", &[], Some(0)),
                node("tanh", "Tanh", &["tftrt_arg_0"], None),
                node("tftrt_result_0", "_Retval", &["tanh"], Some(0)),
            ],
        );
        let outer = vec![
            node("tftrt_arg_0", "_Arg", &[], Some(0)),
            node("relu", "Relu", &["tftrt_arg_0"], None),
            inner,
            node("tftrt_result_1", "_Retval", &["g"], Some(1)),
            node("tftrt_result_0", "_Retval", &["tftrt_arg_0", "^g"], Some(0)),
        ];
        let written = write_out_calls(vec![call("f", &["x:1", "^y"], outer.clone())]).unwrap();
        let said: Vec<String> = written
            .iter()
            .map(|n| format!("{} {} {}", n.name, n.op, n.input.join(",")))
            .collect();
        let at = "f/tftrt_call/";
        assert_eq!(
            said,
            [
                format!("{at}tftrt_arg_0 Identity x:1"),
                format!("{at}relu Relu {at}tftrt_arg_0"),
                format!("{at}g/tftrt_call/tftrt_arg_0 Identity {at}relu"),
                format!("{at}g/tftrt_call/tanh Tanh {at}g/tftrt_call/tftrt_arg_0"),
                format!("{at}g/tftrt_call/tftrt_result_0 Identity {at}g/tftrt_call/tanh"),
                format!("{at}g IdentityN {at}g/tftrt_call/tftrt_result_0"),
                format!("{at}tftrt_result_1 Identity {at}g"),
                format!("{at}tftrt_result_0 Identity {at}tftrt_arg_0,^{at}g"),
                format!("f IdentityN {at}tftrt_result_0,{at}tftrt_result_1,^y"),
            ]
        );
        let error = write_out_calls(vec![call("f", &["^y"], outer)]).unwrap_err();
        assert!(error.contains("'f' is given too little"), "{error}");
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
