//! What native TensorFlow refuses, and an engine would answer with numbers: indices outside of their range, sizes that do not fit.
//!
//! On a CPU TensorFlow fails such a call. A converter states what has to hold, as an ONNX boolean of one element; all of them together
//! are one more output of the model, [`OUTPUT`]. Where it is false, the op gives the call to the native segment, which says what is
//! wrong in TensorFlow's own words. What is known to hold when the segment is converted costs nothing. Inside a loop the word goes from
//! round to round, and out of a conditional comes that of the branch that ran.
//!
//! On a GPU TensorFlow's kernels do not look back: a gather reads zeros for an index outside, a scatter leaves it out, and so does the
//! model. What TensorFlow checks on the host there, such a model does not tell: reading it would make each call wait for the device.

use super::builder::Attr;
use super::context::{Context, State};
use super::interval;
use super::layout::axis_first;
use super::ops::choose;
use super::ops::slicing::{Piece, assemble, dim};
use super::size::Size;
use super::value::Form;
use super::{BadValues, Reason};
use crate::graph::{Constant, DType, Graph, NodeId, PartialShape, Port, TensorInfo};
use std::collections::HashMap;

pub use crate::engine::model::VALID_OUTPUT as OUTPUT;

/// The shape of what has to hold.
pub fn shape() -> PartialShape {
    PartialShape::from_dims(&[1])
}

/// Dimensions of a graph's tensors whose sizes do not follow from what goes into their nodes.
pub type Claims = HashMap<Port, Vec<usize>>;

#[derive(Default)]
pub struct Guards {
    /// What has to hold in the graph that is being made.
    pub holds: Vec<String>,
    /// Of the segment's graph, or of the one inside a node that is being converted.
    pub claims: Claims,
}

/// Sizes that TensorFlow's inference concluded from the takers of a tensor, which fail where they are others: all known ones that are not
/// known in `forward` too, by node name.
pub fn claims(graph: &Graph, forward: &HashMap<String, Vec<TensorInfo>>) -> Claims {
    let mut claims = HashMap::new();
    for (id, node) in graph.nodes.iter().enumerate().filter(|(_, node)| node.op() != "_Arg") {
        for (index, info) in node.outputs.iter().enumerate() {
            let dims = info.shape.dims().unwrap_or_default();
            let proven = forward.get(node.name()).and_then(|outputs| outputs.get(index)?.shape.dims());
            let known = |axis: &usize| dims[*axis].is_some() && proven.and_then(|dims| *dims.get(*axis)?).is_none();
            let axes: Vec<usize> = (0..dims.len()).filter(known).collect();
            if !axes.is_empty() {
                claims.insert(Port { node: id, index }, axes);
            }
        }
    }
    claims
}

impl State {
    /// All that has to hold in this graph, as one value; `None` where that is nothing.
    pub fn guard(&mut self) -> Option<String> {
        let guards = std::mem::take(&mut self.guards.holds);
        let all = guards.into_iter().reduce(|a, b| self.builder.emit("And", &[&a, &b], &[]))?;
        self.guards.holds = vec![all.clone()];
        Some(all)
    }

    /// Whether the size of an output along `axis` is only what its takers ask for.
    pub fn is_claimed(&self, port: Port, axis: usize) -> bool {
        self.guards.claims.get(&port).is_some_and(|axes| axes.contains(&axis))
    }

