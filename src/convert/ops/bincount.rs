//! Counting how often each number occurs: each number against each place, and the hits added up.

use super::exact::{self, Terms};
use super::{Converter, INTEGERS};
use crate::convert::Reason;
use crate::convert::bounds::{self, Bounds};
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::interval;
use crate::convert::value::{Form, integers};
use crate::convert::view::View;
use crate::graph::DType;

/// More places are left to TensorFlow: the hits are a table of as many rows as there are places.
const MOST_PLACES: i64 = 4096;

fn places(view: View) -> Result<i64, Reason> {
    let op = view.op();
    if !view.is_constant(1) {
        return Err(format!(
            "{op} is not supported for a size that is computed: how large its result is would hang on values."
        ));
    }
    match view.need_int(1, "size")? {
        size @ 1..=MOST_PLACES => Ok(size),
        size => Err(format!("{op} is not supported for size={size}: from 1 to {MOST_PLACES} are.")),
    }
}

/// Whether each number has a weight; without, TensorFlow gives weights of no element.
fn weighted(view: View) -> Result<bool, Reason> {
    let weights = view.dims(2)?;
    match weights {
        _ if weights.contains(&Some(0)) => Ok(false),
        _ if !weights.contains(&None) => Ok(true),
        _ => Err(format!(
            "{} needs to know whether there are weights: their size is open.",
            view.op()
        )),
    }
}

fn supports(view: View) -> Result<(), Reason> {
    view.accepts(0, INTEGERS)?;
    view.accepts(2, &[DType::FLOAT, DType::INT32, DType::INT64])?;
    places(view)?;
    let weighted = weighted(view)?;
    match view.rank(0)? {
        0 => Err(format!("{} of a scalar is not supported.", view.op())),
        rank if weighted && view.rank(2)? != rank => Err(format!("{} needs a weight for each number.", view.op())),
        _ => Ok(()),
    }
}

fn bincount(cx: &mut Context) -> Result<(), Reason> {
    let (size, dtype) = (places(cx.view)?, cx.view.out(0)?.dtype);
    let places = integers(cx.dtype(0), &[size, 1], &(0..size).collect::<Vec<_>>()).ok_or("the size is too large")?;
    let places = cx.state.builder.initializer(&places)?;
    // Bincount counts all numbers together, DenseBincount those of each row.
    let flat = cx.view.op() == "Bincount" && cx.rank(0) > 1;
    let (all, before) = (cx.vector(&[-1]), cx.vector(&[cx.rank(0).max(1) as i64 - 1]));
    let before = if flat { cx.vector(&[0]) } else { before };
    let lay = |cx: &mut Context, i: usize| -> Result<String, Reason> {
        let mut x = cx.plain(i)?;
        if flat {
            x = cx.emit("Reshape", &[&x, &all], &[]);
        }
        Ok(cx.emit("Unsqueeze", &[&x, &before], &[]))
    };
    let numbers = lay(cx, 0)?;
    if guard::told(cx) && !interval::of_input(cx.view, 0).is_not_negative() {
        let zero = cx.scalar(cx.dtype(0), 0.0)?;
        let holds = cx.emit("GreaterOrEqual", &[&numbers, &zero], &[]);
        guard::require_all(cx, &holds)?;
    }
    let hits = cx.emit("Equal", &[&numbers, &places], &[]);
    let (binary, weighted) = (cx.view.flag("binary_output"), weighted(cx.view)?);
    if weighted {
        guard::require_same_shape(cx, 0, 2)?;
    }
    let by_weight = weighted && !binary;
    let hits = if by_weight {
        let (weights, zero) = (lay(cx, 2)?, cx.scalar(dtype, 0.0)?);
        cx.emit("Where", &[&hits, &weights, &zero], &[])
    } else {
        cx.state.cast(&hits, dtype)?
    };
    let rank = cx.rank(0);
    let counted: Vec<usize> = if flat { (0..rank).collect() } else { vec![rank - 1] };
    let terms = Terms {
        name: &hits,
        dtype,
        bounds: if by_weight {
            cx.bounds(2, Form::Plain).with_zero()
        } else {
            Bounds::BIT
        },
        count: bounds::count(&cx.value(0).dims.clone(), &counted),
    };
    // Counted from the front: ONNX Runtime 1.31 gives a negative axis without elements another shape.
    let mut out = exact::sum(cx, &terms, &[if flat { 1 } else { rank as i64 }], false)?;
    if binary {
        let one = cx.scalar(dtype, 1.0)?;
        out = cx.emit("Min", &[&out, &one], &[]);
    }
    cx.give(0, Form::Plain, out)
}

pub const CONVERTERS: &[Converter] = &[
    Converter {
        op: "Bincount",
        supports,
        convert: bincount,
    },
    Converter {
        op: "DenseBincount",
        supports,
        convert: bincount,
    },
];
