//! A segment cut out of its graph: its inputs and outputs, and its body as a graph of its own.

use crate::graph::{DType, Graph, NodeId, Port, TensorInfo};
use crate::proto::tensorflow as tf;
use crate::segment::{Constants, Device, Segment};
use std::collections::{BTreeSet, HashMap};
use tf::attr_value::{ListValue, Value};

/// Names of the body's `_Arg` and `_Retval` nodes: these with the index behind. The kernel goes by them.
pub const INPUT_PREFIX: &str = "TensorRTInputPH_";
pub const OUTPUT_PREFIX: &str = "TensorRTOutputPH_";

pub fn attr(value: Value) -> tf::AttrValue {
    tf::AttrValue { value: Some(value) }
}

/// A segment's place in the graph, and what is in it.
#[derive(Debug)]
pub struct Cut {
    /// Outside tensors that it takes, each once.
    pub inputs: Vec<(Port, TensorInfo)>,
    /// Tensors of its nodes that the graph around it takes, each once.
    pub outputs: Vec<(Port, TensorInfo)>,
    /// Outside nodes that have to run before it.
    pub after: BTreeSet<NodeId>,
    /// Outside constants that it holds copies of.
    pub copied: BTreeSet<NodeId>,
    /// Args, constants, nodes and return values, in topological order.
    pub body: tf::GraphDef,
}

/// The segments' hold on the graph.
pub struct Membership<'a> {
    pub graph: &'a Graph,
    pub constants: &'a Constants,
    /// For each node the index of its segment.
    pub home: Vec<Option<usize>>,
}

impl<'a> Membership<'a> {
    pub fn new(graph: &'a Graph, constants: &'a Constants, segments: &[Segment]) -> Self {
        let mut home = vec![None; graph.nodes.len()];
        for (index, segment) in segments.iter().enumerate() {
            for &id in &segment.nodes {
                home[id] = Some(index);
            }
        }
        Membership { graph, constants, home }
    }

    /// Whether the node `to` takes `port` as a copy inside its own segment.
    pub fn is_copied(&self, port: Port, to: NodeId) -> bool {
        self.home[to].is_some() && self.home[port.node] != self.home[to] && self.constants.chain(port).is_some()
    }

    /// For each segment, the ports that others take, in order.
    pub fn taken_ports(&self, segments: usize) -> Vec<BTreeSet<Port>> {
        let mut taken = vec![BTreeSet::new(); segments];
        for (to, node) in self.graph.nodes.iter().enumerate() {
            for &port in &node.inputs {
                if let Some(from) = self.home[port.node].filter(|&from| self.home[to] != Some(from))
                    && !self.is_copied(port, to)
                {
                    taken[from].insert(port);
                }
            }
        }
        taken
    }

