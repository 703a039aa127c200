//! Sums and products of integers as TensorFlow has them: wrapped around at the ends of the type, right to the last digit.
//!
//! ONNX Runtime's ReduceSum and ReduceProd add up and multiply in float64: int32 stops at its ends, int64 loses digits beyond 2^53. (Its
//! elementwise arithmetic and its CumSum are exact.) So where a result may be too large, sums are taken of parts that stay small, and
//! products in pairs. What is known to fit, as lengths and counts do, is one node.

use super::Reason;
use crate::convert::bounds::{Bounds, IN_DOUBLE, MOST_ELEMENTS};
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::value::Form;
use crate::graph::DType;

/// Sums of as many parts below this as an engine's tensor has elements stay below 2^53.
const RADIX: i64 = 1 << 21;

/// Integers up to this are all in float32.
const IN_FLOAT: i64 = 1 << 24;
/// How many terms a sum over an open axis is taken to have where TensorRT 8.6 is concerned: masks of such lengths are added up there.
const OPEN_COUNT: i64 = 1 << 16;

/// What is summed or multiplied.
pub struct Terms<'a> {
    pub name: &'a str,
    /// The type that it has in the engine.
    pub dtype: DType,
    pub bounds: Bounds,
    /// How many go into one result, at most.
    pub count: i64,
}

/// The sums of `terms` along the ONNX axes `axes`.
pub fn sum(cx: &mut Context, terms: &Terms, axes: &[i64], keep: bool) -> Result<String, Reason> {
    let axes = cx.vector(axes);
    let reduce = |cx: &mut Context, x: &str| cx.emit("ReduceSum", &[x, &axes], &[("keepdims", Attr::I(keep.into()))]);
    let most = terms.bounds.magnitude().saturating_mul(terms.count);
    let fits = if terms.dtype == DType::INT32 {
        i64::from(i32::MAX)
    } else {
        IN_DOUBLE
    };
    if terms.dtype.is_float() {
        return Ok(reduce(cx, terms.name));
    }
    note_wide(cx, terms);
    if most <= fits {
        return Ok(reduce(cx, terms.name));
    }
    let narrow = terms.dtype == DType::INT32;
    let mut rest = terms.name.to_string();
    if narrow {
        rest = cx.state.cast(&rest, DType::INT64)?;
    }
    let mut sums = Vec::new();
    if most > IN_DOUBLE {
        // From the last digits to the first, each part with the sign of the whole.
        let radix = cx.scalar(DType::INT64, RADIX as f64)?;
        let mut left = terms.bounds.magnitude();
        while left >= RADIX {
            let above = cx.emit("Div", &[&rest, &radix], &[]);
            let multiple = cx.emit("Mul", &[&above, &radix], &[]);
            let part = cx.emit("Sub", &[&rest, &multiple], &[]);
            sums.push(reduce(cx, &part));
            rest = above;
            left /= RADIX;
        }
    }
    let mut total = reduce(cx, &rest);
    for sum in sums.iter().rev() {
        let radix = cx.scalar(DType::INT64, RADIX as f64)?;
        total = cx.emit("Mul", &[&total, &radix], &[]);
        total = cx.emit("Add", &[&total, sum], &[]);
    }
    if narrow { cx.state.cast(&total, DType::INT32) } else { Ok(total) }
}

/// Notes that the node adds up integers whose sums float32 may not hold. TensorRT 8.6 adds up in float32.
fn note_wide(cx: &mut Context, terms: &Terms) {
    let count = if terms.count == MOST_ELEMENTS { OPEN_COUNT } else { terms.count };
    if terms.bounds.magnitude().saturating_mul(count) > IN_FLOAT {
        let node = cx.view.node().name().to_string();
        cx.state.builder.wide_sum.get_or_insert(node);
    }
}

/// The larger ("Max") or smaller ("Min") one of each two numbers between `bounds`. Beside a single element ONNX Runtime 1.31 holds int64
/// against its last 32 bits.
pub fn extreme(cx: &mut Context, op: &str, x: &str, y: &str, bounds: [Bounds; 2]) -> String {
    if bounds.iter().all(|bounds| bounds.is_within(Bounds::INT32)) {
        return cx.emit(op, &[x, y], &[]);
    }
    let compare = if op == "Max" { "Greater" } else { "Less" };
    let first = cx.emit(compare, &[x, y], &[]);
    cx.emit("Where", &[&first, x, y], &[])
}

/// [`extreme`] of inputs `i` and `j`, which are `x` and `y` in `form`.
pub fn extreme_of(cx: &mut Context, op: &str, form: Form, (i, x): (usize, &str), (j, y): (usize, &str)) -> String {
    if cx.dtype(i).is_float() {
        return cx.emit(op, &[x, y], &[]);
    }
    let bounds = [cx.bounds(i, form), cx.bounds(j, form)];
    extreme(cx, op, x, y, bounds)
}

