//! Activations.

use super::{Converter, FLOATS, all_inputs, broadcast, elementwise, floats};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::view::View;

fn relu6(cx: &mut Context) -> Result<(), Reason> {
    let (low, high) = (cx.scalar(cx.dtype(0), 0.0)?, cx.scalar(cx.dtype(0), 6.0)?);
    let (form, x) = broadcast(cx)?;
    let out = cx.emit("Clip", &[&x[0], &low, &high], &[]);
    cx.give(0, form, out)
}

fn leaky_relu(cx: &mut Context) -> Result<(), Reason> {
    let alpha = cx.view.node().attr_f("alpha").unwrap_or(0.2);
    elementwise(cx, "LeakyRelu", &[("alpha", Attr::F(alpha))])
}

/// Softmax and LogSoftmax, over the last dimension as TensorFlow has it.
fn softmax(cx: &mut Context, op: &str) -> Result<(), Reason> {
    let last = cx.rank(0).checked_sub(1).ok_or("a scalar has no dimension to work on")?;
    let form = cx.form(0);
    let x = cx.input(0, form)?;
    let axis = super::axis_in(form, last) as i64;
    let out = cx.emit(op, &[&x], &[("axis", Attr::I(axis))]);
    cx.give(0, form, out)
}

fn softmax_supports(view: View) -> Result<(), Reason> {
    all_inputs(view, FLOATS)?;
    match view.rank(0)? {
        0 => Err(format!("{} needs an input of rank 1 or more.", view.op())),
        _ => Ok(()),
    }
}

/// The upper bound first, then the lower one, as TensorFlow does; the bounds may be tensors.
fn clip_by_value(cx: &mut Context) -> Result<(), Reason> {
    let (form, x) = broadcast(cx)?;
    let capped = cx.emit("Min", &[&x[0], &x[2]], &[]);
    let out = cx.emit("Max", &[&capped, &x[1]], &[]);
    cx.give(0, form, out)
}

pub const CONVERTERS: &[Converter] = &[
    floats("Elu", |cx| elementwise(cx, "Elu", &[])),
    floats("LeakyRelu", leaky_relu),
    floats("Relu", |cx| elementwise(cx, "Relu", &[])),
    floats("Relu6", relu6),
    floats("Selu", |cx| elementwise(cx, "Selu", &[])),
    floats("Softplus", |cx| elementwise(cx, "Softplus", &[])),
    floats("Softsign", |cx| elementwise(cx, "Softsign", &[])),
    Converter {
        op: "ClipByValue",
        supports: |v| all_inputs(v, super::NUMBERS),
        convert: clip_by_value,
    },
    Converter {
        op: "LogSoftmax",
        supports: softmax_supports,
        convert: |cx| softmax(cx, "LogSoftmax"),
    },
    Converter {
        op: "Softmax",
        supports: softmax_supports,
        convert: |cx| softmax(cx, "Softmax"),
    },
];
