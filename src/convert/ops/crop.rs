//! Boxes cut out of images and brought to one size. ONNX's RoiAlign samples other points, so the points are computed by
//! TensorFlow's own steps, in its single precision, and the pixels around them gathered.

use super::resize::floats_of;
use super::slicing::{Piece, assemble, dim};
use super::{Converter, NUMBERS};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::guard;
use crate::convert::value::Form;
use crate::convert::view::View;
use crate::graph::DType;

fn crop_size(view: View) -> Result<[i64; 2], Reason> {
    match view.need_ints(3, "crop_size")?.as_slice() {
        &[height, width] if height > 0 && width > 0 => Ok([height, width]),
        size => Err(format!("CropAndResize needs a height and a width over 0, not {size:?}.")),
    }
}

fn supports(view: View) -> Result<(), Reason> {
    view.accepts(0, NUMBERS)?;
    view.accepts(1, &[DType::FLOAT])?;
    view.accepts(2, &[DType::INT32])?;
    view.accepts_rank(0, 4)?;
    view.accepts_rank(1, 2)?;
    view.accepts_rank(2, 1)?;
    match view.attr_or("method", "bilinear") {
        "bilinear" | "nearest" => crop_size(view).map(|_| ()),
        method => Err(format!("CropAndResize with method={method} is not supported.")),
    }
}

/// Where the crops take their rows (or columns) from: `[boxes, count]` each.
struct Points {
    /// In pixels, 0 where outside.
    at: String,
    /// Whether the point lies in the image.
    inside: String,
}

/// Of `count` rows (columns) between columns `low` and `low + 2` of the boxes, in an image with `size` of them.
fn points(cx: &mut Context, low: i64, size: &Piece, count: i64) -> Result<Points, Reason> {
    let boxes = cx.plain(1)?;
    let last = match size {
        Piece::Known(size) => cx.scalar(DType::FLOAT, (size - 1) as f64)?,
        Piece::Named(size) => {
            let one = cx.vector(&[1]);
            let last = cx.emit("Sub", &[size, &one], &[]);
            cx.state.cast(&last, DType::FLOAT)?
        }
    };
    let mut corner = |column: i64| {
        let at = cx.vector(&[column]);
        let corner = cx.emit("Gather", &[&boxes, &at], &[("axis", Attr::I(1))]);
        // The product of one element is that element; and as products stay in float32 when a model goes to half, so do all
        // coordinates: half has 11 bits, too few for a place in an image.
        cx.emit("ReduceProd", &[&corner], &[("axes", Attr::Ints(&[1])), ("keepdims", Attr::I(1))])
    };
    let (begin, end) = (corner(low), corner(low + 2));
    let at = if count > 1 {
        let gaps = cx.scalar(DType::FLOAT, (count - 1) as f64)?;
        let steps = floats_of(cx, &[count], (0..count).map(|i| i as f32))?;
        let width = cx.emit("Sub", &[&end, &begin], &[]);
        let width = cx.emit("Mul", &[&width, &last], &[]);
        let scale = cx.emit("Div", &[&width, &gaps], &[]);
        let first = cx.emit("Mul", &[&begin, &last], &[]);
        let offsets = cx.emit("Mul", &[&steps, &scale], &[]);
        cx.emit("Add", &[&first, &offsets], &[])
    } else {
        let half = cx.scalar(DType::FLOAT, 0.5)?;
        let sum = cx.emit("Add", &[&begin, &end], &[]);
        let middle = cx.emit("Mul", &[&half, &sum], &[]);
        cx.emit("Mul", &[&middle, &last], &[])
    };
    let zero = cx.scalar(DType::FLOAT, 0.0)?;
    let (over, under) = (
        cx.emit("GreaterOrEqual", &[&at, &zero], &[]),
        cx.emit("LessOrEqual", &[&at, &last], &[]),
    );
    let inside = cx.emit("And", &[&over, &under], &[]);
    Ok(Points {
        at: cx.emit("Where", &[&inside, &at, &zero], &[]),
        inside,
    })
}

/// The nearest pixel; halves go up.
fn nearest(cx: &mut Context, at: &str) -> Result<String, Reason> {
    let half = cx.scalar(DType::FLOAT, 0.5)?;
    let floor = cx.emit("Floor", &[at], &[]);
    let rest = cx.emit("Sub", &[at, &floor], &[]);
    let up = cx.emit("GreaterOrEqual", &[&rest, &half], &[]);
    let up = cx.state.cast(&up, DType::FLOAT)?;
    Ok(cx.emit("Add", &[&floor, &up], &[]))
}

/// States that all corners are finite.
fn require_finite_boxes(cx: &mut Context) -> Result<(), Reason> {
    if cx.value(1).constant.is_some() {
        return Ok(());
    }
    // What is infinite or NaN is no 0 less itself.
    let (boxes, zero) = (cx.plain(1)?, cx.scalar(DType::FLOAT, 0.0)?);
    let nothing = cx.emit("Sub", &[&boxes, &boxes], &[]);
    let finite = cx.emit("Equal", &[&nothing, &zero], &[]);
    guard::require_all(cx, &finite)
}

/// The pixels `[boxes, height, width, channels]` at whole `rows` [boxes, height] and `columns` [boxes, width].
struct Pixels {
    /// `[pixels of all images, channels]`, float.
    table: String,
    /// The first row of each box's image, `[boxes, 1, 1]`.
    image: String,
    width: String,
}

