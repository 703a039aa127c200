//! Convolutions of images and volumes. Weights are re-laid when the segment is converted: HWIO becomes OIHW.

use super::images::{self, is_nchw};
use super::window::window;
use super::{Converter, FLOATS, all_inputs, quantize};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::layout;
use crate::convert::view::View;
use crate::graph::Constant;
use crate::memory::NoMemory;

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
pub fn relaid(weights: &Constant) -> Result<Constant, NoMemory> {
    let inner = weights.dims.len() - 2;
    let order: Vec<usize> = [inner + 1, inner].into_iter().chain(0..inner).collect();
    layout::transpose(weights, &order)
}

fn is_depthwise(view: View) -> bool {
    matches!(view.op(), "DepthwiseConv2dNative" | "_FusedDepthwiseConv2dNative")
}

/// How many groups `channels` make, each as wide as the weights are deep.
pub fn groups_of(view: View, channels: Option<i64>) -> Result<i64, Reason> {
    let channels = channels.ok_or("The number of input channels must be known.")?;
    let weights = weight_dims(view)?;
    match weights[weights.len() - 2] {
        _ if is_depthwise(view) => Ok(channels),
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
    convolves(view)
}

/// Whether the convolution of inputs 0 and 1 can be converted.
pub fn convolves(view: View) -> Result<(), Reason> {
    let weights = weight_dims(view)?;
    view.accepts_rank(0, weights.len())?;
    quantize::need_known(view, 1, "filter")?;
    match view.attr_or("filter_format", "HWIO") {
        "HWIO" => {}
        other => return Err(format!("filter_format {other} is not supported.")),
    }
    groups(view)?;
    window(view, kernel(&weights)).map(|_| ())
}

fn convert(cx: &mut Context) -> Result<(), Reason> {
    let out = convolve(cx, None)?;
    images::give(cx, out)
}

/// The convolution of inputs 0 and 1, channels first; `bias`, a vector, is added along the channels.
pub fn convolve(cx: &mut Context, bias: Option<&str>) -> Result<String, Reason> {
    let sizes = weight_dims(cx.view)?;
    let window = window(cx.view, kernel(&sizes))?;
    let weights = filter(cx, &sizes)?;
    let x = images::take(cx, 0)?;
    let mut attrs = window.attrs();
    attrs.push(("group", Attr::I(groups(cx.view)?)));
    let inputs: Vec<&str> = [x.as_str(), &weights].into_iter().chain(bias).collect();
    Ok(cx.emit("Conv", &inputs, &attrs))
}

/// Input 1 in ONNX's order. Weights that are kept in steps get one step for each output channel at most: the only axis that engines
/// know; by another one they are rounded here, once and for all.
fn filter(cx: &mut Context, sizes: &[i64]) -> Result<String, Reason> {
    let mut weights = quantize::known(cx, 1, "filter")?;
    let mut steps = cx.value(1).steps.clone();
    let last = sizes.len() - 1;
    if is_depthwise(cx.view) {
        // Every input channel is a group of its own; output k belongs to channel k / multiplier, in both worlds.
        let outputs = 0..(sizes[last - 1] * sizes[last]) as usize;
        let multiplier = sizes[last] as usize;
        steps = steps.and_then(|steps| {
            steps.along(0, |axis| match axis {
                axis if axis == last => Some(outputs.map(|k| k % multiplier).collect()),
                axis if axis + 1 == last => Some(outputs.map(|k| k / multiplier).collect()),
                _ => None,
            })
        });
        weights.dims = [kernel(sizes), &[1, sizes[last - 1] * sizes[last]]].concat();
    } else {
        let outputs = 0..sizes[last] as usize;
        steps = steps.and_then(|steps| steps.along(0, |axis| (axis == last).then(|| outputs.collect())));
    }
    cx.state.initializer_in_steps(&relaid(&weights)?, steps.as_ref())
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
