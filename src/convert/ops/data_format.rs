//! What TensorFlow's layout optimizer puts around convolutions: vectors and axes re-numbered from one order of dimensions to
//! another.

use super::{Converter, INTEGERS};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::value::Form;
use crate::convert::view::View;

/// For each dimension of dst_format its place in src_format.
fn places(view: View) -> Result<Vec<i64>, Reason> {
    let (from, to) = (view.attr_or("src_format", "NHWC"), view.attr_or("dst_format", "NCHW"));
    let place = |letter: char| from.find(letter).map(|at| at as i64);
    let places: Option<Vec<i64>> = to.chars().map(place).collect();
    places
        .filter(|places| places.len() == from.len() && from.is_ascii())
        .ok_or_else(|| format!("{} from {from} to {to} is not supported.", view.op()))
}

/// The order in which the rows of input 0 go: one for each dimension, or (two fewer) one for each of the image's own.
fn order(view: View) -> Result<Vec<i64>, Reason> {
    let places = places(view)?;
    let rows = view.dims(0)?.first().copied().flatten();
    match rows.map(|rows| usize::try_from(rows).unwrap_or(0)) {
        Some(rows) if rows == places.len() => Ok(places),
        Some(rows) if rows + 2 == places.len() => {
            let from = view.attr_or("src_format", "NHWC");
            let is_inner = |at: i64| !matches!(from.as_bytes()[at as usize], b'N' | b'C');
            let inner = |at: i64| (0..at).filter(|&before| is_inner(before)).count() as i64;
            let order: Vec<i64> = places.into_iter().filter(|&at| is_inner(at)).map(inner).collect();
            match order.len() == rows {
                true => Ok(order),
                false => Err(format!("{} of {rows} rows from {from} is not supported.", view.op())),
            }
        }
        _ => Err(format!("{} needs a known number of rows that fits its formats.", view.op())),
    }
}

fn vec_permute(cx: &mut Context) -> Result<(), Reason> {
    let order = order(cx.view)?;
    let form = if cx.form(0) == Form::Wide { Form::Wide } else { Form::Plain };
    let (x, places) = (cx.input(0, form)?, cx.vector(&order));
    let out = cx.emit("Gather", &[&x, &places], &[("axis", Attr::I(0))]);
    cx.give(0, form, out)?;
    if let (1, Some(known)) = (cx.rank(0), cx.elements(0)) {
        let moved = order.iter().map(|&at| known.get(at as usize).copied().flatten());
        cx.know(0, Some(moved.collect()));
    }
    Ok(())
}

/// An axis of src_format as an axis of dst_format; negative ones count from the end.
fn dim_map(cx: &mut Context) -> Result<(), Reason> {
    let places = places(cx.view)?;
    let count = places.len() as i64;
    let table: Vec<i64> = (0..count)
        .map(|axis| places.iter().position(|&at| at == axis).unwrap_or(0) as i64)
        .collect();
    let (x, table, count) = (cx.wide(0)?, cx.vector(&table), cx.state.builder.index(count));
    let axis = cx.emit("Mod", &[&x, &count], &[]);
    let out = cx.emit("Gather", &[&table, &axis], &[("axis", Attr::I(0))]);
    cx.give_wide(0, out)
}

pub const CONVERTERS: &[Converter] = &[
    Converter {
        op: "DataFormatDimMap",
        supports: |v| {
            v.accepts(0, INTEGERS)?;
            places(v).map(|_| ())
        },
        convert: dim_map,
    },
    Converter {
        op: "DataFormatVecPermute",
        supports: |v| {
            v.accepts(0, INTEGERS)?;
            order(v).map(|_| ())
        },
        convert: vec_permute,
    },
];
