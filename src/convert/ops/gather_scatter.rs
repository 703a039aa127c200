//! Reading and writing the slices of a tensor that rows of indices name.

use super::exact;
use super::slicing::{Piece, assemble, dim, held, piece};
use super::{Converter, INTEGERS, NUMBERS, TENSORS, scatter_sum};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::guard::{self, Indices, Inside};
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

/// What becomes of an index out of range is what TensorFlow's default makes of it on the device (see `guard`).
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
    let depth = depth(cx.view, 1)?;
    let sizes = (0..depth).map(|axis| dim(cx, 0, axis)).collect::<Result<Vec<_>, _>>()?;
    elements_in_slices(cx, depth)?;
    let (data, indices) = (cx.input(0, form)?, guard::wide_indices(cx, 1, &sizes)?);
    let out = cx.emit("GatherND", &[&data, &indices.name], &[]);
    let rank = cx.view.out_dims(0)?.len();
    let out = indices.zeros_outside(cx, held(cx, form), out, rank)?;
    cx.give(0, form, out)
}

/// States that the slices of input 0 that a row of `depth` indices names have elements: of a tensor without, TensorFlow takes no row.
fn elements_in_slices(cx: &mut Context, depth: usize) -> Result<(), Reason> {
    (depth..cx.rank(0)).try_for_each(|axis| guard::require_at_least(cx, 0, axis, 1))
}

/// What rows of indices are written to.
struct Target {
    data: String,
    dtype: DType,
    /// All sizes of the data.
    dims: Vec<Piece>,
    /// How many of them a row names.
    depth: usize,
}

impl Target {
    /// Writes `updates`, a tensor of rank `rank`, at the indices, which are input `i`; what they name outside is left out.
    fn write(self, cx: &mut Context, i: usize, indices: &Indices, updates: &str, rank: usize) -> Result<String, Reason> {
        let Some(inside) = &indices.inside else {
            return Ok(cx.emit("ScatterND", &[&self.data, &indices.name, updates], &[]));
        };
        let dims = &cx.value(i).dims;
        if dims[..dims.len() - 1].iter().all(|size| *size == Some(1)) {
            // One row: outside it writes what is there.
            let old = cx.emit("GatherND", &[&self.data, &indices.name], &[]);
            let new = inside.choose(cx, self.dtype, rank, updates, &old);
            return Ok(cx.emit("ScatterND", &[&self.data, &indices.name, &new], &[]));
        }
        self.write_apart(cx, indices, inside, updates)
    }

    /// Writes what is outside to a place behind all others, which is cut off again.
    fn write_apart(self, cx: &mut Context, indices: &Indices, inside: &Inside, updates: &str) -> Result<String, Reason> {
        let (shape, axis) = (assemble(cx, &self.dims), [("axis", Attr::I(0))]);
        let (zero, one, behind) = (cx.vector(&[0]), cx.vector(&[1]), cx.vector(&[self.depth as i64]));
        let rank = cx.vector(&[self.dims.len() as i64]);
        let named = cx.emit("Slice", &[&shape, &zero, &behind], &[]);
        let rest = cx.emit("Slice", &[&shape, &behind, &rank], &[]);
        let product = [("axes", Attr::Ints(&[0])), ("keepdims", Attr::I(1))];
        let places = cx.emit("ReduceProd", &[&named], &product);
        let lay = |cx: &mut Context, first: &str, x: &str| {
            let dims = cx.emit("Concat", &[first, &rest], &axis);
            cx.emit("Reshape", &[x, &dims], &[("allowzero", Attr::I(1))])
        };
        let data = lay(cx, &places, &self.data);
        let row = cx.emit("Concat", &[&one, &rest], &axis);
        let nothing = cx.scalar(self.dtype, 0.0)?;
        let row = cx.emit("Expand", &[&nothing, &row], &[]);
        let data = cx.emit("Concat", &[&data, &row], &axis);
        // How far each place is from the first.
        let mut steps = Vec::new();
        for at in 1..=self.depth {
            steps.push(match at == self.depth {
                true => one.clone(),
                false => {
                    let from = cx.vector(&[at as i64]);
                    let below = cx.emit("Slice", &[&named, &from, &behind], &[]);
                    cx.emit("ReduceProd", &[&below], &product)
                }
            });
        }
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        let steps = if let [only] = steps[..] {
            only.to_string()
        } else {
            cx.emit("Concat", &steps, &axis)
        };
        let parts = cx.emit("Mul", &[&indices.name, &steps], &[]);
        let last = cx.vector(&[inside.rank as i64]);
        let offsets = cx.emit("ReduceSum", &[&parts, &last], &[("keepdims", Attr::I(0))]);
        let offsets = cx.emit("Where", &[&inside.name, &offsets, &places], &[]);
        let offsets = cx.emit("Unsqueeze", &[&offsets, &last], &[]);
        let out = cx.emit("ScatterND", &[&data, &offsets, updates], &[]);
        let out = cx.emit("Slice", &[&out, &zero, &places, &zero], &[]);
        Ok(cx.emit("Reshape", &[&out, &shape], &[("allowzero", Attr::I(1))]))
    }
}

