//! Non-maximum suppression: of boxes that overlap, the one with the best score stays.
//!
//! ONNX's op lists what it selected, and how long that list is hangs on the values. TensorFlow's padded ops give tensors of known
//! sizes, and so does this: the scores that the list names are written into a tensor that holds the lowest number everywhere else, and
//! the best of that tensor are taken, as many as TensorFlow pads to. Only the list itself, inside the engine, has an open length.

use super::resize::floats;
use super::slicing::{Piece, assemble, dim};
use super::{Converter, FLOATS};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::value::Form;
use crate::convert::view::View;
use crate::graph::DType;
use crate::settings::Settings;

/// The score of what was not selected.
const LOWEST: f32 = f32::MIN;
/// TensorRT looks at the best 5,000 boxes of a class at most; TF-TRT drew the line here (guide, section 6.8).
const MOST_BOXES: i64 = 4096;
/// TensorRT's limit of TopK.
pub const MOST_BEST: i64 = 3840;

/// What a node asks for beside its boxes and scores.
struct Limits {
    /// Selected boxes of each class.
    each: i64,
    /// Selected boxes in all; the results are padded to as many.
    total: i64,
    /// A box goes that overlaps a better one by more than this.
    overlap: f32,
    /// Only scores above this count.
    score: f32,
}

/// The number in input `i`, which has to be a constant.
fn need_float(view: View, i: usize, what: &str) -> Result<f32, Reason> {
    let values = view.need_constant(i, what)?.to_f32s().unwrap_or_default();
    match values.as_slice() {
        [value] => Ok(*value),
        _ => Err(format!("The input \"{what}\" must hold one float.")),
    }
}

/// Fails where TensorRT might not look at every box, unless the user has allowed that.
fn few_boxes(view: View, boxes: Option<i64>) -> Result<(), Reason> {
    let found = match boxes {
        Some(count) if count <= MOST_BOXES => return Ok(()),
        _ if Settings::current().allow_nms_topk_override => return Ok(()),
        Some(count) => format!("{count} boxes"),
        None => "an open number of boxes".to_string(),
    };
    Err(format!(
        "{} is not supported for {found}: TensorRT looks at the best of each class only, and up to {MOST_BOXES} are surely among them. \
         TF_TRT_ALLOW_NMS_TOPK_OVERRIDE=1 allows more.",
        view.op()
    ))
}

fn sane(view: View, limits: Limits) -> Result<Limits, Reason> {
    match limits {
        Limits { overlap, .. } if !(0.0..=1.0).contains(&overlap) => Err(format!("{} has an iou_threshold of {overlap}.", view.op())),
        Limits { score, .. } if score.is_nan() => Err(format!("{} has a score_threshold that is no number.", view.op())),
        Limits { each: ..=0, .. } | Limits { total: ..=0, .. } => Err(format!("{} selects no box.", view.op())),
        Limits { total, .. } if total > MOST_BEST => Err(format!(
            "{} is not supported for {total} selected boxes: TensorRT takes up to {MOST_BEST}.",
            view.op()
        )),
        limits => Ok(limits),
    }
}

/// `boxes` [b, n, 4], `scores` [b, c, n], both float: the scores of the boxes that are selected, and [`LOWEST`] for all others.
fn suppress(cx: &mut Context, boxes: &str, scores: &str, limits: &Limits) -> Result<String, Reason> {
    let each = cx.vector(&[limits.each]);
    let (overlap, score) = (
        floats(cx, [limits.overlap].into_iter())?,
        floats(cx, [limits.score.max(LOWEST)].into_iter())?,
    );
    let selected = cx.emit("NonMaxSuppression", &[boxes, scores, &each, &overlap, &score], &[]);
    let kept = cx.emit("GatherND", &[scores, &selected], &[]);
    let (shape, lowest) = (cx.emit("Shape", &[scores], &[]), cx.scalar(DType::FLOAT, LOWEST.into())?);
    let nothing = cx.emit("Expand", &[&lowest, &shape], &[]);
    Ok(cx.emit("ScatterND", &[&nothing, &selected, &kept], &[]))
}

/// The best of each row, best first.
struct Best {
    scores: String,
    /// Their places in the row (int64), 0 where there is no more.
    places: String,
    /// Whether there is one.
    valid: String,
}