    /// States of the outputs of node `node` that the claimed sizes are theirs.
    pub fn require_claims(&mut self, graph: &Graph, node: NodeId) -> Result<(), Reason> {
        for index in 0..graph.nodes[node].outputs.len() {
            let port = Port { node, index };
            let (Some(axes), Some(id)) = (self.guards.claims.get(&port).cloned(), self.find(port)) else {
                continue;
            };
            let value = self.value(id);
            let sizes: Option<Vec<i64>> = axes.iter().map(|&axis| *value.dims.get(axis)?).collect();
            let first = value.name(Form::ChannelsFirst).is_some();
            let name = value
                .name(Form::Plain)
                .or(value.name(Form::Wide))
                .or(value.name(Form::ChannelsFirst));
            if let (None, Some(rows), Some(images)) = (name, value.dims[0], value.name(Form::Pixels)) {
                let images = images.to_string();
                self.require_pixels(&images, rows);
                continue;
            }
            let (None, Some(sizes), Some(name)) = (&value.constant, sizes, name.map(str::to_string)) else {
                continue;
            };
            let first = first && value.name(Form::Plain).is_none() && value.name(Form::Wide).is_none();
            let places = axes.iter().map(|&axis| if first { axis_first(axis) } else { axis } as i64);
            let (shape, places) = (
                self.builder.emit("Shape", &[&name], &[]),
                self.builder.vector(&places.collect::<Vec<_>>()),
            );
            let found = self.builder.emit("Gather", &[&shape, &places], &[("axis", Attr::I(0))]);
            let sizes = self.builder.vector(&sizes);
            let same = self.builder.emit("Equal", &[&found, &sizes], &[]);
            self.require_all(&same)?;
        }
        Ok(())
    }

    /// States that the images `name`, channels first, have so many pixels.
    fn require_pixels(&mut self, name: &str, count: i64) {
        let (shape, axes) = (self.builder.emit("Shape", &[name], &[]), self.builder.vector(&[0, 2, 3]));
        let sizes = self.builder.emit("Gather", &[&shape, &axes], &[("axis", Attr::I(0))]);
        let found = self
            .builder
            .emit("ReduceProd", &[&sizes], &[("axes", Attr::Ints(&[0])), ("keepdims", Attr::I(1))]);
        let count = self.builder.vector(&[count]);
        let holds = self.builder.emit("Equal", &[&found, &count], &[]);
        self.require(holds);
    }

    /// States that all elements of the boolean tensor `name` are true. No element is false of none.
    fn require_all(&mut self, name: &str) -> Result<(), Reason> {
        // Sums of nothing are 0 in every engine; the least of nothing is an error in some.
        let bad = self.builder.emit("Not", &[name], &[]);
        let bad = self.cast(&bad, DType::FLOAT)?;
        // TensorRT reduces no scalar.
        let flat = self.builder.vector(&[-1]);
        let bad = self.builder.emit("Reshape", &[&bad, &flat], &[]);
        let count = self.builder.emit("ReduceSum", &[&bad], &[("keepdims", Attr::I(1))]);
        let none = self.builder.initializer_as_it_is(&Constant {
            dtype: DType::FLOAT,
            dims: vec![1],
            data: vec![0; 4].into(),
        })?;
        let holds = self.builder.emit("Equal", &[&count, &none], &[]);
        self.require(holds);
        Ok(())
    }

    /// States that `holds`, a boolean of shape [1], is true in every call that native TensorFlow takes.
    pub fn require(&mut self, holds: String) {
        if !self.guards.holds.contains(&holds) {
            self.guards.holds.push(holds);
        }
    }

    /// Something that always holds.
    pub fn holds(&mut self) -> Result<String, Reason> {
        self.builder.initializer_as_it_is(&Constant {
            dtype: DType::BOOL,
            dims: vec![1],
            data: vec![1].into(),
        })
    }
}

/// Whether the model tells of calls that native TensorFlow refuses.
pub fn told(cx: &Context) -> bool {
    cx.state.options.bad_values == BadValues::Told
}

/// States that all elements of the boolean tensor `name` are true.
pub fn require_all(cx: &mut Context, name: &str) -> Result<(), Reason> {
    cx.state.require_all(name)
}

/// States that `a` and `b` compare as the ONNX op `op` says.
pub fn require_pair(cx: &mut Context, op: &str, a: &Piece, b: &Piece) {
    let (a, b) = (assemble(cx, std::slice::from_ref(a)), assemble(cx, std::slice::from_ref(b)));
    let holds = cx.emit(op, &[&a, &b], &[]);
    cx.state.require(holds);
}

