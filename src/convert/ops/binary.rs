//! Arithmetic of two tensors, broadcast together. Integer shape arithmetic is followed where its elements are known.

use super::exact;
use super::unary::log_one_plus;
use super::{Converter, FLOATS, INTEGERS, NUMBERS, all_inputs, broadcast, elementwise};
use crate::convert::Reason;
use crate::convert::bounds::IN_DOUBLE;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::value::Form;
use crate::convert::view::View;
use crate::graph::{Constant, DType};

/// The single ONNX node `op`; known integer elements are computed by `fold` on the way.
fn arithmetic(cx: &mut Context, op: &str, fold: fn(i64, i64) -> Option<i64>) -> Result<(), Reason> {
    elementwise(cx, op, &[])?;
    let known = fold_elements(cx, fold);
    cx.know(0, known);
    Ok(())
}

fn extreme(cx: &mut Context, op: &str, fold: fn(i64, i64) -> Option<i64>) -> Result<(), Reason> {
    let (form, x) = broadcast(cx)?;
    let out = exact::extreme_of(cx, op, form, (0, &x[0]), (1, &x[1]));
    cx.give_broadcast(form, out)?;
    let known = fold_elements(cx, fold);
    cx.know(0, known);
    Ok(())
}

/// What is known of the result's elements, for tensors of equal size or one of a single element.
fn fold_elements(cx: &Context, fold: fn(i64, i64) -> Option<i64>) -> Option<Vec<Option<i64>>> {
    let (a, b) = (cx.elements(0)?, cx.elements(1)?);
    if cx.rank(0).max(cx.rank(1)) > 1 || !(a.len() == b.len() || a.len() == 1 || b.len() == 1) {
        return None;
    }
    let at = |v: &[Option<i64>], i: usize| if v.len() == 1 { v[0] } else { v[i] };
    let len = if a.len() == 1 { b.len() } else { a.len() };
    Some((0..len).map(|i| fold(at(&a, i)?, at(&b, i)?)).collect())
}

/// An integer divisor with 1 in place of -1, and where -1 stood; nothing where -1 cannot do harm. On the CPU, dividing the least
/// integer by -1 ends the process; TensorFlow gives the integer itself. int32 that is kept as int64 holds no such value.
fn without_minus_one(cx: &mut Context, form: Form, divisor: &str) -> Result<Option<(String, String)>, Reason> {
    let known = cx.value(1).constant.as_ref().and_then(Constant::to_i64s);
    if form == Form::Wide || cx.dtype(1).is_float() || known.is_some_and(|v| !v.contains(&-1)) {
        return Ok(None);
    }
    let (one, minus_one) = (cx.scalar(cx.dtype(1), 1.0)?, cx.scalar(cx.dtype(1), -1.0)?);
    let at = cx.emit("Equal", &[divisor, &minus_one], &[]);
    let safe = cx.emit("Where", &[&at, &one, divisor], &[]);
    Ok(Some((safe, at)))
}

/// x/y; by -1 it is -x.
fn divide(cx: &mut Context, form: Form, x: &str, y: &str) -> Result<String, Reason> {
    let Some((safe, at)) = without_minus_one(cx, form, y)? else {
        return Ok(cx.emit("Div", &[x, y], &[]));
    };
    let quotient = cx.emit("Div", &[x, &safe], &[]);
    let negative = cx.emit("Neg", &[x], &[]);
    Ok(cx.emit("Where", &[&at, &negative, &quotient], &[]))
}

/// The remainder of integers with the sign of the dividend; by -1 it is that by 1. For Mod ONNX Runtime goes by way of float64, which does
/// not hold every int64: beyond, it is x - x/y*y.
fn truncated_rest(cx: &mut Context, form: Form, x: &str, y: &str) -> Result<String, Reason> {
    let safe = without_minus_one(cx, form, y)?.map_or_else(|| y.to_string(), |(safe, _)| safe);
    if (0..2).all(|i| cx.bounds(i, form).magnitude() <= IN_DOUBLE) {
        return Ok(cx.emit("Mod", &[x, &safe], &[("fmod", Attr::I(1))]));
    }
    let quotient = cx.emit("Div", &[x, &safe], &[]);
    let multiple = cx.emit("Mul", &[&quotient, &safe], &[]);
    Ok(cx.emit("Sub", &[x, &multiple], &[]))
}

