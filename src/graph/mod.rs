//! The typed graph that segmenter and converter work on: a GraphDef with its edges resolved and the type and
//! shape of every output beside its node.

mod annotated;
pub mod contents;
mod dtype;
pub mod function_body;
pub mod inner;
pub mod native_segment;
mod patch;
mod shape;
mod tensor;

pub use annotated::{annotate, annotated_outputs};
pub use dtype::DType;
pub use patch::{NewNode, Patch};
pub use shape::{PartialShape, elements};
pub use tensor::{Constant, ConstantError};

use crate::proto::tensorflow as tf;
use std::collections::HashMap;
use std::sync::OnceLock;

/// A node's place in [`Graph::nodes`].
pub type NodeId = usize;

/// One output of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    pub node: NodeId,
    pub index: usize,
}

/// What is known of a tensor before it exists.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    pub dtype: DType,
    pub shape: PartialShape,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub def: tf::NodeDef,
    /// Data inputs, in the op's order.
    pub inputs: Vec<Port>,
    /// Nodes that have to run before this one, without handing it data.
    pub control_inputs: Vec<NodeId>,
    /// Type and shape of every output; empty where inference knew nothing of the node.
    pub outputs: Vec<TensorInfo>,
}

impl Node {
    pub fn name(&self) -> &str {
        &self.def.name
    }

    pub fn op(&self) -> &str {
        &self.def.op
    }

    pub fn attr(&self, name: &str) -> Option<&tf::attr_value::Value> {
        self.def.attr.get(name)?.value.as_ref()
    }

    pub fn attr_i(&self, name: &str) -> Option<i64> {
        match self.attr(name)? {
            tf::attr_value::Value::I(i) => Some(*i),
            _ => None,
        }
    }

    pub fn attr_f(&self, name: &str) -> Option<f32> {
        match self.attr(name)? {
            tf::attr_value::Value::F(f) => Some(*f),
            _ => None,
        }
    }

    pub fn attr_b(&self, name: &str) -> Option<bool> {
        match self.attr(name)? {
            tf::attr_value::Value::B(b) => Some(*b),
            _ => None,
        }
    }

    /// A string attribute that is UTF-8.
    pub fn attr_s(&self, name: &str) -> Option<&str> {
        match self.attr(name)? {
            tf::attr_value::Value::S(s) => std::str::from_utf8(s).ok(),
            _ => None,
        }
    }

    pub fn attr_type(&self, name: &str) -> Option<DType> {
        match self.attr(name)? {
            tf::attr_value::Value::Type(t) => Some(DType::from_proto(*t)),
            _ => None,
        }
    }

    pub fn attr_ints(&self, name: &str) -> Option<&[i64]> {
        match self.attr(name)? {
            tf::attr_value::Value::List(l) => Some(&l.i),
            _ => None,
        }
    }

    /// A list of strings, each UTF-8.
    pub fn attr_strings(&self, name: &str) -> Option<Vec<&str>> {
        match self.attr(name)? {
            tf::attr_value::Value::List(l) => l.s.iter().map(|s| std::str::from_utf8(s).ok()).collect(),
            _ => None,
        }
    }

    pub fn attr_tensor(&self, name: &str) -> Option<&tf::TensorProto> {
        match self.attr(name)? {
            tf::attr_value::Value::Tensor(t) => Some(t),
            _ => None,
        }
    }
}

/// Why a GraphDef is no graph.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum GraphError {
    #[error("two nodes are named '{0}'")]
    Duplicate(String),
    #[error("node '{node}' takes input '{input}', which no node of the graph gives")]
    Missing { node: String, input: String },
    #[error("node '{node}' has the malformed input '{input}'")]
    Malformed { node: String, input: String },
}

#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Who takes from whom is not to change once [`Graph::takers`] was asked.
    pub nodes: Vec<Node>,
    by_name: HashMap<String, NodeId>,
    takers: OnceLock<Vec<Vec<NodeId>>>,
}

impl Graph {
    /// Resolves the edges of `def`. `outputs` gives what inference found for a node's outputs (nothing for an
    /// unknown name); names are those of the nodes.
    pub fn new(def: tf::GraphDef, mut outputs: HashMap<String, Vec<TensorInfo>>) -> Result<Graph, GraphError> {
        let mut by_name = HashMap::with_capacity(def.node.len());
        for (id, node) in def.node.iter().enumerate() {
            if by_name.insert(node.name.clone(), id).is_some() {
                return Err(GraphError::Duplicate(node.name.clone()));
            }
        }
        let mut nodes = Vec::with_capacity(def.node.len());
        for def in def.node {
            let (mut inputs, mut control_inputs) = (Vec::new(), Vec::new());
            for input in &def.input {
                let missing = || GraphError::Missing {
                    node: def.name.clone(),
                    input: input.clone(),
                };
                match parse_input(input) {
                    Some(Input::Control(name)) => control_inputs.push(*by_name.get(name).ok_or_else(missing)?),
                    Some(Input::Data(name, index)) => inputs.push(Port {
                        node: *by_name.get(name).ok_or_else(missing)?,
                        index,
                    }),
                    None => {
                        return Err(GraphError::Malformed {
                            node: def.name.clone(),
                            input: input.clone(),
                        });
                    }
                }
            }
            let outputs = outputs.remove(&def.name).unwrap_or_default();
            nodes.push(Node {
                def,
                inputs,
                control_inputs,
                outputs,
            });
        }
        Ok(Graph {
            nodes,
            by_name,
            takers: OnceLock::new(),
        })
    }

