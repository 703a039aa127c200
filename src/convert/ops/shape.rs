//! Shapes: asking for them, and changing them without touching an element.

use super::{Converter, INTEGERS, MAX_RANK, TENSORS};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::layout::{self, TO_FIRST, TO_LAST, as_ints, order_survives};
use crate::convert::size::{Size, keeps_images};
use crate::convert::value::{Form, integers};
use crate::convert::view::{View, normal_axes, normal_axis};
use crate::graph::{Constant, DType, Port, elements};

fn any(_: View) -> Result<(), Reason> {
    Ok(())
}

/// The shape as a vector; every size that is known now stays known, whatever the vector goes through.
fn shape(cx: &mut Context) -> Result<(), Reason> {
    for i in 0..cx.view.count() {
        let sizes = cx.value(i).sizes();
        let name = cx.shape_of(i)?;
        cx.give_wide(i, name)?;
        cx.know(i, Some(sizes));
    }
    Ok(())
}

fn size(cx: &mut Context) -> Result<(), Reason> {
    let known: Option<Vec<i64>> = cx.value(0).dims.iter().copied().collect();
    let shape = cx.shape_of(0)?;
    let attrs = [("axes", Attr::Ints(&[0])), ("keepdims", Attr::I(0))];
    let out = cx.emit("ReduceProd", &[&shape], &attrs);
    cx.give_wide(0, out)?;
    cx.know(0, known.map(|dims| vec![Some(elements(&dims))]));
    Ok(())
}

fn rank(cx: &mut Context) -> Result<(), Reason> {
    let rank = integers(DType::INT32, &[], &[cx.rank(0) as i64]).ok_or("the rank is no int32")?;
    cx.give_constant(0, rank);
    Ok(())
}

/// The lengths of the two shapes, which have to be known: the shorter one gets ones before it.
fn broadcast_lengths(view: View) -> Result<(usize, usize), Reason> {
    let length = |i: usize| match view.dims(i)? {
        [Some(n)] if (0..=MAX_RANK as i64).contains(n) => Ok(*n as usize),
        [Some(n)] => Err(format!("BroadcastArgs of a shape of {n} dimensions is not supported.")),
        [None] => Err("BroadcastArgs needs shapes of known rank.".to_string()),
        _ => Err("BroadcastArgs needs vectors.".to_string()),
    };
    Ok((length(0)?, length(1)?))
}

/// The shape of two shapes broadcast together: at each place the second where the first is 1.
fn broadcast_args(cx: &mut Context) -> Result<(), Reason> {
    let lengths = broadcast_lengths(cx.view)?;
    let rank = lengths.0.max(lengths.1);
    let (mut names, mut known) = (Vec::new(), Vec::new());
    for (i, length) in [lengths.0, lengths.1].into_iter().enumerate() {
        let ones = vec![1; rank - length];
        let mut name = cx.wide(i)?;
        if !ones.is_empty() {
            let ones = cx.vector(&ones);
            name = cx.emit("Concat", &[&ones, &name], &[("axis", Attr::I(0))]);
        }
        names.push(name);
        let elements = cx.elements(i).unwrap_or_else(|| vec![None; length]);
        known.push(ones.into_iter().map(Some).chain(elements).collect::<Vec<Option<i64>>>());
    }
    let one = cx.vector(&[1]);
    let stretched = cx.emit("Equal", &[&names[0], &one], &[]);
    let fits = |pair: (&Option<i64>, &Option<i64>)| match pair {
        (Some(1), _) | (_, Some(1)) => true,
        (Some(a), Some(b)) => a == b,
        _ => false,
    };
    if guard::told(cx) && !known[0].iter().zip(&known[1]).all(fits) {
        let second = cx.emit("Equal", &[&names[1], &one], &[]);
        let same = cx.emit("Equal", &[&names[0], &names[1]], &[]);
        let either = cx.emit("Or", &[&stretched, &second], &[]);
        let holds = cx.emit("Or", &[&either, &same], &[]);
        guard::require_all(cx, &holds)?;
    }
    let out = cx.emit("Where", &[&stretched, &names[1], &names[0]], &[]);
    cx.give_wide(0, out)?;
    let elements = known[0].iter().zip(&known[1]).map(|pair| match pair {
        (Some(1), &other) | (&other, Some(1)) => other,
        (&Some(size), _) | (_, &Some(size)) => Some(size),
        (None, None) => None,
    });
    cx.know(0, Some(elements.collect::<Vec<Option<i64>>>()));
    Ok(())
}