/// The remainder of integers with the divisor's sign. ONNX's Mod is that, and serves for sizes and places; elsewhere it is made of the one with
/// the dividend's sign, for which TensorRT divides as integers: for Mod, 8.6 goes by way of floats, which do not hold every int32.
fn integer_mod(cx: &mut Context, form: Form, x: &str, y: &str) -> Result<String, Reason> {
    if form == Form::Wide {
        return Ok(cx.emit("Mod", &[x, y], &[]));
    }
    let rest = truncated_rest(cx, form, x, y)?;
    with_sign_of(cx, &rest, y)
}

/// A remainder with the dividend's sign, the divisor added where it is not zero and its sign is not the divisor's.
fn with_sign_of(cx: &mut Context, rest: &str, divisor: &str) -> Result<String, Reason> {
    let zero = cx.scalar(cx.dtype(0), 0.0)?;
    let negative_rest = cx.emit("Less", &[rest, &zero], &[]);
    let known = cx.value(1).constant.as_ref().and_then(Constant::to_i64s);
    let wrong = if known.is_some_and(|v| v.iter().all(|&by| by > 0)) {
        negative_rest
    } else {
        let negative_divisor = cx.emit("Less", &[divisor, &zero], &[]);
        let differ = cx.emit("Xor", &[&negative_rest, &negative_divisor], &[]);
        let exact = cx.emit("Equal", &[rest, &zero], &[]);
        let inexact = cx.emit("Not", &[&exact], &[]);
        cx.emit("And", &[&differ, &inexact], &[])
    };
    let corrected = cx.emit("Add", &[rest, divisor], &[]);
    Ok(cx.emit("Where", &[&wrong, &corrected, rest], &[]))
}

fn division(cx: &mut Context) -> Result<(), Reason> {
    let (form, x) = broadcast(cx)?;
    let out = divide(cx, form, &x[0], &x[1])?;
    cx.give_broadcast(form, out)?;
    let known = fold_elements(cx, truncating_fold);
    cx.know(0, known);
    Ok(())
}

/// ONNX's Div truncates integers, as TensorFlow's Div and TruncateDiv do.
fn truncating_fold(a: i64, b: i64) -> Option<i64> {
    (b != 0).then(|| a.wrapping_div(b))
}

/// floor(a/b).
fn floor_div(cx: &mut Context) -> Result<(), Reason> {
    let (form, x) = broadcast(cx)?;
    let out = if cx.dtype(0).is_float() {
        let quotient = cx.emit("Div", &[&x[0], &x[1]], &[]);
        cx.emit("Floor", &[&quotient], &[])
    } else {
        integer_floor_div(cx, form, &x[0], &x[1])?
    };
    cx.give_broadcast(form, out)?;
    let known = fold_elements(cx, |a, b| {
        let quotient = truncating_fold(a, b)?;
        let rest = a.wrapping_rem(b);
        Some(quotient - i64::from(rest != 0 && (rest < 0) != (b < 0)))
    });
    cx.know(0, known);
    Ok(())
}

/// floor(a/b) of integers. Sizes, which int64 holds with room to spare, are (a - (a mod b)) / b, exact because ONNX's Mod has the
/// sign of the divisor. That difference can leave int32, so elsewhere it is a/b, and 1 less where there is a rest and the signs
/// differ.
fn integer_floor_div(cx: &mut Context, form: Form, x: &str, y: &str) -> Result<String, Reason> {
    if form == Form::Wide {
        let rest = integer_mod(cx, form, x, y)?;
        let multiple = cx.emit("Sub", &[x, &rest], &[]);
        return divide(cx, form, &multiple, y);
    }
    let rest = truncated_rest(cx, form, x, y)?;
    let (zero, one) = (cx.scalar(cx.dtype(0), 0.0)?, cx.scalar(cx.dtype(0), 1.0)?);
    let quotient = divide(cx, form, x, y)?;
    let below = cx.emit("Sub", &[&quotient, &one], &[]);
    let (negative_x, negative_y) = (cx.emit("Less", &[x, &zero], &[]), cx.emit("Less", &[y, &zero], &[]));
    let differ = cx.emit("Xor", &[&negative_x, &negative_y], &[]);
    let exact = cx.emit("Equal", &[&rest, &zero], &[]);
    let inexact = cx.emit("Not", &[&exact], &[]);
    let rounded = cx.emit("And", &[&differ, &inexact], &[]);
    Ok(cx.emit("Where", &[&rounded, &below, &quotient], &[]))
}

