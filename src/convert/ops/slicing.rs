//! Taking parts of a tensor: by index, by begin and size, by equal or given pieces.

use super::nms::MOST_BEST;
use super::{Converter, FLOATS, INTEGERS, axis_in};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::layout::as_ints;
use crate::convert::size::Size;
use crate::convert::value::Form;
use crate::convert::view::{View, normal_axis};
use crate::graph::DType;

/// Larger than any size: "to the end".
pub const END: i64 = i64::MAX;

/// One element of an int64 vector that is put together.
#[derive(Clone)]
pub enum Piece {
    Known(i64),
    /// The ONNX name of an int64 vector with one element.
    Named(String),
}

/// Element `at` of the integer vector in input `i`.
pub fn piece(cx: &mut Context, i: usize, at: usize) -> Result<Piece, Reason> {
    if let Some(Some(known)) = cx.elements(i).and_then(|e| e.get(at).copied()) {
        return Ok(Piece::Known(known));
    }
    let vector = cx.wide(i)?;
    if cx.value(i).dims == [Some(1)] {
        return Ok(Piece::Named(vector));
    }
    let at = cx.vector(&[at as i64]);
    Ok(Piece::Named(cx.emit("Gather", &[&vector, &at], &[("axis", Attr::I(0))])))
}

/// The size of input `i` along `axis`.
pub fn dim(cx: &mut Context, i: usize, axis: usize) -> Result<Piece, Reason> {
    if let Some(known) = cx.value(i).dims[axis] {
        return Ok(Piece::Known(known));
    }
    let (shape, at) = (cx.shape_of(i)?, cx.vector(&[axis as i64]));
    Ok(Piece::Named(cx.emit("Gather", &[&shape, &at], &[("axis", Attr::I(0))])))
}

/// The size along `axis` of the ONNX tensor `name`, which the graph asks for.
pub fn named_dim(cx: &mut Context, name: &str, axis: usize) -> Piece {
    let (shape, at) = (cx.emit("Shape", &[name], &[]), cx.vector(&[axis as i64]));
    Piece::Named(cx.emit("Gather", &[&shape, &at], &[("axis", Attr::I(0))]))
}

/// The int64 vector of these elements.
pub fn assemble(cx: &mut Context, pieces: &[Piece]) -> String {
    let known: Option<Vec<i64>> = pieces
        .iter()
        .map(|p| match p {
            Piece::Known(value) => Some(*value),
            Piece::Named(_) => None,
        })
        .collect();
    if let Some(values) = known {
        return cx.vector(&values);
    }
    let names: Vec<String> = pieces
        .iter()
        .map(|p| match p {
            Piece::Known(value) => cx.vector(&[*value]),
            Piece::Named(name) => name.clone(),
        })
        .collect();
    match names.as_slice() {
        [one] => one.clone(),
        _ => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            cx.emit("Concat", &names, &[("axis", Attr::I(0))])
        }
    }
}

fn gather_axis(view: View) -> Result<usize, Reason> {
    match view.op() {
        "Gather" => normal_axis(0, view.rank(0)?),
        _ => normal_axis(view.need_int(2, "axis")?, view.rank(0)?),
    }
}

/// How many leading axes of data and indices belong together.
fn batch_dims(view: View) -> Result<usize, Reason> {
    let (given, rank) = (view.node().attr_i("batch_dims").unwrap_or(0), view.rank(1)?);
    let count = if given < 0 { given + rank as i64 } else { given };
    match usize::try_from(count) {
        Ok(count) if count <= rank && count <= gather_axis(view)? => Ok(count),
        _ => Err(format!("{} has batch_dims {given} for indices of rank {rank}.", view.op())),
    }
}

fn gather_supports(view: View) -> Result<(), Reason> {
    view.accepts(1, INTEGERS)?;
    gather_axis(view)?;
    batch_dims(view).map(|_| ())
}

