//! float64 in float32: where that loses no digit.
//!
//! Each float64 tensor in an engine holds numbers that float32 has, so that its Cast to any type is that of the float32 tensor. They come
//! of Casts from types within float32, of constants, and of ops that move or compare. One thing more is the same in both: a single
//! sum, difference, product, quotient or root of such numbers which is cast to float32 right away. float64 has more than twice
//! float32's bits and two, so rounding to it first changes nothing (Figueroa, "When is double rounding innocuous?").

use crate::convert::Reason;
use crate::convert::view::View;
use crate::graph::{Constant, DType, Node, Port, elements};
use crate::memory;

/// Ops whose result, rounded to float64 and then to float32, is what float32 gives.
const ROUNDED: &[&str] = &["Add", "AddV2", "BiasAdd", "Div", "Mul", "RealDiv", "Sqrt", "Square", "Sub"];

/// More elements are not read to judge a node.
const MAX_READ: i64 = 1 << 16;

/// Fails where float32 would not hold what the node makes of its float64 tensors.
pub fn check(view: View) -> Result<(), Reason> {
    for i in 0..view.count() {
        if view.dtype(i)? != DType::DOUBLE || !view.is_constant(i) {
            continue;
        }
        match small_constant(view, i)? {
            Some(constant) => narrowed(&constant).map(|_| ())?,
            None => {
                return Err(format!(
                    "An engine cannot hold input {i}: a float64 constant of more than {MAX_READ} elements."
                ));
            }
        }
    }
    if view.node().outputs.iter().all(|info| info.dtype != DType::DOUBLE) {
        return Ok(());
    }
    let op = view.op();
    if op == "Cast" {
        let from = view.dtype(0)?;
        if matches!(from, DType::INT32 | DType::INT64) && small_constant(view, 0)?.is_some_and(|constant| is_within(&constant)) {
            return Ok(());
        }
        return match from {
            DType::INT64 => {
                Err("Cast from int64 to float64 is not supported: engines carry float64 in float32, which would round twice.".to_string())
            }
            // The one rounding there is comes with the Cast to float32.
            DType::INT32 => only_rounded(view),
            _ => Ok(()),
        };
    }
    match super::computes(op, DType::DOUBLE) {
        true if ROUNDED.contains(&op) => only_rounded(view),
        true => Err(format!(
            "{op} op is not supported for float64: TensorRT has no such type, and float32 does not hold its digits."
        )),
        false => Ok(()),
    }
}

/// The constant in input `i`, if it is one and not too large to be read here.
fn small_constant(view: View, i: usize) -> Result<Option<Constant>, Reason> {
    let size = view.info(i)?.shape.full().map(|dims| elements(&dims));
    Ok(size.filter(|&n| n <= MAX_READ).and_then(|_| view.constant(i)))
}

/// Whether float32 has all the integers of a constant.
fn is_within(constant: &Constant) -> bool {
    let mut values = constant.i64s().into_iter().flatten();
    values.all(|value| value.unsigned_abs() <= 1 << 24)
}

/// Fails unless all that is done with the output is to cast it to float32.
fn only_rounded(view: View) -> Result<(), Reason> {
    let out = Port { node: view.id, index: 0 };
    let nodes = view.graph.takers()[view.id].iter().map(|&id| &view.graph.nodes[id]);
    let takers = nodes.filter(|node| node.inputs.contains(&out));
    let to_float = |node: &Node| node.op() == "Cast" && node.outputs.first().is_some_and(|info| info.dtype == DType::FLOAT);
    for taker in takers {
        if !to_float(taker) {
            return Err(format!(
                "{} op is not supported for float64 where '{}' takes its result: TensorRT has no such type, and float32 holds it only if it is cast to float32 next.",
                view.op(),
                taker.name()
            ));
        }
    }
    Ok(())
}

/// The elements of a float64 constant as float32's bytes.
pub fn narrowed(constant: &Constant) -> Result<Vec<u8>, Reason> {
    let mut data = memory::room("a float64 constant in float32", constant.data.len() / 2)?;
    for &word in constant.data.as_chunks::<8>().0 {
        let value = f64::from_le_bytes(word);
        let narrow = value as f32;
        if !value.is_nan() && f64::from(narrow) != value {
            return Err(format!(
                "An engine cannot hold the float64 constant {value}: TensorRT has no such type, and float32 rounds it."
            ));
        }
        data.extend_from_slice(&narrow.to_le_bytes());
    }
    Ok(data)
}
