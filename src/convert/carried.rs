//! Types that engines do not have, carried in types that every engine has.
//!
//! TensorRT 8.6 has neither uint8, bfloat16 nor float64, takes int8 for quantised numbers, and no later one has all of them. So
//! inside an engine
//!
//! - int8, uint8, int16 and uint16 are int32, whose values stay in the type's range: what arithmetic gives is wrapped around, as
//!   TensorFlow's is;
//! - bfloat16 is float32, whose values are ones that bfloat16 has: what arithmetic gives is rounded, as TensorFlow's is;
//! - float64 is float32, and only where no digit is lost by it (see [`double`]).
//!
//! [`super::value::Value::dtype`] is TensorFlow's type; what [`held`] makes of it is the type in the ONNX model. To a predicate a
//! carried type is the one that it is held in; whether its op may see one at all is decided here, op by op, in [`check`].

mod double;

use super::Reason;
use super::builder::{Attr, Builder};
use super::view::View;
use crate::graph::{Constant, DType};
use crate::memory;
use crate::proto::onnx::tensor_proto::DataType;
use half::bf16;

/// The type in which an engine holds tensors of type `dtype`.
pub fn held(dtype: DType) -> DType {
    match dtype {
        DType::INT8 | DType::UINT8 | DType::INT16 | DType::UINT16 => DType::INT32,
        DType::BFLOAT16 | DType::DOUBLE => DType::FLOAT,
        other => other,
    }
}

pub fn is_carried(dtype: DType) -> bool {
    held(dtype) != dtype
}

/// Least and largest value of an integer type that is carried.
pub fn range(dtype: DType) -> Option<(i64, i64)> {
    match dtype {
        DType::INT8 => Some((i8::MIN.into(), i8::MAX.into())),
        DType::UINT8 => Some((0, u8::MAX.into())),
        DType::INT16 => Some((i16::MIN.into(), i16::MAX.into())),
        DType::UINT16 => Some((0, u16::MAX.into())),
        _ => None,
    }
}

/// Ops that move elements and compute nothing, ask for shapes, or are a constant.
const MOVES: &[&str] = &[
    "BatchToSpaceND",
    "BroadcastTo",
    "ConcatV2",
    "Const",
    "DepthToSpace",
    "ExpandDims",
    "Fill",
    "Gather",
    "GatherNd",
    "GatherV2",
    "Identity",
    "IdentityN",
    "MirrorPad",
    "OnesLike",
    "Pack",
    "Pad",
    "PadV2",
    "PreventGradient",
    "Rank",
    "Reshape",
    "ReverseSequence",
    "ReverseV2",
    "Roll",
    "Select",
    "SelectV2",
    "Shape",
    "ShapeN",
    "Size",
    "Slice",
    "Snapshot",
    "SpaceToBatchND",
    "SpaceToDepth",
    "Split",
    "SplitV",
    "Squeeze",
    "StopGradient",
    "StridedSlice",
    "TensorScatterUpdate",
    "Tile",
    "Transpose",
    "Unpack",
    "ZerosLike",
];

/// Ops that compare, and give an element back, a bound or a truth.
const COMPARES: &[&str] = &[
    "ClipByValue",
    "Equal",
    "Greater",
    "GreaterEqual",
    "Less",
    "LessEqual",
    "Maximum",
    "Minimum",
    "NotEqual",
    "Relu",
    "Relu6",
];

/// Ops of one step, which int32 does as each carried integer type does, up to the wrap. TensorFlow rounds bfloat16 after each step, so
/// an op of several (Square apart, they are AddN, SquaredDifference and the like) gives other numbers.
const COMPUTES: &[&str] = &["Abs", "Add", "AddV2", "BiasAdd", "Mul", "Neg", "Square", "Sub"];

/// The same for floating-point numbers alone.
const COMPUTES_FLOATS: &[&str] = &[
    "BatchMatMul",
    "BatchMatMulV2",
    "BatchMatMulV3",
    "Ceil",
    "Div",
    "Exp",
    "Floor",
    "Log",
    "MatMul",
    "RealDiv",
    "Rint",
    "Round",
    "Sqrt",
    "Tanh",
];

/// Of these, the ones whose result has no more digits than the operand: of floats there is nothing to round.
const EXACT: &[&str] = &["Abs", "Ceil", "Floor", "Neg", "Rint", "Round"];

/// Whether what the op gives may be no value of the carried type `dtype` before it is brought there.
pub fn computes(op: &str, dtype: DType) -> bool {
    let float = dtype.is_float();
    is_carried(dtype) && (COMPUTES.contains(&op) || float && COMPUTES_FLOATS.contains(&op)) && !(float && EXACT.contains(&op))
}