fn gather(cx: &mut Context) -> Result<(), Reason> {
    let axis = gather_axis(cx.view)?;
    let batch = batch_dims(cx.view)?;
    let form = if cx.form(0) == Form::Wide { Form::Wide } else { Form::Plain };
    let data = cx.input(0, form)?;
    if batch > 0 {
        let out = gather_in_batches(cx, form, &data, axis, batch)?;
        return cx.give(0, form, out);
    }
    let index_form = if cx.form(1) == Form::Wide { Form::Wide } else { Form::Plain };
    let (indices, limit) = (cx.input(1, index_form)?, dim(cx, 0, axis)?);
    let indices = guard::indices(cx, 1, index_form, indices, &[limit])?;
    let out = cx.emit("Gather", &[&data, &indices.name], &[("axis", Attr::I(axis as i64))]);
    let out = indices.zeros_outside(cx, held(cx, form), out, cx.rank(1) + cx.rank(0) - 1 - axis)?;
    cx.give(0, form, out)?;
    if let (1, Some(data), Some(indices)) = (cx.rank(0), cx.elements_as_sizes(0), cx.elements(1)) {
        let pick = |i: Option<i64>| data.get(usize::try_from(i?).ok()?).copied();
        let picked = indices.into_iter().map(|i| pick(i).unwrap_or(Size::Open));
        cx.know(0, Some(picked.collect()));
    }
    Ok(())
}

/// The type of the elements of input 0 in `form`.
pub fn held(cx: &Context, form: Form) -> DType {
    if form == Form::Wide { DType::INT64 } else { cx.dtype(0) }
}

/// The indices of each batch take from the data of that batch. GatherND takes from the axis behind the batches, so that one is
/// brought there, and the axes that stood between are brought back before those of the indices.
fn gather_in_batches(cx: &mut Context, form: Form, data: &str, axis: usize, batch: usize) -> Result<String, Reason> {
    (0..batch).try_for_each(|axis| guard::require_same(cx, (0, axis), (1, axis)))?;
    let (rank, inner) = (cx.rank(0), cx.rank(1) - batch);
    let mut data = data.to_string();
    if axis > batch {
        let mut perm: Vec<usize> = (0..rank).filter(|&a| a != axis).collect();
        perm.insert(batch, axis);
        data = cx.emit("Transpose", &[&data], &[("perm", Attr::Ints(&as_ints(&perm)))]);
    }
    let (limit, last) = (dim(cx, 0, axis)?, cx.vector(&[cx.rank(1) as i64]));
    let indices = guard::wide_indices(cx, 1, &[limit])?;
    let rows = cx.emit("Unsqueeze", &[&indices.name, &last], &[]);
    let out = cx.emit("GatherND", &[&data, &rows], &[("batch_dims", Attr::I(batch as i64))]);
    let out = indices.zeros_outside(cx, held(cx, form), out, cx.rank(1) + rank - 1 - batch)?;
    if axis == batch {
        return Ok(out);
    }
    let between = batch + inner..inner + axis;
    let perm: Vec<usize> = (0..batch)
        .chain(between.clone())
        .chain(batch..batch + inner)
        .chain(between.end..rank - 1 + inner)
        .collect();
    Ok(cx.emit("Transpose", &[&out], &[("perm", Attr::Ints(&as_ints(&perm)))]))
}

/// States that each part lies in the tensor: ONNX counts a negative begin from the end, and cuts off what is past it.
fn slice_lies_inside(cx: &mut Context) -> Result<(), Reason> {
    let open = || vec![Size::Open; cx.rank(0)];
    let begins = cx.elements_as_sizes(1).unwrap_or_else(open);
    let sizes = cx.elements_as_sizes(2).unwrap_or_else(open);
    let good = |((begin, size), whole): ((&Size, &Size), Size)| match (begin.known(), size.known(), whole.known()) {
        (Some(0), Some(-1 | 0), _) => true,
        (Some(0), _, _) if size.same_as(whole) => true,
        (Some(begin), Some(-1), Some(whole)) => (0..=whole).contains(&begin),
        (Some(begin @ 0..), Some(size @ 0..), Some(whole)) => begin.checked_add(size).is_some_and(|end| end <= whole),
        _ => false,
    };
    if !guard::told(cx) || begins.iter().zip(&sizes).zip(cx.value(0).sizes()).all(good) {
        return Ok(());
    }
    let (begin, size, whole) = (cx.wide(1)?, cx.wide(2)?, cx.shape_of(0)?);
    let (zero, minus_one) = (cx.vector(&[0]), cx.vector(&[-1]));
    let is_not_negative = cx.emit("GreaterOrEqual", &[&begin, &zero], &[]);
    let left = cx.emit("Sub", &[&whole, &begin], &[]);
    let begins_inside = cx.emit("GreaterOrEqual", &[&left, &zero], &[]);
    // A size of -1 is what is left.
    let counted = cx.emit("GreaterOrEqual", &[&size, &minus_one], &[]);
    let fits = cx.emit("LessOrEqual", &[&size, &left], &[]);
    let mut holds = is_not_negative;
    for other in [begins_inside, counted, fits] {
        holds = cx.emit("And", &[&holds, &other], &[]);
    }
    guard::require_all(cx, &holds)
}

