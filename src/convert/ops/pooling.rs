//! Pools.

use super::window::{is_nchw, spatial, window};
use super::{Converter, FLOATS, all_inputs};
use crate::convert::Reason;
use crate::convert::context::Context;
use crate::convert::value::Form;
use crate::convert::view::View;

fn supports(view: View) -> Result<(), Reason> {
    all_inputs(view, FLOATS)?;
    view.accepts_rank(0, 4)?;
    window(view, spatial(view, "ksize")?).map(|_| ())
}

/// Padding never counts: it is below everything for a maximum, and left out of an average (ONNX's default as well).
fn convert(cx: &mut Context, op: &str) -> Result<(), Reason> {
    let window = window(cx.view, spatial(cx.view, "ksize")?)?;
    let form = if is_nchw(cx.view)? { Form::Plain } else { Form::ChannelsFirst };
    let x = cx.input(0, form)?;
    let out = cx.emit(op, &[&x], &window.attrs());
    cx.give(0, form, out)
}

pub const CONVERTERS: &[Converter] = &[
    Converter {
        op: "AvgPool",
        supports,
        convert: |cx| convert(cx, "AveragePool"),
    },
    Converter {
        op: "MaxPool",
        supports,
        convert: |cx| convert(cx, "MaxPool"),
    },
];