/// Fails if the node has a tensor of a carried type among its inputs and its first `outputs` outputs, and does with it what only the type
/// itself could do.
pub fn check(view: View, outputs: usize) -> Result<(), Reason> {
    let inputs = (0..view.count()).map(|i| view.dtype(i)).collect::<Result<Vec<_>, _>>()?;
    let outputs = view.node().outputs.iter().take(outputs).map(|info| info.dtype);
    for dtype in inputs.into_iter().chain(outputs).filter(|&dtype| is_carried(dtype)) {
        allowed(view.op(), dtype)?;
    }
    double::check(view)
}

fn allowed(op: &str, dtype: DType) -> Result<(), Reason> {
    if op == "Cast" || MOVES.contains(&op) || COMPARES.contains(&op) || COMPUTES.contains(&op) {
        return Ok(());
    }
    let float = dtype.is_float();
    if float && COMPUTES_FLOATS.contains(&op) {
        return Ok(());
    }
    let by = if float { "rounded" } else { "wrapped around" };
    Err(format!(
        "{op} op is not supported for {dtype}: engines carry {dtype} in {}, and what this op gives cannot be {by} as TensorFlow does it.",
        held(dtype)
    ))
}

/// A constant in the type in which engines hold it.
pub fn constant(constant: &Constant) -> Result<Constant, Reason> {
    let dtype = held(constant.dtype);
    const WHAT: &str = "a constant in the type of the engine";
    let data = match constant.dtype {
        same if same == dtype => return Ok(constant.clone()),
        DType::BFLOAT16 => {
            let words = constant.data.as_chunks::<2>().0;
            let floats = words.iter().map(|&word| bf16::from_le_bytes(word).to_f32().to_le_bytes());
            memory::elements(WHAT, constant.len(), floats)?
        }
        DType::DOUBLE => double::narrowed(constant)?.into(),
        _ => {
            let values = constant.i64s().ok_or("integers were expected")?;
            memory::elements(WHAT, constant.len(), values.map(|value| (value as i32).to_le_bytes()))?
        }
    };
    Ok(Constant {
        dtype,
        dims: constant.dims.clone(),
        data,
    })
}

/// Whether each value of type `from` is one of `to`.
pub fn contains(to: DType, from: DType) -> bool {
    let within = |least: i64, most: i64| match range(from) {
        Some((from_least, from_most)) => least <= from_least && from_most <= most,
        None => from == DType::BOOL,
    };
    match (to, range(to)) {
        _ if to == from => true,
        (_, Some((least, most))) => within(least, most),
        // bfloat16 has 8 bits.
        (DType::BFLOAT16, _) => within(-256, 256),
        _ => true,
    }
}

/// `name`, numbers of the type `held(dtype)`, as numbers of `dtype`.
pub fn settle(builder: &mut Builder, dtype: DType, name: String) -> Result<String, Reason> {
    match dtype {
        DType::BFLOAT16 => Ok(round(builder, &name)),
        _ => wrap(builder, dtype, name, DType::INT32),
    }
}

/// float32 rounded to bfloat16: to the nearest, ties to even. The one place where a model has the type itself; for a TensorRT that has it
/// not, `precision::without_bfloat16` puts arithmetic there.
fn round(builder: &mut Builder, name: &str) -> String {
    let mut name = name.to_string();
    for dtype in [DataType::Bfloat16, DataType::Float] {
        name = builder.emit("Cast", &[&name], &[("to", Attr::I(dtype as i64))]);
    }
    builder.bfloat16 = true;
    name
}

/// The integers `name`, of type `within`, wrapped around to the range of `dtype`: (x + 128) mod 256 - 128, say. Of large numbers TensorRT
/// 8.6 has only the remainder with the dividend's sign right, so that one comes first. Of int64 ONNX Runtime has only the other one right,
/// and 8.6 holds no int64.
pub fn wrap(builder: &mut Builder, dtype: DType, mut name: String, within: DType) -> Result<String, Reason> {
    let Some((least, most)) = range(dtype) else {
        return Ok(name);
    };
    let count = most - least + 1;
    let size = builder.scalar(within, count as f64)?;
    let mut shift = -least;
    if within == DType::INT32 {
        name = builder.emit("Mod", &[&name, &size], &[("fmod", Attr::I(1))]);
        shift += count;
    }
    if shift != 0 {
        let shift = builder.scalar(within, shift as f64)?;
        name = builder.emit("Add", &[&name, &shift], &[]);
    }
    name = builder.emit("Mod", &[&name, &size], &[]);
    if least == 0 {
        return Ok(name);
    }
    let half = builder.scalar(within, -least as f64)?;
    Ok(builder.emit("Sub", &[&name, &half], &[]))
}

#[cfg(test)]
mod tests;