impl Best {
    /// Of `scores` [b, n]; `size` is n, where known.
    fn of(cx: &mut Context, scores: &str, size: Option<i64>, limits: &Limits) -> Result<Best, Reason> {
        let mut scores = scores.to_string();
        if size.is_none_or(|n| n < limits.total) {
            // So that there are as many as are asked for.
            let (pads, lowest) = (cx.vector(&[0, 0, 0, limits.total]), cx.scalar(DType::FLOAT, LOWEST.into())?);
            scores = cx.emit("Pad", &[&scores, &pads, &lowest], &[]);
        }
        let total = cx.vector(&[limits.total]);
        let best = cx.state.builder.emit_many("TopK", &[&scores, &total], 2, &[("axis", Attr::I(1))]);
        let threshold = cx.scalar(DType::FLOAT, limits.score.max(LOWEST).into())?;
        let valid = cx.emit("Greater", &[&best[0], &threshold], &[]);
        let (nothing, first) = (cx.scalar(DType::FLOAT, 0.0)?, cx.state.builder.index(0));
        Ok(Best {
            scores: cx.emit("Where", &[&valid, &best[0], &nothing], &[]),
            places: cx.emit("Where", &[&valid, &best[1], &first], &[]),
            valid,
        })
    }

    /// How many there are, reduced over `axes`, int32.
    fn count(&self, cx: &mut Context, axes: &[i64]) -> Result<String, Reason> {
        let (ones, axes) = (cx.state.cast(&self.valid, DType::INT32)?, cx.vector(axes));
        Ok(cx.emit("ReduceSum", &[&ones, &axes], &[("keepdims", Attr::I(0))]))
    }
}

/// Input `i` as float.
fn float(cx: &mut Context, i: usize) -> Result<String, Reason> {
    let x = cx.plain(i)?;
    match cx.dtype(i) {
        DType::FLOAT => Ok(x),
        _ => cx.state.cast(&x, DType::FLOAT),
    }
}

/// NonMaxSuppressionV4 and V5: one image, one class.
fn one_limits(view: View) -> Result<Limits, Reason> {
    let most = view.need_int(2, "max_output_size")?;
    let limits = Limits {
        each: most,
        total: most,
        overlap: need_float(view, 3, "iou_threshold")?,
        score: need_float(view, 4, "score_threshold")?,
    };
    sane(view, limits)
}

fn one_supports(view: View) -> Result<(), Reason> {
    view.accepts(0, FLOATS)?;
    view.accepts(1, FLOATS)?;
    view.accepts_rank(0, 2)?;
    view.accepts_rank(1, 1)?;
    if !view.flag("pad_to_max_output_size") {
        return Err(format!(
            "{} without pad_to_max_output_size gives as many boxes as the values make: engines need sizes that follow from those of their inputs.",
            view.op()
        ));
    }
    if view.op() == "NonMaxSuppressionV5" && need_float(view, 5, "soft_nms_sigma")? != 0.0 {
        return Err("NonMaxSuppressionV5 with a soft_nms_sigma lowers scores as it goes, and TensorRT's suppression does not.".to_string());
    }
    few_boxes(view, view.dims(1)?[0])?;
    one_limits(view).map(|_| ())
}

fn one(cx: &mut Context) -> Result<(), Reason> {
    let limits = one_limits(cx.view)?;
    let size = cx.value(1).dims[0];
    let (boxes, scores) = (float(cx, 0)?, float(cx, 1)?);
    let (batch, row) = (cx.vector(&[0]), cx.vector(&[0, 1]));
    let boxes = cx.emit("Unsqueeze", &[&boxes, &batch], &[]);
    let scores = cx.emit("Unsqueeze", &[&scores, &row], &[]);
    let left = suppress(cx, &boxes, &scores, &limits)?;
    let left = cx.emit("Squeeze", &[&left, &batch], &[]);
    let best = Best::of(cx, &left, size, &limits)?;
    let places = cx.emit("Squeeze", &[&best.places, &batch], &[]);
    let count = best.count(cx, &[0, 1])?;
    cx.give_wide(0, places)?;
    if cx.view.op() == "NonMaxSuppressionV4" {
        return cx.give(1, Form::Plain, count);
    }
    let mut scores = cx.emit("Squeeze", &[&best.scores, &batch], &[]);
    if cx.dtype(1) != DType::FLOAT {
        scores = cx.state.cast(&scores, cx.dtype(1))?;
    }
    cx.give(1, Form::Plain, scores)?;
    cx.give(2, Form::Plain, count)
}

/// CombinedNonMaxSuppression: each class of each image, then the best of an image's classes together.
fn combined_limits(view: View) -> Result<Limits, Reason> {
    let (each, mut total) = (view.need_int(2, "max_output_size_per_class")?, view.need_int(3, "max_total_size")?);
    if view.flag("pad_per_class") {
        let classes = view.dims(1)?.get(2).copied().flatten();
        let classes = classes.ok_or("CombinedNonMaxSuppression with pad_per_class needs a known number of classes.")?;
        total = total.min(each.saturating_mul(classes));
    }
    let limits = Limits {
        each,
        total,
        overlap: need_float(view, 4, "iou_threshold")?,
        score: need_float(view, 5, "score_threshold")?,
    };
    sane(view, limits)
}

