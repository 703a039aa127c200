//! Which nodes may go into an engine, and in words why the others may not.

use super::batch::{self, Batch};
use super::{Device, Rules, SegmentOptions};
use crate::convert::Reason;
use crate::graph::{Graph, NodeId};
use std::collections::HashSet;

/// What a segment's nodes have to agree on.
#[derive(Clone, Debug, PartialEq)]
pub struct Traits {
    pub device: Device,
    pub batch: Batch,
}

impl Traits {
    pub fn merge(&self, other: &Traits) -> Option<Traits> {
        Some(Traits {
            device: self.device.merge(&other.device)?,
            batch: self.batch.merge(other.batch)?,
        })
    }
}

/// Ops that steer execution. No engine holds them, whatever a converter or TF_TRT_OP_FAKELIST says.
const CONTROL_FLOW: &[&str] = &[
    "Enter",
    "Exit",
    "LoopCond",
    "Merge",
    "NextIteration",
    "RefEnter",
    "RefExit",
    "RefMerge",
    "RefNextIteration",
    "RefSwitch",
    "Switch",
    "_Arg",
    "_Retval",
];

/// Ops with a state for TensorFlow that an engine needs none for: a variable is read before, and cuDNN's recurrent layers keep
/// random numbers for a dropout, with which their converter refuses them.
const COMPUTES_ALL_THE_SAME: &[&str] = &["CudnnRNN", "CudnnRNNV2", "CudnnRNNV3", "ReadVariableOp"];

/// Whether all that an op keeps is random numbers for itself: nothing has to wait for it.
pub fn keeps_to_itself(op: &str) -> bool {
    op.starts_with("CudnnRNN") && COMPUTES_ALL_THE_SAME.contains(&op)
}

/// Whether an op's node decides what runs, or where tensors come from.
pub fn steers(op: &str) -> bool {
    CONTROL_FLOW.contains(&op)
}

/// Judges nodes one by one, in the order of exclusions that TF-TRT keeps.
pub struct Judge<'a> {
    pub graph: &'a Graph,
    pub rules: &'a Rules,
    pub options: &'a SegmentOptions,
    pub preserve: &'a HashSet<String>,
    pub supports: &'a dyn Fn(&Graph, NodeId) -> Result<(), Reason>,
    pub is_stateful: &'a dyn Fn(&str) -> bool,
}

impl Judge<'_> {
    /// The node's device and batch if it may go into an engine, else why it may not.
    pub fn candidate(&self, id: NodeId) -> Result<Traits, Reason> {
        let node = &self.graph.nodes[id];
        let device = self.placement(&node.def.device)?;
        if self.preserve.contains(node.name()) {
            return Err("excluded by segmenter option. Most likely an input or output node.".into());
        }
        let mut batch = Batch::Any;
        if self.rules.implicit_batch {
            batch = batch::implicit_batch(self.graph, id)?;
            let open = |info: &crate::graph::TensorInfo| batch::has_open_inner_dimension(&info.shape);
            if self.rules.static_engine && node.outputs.iter().any(open) {
                return Err("A static engine in implicit batch mode needs every dimension but the batch to be known.".into());
            }
        }
        self.convertible(id)?;
        self.denied(id)?;
        Ok(Traits { device, batch })
    }

    /// Whether segments may take a copy of `id`, a constant or what hands one on. Not where it has to be preserved: it may be
    /// fed.
    pub fn constant(&self, id: NodeId) -> Result<(), Reason> {
        let node = &self.graph.nodes[id];
        if self.preserve.contains(node.name()) {
            return Err("excluded by segmenter option. Most likely an input or output node.".into());
        }
        self.convertible(id)?;
        // Constants go in whatever the list says: engines cannot do without.
        if node.op() == "Const" { Ok(()) } else { self.denied(id) }
    }

    fn denied(&self, id: NodeId) -> Result<(), Reason> {
        if self.options.reject_fp_casts && self.is_float_cast(id) {
            return Err(
                "Casts from one floating-point type to another stay native by TF_TRT_EXPERIMENTAL_FEATURES=reject_all_fp_cast_ops".into(),
            );
        }
        match self.options.denied_ops.contains(self.graph.nodes[id].op()) {
            true => Err("Denylisted with the env var TF_TRT_OP_DENYLIST".into()),
            false => Ok(()),
        }
    }

    fn is_float_cast(&self, id: NodeId) -> bool {
        let node = &self.graph.nodes[id];
        let is_float = |name| node.attr_type(name).is_some_and(|dtype| dtype.is_float());
        node.op() == "Cast" && is_float("SrcT") && is_float("DstT")
    }

    fn placement(&self, name: &str) -> Result<Device, Reason> {
        let device = Device::parse(name).ok_or_else(|| format!("'{name}' is no device name."))?;
        let on_gpu = self.rules.default_device.kind() == Some("GPU");
        match device.kind() {
            None | Some("GPU") => Ok(device),
            Some("CPU") if !on_gpu => Ok(device),
            Some("CPU") => Err("The node is assigned to the CPU and can't be placed on GPU.".into()),
            Some(kind) => Err(format!("No engine runs on devices of type {kind}.")),
        }
    }

    fn convertible(&self, id: NodeId) -> Result<(), Reason> {
        let op = self.graph.nodes[id].op();
        if steers(op) {
            return Err(format!("Op type {op} is not supported."));
        }
        if !self.options.fake_ops.contains(op) {
            (self.supports)(self.graph, id)?;
        }
        // An engine has no state of its own.
        if (self.is_stateful)(op) && !COMPUTES_ALL_THE_SAME.contains(&op) {
            return Err(format!("Op type {op} has a state, which no engine keeps."));
        }
        Ok(())
    }
}
