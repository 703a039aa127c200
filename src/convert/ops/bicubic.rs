//! ResizeBicubic. TensorFlow reads its weights from a table of 1,024 steps between two pixels, and has one curve for
//! half_pixel_centers and another for the other grids: ONNX's Resize has neither. So the four places and weights of each row and column
//! are computed here, as TensorFlow does, and the rows and columns gathered.

use super::resize::{Grid, floats_of, grid, scale};
use super::{Converter, NUMBERS, axis_in, resize};
use crate::convert::Reason;
use crate::convert::builder::Attr;
use crate::convert::context::Context;
use crate::convert::view::View;
use crate::graph::DType;

/// Steps of the table from one pixel to the next.
const STEPS: i64 = 1024;

/// The weight of a pixel at `step` steps from the point (up to one pixel), and of the one behind it, on the cubic curve of slope `a`.
fn curve(a: f64, step: i64) -> (f32, f32) {
    let near = step as f64 / STEPS as f64;
    let far = near + 1.0;
    (
        (((a + 2.0) * near - (a + 3.0)) * near * near + 1.0) as f32,
        (((a * far - 5.0 * a) * far + 8.0 * a) * far - 4.0 * a) as f32,
    )
}

/// The four places that make up one result, and their weights.
#[derive(Debug, PartialEq)]
struct Taps {
    places: [i64; 4],
    weights: [f32; 4],
}

/// What makes up pixel `i` of `to`, out of `from`.
fn taps(i: i64, from: i64, to: i64, grid: Grid) -> Taps {
    let scale = scale(from, to, grid);
    let point = match grid {
        Grid::Centers => (i as f32 + 0.5) * scale - 0.5,
        _ => i as f32 * scale,
    };
    let first = point.floor() as i64;
    let step = ((point - first as f32) * STEPS as f32).round_ties_even() as i64;
    let a = if grid == Grid::Centers { -0.5 } else { -0.75 };
    let ((before, far_before), (behind, far_behind)) = (curve(a, step), curve(a, STEPS - step));
    let wanted = [first - 1, first, first + 1, first + 2];
    let places = wanted.map(|at| at.clamp(0, from - 1));
    let mut weights = [far_before, before, behind, far_behind];
    if grid == Grid::Centers {
        // Pixels outside the image do not count here; on the other grids the pixel at the edge stands for them.
        for k in 0..4 {
            if places[k] != wanted[k] {
                weights[k] = 0.0;
            }
        }
        let sum = weights[0] + weights[1] + weights[2] + weights[3];
        if sum.abs() >= 1000.0 * f32::MIN_POSITIVE {
            weights = weights.map(|w| w * (1.0 / sum));
        }
    }
    Taps { places, weights }
}

/// The known sizes, before and after, of height and width.
fn sizes(view: View) -> Result<[(i64, i64); 2], Reason> {
    let to = view.need_ints(1, "size")?;
    let dims = view.dims(0)?;
    match (dims, to.as_slice()) {
        (&[_, Some(height), Some(width), _], &[new_height, new_width]) if height > 0 && width > 0 => {
            Ok([(height, new_height), (width, new_width)])
        }
        _ => Err("ResizeBicubic needs a known height and width: its weights are computed from them beforehand.".to_string()),
    }
}

fn supports(view: View) -> Result<(), Reason> {
    resize::supports(view, NUMBERS)?;
    sizes(view).map(|_| ())
}

fn bicubic(cx: &mut Context) -> Result<(), Reason> {
    let (sizes, grid) = (sizes(cx.view)?, grid(cx.view)?);
    let form = cx.form(0);
    let mut x = cx.input(0, form)?;
    if cx.dtype(0) != DType::FLOAT {
        x = cx.state.cast(&x, DType::FLOAT)?;
    }
    for (axis, (from, to)) in [1, 2].into_iter().zip(sizes) {
        let taps: Vec<Taps> = (0..to).map(|i| taps(i, from, to, grid)).collect();
        let axis = axis_in(form, axis);
        // The weights stand along the axis, with a one for every axis behind it.
        let mut dims = vec![to];
        dims.extend(std::iter::repeat_n(1, 3 - axis));
        let mut sum: Option<String> = None;
        for k in 0..4 {
            let places = cx.vector(&taps.iter().map(|t| t.places[k]).collect::<Vec<_>>());
            let weights = floats_of(cx, &dims, taps.iter().map(|t| t.weights[k]))?;
            let pixels = cx.emit("Gather", &[&x, &places], &[("axis", Attr::I(axis as i64))]);
            let weighed = cx.emit("Mul", &[&pixels, &weights], &[]);
            sum = Some(match sum {
                Some(sum) => cx.emit("Add", &[&sum, &weighed], &[]),
                None => weighed,
            });
        }
        x = sum.unwrap_or(x);
    }
    cx.give(0, form, x)
}

pub const CONVERTERS: &[Converter] = &[Converter {
    op: "ResizeBicubic",
    supports,
    convert: bicubic,
}];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_on_a_pixel_is_that_pixel() {
        for grid in [Grid::Corner, Grid::Aligned, Grid::Centers] {
            let taps = taps(2, 5, 5, grid);
            assert_eq!((taps.places, taps.weights), ([1, 2, 3, 4], [0.0, 1.0, 0.0, 0.0]));
        }
    }

    #[test]
    fn the_edge_counts_once_for_half_pixel_centers_and_again_for_the_others() {
        // Doubled: the first point lies a quarter of a pixel before the first one.
        let centers = taps(0, 4, 8, Grid::Centers);
        assert_eq!(centers.places, [0, 0, 0, 1]);
        assert_eq!(centers.weights[..2], [0.0, 0.0]);
        assert!((centers.weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        let corner = taps(1, 4, 8, Grid::Corner);
        assert_eq!(corner.places, [0, 0, 1, 2]);
        assert_eq!(corner.weights, [-0.09375, 0.59375, 0.59375, -0.09375]);
    }
}
