//! Activations.

use super::exact;
use super::{Converter, FLOATS, NUMBERS, all_inputs, broadcast, elementwise, floats};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::carried;
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::value::Form;
use crate::convert::view::View;
use crate::graph::DType;

/// What [`activate`] knows, by the names that TensorFlow's fused ops use.
pub const FUSED: &[&str] = &[
    "Elu",
    "GeluApproximate",
    "GeluExact",
    "LeakyRelu",
    "Relu",
    "Relu6",
    "Sigmoid",
    "Tanh",
];

/// The activation `name`, one of [`FUSED`], of `x`. `alpha` is the slope of LeakyRelu below zero.
pub fn activate(cx: &mut Context, name: &str, dtype: DType, x: &str, alpha: f32) -> Result<String, Reason> {
    match name {
        "Elu" | "Relu" | "Sigmoid" | "Tanh" => Ok(cx.emit(name, &[x], &[])),
        "LeakyRelu" => Ok(cx.emit(name, &[x], &[("alpha", Attr::F(alpha))])),
        "Relu6" => {
            let (low, high) = (cx.scalar(dtype, 0.0)?, cx.scalar(dtype, 6.0)?);
            Ok(cx.emit("Clip", &[x, &low, &high], &[]))
        }
        "GeluApproximate" | "GeluExact" => gelu(cx, dtype, x, name == "GeluExact"),
        _ => Err(format!("The activation {name} is not supported.")),
    }
}

/// x/2 * (1 + erf(x / sqrt 2)), or with tanh(sqrt(2/pi) * (x + 0.044715 x^3)) in the error function's place.
fn gelu(cx: &mut Context, dtype: DType, x: &str, exact: bool) -> Result<String, Reason> {
    let (half, one) = (cx.scalar(dtype, 0.5)?, cx.scalar(dtype, 1.0)?);
    let curve = if exact {
        let scale = cx.scalar(dtype, std::f64::consts::FRAC_1_SQRT_2)?;
        let scaled = cx.emit("Mul", &[x, &scale], &[]);
        cx.emit("Erf", &[&scaled], &[])
    } else {
        let scale = cx.scalar(dtype, (2.0 / std::f64::consts::PI).sqrt())?;
        let share = cx.scalar(dtype, 0.044715)?;
        let square = cx.emit("Mul", &[x, x], &[]);
        let cube = cx.emit("Mul", &[&square, x], &[]);
        let term = cx.emit("Mul", &[&cube, &share], &[]);
        let sum = cx.emit("Add", &[x, &term], &[]);
        let scaled = cx.emit("Mul", &[&sum, &scale], &[]);
        cx.emit("Tanh", &[&scaled], &[])
    };
    let raised = cx.emit("Add", &[&curve, &one], &[]);
    let halved = cx.emit("Mul", &[x, &half], &[]);
    Ok(cx.emit("Mul", &[&halved, &raised], &[]))
}

fn activation(cx: &mut Context) -> Result<(), Reason> {
    let alpha = cx.view.node().attr_f("alpha").unwrap_or(0.2);
    let (form, x) = broadcast(cx)?;
    let out = activate(cx, cx.view.op(), cx.dtype(0), &x[0], alpha)?;
    cx.give_broadcast(form, out)
}

/// x / (1 + |x|). ONNX Runtime's Softsign multiplies by the reciprocal, which is 0 beside the largest numbers.
fn softsign(cx: &mut Context) -> Result<(), Reason> {
    let one = cx.scalar(cx.dtype(0), 1.0)?;
    let (form, x) = broadcast(cx)?;
    let size = cx.emit("Abs", &[&x[0]], &[]);
    let sum = cx.emit("Add", &[&size, &one], &[]);
    let out = cx.emit("Div", &[&x[0], &sum], &[]);
    cx.give_broadcast(form, out)
}

