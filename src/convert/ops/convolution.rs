//! Convolutions of images and volumes. Weights are re-laid when the segment is converted: HWIO becomes OIHW.

use super::images::{self, is_nchw};
use super::window::window;
use super::{Converter, FLOATS, all_inputs};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::layout;
use crate::convert::view::View;
use crate::graph::Constant;

/// The weights' sizes, which end in the input channels of a group and the output channels (of one input channel, if
/// depthwise).
pub fn weight_dims(view: View) -> Result<Vec<i64>, Reason> {
    let rank = if view.op().starts_with("Conv3D") { 5 } else { 4 };
    let sizes = view.info(1)?.shape.full().unwrap_or_default();
    match sizes.len() == rank {
        true => Ok(sizes),
        false => Err(format!("{} needs weights of rank {rank}.", view.op())),
    }
}

/// The weights' sizes along the image's own dimensions.
pub fn kernel(weights: &[i64]) -> &[i64] {
    &weights[..weights.len() - 2]
}

/// The weights in ONNX's order: output channels, input channels, and the rest as it was.
pub fn relaid(weights: &Constant) -> Constant {
    let inner = weights.dims.len() - 2;
    let order: Vec<usize> = [inner + 1, inner].into_iter().chain(0..inner).collect();
    layout::transpose(weights, &order)
}

/// How many groups `channels` make, each as wide as the weights are deep.
pub fn groups_of(view: View, channels: Option<i64>) -> Result<i64, Reason> {
    let channels = channels.ok_or("The number of input channels must be known.")?;
    let weights = weight_dims(view)?;
    match weights[weights.len() - 2] {
        _ if view.op() == "DepthwiseConv2dNative" => Ok(channels),
        each if each > 0 && channels % each == 0 => Ok(channels / each),
        each => Err(format!("{channels} input channels cannot be split into groups of {each}.")),
    }
}

/// The number of channels out of the dimensions of a batch in the node's data_format.
pub fn channels(view: View, dims: &[Option<i64>]) -> Result<Option<i64>, Reason> {
    Ok(dims
        .get(if is_nchw(view)? { 1 } else { dims.len().saturating_sub(1) })
        .copied()
        .flatten())
}

fn groups(view: View) -> Result<i64, Reason> {
    groups_of(view, channels(view, view.dims(0)?)?)
}

fn supports(view: View) -> Result<(), Reason> {
    all_inputs(view, FLOATS)?;
    let weights = weight_dims(view)?;
    view.accepts_rank(0, weights.len())?;
    if !view.is_constant(1) {
        return Err("The input \"filter\" must be a constant.".to_string());
    }
    groups(view)?;
    window(view, kernel(&weights)).map(|_| ())
}

fn convert(cx: &mut Context) -> Result<(), Reason> {
    let sizes = weight_dims(cx.view)?;
    let window = window(cx.view, kernel(&sizes))?;
    let mut weights = cx.view.need_constant(1, "filter")?;
    if let ("DepthwiseConv2dNative", &[height, width, inputs, outputs]) = (cx.view.op(), sizes.as_slice()) {
        // Every input channel is a group of its own; output k belongs to channel k / multiplier, in both worlds.
        weights = Constant {
            dims: vec![height, width, 1, inputs * outputs],
            ..weights
        };
    }
    let weights = cx.state.builder.initializer(&relaid(&weights))?;
    let x = images::take(cx, 0)?;
    let mut attrs = window.attrs();
    attrs.push(("group", Attr::I(groups(cx.view)?)));
    let out = cx.emit("Conv", &[&x, &weights], &attrs);
    images::give(cx, out)
}

macro_rules! convolution {
    ($op:literal) => {
        Converter {
            op: $op,
            supports,
            convert,
        }
    };
}

pub const CONVERTERS: &[Converter] = &[
    convolution!("Conv2D"),
    convolution!("Conv3D"),
    convolution!("DepthwiseConv2dNative"),
];
