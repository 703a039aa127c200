//! Reductions along axes, and the places of extremes.

use super::exact::{self, Terms};
use super::{BOOLS, Converter, FLOATS, NUMBERS, axis_in, floats};
use crate::convert::bounds;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::layout::order_survives;
use crate::convert::size::Size;
use crate::convert::value::Form;
use crate::convert::view::{View, normal_axes, normal_axis};
use crate::convert::{Reason, carried};
use crate::graph::DType;

fn axes(view: View) -> Result<Vec<usize>, Reason> {
    normal_axes(&view.need_ints(1, "axis")?, view.rank(0)?)
}

fn supports(view: View, types: &[DType]) -> Result<(), Reason> {
    view.accepts(0, types)?;
    axes(view).map(|_| ())
}

/// Reduces with the ONNX op `op`. Channels-first images are reduced as they lie where the result's order allows it.
fn reduce(cx: &mut Context, op: &str) -> Result<(), Reason> {
    let axes = axes(cx.view)?;
    if axes.is_empty() {
        // Over no axis every reduction hands the elements on, but for the norm of one element.
        if op == "ReduceL2" {
            return elementwise_first(cx, "Abs");
        }
        cx.alias(0, 0);
        return Ok(());
    }
    let keep = cx.view.flag("keep_dims");
    let mut form = cx.form(0);
    let empty = empty_axes(cx, &axes);
    let extreme = matches!(op, "ReduceMax" | "ReduceMin");
    // Of no elements the extremes are the ends of the type, which int32 kept as int64 has not.
    if form == Form::ChannelsFirst && !keep && !order_survives(&axes) || form == Form::Wide && extreme && !empty.is_empty() {
        form = Form::Plain;
    }
    let mut x = cx.input(0, form)?;
    let bools = cx.dtype(0) == DType::BOOL;
    if bools {
        x = cx.state.cast(&x, DType::INT32)?;
    }
    let mut out = reduced_by(cx, op, (form, &x), &axes, keep)?;
    if op == "ReduceMean" {
        out = nan_of_none(cx, &out, &empty)?;
    }
    if bools {
        out = cx.state.cast(&out, DType::BOOL)?;
    }
    let form = if form == Form::ChannelsFirst && !keep { Form::Plain } else { form };
    let sizes = reduced(cx.value(0).sizes(), &axes, keep);
    cx.give_sized(form, out, &sizes)?;
    if op == "ReduceProd" && cx.rank(0) == 1 {
        let product = cx
            .elements(0)
            .map(|v| vec![v.into_iter().try_fold(1i64, |p, e| Some(p.wrapping_mul(e?)))]);
        cx.know(0, product);
    }
    Ok(())
}

/// `x`, input 0 in `form`, reduced by the ONNX op `op` along TensorFlow's `axes`.
fn reduced_by(cx: &mut Context, op: &str, (form, x): (Form, &str), axes: &[usize], keep: bool) -> Result<String, Reason> {
    let dims = cx.value(0).dims.clone();
    let mut onnx_axes: Vec<(i64, Option<i64>)> = axes.iter().map(|&a| (axis_in(form, a) as i64, dims[a])).collect();
    onnx_axes.sort_unstable();
    let indices: Vec<i64> = onnx_axes.iter().map(|&(axis, _)| axis).collect();
    let terms = Terms {
        name: x,
        dtype: match form {
            Form::Wide => DType::INT64,
            _ if cx.dtype(0) == DType::BOOL => DType::INT32,
            _ => carried::held(cx.dtype(0)),
        },
        bounds: cx.bounds(0, form),
        count: bounds::count(&dims, axes),
    };
    match op {
        "ReduceSum" => exact::sum(cx, &terms, &indices, keep),
        "ReduceProd" => exact::product(cx, &terms, &onnx_axes, keep),
        "ReduceMax" | "ReduceMin" => exact::extremes(cx, op, &terms, &indices, keep),
        _ => Ok(cx.emit(op, &[x], &[("axes", Attr::Ints(&indices)), ("keepdims", Attr::I(keep.into()))])),
    }
}

/// Those of `axes` along which input 0 may have no elements.
fn empty_axes(cx: &Context, axes: &[usize]) -> Vec<i64> {
    let dims = &cx.value(0).dims;
    let empty = axes.iter().filter(|&&axis| dims[axis].is_none_or(|size| size == 0));
    empty.map(|&axis| axis as i64).collect()
}