/// To the shape in input 1. Sizes known from anywhere (that tensor, shape inference) are written down; one open size is
/// left to be computed from the others, more make the tensor itself the shape.
fn reshape(cx: &mut Context) -> Result<(), Reason> {
    let inferred = cx.view.out_dims(0)?.to_vec();
    let port = Port {
        node: cx.view.id,
        index: 0,
    };
    let claimed = guard::told(cx) && (0..inferred.len()).any(|axis| cx.state.is_claimed(port, axis));
    if !claimed && give_reshaped_constant(cx, &inferred) {
        return Ok(());
    }
    let given = cx.elements_as_sizes(1).unwrap_or_else(|| vec![Size::Open; inferred.len()]);
    let sizes: Vec<Size> = inferred
        .iter()
        .zip(&given)
        .map(|(inferred, given)| inferred.map_or(*given, Size::Known))
        .collect();
    if reshape_in_place(cx, &given, &sizes)? {
        return Ok(());
    }
    let known: Vec<Option<i64>> = sizes.iter().map(|size| size.known().filter(|&size| size >= 0)).collect();
    let (form, x) = element_order(cx)?;
    let open = known.iter().filter(|d| d.is_none()).count();
    let zero = known.contains(&Some(0));
    let out = if open == 0 || (open == 1 && !zero) {
        let left: Vec<i64> = known.iter().map(|d| d.unwrap_or(-1)).collect();
        let left = cx.vector(&left);
        let out = emit_reshape(cx, &x, &left, zero);
        require_given(cx, &given, &sizes, &out)?;
        out
    } else {
        // A size that is 0 at run time is meant, as in TensorFlow, not ONNX's "as in the input".
        let sizes = cx.wide(1)?;
        emit_reshape(cx, &x, &sizes, true)
    };
    cx.give_sized(form, out, &sizes)?;
    let elements = cx.elements_as_sizes(0);
    cx.know(0, elements);
    Ok(())
}

/// States that the result `out` has the sizes that it was given: those that are left to be computed and those that were not asked for.
fn require_given(cx: &mut Context, given: &[Size], sizes: &[Size], out: &str) -> Result<(), Reason> {
    let port = Port {
        node: cx.view.id,
        index: 0,
    };
    let same = same_count(&cx.value(0).sizes(), sizes);
    let good = |axis: usize| match (given[axis].known(), sizes[axis].known()) {
        (Some(_), _) => true,
        (None, Some(_)) => !cx.state.is_claimed(port, axis),
        (None, None) => same,
    };
    if !guard::told(cx) || (0..sizes.len()).all(good) {
        return Ok(());
    }
    let found = cx.emit("Shape", &[out], &[]);
    require_found(cx, &found)
}

/// States that each size in input 1 is the one in the vector `found`, or -1, and that at most one is -1.
fn require_found(cx: &mut Context, found: &str) -> Result<(), Reason> {
    let (given, computed) = (cx.wide(1)?, cx.vector(&[-1]));
    let open = cx.emit("Equal", &[&given, &computed], &[]);
    let same = cx.emit("Equal", &[&given, found], &[]);
    let holds = cx.emit("Or", &[&open, &same], &[]);
    guard::require_all(cx, &holds)?;
    if cx
        .elements(1)
        .is_some_and(|sizes| sizes.iter().filter(|size| matches!(size, None | Some(-1))).count() < 2)
    {
        return Ok(());
    }
    let (open, zero, one) = (cx.state.cast(&open, DType::INT64)?, cx.vector(&[0]), cx.vector(&[1]));
    let count = cx.emit("ReduceSum", &[&open, &zero], &[("keepdims", Attr::I(1))]);
    let holds = cx.emit("LessOrEqual", &[&count, &one], &[]);
    cx.state.require(holds);
    Ok(())
}

/// States that a reshape of `image`, which is channels first, to the sizes `given` leaves it as it is: the sizes are then `from`, each of
/// them the product of the image's dimensions in one of `joined`.
fn require_in_place(cx: &mut Context, given: &[Size], from: &[Size], image: &str, joined: &[&[i64]]) -> Result<(), Reason> {
    let good = |(given, from): (&Size, &Size)| given.known() == Some(-1) || given.same_as(*from);
    let computed = given.iter().filter(|size| size.known() == Some(-1)).count();
    if !guard::told(cx) || computed < 2 && given.iter().zip(from).all(good) {
        return Ok(());
    }
    let shape = cx.emit("Shape", &[image], &[]);
    let mut found = Vec::new();
    for axes in joined {
        let axes = cx.vector(axes);
        let sizes = cx.emit("Gather", &[&shape, &axes], &[("axis", Attr::I(0))]);
        found.push(cx.emit("ReduceProd", &[&sizes], &[("axes", Attr::Ints(&[0])), ("keepdims", Attr::I(1))]));
    }
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    let found = cx.emit("Concat", &found, &[("axis", Attr::I(0))]);
    require_found(cx, &found)
}