/// Whether each class has boxes of its own.
fn own_boxes(view: View) -> Result<bool, Reason> {
    match (view.dims(0)?[2], view.dims(1)?[2]) {
        (Some(1), _) => Ok(false),
        (Some(own), Some(classes)) if own == classes => Ok(true),
        (Some(own), Some(classes)) => Err(format!("CombinedNonMaxSuppression has {own} boxes for {classes} classes.")),
        _ => Err("CombinedNonMaxSuppression needs to know whether each class has boxes of its own.".to_string()),
    }
}

fn combined_supports(view: View) -> Result<(), Reason> {
    view.accepts(0, &[DType::FLOAT])?;
    view.accepts(1, &[DType::FLOAT])?;
    view.accepts_rank(0, 4)?;
    view.accepts_rank(1, 3)?;
    own_boxes(view)?;
    few_boxes(view, view.dims(0)?[1].or(view.dims(1)?[1]))?;
    combined_limits(view).map(|_| ())
}

fn combined(cx: &mut Context) -> Result<(), Reason> {
    let limits = combined_limits(cx.view)?;
    let own = own_boxes(cx.view)?;
    let count = dim(cx, 1, 1)?;
    let (boxes, scores) = (cx.plain(0)?, cx.plain(1)?);
    let rows = cx.emit("Transpose", &[&scores], &[("perm", Attr::Ints(&[0, 2, 1]))]);
    let class_axis = cx.vector(&[2]);
    let left = if own {
        // Each class of each image goes as an image of its own.
        let apart = cx.emit("Transpose", &[&boxes], &[("perm", Attr::Ints(&[0, 2, 1, 3]))]);
        let (open, one, four) = (Piece::Known(-1), Piece::Known(1), Piece::Known(4));
        let (box_dims, score_dims) = (
            assemble(cx, &[open.clone(), count.clone(), four]),
            assemble(cx, &[open, one, count.clone()]),
        );
        let apart = cx.emit("Reshape", &[&apart, &box_dims], &[]);
        let rows = cx.emit("Reshape", &[&rows, &score_dims], &[]);
        suppress(cx, &apart, &rows, &limits)?
    } else {
        let shared = cx.emit("Squeeze", &[&boxes, &class_axis], &[]);
        suppress(cx, &shared, &rows, &limits)?
    };
    let flat = [dim(cx, 1, 0)?, Piece::Known(-1)];
    let flat = assemble(cx, &flat);
    let left = cx.emit("Reshape", &[&left, &flat], &[]);
    let dims = &cx.value(1).dims;
    let size = dims[1].zip(dims[2]).map(|(boxes, classes)| boxes * classes);
    let best = Best::of(cx, &left, size, &limits)?;

    let count = assemble(cx, &[count]);
    let class = cx.emit("Div", &[&best.places, &count], &[]);
    let before = cx.emit("Mul", &[&class, &count], &[]);
    let place = cx.emit("Sub", &[&best.places, &before], &[]);
    let (data, indices) = if own {
        let (place, class) = (
            cx.emit("Unsqueeze", &[&place, &class_axis], &[]),
            cx.emit("Unsqueeze", &[&class, &class_axis], &[]),
        );
        (boxes, cx.emit("Concat", &[&place, &class], &[("axis", Attr::I(2))]))
    } else {
        let shared = cx.emit("Squeeze", &[&boxes, &class_axis], &[]);
        (shared, cx.emit("Unsqueeze", &[&place, &class_axis], &[]))
    };
    let mut found = cx.emit("GatherND", &[&data, &indices], &[("batch_dims", Attr::I(1))]);
    let (zero, one) = (cx.scalar(DType::FLOAT, 0.0)?, cx.scalar(DType::FLOAT, 1.0)?);
    if cx.view.node().attr_b("clip_boxes").unwrap_or(true) {
        found = cx.emit("Clip", &[&found, &zero, &one], &[]);
    }
    let valid = cx.emit("Unsqueeze", &[&best.valid, &class_axis], &[]);
    let found = cx.emit("Where", &[&valid, &found, &zero], &[]);
    let classes = cx.state.cast(&class, DType::FLOAT)?;
    let valid = best.count(cx, &[1])?;
    cx.give(0, Form::Plain, found)?;
    cx.give(1, Form::Plain, best.scores)?;
    cx.give(2, Form::Plain, classes)?;
    cx.give(3, Form::Plain, valid)
}

pub const CONVERTERS: &[Converter] = &[
    Converter {
        op: "CombinedNonMaxSuppression",
        supports: combined_supports,
        convert: combined,
    },
    Converter {
        op: "NonMaxSuppressionV4",
        supports: one_supports,
        convert: one,
    },
    Converter {
        op: "NonMaxSuppressionV5",
        supports: one_supports,
        convert: one,
    },
];
