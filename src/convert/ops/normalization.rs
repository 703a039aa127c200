//! Batch normalisation with trained statistics.

use super::images::is_nchw;
use super::{Converter, FLOATS, activation};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::value::Form;
use crate::convert::view::View;
use crate::graph::DType;

const PARAMETERS: [&str; 4] = ["scale", "offset", "mean", "variance"];

fn supports(view: View) -> Result<(), Reason> {
    if view.node().attr_b("is_training").unwrap_or(true) {
        return Err(format!("{} is not supported for is_training=True.", view.op()));
    }
    view.accepts(0, FLOATS)?;
    view.accepts_rank(0, 4)?;
    is_nchw(view)?;
    parameters(view, 1)
}

/// Fails unless the four inputs from `first` on are constant float32 parameters.
pub fn parameters(view: View, first: usize) -> Result<(), Reason> {
    PARAMETERS.iter().zip(first..).try_for_each(|(what, i)| {
        view.accepts(i, &[DType::FLOAT])?;
        match view.is_constant(i) {
            true => Ok(()),
            false => Err(format!("The input \"{what}\" must be a constant.")),
        }
    })
}

/// `x`, channels first, normalised with the parameters from input `first` on.
pub fn normalize(cx: &mut Context, x: &str, first: usize) -> Result<String, Reason> {
    let epsilon = cx.view.node().attr_f("epsilon").unwrap_or(1e-4);
    let mut inputs = vec![x.to_string()];
    for i in first..first + 4 {
        inputs.push(cx.plain(i)?);
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    Ok(cx.emit("BatchNormalization", &inputs, &[("epsilon", Attr::F(epsilon))]))
}

/// Outputs 1 and 2, the statistics, are the given ones outside training; the rest is for gradients and has no value.
fn convert(cx: &mut Context) -> Result<(), Reason> {
    let form = if is_nchw(cx.view)? { Form::Plain } else { Form::ChannelsFirst };
    let x = cx.input(0, form)?;
    let out = normalize(cx, &x, 1)?;
    let out = finish(cx, form, out)?;
    cx.give(0, form, out)?;
    cx.alias(1, 3);
    cx.alias(2, 4);
    Ok(())
}

/// What _FusedBatchNormEx, which TensorFlow's remapper makes, does besides: adds a tensor of the images' size, then the activation.
fn finish(cx: &mut Context, form: Form, mut x: String) -> Result<String, Reason> {
    if cx.view.count() > 5 {
        let side = cx.input(5, form)?;
        x = cx.emit("Add", &[&x, &side], &[]);
    }
    match cx.view.attr_or("activation_mode", "Identity") {
        "Identity" => Ok(x),
        name => activation::activate(cx, name, cx.dtype(0), &x, 0.0),
    }
}

fn ex_supports(view: View) -> Result<(), Reason> {
    supports(view)?;
    if view.count() > 5 {
        view.accepts(5, FLOATS)?;
        view.accepts_rank(5, 4)?;
    }
    match view.attr_or("activation_mode", "Identity") {
        "Identity" | "Relu" => Ok(()),
        other => Err(format!("{} is not supported for activation_mode {other}.", view.op())),
    }
}

macro_rules! batch_norm {
    ($op:literal) => {
        Converter {
            op: $op,
            supports,
            convert,
        }
    };
}

pub const CONVERTERS: &[Converter] = &[
    batch_norm!("FusedBatchNorm"),
    batch_norm!("FusedBatchNormV2"),
    batch_norm!("FusedBatchNormV3"),
    Converter {
        op: "_FusedBatchNormEx",
        supports: ex_supports,
        convert,
    },
];