/// Whether two shapes have as many elements in every call: the same open sizes, and known ones with one product.
fn same_count(a: &[Size], b: &[Size]) -> bool {
    let product = |sizes: &[Size]| sizes.iter().filter_map(|size| size.known()).try_fold(1i64, i64::checked_mul);
    let open = |sizes: &[Size]| sizes.iter().copied().filter(|size| size.known().is_none()).collect::<Vec<_>>();
    let mut others = open(b);
    let paired = open(a).into_iter().all(|size| {
        let at = others.iter().position(|&other| size.same_as(other));
        at.map(|at| others.swap_remove(at)).is_some()
    });
    paired && others.is_empty() && product(a).is_some() && product(a) == product(b)
}

/// What a dense layer over the channels of images does around its product: images to the matrix of their pixels, and back. Neither
/// moves an element of what lies channels-first; false where this is something else.
fn reshape_in_place(cx: &mut Context, given: &[Size], to: &[Size]) -> Result<bool, Reason> {
    let Some((&last, before)) = to.split_last() else {
        return Ok(false);
    };
    if let Some((images, channels, name)) = cx.pixels(0) {
        let back = last.known() == Some(channels) && keeps_images(images, before);
        if back {
            let [batch, height, width] = images;
            let from = [batch, height, width, Size::Known(channels)];
            require_in_place(cx, given, &from, &name, &[&[0], &[2], &[3], &[1]])?;
            cx.give_sized(Form::ChannelsFirst, name, &[batch, height, width, last])?;
        }
        return Ok(back);
    }
    let value = cx.value(0);
    let (Some(first), &[batch, height, width, Size::Known(channels)]) = (value.name(Form::ChannelsFirst), &value.sizes()[..]) else {
        return Ok(false);
    };
    // Images of one pixel have rows already.
    let several = height.known().zip(width.known()).is_none_or(|(height, width)| height * width > 1);
    let rows = before.len() == 1 && last.known() == Some(channels) && several && channels > 0;
    if rows {
        let name = first.to_string();
        let count = [batch, height, width]
            .iter()
            .try_fold(1i64, |count, size| count.checked_mul(size.known()?));
        let from = [count.into(), Size::Known(channels)];
        require_in_place(cx, given, &from, &name, &[&[0, 2, 3], &[1]])?;
        cx.give_pixels(0, [batch, height, width], channels, name)?;
    }
    Ok(rows)
}

/// Gives the constant in input 0 other dimensions, its bytes shared; false where it is no constant or they are not known.
fn give_reshaped_constant(cx: &mut Context, dims: &[Option<i64>]) -> bool {
    let dims: Option<Vec<i64>> = dims.iter().copied().collect();
    match (cx.value(0).constant.clone(), dims) {
        (Some(constant), Some(dims)) if elements(&dims) == constant.len() as i64 => {
            cx.give_constant(0, Constant { dims, ..constant });
            true
        }
        _ => false,
    }
}

fn emit_reshape(cx: &mut Context, x: &str, sizes: &str, zero_is_zero: bool) -> String {
    let allow = [("allowzero", Attr::I(1))];
    cx.emit("Reshape", &[x, sizes], if zero_is_zero { &allow } else { &[] })
}

/// Input 0 in a form whose elements lie in TensorFlow's order: also channels-first, where the image is a single pixel or has
/// a single channel. The second of the pair is the name, the first the form that a reshaped tensor then has.
fn element_order(cx: &mut Context) -> Result<(Form, String), Reason> {
    match cx.form(0) {
        Form::Wide => Ok((Form::Wide, cx.wide(0)?)),
        Form::ChannelsFirst => {
            let dims = &cx.value(0).dims;
            let same = (dims[1] == Some(1) && dims[2] == Some(1)) || dims[3] == Some(1);
            let form = if same { Form::ChannelsFirst } else { Form::Plain };
            Ok((Form::Plain, cx.input(0, form)?))
        }
        Form::Plain | Form::Pixels => Ok((Form::Plain, cx.plain(0)?)),
    }
}

