//! A part of a graph, cut out as a graph of its own: a loop's condition or body, a side of a conditional.
//!
//! What comes from around comes in by `_Arg` nodes, and large constants with it: they stay outside, so that they are there once.

use super::node_error;
use super::tensor_lists::Lists;
use crate::convert::Reason;
use crate::graph::native_segment::{attr, input_text};
use crate::graph::{DType, Graph, NewNode, NodeId, Port, TensorInfo, annotate, inner};
use crate::proto::tensorflow as tf;
use std::collections::{BTreeSet, HashMap, HashSet};
use tf::attr_value::{ListValue, Value};

/// Constants of more bytes than this stay outside.
pub const SMALL: usize = 1024;

/// The tensors that come from around, in the order of the arguments.
#[derive(Default)]
pub struct Args {
    pub ports: Vec<Port>,
    pub infos: Vec<TensorInfo>,
    at: HashMap<Port, usize>,
    /// Constants that were inside.
    pub taken_out: BTreeSet<NodeId>,
}

impl Args {
    fn of(&mut self, port: Port, info: TensorInfo) -> usize {
        let next = self.ports.len();
        let at = *self.at.entry(port).or_insert(next);
        if at == next {
            self.ports.push(port);
            self.infos.push(info);
        }
        at
    }
}

/// A part of the graph that is to be a graph of its own.
pub struct Subgraph<'a> {
    pub graph: &'a Graph,
    pub lists: &'a Lists,
    /// Nodes and edges of it, in order.
    pub nodes: Vec<NodeId>,
    pub results: Vec<Port>,
    /// Where it reads variables of the loop, which are the first arguments.
    pub reads: &'a HashMap<Port, usize>,
    /// What its inputs from around are outside.
    pub outside: &'a dyn Fn(Port) -> Option<Port>,
}

fn list(value: ListValue) -> tf::AttrValue {
    attr(Value::List(value))
}

/// An attribute with the types of `infos`.
pub fn types<'a>(infos: impl Iterator<Item = &'a TensorInfo>) -> tf::AttrValue {
    list(ListValue {
        r#type: infos.map(|info| info.dtype.0).collect(),
        ..Default::default()
    })
}

/// An attribute with the shapes of `infos`.
pub fn shapes<'a>(infos: impl Iterator<Item = &'a TensorInfo>) -> tf::AttrValue {
    list(ListValue {
        shape: infos.map(|info| info.shape.to_proto()).collect(),
        ..Default::default()
    })
}

/// An `_Arg` or `_Retval` node of index `at`.
pub fn border(name: String, op: &str, at: usize, dtype: DType, input: Option<String>) -> tf::NodeDef {
    tf::NodeDef {
        name,
        op: op.into(),
        input: input.into_iter().collect(),
        attr: [
            ("T".to_string(), attr(Value::Type(dtype.0))),
            ("index".to_string(), attr(Value::I(at as i64))),
        ]
        .into(),
        ..Default::default()
    }
}

