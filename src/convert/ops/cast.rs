//! Cast.

use super::{Converter, TENSORS, all_inputs};
use crate::convert::Reason;
use crate::convert::carried;
use crate::convert::context::Context;
use crate::convert::value::Form;
use crate::convert::view::View;
use crate::graph::DType;

/// Both round floats to integers toward zero and take every number but 0 for true. int32 kept as int64 needs no node to
/// become int64.
///
/// Of floats that an int8 or uint8 does not hold TensorFlow gives the last bits of the int32, as done here, or the nearest end, by
/// whether the element falls into a vector or the rest: C++ leaves it open.
fn cast(cx: &mut Context) -> Result<(), Reason> {
    let (from, to) = (cx.dtype(0), cx.view.out(0)?.dtype);
    if from == to {
        cx.alias(0, 0);
        return Ok(());
    }
    let form = cx.form(0);
    let mut x = cx.input(0, form)?;
    let held = if form == Form::Wide { DType::INT64 } else { carried::held(from) };
    if held == DType::INT64 {
        // Before it becomes int32, which ends where the integer may not.
        x = carried::wrap(&mut cx.state.builder, to, x, held)?;
    }
    let settled = held == DType::INT64 && to != DType::BFLOAT16;
    if held != carried::held(to) {
        x = cx.state.cast(&x, to)?;
    }
    let out = match settled || carried::contains(to, from) {
        true => x,
        false => carried::settle(&mut cx.state.builder, to, x)?,
    };
    let form = if form == Form::Wide { Form::Plain } else { form };
    cx.give_broadcast(form, out)?;
    if matches!(from, DType::INT32 | DType::INT64) && matches!(to, DType::INT32 | DType::INT64) {
        let known = cx.elements_as_sizes(0);
        cx.know(0, known);
    }
    Ok(())
}

/// Only between a type and itself: TensorRT cannot read the bytes of one type as another.
fn bitcast_supports(view: View) -> Result<(), Reason> {
    let (from, to) = (view.dtype(0)?, view.out(0)?.dtype);
    match from == to {
        true => Ok(()),
        false => Err(format!(
            "Bitcast from {from} to {to} is not supported: engines do not read the bytes of one type as another."
        )),
    }
}

pub const CONVERTERS: &[Converter] = &[
    Converter {
        op: "Bitcast",
        supports: bitcast_supports,
        convert: |cx| {
            cx.alias(0, 0);
            Ok(())
        },
    },
    Converter {
        op: "Cast",
        supports: |v| {
            all_inputs(v, TENSORS)?;
            match v.flag("Truncate") {
                true => Err("Cast with Truncate=True is not supported.".to_string()),
                false => Ok(()),
            }
        },
        convert: cast,
    },
];
