//! A segment cut out of its graph: its inputs and outputs, and its body as a graph of its own.

use crate::graph::native_segment::{INPUT_PREFIX, OUTPUT_PREFIX, attr, input_text};
use crate::graph::{DType, Graph, NodeId, Port, TensorInfo};
use crate::proto::tensorflow as tf;
use crate::segment::{Constants, Device, Segment};
use std::collections::{BTreeSet, HashMap, HashSet};
use tf::attr_value::{ListValue, Value};

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

    /// Cuts out the segment of that index. `taken` are its tensors that others take.
    ///
    /// # Errors
    /// Why the segment cannot be an engine.
    pub fn cut(&self, index: usize, segment: &Segment, taken: &BTreeSet<Port>) -> Result<Cut, String> {
        let mut cutter = Cutter::new(self, index);
        let nodes = segment
            .nodes
            .iter()
            .map(|&id| cutter.node(id))
            .collect::<Result<Vec<_>, String>>()?;
        let outputs = taken
            .iter()
            .map(|&port| Ok((port, self.info(port)?)))
            .collect::<Result<Vec<_>, String>>()?;
        Ok(Cut {
            body: tf::GraphDef {
                node: cutter.body(nodes, segment, &outputs)?,
                ..Default::default()
            },
            outputs,
            after: cutter.after(),
            inputs: cutter.inputs,
            copied: cutter.copied,
        })
    }

    fn info(&self, port: Port) -> Result<TensorInfo, String> {
        let unknown = || {
            format!(
                "the element type of '{}:{}' is unknown",
                self.graph.nodes[port.node].name(),
                port.index
            )
        };
        self.graph.info(port).cloned().ok_or_else(unknown)
    }
}

/// What a segment needs of the graph around it, found node by node.
struct Cutter<'a> {
    membership: &'a Membership<'a>,
    /// The segment's.
    index: usize,
    inputs: Vec<(Port, TensorInfo)>,
    /// For each outside tensor, its place among `inputs`.
    arg: HashMap<Port, usize>,
    waits: BTreeSet<NodeId>,
    copied: BTreeSet<NodeId>,
    /// `copied`, in topological order.
    copies: Vec<NodeId>,
}

impl<'a> Cutter<'a> {
    fn new(membership: &'a Membership<'a>, index: usize) -> Self {
        Cutter {
            membership,
            index,
            inputs: Vec::new(),
            arg: HashMap::new(),
            waits: BTreeSet::new(),
            copied: BTreeSet::new(),
            copies: Vec::new(),
        }
    }

    fn is_inside(&self, id: NodeId) -> bool {
        self.membership.home[id] == Some(self.index)
    }

    /// Node `id` of the segment as the body has it.
    fn node(&mut self, id: NodeId) -> Result<tf::NodeDef, String> {
        let node = &self.membership.graph.nodes[id];
        let mut def = node.def.clone();
        def.input.clear();
        for &port in &node.inputs {
            def.input.push(self.input(port)?);
        }
        for &before in &node.control_inputs {
            // No node waits for a constant.
            if self.membership.constants.is_free(before) {
                continue;
            }
            if self.is_inside(before) {
                def.input.push(format!("^{}", self.membership.graph.nodes[before].name()));
            } else {
                self.waits.insert(before);
            }
        }
        Ok(def)
    }

    /// The entry of `NodeDef.input` for `port`: a node of the body, or an input of the segment.
    fn input(&mut self, port: Port) -> Result<String, String> {
        if !self.is_inside(port.node) {
            match self.membership.constants.chain(port) {
                Some(chain) => self.copies.extend(chain.into_iter().filter(|&id| self.copied.insert(id))),
                None => {
                    let next = self.inputs.len();
                    let at = *self.arg.entry(port).or_insert(next);
                    if at == next {
                        self.inputs.push((port, self.membership.info(port)?));
                    }
                    return Ok(format!("{INPUT_PREFIX}{at}"));
                }
            }
        }
        Ok(input_text(self.membership.graph.nodes[port.node].name(), port.index))
    }

    /// Outside nodes that have to run before the engine. The copy of a constant waits for nothing, so the engine waits in its place.
    fn after(&self) -> BTreeSet<NodeId> {
        let waits = |id: &&NodeId| !self.membership.graph.nodes[**id].control_inputs.is_empty();
        self.waits.iter().chain(self.copied.iter().filter(waits)).copied().collect()
    }

    /// All nodes of the body, `nodes` being those of the segment.
    fn body(&self, nodes: Vec<tf::NodeDef>, segment: &Segment, outputs: &[(Port, TensorInfo)]) -> Result<Vec<tf::NodeDef>, String> {
        let graph = self.membership.graph;
        let args = self.inputs.iter().enumerate().map(|(at, (_, info))| argument(at, info));
        let copies = self.copies.iter().map(|&id| {
            let mut def = graph.nodes[id].def.clone();
            def.input.retain(|input| !input.starts_with('^'));
            def
        });
        let mut all: Vec<tf::NodeDef> = args.chain(copies).chain(nodes).collect();
        // Constants come from any device. One that is bound to more than the segment's nodes would tear the native segment apart.
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
        let mut names = HashSet::with_capacity(all.len());
        if let Some(twice) = all.iter().find(|def| !names.insert(def.name.clone())) {
            let name = &twice.name;
            return Err(format!(
                "a node of the graph has the name '{name}', which the engine's border needs"
            ));
        }
        for def in &mut all {
            keep_colocations(def, |name| names.contains(name));
        }
        Ok(all)
    }
}

/// The `_Arg` node of input `at`.
fn argument(at: usize, info: &TensorInfo) -> tf::NodeDef {
    let shapes = Value::List(ListValue {
        shape: vec![info.shape.to_proto()],
        ..Default::default()
    });
    let mut def = border_node(INPUT_PREFIX, "_Arg", at, info.dtype);
    def.attr.insert("_output_shapes".into(), attr(shapes));
    def
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
