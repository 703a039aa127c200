//! Functions of one element.

use super::exact;
use super::{BOOLS, Converter, FLOATS, INTEGERS, NUMBERS, all_inputs, broadcast, elementwise, floats};
use crate::convert::Reason;
use crate::convert::context::Context;
use crate::convert::value::Form;
use crate::graph::DType;

/// sqrt, then 1/x: ONNX has no rsqrt.
fn rsqrt(cx: &mut Context) -> Result<(), Reason> {
    let (form, x) = broadcast(cx)?;
    let root = cx.emit("Sqrt", &[&x[0]], &[]);
    let out = cx.emit("Reciprocal", &[&root], &[]);
    cx.give_broadcast(form, out)
}

fn square(cx: &mut Context) -> Result<(), Reason> {
    let (form, x) = broadcast(cx)?;
    let out = cx.emit("Mul", &[&x[0], &x[0]], &[]);
    cx.give_broadcast(form, out)
}

/// log(1+x) without the loss near zero: where 1+x rounds to u, the answer is x * log(u)/(u-1) (Kahan), and x where u is 1 or
/// infinity. The factor is chosen and not the result, so that the zero of -0.0 keeps its sign. Infinity is what is above the largest
/// number: TensorRT 8.6 does not find it equal to itself.
pub fn log_one_plus(cx: &mut Context, dtype: DType, x: &str) -> Result<String, Reason> {
    let most = if dtype == DType::HALF { 65504.0 } else { f64::from(f32::MAX) };
    let (one, most) = (cx.scalar(dtype, 1.0)?, cx.scalar(dtype, most)?);
    let u = cx.emit("Add", &[x, &one], &[]);
    let log = cx.emit("Log", &[&u], &[]);
    let rounded = cx.emit("Sub", &[&u, &one], &[]);
    let ratio = cx.emit("Div", &[&log, &rounded], &[]);
    let tiny = cx.emit("Equal", &[&u, &one], &[]);
    let huge = cx.emit("Greater", &[&u, &most], &[]);
    let itself = cx.emit("Or", &[&tiny, &huge], &[]);
    let factor = cx.emit("Where", &[&itself, &one, &ratio], &[]);
    Ok(cx.emit("Mul", &[x, &factor], &[]))
}

fn log1p(cx: &mut Context) -> Result<(), Reason> {
    let (form, x) = broadcast(cx)?;
    let out = log_one_plus(cx, cx.dtype(0), &x[0])?;
    cx.give_broadcast(form, out)
}

/// exp(x)-1 without the loss near zero: tanh(x/2) * (exp(x)+1).
fn expm1(cx: &mut Context) -> Result<(), Reason> {
    let (one, half) = (cx.scalar(cx.dtype(0), 1.0)?, cx.scalar(cx.dtype(0), 0.5)?);
    let (form, x) = broadcast(cx)?;
    let halved = cx.emit("Mul", &[&x[0], &half], &[]);
    let tanh = cx.emit("Tanh", &[&halved], &[]);
    let exp = cx.emit("Exp", &[&x[0]], &[]);
    let sum = cx.emit("Add", &[&exp, &one], &[]);
    let out = cx.emit("Mul", &[&tanh, &sum], &[]);
    cx.give_broadcast(form, out)
}

/// -1, 0 or 1. TensorRT 8.6 has Sign for floating-point numbers only.
fn sign(cx: &mut Context) -> Result<(), Reason> {
    if cx.dtype(0).is_float() {
        return elementwise(cx, "Sign", &[]);
    }
    let x = cx.plain(0)?;
    let (one, minus_one) = (cx.scalar(cx.dtype(0), 1.0)?, cx.scalar(cx.dtype(0), -1.0)?);
    let bounds = cx.bounds(0, Form::Plain);
    let below = exact::extreme(cx, "Min", &x, &one, [bounds; 2]);
    let out = exact::extreme(cx, "Max", &below, &minus_one, [bounds; 2]);
    cx.give(0, Form::Plain, out)
}