/// The extremes ("ReduceMax" or "ReduceMin") of `terms` along the ONNX axes `axes`. Along the last axis ONNX Runtime 1.31 looks at the last
/// 32 bits of int64 alone. So of wide numbers the upper halves are reduced first, and then the lower halves of those that have that upper half.
pub fn extremes(cx: &mut Context, op: &str, terms: &Terms, axes: &[i64], keep: bool) -> Result<String, Reason> {
    let reduce = |cx: &mut Context, x: &str, keep: bool| {
        let attrs = [("axes", Attr::Ints(axes)), ("keepdims", Attr::I(keep.into()))];
        cx.emit(op, &[x], &attrs)
    };
    if terms.dtype != DType::INT64 || terms.bounds.is_within(Bounds::INT32) {
        return Ok(reduce(cx, terms.name, keep));
    }
    const HALF: f64 = (1u64 << 32) as f64;
    let half = cx.scalar(DType::INT64, HALF)?;
    // ONNX's Mod has the sign of the divisor: this is the lower half as a number from 0 on, and what is left is a multiple.
    let low = cx.emit("Mod", &[terms.name, &half], &[]);
    let multiple = cx.emit("Sub", &[terms.name, &low], &[]);
    let high = cx.emit("Div", &[&multiple, &half], &[]);
    let high = cx.state.cast(&high, DType::INT32)?;
    let middle = cx.scalar(DType::INT64, HALF / 2.0)?;
    let low = cx.emit("Sub", &[&low, &middle], &[]);
    let low = cx.state.cast(&low, DType::INT32)?;
    let extreme_high = reduce(cx, &high, true);
    let has_it = cx.emit("Equal", &[&high, &extreme_high], &[]);
    let last = if op == "ReduceMax" { i32::MIN } else { i32::MAX };
    let last = cx.scalar(DType::INT32, last.into())?;
    let low = cx.emit("Where", &[&has_it, &low, &last], &[]);
    let extreme_low = reduce(cx, &low, keep);
    let extreme_high = if keep { extreme_high } else { reduce(cx, &high, false) };
    let (high, low) = (
        cx.state.cast(&extreme_high, DType::INT64)?,
        cx.state.cast(&extreme_low, DType::INT64)?,
    );
    let multiple = cx.emit("Mul", &[&high, &half], &[]);
    let above = cx.emit("Add", &[&low, &middle], &[]);
    Ok(cx.emit("Add", &[&multiple, &above], &[]))
}

/// Whether [`product`] can be had of integers along axes of these sizes.
pub fn has_product(op: &str, dtype: DType, sizes: &[Option<i64>]) -> Result<(), Reason> {
    match dtype.is_float() || !sizes.contains(&None) {
        true => Ok(()),
        false => Err(format!(
            "{op} of {dtype} needs known sizes of its axes: ONNX Runtime multiplies in float64, so an engine multiplies in pairs."
        )),
    }
}

/// The products of `terms` along ONNX axes, each with its size if it is known.
pub fn product(cx: &mut Context, terms: &Terms, axes: &[(i64, Option<i64>)], keep: bool) -> Result<String, Reason> {
    let indices: Vec<i64> = axes.iter().map(|&(axis, _)| axis).collect();
    let most = terms.bounds.multiplied(terms.count).most;
    let narrow = terms.dtype == DType::INT32;
    let fits = if narrow { i64::from(i32::MAX) } else { IN_DOUBLE };
    if terms.dtype.is_float() || most <= fits {
        let attrs = [("axes", Attr::Ints(&indices)), ("keepdims", Attr::I(keep.into()))];
        return Ok(cx.emit("ReduceProd", &[terms.name], &attrs));
    }
    let mut out = terms.name.to_string();
    for &(axis, size) in axes {
        out = in_pairs(cx, &out, axis, size.ok_or("the size of an axis is unknown")?);
    }
    if !keep {
        let axes = cx.vector(&indices);
        out = cx.emit("Squeeze", &[&out, &axes], &[]);
    }
    Ok(out)
}

/// The products along one axis of so many elements, which stays as one of size 1.
fn in_pairs(cx: &mut Context, x: &str, axis: i64, mut size: i64) -> String {
    let mut x = x.to_string();
    if size == 0 {
        // One, of no elements.
        return cx.emit("ReduceProd", &[&x], &[("axes", Attr::Ints(&[axis])), ("keepdims", Attr::I(1))]);
    }
    let part = |cx: &mut Context, x: &str, from: i64, to: i64| {
        let (from, to, axes) = (cx.vector(&[from]), cx.vector(&[to]), cx.vector(&[axis]));
        cx.emit("Slice", &[x, &from, &to, &axes], &[])
    };
    while size > 1 {
        let half = size / 2;
        let (first, second) = (part(cx, &x, 0, half), part(cx, &x, half, 2 * half));
        let mut product = cx.emit("Mul", &[&first, &second], &[]);
        if size % 2 == 1 {
            let last = part(cx, &x, size - 1, size);
            product = cx.emit("Concat", &[&product, &last], &[("axis", Attr::I(axis))]);
        }
        x = product;
        size = half + size % 2;
    }
    x
}
