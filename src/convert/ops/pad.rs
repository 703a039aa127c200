//! Padding around a tensor.

use super::{Converter, NUMBERS};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
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
    if view.op() == "MirrorPad" && view.attr_or("mode", "") != "REFLECT" {
        return Err(format!("MirrorPad is not supported for mode {}.", view.attr_or("mode", "?")));
    }
    paddings(view).map(|_| ())
}

fn pad(cx: &mut Context) -> Result<(), Reason> {
    let mut paddings = paddings(cx.view)?;
    let form = cx.form(0);
    let x = cx.input(0, form)?;
    if form == Form::ChannelsFirst {
        paddings = reorder_first(&paddings);
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