impl Pixels {
    fn of(cx: &mut Context, height: &Piece, width: &Piece) -> Result<Pixels, Reason> {
        let mut images = cx.plain(0)?;
        if cx.dtype(0) != DType::FLOAT {
            images = cx.state.cast(&images, DType::FLOAT)?;
        }
        let flat = [Piece::Known(-1), dim(cx, 0, 3)?];
        let flat = assemble(cx, &flat);
        let (height, width) = (
            assemble(cx, std::slice::from_ref(height)),
            assemble(cx, std::slice::from_ref(width)),
        );
        let (mut index, axes) = (cx.wide(2)?, cx.vector(&[1, 2]));
        if guard::told(cx) {
            guard::require_same(cx, (1, 0), (2, 0))?;
            require_finite_boxes(cx)?;
            let count = dim(cx, 0, 0)?;
            index = guard::wide_indices(cx, 2, &[count])?.name;
        }
        let index = cx.emit("Unsqueeze", &[&index, &axes], &[]);
        Ok(Pixels {
            table: cx.emit("Reshape", &[&images, &flat], &[]),
            image: cx.emit("Mul", &[&index, &height], &[]),
            width,
        })
    }

    fn at(&self, cx: &mut Context, rows: &str, columns: &str) -> Result<String, Reason> {
        let (rows, columns) = (cx.state.cast(rows, DType::INT64)?, cx.state.cast(columns, DType::INT64)?);
        let (behind, between) = (cx.vector(&[2]), cx.vector(&[1]));
        let rows = cx.emit("Unsqueeze", &[&rows, &behind], &[]);
        let columns = cx.emit("Unsqueeze", &[&columns, &between], &[]);
        let rows = cx.emit("Add", &[&self.image, &rows], &[]);
        let begins = cx.emit("Mul", &[&rows, &self.width], &[]);
        let places = cx.emit("Add", &[&begins, &columns], &[]);
        Ok(cx.emit("Gather", &[&self.table, &places], &[("axis", Attr::I(0))]))
    }
}

/// Between `a` and `b`, by the part `t`.
fn between(cx: &mut Context, a: &str, b: &str, t: &str) -> String {
    let difference = cx.emit("Sub", &[b, a], &[]);
    let part = cx.emit("Mul", &[&difference, t], &[]);
    cx.emit("Add", &[a, &part], &[])
}

/// Between the four pixels around each point.
fn bilinear(cx: &mut Context, pixels: &Pixels, rows: &Points, columns: &Points) -> Result<String, Reason> {
    let (top, left) = (cx.emit("Floor", &[&rows.at], &[]), cx.emit("Floor", &[&columns.at], &[]));
    let (bottom, right) = (cx.emit("Ceil", &[&rows.at], &[]), cx.emit("Ceil", &[&columns.at], &[]));
    let (down, across) = (cx.emit("Sub", &[&rows.at, &top], &[]), cx.emit("Sub", &[&columns.at, &left], &[]));
    let (row_axes, column_axes) = (cx.vector(&[2, 3]), cx.vector(&[1, 3]));
    let down = cx.emit("Unsqueeze", &[&down, &row_axes], &[]);
    let across = cx.emit("Unsqueeze", &[&across, &column_axes], &[]);
    let line = |cx: &mut Context, row: &str| -> Result<String, Reason> {
        let (a, b) = (pixels.at(cx, row, &left)?, pixels.at(cx, row, &right)?);
        Ok(between(cx, &a, &b, &across))
    };
    let (above, below) = (line(cx, &top)?, line(cx, &bottom)?);
    Ok(between(cx, &above, &below, &down))
}

fn crop_and_resize(cx: &mut Context) -> Result<(), Reason> {
    let [crop_height, crop_width] = crop_size(cx.view)?;
    let (height, width) = (dim(cx, 0, 1)?, dim(cx, 0, 2)?);
    let (rows, columns) = (points(cx, 0, &height, crop_height)?, points(cx, 1, &width, crop_width)?);
    let pixels = Pixels::of(cx, &height, &width)?;
    let value = if cx.view.attr_or("method", "bilinear") == "nearest" {
        let (row, column) = (nearest(cx, &rows.at)?, nearest(cx, &columns.at)?);
        pixels.at(cx, &row, &column)?
    } else {
        bilinear(cx, &pixels, &rows, &columns)?
    };
    let (row_axes, column_axes) = (cx.vector(&[2, 3]), cx.vector(&[1, 3]));
    let row_inside = cx.emit("Unsqueeze", &[&rows.inside, &row_axes], &[]);
    let column_inside = cx.emit("Unsqueeze", &[&columns.inside, &column_axes], &[]);
    let inside = cx.emit("And", &[&row_inside, &column_inside], &[]);
    let outside = cx.view.node().attr_f("extrapolation_value").unwrap_or(0.0);
    let outside = cx.scalar(DType::FLOAT, outside.into())?;
    let out = cx.emit("Where", &[&inside, &value, &outside], &[]);
    cx.give(0, Form::Plain, out)
}

pub const CONVERTERS: &[Converter] = &[Converter {
    op: "CropAndResize",
    supports,
    convert: crop_and_resize,
}];
