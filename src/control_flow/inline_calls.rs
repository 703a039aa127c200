//! Calls that TensorFlow does not inline, as one node each with its body inside.
//!
//! Most calls are inlined before the pass comes. What is left are functions compiled by XLA (`jit_compile=True`) and those marked
//! `_noinline`. Keras makes the first of every convolution in groups, as TensorFlow's own kernel for a CPU takes none. An engine needs
//! no XLA: where all inside converts, the call gets its body as a graph ([`crate::graph::inner`]) and may go into an engine; in the
//! native segment it is the same call as before.

use super::{Rules, convertible};
use crate::convert::Reason;
use crate::graph::function_body::{is_border, name_borders, prune};
use crate::graph::native_segment::attr;
use crate::graph::{Graph, NodeId, TensorInfo, annotate, contents, inner};
use crate::proto::tensorflow as tf;
use std::collections::{BTreeMap, HashMap};
use tf::attr_value::Value;

/// Calls inside each other, at most.
const DEEPEST: usize = 8;

/// By a node's name, its outputs.
type Infos = HashMap<String, Vec<TensorInfo>>;

/// The body of a function of the library, by name.
pub type Bodies<'a> = &'a dyn Fn(&str) -> Result<tf::GraphDef, Reason>;

/// Whether a node calls a function.
fn is_call(op: &str) -> bool {
    matches!(op, "PartitionedCall" | "StatefulPartitionedCall")
}

/// Why TensorFlow has not inlined a call.
fn why(call: &tf::NodeDef) -> &'static str {
    match call.attr.get("_XlaMustCompile").and_then(|attr| attr.value.as_ref()) {
        Some(Value::B(true)) => "is compiled by XLA (jit_compile=True)",
        _ => "is not to be inlined",
    }
}

fn function_of(def: &tf::NodeDef) -> Result<&str, Reason> {
    match def.attr.get("f").and_then(|attr| attr.value.as_ref()) {
        Some(Value::Func(func)) => Ok(&func.name),
        _ => Err(format!("node '{}' ({}) names no function", def.name, def.op)),
    }
}

/// `def`, a call, with what it calls inside, at all depths. Err: why it stays a call.
fn with_body(def: &tf::NodeDef, depth: usize, rules: &Rules<'_>) -> Result<tf::NodeDef, Reason> {
    if depth == 0 {
        return Err("too many calls are inside each other".into());
    }
    let mut graph = (rules.bodies)(function_of(def)?)?;
    let computes = |op: &str| is_call(op) || is_border(op) || !(rules.has_effect)(op);
    if let Some(node) = graph.node.iter().find(|node| !computes(&node.op)) {
        return Err(format!("node '{}' ({}) inside does more than compute", node.name, node.op));
    }
    name_borders(&mut graph)?;
    // Nothing inside has an effect, so there is nothing to wait for.
    prune(&mut graph);
    for node in &mut graph.node {
        node.attr.remove("_class");
        node.device.clear();
        // Whether TensorFlow would inline it or not.
        if is_call(&node.op) {
            *node = with_body(node, depth - 1, rules)?;
        }
    }
    let mut def = def.clone();
    def.op = "PartitionedCall".into();
    def.attr.insert(inner::GRAPHS.into(), inner::to_attr(&[graph])?);
    Ok(def)
}

/// `call`, with a body inside, whose nodes say of themselves what `infos` says of them written out under `name`.
fn annotated(mut call: tf::NodeDef, name: &str, infos: &Infos) -> Result<tf::NodeDef, Reason> {
    let mut graphs = inner::graphs(&call)?;
    for node in graphs
        .iter_mut()
        .flat_map(|graph| &mut graph.node)
        .filter(|node| node.op != "_Retval")
    {
        let name = inner::written_out(name, &node.name);
        let found = infos.get(&name);
        let found = found.ok_or_else(|| format!("node '{}' ({}) inside has outputs of unknown type", node.name, node.op))?;
        if is_call(&node.op) {
            *node = annotated(std::mem::take(node), &name, infos)?;
        }
        *node = annotate(std::mem::take(node), found);
    }
    call.attr.insert(inner::GRAPHS.into(), inner::to_attr(&graphs)?);
    Ok(call)
}

