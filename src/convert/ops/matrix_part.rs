//! Bands and diagonals of matrices, the last two dimensions of a tensor.

use super::{Converter, INTEGERS, TENSORS};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::value::Form;
use crate::convert::view::View;
use crate::graph::{DType, elements};

/// How many diagonals are kept below and above the main one; negative is all.
fn band(view: View) -> Result<(i64, i64), Reason> {
    match view.rank(0)? {
        0 | 1 => Err("MatrixBandPart needs an input of rank 2 or more.".to_string()),
        _ => Ok((view.need_int(1, "num_lower")?, view.need_int(2, "num_upper")?)),
    }
}

/// What is outside is 0, whatever stood there.
fn matrix_band_part(cx: &mut Context) -> Result<(), Reason> {
    let (lower, upper) = band(cx.view)?;
    let rank = cx.rank(0);
    guard::require_at_least(cx, 0, rank - 2, lower)?;
    guard::require_at_least(cx, 0, rank - 1, upper)?;
    if lower < 0 && upper < 0 {
        cx.alias(0, 0);
        return Ok(());
    }
    // ONNX Runtime has Trilu for the wide integers only, TensorRT 8.6 for neither booleans nor float16.
    let dtype = cx.dtype(0);
    let form = if dtype == DType::INT32 { Form::Wide } else { Form::Plain };
    let through_float = matches!(dtype, DType::BOOL | DType::HALF);
    let mut x = cx.input(0, form)?;
    if through_float {
        x = cx.state.cast(&x, DType::FLOAT)?;
    }
    if lower >= 0 {
        let diagonal = cx.state.builder.index(-lower);
        x = cx.emit("Trilu", &[&x, &diagonal], &[("upper", Attr::I(1))]);
    }
    if upper >= 0 {
        let diagonal = cx.state.builder.index(upper);
        x = cx.emit("Trilu", &[&x, &diagonal], &[("upper", Attr::I(0))]);
    }
    if through_float {
        x = cx.state.cast(&x, dtype)?;
    }
    cx.give(0, form, x)
}

/// One diagonal of a matrix whose elements lie row by row: its first element, its length, and the number of columns.
fn diagonal(view: View) -> Result<(i64, i64, i64), Reason> {
    view.accepts(0, TENSORS)?;
    let op = view.op();
    let offset = match view.count() {
        1 => 0,
        _ => {
            view.accepts(1, INTEGERS)?;
            match view.need_ints(1, "k")?.as_slice() {
                [k] => *k,
                [low, high] if low == high => *low,
                k => return Err(format!("{op} of several diagonals (k={k:?}) is not supported.")),
            }
        }
    };
    let (&[.., Some(rows), Some(columns)], rank) = (view.dims(0)?, view.rank(0)?) else {
        return Err(format!("{op} needs matrices of known sizes."));
    };
    if view.out_dims(0)?.len() + 1 != rank {
        return Err(format!("{op} is not supported where it keeps the matrices' rank."));
    }
    if offset <= -rows || offset >= columns {
        return Err(format!("{op} has no diagonal {offset} in {rows} rows and {columns} columns."));
    }
    let first = if offset < 0 { -offset * columns } else { offset };
    let length = (rows + offset.min(0)).min(columns - offset.max(0));
    Ok((first, length, columns))
}

/// From one element of a diagonal to the next is a row and one column.
fn matrix_diag_part(cx: &mut Context) -> Result<(), Reason> {
    let (first, length, columns) = diagonal(cx.view)?;
    let form = if cx.form(0) == Form::Wide { Form::Wide } else { Form::Plain };
    let x = cx.input(0, form)?;
    let leading = cx.rank(0) - 2;
    // 0 is "as in the input".
    let mut sizes = vec![0; leading];
    let sizes_known: Option<Vec<i64>> = cx.value(0).dims[leading..].iter().copied().collect();
    sizes.push(elements(&sizes_known.ok_or("the sizes of the matrices are unknown")?));
    let sizes = cx.vector(&sizes);
    let flat = cx.emit("Reshape", &[&x, &sizes], &[]);
    let step = columns + 1;
    let (start, end) = (cx.vector(&[first]), cx.vector(&[first + (length - 1) * step + 1]));
    let (axes, steps) = (cx.vector(&[leading as i64]), cx.vector(&[step]));
    let out = cx.emit("Slice", &[&flat, &start, &end, &axes, &steps], &[]);
    cx.give(0, form, out)
}

macro_rules! diag_part {
    ($op:literal) => {
        Converter {
            op: $op,
            supports: |v| diagonal(v).map(|_| ()),
            convert: matrix_diag_part,
        }
    };
}

pub const CONVERTERS: &[Converter] = &[
    Converter {
        op: "MatrixBandPart",
        supports: |v| band(v).map(|_| ()),
        convert: matrix_band_part,
    },
    diag_part!("MatrixDiagPart"),
    diag_part!("MatrixDiagPartV2"),
    diag_part!("MatrixDiagPartV3"),
];
