//! Images made larger or smaller, to a size that is a constant or computed.
//!
//! A bilinear result is a continuous function of the sampling points, so ONNX's Resize has TensorFlow's values but for
//! rounding. The nearest neighbour is not: where a point lies on the border of two pixels, the last bit of the scale
//! decides, and ONNX divides by a scale where TensorFlow multiplies. So the places are computed with TensorFlow's own
//! arithmetic and gathered; only what no rounding can change is left to Resize.

use super::slicing::{Piece, assemble, dim, piece};
use super::{Converter, FLOATS, NUMBERS, axis_in};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::layout::reorder_first;
use crate::convert::value::Form;
use crate::convert::view::View;
use crate::graph::{Constant, DType};
use crate::memory;

/// Where TensorFlow samples: from the corner, with the corners on each other, or from the middle of each pixel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Grid {
    Corner,
    Aligned,
    Centers,
}

pub fn grid(view: View) -> Result<Grid, Reason> {
    match (view.flag("align_corners"), view.flag("half_pixel_centers")) {
        (true, true) => Err(format!("{} takes only one of align_corners and half_pixel_centers.", view.op())),
        (true, false) => Ok(Grid::Aligned),
        (false, true) => Ok(Grid::Centers),
        (false, false) => Ok(Grid::Corner),
    }
}

pub fn supports(view: View, types: &[DType]) -> Result<(), Reason> {
    view.accepts(0, types)?;
    view.accepts_rank(0, 4)?;
    view.accepts(1, &[DType::INT32])?;
    if let Some(size) = view.constant(1).and_then(|c| c.to_i64s())
        && !matches!(size.as_slice(), [h, w] if *h > 0 && *w > 0)
    {
        return Err(format!("{} needs a height and a width over 0, not {size:?}.", view.op()));
    }
    grid(view).map(|_| ())
}

fn bilinear(cx: &mut Context) -> Result<(), Reason> {
    let mode = match grid(cx.view)? {
        Grid::Corner => "asymmetric",
        Grid::Aligned => "align_corners",
        Grid::Centers => "half_pixel",
    };
    let sizes = [dim(cx, 0, 0)?, dim(cx, 0, 3)?, piece(cx, 1, 0)?, piece(cx, 1, 1)?];
    let sizes = assemble(cx, &sizes);
    let mut x = cx.input(0, Form::ChannelsFirst)?;
    // The result is float whatever the image is, and TensorFlow computes it as such.
    if cx.dtype(0) != DType::FLOAT {
        x = cx.state.cast(&x, DType::FLOAT)?;
    }
    let attrs = [("mode", Attr::S("linear")), ("coordinate_transformation_mode", Attr::S(mode))];
    let out = cx.emit("Resize", &[&x, "", "", &sizes], &attrs);
    cx.give(0, Form::ChannelsFirst, out)
}

fn nearest(cx: &mut Context) -> Result<(), Reason> {
    let grid = grid(cx.view)?;
    let form = cx.form(0);
    let mut x = cx.input(0, form)?;
    let mut places = Vec::new();
    for axis in [1, 2] {
        places.push((dim(cx, 0, axis)?, piece(cx, 1, axis - 1)?));
    }
    if let (Some(height), Some(width)) = (factor(&places[0], grid), factor(&places[1], grid))
        && FLOATS.contains(&cx.dtype(0))
    {
        let mut scales = vec![1.0, height as f32, width as f32, 1.0];
        if form == Form::ChannelsFirst {
            scales = reorder_first(&scales);
        }
        let scales = floats(cx, scales.into_iter())?;
        let attrs = [
            ("mode", Attr::S("nearest")),
            ("coordinate_transformation_mode", Attr::S("asymmetric")),
            ("nearest_mode", Attr::S("floor")),
        ];
        let out = cx.emit("Resize", &[&x, "", &scales], &attrs);
        return cx.give(0, form, out);
    }
    for (axis, (from, to)) in [1, 2].into_iter().zip(places) {
        let indices = match (&from, &to) {
            (Piece::Known(from), Piece::Known(to)) => {
                let indices = sources(*from, *to, grid);
                if indices.iter().copied().eq(0..*from) {
                    continue;
                }
                cx.vector(&indices)
            }
            _ => computed_sources(cx, &from, &to, grid)?,
        };
        x = cx.emit("Gather", &[&x, &indices], &[("axis", Attr::I(axis_in(form, axis) as i64))]);
    }
    cx.give(0, form, x)
}

/// How many of `from` pixels one of `to` pixels spans: in TensorFlow's single precision.
pub fn scale(from: i64, to: i64, grid: Grid) -> f32 {
    match grid {
        Grid::Aligned if to > 1 => (from - 1) as f32 / (to - 1) as f32,
        _ => from as f32 / to as f32,
    }
}

/// For each place along an axis of `to` pixels, the place among `from` pixels that TensorFlow takes: in its single precision.
fn sources(from: i64, to: i64, grid: Grid) -> Vec<i64> {
    let scale = scale(from, to, grid);
    let place = |i: i64| match grid {
        Grid::Corner => (i as f32 * scale).floor(),
        Grid::Aligned => (i as f32 * scale).round(),
        Grid::Centers => ((i as f32 + 0.5) * scale).floor(),
    };
    (0..to).map(|i| (place(i) as i64).min(from - 1)).collect()
}