impl Subgraph<'_> {
    pub fn info(&self, port: Port) -> Result<TensorInfo, Reason> {
        let unknown = || node_error(self.graph, port.node, &format!("has an output {} of unknown type", port.index));
        self.lists.info(self.graph, port).ok_or_else(unknown)
    }

    /// The argument that `port` is, if it is none of the part's own tensors.
    fn argument(&self, port: Port, args: &mut Args) -> Result<Option<usize>, Reason> {
        if let Some(&at) = self.reads.get(&port) {
            return Ok(Some(at));
        }
        if let Some(from) = (self.outside)(port) {
            let from = self.lists.tensor_of(self.graph, from);
            let info = self.info(from)?;
            return Ok(Some(args.of(from, info)));
        }
        let node = &self.graph.nodes[port.node];
        let large = |tensor: &tf::TensorProto| tensor.tensor_content.len() > SMALL || tensor.float_val.len() * 4 > SMALL;
        if node.op() == "Const" && node.attr_tensor("value").is_some_and(large) {
            args.taken_out.insert(port.node);
            return Ok(Some(args.of(port, self.info(port)?)));
        }
        Ok(None)
    }

    /// Finds all arguments.
    pub fn look(&self, args: &mut Args) -> Result<(), Reason> {
        let inputs = self.nodes.iter().flat_map(|&id| &self.graph.nodes[id].inputs);
        inputs
            .chain(&self.results)
            .try_for_each(|&port| self.argument(port, args).map(|_| ()))
    }

    /// The graph, which takes `args`; all of them have been looked for.
    pub fn cut(&self, args: &mut Args) -> Result<tf::GraphDef, Reason> {
        let mut nodes: Vec<tf::NodeDef> = Vec::new();
        for (at, info) in args.infos.iter().enumerate() {
            nodes.push(annotate(
                border(inner::arg_name(at), "_Arg", at, info.dtype, None),
                std::slice::from_ref(info),
            ));
        }
        let mut text = |port: Port| -> Result<String, Reason> {
            Ok(match self.argument(port, args)? {
                Some(at) => inner::arg_name(at),
                None => input_text(self.graph.nodes[port.node].name(), port.index),
            })
        };
        let mut results = Vec::new();
        for (at, &port) in self.results.iter().enumerate() {
            let dtype = self.info(port)?.dtype;
            results.push(border(inner::result_name(at), "_Retval", at, dtype, Some(text(port)?)));
        }
        let mut taken_out = Vec::new();
        for &id in &self.nodes {
            let node = &self.graph.nodes[id];
            let inputs = node.inputs.iter().map(|&port| text(port)).collect::<Result<Vec<_>, _>>()?;
            if node.outputs.is_empty() {
                return Err(node_error(self.graph, id, "has outputs of unknown type"));
            }
            let mut def = node.def.clone();
            def.input = inputs;
            def.attr.remove("_class");
            def.device.clear();
            taken_out.push(id);
            match self.lists.rewrite(self.graph, id, &def)? {
                Some(made) => nodes.extend(made.into_iter().map(|(def, outputs)| annotate(def, &outputs))),
                None => nodes.push(annotate(def, &node.outputs)),
            }
        }
        nodes.retain(|def| !args.taken_out.iter().any(|&id| self.graph.nodes[id].name() == def.name));
        nodes.append(&mut results);
        Ok(tf::GraphDef {
            node: nodes,
            ..Default::default()
        })
    }
}

/// The nodes that compute `results`, in order, back to the tensors for which `ends` holds.
pub fn backward_slice(graph: &Graph, results: &[Port], order: &[NodeId], ends: impl Fn(Port) -> bool) -> Vec<NodeId> {
    let mut needed: HashSet<NodeId> = HashSet::new();
    let mut waiting: Vec<Port> = results.iter().copied().filter(|&port| !ends(port)).collect();
    while let Some(port) = waiting.pop() {
        if needed.insert(port.node) {
            waiting.extend(graph.nodes[port.node].inputs.iter().copied().filter(|&port| !ends(port)));
        }
    }
    order.iter().copied().filter(|id| needed.contains(id)).collect()
}

/// `base`, or with the first number behind it that makes it a name that no node has.
pub fn unused_name(graph: &Graph, base: String) -> String {
    let numbered = (1..).map(|n| format!("{base}_{n}"));
    let mut names = std::iter::once(base.clone()).chain(numbered);
    names.find(|name| graph.find(name).is_none()).unwrap_or(base)
}

/// A function attribute. The functions have no names before the node is in an engine.
pub fn function() -> tf::AttrValue {
    attr(Value::Func(tf::NameAttrList {
        name: "tftrt_inner".into(),
        ..Default::default()
    }))
}

/// What does the work of the node that stands for `nodes`: the device that the first of them with one is placed on.
pub fn device(graph: &Graph, nodes: &[NodeId]) -> String {
    let mut placed = nodes.iter().map(|&id| &graph.nodes[id]).filter(|node| node.op() != "Const");
    placed
        .find(|node| !node.def.device.is_empty())
        .map_or_else(String::new, |node| node.def.device.clone())
}

/// Constants that come out of a part, where `around` says what their part of the graph is.
pub fn taken_out(graph: &Graph, ids: &BTreeSet<NodeId>, around: Option<NodeId>) -> Vec<NewNode> {
    let made = ids.iter().map(|&id| {
        let mut def = graph.nodes[id].def.clone();
        def.attr.remove("_class");
        def.input = around.iter().map(|&id| format!("^{}", graph.nodes[id].name())).collect();
        (def, graph.nodes[id].outputs.clone())
    });
    made.collect()
}

/// An Identity of `from` with the name of node `id`.
pub fn identity_node(graph: &Graph, id: NodeId, from: &str, info: &TensorInfo) -> NewNode {
    let def = tf::NodeDef {
        name: graph.nodes[id].name().into(),
        op: "Identity".into(),
        input: vec![from.to_string()],
        device: graph.nodes[id].def.device.clone(),
        attr: [("T".to_string(), attr(Value::Type(info.dtype.0)))].into(),
        ..Default::default()
    };
    (def, vec![info.clone()])
}
