//! Reading and writing the slices of a tensor that rows of indices name.

use super::exact;
use super::{Converter, INTEGERS, NUMBERS, TENSORS, scatter_sum};
use crate::convert::Reason;
use crate::convert::context::Context;
use crate::convert::value::Form;
use crate::convert::view::View;
use crate::graph::DType;
use std::collections::HashSet;

/// The number of axes that one row of the indices in input `i` names: ONNX wants it known and at least 1.
fn depth(view: View, i: usize) -> Result<usize, Reason> {
    let last = view.dims(i)?.last().copied();
    match last {
        Some(Some(depth @ 1..)) => usize::try_from(depth).map_err(|e| e.to_string()),
        Some(Some(_)) => Err(format!("{} with indices that name no axis is not supported.", view.op())),
        Some(None) => Err(format!("{} needs a known last dimension of its indices.", view.op())),
        None => Err(format!("{} needs indices of rank 1 or more.", view.op())),
    }
}

/// An engine neither fails on an index that is out of range nor leaves it out: only TensorFlow's default, which leaves that to
/// the device, can be kept.
fn default_policy(view: View) -> Result<(), Reason> {
    match view.attr_or("bad_indices_policy", "") {
        "" | "DEFAULT" => Ok(()),
        policy => Err(format!("{} with bad_indices_policy={policy} is not supported.", view.op())),
    }
}

fn gather_nd_supports(view: View) -> Result<(), Reason> {
    view.accepts(0, TENSORS)?;
    view.accepts(1, INTEGERS)?;
    default_policy(view)?;
    let (depth, rank) = (depth(view, 1)?, view.rank(0)?);
    if depth > rank {
        return Err(format!("GatherNd's indices name {depth} axes of {rank}."));
    }
    Ok(())
}

fn gather_nd(cx: &mut Context) -> Result<(), Reason> {
    let form = flat_form(cx, 0);
    let (data, indices) = (cx.input(0, form)?, cx.wide(1)?);
    let out = cx.emit("GatherND", &[&data, &indices], &[]);
    cx.give(0, form, out)
}

/// The form in which the axes of input `i` stand as TensorFlow numbers them.
fn flat_form(cx: &Context, i: usize) -> Form {
    if cx.form(i) == Form::Wide { Form::Wide } else { Form::Plain }
}

/// The updates have the indices' rows and then the axes that the indices leave: TensorFlow also takes a scalar for all.
fn whole_updates(view: View, indices: usize, updates: usize) -> Result<(), Reason> {
    let (depth, rank) = (depth(view, indices)?, view.out_dims(0)?.len());
    if depth > rank {
        return Err(format!("{}'s indices name {depth} axes of {rank}.", view.op()));
    }
    let wanted = view.rank(indices)? - 1 + rank - depth;
    match view.rank(updates)? {
        found if found == wanted => Ok(()),
        found => Err(format!("{} needs updates of rank {wanted}, and they have rank {found}.", view.op())),
    }
}

/// TensorFlow adds up (or compares) what is written to one place twice. TensorRT's ScatterND writes only, so each place may be named once,
/// which only constant indices can promise.
fn each_place_once(view: View, indices: usize) -> Result<(), Reason> {
    let op = view.op();
    let depth = depth(view, indices)?;
    if !view.is_constant(indices) {
        return Err(format!(
            "{op} brings the updates of one place together, which engines do not: its indices must be a constant that names no place twice."
        ));
    }
    let values = view.need_ints(indices, "indices")?;
    if values.iter().any(|&i| i < 0) {
        return Err(format!("{op} has a negative index."));
    }
    let mut seen = HashSet::new();
    match values.chunks(depth).find(|row| !seen.insert(*row)) {
        Some(row) => Err(format!(
            "{op} brings the updates of one place together, which engines do not: {row:?} is named twice."
        )),
        None => Ok(()),
    }
}

fn scatter_nd_supports(view: View) -> Result<(), Reason> {
    view.accepts(0, INTEGERS)?;
    view.accepts(1, NUMBERS)?;
    view.accepts(2, INTEGERS)?;
    default_policy(view)?;
    whole_updates(view, 0, 1)?;
    once_or_summed(view, 0, 1)
}

/// Fails unless each place is named once, or the updates can be added up.
fn once_or_summed(view: View, indices: usize, updates: usize) -> Result<(), Reason> {
    each_place_once(view, indices).or_else(|why| {
        let dims = view.out_dims(0)?;
        scatter_sum::supports(view, dims, updates).map_err(|_| why)
    })
}

