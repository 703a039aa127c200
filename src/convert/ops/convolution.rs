//! Convolutions. Weights are re-laid when the segment is converted: HWIO becomes OIHW.

use super::window::{is_nchw, window};
use super::{Converter, FLOATS, all_inputs};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::layout;
use crate::convert::value::Form;
use crate::convert::view::View;
use crate::graph::Constant;

/// The weights' four sizes: height, width, input channels of a group, output channels (of one input channel, if depthwise).
fn weight_dims(view: View) -> Result<[i64; 4], Reason> {
    let sizes = view.info(1)?.shape.full().unwrap_or_default();
    <[i64; 4]>::try_from(sizes).map_err(|_| format!("{} needs weights of rank 4.", view.op()))
}

fn groups(view: View) -> Result<i64, Reason> {
    let channels = view.dims(0)?[if is_nchw(view)? { 1 } else { 3 }];
    let channels = channels.ok_or("The number of input channels must be known.")?;
    match weight_dims(view)?[2] {
        _ if view.op() == "DepthwiseConv2dNative" => Ok(channels),
        each if each > 0 && channels % each == 0 => Ok(channels / each),
        each => Err(format!("{channels} input channels cannot be split into groups of {each}.")),
    }
}

fn supports(view: View) -> Result<(), Reason> {
    all_inputs(view, FLOATS)?;
    view.accepts_rank(0, 4)?;
    if !view.is_constant(1) {
        return Err("The input \"filter\" must be a constant.".to_string());
    }
    let [height, width, ..] = weight_dims(view)?;
    groups(view)?;
    window(view, [height, width]).map(|_| ())
}

fn convert(cx: &mut Context) -> Result<(), Reason> {
    let [height, width, inputs, outputs] = weight_dims(cx.view)?;
    let window = window(cx.view, [height, width])?;
    let mut weights = cx.view.need_constant(1, "filter")?;
    if cx.view.op() == "DepthwiseConv2dNative" {
        // Every input channel is a group of its own; output k belongs to channel k / multiplier, in both worlds.
        weights = Constant {
            dims: vec![height, width, 1, inputs * outputs],
            ..weights
        };
    }
    let weights = layout::transpose(&weights, &[3, 2, 0, 1]);
    let weights = cx.state.builder.initializer(&weights)?;
    let form = if is_nchw(cx.view)? { Form::Plain } else { Form::ChannelsFirst };
    let x = cx.input(0, form)?;
    let mut attrs = window.attrs();
    attrs.push(("group", Attr::I(groups(cx.view)?)));
    let out = cx.emit("Conv", &[&x, &weights], &attrs);
    cx.give(0, form, out)
}

pub const CONVERTERS: &[Converter] = &[
    Converter {
        op: "Conv2D",
        supports,
        convert,
    },
    Converter {
        op: "DepthwiseConv2dNative",
        supports,
        convert,
    },
];
