//! Putting the elements along an axis in another order.

use super::slicing::{END, Piece, assemble, dim};
use super::{Converter, INTEGERS, TENSORS, axis_in};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::layout::as_ints;
use crate::convert::value::Form;
use crate::convert::view::{View, normal_axes, normal_axis};
use std::collections::BTreeMap;

fn reversed_axes(view: View) -> Result<Vec<usize>, Reason> {
    normal_axes(&view.need_ints(1, "axis")?, view.rank(0)?)
}

fn reverse(cx: &mut Context) -> Result<(), Reason> {
    let axes = reversed_axes(cx.view)?;
    if axes.is_empty() {
        cx.alias(0, 0);
        return Ok(());
    }
    let form = cx.form(0);
    let x = cx.input(0, form)?;
    let count = axes.len();
    let axes: Vec<i64> = axes.into_iter().map(|a| axis_in(form, a) as i64).collect();
    let (starts, ends) = (cx.vector(&vec![END; count]), cx.vector(&vec![i64::MIN; count]));
    let (axes, steps) = (cx.vector(&axes), cx.vector(&vec![-1; count]));
    let out = cx.emit("Slice", &[&x, &starts, &ends, &axes, &steps], &[]);
    cx.give(0, form, out)?;
    let known = cx.elements_as_sizes(0).filter(|_| cx.rank(0) == 1);
    cx.know(0, known.map(|e| e.into_iter().rev().collect()));
    Ok(())
}

/// The axis of the rows and the axis along which each is reversed.
fn sequence_axes(view: View) -> Result<(usize, usize), Reason> {
    let rank = view.rank(0)?;
    let axis = |name: &str| normal_axis(view.node().attr_i(name).unwrap_or(0), rank);
    match (axis("batch_dim")?, axis("seq_dim")?) {
        (batch, seq) if batch == seq => Err(format!("ReverseSequence has batch_dim and seq_dim {batch}.")),
        axes => Ok(axes),
    }
}

fn reverse_sequence_supports(view: View) -> Result<(), Reason> {
    view.accepts(0, TENSORS)?;
    view.accepts(1, INTEGERS)?;
    view.accepts_rank(1, 1)?;
    sequence_axes(view).map(|_| ())
}

/// ONNX knows the first two axes only; others are brought to the front and back.
fn reverse_sequence(cx: &mut Context) -> Result<(), Reason> {
    let (batch, seq) = sequence_axes(cx.view)?;
    let (mut x, mut lengths) = (cx.plain(0)?, cx.wide(1)?);
    if guard::told(cx) {
        guard::require_same(cx, (0, batch), (1, 0))?;
        // From none to all.
        let counts = match dim(cx, 0, seq)? {
            Piece::Known(size) => Piece::Known(size + 1),
            size => {
                let (size, one) = (assemble(cx, &[size]), cx.vector(&[1]));
                Piece::Named(cx.emit("Add", &[&size, &one], &[]))
            }
        };
        lengths = guard::wide_indices(cx, 1, &[counts])?.name;
    }
    let front = batch < 2 && seq < 2;
    let mut perm = vec![batch, seq];
    perm.extend((0..cx.rank(0)).filter(|&a| a != batch && a != seq));
    if !front {
        x = cx.emit("Transpose", &[&x], &[("perm", Attr::Ints(&as_ints(&perm)))]);
    }
    let (batch_axis, time_axis) = if front { (batch as i64, seq as i64) } else { (0, 1) };
    let attrs = [("batch_axis", Attr::I(batch_axis)), ("time_axis", Attr::I(time_axis))];
    let mut out = cx.emit("ReverseSequence", &[&x, &lengths], &attrs);
    if !front {
        let mut back = vec![0; perm.len()];
        for (to, &from) in perm.iter().enumerate() {
            back[from] = to as i64;
        }
        out = cx.emit("Transpose", &[&out], &[("perm", Attr::Ints(&back))]);
    }
    cx.give(0, Form::Plain, out)
}

/// By how much each axis is rolled; shifts of one axis add up.
fn shifts(view: View) -> Result<BTreeMap<usize, i64>, Reason> {
    let (shifts, axes) = (view.need_ints(1, "shift")?, view.need_ints(2, "axis")?);
    if shifts.len() != axes.len() {
        return Err(format!("Roll has {} shifts for {} axes.", shifts.len(), axes.len()));
    }
    let mut sums: BTreeMap<usize, i64> = BTreeMap::new();
    for (shift, axis) in shifts.into_iter().zip(axes) {
        let sum = sums.entry(normal_axis(axis, view.rank(0)?)?).or_default();
        *sum = sum.checked_add(shift).ok_or("Roll's shifts of one axis leave int64.")?;
    }
    Ok(sums)
}