/// The power of two by which every pixel is repeated, where that is all that happens.
fn factor((from, to): &(Piece, Piece), grid: Grid) -> Option<i64> {
    let (Piece::Known(from), Piece::Known(to)) = (from, to) else {
        return None;
    };
    let factor = (*from > 0 && to % from == 0).then(|| to / from)?;
    let repeats = sources(*from, *to, grid).into_iter().eq((0..*to).map(|i| i / factor));
    (repeats && factor & (factor - 1) == 0).then_some(factor)
}

/// [`sources`] as an int64 vector that the graph computes, by the same steps in the same precision.
fn computed_sources(cx: &mut Context, from: &Piece, to: &Piece, grid: Grid) -> Result<String, Reason> {
    let (zero, one) = (cx.vector(&[0]), cx.vector(&[1]));
    let shift = if grid == Grid::Centers { 0.5 } else { 0.0 };
    let steps = match to {
        Piece::Known(to) => floats_of(cx, &[*to], (0..*to).map(|i| i as f32 + shift))?,
        Piece::Named(to) => {
            let axes = cx.vector(&[0]);
            let end = cx.emit("Squeeze", &[to, &axes], &[]);
            let (start, step) = (cx.state.builder.index(0), cx.state.builder.index(1));
            let steps = cx.emit("Range", &[&start, &end, &step], &[]);
            let steps = cx.state.cast(&steps, DType::FLOAT)?;
            let shift = cx.scalar(DType::FLOAT, shift.into())?;
            cx.emit("Add", &[&steps, &shift], &[])
        }
    };
    let (from, to) = (assemble(cx, std::slice::from_ref(from)), assemble(cx, std::slice::from_ref(to)));
    let last = cx.emit("Sub", &[&from, &one], &[]);
    let (over, under) = if grid == Grid::Aligned {
        // A single pixel is at place 0, whatever the scale.
        let gaps = cx.emit("Sub", &[&to, &one], &[]);
        (last.clone(), cx.emit("Max", &[&gaps, &one], &[]))
    } else {
        (from, to)
    };
    let (over, under) = (cx.state.cast(&over, DType::FLOAT)?, cx.state.cast(&under, DType::FLOAT)?);
    let scale = cx.emit("Div", &[&over, &under], &[]);
    let points = cx.emit("Mul", &[&steps, &scale], &[]);
    let mut places = cx.emit("Floor", &[&points], &[]);
    if grid == Grid::Aligned {
        // Halves go up; ONNX's Round takes them to the even side.
        let half = cx.scalar(DType::FLOAT, 0.5)?;
        let rest = cx.emit("Sub", &[&points, &places], &[]);
        let up = cx.emit("GreaterOrEqual", &[&rest, &half], &[]);
        let up = cx.state.cast(&up, DType::FLOAT)?;
        places = cx.emit("Add", &[&places, &up], &[]);
    }
    let places = cx.state.cast(&places, DType::INT64)?;
    let places = cx.emit("Min", &[&places, &last], &[]);
    Ok(cx.emit("Max", &[&places, &zero], &[]))
}

/// The name of a float vector of these values.
pub fn floats(cx: &mut Context, values: impl ExactSizeIterator<Item = f32>) -> Result<String, Reason> {
    let count = values.len() as i64;
    floats_of(cx, &[count], values)
}

/// The name of a float tensor of these dimensions and values.
pub fn floats_of(cx: &mut Context, dims: &[i64], values: impl Iterator<Item = f32>) -> Result<String, Reason> {
    let count = dims.iter().product::<i64>() as usize;
    let data = memory::elements("the places of a resized image", count, values.map(f32::to_le_bytes))?;
    cx.state.builder.initializer(&Constant {
        dtype: DType::FLOAT,
        dims: dims.to_vec(),
        data,
    })
}

pub const CONVERTERS: &[Converter] = &[
    Converter {
        op: "ResizeBilinear",
        supports: |v| supports(v, &[DType::FLOAT, DType::HALF, DType::INT32]),
        convert: bilinear,
    },
    Converter {
        op: "ResizeNearestNeighbor",
        supports: |v| supports(v, NUMBERS),
        convert: nearest,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_places_are_tensorflows() {
        assert_eq!(sources(2, 4, Grid::Corner), [0, 0, 1, 1]);
        assert_eq!(sources(5, 3, Grid::Corner), [0, 1, 3]);
        // 0, 1.5, 3: the half goes up.
        assert_eq!(sources(4, 3, Grid::Aligned), [0, 2, 3]);
        assert_eq!(sources(7, 1, Grid::Aligned), [0]);
        assert_eq!(sources(4, 2, Grid::Centers), [1, 3]);
        // 41 * (1 / 41) is less than 1 in single precision, and TensorFlow takes the pixel before.
        assert_eq!(sources(2, 82, Grid::Corner)[41], (41.0f32 * (2.0f32 / 82.0)).floor() as i64);
    }

    #[test]
    fn only_what_repeats_pixels_is_left_to_resize() {
        let known = |from, to, grid| factor(&(Piece::Known(from), Piece::Known(to)), grid);
        assert_eq!(known(3, 6, Grid::Corner), Some(2));
        assert_eq!(known(3, 12, Grid::Centers), Some(4));
        // Doubled with the corners on each other, pixels are repeated; four times as large, those at the edge are fewer.
        assert_eq!(known(3, 6, Grid::Aligned), Some(2));
        assert_eq!(known(3, 12, Grid::Aligned), None);
        assert_eq!(known(3, 9, Grid::Corner), None);
        assert_eq!(known(4, 2, Grid::Corner), None);
        assert_eq!(known(0, 2, Grid::Corner), None);
    }
}
