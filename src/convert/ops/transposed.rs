//! Transposed convolutions: what TensorFlow calls the gradient of a convolution to its input.

use super::convolution::{channels, groups_of, kernel, relaid, weight_dims};
use super::window::{explicit_pads, inner, reach, same_pad, spatial};
use super::{Converter, FLOATS, images, quantize};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::view::View;
use crate::graph::DType;

/// The attributes of ONNX's ConvTranspose beside the kernel's.
struct Frame {
    strides: Vec<i64>,
    dilations: Vec<i64>,
    pads: Vec<i64>,
    output_padding: Vec<i64>,
}

/// Chosen so that the result has the size that TensorFlow is told: that of the image which the forward convolution took.
fn frame(view: View) -> Result<Frame, Reason> {
    let weights = weight_dims(view)?;
    let kernel = kernel(&weights);
    let count = kernel.len();
    let (strides, dilations) = (spatial(view, "strides", count)?, spatial(view, "dilations", count)?);
    let dims = view.out_dims(0)?;
    if dims.len() != count + 2 {
        return Err(format!("{} needs a result of rank {}.", view.op(), count + 2));
    }
    let sizes = inner(view, dims)?;
    let explicit = match view.attr_or("padding", "") {
        "VALID" => Some(vec![0; 2 * count]),
        "SAME" => None,
        "EXPLICIT" => Some(explicit_pads(view, count)?),
        other => return Err(format!("padding {other:?} is not supported.")),
    };
    let (mut front, mut behind, mut output_padding) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..count {
        let (reach, stride) = (reach(kernel[i], dilations[i]), strides[i]);
        let pads = match &explicit {
            Some(pads) => Some((pads[i], pads[count + i])),
            None => same_pad(sizes[i], reach, stride),
        };
        let (before, after) = match (pads, sizes[i]) {
            // By a stride of 1 the result is always as large as the padding makes it.
            (Some(pads), _) if stride == 1 => pads,
            (Some((before, after)), Some(size)) => {
                // The last rows may have been out of the windows' reach.
                let windows = (size + before + after - reach).div_euclid(stride) + 1;
                (before, (windows - 1) * stride + reach - before - size)
            }
            _ => return Err(format!("{} with strides over 1 needs input_sizes that are known.", view.op())),
        };
        front.push(before);
        behind.push(after.max(0));
        output_padding.push((-after).max(0));
    }
    Ok(Frame {
        strides,
        dilations,
        pads: [front, behind].concat(),
        output_padding,
    })
}

fn groups(view: View) -> Result<i64, Reason> {
    groups_of(view, channels(view, view.out_dims(0)?)?)
}

fn supports(view: View) -> Result<(), Reason> {
    view.accepts(0, &[DType::INT32])?;
    view.accepts(1, FLOATS)?;
    view.accepts(2, FLOATS)?;
    view.accepts_rank(2, weight_dims(view)?.len())?;
    quantize::need_known(view, 1, "filter")?;
    groups(view)?;
    frame(view).map(|_| ())
}

fn convert(cx: &mut Context) -> Result<(), Reason> {
    let frame = frame(cx.view)?;
    let groups = groups(cx.view)?;
    let weights = quantize::known(cx, 1, "filter")?;
    let kernel = kernel(&weights.dims).to_vec();
    // What the forward convolution gives is what comes in here, so its order of weights is that of the transposed one, too. Steps of
    // single channels are along the wrong axis for engines: such weights are rounded here, once and for all.
    let steps = cx.value(1).steps.clone().and_then(|steps| steps.along(0, |_| None));
    let weights = cx.state.initializer_in_steps(&relaid(&weights)?, steps.as_ref())?;
    let x = images::take(cx, 2)?;
    let mut attrs = vec![
        ("kernel_shape", Attr::Ints(&kernel)),
        ("strides", Attr::Ints(&frame.strides)),
        ("pads", Attr::Ints(&frame.pads)),
        ("group", Attr::I(groups)),
    ];
    if frame.dilations.iter().any(|&d| d != 1) {
        attrs.push(("dilations", Attr::Ints(&frame.dilations)));
    }
    if frame.output_padding.iter().any(|&p| p != 0) {
        attrs.push(("output_padding", Attr::Ints(&frame.output_padding)));
    }
    let out = cx.emit("ConvTranspose", &[&x, &weights], &attrs);
    images::give(cx, out)
}

macro_rules! transposed {
    ($op:literal) => {
        Converter {
            op: $op,
            supports,
            convert,
        }
    };
}

pub const CONVERTERS: &[Converter] = &[transposed!("Conv2DBackpropInput"), transposed!("Conv3DBackpropInputV2")];
