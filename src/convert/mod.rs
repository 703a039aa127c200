//! TensorFlow segments to ONNX.

use crate::graph::{DType, Graph, NodeId, PartialShape};

/// One input or output of a converted segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    pub name: String,
    pub dtype: DType,
    pub shape: PartialShape,
}

/// A segment in ONNX. Input `i` belongs to the segment's `_Arg` of index `i`, output `i` to its `_Retval` of index `i`.
#[derive(Clone, Debug)]
pub struct Model {
    /// A serialized `onnx.ModelProto`.
    pub onnx: bytes::Bytes,
    pub inputs: Vec<Binding>,
    pub outputs: Vec<Binding>,
}

/// Why a node cannot go into an engine, in words for the conversion report.
pub type Reason = String;

/// Whether `node` can be converted, judged from its op, attributes, and the types and shapes around it.
pub fn supports(graph: &Graph, node: NodeId) -> Result<(), Reason> {
    Err(format!("Op type {} is not supported.", graph.nodes[node].op()))
}
