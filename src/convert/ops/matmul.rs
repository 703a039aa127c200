//! Matrix products.

use super::{Converter, FLOATS, all_inputs};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::layout::{self, as_ints};
use crate::convert::value::Form;
use crate::convert::view::View;

/// Of two matrices. A transposed operand goes to Gemm, which reads it in place: weights are not copied.
fn matmul(cx: &mut Context) -> Result<(), Reason> {
    if pixels_by_weights(cx)? {
        return Ok(());
    }
    let out = product(cx)?;
    cx.give(0, Form::Plain, out)
}

/// The product of inputs 0 and 1.
pub fn product(cx: &mut Context) -> Result<String, Reason> {
    let (a, b) = (cx.plain(0)?, cx.plain(1)?);
    let (transpose_a, transpose_b) = (cx.view.flag("transpose_a"), cx.view.flag("transpose_b"));
    Ok(if transpose_a || transpose_b {
        let attrs = [("transA", Attr::I(transpose_a.into())), ("transB", Attr::I(transpose_b.into()))];
        cx.emit("Gemm", &[&a, &b], &attrs)
    } else {
        cx.emit("MatMul", &[&a, &b], &[])
    })
}

/// A dense layer over the channels of images that lie channels-first is a convolution of 1x1 there; false where this is none.
fn pixels_by_weights(cx: &mut Context) -> Result<bool, Reason> {
    let (Some((images, channels, image)), false) = (cx.pixels(0), cx.view.flag("transpose_a")) else {
        return Ok(false);
    };
    let Some(mut weights) = cx.value(1).constant.clone() else {
        return Ok(false);
    };
    if !cx.view.flag("transpose_b") {
        weights = layout::transpose(&weights, &[1, 0])?;
    }
    if weights.dims[1] != channels {
        return Ok(false);
    }
    let given = weights.dims[0];
    weights.dims.extend([1, 1]);
    let weights = cx.state.builder.initializer(&weights)?;
    let out = cx.emit("Conv", &[&image, &weights], &[("kernel_shape", Attr::Ints(&[1, 1]))]);
    cx.give_pixels(0, images, given, out)?;
    Ok(true)
}

/// Of two stacks of matrices, broadcast over the leading dimensions.
fn batch_matmul(cx: &mut Context) -> Result<(), Reason> {
    let out = batch_product(cx)?;
    cx.give(0, Form::Plain, out)
}

/// The products of inputs 0 and 1.
pub fn batch_product(cx: &mut Context) -> Result<String, Reason> {
    if cx.view.op() == "BatchMatMul" {
        // Its successors broadcast, and it does not.
        (0..cx.rank(0) - 2).try_for_each(|axis| guard::require_same(cx, (0, axis), (1, axis)))?;
    }
    let mut operands = Vec::new();
    for (i, adjoint) in ["adj_x", "adj_y"].into_iter().enumerate() {
        let mut name = cx.plain(i)?;
        if cx.view.flag(adjoint) {
            let mut perm: Vec<usize> = (0..cx.rank(i)).collect();
            let rank = perm.len();
            perm.swap(rank - 2, rank - 1);
            name = cx.emit("Transpose", &[&name], &[("perm", Attr::Ints(&as_ints(&perm)))]);
        }
        operands.push(name);
    }
    Ok(cx.emit("MatMul", &[&operands[0], &operands[1]], &[]))
}

fn batch_supports(view: View) -> Result<(), Reason> {
    all_inputs(view, FLOATS)?;
    batch_ranks(view)
}

/// Fails unless inputs 0 and 1 are matrices, or stacks of them.
pub fn batch_ranks(view: View) -> Result<(), Reason> {
    match view.rank(0)?.min(view.rank(1)?) {
        0 | 1 => Err(format!("{} needs inputs of rank 2 or more.", view.op())),
        _ => Ok(()),
    }
}

macro_rules! batch {
    ($op:literal) => {
        Converter {
            op: $op,
            supports: batch_supports,
            convert: batch_matmul,
        }
    };
}

pub const CONVERTERS: &[Converter] = &[
    batch!("BatchMatMul"),
    batch!("BatchMatMulV2"),
    batch!("BatchMatMulV3"),
    Converter {
        op: "MatMul",
        supports: |v| all_inputs(v, FLOATS),
        convert: matmul,
    },
];