/// The sums of the updates, where a place may be named twice; `None` where writing does.
fn sums(cx: &mut Context, indices: usize, updates: usize) -> Result<Option<String>, Reason> {
    if each_place_once(cx.view, indices).is_ok() {
        return Ok(None);
    }
    let dims: Option<Vec<i64>> = cx.view.out_dims(0)?.iter().copied().collect();
    let dims = dims.ok_or("the sizes have to be known")?;
    let depth = depth(cx.view, indices)?;
    scatter_sum::sum(cx, &dims, depth, indices, updates).map(Some)
}

fn scatter_nd(cx: &mut Context) -> Result<(), Reason> {
    if let Some(sums) = sums(cx, 0, 1)? {
        return cx.give(0, Form::Plain, sums);
    }
    let known: Option<Vec<i64>> = cx.view.out_dims(0)?.iter().copied().collect();
    let shape = match known {
        Some(dims) => cx.vector(&dims),
        None => cx.wide(2)?,
    };
    let zero = cx.scalar(cx.dtype(1), 0.0)?;
    let zeros = cx.emit("Expand", &[&zero, &shape], &[]);
    let (indices, updates) = (cx.wide(0)?, cx.plain(1)?);
    let out = cx.emit("ScatterND", &[&zeros, &indices, &updates], &[]);
    cx.give(0, Form::Plain, out)
}

fn tensor_scatter_supports(view: View, types: &[DType]) -> Result<(), Reason> {
    view.accepts(0, types)?;
    view.accepts(1, INTEGERS)?;
    default_policy(view)?;
    whole_updates(view, 1, 2)
}

/// Which of two updates of one place stays is undefined, as in TensorFlow.
fn tensor_scatter_update(cx: &mut Context) -> Result<(), Reason> {
    let form = cx.shared_form(&[0, 2]);
    let form = if form == Form::Wide { form } else { Form::Plain };
    let (data, indices, updates) = (cx.input(0, form)?, cx.wide(1)?, cx.input(2, form)?);
    let out = cx.emit("ScatterND", &[&data, &indices, &updates], &[]);
    cx.give(0, form, out)
}

/// Each place once: what is there is read, changed by the ONNX op `op`, and written back. Small sums may be of several updates.
fn tensor_scatter_change(cx: &mut Context, op: &str) -> Result<(), Reason> {
    let (data, indices, updates) = (cx.plain(0)?, cx.wide(1)?, cx.plain(2)?);
    if matches!(op, "Add" | "Sub")
        && let Some(sums) = sums(cx, 1, 2)?
    {
        let out = cx.emit(op, &[&data, &sums], &[]);
        return cx.give(0, Form::Plain, out);
    }
    let old = cx.emit("GatherND", &[&data, &indices], &[]);
    let new = match op {
        "Max" | "Min" => exact::extreme_of(cx, op, Form::Plain, (0, &old), (2, &updates)),
        _ => cx.emit(op, &[&old, &updates], &[]),
    };
    let out = cx.emit("ScatterND", &[&data, &indices, &new], &[]);
    cx.give(0, Form::Plain, out)
}

fn tensor_scatter_change_supports(view: View) -> Result<(), Reason> {
    tensor_scatter_supports(view, NUMBERS)?;
    match view.op() {
        "TensorScatterAdd" | "TensorScatterSub" => once_or_summed(view, 1, 2),
        _ => each_place_once(view, 1),
    }
}

pub const CONVERTERS: &[Converter] = &[
    Converter {
        op: "GatherNd",
        supports: gather_nd_supports,
        convert: gather_nd,
    },
    Converter {
        op: "ScatterNd",
        supports: scatter_nd_supports,
        convert: scatter_nd,
    },
    Converter {
        op: "TensorScatterAdd",
        supports: tensor_scatter_change_supports,
        convert: |cx| tensor_scatter_change(cx, "Add"),
    },
    Converter {
        op: "TensorScatterMax",
        supports: tensor_scatter_change_supports,
        convert: |cx| tensor_scatter_change(cx, "Max"),
    },
    Converter {
        op: "TensorScatterMin",
        supports: tensor_scatter_change_supports,
        convert: |cx| tensor_scatter_change(cx, "Min"),
    },
    Converter {
        op: "TensorScatterSub",
        supports: tensor_scatter_change_supports,
        convert: |cx| tensor_scatter_change(cx, "Sub"),
    },
    Converter {
        op: "TensorScatterUpdate",
        supports: |v| tensor_scatter_supports(v, TENSORS),
        convert: tensor_scatter_update,
    },
];
