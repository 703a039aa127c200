//! Making a tensor from smaller ones: side by side, repeated, filled, counted.

use super::compare::choose;
use super::{Converter, INTEGERS, TENSORS, axis_in};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::size::Size;
use crate::convert::value::{Form, integers};
use crate::convert::view::{View, normal_axis};
use crate::graph::{Constant, DType};
use crate::memory;

fn pack_axis(view: View) -> Result<usize, Reason> {
    normal_axis(view.node().attr_i("axis").unwrap_or(0), view.rank(0)? + 1)
}

fn pack(cx: &mut Context) -> Result<(), Reason> {
    let axis = pack_axis(cx.view)? as i64;
    let inputs: Vec<usize> = (0..cx.view.count()).collect();
    inputs.iter().skip(1).try_for_each(|&i| guard::require_same_shape(cx, 0, i))?;
    let form = if cx.shared_form(&inputs) == Form::Wide {
        Form::Wide
    } else {
        Form::Plain
    };
    let axes = cx.vector(&[axis]);
    let mut names = Vec::new();
    for &i in &inputs {
        names.push(match cx.elements(i).as_deref() {
            // A known size among open ones.
            Some([Some(size)]) if form == Form::Wide && cx.rank(i) == 0 => cx.vector(&[*size]),
            _ => {
                let x = cx.input(i, form)?;
                cx.emit("Unsqueeze", &[&x, &axes], &[])
            }
        });
    }
    let out = concat(cx, &names, axis);
    cx.give(0, form, out)?;
    if cx.rank(0) == 0 {
        let element = |&i: &usize| cx.elements_as_sizes(i).and_then(|e| e.first().copied()).unwrap_or(Size::Open);
        let known: Vec<Size> = inputs.iter().map(element).collect();
        cx.know(0, Some(known));
    }
    Ok(())
}

fn concat(cx: &mut Context, names: &[String], axis: i64) -> String {
    match names {
        [one] => one.clone(),
        _ => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            cx.emit("Concat", &names, &[("axis", Attr::I(axis))])
        }
    }
}

/// The axis is the last input.
fn concat_axis(view: View) -> Result<usize, Reason> {
    let last = view.count().checked_sub(1).ok_or("it has no inputs")?;
    normal_axis(view.need_int(last, "axis")?, view.rank(0)?)
}

fn concat_v2(cx: &mut Context) -> Result<(), Reason> {
    let axis = concat_axis(cx.view)?;
    let inputs: Vec<usize> = (0..cx.view.count() - 1).collect();
    // ONNX Runtime takes an input without elements for one of any shape.
    for &i in &inputs[1..] {
        for other in (0..cx.rank(0)).filter(|&other| other != axis) {
            guard::require_same(cx, (0, other), (i, other))?;
        }
    }
    let form = cx.shared_form(&inputs);
    let names = inputs.iter().map(|&i| cx.input(i, form)).collect::<Result<Vec<_>, _>>()?;
    let out = concat(cx, &names, axis_in(form, axis) as i64);
    cx.give(0, form, out)?;
    if cx.rank(0) == 1 {
        let known: Option<Vec<Vec<Size>>> = inputs.iter().map(|&i| elements_or_open(cx, i)).collect();
        cx.know(0, known.map(|parts| parts.concat()));
    }
    Ok(())
}

/// The elements of a vector; all unknown where only their number is known.
fn elements_or_open(cx: &Context, i: usize) -> Option<Vec<Size>> {
    let count = || usize::try_from(cx.value(i).dims[0]?).ok();
    cx.elements_as_sizes(i)
        .or_else(|| Some(vec![Size::Open; count().filter(|&n| n <= 64)?]))
}

fn tile(cx: &mut Context) -> Result<(), Reason> {
    let form = if cx.form(0) == Form::Wide { Form::Wide } else { Form::Plain };
    let (x, repeats) = (cx.input(0, form)?, guard::sizes(cx, 1)?);
    let out = cx.emit("Tile", &[&x, &repeats], &[]);
    cx.give(0, form, out)
}

fn fill(cx: &mut Context) -> Result<(), Reason> {
    let (shape, value) = (guard::sizes(cx, 0)?, cx.plain(1)?);
    let out = cx.emit("Expand", &[&value, &shape], &[]);
    cx.give(0, Form::Plain, out)
}