/// Relu and Relu6. ONNX has them for floats; of integers they are the larger of the number and 0, and of that the smaller one and 6.
fn relu(cx: &mut Context) -> Result<(), Reason> {
    let (form, x) = broadcast(cx)?;
    let dtype = match form {
        Form::Wide => DType::INT64,
        _ => carried::held(cx.dtype(0)),
    };
    if dtype.is_float() {
        let out = activate(cx, cx.view.op(), dtype, &x[0], 0.0)?;
        return cx.give_broadcast(form, out);
    }
    let zero = cx.scalar(dtype, 0.0)?;
    let bounds = cx.bounds(0, form);
    let mut out = exact::extreme(cx, "Max", &x[0], &zero, [bounds; 2]);
    if cx.view.op() == "Relu6" {
        let six = cx.scalar(dtype, 6.0)?;
        out = exact::extreme(cx, "Min", &out, &six, [bounds; 2]);
    }
    cx.give_broadcast(form, out)
}

/// Softmax and LogSoftmax, over the last dimension as TensorFlow has it.
fn softmax(cx: &mut Context, op: &str) -> Result<(), Reason> {
    let last = cx.rank(0).checked_sub(1).ok_or("a scalar has no dimension to work on")?;
    let form = cx.form(0);
    let x = cx.input(0, form)?;
    let axis = super::axis_in(form, last) as i64;
    let out = cx.emit(op, &[&x], &[("axis", Attr::I(axis))]);
    cx.give_broadcast(form, out)
}

fn softmax_supports(view: View) -> Result<(), Reason> {
    all_inputs(view, FLOATS)?;
    match view.rank(0)? {
        0 => Err(format!("{} needs an input of rank 1 or more.", view.op())),
        _ => Ok(()),
    }
}

/// The upper bound first, then the lower one, as TensorFlow does; the bounds may be tensors of the input's shape.
fn clip_by_value(cx: &mut Context) -> Result<(), Reason> {
    for bound in 1..3 {
        if cx.rank(bound) > 0 {
            guard::require_same_shape(cx, 0, bound)?;
        }
    }
    let (form, x) = broadcast(cx)?;
    let (capped, out);
    if cx.dtype(0).is_float() {
        capped = cx.emit("Min", &[&x[0], &x[2]], &[]);
        out = cx.emit("Max", &[&capped, &x[1]], &[]);
    } else {
        let within = cx.bounds(0, form).both(cx.bounds(2, form));
        capped = exact::extreme(cx, "Min", &x[0], &x[2], [within; 2]);
        let bounds = [within, cx.bounds(1, form)];
        out = exact::extreme(cx, "Max", &capped, &x[1], bounds);
    }
    cx.give_broadcast(form, out)
}

fn clip_supports(view: View) -> Result<(), Reason> {
    all_inputs(view, NUMBERS)?;
    for bound in 1..3 {
        let rank = view.rank(bound)?;
        if rank > 0 && rank != view.rank(0)? {
            return Err(format!(
                "ClipByValue takes bounds of the input's shape or scalars, not of rank {rank}."
            ));
        }
    }
    Ok(())
}

pub const CONVERTERS: &[Converter] = &[
    floats("Elu", activation),
    floats("LeakyRelu", activation),
    floats("Selu", |cx| elementwise(cx, "Selu", &[])),
    floats("Softplus", |cx| elementwise(cx, "Softplus", &[])),
    floats("Softsign", softsign),
    Converter {
        op: "ClipByValue",
        supports: clip_supports,
        convert: clip_by_value,
    },
    Converter {
        op: "LogSoftmax",
        supports: softmax_supports,
        convert: |cx| softmax(cx, "LogSoftmax"),
    },
    Converter {
        op: "Relu",
        supports: |v| all_inputs(v, NUMBERS),
        convert: relu,
    },
    Converter {
        op: "Relu6",
        supports: |v| all_inputs(v, NUMBERS),
        convert: relu,
    },
    Converter {
        op: "Softmax",
        supports: softmax_supports,
        convert: |cx| softmax(cx, "Softmax"),
    },
];