/// begin and size; a size of -1 is "to the end", also when it is known at run time only.
fn slice(cx: &mut Context) -> Result<(), Reason> {
    slice_lies_inside(cx)?;
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    let rank = cx.rank(0);
    for axis in 0..rank {
        let (begin, size) = (piece(cx, 1, axis)?, piece(cx, 2, axis)?);
        ends.push(match (&begin, &size) {
            (_, Piece::Known(-1)) => Piece::Known(END),
            // A sum beyond int64 is past the end, as any other sum over the size is.
            (Piece::Known(begin), Piece::Known(size)) => Piece::Known(begin.saturating_add(*size)),
            (Piece::Known(0), Piece::Named(size)) => {
                let size = size.clone();
                Piece::Named(end_of(cx, &size, &size))
            }
            (_, Piece::Known(_)) => {
                let (begin, size) = (assemble(cx, std::slice::from_ref(&begin)), assemble(cx, &[size]));
                Piece::Named(cx.emit("Add", &[&begin, &size], &[]))
            }
            (_, Piece::Named(size)) => {
                let (begin, size) = (assemble(cx, std::slice::from_ref(&begin)), size.clone());
                let end = cx.emit("Add", &[&begin, &size], &[]);
                Piece::Named(end_of(cx, &size, &end))
            }
        });
        starts.push(begin);
    }
    let form = cx.form(0);
    let x = cx.input(0, form)?;
    let (starts, ends) = (assemble(cx, &starts), assemble(cx, &ends));
    let axes = cx.vector(&(0..rank).map(|axis| axis_in(form, axis) as i64).collect::<Vec<_>>());
    let out = cx.emit("Slice", &[&x, &starts, &ends, &axes], &[]);
    cx.give(0, form, out)
}

/// `end`, or the end of the tensor where `size` is negative.
fn end_of(cx: &mut Context, size: &str, end: &str) -> String {
    let (zero, last) = (cx.vector(&[0]), cx.vector(&[END]));
    let open = cx.emit("Less", &[size, &zero], &[]);
    cx.emit("Where", &[&open, &last, end], &[])
}

/// Equal pieces (`Split`), or pieces of given sizes (`SplitV`): axis input and data input stand in another order.
fn split(cx: &mut Context, data: usize, axis: usize) -> Result<(), Reason> {
    let tf_axis = normal_axis(cx.view.need_int(axis, "axis")?, cx.rank(data))?;
    let outputs = cx.view.node().outputs.len();
    if outputs == 1 {
        cx.alias(0, data);
        return Ok(());
    }
    let form = cx.form(data);
    let x = cx.input(data, form)?;
    let attrs = [("axis", Attr::I(axis_in(form, tf_axis) as i64))];
    let names = if cx.view.op() == "SplitV" {
        let sizes = split_sizes(cx.view)?;
        let sizes = cx.vector(&sizes);
        cx.state.builder.emit_many("Split", &[&x, &sizes], outputs, &attrs)
    } else {
        cx.state.builder.emit_many("Split", &[&x], outputs, &attrs)
    };
    for (i, name) in names.into_iter().enumerate() {
        cx.give(i, form, name)?;
    }
    Ok(())
}