/// All bits turned over: -1 - x, which no integer leaves the range by.
fn invert(cx: &mut Context) -> Result<(), Reason> {
    let (form, x) = broadcast(cx)?;
    let wide = if form == Form::Wide { DType::INT64 } else { cx.dtype(0) };
    let minus_one = cx.scalar(wide, -1.0)?;
    let out = cx.emit("Sub", &[&minus_one, &x[0]], &[]);
    cx.give_broadcast(form, out)
}

/// Zeros or ones of the input's shape.
fn filled(cx: &mut Context, value: f64) -> Result<(), Reason> {
    let value = cx.scalar(cx.dtype(0), value)?;
    let shape = cx.shape_of(0)?;
    let out = cx.emit("Expand", &[&value, &shape], &[]);
    cx.give(0, Form::Plain, out)
}

/// 1 - erf(x): ONNX has no erfc. Right to a few units of float's precision around 1; the tail beyond x = 4, where erfc has small
/// values of its own, is 0. What GELU does with it, multiply it with x, it is as good for as erf.
fn erfc(cx: &mut Context) -> Result<(), Reason> {
    let form = cx.form(0);
    let x = cx.input(0, form)?;
    let one = cx.scalar(cx.dtype(0), 1.0)?;
    let erf = cx.emit("Erf", &[&x], &[]);
    let out = cx.emit("Sub", &[&one, &erf], &[]);
    cx.give_broadcast(form, out)
}

macro_rules! same {
    ($op:literal, $onnx:literal, $types:expr) => {
        Converter {
            op: $op,
            supports: |v| all_inputs(v, $types),
            convert: |cx| elementwise(cx, $onnx, &[]),
        }
    };
}

pub const CONVERTERS: &[Converter] = &[
    same!("Abs", "Abs", NUMBERS),
    same!("Acos", "Acos", FLOATS),
    same!("Acosh", "Acosh", FLOATS),
    same!("Asin", "Asin", FLOATS),
    same!("Asinh", "Asinh", FLOATS),
    same!("Atan", "Atan", FLOATS),
    same!("Atanh", "Atanh", FLOATS),
    same!("Ceil", "Ceil", FLOATS),
    same!("Cos", "Cos", FLOATS),
    same!("Cosh", "Cosh", FLOATS),
    same!("Erf", "Erf", FLOATS),
    same!("Exp", "Exp", FLOATS),
    same!("Floor", "Floor", FLOATS),
    same!("Inv", "Reciprocal", FLOATS),
    same!("IsInf", "IsInf", FLOATS),
    same!("IsNan", "IsNaN", FLOATS),
    same!("Log", "Log", FLOATS),
    same!("LogicalNot", "Not", BOOLS),
    same!("Neg", "Neg", NUMBERS),
    same!("Reciprocal", "Reciprocal", FLOATS),
    // Both round halves to even.
    same!("Rint", "Round", FLOATS),
    same!("Round", "Round", FLOATS),
    same!("Sigmoid", "Sigmoid", FLOATS),
    same!("Sin", "Sin", FLOATS),
    same!("Sinh", "Sinh", FLOATS),
    same!("Sqrt", "Sqrt", FLOATS),
    same!("Tan", "Tan", FLOATS),
    same!("Tanh", "Tanh", FLOATS),
    floats("Erfc", erfc),
    floats("Expm1", expm1),
    floats("Log1p", log1p),
    floats("Rsqrt", rsqrt),
    Converter {
        op: "Sign",
        supports: |v| all_inputs(v, NUMBERS),
        convert: sign,
    },
    Converter {
        op: "Invert",
        supports: |v| all_inputs(v, INTEGERS),
        convert: invert,
    },
    Converter {
        op: "Square",
        supports: |v| all_inputs(v, NUMBERS),
        convert: square,
    },
    Converter {
        op: "OnesLike",
        supports: |v| all_inputs(v, NUMBERS),
        convert: |cx| filled(cx, 1.0),
    },
    Converter {
        op: "ZerosLike",
        supports: |v| all_inputs(v, NUMBERS),
        convert: |cx| filled(cx, 0.0),
    },
];
