//! Blocks of pixels moved into channels or into the batch, and back.

use super::images;
use super::slicing::{END, Piece, assemble, dim, named_dim};
use super::{Converter, FLOATS, MAX_RANK, NUMBERS};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::layout::as_ints;
use crate::convert::value::Form;
use crate::convert::view::View;
use crate::graph::elements;

fn depth_supports(view: View) -> Result<(), Reason> {
    view.accepts(0, FLOATS)?;
    view.accepts_rank(0, 4)?;
    images::is_nchw(view).map(|_| ())
}

/// ONNX numbers the channels as TensorFlow does: the place in the block first, then the channel (`DCR`, its default).
fn depth(cx: &mut Context, op: &str) -> Result<(), Reason> {
    let block = cx.view.node().attr_i("block_size").ok_or("The attribute block_size is missing.")?;
    let x = images::take(cx, 0)?;
    let out = cx.emit(op, &[&x], &[("blocksize", Attr::I(block))]);
    images::give(cx, out)
}

/// What is padded or cropped, before and behind.
type Border = Vec<(i64, i64)>;

/// The blocks' sizes, and what is padded (or cropped) there, for the dimensions that follow the batch.
fn blocks(view: View, border: &str) -> Result<(Vec<i64>, Border), Reason> {
    let blocks = view.need_ints(1, "block_shape")?;
    let border: Border = view.need_ints(2, border)?.chunks_exact(2).map(|p| (p[0], p[1])).collect();
    let rank = view.rank(0)?;
    if blocks.len() != border.len() || blocks.len() >= rank || blocks.iter().any(|&b| b < 1) {
        return Err(format!("block_shape {blocks:?} does not fit an input of rank {rank}."));
    }
    if border.iter().any(|&(before, behind)| before < 0 || behind < 0) {
        return Err(format!("{border:?} has values below 0."));
    }
    match rank + blocks.len() {
        between if between > MAX_RANK => Err(format!("{} would need a tensor of rank {between}, over {MAX_RANK}.", view.op())),
        _ => Ok((blocks, border)),
    }
}

fn space_to_batch(cx: &mut Context) -> Result<(), Reason> {
    let (blocks, paddings) = blocks(cx.view, "paddings")?;
    let (rank, count) = (cx.rank(0), blocks.len());
    let mut x = cx.plain(0)?;
    let padding = |axis: usize| if axis == 0 { None } else { paddings.get(axis - 1).copied() }.unwrap_or((0, 0));
    if paddings.iter().any(|&p| p != (0, 0)) {
        let pads: Vec<i64> = (0..rank).map(|a| padding(a).0).chain((0..rank).map(|a| padding(a).1)).collect();
        let pads = cx.vector(&pads);
        x = cx.emit("Pad", &[&x, &pads], &[]);
    }
    let mut padded = Vec::new();
    for axis in 0..rank {
        let (before, behind) = padding(axis);
        padded.push(match cx.value(0).dims[axis] {
            Some(size) => Piece::Known(size + before + behind),
            None => named_dim(cx, &x, axis),
        });
    }
    let mut cells = Vec::new();
    for (&block, size) in blocks.iter().zip(&padded[1..]) {
        cells.push(divided(cx, size, block));
    }
    let rest = &padded[1 + count..];
    let mut split = vec![padded[0].clone()];
    for (cell, &block) in cells.iter().zip(&blocks) {
        split.extend([cell.clone(), Piece::Known(block)]);
    }
    split.extend_from_slice(rest);
    x = reshape(cx, &x, &split);
    let inside = (1..=count).map(|i| 2 * i);
    let order: Vec<usize> = inside
        .chain([0])
        .chain((0..count).map(|i| 2 * i + 1))
        .chain(2 * count + 1..rank + count)
        .collect();
    x = cx.emit("Transpose", &[&x], &[("perm", Attr::Ints(&as_ints(&order)))]);
    let mut joined = vec![scaled(cx, "Mul", &padded[0], elements(&blocks))];
    joined.extend(cells);
    joined.extend_from_slice(rest);
    let out = reshape(cx, &x, &joined);
    cx.give(0, Form::Plain, out)
}