fn broadcast_to(cx: &mut Context) -> Result<(), Reason> {
    let (x, shape) = (cx.plain(0)?, cx.wide(1)?);
    let out = cx.emit("Expand", &[&x, &shape], &[]);
    if guard::told(cx) && !only_grows(cx) {
        // Expand lets the shape be broadcast as well.
        let found = cx.emit("Shape", &[&out], &[]);
        let holds = cx.emit("Equal", &[&found, &shape], &[]);
        guard::require_all(cx, &holds)?;
    }
    cx.give(0, Form::Plain, out)
}

/// Whether the tensor is known to be broadcast to the shape, and the shape to nothing.
fn only_grows(cx: &Context) -> bool {
    let (sizes, Some(wanted)) = (cx.value(0).sizes(), cx.elements_as_sizes(1)) else {
        return false;
    };
    let Some(new) = wanted.len().checked_sub(sizes.len()) else {
        return false;
    };
    let good = |size: &Size| matches!(size, Size::Of(_)) || size.known() >= Some(0);
    let fits = |(size, &wanted): (&Size, &Size)| size.known() == Some(1) || size.same_as(wanted);
    wanted.iter().all(good) && sizes.iter().zip(&wanted[new..]).all(fits)
}

/// States that a range goes from its start to its limit, and not the other way; gives a step that is not 0.
fn range_leads_on(cx: &mut Context, [start, limit, delta]: [&str; 3]) -> Result<String, Reason> {
    let known = |i: usize| cx.elements_as_sizes(i).and_then(|e| e.first().copied()).unwrap_or(Size::Open);
    let (first, last, step) = (known(0).known(), known(1), known(2).known());
    let leads_on = match (first, last, step) {
        (Some(..=0), Size::Of(_), Some(1..)) => true,
        (Some(first), Size::Known(last), Some(step)) => step != 0 && (first == last || (first < last) == (step > 0)),
        _ => false,
    };
    // (Of floats all is known, and was looked at by TensorFlow.)
    if !guard::told(cx) || leads_on || cx.dtype(0).is_float() {
        return Ok(delta.to_string());
    }
    let dtype = if cx.shared_form(&[0, 1, 2]) == Form::Wide {
        DType::INT64
    } else {
        cx.dtype(0)
    };
    let (zero, one) = (cx.scalar(dtype, 0.0)?, cx.scalar(dtype, 1.0)?);
    let mut both = |compare: &str| {
        let ends = cx.emit(&format!("{compare}OrEqual"), &[limit, start], &[]);
        let step = cx.emit(compare, &[delta, &zero], &[]);
        cx.emit("And", &[&ends, &step], &[])
    };
    let (up, down) = (both("Greater"), both("Less"));
    let holds = cx.emit("Or", &[&up, &down], &[]);
    let axis = cx.vector(&[0]);
    let holds = cx.emit("Unsqueeze", &[&holds, &axis], &[]);
    cx.state.require(holds);
    if step.is_some_and(|step| step != 0) {
        return Ok(delta.to_string());
    }
    let stands = cx.emit("Equal", &[delta, &zero], &[]);
    Ok(cx.emit("Where", &[&stands, &one, delta], &[]))
}

fn range(cx: &mut Context) -> Result<(), Reason> {
    let form = cx.shared_form(&[0, 1, 2]);
    let (start, limit, delta) = (cx.input(0, form)?, cx.input(1, form)?, cx.input(2, form)?);
    let delta = range_leads_on(cx, [&start, &limit, &delta])?;
    let out = cx.emit("Range", &[&start, &limit, &delta], &[]);
    cx.give(0, form, out)
}

fn range_supports(view: View) -> Result<(), Reason> {
    super::all_inputs(view, &[DType::FLOAT, DType::INT32, DType::INT64])?;
    match view.dtype(0)? == DType::FLOAT && view.out_dims(0)? == [None] {
        true => Err("Range of floats from the run is not supported: only the device would know how many there are.".to_string()),
        false => Ok(()),
    }
}

/// More points are left to TensorFlow: they would be a large constant in the engine.
const MAX_POINTS: i64 = 1 << 20;

