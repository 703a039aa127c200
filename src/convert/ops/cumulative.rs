//! Sums and products of all elements up to each one along an axis.

use super::exact::{self, Terms};
use super::{Converter, NUMBERS, axis_in};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::value::Form;
use crate::convert::view::{View, normal_axis};
use crate::graph::{Constant, DType};
use crate::memory;

/// ONNX has no cumulative product; every product is made of the whole axis, so long axes cost too much.
const MAX_PRODUCT: i64 = 64;

fn axis(view: View) -> Result<usize, Reason> {
    normal_axis(view.need_int(1, "axis")?, view.rank(0)?)
}

fn cumsum_supports(view: View) -> Result<(), Reason> {
    view.accepts(0, NUMBERS)?;
    axis(view).map(|_| ())
}

fn cumsum(cx: &mut Context) -> Result<(), Reason> {
    let (axis, form) = (axis(cx.view)?, cx.form(0));
    let x = cx.input(0, form)?;
    let at = cx.state.builder.index(axis_in(form, axis) as i64);
    let attrs = [
        ("exclusive", Attr::I(cx.view.flag("exclusive").into())),
        ("reverse", Attr::I(cx.view.flag("reverse").into())),
    ];
    let out = cx.emit("CumSum", &[&x, &at], &attrs);
    cx.give(0, form, out)
}

fn cumprod_supports(view: View) -> Result<(), Reason> {
    view.accepts(0, NUMBERS)?;
    let rank = view.rank(0)?;
    if rank >= super::MAX_RANK {
        return Err(format!(
            "Cumprod of rank {rank} is not supported: it is computed with one dimension more."
        ));
    }
    match view.dims(0)?[axis(view)?] {
        Some(1..=MAX_PRODUCT) => Ok(()),
        Some(n) => Err(format!("Cumprod over {n} elements is not supported: from 1 to {MAX_PRODUCT} are.")),
        None => Err("Cumprod needs a known size of its axis.".to_string()),
    }
}

/// Along a new axis stand the results; each is the product of the axis after it, with 1 for the elements that do not count.
fn cumprod(cx: &mut Context) -> Result<(), Reason> {
    let axis = axis(cx.view)?;
    let n = cx.value(0).dims[axis].ok_or("the size of the axis is unknown")?;
    let (exclusive, reverse) = (cx.view.flag("exclusive"), cx.view.flag("reverse"));
    let counts = |at: i64, of: i64| match (reverse, exclusive) {
        (false, false) => of <= at,
        (false, true) => of < at,
        (true, false) => of >= at,
        (true, true) => of > at,
    };
    let pairs = (0..n).flat_map(|at| (0..n).map(move |of| [u8::from(counts(at, of))]));
    let data = memory::elements("which elements count", n.saturating_mul(n) as usize, pairs)?;
    let mut dims = vec![n, n];
    dims.extend(std::iter::repeat_n(1, cx.rank(0) - axis - 1));
    let counted = cx.state.builder.initializer(&Constant {
        dtype: DType::BOOL,
        dims,
        data,
    })?;
    let (x, one, axes) = (cx.plain(0)?, cx.scalar(cx.dtype(0), 1.0)?, cx.vector(&[axis as i64]));
    let x = cx.emit("Unsqueeze", &[&x, &axes], &[]);
    let factors = cx.emit("Where", &[&counted, &x, &one], &[]);
    let terms = Terms {
        name: &factors,
        dtype: cx.dtype(0),
        bounds: cx.bounds(0, Form::Plain),
        count: n,
    };
    let out = exact::product(cx, &terms, &[(axis as i64 + 1, Some(n))], false)?;
    cx.give(0, Form::Plain, out)
}

pub const CONVERTERS: &[Converter] = &[
    Converter {
        op: "Cumprod",
        supports: cumprod_supports,
        convert: cumprod,
    },
    Converter {
        op: "Cumsum",
        supports: cumsum_supports,
        convert: cumsum,
    },
];