/// States that two dimensions, each of an input, have one size.
pub fn require_same(cx: &mut Context, a: (usize, usize), b: (usize, usize)) -> Result<(), Reason> {
    let size = |cx: &Context, (i, axis): (usize, usize)| cx.value(i).sizes()[axis];
    if !told(cx) || size(cx, a).same_as(size(cx, b)) {
        return Ok(());
    }
    let (a, b) = (dim(cx, a.0, a.1)?, dim(cx, b.0, b.1)?);
    require_pair(cx, "Equal", &a, &b);
    Ok(())
}

/// States that two inputs have one shape; their ranks are equal.
pub fn require_same_shape(cx: &mut Context, a: usize, b: usize) -> Result<(), Reason> {
    (0..cx.rank(a).min(cx.rank(b))).try_for_each(|axis| require_same(cx, (a, axis), (b, axis)))
}

/// States that input `i` has `size` along `axis`.
pub fn require_size(cx: &mut Context, i: usize, axis: usize, size: i64) -> Result<(), Reason> {
    if told(cx) && cx.value(i).dims[axis] != Some(size) {
        let found = dim(cx, i, axis)?;
        require_pair(cx, "Equal", &found, &Piece::Known(size));
    }
    Ok(())
}

/// States that input `i` has `least` or more along `axis`.
pub fn require_at_least(cx: &mut Context, i: usize, axis: usize, least: i64) -> Result<(), Reason> {
    if told(cx) && least > 0 && cx.value(i).dims[axis].is_none_or(|size| size < least) {
        let found = dim(cx, i, axis)?;
        require_pair(cx, "GreaterOrEqual", &found, &Piece::Known(least));
    }
    Ok(())
}

/// The sizes in input `i` as int64, none of them below 0: that none is has to hold.
pub fn sizes(cx: &mut Context, i: usize) -> Result<String, Reason> {
    let sizes = cx.wide(i)?;
    let good = |size: &Size| matches!(size, Size::Of(_)) || size.known() >= Some(0);
    let known = cx.elements_as_sizes(i).is_some_and(|sizes| sizes.iter().all(good));
    if known || !told(cx) {
        return Ok(sizes);
    }
    let zero = cx.vector(&[0]);
    let holds = cx.emit("GreaterOrEqual", &[&sizes, &zero], &[]);
    require_all(cx, &holds)?;
    Ok(cx.emit("Max", &[&sizes, &zero], &[]))
}

/// Indices of which none is outside of its range.
pub struct Indices {
    pub name: String,
    /// For each index (or row of indices) whether it was inside; `None` where all were, or where the call is refused if one was not.
    pub inside: Option<Inside>,
}

pub struct Inside {
    pub name: String,
    pub rank: usize,
}

/// The indices `name`, which are input `i` in the form `form`. Each is to be from 0 to the size, of `limits`, less one: of the one size, or of
/// as many as the last dimension of the indices, which make rows.
pub fn indices(cx: &mut Context, i: usize, form: Form, name: String, limits: &[Piece]) -> Result<Indices, Reason> {
    let rows = cx.rank(i) > 0 && !limits.is_empty() && cx.value(i).dims.last() == Some(&Some(limits.len() as i64));
    if known_good(cx, i, limits, rows) {
        return Ok(Indices { name, inside: None });
    }
    let dtype = if form == Form::Wide { DType::INT64 } else { cx.dtype(i) };
    let limit = match limits {
        [one] => scalar_limit(cx, dtype, one)?,
        _ => {
            let all = assemble(cx, limits);
            if dtype == DType::INT64 { all } else { cx.state.cast(&all, dtype)? }
        }
    };
    let zero = cx.scalar(dtype, 0.0)?;
    if told(cx) {
        let one = cx.scalar(dtype, 1.0)?;
        let last = cx.emit("Sub", &[&limit, &one], &[]);
        let safe = if limits.len() == 1 {
            cx.emit("Clip", &[&name, &zero, &last], &[])
        } else {
            let is_not_negative = cx.emit("Max", &[&name, &zero], &[]);
            cx.emit("Min", &[&is_not_negative, &last], &[])
        };
        let inside = cx.emit("Equal", &[&name, &safe], &[]);
        require_all(cx, &inside)?;
        return Ok(Indices { name: safe, inside: None });
    }
    let (is_not_negative, below) = (
        cx.emit("GreaterOrEqual", &[&name, &zero], &[]),
        cx.emit("Less", &[&name, &limit], &[]),
    );
    let inside = cx.emit("And", &[&is_not_negative, &below], &[]);
    let safe = cx.emit("Where", &[&inside, &name, &zero], &[]);
    let rank = cx.rank(i);
    let inside = if rows {
        whole_rows(cx, &inside, rank)?
    } else {
        Inside { name: inside, rank }
    };
    Ok(Indices {
        name: safe,
        inside: Some(inside),
    })
}