fn split_sizes(view: View) -> Result<Vec<i64>, Reason> {
    let mut sizes = view.need_ints(1, "size_splits")?;
    let axis = normal_axis(view.need_int(2, "axis")?, view.rank(0)?)?;
    if let Some(open) = sizes.iter().position(|&s| s < 0) {
        let whole = view.dims(0)?[axis].ok_or("SplitV with a size of -1 needs a known dimension.")?;
        let others = sizes.iter().filter(|&&s| s >= 0).try_fold(0i64, |sum, &s| sum.checked_add(s));
        sizes[open] = whole - others.ok_or("The sizes of SplitV add up to more than int64 holds.")?;
    }
    Ok(sizes)
}

fn unpack_axis(view: View) -> Result<usize, Reason> {
    normal_axis(view.node().attr_i("axis").unwrap_or(0), view.rank(0)?)
}

/// Output i is row i along the axis. Rows that nobody takes are left out with the rest of the unused nodes.
fn unpack(cx: &mut Context) -> Result<(), Reason> {
    let axis = unpack_axis(cx.view)?;
    let form = if cx.form(0) == Form::Wide { Form::Wide } else { Form::Plain };
    let x = cx.input(0, form)?;
    guard::require_size(cx, 0, axis, cx.view.node().outputs.len() as i64)?;
    let known = if cx.rank(0) == 1 { cx.elements_as_sizes(0) } else { None };
    for i in 0..cx.view.node().outputs.len() {
        let at = cx.state.builder.index(i as i64);
        let out = cx.emit("Gather", &[&x, &at], &[("axis", Attr::I(axis as i64))]);
        cx.give(i, form, out)?;
        cx.know(i, known.as_ref().and_then(|e| Some(vec![*e.get(i)?])));
    }
    Ok(())
}

/// The k largest along the last dimension, largest first, and their places.
fn top_k(cx: &mut Context) -> Result<(), Reason> {
    let k = cx.view.need_int(1, "k")?;
    let (x, k) = (cx.plain(0)?, cx.vector(&[k]));
    let mut names = cx.state.builder.emit_many("TopK", &[&x, &k], 2, &[("axis", Attr::I(-1))]);
    let places = names.pop().ok_or("TopK has two outputs")?;
    cx.give(0, Form::Plain, names.remove(0))?;
    cx.give_wide(1, places)
}

fn top_k_supports(view: View) -> Result<(), Reason> {
    view.accepts(0, FLOATS)?;
    if view.rank(0)? == 0 {
        return Err("TopKV2 needs an input of rank 1 or more.".to_string());
    }
    match view.need_int(1, "k")? {
        1..=MOST_BEST => Ok(()),
        k if k > MOST_BEST => Err(format!("TopKV2 is not supported for k={k}: TensorRT takes up to {MOST_BEST}.")),
        k => Err(format!("TopKV2 is not supported for k={k}.")),
    }
}

fn slice_supports(view: View) -> Result<(), Reason> {
    view.accepts(1, INTEGERS)?;
    view.accepts(2, INTEGERS)?;
    view.accepts_rank(1, 1)?;
    view.accepts_rank(2, 1)
}

pub const CONVERTERS: &[Converter] = &[
    Converter {
        op: "Gather",
        supports: gather_supports,
        convert: gather,
    },
    Converter {
        op: "GatherV2",
        supports: gather_supports,
        convert: gather,
    },
    Converter {
        op: "Slice",
        supports: slice_supports,
        convert: slice,
    },
    Converter {
        op: "Split",
        supports: |v| normal_axis(v.need_int(0, "split_dim")?, v.rank(1)?).map(|_| ()),
        convert: |cx| split(cx, 1, 0),
    },
    Converter {
        op: "SplitV",
        supports: |v| split_sizes(v).map(|_| ()),
        convert: |cx| split(cx, 0, 2),
    },
    Converter {
        op: "TopKV2",
        supports: top_k_supports,
        convert: top_k,
    },
    Converter {
        op: "Unpack",
        supports: |v| unpack_axis(v).map(|_| ()),
        convert: unpack,
    },
];