/// Along each axis the last elements, as many as the shift, go before the others.
fn roll(cx: &mut Context) -> Result<(), Reason> {
    let form = cx.form(0);
    let mut x: Option<String> = None;
    for (axis, shift) in shifts(cx.view)? {
        let size = cx.value(0).dims[axis];
        let by = size.map_or(shift, |n| if n == 0 { 0 } else { shift.rem_euclid(n) });
        if by == 0 {
            continue;
        }
        let data = match x.take() {
            Some(name) => name,
            None => cx.input(0, form)?,
        };
        let start = match size {
            Some(n) => cx.vector(&[n - by]),
            None => open_start(cx, axis, by)?,
        };
        let axis = axis_in(form, axis) as i64;
        let (zero, end, axes) = (cx.vector(&[0]), cx.vector(&[END]), cx.vector(&[axis]));
        let last = cx.emit("Slice", &[&data, &start, &end, &axes], &[]);
        let others = cx.emit("Slice", &[&data, &zero, &start, &axes], &[]);
        x = Some(cx.emit("Concat", &[&last, &others], &[("axis", Attr::I(axis))]));
    }
    match x {
        Some(out) => cx.give(0, form, out),
        None => {
            cx.alias(0, 0);
            Ok(())
        }
    }
}

/// The first of the elements that go to the front, for an axis whose size is known at run time: size - shift mod size, the
/// remainder not negative, and 0 for no elements.
fn open_start(cx: &mut Context, axis: usize, by: i64) -> Result<String, Reason> {
    let shape = cx.shape_of(0)?;
    let (at, one, by) = (cx.vector(&[axis as i64]), cx.vector(&[1]), cx.vector(&[by]));
    let size = cx.emit("Gather", &[&shape, &at], &[("axis", Attr::I(0))]);
    let divisor = cx.emit("Max", &[&size, &one], &[]);
    let rest = cx.emit("Mod", &[&by, &divisor], &[]);
    Ok(cx.emit("Sub", &[&size, &rest], &[]))
}

/// Writes each place to where its element points.
fn invert_permutation(cx: &mut Context) -> Result<(), Reason> {
    let mut x = cx.wide(0)?;
    let told = guard::told(cx) && cx.value(0).constant.is_none();
    if told {
        let count = dim(cx, 0, 0)?;
        x = guard::wide_indices(cx, 0, &[count])?.name;
    }
    let places = match cx.value(0).dims[0] {
        Some(n) => cx.vector(&(0..n).collect::<Vec<_>>()),
        None => {
            let shape = cx.shape_of(0)?;
            let (zero, one) = (cx.state.builder.index(0), cx.state.builder.index(1));
            let size = cx.emit("Gather", &[&shape, &zero], &[("axis", Attr::I(0))]);
            cx.emit("Range", &[&zero, &size, &one], &[])
        }
    };
    let out = cx.emit("ScatterElements", &[&x, &x, &places], &[("axis", Attr::I(0))]);
    if told {
        // Of two that point to one place only one is found again there.
        let found = cx.emit("Gather", &[&out, &x], &[("axis", Attr::I(0))]);
        let holds = cx.emit("Equal", &[&found, &places], &[]);
        guard::require_all(cx, &holds)?;
    }
    cx.give_wide(0, out)?;
    let known: Option<Vec<i64>> = cx.elements(0).and_then(|e| e.into_iter().collect());
    cx.know(0, known.and_then(|perm| inverse(&perm)));
    Ok(())
}

fn inverse(perm: &[i64]) -> Option<Vec<Option<i64>>> {
    let mut places = vec![None; perm.len()];
    for (i, &to) in perm.iter().enumerate() {
        *places.get_mut(usize::try_from(to).ok()?)? = Some(i as i64);
    }
    Some(places)
}

fn invert_permutation_supports(view: View) -> Result<(), Reason> {
    view.accepts(0, INTEGERS)?;
    view.accepts_rank(0, 1)
}

pub const CONVERTERS: &[Converter] = &[
    Converter {
        op: "InvertPermutation",
        supports: invert_permutation_supports,
        convert: invert_permutation,
    },
    Converter {
        op: "ReverseSequence",
        supports: reverse_sequence_supports,
        convert: reverse_sequence,
    },
    Converter {
        op: "ReverseV2",
        supports: |v| reversed_axes(v).map(|_| ()),
        convert: reverse,
    },
    Converter {
        op: "Roll",
        supports: |v| shifts(v).map(|_| ()),
        convert: roll,
    },
];
