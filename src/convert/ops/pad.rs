//! Padding around a tensor.

use super::{Converter, NUMBERS};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::layout::reorder_first;
use crate::convert::value::Form;
use crate::convert::view::View;

/// Before and behind, for every dimension.
fn paddings(view: View) -> Result<Vec<(i64, i64)>, Reason> {
    let values = view.need_ints(1, "paddings")?;
    if values.len() != 2 * view.rank(0)? {
        return Err(format!("{} paddings do not fit an input of rank {}.", values.len(), view.rank(0)?));
    }
    Ok(values.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

fn supports(view: View) -> Result<(), Reason> {
    view.accepts(0, NUMBERS)?;
    if view.op() == "MirrorPad" && !matches!(view.attr_or("mode", ""), "REFLECT" | "SYMMETRIC") {
        return Err(format!("MirrorPad is not supported for mode {}.", view.attr_or("mode", "?")));
    }
    paddings(view).map(|_| ())
}

fn pad(cx: &mut Context) -> Result<(), Reason> {
    let mut paddings = paddings(cx.view)?;
    let form = cx.form(0);
    let x = cx.input(0, form)?;
    if cx.view.op() == "MirrorPad" {
        // A mirror shows no more than there is; with REFLECT not what it stands on, which has to be there also where nothing is added.
        let edge = i64::from(cx.view.attr_or("mode", "") == "REFLECT");
        for (axis, &(before, behind)) in paddings.iter().enumerate() {
            guard::require_at_least(cx, 0, axis, before.max(behind).max(0).saturating_add(edge))?;
        }
    }
    if form == Form::ChannelsFirst {
        paddings = reorder_first(&paddings);
    }
    if cx.view.attr_or("mode", "") == "SYMMETRIC" {
        return symmetric(cx, form, x, &paddings);
    }
    let pads: Vec<i64> = paddings.iter().map(|p| p.0).chain(paddings.iter().map(|p| p.1)).collect();
    let pads = cx.vector(&pads);
    let out = match cx.view.op() {
        "MirrorPad" => cx.emit("Pad", &[&x, &pads], &[("mode", Attr::S("reflect"))]),
        "PadV2" => {
            let value = if form == Form::Wide { cx.wide(2)? } else { cx.plain(2)? };
            cx.emit("Pad", &[&x, &pads, &value], &[])
        }
        _ => cx.emit("Pad", &[&x, &pads], &[]),
    };
    cx.give(0, form, out)
}

/// The edge stands on both sides of the mirror, which ONNX's Pad does not do: the rows at each end are put before and behind,
/// backwards. The axes are those of `form`.
fn symmetric(cx: &mut Context, form: Form, mut x: String, paddings: &[(i64, i64)]) -> Result<(), Reason> {
    let backwards = cx.vector(&[-1]);
    for (axis, &(before, behind)) in paddings.iter().enumerate() {
        let axes = cx.vector(&[axis as i64]);
        let ends = |cx: &mut Context, start: i64, end: i64| {
            let (start, end) = (cx.vector(&[start]), cx.vector(&[end]));
            cx.emit("Slice", &[&x, &start, &end, &axes, &backwards], &[])
        };
        let mut parts = Vec::new();
        if before > 0 {
            parts.push(ends(cx, before - 1, i64::MIN));
        }
        let last = (behind > 0).then(|| ends(cx, -1, -1 - behind));
        parts.push(x.clone());
        parts.extend(last);
        if parts.len() > 1 {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            x = cx.emit("Concat", &parts, &[("axis", Attr::I(axis as i64))]);
        }
    }
    cx.give(0, form, x)
}

macro_rules! pad {
    ($op:literal) => {
        Converter {
            op: $op,
            supports,
            convert: pad,
        }
    };
}

pub const CONVERTERS: &[Converter] = &[pad!("MirrorPad"), pad!("Pad"), pad!("PadV2")];
