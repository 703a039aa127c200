//! How a node's precision is asked of a version of TensorRT.
//!
//! Strongly typed versions (10 in that mode, 11, TensorRT-RTX) compute in the types that the model says: FP16 is written into it.
//! 8.6 is weakly typed: its flag lets it choose FP16 layer by layer, and it may do so on a rewritten model as well. Of the two the
//! rewrite with the flag was the better one on BERT-base: nearer to FP32, and not slower (docs/results/benchmarks.md).

use super::sys::Library;
use crate::engine::{BuildRequest, EngineError, Precision};
use crate::precision::{Half, Rounding, to_half, without_bfloat16};
use crate::settings::{Fp16Method, HalfType, Settings};
use bytes::Bytes;

/// Where the precision comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Typing {
    /// `BuilderFlag::kFP16`.
    pub flag: bool,
    /// Casts in the model.
    pub rewrite: Option<Half>,
    /// `BuilderFlag::kINT8`, which weakly typed networks want before they take a QuantizeLinear.
    pub int8_flag: bool,
    /// What stands in the place of a rounding to bfloat16, where this version has no such type.
    pub without_bfloat16: Option<Rounding>,
    /// Whether int64 becomes int32.
    pub without_int64: bool,
}

/// `int8`: whether the model has QuantizeLinear nodes. It says itself then what is computed in INT8; the rest goes the way of FP16.
pub(super) fn typing(library: &Library, precision: Precision, int8: bool, settings: &Settings) -> Typing {
    let typing = half_typing(library, precision, settings);
    let table = library.table();
    let strongly_typed = !typing.flag && table.value("NetworkDefinitionCreationFlag", "kSTRONGLY_TYPED").is_some();
    let in_half = typing.flag || typing.rewrite.is_some();
    let rounding = if in_half { Rounding::Left } else { Rounding::Arithmetic };
    Typing {
        without_bfloat16: table.value("DataType", "kBF16").is_none().then_some(rounding),
        without_int64: table.value("DataType", "kINT64").is_none(),
        int8_flag: int8 && !strongly_typed && table.value("BuilderFlag", "kINT8").is_some(),
        ..typing
    }
}

fn half_typing(library: &Library, precision: Precision, settings: &Settings) -> Typing {
    let table = library.table();
    let has_flag = table.value("BuilderFlag", "kFP16").is_some();
    let strongly_typed = table.value("NetworkDefinitionCreationFlag", "kSTRONGLY_TYPED").is_some();
    if precision == Precision::Fp32 {
        return Typing::default();
    }
    let half = match settings.half_type {
        HalfType::Float16 => Half::Float16,
        // 8.6 knows no BF16.
        HalfType::BFloat16 if strongly_typed => Half::BFloat16,
        HalfType::BFloat16 => Half::Float16,
    };
    match (settings.fp16_method, has_flag) {
        (Fp16Method::Flags, true) => Typing {
            flag: true,
            ..Typing::default()
        },
        (_, has_flag) => Typing {
            // 8.6 holds to the casts, and chooses for what they leave open.
            flag: has_flag && !strongly_typed,
            rewrite: Some(half),
            ..Typing::default()
        },
    }
}

/// The model that is built.
pub(super) fn write_into(request: &BuildRequest<'_>, typing: Typing) -> Result<Bytes, EngineError> {
    if let Some(node) = request.model.int64.as_ref().filter(|_| typing.without_int64) {
        return Err(EngineError::Build(format!(
            "this TensorRT has no int64, and '{node}' takes int64 numbers that int32 may not hold; TensorRT 10 and later have them"
        )));
    }
    // The one family without int64, TensorRT 8, is also the one that adds up integers in float32.
    if let Some(node) = request.model.wide_sum.as_ref().filter(|_| typing.without_int64) {
        return Err(EngineError::Build(format!(
            "this TensorRT adds up integers in float32, and sums of '{node}' may be beyond 2^24; TensorRT 10 and later may build it"
        )));
    }
    let onnx = match typing.without_bfloat16.filter(|_| request.model.bfloat16) {
        Some(rounding) => without_bfloat16(&request.model.onnx, rounding).map_err(|e| EngineError::Build(e.to_string()))?,
        None => request.model.onnx.clone(),
    };
    match typing.rewrite {
        None => Ok(onnx),
        Some(half) => match to_half(&onnx, half) {
            Ok(model) => Ok(model),
            // TensorRT itself may still choose FP16.
            Err(e) if typing.flag => {
                tracing::warn!(
                    "{}: FP16 cannot be written into the model, the builder's flag alone asks for it: {e}",
                    request.node
                );
                Ok(onnx)
            }
            Err(e) => Err(EngineError::Build(e.to_string())),
        },
    }
}
