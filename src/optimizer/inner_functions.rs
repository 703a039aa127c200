//! The functions that the loops and conditionals of a native segment run.
//!
//! They are made of the graphs inside these nodes, and from then on they are the one source of what runs: an engine reads them from the
//! library (`op/functions.rs`).
//!
//! TensorFlow's control-flow passes write such a node and its functions anew, in the conversion and whenever a function is instantiated: they
//! sink into a branch what only that branch uses, drop inputs and reorder them. What was judged as fit for an engine would be something
//! else then, a loop inside a conditional, say. So each such node is alone in a function of its own, which is not inlined, and the segment
//! calls that function: nothing is there that could be sunk.

use super::Host;
use crate::graph::inner;
use crate::graph::native_segment::{attr, input_text};
use crate::proto::tensorflow as tf;
use tf::attr_value::{ListValue, Value};

/// TensorFlow's attribute of a function whose calls stay calls.
const NO_INLINE: &str = "_noinline";

/// Adds to `functions` all that the nodes of `body` run, at all depths, inner ones first. Each loop and conditional becomes a call of the
/// function that it is in then. The names begin with `prefix`.
///
/// # Errors
/// What TensorFlow makes no function of.
pub fn make(host: &dyn Host, body: &mut tf::GraphDef, prefix: &str, functions: &mut Vec<tf::FunctionDef>) -> Result<(), String> {
    let versions = body.versions.clone();
    for node in &mut body.node {
        if !node.attr.contains_key(inner::GRAPHS) {
            continue;
        }
        let graphs = inner::graphs(node)?;
        node.attr.insert(inner::GRAPHS.into(), inner::no_graphs());
        // A function that is called is in the library already.
        let Some(names) = inner::functions_of(&node.op).filter(|_| node.op != "PartitionedCall") else {
            continue;
        };
        node.attr.remove(inner::VARIABLES);
        for (&what, mut graph) in names.iter().zip(graphs) {
            make(host, &mut graph, prefix, functions)?;
            graph.versions.clone_from(&versions);
            for node in &mut graph.node {
                // What the converter reads is not for TensorFlow.
                for name in ["_output_shapes", "_output_types"] {
                    node.attr.remove(name);
                }
            }
            let name = format!("{prefix}_{}_{what}", functions.len());
            functions.push(host.function_from_graph(graph, &name)?);
            node.attr.insert(what.into(), function(name));
        }
        let name = format!("{prefix}_{}_call", functions.len());
        let (mut graph, call) = alone(node, function(name.clone()));
        graph.versions.clone_from(&versions);
        let mut made = host.function_from_graph(graph, &name)?;
        made.attr.insert(NO_INLINE.into(), attr(Value::B(true)));
        functions.push(made);
        *node = call;
    }
    Ok(())
}

fn function(name: String) -> tf::AttrValue {
    attr(Value::Func(tf::NameAttrList {
        name,
        ..Default::default()
    }))
}

/// The body of a function of `node` alone, and a call of it, `of`, in the node's place.
fn alone(node: &tf::NodeDef, of: tf::AttrValue) -> (tf::GraphDef, tf::NodeDef) {
    let list = |name: &str| match node.attr.get(name).and_then(|attr| attr.value.as_ref()) {
        Some(Value::List(list)) => list.r#type.clone(),
        _ => Vec::new(),
    };
    let predicate = match node.attr.get("Tcond").and_then(|attr| attr.value.as_ref()) {
        Some(&Value::Type(dtype)) => Some(dtype),
        _ => None,
    };
    let (taken, returned) = match node.op.as_str() {
        "StatelessIf" => (predicate.into_iter().chain(list("Tin")).collect(), list("Tout")),
        _ => (list("T"), list("T")),
    };
    let is_wait = |input: &&String| input.starts_with('^');
    let mut inside = node.clone();
    inside.device.clear();
    inside.attr.remove("_class");
    inside.input = (0..taken.len()).map(inner::arg_name).collect();
    let border = |op: &str, name, at: usize, dtype, input: Vec<String>| tf::NodeDef {
        name,
        op: op.into(),
        input,
        attr: [
            ("T".to_string(), attr(Value::Type(dtype))),
            ("index".to_string(), attr(Value::I(at as i64))),
        ]
        .into(),
        ..Default::default()
    };
    let args = taken.iter().enumerate();
    let mut nodes: Vec<tf::NodeDef> = args
        .map(|(at, &dtype)| border("_Arg", inner::arg_name(at), at, dtype, Vec::new()))
        .collect();
    nodes.push(inside);
    for (at, &dtype) in returned.iter().enumerate() {
        let from = input_text(&node.name, at);
        nodes.push(border("_Retval", inner::result_name(at), at, dtype, vec![from]));
    }
    let types = |types: Vec<i32>| {
        attr(Value::List(ListValue {
            r#type: types,
            ..Default::default()
        }))
    };
    let mut call = tf::NodeDef {
        name: node.name.clone(),
        op: "PartitionedCall".into(),
        input: node.input.iter().filter(|input| !is_wait(input)).cloned().collect(),
        device: node.device.clone(),
        attr: [
            ("Tin".to_string(), types(taken)),
            ("Tout".to_string(), types(returned)),
            ("f".to_string(), of),
            (inner::GRAPHS.to_string(), inner::no_graphs()),
        ]
        .into(),
        ..Default::default()
    };
    call.attr
        .extend(node.attr.get("_class").map(|class| ("_class".to_string(), class.clone())));
    call.input.extend(node.input.iter().filter(is_wait).cloned());
    let body = tf::GraphDef {
        node: nodes,
        ..Default::default()
    };
    (body, call)
}