/// `mean`, and NaN if input 0 has no elements along one of `axes`: ONNX Runtime gives 0.
fn nan_of_none(cx: &mut Context, mean: &str, axes: &[i64]) -> Result<String, Reason> {
    let shape = match axes {
        [] => return Ok(mean.to_string()),
        _ => cx.shape_of(0)?,
    };
    let first = [("axis", Attr::I(0))];
    let least = if let [axis] = axes {
        let at = cx.state.builder.index(*axis);
        cx.emit("Gather", &[&shape, &at], &first)
    } else {
        let at = cx.vector(axes);
        let sizes = cx.emit("Gather", &[&shape, &at], &first);
        cx.emit("ReduceMin", &[&sizes], &[("axes", Attr::Ints(&[0])), ("keepdims", Attr::I(0))])
    };
    let (zero, nan) = (cx.state.builder.index(0), cx.scalar(cx.dtype(0), f64::NAN)?);
    let none = cx.emit("Equal", &[&least, &zero], &[]);
    Ok(cx.emit("Where", &[&none, &nan, mean], &[]))
}

/// The sizes that are left of `sizes`.
fn reduced(sizes: Vec<Size>, axes: &[usize], keep: bool) -> Vec<Size> {
    let sizes = sizes.into_iter().enumerate();
    match keep {
        true => sizes
            .map(|(axis, size)| if axes.contains(&axis) { Size::Known(1) } else { size })
            .collect(),
        false => sizes.filter(|(axis, _)| !axes.contains(axis)).map(|(_, size)| size).collect(),
    }
}

/// The ONNX op `op` of input 0 alone.
fn elementwise_first(cx: &mut Context, op: &str) -> Result<(), Reason> {
    let form = cx.form(0);
    let x = cx.input(0, form)?;
    let out = cx.emit(op, &[&x], &[]);
    cx.give_broadcast(form, out)
}

/// The place of the largest or smallest element; the first one where several are equal.
fn arg(cx: &mut Context, op: &str) -> Result<(), Reason> {
    let axis = normal_axis(cx.view.need_int(1, "dimension")?, cx.rank(0))?;
    let x = cx.plain(0)?;
    let attrs = [("axis", Attr::I(axis as i64)), ("keepdims", Attr::I(0))];
    let out = cx.emit(op, &[&x], &attrs);
    cx.give_wide(0, out)
}

/// Half the sum of all squares.
fn l2_loss(cx: &mut Context) -> Result<(), Reason> {
    let form = cx.form(0);
    let x = cx.input(0, form)?;
    let squares = cx.emit("Mul", &[&x, &x], &[]);
    let sum = match cx.rank(0) {
        0 => squares,
        _ => cx.emit("ReduceSum", &[&squares], &[("keepdims", Attr::I(0))]),
    };
    let half = cx.scalar(cx.dtype(0), 0.5)?;
    let out = cx.emit("Mul", &[&sum, &half], &[]);
    cx.give(0, Form::Plain, out)
}

fn prod_supports(view: View) -> Result<(), Reason> {
    supports(view, NUMBERS)?;
    let dims = view.dims(0)?;
    let sizes: Vec<Option<i64>> = axes(view)?.into_iter().map(|axis| dims[axis]).collect();
    exact::has_product("Prod", view.dtype(0)?, &sizes)
}

fn arg_supports(view: View) -> Result<(), Reason> {
    view.accepts(0, &[DType::FLOAT, DType::HALF, DType::INT32])?;
    normal_axis(view.need_int(1, "dimension")?, view.rank(0)?).map(|_| ())
}

macro_rules! reduction {
    ($op:literal, $onnx:literal, $types:expr) => {
        Converter {
            op: $op,
            supports: |v| supports(v, $types),
            convert: |cx| reduce(cx, $onnx),
        }
    };
}

pub const CONVERTERS: &[Converter] = &[
    reduction!("All", "ReduceMin", BOOLS),
    // Over no elements a sum is false, as it has to be; the largest of none is the least integer, which is true.
    reduction!("Any", "ReduceSum", BOOLS),
    Converter {
        op: "ArgMax",
        supports: arg_supports,
        convert: |cx| arg(cx, "ArgMax"),
    },
    Converter {
        op: "ArgMin",
        supports: arg_supports,
        convert: |cx| arg(cx, "ArgMin"),
    },
    reduction!("EuclideanNorm", "ReduceL2", FLOATS),
    floats("L2Loss", l2_loss),
    reduction!("Max", "ReduceMax", NUMBERS),
    reduction!("Mean", "ReduceMean", FLOATS),
    reduction!("Min", "ReduceMin", NUMBERS),
    Converter {
        op: "Prod",
        supports: prod_supports,
        convert: |cx| reduce(cx, "ReduceProd"),
    },
    reduction!("Sum", "ReduceSum", NUMBERS),
];