fn batch_to_space(cx: &mut Context) -> Result<(), Reason> {
    let (blocks, crops) = blocks(cx.view, "crops")?;
    for (at, (&block, &(before, behind))) in blocks.iter().zip(&crops).enumerate() {
        let cells = before.saturating_add(behind).saturating_add(block - 1) / block;
        guard::require_at_least(cx, 0, 1 + at, cells)?;
    }
    let (rank, count) = (cx.rank(0), blocks.len());
    let mut x = cx.plain(0)?;
    let mut dims = Vec::new();
    for axis in 0..rank {
        dims.push(dim(cx, 0, axis)?);
    }
    let batch = divided(cx, &dims[0], elements(&blocks));
    let mut split: Vec<Piece> = blocks.iter().map(|&b| Piece::Known(b)).collect();
    split.push(batch.clone());
    split.extend_from_slice(&dims[1..]);
    x = reshape(cx, &x, &split);
    let mut order = vec![count];
    for i in 0..count {
        order.extend([count + 1 + i, i]);
    }
    order.extend(2 * count + 1..rank + count);
    x = cx.emit("Transpose", &[&x], &[("perm", Attr::Ints(&as_ints(&order)))]);
    let mut joined = vec![batch];
    joined.extend(blocks.iter().zip(&dims[1..]).map(|(&b, size)| scaled(cx, "Mul", size, b)));
    joined.extend_from_slice(&dims[1 + count..]);
    x = reshape(cx, &x, &joined);
    if crops.iter().any(|&c| c != (0, 0)) {
        let starts: Vec<i64> = crops.iter().map(|c| c.0).collect();
        let ends: Vec<i64> = crops.iter().map(|c| if c.1 == 0 { END } else { -c.1 }).collect();
        let axes: Vec<i64> = (1..=count as i64).collect();
        let [starts, ends, axes] = [starts, ends, axes].map(|v| cx.vector(&v));
        x = cx.emit("Slice", &[&x, &starts, &ends, &axes], &[]);
    }
    cx.give(0, Form::Plain, x)
}

/// `size` by `factor`, which has to leave no rest. (ONNX Runtime's Reshape finds one, but in a tensor without elements.)
fn divided(cx: &mut Context, size: &Piece, factor: i64) -> Piece {
    let part = scaled(cx, "Div", size, factor);
    if factor > 1 && matches!(size, Piece::Named(_)) && guard::told(cx) {
        let whole = scaled(cx, "Mul", &part, factor);
        guard::require_pair(cx, "Equal", &whole, size);
    }
    part
}

/// `size` times or by `factor`, for the ONNX op `op`, Mul or Div.
fn scaled(cx: &mut Context, op: &str, size: &Piece, factor: i64) -> Piece {
    match size {
        _ if factor == 1 => size.clone(),
        Piece::Known(size) if op == "Mul" => Piece::Known(size.saturating_mul(factor)),
        Piece::Known(size) => Piece::Known(size / factor),
        Piece::Named(name) => {
            let factor = cx.vector(&[factor]);
            Piece::Named(cx.emit(op, &[name, &factor], &[]))
        }
    }
}

/// One open size is left to be computed from the others; with more, all are given, and a 0 among them is meant.
fn reshape(cx: &mut Context, x: &str, sizes: &[Piece]) -> String {
    let open = sizes.iter().filter(|s| matches!(s, Piece::Named(_))).count();
    let zero = sizes.iter().any(|s| matches!(s, Piece::Known(0)));
    if open <= 1 && !zero {
        let sizes: Vec<Piece> = sizes
            .iter()
            .map(|s| match s {
                Piece::Known(size) => Piece::Known(*size),
                Piece::Named(_) => Piece::Known(-1),
            })
            .collect();
        let sizes = assemble(cx, &sizes);
        return cx.emit("Reshape", &[x, &sizes], &[]);
    }
    let sizes = assemble(cx, sizes);
    cx.emit("Reshape", &[x, &sizes], &[("allowzero", Attr::I(1))])
}

pub const CONVERTERS: &[Converter] = &[
    Converter {
        op: "BatchToSpaceND",
        supports: |v| {
            v.accepts(0, NUMBERS)?;
            blocks(v, "crops").map(|_| ())
        },
        convert: batch_to_space,
    },
    Converter {
        op: "DepthToSpace",
        supports: depth_supports,
        convert: |cx| depth(cx, "DepthToSpace"),
    },
    Converter {
        op: "SpaceToBatchND",
        supports: |v| {
            v.accepts(0, NUMBERS)?;
            blocks(v, "paddings").map(|_| ())
        },
        convert: space_to_batch,
    },
    Converter {
        op: "SpaceToDepth",
        supports: depth_supports,
        convert: |cx| depth(cx, "SpaceToDepth"),
    },
];