/// A node of which nothing is known but the types of its outputs, in the place of a call that is not read.
fn unknown(call: &tf::NodeDef, nodes: &mut Vec<tf::NodeDef>) {
    let types = match call.attr.get("Tout").and_then(|attr| attr.value.as_ref()) {
        Some(Value::List(list)) => &list.r#type[..],
        _ => &[],
    };
    let mut def = call.clone();
    def.op = "IdentityN".into();
    def.input.clear();
    for (at, &dtype) in types.iter().enumerate() {
        let name = inner::written_out(&call.name, &at.to_string());
        def.input.push(name.clone());
        nodes.push(tf::NodeDef {
            name,
            op: "Placeholder".into(),
            attr: [("dtype".to_string(), attr(Value::Type(dtype)))].into(),
            ..Default::default()
        });
    }
    def.attr = call
        .attr
        .get("Tout")
        .map(|types| ("T".to_string(), types.clone()))
        .into_iter()
        .collect();
    nodes.push(def);
}

/// Fails where a node inside `id`, at any depth, may not go into an engine (one of a type that is denied, say).
fn all_inside(graph: &Graph, id: NodeId, rules: &Rules<'_>) -> Result<(), Reason> {
    for part in &inner::open_within(graph, id)? {
        let own = |id: &NodeId| !is_border(part.graph.nodes[*id].op());
        for id in (0..part.graph.nodes.len()).filter(own) {
            convertible(&part.graph, [part.graph.nodes[id].name()].into_iter(), rules)?;
            if inner::functions(&part.graph.nodes[id]).is_some() {
                all_inside(&part.graph, id, rules)?;
            }
        }
    }
    Ok(())
}

/// What inference finds.
fn infer(graph: &Graph, calls: &BTreeMap<NodeId, Result<tf::NodeDef, Reason>>, rules: &Rules<'_>) -> Result<Infos, Reason> {
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.nodes.iter().enumerate() {
        match calls.get(&id) {
            Some(Ok(call)) => nodes.push(call.clone()),
            Some(Err(_)) => unknown(&node.def, &mut nodes),
            None => nodes.push(node.def.clone()),
        }
    }
    let mut def = tf::GraphDef {
        node: nodes,
        ..Default::default()
    };
    // Weights say nothing of shapes, and are copied at each step on the way.
    contents::take_out(&mut def.node);
    (rules.infer)(&def).ok_or_else(|| "shape inference finds no shapes that fit inside".into())
}

/// `graph` with the bodies inside of those calls in which all converts, and by their names why others stay.
pub fn opened(mut graph: Graph, rules: &Rules<'_>) -> (Graph, HashMap<String, Reason>) {
    let with_body = |id: NodeId| (id, with_body(&graph.nodes[id].def, DEEPEST, rules));
    let calls = (0..graph.nodes.len()).filter(|&id| is_call(graph.nodes[id].op()));
    let calls: BTreeMap<NodeId, Result<tf::NodeDef, Reason>> = calls.map(with_body).collect();
    if calls.is_empty() {
        return (graph, HashMap::new());
    }
    let infos = infer(&graph, &calls, rules);
    if let Ok(infos) = &infos {
        // What was unknown behind a call may be known now.
        for node in &mut graph.nodes {
            let is_vague = node.outputs.is_empty() || node.outputs.iter().any(|info| info.shape.rank().is_none());
            if let Some(infos) = infos.get(node.name()).filter(|_| is_vague) {
                node.outputs.clone_from(infos);
            }
        }
    }
    let mut stays = HashMap::new();
    for (id, call) in calls {
        let before = graph.nodes[id].def.clone();
        let function = function_of(&before).unwrap_or("?").to_string();
        let call = call.and_then(|call| annotated(call, &before.name, infos.as_ref().map_err(Reason::clone)?));
        let judged = call.and_then(|call| {
            graph.nodes[id].def = call;
            convertible(&graph, [before.name.as_str()].into_iter(), rules)?;
            all_inside(&graph, id, rules)
        });
        match judged {
            Ok(()) => tracing::info!(
                "The call '{}' of '{function}' may go into an engine with what is inside.",
                before.name
            ),
            Err(reason) => {
                let told = format!("The function '{function}' {}, and its call stays: {reason}.", why(&before));
                stays.insert(before.name.clone(), told);
                graph.nodes[id].def = before;
            }
        }
    }
    (graph, stays)
}
