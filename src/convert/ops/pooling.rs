//! Pools of images and volumes.

use super::images;
use super::window::{Window, spatial, window};
use super::{Converter, FLOATS, all_inputs};
use crate::convert::Reason;
use crate::convert::context::Context;
use crate::convert::view::View;

fn pool_window(view: View) -> Result<Window, Reason> {
    let count = if view.op().ends_with("3D") { 3 } else { 2 };
    window(view, &spatial(view, "ksize", count)?)
}

fn supports(view: View) -> Result<(), Reason> {
    all_inputs(view, FLOATS)?;
    pool_window(view).map(|_| ())
}

/// Padding never counts: it is below everything for a maximum, and left out of an average (ONNX's default as well).
fn convert(cx: &mut Context, op: &str) -> Result<(), Reason> {
    let window = pool_window(cx.view)?;
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