fn lin_space_supports(view: View) -> Result<(), Reason> {
    view.accepts(0, &[DType::FLOAT])?;
    match view.need_int(2, "num")? {
        1..=MAX_POINTS => Ok(()),
        num => Err(format!("LinSpace is not supported for num={num}: from 1 to {MAX_POINTS} are.")),
    }
}

/// The ends are what is given, exactly; between them start + step * i.
fn lin_space(cx: &mut Context) -> Result<(), Reason> {
    let num = cx.view.need_int(2, "num")?;
    let axes = cx.vector(&[0]);
    let (start, stop) = (cx.plain(0)?, cx.plain(1)?);
    let mut parts = vec![cx.emit("Unsqueeze", &[&start, &axes], &[])];
    if num > 2 {
        let places = (1..num - 1).map(|i| (i as f32).to_le_bytes());
        let places = memory::elements("the places of a LinSpace", (num - 2) as usize, places)?;
        let places = cx.state.builder.initializer(&Constant {
            dtype: DType::FLOAT,
            dims: vec![num - 2],
            data: places,
        })?;
        let count = cx.scalar(DType::FLOAT, (num - 1) as f64)?;
        let width = cx.emit("Sub", &[&stop, &start], &[]);
        let step = cx.emit("Div", &[&width, &count], &[]);
        let steps = cx.emit("Mul", &[&places, &step], &[]);
        parts.push(cx.emit("Add", &[&start, &steps], &[]));
    }
    if num > 1 {
        parts.push(cx.emit("Unsqueeze", &[&stop, &axes], &[]));
    }
    let out = concat(cx, &parts, 0);
    cx.give(0, Form::Plain, out)
}

fn one_hot_supports(view: View) -> Result<(), Reason> {
    view.accepts(0, INTEGERS)?;
    view.accepts(2, TENSORS)?;
    one_hot_axis(view)?;
    match view.need_int(1, "depth")? {
        0.. => Ok(()),
        depth => Err(format!("OneHot is not supported for depth={depth}.")),
    }
}

fn one_hot_axis(view: View) -> Result<usize, Reason> {
    normal_axis(view.node().attr_i("axis").unwrap_or(-1), view.rank(0)? + 1)
}

/// "on" where the index is the place along the new axis, else "off". ONNX's own OneHot counts negative indices from the
/// end, where TensorFlow gives a row of "off".
fn one_hot(cx: &mut Context) -> Result<(), Reason> {
    let (axis, rank) = (one_hot_axis(cx.view)?, cx.rank(0));
    let depth = cx.view.need_int(1, "depth")?;
    let mut dims = vec![depth];
    dims.extend(std::iter::repeat_n(1, rank - axis));
    let places = integers(cx.dtype(0), &dims, &(0..depth).collect::<Vec<_>>()).ok_or("the depth is too large")?;
    let places = cx.state.builder.initializer(&places)?;
    let (indices, axes) = (cx.plain(0)?, cx.vector(&[axis as i64]));
    let indices = cx.emit("Unsqueeze", &[&indices, &axes], &[]);
    let hit = cx.emit("Equal", &[&indices, &places], &[]);
    let (on, off) = (cx.plain(2)?, cx.plain(3)?);
    let out = choose(cx, cx.dtype(2), &hit, &on, &off);
    cx.give(0, Form::Plain, out)
}

pub const CONVERTERS: &[Converter] = &[
    Converter {
        op: "BroadcastTo",
        supports: |v| v.accepts(1, INTEGERS),
        convert: broadcast_to,
    },
    Converter {
        op: "ConcatV2",
        supports: |v| concat_axis(v).map(|_| ()),
        convert: concat_v2,
    },
    Converter {
        op: "Fill",
        supports: |v| v.accepts(0, INTEGERS),
        convert: fill,
    },
    Converter {
        op: "LinSpace",
        supports: lin_space_supports,
        convert: lin_space,
    },
    Converter {
        op: "OneHot",
        supports: one_hot_supports,
        convert: one_hot,
    },
    Converter {
        op: "Pack",
        supports: |v| pack_axis(v).map(|_| ()),
        convert: pack,
    },
    Converter {
        op: "Range",
        supports: range_supports,
        convert: range,
    },
    Converter {
        op: "Tile",
        supports: |v| v.accepts(1, INTEGERS),
        convert: tile,
    },
];
