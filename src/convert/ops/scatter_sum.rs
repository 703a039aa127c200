//! What several rows of indices send to one place, added up. TensorRT's ScatterND only writes, so for small tensors each place is
//! held against each row, and the updates of the rows that name it are added.

use super::exact::{self, Terms};
use super::slicing::Piece;
use crate::convert::Reason;
use crate::convert::bounds;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::value::{Form, integers};
use crate::convert::view::View;
use crate::graph::{DType, elements};

/// Elements of the largest result: for each row of indices an engine may hold as many on the way.
const LARGEST: i64 = 1024;

/// Places that the indices name, and elements at each, in a result of sizes `dims`.
fn sizes(dims: &[i64], depth: usize) -> (i64, i64) {
    (elements(&dims[..depth]), elements(&dims[depth..]))
}

/// Whether [`sum`] can be had for a result of `dims`, as far as known.
pub fn supports(view: View, dims: &[Option<i64>], updates: usize) -> Result<(), Reason> {
    view.accepts(updates, &[DType::FLOAT, DType::INT32, DType::INT64])?;
    let count = dims.iter().copied().try_fold(1i64, |product, size| product.checked_mul(size?));
    match count {
        Some(1..=LARGEST) => Ok(()),
        _ => Err(format!("sums of places need a known size of 1 to {LARGEST} elements")),
    }
}

/// The sums, with the sizes `dims`, of input `updates` at the places that input `indices` (`depth` axes a row) names.
pub fn sum(cx: &mut Context, dims: &[i64], depth: usize, indices: usize, updates: usize) -> Result<String, Reason> {
    let (places, each) = sizes(dims, depth);
    // Each row as one number: how far its place is from the first.
    let strides: Vec<i64> = (1..=depth).map(|axis| elements(&dims[axis..depth])).collect();
    let limits: Vec<Piece> = dims[..depth].iter().map(|&size| Piece::Known(size)).collect();
    let (rows, row_dims) = (guard::wide_indices(cx, indices, &limits)?, cx.vector(&[-1, depth as i64]));
    let (strides, one, zero) = (cx.vector(&strides), cx.vector(&[1]), cx.vector(&[0]));
    let inside = rows.inside;
    let rows = cx.emit("Reshape", &[&rows.name, &row_dims], &[]);
    let steps = cx.emit("Mul", &[&rows, &strides], &[]);
    let offsets = cx.emit("ReduceSum", &[&steps, &one], &[("keepdims", Attr::I(0))]);
    let offsets = match inside {
        Some(inside) => {
            // -1 is the size that is left for a Reshape, and no place.
            let nowhere = cx.vector(&[-1]);
            let inside = cx.emit("Reshape", &[&inside.name, &nowhere], &[]);
            cx.emit("Where", &[&inside, &offsets, &nowhere], &[])
        }
        None => offsets,
    };
    let offsets = cx.emit("Unsqueeze", &[&offsets, &zero], &[]);

    let all = integers(DType::INT64, &[places, 1], &(0..places).collect::<Vec<_>>()).ok_or("there are too many places")?;
    let all = cx.state.builder.initializer(&all)?;
    let hit = cx.emit("Equal", &[&offsets, &all], &[]);
    let behind = cx.vector(&[2]);
    let hit = cx.emit("Unsqueeze", &[&hit, &behind], &[]);
    let (values, value_dims) = (cx.plain(updates)?, cx.vector(&[-1, each]));
    let values = cx.emit("Reshape", &[&values, &value_dims], &[]);
    let nothing = cx.scalar(cx.dtype(updates), 0.0)?;
    let parts = cx.emit("Where", &[&hit, &values, &nothing], &[]);
    let index_dims = cx.value(indices).dims.clone();
    let terms = Terms {
        name: &parts,
        dtype: cx.dtype(updates),
        bounds: cx.bounds(updates, Form::Plain).with_zero(),
        count: bounds::count(&index_dims, &(0..index_dims.len().saturating_sub(1)).collect::<Vec<_>>()),
    };
    let sums = exact::sum(cx, &terms, &[1], false)?;
    let dims = cx.vector(dims);
    Ok(cx.emit("Reshape", &[&sums, &dims], &[]))
}
