//! Transposed convolutions: what TensorFlow calls the gradient of a convolution to its input.

use super::convolution::{channels, groups_of, kernel, relaid, weight_dims};
use super::images::is_nchw;
use super::window::{explicit_pads, inner, reach, same_pad, spatial};
use super::{Converter, FLOATS, images, quantize};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::size::Size;
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
    require_size_told(cx, &out)?;
    images::give(cx, out)
}

/// States that `out`, channels first, has the sizes that TensorFlow is told: they follow from the image that comes in.
fn require_size_told(cx: &mut Context, out: &str) -> Result<(), Reason> {
    let rank = cx.rank(2);
    let told = match cx.value(0).dims[..] {
        [Some(count)] if count == rank as i64 => 0..rank,
        // The image's own sizes alone.
        _ if is_nchw(cx.view)? => 2..rank,
        _ => 1..rank - 1,
    };
    if !guard::told(cx) || has_size_told(cx, told.clone())? {
        return Ok(());
    }
    let shape = cx.emit("Shape", &[out], &[]);
    let axes: Vec<i64> = told
        .map(|axis| match axis {
            _ if is_nchw(cx.view) == Ok(true) => axis,
            0 => 0,
            _ if axis + 1 == rank => 1,
            _ => axis + 1,
        } as i64)
        .collect();
    let (axes, sizes) = (cx.vector(&axes), cx.wide(0)?);
    let found = cx.emit("Gather", &[&shape, &axes], &[("axis", Attr::I(0))]);
    let holds = cx.emit("Equal", &[&found, &sizes], &[]);
    guard::require_all(cx, &holds)
}

/// Whether the sizes that TensorFlow is told, of the axes `told`, are known to be those of the result.
fn has_size_told(cx: &Context, told: std::ops::Range<usize>) -> Result<bool, Reason> {
    let (Some(sizes), weights) = (cx.elements_as_sizes(0), weight_dims(cx.view)?) else {
        return Ok(false);
    };
    let (nchw, kernel, frame) = (is_nchw(cx.view)?, kernel(&weights), frame(cx.view)?);
    let channels = if nchw { 1 } else { cx.rank(2) - 1 };
    let image = cx.value(2).sizes();
    let good = |(axis, size): (usize, &Size)| match axis {
        0 => size.same_as(image[0]),
        _ if axis == channels => size.known().is_some(),
        _ => {
            let at = axis - if nchw { 2 } else { 1 };
            let edge = frame.output_padding[at] - frame.pads[at] - frame.pads[kernel.len() + at];
            let grown = |size: i64| (size - 1) * frame.strides[at] + reach(kernel[at], frame.dilations[at]) + edge;
            size.known().is_some() && image[axis].known().map(grown) == size.known()
        }
    };
    Ok(told.zip(&sizes).all(good))
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
