//! Matrix products.

use super::{Converter, FLOATS, all_inputs};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::layout::as_ints;
use crate::convert::value::Form;
use crate::convert::view::View;

/// Of two matrices. A transposed operand goes to Gemm, which reads it in place: weights are not copied.
fn matmul(cx: &mut Context) -> Result<(), Reason> {
    let (a, b) = (cx.plain(0)?, cx.plain(1)?);
    let (transpose_a, transpose_b) = (cx.view.flag("transpose_a"), cx.view.flag("transpose_b"));
    let out = if transpose_a || transpose_b {
        let attrs = [("transA", Attr::I(transpose_a.into())), ("transB", Attr::I(transpose_b.into()))];
        cx.emit("Gemm", &[&a, &b], &attrs)
    } else {
        cx.emit("MatMul", &[&a, &b], &[])
    };
    cx.give(0, Form::Plain, out)
}

/// Of two stacks of matrices, broadcast over the leading dimensions.
fn batch_matmul(cx: &mut Context) -> Result<(), Reason> {
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
    let out = cx.emit("MatMul", &[&operands[0], &operands[1]], &[]);
    cx.give(0, Form::Plain, out)
}

fn batch_supports(view: View) -> Result<(), Reason> {
    all_inputs(view, FLOATS)?;
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
