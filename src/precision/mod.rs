//! FP16 and BF16, written into the ONNX model.
//!
//! A strongly typed TensorRT network (10, 11 and RTX; for 11 and RTX there is no other) computes in the types that the network
//! says. So precision is a rewrite of the model: [`to_half`] decides for each node whether it computes in half or in float32, puts
//! Casts where the two meet, and stores the weights of half nodes in half. Graph inputs and outputs keep their types, which
//! are TensorFlow's, and whatever is not float32 (shapes, indices, masks, tensors that were half before) is left alone.
//!
//! # Which nodes are half
//!
//! [`keep`] has one line for each op, with its role and, where it stays in float32, the reason:
//!
//! - *Seeds* are worth a Cast: matrix products, convolutions, look-ups in large tables. They are half.
//! - *Kept* ops stay in float32: exponentials, long sums, roots, reciprocals, squares, remainders. Half has 11 bits (BF16: 8), and
//!   FP16 nothing above 65504 nor, without loss, below 6.1e-5.
//! - All others *follow*: half after half, float32 after float32.
//!
//! Before that the model's own numbers are asked (`range`), for a rule about ops cannot know them:
//!
//! - A constant that would become infinite keeps its consumers in float32, and all that comes of them, until an op bounds
//!   the values again (Softmax, Sigmoid, ...). So a mask of -1e9 is added in float32, and one of -10000 in half.
//! - A constant that would vanish or become subnormal keeps its consumers in float32: the epsilon of a layer norm, for one. A
//!   weight is judged by its largest element; small ones beside it may lose bits without harm. A divisor, a bound or an
//!   exponent is judged by each element.
//! - What a range-widening function gives (Exp, Pow, Reciprocal) meets one more op before it may be rounded.
//!
//! # Where the Casts are
//!
//! A node with half and float32 operands goes the way that takes fewer Casts: `x - mean(x)` goes to float32, where x is needed for
//! the mean already, and so does the whole chain of a layer norm (mean, difference, square, mean, epsilon, root, reciprocal,
//! product, scale, offset), with one Cast in and one out. `x + dense(x)` stays in half, so that what goes from layer to
//! layer is half. Then single nodes change sides as long as that saves Casts. On a tie an op that only moves elements goes to
//! half: rounding before a Transpose gives what rounding after it gives, on half the bytes.
//!
//! A tensor is cast once, however many nodes ask for it, and never to and fro. A Cast that the model has from half, or to it, serves
//! as ours.
//!
//! # Loops and conditionals
//!
//! What is inside a Loop or an If stays as it is, and so does all that it takes from around it, its own inputs and results.
//!
//! # What this cannot know
//!
//! Activations that leave FP16's range in a half node become infinite: only data would tell. BF16 has float32's range, but in opset
//! 17 ONNX has no BF16 for Conv, pooling, Einsum and some more, which stay in float32 then.

mod assign;
mod bfloat16;
pub mod keep;
mod range;
mod rewrite;
mod tensors;
#[cfg(test)]
mod tests;

use crate::memory::{self, NoMemory, Unreadable};
use crate::proto::onnx;
use crate::proto::onnx::tensor_proto::DataType;
pub use bfloat16::{Rounding, without_bfloat16};
use bytes::Bytes;
use std::collections::BTreeMap;

/// The opset of which the table in [`keep`] speaks. Later ones admit the same types and more.
pub const OPSET: i64 = 17;

/// Under this name a rewritten model says what it computes in, so that it is not rewritten twice.
const MARK: &str = "tftrt.precision";

/// A type of 16 bits to compute in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Half {
    /// IEEE 754's: 11 bits of precision, magnitudes from 6.1e-5 (normal) to 65504.
    Float16,
    /// The upper half of a float32: 8 bits of precision, float32's range.
    BFloat16,
}

impl Half {
    fn data_type(self) -> i32 {
        match self {
            Half::Float16 => DataType::Float16 as i32,
            Half::BFloat16 => DataType::Bfloat16 as i32,
        }
    }

    /// As in names and messages: "float16", "bfloat16".
    pub fn name(self) -> &'static str {
        match self {
            Half::Float16 => "float16",
            Half::BFloat16 => "bfloat16",
        }
    }
}

/// Why a model cannot be rewritten. The model in float32 is as good as it was.
/// What the model is called where there is no memory for it.
const MODEL: &str = "the ONNX model";

#[derive(Debug, thiserror::Error)]
pub enum PrecisionError {
    #[error("the ONNX model cannot be read: {0}")]
    Decode(#[from] Unreadable),
    #[error(transparent)]
    NoMemory(#[from] NoMemory),
    #[error("the ONNX model has no graph")]
    NoGraph,
    #[error("the ONNX model is of opset {found}; the rewrite to half knows opset {OPSET} and later")]
    Opset { found: i64 },
    #[error("node '{node}' ({op}) takes '{tensor}', which no input, initializer or earlier node gives")]
    Undefined { node: String, op: String, tensor: String },
    #[error("'{tensor}' is given twice in the ONNX model")]
    Twice { tensor: String },
    #[error("initializer '{name}': {why}")]
    Initializer { name: String, why: String },
    #[error("the ONNX model computes in {found} already and cannot be rewritten to {asked}; give the model in float32")]
    Already { found: String, asked: &'static str },
}

/// What a rewrite did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Nodes that compute in half now.
    pub half: usize,
    /// Nodes on float32 tensors that stay so.
    pub float: usize,
    /// Casts added, between float32 and half.
    pub casts: usize,
    /// Of `float`, those that may not be half, counted by reason; the others only follow them.
    pub kept: BTreeMap<&'static str, usize>,
}

/// The serialized model `onnx` (an `onnx.ModelProto` of opset 17 or later, weights inside), computing in `to` where
/// that is sound. Inputs and outputs keep names, types and shapes. A model that was rewritten to `to` before comes back as it is.
pub fn to_half(onnx: &Bytes, to: Half) -> Result<Bytes, PrecisionError> {
    let (model, _) = rewrite(memory::decode(MODEL, onnx.clone())?, to)?;
    Ok(memory::encode(MODEL, &model)?.into())
}

/// [`to_half`] on the decoded message, with a summary of what was done (empty for a model that was rewritten before).
pub fn rewrite(mut model: onnx::ModelProto, to: Half) -> Result<(onnx::ModelProto, Summary), PrecisionError> {
    if let Some(mark) = model.metadata_props.iter().find(|entry| entry.key() == MARK) {
        return match mark.value() == to.name() {
            true => Ok((model, Summary::default())),
            false => Err(PrecisionError::Already {
                found: mark.value().to_string(),
                asked: to.name(),
            }),
        };
    }
    let ours = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let opset = model
        .opset_import
        .iter()
        .find(|set| ours(set.domain()))
        .map_or(0, |set| set.version());
    if opset < OPSET {
        return Err(PrecisionError::Opset { found: opset });
    }
    let graph = model.graph.take().ok_or(PrecisionError::NoGraph)?;
    let tensors = tensors::Tensors::of(&graph, to)?;
    let plan = assign::assign(&tensors, to)?;
    let (graph, casts) = rewrite::apply(&tensors, &plan, to)?;
    let summary = plan.summary(casts);
    tracing::debug!(
        "{}: {} nodes in {}, {} in float32, {} casts",
        graph.name(),
        summary.half,
        to.name(),
        summary.float,
        summary.casts
    );
    model.graph = Some(graph);
    model.metadata_props.push(onnx::StringStringEntryProto {
        key: Some(MARK.to_string()),
        value: Some(to.name().to_string()),
    });
    Ok((model, summary))
}
