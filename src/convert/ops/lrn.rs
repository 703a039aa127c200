//! Local response normalisation.

use super::{Converter, FLOATS, all_inputs};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::value::Form;
use crate::convert::view::View;

/// TensorRT's limit: windows of at most 15 channels.
const MAX_RADIUS: i64 = 7;

fn radius(view: View) -> Result<i64, Reason> {
    match view.node().attr_i("depth_radius").unwrap_or(5) {
        radius @ 0..=MAX_RADIUS => Ok(radius),
        other => Err(format!(
            "LRN is not supported for depth_radius {other}: TensorRT takes 0 to {MAX_RADIUS}."
        )),
    }
}

/// `beta` and `bias`, within TensorRT's limits.
fn exponent_and_bias(view: View) -> Result<(f32, f32), Reason> {
    let (beta, bias) = (view.node().attr_f("beta").unwrap_or(0.5), view.node().attr_f("bias").unwrap_or(1.0));
    match beta >= 0.01 && bias >= 1e-5 {
        true => Ok((beta, bias)),
        false => Err(format!(
            "LRN is not supported for beta {beta} and bias {bias}: TensorRT takes beta from 0.01 and bias from 0.00001."
        )),
    }
}

fn supports(view: View) -> Result<(), Reason> {
    all_inputs(view, FLOATS)?;
    view.accepts_rank(0, 4)?;
    radius(view)?;
    exponent_and_bias(view).map(|_| ())
}

/// ONNX divides alpha by the number of channels in the window, TensorFlow does not.
fn convert(cx: &mut Context) -> Result<(), Reason> {
    let size = 2 * radius(cx.view)? + 1;
    let (beta, bias) = exponent_and_bias(cx.view)?;
    let alpha = cx.view.node().attr_f("alpha").unwrap_or(1.0) * size as f32;
    let x = cx.input(0, Form::ChannelsFirst)?;
    let attrs = [
        ("size", Attr::I(size)),
        ("alpha", Attr::F(alpha)),
        ("beta", Attr::F(beta)),
        ("bias", Attr::F(bias)),
    ];
    let out = cx.emit("LRN", &[&x], &attrs);
    cx.give(0, Form::ChannelsFirst, out)
}

pub const CONVERTERS: &[Converter] = &[Converter {
    op: "LRN",
    supports,
    convert,
}];