/// The remainder with the divisor's sign. ONNX gives it for integers; for floats it gives C's fmod, corrected here as
/// TensorFlow does: where the remainder is not zero and its sign is not the divisor's, the divisor is added.
fn floor_mod(cx: &mut Context) -> Result<(), Reason> {
    let (form, x) = broadcast(cx)?;
    if !cx.dtype(0).is_float() {
        let out = integer_mod(cx, form, &x[0], &x[1])?;
        return cx.give_broadcast(form, out);
    }
    let rest = cx.emit("Mod", &[&x[0], &x[1]], &[("fmod", Attr::I(1))]);
    let out = with_sign_of(cx, &rest, &x[1])?;
    cx.give_broadcast(form, out)
}

/// a/b, and 0 where b is 0.
fn div_no_nan(cx: &mut Context) -> Result<(), Reason> {
    let (form, x) = broadcast(cx)?;
    let zero = cx.scalar(cx.dtype(0), 0.0)?;
    let by_zero = cx.emit("Equal", &[&x[1], &zero], &[]);
    let quotient = cx.emit("Div", &[&x[0], &x[1]], &[]);
    let out = cx.emit("Where", &[&by_zero, &zero, &quotient], &[]);
    cx.give_broadcast(form, out)
}

/// x*y, and 0 where y is 0, whatever x is.
fn mul_no_nan(cx: &mut Context) -> Result<(), Reason> {
    let (form, x) = broadcast(cx)?;
    let zero = cx.scalar(cx.dtype(0), 0.0)?;
    let by_zero = cx.emit("Equal", &[&x[1], &zero], &[]);
    let product = cx.emit("Mul", &[&x[0], &x[1]], &[]);
    let out = cx.emit("Where", &[&by_zero, &zero, &product], &[]);
    cx.give_broadcast(form, out)
}

/// x times or over a function of y, and 0 where x is 0, whatever y is.
fn zero_first(cx: &mut Context) -> Result<(), Reason> {
    let (form, x) = broadcast(cx)?;
    let zero = cx.scalar(cx.dtype(0), 0.0)?;
    let is_zero = cx.emit("Equal", &[&x[0], &zero], &[]);
    let value = match cx.view.op() {
        "Xdivy" => cx.emit("Div", &[&x[0], &x[1]], &[]),
        "Xlog1py" => {
            let log = log_one_plus(cx, cx.dtype(1), &x[1])?;
            cx.emit("Mul", &[&x[0], &log], &[])
        }
        _ => {
            let log = cx.emit("Log", &[&x[1]], &[]);
            cx.emit("Mul", &[&x[0], &log], &[])
        }
    };
    let out = cx.emit("Where", &[&is_zero, &zero, &value], &[]);
    cx.give_broadcast(form, out)
}

/// The remainder with the dividend's sign: C's fmod, for integers too.
fn truncated_mod(cx: &mut Context) -> Result<(), Reason> {
    if cx.dtype(0).is_float() {
        return elementwise(cx, "Mod", &[("fmod", Attr::I(1))]);
    }
    let (form, x) = broadcast(cx)?;
    let out = truncated_rest(cx, form, &x[0], &x[1])?;
    cx.give_broadcast(form, out)?;
    let known = fold_elements(cx, |a, b| (b != 0).then(|| a.wrapping_rem(b)));
    cx.know(0, known);
    Ok(())
}

/// Whether x and y are no more than the tolerance apart. TensorFlow documents "less", and its kernel takes the tolerance itself, too.
fn approximate_equal(cx: &mut Context) -> Result<(), Reason> {
    guard::require_same_shape(cx, 0, 1)?;
    let (form, x) = broadcast(cx)?;
    let tolerance = cx.view.node().attr_f("tolerance").unwrap_or(1e-5);
    let tolerance = cx.scalar(cx.dtype(0), tolerance.into())?;
    let difference = cx.emit("Sub", &[&x[0], &x[1]], &[]);
    let distance = cx.emit("Abs", &[&difference], &[]);
    let out = cx.emit("LessOrEqual", &[&distance, &tolerance], &[]);
    cx.give_broadcast(form, out)
}

fn squared_difference(cx: &mut Context) -> Result<(), Reason> {
    let (form, x) = broadcast(cx)?;
    let difference = cx.emit("Sub", &[&x[0], &x[1]], &[]);
    let out = cx.emit("Mul", &[&difference, &difference], &[]);
    cx.give_broadcast(form, out)
}

fn add_n(cx: &mut Context) -> Result<(), Reason> {
    (1..cx.view.count()).try_for_each(|i| guard::require_same_shape(cx, 0, i))?;
    let (form, x) = broadcast(cx)?;
    let mut sum = x[0].clone();
    for term in &x[1..] {
        sum = cx.emit("Add", &[&sum, term], &[]);
    }
    if x.len() == 1 {
        cx.alias(0, 0);
        return Ok(());
    }
    cx.give_broadcast(form, sum)
}

