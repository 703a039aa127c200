//! What TensorFlow's remapper makes of a convolution or matrix product and the ops behind it: one node that names them in its attribute
//! `fused_ops`, and takes what they need as further inputs. ONNX has them one by one again; engines fuse in their own way.

use super::binary::beside_channels;
use super::images::is_nchw;
use super::{Converter, FLOATS, activation, convolution, images, matmul, normalization};
use crate::convert::Reason;
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::value::Form;
use crate::convert::view::View;
use crate::graph::DType;

/// One of the `fused_ops`, with the place of its (first) input.
enum Step<'a> {
    Bias(usize),
    /// Scale, offset, mean and variance are inputs from here on.
    Normalize(usize),
    /// Another tensor, by this ONNX op.
    With(&'static str, usize),
    Activation(&'a str),
}

/// The fused ops in order; their inputs stand behind the first two.
fn steps(view: View<'_>) -> Result<Vec<Step<'_>>, Reason> {
    let mut next = 2;
    let mut take = |count: usize| {
        next += count;
        next - count
    };
    let names = view.node().attr_strings("fused_ops").unwrap_or_default();
    let mut steps = Vec::new();
    for &name in &names {
        steps.push(match name {
            "BiasAdd" => Step::Bias(take(1)),
            "FusedBatchNorm" => Step::Normalize(take(4)),
            "Add" => Step::With("Add", take(1)),
            "Mul" => Step::With("Mul", take(1)),
            name if activation::FUSED.contains(&name) => Step::Activation(name),
            other => return Err(format!("{} is not supported with the fused op {other}.", view.op())),
        });
    }
    match next == view.count() {
        true => Ok(steps),
        false => Err(format!(
            "{} has {} inputs where its fused ops {names:?} take {next}.",
            view.op(),
            view.count()
        )),
    }
}

/// Whether the fused ops of a node can be converted, one by one.
fn steps_support(view: View) -> Result<(), Reason> {
    view.accepts(0, FLOATS)?;
    view.accepts(1, FLOATS)?;
    let dtype = view.dtype(0)?;
    for step in steps(view)? {
        match step {
            Step::Bias(i) => {
                view.accepts(i, &[dtype])?;
                view.accepts_rank(i, 1)?;
            }
            Step::Normalize(i) => normalization::parameters(view, i)?,
            Step::With(_, i) => view.accepts(i, &[dtype])?,
            Step::Activation(_) => {}
        }
    }
    Ok(())
}

/// The steps from `first` on, on `x`, whose dimensions stand as in `form`.
fn apply(cx: &mut Context, first: usize, form: Form, mut x: String) -> Result<String, Reason> {
    let alpha = cx.view.node().attr_f("leakyrelu_alpha").unwrap_or(0.2);
    let rank = cx.view.out_dims(0)?.len();
    let nchw = rank > 2 && is_nchw(cx.view)?;
    for step in steps(cx.view)?.into_iter().skip(first) {
        x = match step {
            Step::Bias(i) => {
                let bias = if nchw { beside_channels(cx, i, rank)? } else { cx.input(i, form)? };
                cx.emit("Add", &[&x, &bias], &[])
            }
            Step::Normalize(i) => normalization::normalize(cx, &x, i)?,
            Step::With(op, i) => {
                let other = cx.input(i, form)?;
                cx.emit(op, &[&x, &other], &[])
            }
            Step::Activation(name) => activation::activate(cx, name, cx.dtype(0), &x, alpha)?,
        };
    }
    Ok(x)
}

fn convolution_supports(view: View) -> Result<(), Reason> {
    if view.node().attr_i("num_host_args").unwrap_or(0) != 0 {
        return Err(format!("{} is not supported with arguments in the host's memory.", view.op()));
    }
    steps_support(view)?;
    convolution::convolves(view)
}

/// A constant bias that comes first goes into the Conv itself.
fn convolve(cx: &mut Context) -> Result<(), Reason> {
    let bias = match steps(cx.view)?.first() {
        Some(&Step::Bias(i)) if cx.value(i).constant.is_some() => Some(cx.plain(i)?),
        _ => None,
    };
    let out = convolution::convolve(cx, bias.as_deref())?;
    let form = if is_nchw(cx.view)? { Form::Plain } else { Form::ChannelsFirst };
    let out = apply(cx, usize::from(bias.is_some()), form, out)?;
    images::give(cx, out)
}

fn product(cx: &mut Context) -> Result<(), Reason> {
    let columns = usize::from(!cx.view.flag("transpose_b"));
    for step in steps(cx.view)? {
        if let Step::Bias(i) = step {
            guard::require_same(cx, (1, columns), (i, 0))?;
        }
    }
    let out = matmul::product(cx)?;
    let out = apply(cx, 0, Form::Plain, out)?;
    cx.give(0, Form::Plain, out)
}

fn batch_product(cx: &mut Context) -> Result<(), Reason> {
    let out = matmul::batch_product(cx)?;
    let out = apply(cx, 0, Form::Plain, out)?;
    cx.give(0, Form::Plain, out)
}

/// The inputs of FusedConv2DBiasActivation: images, filter, bias, side input, and the factors of images and side input.
const BIAS: usize = 2;
const SIDE: usize = 3;
const FACTOR: usize = 4;
const SIDE_FACTOR: usize = 5;

fn factor(view: View, i: usize, what: &str) -> Result<f32, Reason> {
    match view.need_constant(i, what)?.to_f32s().as_deref() {
        Some(&[factor]) => Ok(factor),
        _ => Err(format!("The input \"{what}\" must hold one float32.")),
    }
}

/// In float; its int8 forms keep four channels in one element (NCHW_VECT_C), which no engine takes from outside.
fn bias_activation_supports(view: View) -> Result<(), Reason> {
    for i in [0, 1, BIAS, SIDE] {
        view.accepts(i, FLOATS)?;
    }
    view.accepts(BIAS, &[view.dtype(0)?])?;
    view.accepts_rank(BIAS, 1)?;
    convolution::convolves(view)?;
    factor(view, FACTOR, "conv_input_scale")?;
    if factor(view, SIDE_FACTOR, "side_input_scale")? != 0.0 {
        view.accepts(SIDE, &[view.dtype(0)?])?;
        view.accepts_rank(SIDE, 4)?;
    }
    match view.attr_or("activation_mode", "Relu") {
        "None" | "Relu" => Ok(()),
        other => Err(format!("{} is not supported for activation_mode {other}.", view.op())),
    }
}

/// activation(conv_input_scale * conv + side_input_scale * side_input + bias). By a factor of 0 the side input is empty.
fn bias_activation(cx: &mut Context) -> Result<(), Reason> {
    let (scale, side_scale) = (
        factor(cx.view, FACTOR, "conv_input_scale")?,
        factor(cx.view, SIDE_FACTOR, "side_input_scale")?,
    );
    let form = if is_nchw(cx.view)? { Form::Plain } else { Form::ChannelsFirst };
    let dtype = cx.dtype(0);
    let mut x = convolution::convolve(cx, None)?;
    x = times(cx, dtype, x, scale)?;
    if side_scale != 0.0 {
        let side = cx.input(SIDE, form)?;
        let side = times(cx, dtype, side, side_scale)?;
        x = cx.emit("Add", &[&x, &side], &[]);
    }
    let bias = if form == Form::Plain {
        beside_channels(cx, BIAS, 4)?
    } else {
        cx.input(BIAS, form)?
    };
    x = cx.emit("Add", &[&x, &bias], &[]);
    if cx.view.attr_or("activation_mode", "Relu") == "Relu" {
        x = activation::activate(cx, "Relu", dtype, &x, 0.0)?;
    }
    images::give(cx, x)
}

fn times(cx: &mut Context, dtype: DType, x: String, factor: f32) -> Result<String, Reason> {
    if factor == 1.0 {
        return Ok(x);
    }
    let factor = cx.scalar(dtype, factor.into())?;
    Ok(cx.emit("Mul", &[&x, &factor], &[]))
}

macro_rules! fused {
    ($op:literal, $supports:expr, $convert:expr) => {
        Converter {
            op: $op,
            supports: $supports,
            convert: $convert,
        }
    };
}

pub const CONVERTERS: &[Converter] = &[
    fused!("FusedConv2DBiasActivation", bias_activation_supports, bias_activation),
    fused!("_FusedConv2D", convolution_supports, convolve),
    fused!("_FusedDepthwiseConv2dNative", convolution_supports, convolve),
    fused!("_FusedMatMul", steps_support, product),
    // The remapper's name for a fused BatchMatMulV2: the node has no kernel but oneDNN's.
    fused!(
        "_MklFusedBatchMatMulV2",
        |view| {
            steps_support(view)?;
            matmul::batch_ranks(view)
        },
        batch_product
    ),
];
