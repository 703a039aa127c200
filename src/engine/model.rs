//! What an engine is built from: a segment in ONNX, and what a backend asks of its conversion.

use crate::graph::{DType, PartialShape};

/// The name of the output, of type bool and shape [1], that says whether native TensorFlow takes the call. A model has it only if something
/// has to hold.
pub const VALID_OUTPUT: &str = "tftrt_valid";

/// One input or output of a converted segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    pub name: String,
    pub dtype: DType,
    pub shape: PartialShape,
}

/// A segment in ONNX. Input `i` belongs to the segment's `_Arg` of index `i`, output `i` to its `_Retval` of index `i`; the one named
/// [`VALID_OUTPUT`], if there is one, is the last and is none of them.
#[derive(Clone, Debug)]
pub struct Model {
    /// A serialized `onnx.ModelProto`.
    pub onnx: bytes::Bytes,
    pub inputs: Vec<Binding>,
    pub outputs: Vec<Binding>,
    /// Whether tensors are kept in int8: there are QuantizeLinear nodes.
    pub int8: bool,
    /// Whether tensors are rounded to bfloat16: there are Casts to it.
    pub bfloat16: bool,
    /// A node whose int64 numbers int32 may not hold, if there is one: what has no int64 cannot compute them.
    pub int64: Option<String>,
    /// A node that adds up integers whose sums float32 may not hold, if there is one: what adds up in float32 cannot compute them.
    pub wide_sum: Option<String>,
}

/// What becomes of the nodes that a quantised model has (FakeQuant*, QuantizeAndDequantize*).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quantization {
    /// Arithmetic in float32, step by step as TensorFlow's kernels do it: the same numbers, in every engine.
    #[default]
    Arithmetic,
    /// QuantizeLinear and DequantizeLinear where the range is that of signed 8-bit steps around zero, which is what makes TensorRT
    /// compute in INT8; arithmetic elsewhere. A value halfway between two steps may go to the other one.
    Int8,
}

/// What becomes of a call that native TensorFlow refuses, or answers on its device alone: an index outside of its range, sizes that do not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadValues {
    /// As on a GPU: what is outside reads zeros and writes nothing.
    #[default]
    Zeroed,
    /// As on a CPU: the model says by one more output, [`VALID_OUTPUT`], whether the call is good.
    Told,
}