    /// Cuts out the segment of that index. Err: why it cannot be an engine.
    pub fn cut(&self, index: usize, segment: &Segment, taken: &BTreeSet<Port>) -> Result<Cut, String> {
        let graph = self.graph;
        let inside = |id: NodeId| self.home[id] == Some(index);
        let info = |port: Port| {
            let unknown = || format!("the element type of '{}:{}' is unknown", graph.nodes[port.node].name(), port.index);
            graph.info(port).cloned().ok_or_else(unknown)
        };
        let mut inputs: Vec<(Port, TensorInfo)> = Vec::new();
        let mut arg: HashMap<Port, usize> = HashMap::new();
        let mut after = BTreeSet::new();
        let (mut copied, mut copies) = (BTreeSet::new(), Vec::new());
        let mut nodes = Vec::with_capacity(segment.nodes.len());
        for &id in &segment.nodes {
            let node = &graph.nodes[id];
            let mut def = node.def.clone();
            def.input.clear();
            for &port in &node.inputs {
                if !inside(port.node) {
                    if let Some(chain) = self.constants.chain(port) {
                        copies.extend(chain.into_iter().filter(|&id| copied.insert(id)));
                    } else {
                        let next = inputs.len();
                        let at = *arg.entry(port).or_insert(next);
                        if at == next {
                            inputs.push((port, info(port)?));
                        }
                        def.input.push(format!("{INPUT_PREFIX}{at}"));
                        continue;
                    }
                }
                def.input.push(input_text(graph.nodes[port.node].name(), port.index));
            }
            for &before in &node.control_inputs {
                // Nobody waits for a constant.
                if self.constants.is_free(before) {
                    continue;
                }
                if inside(before) {
                    def.input.push(format!("^{}", graph.nodes[before].name()));
                } else {
                    after.insert(before);
                }
            }
            nodes.push(def);
        }
        // A constant in reach of its own segment waits for nothing; what the original waits for, the engine has to.
        for &id in &copied {
            if !graph.nodes[id].control_inputs.is_empty() {
                after.insert(id);
            }
        }
        let outputs = taken
            .iter()
            .map(|&port| Ok((port, info(port)?)))
            .collect::<Result<Vec<_>, String>>()?;
        let mut all: Vec<tf::NodeDef> = Vec::with_capacity(inputs.len() + copies.len() + nodes.len() + outputs.len());
        for (at, (_, info)) in inputs.iter().enumerate() {
            let shapes = Value::List(ListValue {
                shape: vec![info.shape.to_proto()],
                ..Default::default()
            });
            let mut def = border_node(INPUT_PREFIX, "_Arg", at, info.dtype);
            def.attr.insert("_output_shapes".into(), attr(shapes));
            all.push(def);
        }
        for id in copies {
            let mut def = graph.nodes[id].def.clone();
            def.input.retain(|input| !input.starts_with('^'));
            all.push(def);
        }
        all.append(&mut nodes);
        // Constants are taken in from any device; one that binds more than the segment's nodes do would tear the native
        // segment apart.
        for def in &mut all {
            let both = Device::parse(&def.device).and_then(|device| device.merge(&segment.device));
            if both.as_ref() != Some(&segment.device) {
                def.device.clear();
            }
        }
        for (at, (port, info)) in outputs.iter().enumerate() {
            let mut def = border_node(OUTPUT_PREFIX, "_Retval", at, info.dtype);
            def.input.push(input_text(graph.nodes[port.node].name(), port.index));
            all.push(def);
        }
        let mut names = std::collections::HashSet::with_capacity(all.len());
        for def in &all {
            if !names.insert(def.name.clone()) {
                return Err(format!(
                    "a node of the graph has the name '{}', which the engine's border needs",
                    def.name
                ));
            }
        }
        for def in &mut all {
            keep_colocations(def, |name| names.contains(name));
        }
        let body = tf::GraphDef {
            node: all,
            ..Default::default()
        };
        Ok(Cut {
            inputs,
            outputs,
            after,
            copied,
            body,
        })
    }
}

fn border_node(prefix: &str, op: &str, at: usize, dtype: DType) -> tf::NodeDef {
    tf::NodeDef {
        name: format!("{prefix}{at}"),
        op: op.into(),
        attr: [
            ("T".to_string(), attr(Value::Type(dtype.0))),
            ("index".to_string(), attr(Value::I(at as i64))),
        ]
        .into(),
        ..Default::default()
    }
}

/// An entry of `NodeDef.input`.
pub fn input_text(name: &str, index: usize) -> String {
    match index {
        0 => name.to_string(),
        _ => format!("{name}:{index}"),
    }
}

/// Drops the entries of `_class` that place a node beside one that is not there: TensorFlow refuses such graphs.
pub fn keep_colocations(def: &mut tf::NodeDef, is_there: impl Fn(&str) -> bool) {
    let Some(tf::AttrValue {
        value: Some(Value::List(list)),
    }) = def.attr.get_mut("_class")
    else {
        return;
    };
    list.s.retain(|entry| {
        let target = std::str::from_utf8(entry).ok().and_then(|text| text.strip_prefix("loc:@"));
        target.is_none_or(&is_there)
    });
    if list.s.is_empty() {
        def.attr.remove("_class");
    }
}
