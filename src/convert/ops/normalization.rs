//! Batch normalisation with trained statistics.

use super::images::is_nchw;
use super::{Converter, FLOATS};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::value::Form;
use crate::convert::view::View;
use crate::graph::DType;

const PARAMETERS: [&str; 4] = ["scale", "offset", "mean", "variance"];

fn supports(view: View) -> Result<(), Reason> {
    if view.node().attr_b("is_training").unwrap_or(true) {
        return Err(format!("{} is not supported for is_training=True.", view.op()));
    }
    view.accepts(0, FLOATS)?;
    view.accepts_rank(0, 4)?;
    is_nchw(view)?;
    PARAMETERS.iter().zip(1..).try_for_each(|(what, i)| {
        view.accepts(i, &[DType::FLOAT])?;
        match view.is_constant(i) {
            true => Ok(()),
            false => Err(format!("The input \"{what}\" must be a constant.")),
        }
    })
}

/// Outputs 1 and 2, the statistics, are the given ones outside training; the rest is for gradients and has no value.
fn convert(cx: &mut Context) -> Result<(), Reason> {
    let epsilon = cx.view.node().attr_f("epsilon").unwrap_or(1e-4);
    let form = if is_nchw(cx.view)? { Form::Plain } else { Form::ChannelsFirst };
    let mut inputs = vec![cx.input(0, form)?];
    for i in 1..=4 {
        inputs.push(cx.plain(i)?);
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let out = cx.emit("BatchNormalization", &inputs, &[("epsilon", Attr::F(epsilon))]);
    cx.give(0, form, out)?;
    cx.alias(1, 3);
    cx.alias(2, 4);
    Ok(())
}

macro_rules! batch_norm {
    ($op:literal) => {
        Converter {
            op: $op,
            supports,
            convert,
        }
    };
}

pub const CONVERTERS: &[Converter] = &[
    batch_norm!("FusedBatchNorm"),
    batch_norm!("FusedBatchNormV2"),
    batch_norm!("FusedBatchNormV3"),
];