/// States that there is an update for each row of the indices.
fn an_update_a_row(cx: &mut Context, indices: usize, updates: usize) -> Result<(), Reason> {
    (0..cx.rank(indices) - 1).try_for_each(|axis| guard::require_same(cx, (indices, axis), (updates, axis)))
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
    an_update_a_row(cx, indices, updates)?;
    let depth = depth(cx.view, indices)?;
    scatter_sum::sum(cx, &dims, depth, indices, updates).map(Some)
}

fn scatter_nd(cx: &mut Context) -> Result<(), Reason> {
    if let Some(sums) = sums(cx, 0, 1)? {
        return cx.give(0, Form::Plain, sums);
    }
    let known: Option<Vec<i64>> = cx.view.out_dims(0)?.iter().copied().collect();
    let dims = match known {
        Some(dims) => dims.into_iter().map(Piece::Known).collect(),
        None => (0..cx.view.out_dims(0)?.len())
            .map(|axis| piece(cx, 2, axis))
            .collect::<Result<Vec<_>, _>>()?,
    };
    let shape = assemble(cx, &dims);
    let (dtype, depth) = (cx.dtype(1), depth(cx.view, 0)?);
    let zero = cx.scalar(dtype, 0.0)?;
    for size in &dims[depth..] {
        if guard::told(cx) && matches!(size, Piece::Named(_)) {
            guard::require_pair(cx, "GreaterOrEqual", size, &Piece::Known(1));
        }
    }
    let data = cx.emit("Expand", &[&zero, &shape], &[]);
    let (indices, updates) = (guard::wide_indices(cx, 0, &dims[..depth])?, cx.plain(1)?);
    let target = Target { data, dtype, dims, depth };
    let out = target.write(cx, 0, &indices, &updates, cx.rank(1))?;
    cx.give(0, Form::Plain, out)
}

fn tensor_scatter_supports(view: View, types: &[DType]) -> Result<(), Reason> {
    view.accepts(0, types)?;
    view.accepts(1, INTEGERS)?;
    default_policy(view)?;
    whole_updates(view, 1, 2)
}

/// Input 0 in `form` and the indices in input 1.
fn target(cx: &mut Context, form: Form) -> Result<(Target, Indices), Reason> {
    let depth = depth(cx.view, 1)?;
    elements_in_slices(cx, depth)?;
    let dims = (0..cx.rank(0)).map(|axis| dim(cx, 0, axis)).collect::<Result<Vec<_>, _>>()?;
    let indices = guard::wide_indices(cx, 1, &dims[..depth])?;
    let (data, dtype) = (cx.input(0, form)?, held(cx, form));
    Ok((Target { data, dtype, dims, depth }, indices))
}

/// Which of two updates of one place stays is undefined, as in TensorFlow.
fn tensor_scatter_update(cx: &mut Context) -> Result<(), Reason> {
    let form = cx.shared_form(&[0, 2]);
    let form = if form == Form::Wide { form } else { Form::Plain };
    let (target, indices) = target(cx, form)?;
    let updates = cx.input(2, form)?;
    let out = target.write(cx, 1, &indices, &updates, cx.rank(2))?;
    cx.give(0, form, out)
}

/// Each place once: what is there is read, changed by the ONNX op `op`, and written back. Small sums may be of several updates.
fn tensor_scatter_change(cx: &mut Context, op: &str) -> Result<(), Reason> {
    let (data, updates) = (cx.plain(0)?, cx.plain(2)?);
    if matches!(op, "Add" | "Sub")
        && let Some(sums) = sums(cx, 1, 2)?
    {
        let out = cx.emit(op, &[&data, &sums], &[]);
        return cx.give(0, Form::Plain, out);
    }
    an_update_a_row(cx, 1, 2)?;
    let (target, indices) = target(cx, Form::Plain)?;
    let old = cx.emit("GatherND", &[&data, &indices.name], &[]);
    let new = match op {
        "Max" | "Min" => exact::extreme_of(cx, op, Form::Plain, (0, &old), (2, &updates)),
        _ => cx.emit(op, &[&old, &updates], &[]),
    };
    let out = target.write(cx, 1, &indices, &new, cx.rank(2))?;
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
