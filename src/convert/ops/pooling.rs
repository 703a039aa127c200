//! Pools of images and volumes.

use super::images;
use super::window::{Window, reach, spatial, window};
use super::{Converter, FLOATS, all_inputs};
use crate::convert::Reason;
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::view::View;

fn pool_window(view: View) -> Result<Window, Reason> {
    let count = if view.op().ends_with("3D") { 3 } else { 2 };
    window(view, &spatial(view, "ksize", count)?)
}

fn supports(view: View) -> Result<(), Reason> {
    all_inputs(view, FLOATS)?;
    pool_window(view).map(|_| ())
}

/// States that the images are as large as a window is. Of smaller ones TensorFlow gives nothing; ONNX Runtime gives a window all the same where
/// less than a stride is missing. (TensorFlow's own pools of volumes may end the process there, so none are sent to them.)
fn holds_a_window(cx: &mut Context, window: &Window) -> Result<(), Reason> {
    let Some(pads) = &window.pads else { return Ok(()) };
    if cx.rank(0) > 4 {
        return Ok(());
    }
    let (first, count) = (if images::is_nchw(cx.view)? { 2 } else { 1 }, window.kernel.len());
    for at in 0..count {
        let least = reach(window.kernel[at], window.dilations[at]) - pads[at] - pads[count + at];
        if window.strides[at] > 1 {
            guard::require_at_least(cx, 0, first + at, least)?;
        }
    }
    Ok(())
}

/// Padding never counts: it is below everything for a maximum, and left out of an average (ONNX's default as well).
fn convert(cx: &mut Context, op: &str) -> Result<(), Reason> {
    let window = pool_window(cx.view)?;
    holds_a_window(cx, &window)?;
    let x = images::take(cx, 0)?;
    let out = cx.emit(op, &[&x], &window.attrs());
    images::give(cx, out)
}

macro_rules! pool {
    ($op:literal, $onnx:literal) => {
        Converter {
            op: $op,
            supports,
            convert: |cx| convert(cx, $onnx),
        }
    };
}

pub const CONVERTERS: &[Converter] = &[
    pool!("AvgPool", "AveragePool"),
    pool!("AvgPool3D", "AveragePool"),
    pool!("MaxPool", "MaxPool"),
    pool!("MaxPool3D", "MaxPool"),
];