/// Adds a vector along the channels: the last dimension, or with data_format NCHW the second.
fn bias_add(cx: &mut Context) -> Result<(), Reason> {
    let (rank, nchw) = (cx.rank(0), cx.view.attr_or("data_format", "NHWC") == "NCHW");
    guard::require_same(cx, (0, if nchw { 1 } else { rank - 1 }), (1, 0))?;
    if !nchw || rank < 3 {
        return elementwise(cx, "Add", &[]);
    }
    let (x, bias) = (cx.plain(0)?, beside_channels(cx, 1, rank)?);
    let out = cx.emit("Add", &[&x, &bias], &[]);
    cx.give(0, Form::Plain, out)
}

/// Input `i`, a vector, as it has to stand beside a tensor of rank `rank` whose second dimension it runs along.
pub fn beside_channels(cx: &mut Context, i: usize, rank: usize) -> Result<String, Reason> {
    let trailing: Vec<i64> = (1..rank as i64 - 1).collect();
    match cx.value(i).constant.clone() {
        Some(constant) => {
            let mut dims = constant.dims.clone();
            dims.extend(trailing.iter().map(|_| 1));
            cx.state.builder.initializer(&Constant { dims, ..constant })
        }
        None => {
            let (vector, axes) = (cx.plain(i)?, cx.vector(&trailing));
            Ok(cx.emit("Unsqueeze", &[&vector, &axes], &[]))
        }
    }
}

fn bias_add_supports(view: View) -> Result<(), Reason> {
    all_inputs(view, NUMBERS)?;
    view.accepts_rank(1, 1)?;
    match view.rank(0)? {
        0 | 1 => Err("BiasAdd needs an input of rank 2 or more.".to_string()),
        _ => Ok(()),
    }
}

/// The types of which TensorFlow has remainders, too.
const REMAINDERS: &[DType] = &[DType::FLOAT, DType::INT32, DType::INT64];

fn integer_types(view: View) -> Result<(), Reason> {
    all_inputs(view, INTEGERS)
}

macro_rules! binary {
    ($op:literal, $types:expr, $convert:expr) => {
        Converter {
            op: $op,
            supports: |v| all_inputs(v, $types),
            convert: $convert,
        }
    };
}

pub const CONVERTERS: &[Converter] = &[
    binary!("Add", NUMBERS, |cx| arithmetic(cx, "Add", |a, b| Some(a.wrapping_add(b)))),
    binary!("AddN", NUMBERS, add_n),
    binary!("AddV2", NUMBERS, |cx| arithmetic(cx, "Add", |a, b| Some(a.wrapping_add(b)))),
    binary!("ApproximateEqual", &[DType::FLOAT], approximate_equal),
    Converter {
        op: "BiasAdd",
        supports: bias_add_supports,
        convert: bias_add,
    },
    binary!("Div", NUMBERS, division),
    binary!("DivNoNan", FLOATS, div_no_nan),
    binary!("FloorDiv", NUMBERS, floor_div),
    binary!("FloorMod", NUMBERS, floor_mod),
    binary!("Maximum", NUMBERS, |cx| extreme(cx, "Max", |a, b| Some(a.max(b)))),
    binary!("Minimum", NUMBERS, |cx| extreme(cx, "Min", |a, b| Some(a.min(b)))),
    binary!("Mod", REMAINDERS, truncated_mod),
    binary!("Mul", NUMBERS, |cx| arithmetic(cx, "Mul", |a, b| Some(a.wrapping_mul(b)))),
    binary!("MulNoNan", FLOATS, mul_no_nan),
    binary!("Pow", FLOATS, |cx| elementwise(cx, "Pow", &[])),
    binary!("RealDiv", FLOATS, |cx| elementwise(cx, "Div", &[])),
    binary!("SquaredDifference", NUMBERS, squared_difference),
    binary!("Sub", NUMBERS, |cx| arithmetic(cx, "Sub", |a, b| Some(a.wrapping_sub(b)))),
    Converter {
        op: "TruncateDiv",
        supports: integer_types,
        convert: division,
    },
    binary!("TruncateMod", REMAINDERS, truncated_mod),
    binary!("Xdivy", FLOATS, zero_first),
    binary!("Xlog1py", FLOATS, zero_first),
    binary!("Xlogy", FLOATS, zero_first),
];