    /// For each node, those that take data or wait for it, once for each edge. Looked up once.
    pub fn takers(&self) -> &[Vec<NodeId>] {
        self.takers.get_or_init(|| {
            let mut takers = vec![Vec::new(); self.nodes.len()];
            for (id, node) in self.nodes.iter().enumerate() {
                for from in node.inputs.iter().map(|port| port.node).chain(node.control_inputs.iter().copied()) {
                    takers[from].push(id);
                }
            }
            takers
        })
    }

    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.by_name.get(name).copied()
    }

    /// What is known of an output; `None` where inference knew nothing of it.
    pub fn info(&self, port: Port) -> Option<&TensorInfo> {
        self.nodes[port.node].outputs.get(port.index)
    }

    /// The value at `port` if it is a `Const` that can be read, seen through `Identity`.
    pub fn constant(&self, port: Port) -> Option<Constant> {
        let node = self.constant_node(port)?;
        Constant::from_proto(self.nodes[node].attr_tensor("value")?).ok()
    }

    /// The `Const` that `port` is the value of, seen through `Identity`.
    pub fn constant_node(&self, mut port: Port) -> Option<NodeId> {
        // No more steps than nodes: a graph from elsewhere may hold a circle of these.
        for _ in 0..=self.nodes.len() {
            let node = &self.nodes[port.node];
            match node.op() {
                "Const" if port.index == 0 => return Some(port.node),
                "Identity" | "Snapshot" | "StopGradient" => port = *node.inputs.first()?,
                _ => return None,
            }
        }
        None
    }

    /// The nodes, each after all that it takes data or control from; on a cycle, the names of nodes on or behind it.
    pub fn topological_order(&self) -> Result<Vec<NodeId>, Vec<String>> {
        self.topological_order_of(|_, _| true)
    }

    /// The same, of those edges only for which `counts(from, to)`.
    pub fn topological_order_of(&self, counts: impl Fn(NodeId, NodeId) -> bool) -> Result<Vec<NodeId>, Vec<String>> {
        let mut waiting = vec![0usize; self.nodes.len()];
        let mut consumers: Vec<Vec<NodeId>> = vec![Vec::new(); self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            let sources = node.inputs.iter().map(|p| p.node).chain(node.control_inputs.iter().copied());
            for from in sources.filter(|&from| counts(from, id)) {
                consumers[from].push(id);
                waiting[id] += 1;
            }
        }
        let mut order: Vec<NodeId> = (0..self.nodes.len()).filter(|&id| waiting[id] == 0).collect();
        let mut done = 0;
        while done < order.len() {
            for &next in &consumers[order[done]] {
                waiting[next] -= 1;
                if waiting[next] == 0 {
                    order.push(next);
                }
            }
            done += 1;
        }
        if order.len() == self.nodes.len() {
            Ok(order)
        } else {
            Err((0..self.nodes.len())
                .filter(|&id| waiting[id] > 0)
                .map(|id| self.nodes[id].name().to_string())
                .collect())
        }
    }
}

/// One entry of `NodeDef.input`.
#[derive(Debug, PartialEq)]
pub enum Input<'a> {
    Control(&'a str),
    Data(&'a str, usize),
}

/// Reads "node", "node:2" or "^node"; `None` where the text is none of them.
pub fn parse_input(text: &str) -> Option<Input<'_>> {
    if let Some(name) = text.strip_prefix('^') {
        return (!name.is_empty()).then_some(Input::Control(name));
    }
    let (name, index) = match text.rsplit_once(':') {
        Some((name, index)) => (name, index.parse().ok()?),
        None => (text, 0),
    };
    (!name.is_empty()).then_some(Input::Data(name, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, op: &str, inputs: &[&str]) -> tf::NodeDef {
        tf::NodeDef {
            name: name.into(),
            op: op.into(),
            input: inputs.iter().map(|s| s.to_string()).collect(),
            ..Default::default()
        }
    }

    fn graph(nodes: Vec<tf::NodeDef>) -> Result<Graph, GraphError> {
        Graph::new(
            tf::GraphDef {
                node: nodes,
                ..Default::default()
            },
            HashMap::new(),
        )
    }

    #[test]
    fn edges_are_resolved_by_name() {
        let g = graph(vec![
            node("b", "Add", &["a", "a:1", "^c"]),
            node("a", "Split", &[]),
            node("c", "NoOp", &[]),
        ])
        .unwrap();
        let b = &g.nodes[g.find("b").unwrap()];
        assert_eq!(b.inputs, [Port { node: 1, index: 0 }, Port { node: 1, index: 1 }]);
        assert_eq!(b.control_inputs, [2]);
        assert_eq!(g.topological_order().unwrap().last(), Some(&0));
    }

    #[test]
    fn bad_graphs_name_the_node() {
        assert_eq!(
            graph(vec![node("a", "A", &["x"])]).unwrap_err(),
            GraphError::Missing {
                node: "a".into(),
                input: "x".into()
            }
        );
        assert_eq!(
            graph(vec![node("a", "A", &[]), node("a", "B", &[])]).unwrap_err(),
            GraphError::Duplicate("a".into())
        );
        assert!(matches!(graph(vec![node("a", "A", &["b:x"])]), Err(GraphError::Malformed { .. })));
        let cycle = graph(vec![node("a", "A", &["b"]), node("b", "B", &["a"])]).unwrap();
        assert_eq!(cycle.topological_order().unwrap_err(), ["a", "b"]);
    }
}