fn squeezed(view: View) -> Result<Vec<usize>, Reason> {
    let dims = view.dims(0)?;
    match view.node().attr_ints("squeeze_dims").unwrap_or_default() {
        [] if dims.contains(&None) => Err("Squeeze needs the axes where dimensions are open.".to_string()),
        [] => Ok((0..dims.len()).filter(|&i| dims[i] == Some(1)).collect()),
        axes => normal_axes(axes, dims.len()),
    }
}

fn squeeze(cx: &mut Context) -> Result<(), Reason> {
    let axes = squeezed(cx.view)?;
    if give_reshaped_constant(cx, cx.view.out_dims(0)?) {
        return Ok(());
    }
    if axes.is_empty() {
        cx.alias(0, 0);
        return Ok(());
    }
    let mut form = cx.form(0);
    if form == Form::ChannelsFirst && !order_survives(&axes) {
        form = Form::Plain;
    }
    let x = cx.input(0, form)?;
    let axes: Vec<i64> = axes.iter().map(|&a| super::axis_in(form, a) as i64).collect();
    let axes = cx.vector(&axes);
    let out = cx.emit("Squeeze", &[&x, &axes], &[]);
    cx.give(0, if form == Form::Wide { form } else { Form::Plain }, out)?;
    let elements = cx.elements_as_sizes(0);
    cx.know(0, elements);
    Ok(())
}

fn expand_dims(cx: &mut Context) -> Result<(), Reason> {
    let axis = normal_axis(cx.view.need_int(1, "dim")?, cx.rank(0) + 1)?;
    if give_reshaped_constant(cx, cx.view.out_dims(0)?) {
        return Ok(());
    }
    let form = if cx.form(0) == Form::Wide { Form::Wide } else { Form::Plain };
    let x = cx.input(0, form)?;
    let axes = cx.vector(&[axis as i64]);
    let out = cx.emit("Unsqueeze", &[&x, &axes], &[]);
    cx.give(0, form, out)?;
    let elements = cx.elements_as_sizes(0);
    cx.know(0, elements);
    Ok(())
}

fn permutation(view: View) -> Result<Vec<usize>, Reason> {
    let perm = view.need_ints(1, "perm")?;
    let rank = view.rank(0)?;
    let axes: Vec<usize> = perm.iter().map(|&a| normal_axis(a, rank)).collect::<Result<_, _>>()?;
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    match sorted.into_iter().eq(0..rank) {
        true => Ok(axes),
        false => Err(format!("{perm:?} is no permutation of {rank} dimensions.")),
    }
}

/// A model's own transposes between NHWC and NCHW change the form only, so they cancel with those of the layout.
fn transpose(cx: &mut Context) -> Result<(), Reason> {
    let perm = permutation(cx.view)?;
    if perm.is_sorted() {
        cx.alias(0, 0);
        return Ok(());
    }
    if let Some(constant) = cx.value(0).constant.clone() {
        cx.give_constant(0, layout::transpose(&constant, &perm)?);
        return Ok(());
    }
    if perm == TO_FIRST && cx.value(0).has(Form::ChannelsFirst) {
        let name = cx.input(0, Form::ChannelsFirst)?;
        return cx.give(0, Form::Plain, name);
    }
    let x = cx.plain(0)?;
    if perm == TO_LAST {
        return cx.give(0, Form::ChannelsFirst, x);
    }
    let out = cx.emit("Transpose", &[&x], &[("perm", Attr::Ints(&as_ints(&perm)))]);
    cx.give(0, Form::Plain, out)
}

macro_rules! record {
    ($op:literal, $supports:expr, $convert:expr) => {
        Converter {
            op: $op,
            supports: $supports,
            convert: $convert,
        }
    };
}

pub const CONVERTERS: &[Converter] = &[
    record!(
        "BroadcastArgs",
        |v| {
            super::all_inputs(v, INTEGERS)?;
            broadcast_lengths(v).map(|_| ())
        },
        broadcast_args
    ),
    record!(
        "ExpandDims",
        |v| normal_axis(v.need_int(1, "dim")?, v.rank(0)? + 1).map(|_| ()),
        expand_dims
    ),
    record!("Rank", any, rank),
    record!(
        "Reshape",
        |v| {
            v.accepts(0, TENSORS)?;
            v.accepts(1, INTEGERS)
        },
        reshape
    ),
    record!("Shape", any, shape),
    record!("ShapeN", any, shape),
    record!("Size", any, size),
    record!("Squeeze", |v| squeezed(v).map(|_| ()), squeeze),
    record!("Transpose", |v| permutation(v).map(|_| ()), transpose),
];