/// As [`indices`], of input `i` as int64.
pub fn wide_indices(cx: &mut Context, i: usize, limits: &[Piece]) -> Result<Indices, Reason> {
    let (name, form) = (cx.wide(i)?, if cx.dtype(i) == DType::INT64 { Form::Plain } else { Form::Wide });
    indices(cx, i, form, name, limits)
}

/// One size, as a scalar of type `dtype`.
fn scalar_limit(cx: &mut Context, dtype: DType, limit: &Piece) -> Result<String, Reason> {
    match limit {
        Piece::Known(size) => cx.scalar(dtype, *size as f64),
        Piece::Named(name) => {
            let zero = cx.vector(&[0]);
            let scalar = cx.emit("Squeeze", &[name, &zero], &[]);
            if dtype == DType::INT64 {
                Ok(scalar)
            } else {
                cx.state.cast(&scalar, dtype)
            }
        }
    }
}

/// Whether each row of indices is inside by all of them.
fn whole_rows(cx: &mut Context, inside: &str, rank: usize) -> Result<Inside, Reason> {
    let last = rank - 1;
    let numbers = cx.state.cast(inside, DType::INT32)?;
    let attrs = [("axes", Attr::Ints(&[last as i64])), ("keepdims", Attr::I(0))];
    let least = cx.emit("ReduceMin", &[&numbers], &attrs);
    Ok(Inside {
        name: cx.state.cast(&least, DType::BOOL)?,
        rank: last,
    })
}

/// Whether no index can be outside, by what is known now.
fn known_good(cx: &Context, i: usize, limits: &[Piece], rows: bool) -> bool {
    let constant = cx.value(i).constant.as_ref().and_then(Constant::to_i64s);
    let limit = |at: usize| match limits.get(if rows { at % limits.len() } else { 0 }) {
        Some(Piece::Known(size)) => Some(*size),
        _ => None,
    };
    if let Some(values) = constant {
        // ONNX Runtime itself fails a call by an index that is too large, so a size that is open need not be held against it.
        let open = if told(cx) { i64::MAX } else { 0 };
        return (0..)
            .zip(&values)
            .all(|(at, &value)| value >= 0 && value < limit(at).unwrap_or(open));
    }
    let least = (0..limits.len()).map(limit).min().flatten();
    least.is_some_and(|least| interval::of_input(cx.view, i).within(least))
}

impl Indices {
    /// `x`, of type `dtype`, which was read by these indices: its first dimensions are theirs. Zeros where they were outside.
    pub fn zeros_outside(&self, cx: &mut Context, dtype: DType, x: String, rank: usize) -> Result<String, Reason> {
        let Some(inside) = &self.inside else { return Ok(x) };
        let zero = cx.scalar(dtype, 0.0)?;
        Ok(inside.choose(cx, dtype, rank, &x, &zero))
    }
}

impl Inside {
    /// Of two tensors of rank `rank`, whose last `rank - self.rank` dimensions the indices do not have: the first where these were inside.
    pub fn choose(&self, cx: &mut Context, dtype: DType, rank: usize, inside: &str, outside: &str) -> String {
        let mut mask = self.name.clone();
        if rank > self.rank {
            let axes = cx.vector(&(self.rank as i64..rank as i64).collect::<Vec<_>>());
            mask = cx.emit("Unsqueeze", &[&mask, &axes], &[]);
        }
        choose(cx, dtype, &mask, inside, outside)
    }
}
