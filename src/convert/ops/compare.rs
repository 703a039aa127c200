//! Comparisons, logic, and choosing by a condition.

use super::{BOOLS, Converter, FLOATS, NUMBERS, TENSORS, all_inputs, broadcast, elementwise};
use crate::convert::Reason;
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::value::Form;
use crate::convert::view::View;
use crate::graph::DType;

fn not_equal(cx: &mut Context) -> Result<(), Reason> {
    let (form, x) = broadcast(cx)?;
    let equal = cx.emit("Equal", &[&x[0], &x[1]], &[]);
    let out = cx.emit("Not", &[&equal], &[]);
    cx.give_broadcast(form, out)
}

/// Neither infinite nor NaN.
fn is_finite(cx: &mut Context) -> Result<(), Reason> {
    let (form, x) = broadcast(cx)?;
    let infinite = cx.emit("IsInf", &[&x[0]], &[]);
    let nan = cx.emit("IsNaN", &[&x[0]], &[]);
    let either = cx.emit("Or", &[&infinite, &nan], &[]);
    let out = cx.emit("Not", &[&either], &[]);
    cx.give_broadcast(form, out)
}

/// Input 0 chooses between inputs 1 and 2, broadcast together. `Select` differs in one case: a vector condition chooses
/// rows of tensors of higher rank.
fn select(cx: &mut Context) -> Result<(), Reason> {
    let rank = cx.rank(1);
    let rows = cx.view.op() == "Select" && cx.rank(0) == 1 && rank > 1;
    if cx.view.op() == "Select" {
        // It broadcasts nothing but a scalar condition, and one for rows.
        guard::require_same_shape(cx, 1, 2)?;
        guard::require_same_shape(cx, 0, 1)?;
    }
    let form = if rows { Form::Plain } else { cx.shared_form(&[0, 1, 2]) };
    let mut condition = cx.input(0, form)?;
    let (yes, no) = (cx.input(1, form)?, cx.input(2, form)?);
    if rows {
        let axes = cx.vector(&(1..rank as i64).collect::<Vec<_>>());
        condition = cx.emit("Unsqueeze", &[&condition, &axes], &[]);
    }
    let out = choose(cx, cx.dtype(1), &condition, &yes, &no);
    match rows {
        true => cx.give(0, form, out),
        false => cx.give_broadcast(form, out),
    }
}

/// `yes` where `condition` holds, else `no`, both of type `dtype`.
pub fn choose(cx: &mut Context, dtype: DType, condition: &str, yes: &str, no: &str) -> String {
    if dtype != DType::BOOL {
        return cx.emit("Where", &[condition, yes, no], &[]);
    }
    // Engines do not choose between booleans: (c and yes) or (not c and no).
    let first = cx.emit("And", &[condition, yes], &[]);
    let otherwise = cx.emit("Not", &[condition], &[]);
    let second = cx.emit("And", &[&otherwise, no], &[]);
    cx.emit("Or", &[&first, &second], &[])
}

fn select_supports(view: View) -> Result<(), Reason> {
    view.accepts(0, BOOLS)?;
    view.accepts(1, TENSORS)
}

fn compares_bools_too(view: View) -> Result<(), Reason> {
    all_inputs(view, TENSORS)?;
    if view.flag("incompatible_shape_error") || view.node().attr_b("incompatible_shape_error").is_none() {
        return Ok(());
    }
    // Without the error, TensorFlow answers `false` (or `true`) for shapes that do not broadcast; ONNX has no such rule.
    match (view.info(0)?.shape.full(), view.info(1)?.shape.full()) {
        (Some(a), Some(b)) if a == b || a.is_empty() || b.is_empty() => Ok(()),
        _ => Err(format!(
            "{} with incompatible_shape_error=False needs inputs of one known shape.",
            view.op()
        )),
    }
}

macro_rules! compare {
    ($op:literal, $onnx:literal, $types:expr) => {
        Converter {
            op: $op,
            supports: |v| all_inputs(v, $types),
            convert: |cx| elementwise(cx, $onnx, &[]),
        }
    };
}

pub const CONVERTERS: &[Converter] = &[
    Converter {
        op: "Equal",
        supports: compares_bools_too,
        convert: |cx| elementwise(cx, "Equal", &[]),
    },
    compare!("Greater", "Greater", NUMBERS),
    compare!("GreaterEqual", "GreaterOrEqual", NUMBERS),
    Converter {
        op: "IsFinite",
        supports: |v| all_inputs(v, FLOATS),
        convert: is_finite,
    },
    compare!("Less", "Less", NUMBERS),
    compare!("LessEqual", "LessOrEqual", NUMBERS),
    compare!("LogicalAnd", "And", BOOLS),
    compare!("LogicalOr", "Or", BOOLS),
    Converter {
        op: "NotEqual",
        supports: compares_bools_too,
        convert: not_equal,
    },
    Converter {
        op: "Select",
        supports: select_supports,
        convert: select,
    },
    Converter {
        op: "SelectV2",
        supports: select_supports,
        convert: select,
    },
];
