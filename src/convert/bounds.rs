//! Between which numbers the elements of an integer tensor lie.
//!
//! int32 that is kept as int64 (`Form::Wide`) does not wrap around by itself, and ONNX Runtime adds up and multiplies integers in
//! float64. Neither matters where the result is known to fit: sizes, places and counts do. So each value has bounds, and only what
//! may leave them is brought back, or computed another way.

use super::carried;
use super::view::View;
use crate::graph::{Constant, DType};

/// Least and largest value, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub least: i64,
    pub most: i64,
}

/// Integers up to this are all in float64.
pub const IN_DOUBLE: i64 = 1 << 53;
/// An engine's tensors have fewer elements than this.
pub const MOST_ELEMENTS: i64 = i32::MAX as i64;
/// Longer constants are not read for their bounds.
const MAX_READ: usize = 4096;

impl Bounds {
    pub const INT32: Bounds = Bounds::new(i32::MIN as i64, i32::MAX as i64);
    /// Sizes, and places in a tensor.
    pub const SIZE: Bounds = Bounds::new(0, MOST_ELEMENTS);
    pub const BIT: Bounds = Bounds::new(0, 1);
    const ALL: Bounds = Bounds::new(i64::MIN, i64::MAX);

    pub const fn new(least: i64, most: i64) -> Bounds {
        Bounds { least, most }
    }

    /// All values of a type.
    pub fn of_type(dtype: DType) -> Bounds {
        match dtype {
            DType::INT32 => Bounds::INT32,
            DType::BOOL => Bounds::BIT,
            _ => carried::range(dtype).map_or(Bounds::ALL, |(least, most)| Bounds::new(least, most)),
        }
    }

    pub fn of_constant(constant: &Constant) -> Bounds {
        let all = Bounds::of_type(constant.dtype);
        if constant.dtype.is_float() || constant.len() > MAX_READ {
            return all;
        }
        let values = || constant.i64s().into_iter().flatten();
        match (values().min(), values().max()) {
            (Some(least), Some(most)) => Bounds::new(least, most),
            _ => all,
        }
    }

    pub fn is_within(self, other: Bounds) -> bool {
        other.least <= self.least && self.most <= other.most
    }

    /// The largest distance from zero; what int64 does not hold is its largest value.
    pub fn magnitude(self) -> i64 {
        self.least.saturating_abs().max(self.most.saturating_abs())
    }

    fn symmetric(magnitude: i64) -> Bounds {
        Bounds::new(-magnitude, magnitude)
    }

    pub fn both(self, other: Bounds) -> Bounds {
        Bounds::new(self.least.min(other.least), self.most.max(other.most))
    }

    pub fn with_zero(self) -> Bounds {
        self.both(Bounds::new(0, 0))
    }

    fn add(self, other: Bounds) -> Bounds {
        Bounds::new(self.least.saturating_add(other.least), self.most.saturating_add(other.most))
    }

    fn negated(self) -> Bounds {
        Bounds::new(self.most.saturating_neg(), self.least.saturating_neg())
    }

    fn mul(self, other: Bounds) -> Bounds {
        let ends = [
            self.least.saturating_mul(other.least),
            self.least.saturating_mul(other.most),
            self.most.saturating_mul(other.least),
            self.most.saturating_mul(other.most),
        ];
        ends.into_iter()
            .map(|end| Bounds::new(end, end))
            .reduce(Bounds::both)
            .unwrap_or(Bounds::ALL)
    }

    fn abs(self) -> Bounds {
        let least = if self.least <= 0 && self.most >= 0 {
            0
        } else {
            self.least.saturating_abs().min(self.most.saturating_abs())
        };
        Bounds::new(least, self.magnitude())
    }

    /// Of sums of up to `count` elements, also of none.
    pub fn summed(self, count: i64) -> Bounds {
        Bounds::new(self.least.min(0).saturating_mul(count), self.most.max(0).saturating_mul(count))
    }

    /// Of products of up to `count` elements, also of none.
    pub fn multiplied(self, count: i64) -> Bounds {
        let most = match (self.magnitude(), u32::try_from(count)) {
            (0 | 1, _) => 1,
            (magnitude, Ok(count)) => magnitude.saturating_pow(count),
            (_, Err(_)) => i64::MAX,
        };
        Bounds::new(if self.least >= 0 { 0 } else { -most }, most)
    }

    fn divided(self, by: Bounds) -> Bounds {
        match by.least > 0 {
            true => Bounds::new(self.least.min(0), self.most.max(0)),
            false => Bounds::symmetric(self.magnitude()),
        }
    }

    /// Of remainders with the sign of the dividend, and of those with the sign of the divisor.
    fn truncated_rest(self, by: Bounds) -> Bounds {
        let most = (by.magnitude() - 1).max(0).min(self.magnitude());
        Bounds::new(if self.least >= 0 { 0 } else { -most }, if self.most <= 0 { 0 } else { most })
    }

    fn floored_rest(by: Bounds) -> Bounds {
        Bounds::new(by.least.saturating_add(1).min(0), by.most.saturating_sub(1).max(0))
    }
}

/// How many elements go into one of a reduction over `axes`, at most; none are known of is as many as there can be.
pub fn count(dims: &[Option<i64>], axes: &[usize]) -> i64 {
    let sizes = axes.iter().map(|&axis| dims.get(axis).copied().flatten());
    let known = sizes.into_iter().try_fold(1i64, |product, size| product.checked_mul(size?));
    known.unwrap_or(MOST_ELEMENTS).min(MOST_ELEMENTS)
}

/// Ops that hand elements of these inputs on, and perhaps zeros.
fn moves(op: &str) -> Option<&'static [usize]> {
    Some(match op {
        "BatchToSpaceND" | "BroadcastTo" | "DepthToSpace" | "ExpandDims" | "Gather" | "GatherNd" | "GatherV2" | "MirrorPad" | "Reshape"
        | "ReverseSequence" | "ReverseV2" | "Roll" | "Slice" | "SpaceToBatchND" | "SpaceToDepth" | "SplitV" | "Squeeze"
        | "StridedSlice" | "Tile" | "TopKV2" | "Transpose" | "Unpack" | "Max" | "Min" | "Pad" | "MatrixBandPart" => &[0],
        "Fill" | "Split" => &[1],
        "Select" | "SelectV2" => &[1, 2],
        "PadV2" | "TensorScatterUpdate" => &[0, 2],
        "OneHot" => &[2, 3],
        _ => return None,
    })
}

/// Ops whose result modulo 2^32 follows from their inputs modulo 2^32, of input `i`: these take int32 that is kept as int64 before it is
/// wrapped around. Reshape's sizes are among them: one beyond int32 fits no tensor, and TensorFlow answers such a call.
pub fn keeps_modulo(op: &str, i: usize) -> bool {
    match op {
        "Add" | "AddV2" | "AddN" | "Sub" | "Mul" | "Neg" | "Square" | "SquaredDifference" | "BiasAdd" | "Invert" | "Pack" | "ConcatV2"
        | "Cumsum" | "Reshape" => true,
        "ExpandDims" | "Squeeze" | "Slice" | "StridedSlice" | "Unpack" | "Gather" | "GatherV2" | "Tile" => i == 0,
        _ => false,
    }
}

/// Whether a backend without int64 would compute the op right from int64 numbers, in input `i`, that it knows modulo 2^32 only.
pub fn bears_narrowing(view: View, i: usize) -> bool {
    let op = view.op();
    let to = || view.out(0).map(|info| carried::held(info.dtype));
    match op {
        // Indices, which are within the size of a tensor, or wrong.
        "GatherNd" | "Gather" | "GatherV2" | "Slice" | "StridedSlice" => true,
        "TensorScatterUpdate" if i == 1 => true,
        "ScatterNd" | "OneHot" if i == 0 => true,
        "Cast" => to() == Ok(DType::INT32),
        "Max" | "Min" | "TopKV2" => false,
        _ => keeps_modulo(op, i) || moves(op).is_some_and(|moved| moved.contains(&i)),
    }
}

/// Whether what the op gives is made of sizes if its inputs are, `sizes`; constants are.
pub fn of_sizes(op: &str, sizes: impl IntoIterator<Item = bool>) -> bool {
    matches!(op, "Shape" | "ShapeN" | "Size" | "Rank") || sizes.into_iter().reduce(|a, b| a && b).unwrap_or(false)
}

/// The bounds of output `output` of a node, of type `dtype`, from those of its inputs. Of int32 they are those before the result is wrapped
/// around.
pub fn of(view: View, output: usize, dtype: DType, inputs: &[Bounds]) -> Bounds {
    let all = Bounds::of_type(dtype);
    if dtype.is_float() || dtype == DType::BOOL {
        return all;
    }
    match of_op(view, output, inputs) {
        // Where int64 may wrap around, too, nothing is known.
        Some(Bounds { least: i64::MIN, .. } | Bounds { most: i64::MAX, .. }) => Bounds::ALL,
        Some(bounds) if dtype == DType::INT32 || bounds.is_within(all) => bounds,
        _ => all,
    }
}

fn of_op(view: View, output: usize, inputs: &[Bounds]) -> Option<Bounds> {
    let op = view.op();
    let at = |i: usize| inputs.get(i).copied();
    let union = |from: &[Bounds]| from.iter().copied().reduce(Bounds::both);
    if output > 0 && !matches!(op, "ShapeN" | "Split" | "SplitV" | "Unpack") {
        // (Places: of TopKV2's elements.)
        return (op == "TopKV2").then_some(Bounds::SIZE);
    }
    if let Some(from) = moves(op) {
        let given = from.iter().map(|&i| at(i)).collect::<Option<Vec<_>>>()?;
        return match op {
            // Of no elements, an end of the type.
            "Max" | "Min" if may_be_none(view) => None,
            "Gather" | "GatherNd" | "GatherV2" | "MatrixBandPart" | "Pad" => union(&given)?.with_zero().into(),
            _ => union(&given),
        };
    }
    Some(match op {
        "Add" | "AddV2" | "BiasAdd" => at(0)?.add(at(1)?),
        "AddN" => inputs.iter().copied().reduce(Bounds::add)?,
        "Sub" => at(0)?.add(at(1)?.negated()),
        "Mul" => at(0)?.mul(at(1)?),
        "Neg" => at(0)?.negated(),
        "Abs" => at(0)?.abs(),
        "Square" => at(0)?.mul(at(0)?),
        "SquaredDifference" => {
            let difference = at(0)?.add(at(1)?.negated());
            difference.mul(difference)
        }
        "Sign" => Bounds::new(-1, 1),
        "Maximum" => Bounds::new(at(0)?.least.max(at(1)?.least), at(0)?.most.max(at(1)?.most)),
        "Minimum" => Bounds::new(at(0)?.least.min(at(1)?.least), at(0)?.most.min(at(1)?.most)),
        "Relu" => Bounds::new(at(0)?.least.max(0), at(0)?.most.max(0)),
        "Relu6" => Bounds::new(0, 6),
        "ClipByValue" => {
            let (x, lower, upper) = (at(0)?, at(1)?, at(2)?);
            Bounds::new(x.least.min(upper.least).max(lower.least), x.most.min(upper.most).max(lower.most))
        }
        "Div" | "FloorDiv" | "TruncateDiv" => at(0)?.divided(at(1)?),
        "Mod" | "TruncateMod" => at(0)?.truncated_rest(at(1)?),
        "FloorMod" => Bounds::floored_rest(at(1)?),
        // What does not fit is wrapped around: nothing is known of it.
        "Cast" if !view.dtype(0).ok()?.is_float() => {
            let to = Bounds::of_type(view.out(0).ok()?.dtype);
            return at(0).filter(|from| from.is_within(to));
        }
        // The axis is the last input.
        "ConcatV2" => union(inputs.split_last()?.1)?,
        "Pack" => union(inputs)?,
        "Sum" | "Prod" => reduced(view, at(0)?)?,
        "Cumsum" => at(0)?.summed(axis_count(view)),
        "Cumprod" => at(0)?.multiplied(axis_count(view)),
        "Range" => at(0)?.both(at(1)?),
        "ArgMax" | "ArgMin" | "Shape" | "ShapeN" | "Size" => Bounds::SIZE,
        "OnesLike" | "ZerosLike" => Bounds::BIT,
        _ => return None,
    })
}

/// The axes of a reduction, as indices of the input's dimensions.
fn axes(view: View) -> Option<Vec<usize>> {
    super::view::normal_axes(&view.need_ints(1, "axis").ok()?, view.rank(0).ok()?).ok()
}

fn reduced(view: View, bounds: Bounds) -> Option<Bounds> {
    let count = count(view.dims(0).ok()?, &axes(view)?);
    Some(if view.op() == "Sum" {
        bounds.summed(count)
    } else {
        bounds.multiplied(count)
    })
}

fn axis_count(view: View) -> i64 {
    let axis = || super::view::normal_axis(view.need_int(1, "axis").ok()?, view.rank(0).ok()?).ok();
    axis().map_or(MOST_ELEMENTS, |axis| count(view.dims(0).unwrap_or_default(), &[axis]))
}

/// Whether a reduction may be one of no elements.
fn may_be_none(view: View) -> bool {
    let Some((axes, Ok(dims))) = axes(view).map(|axes| (axes, view.dims(0))) else {
        return true;
    };
    axes.iter().any(|&axis| dims[axis].is_none_or(|size| size == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_holds_both_ends() {
        let (a, b) = (Bounds::new(-3, 5), Bounds::new(-2, 7));
        assert_eq!(a.mul(b), Bounds::new(-21, 35));
        assert_eq!(a.add(b.negated()), Bounds::new(-10, 7));
        assert_eq!(a.abs(), Bounds::new(0, 5));
        assert_eq!(Bounds::new(-9, -4).abs(), Bounds::new(4, 9));
        assert_eq!(a.summed(4), Bounds::new(-12, 20));
        assert_eq!(a.multiplied(2), Bounds::symmetric(25));
        assert_eq!(Bounds::new(2, 3).multiplied(3), Bounds::new(0, 27));
        assert_eq!(Bounds::BIT.multiplied(MOST_ELEMENTS), Bounds::BIT);
    }

    #[test]
    fn divisions_and_remainders_hold_each_result() {
        for (x, y) in [
            ((-7, 9), (-4, 3)),
            ((0, 9), (2, 5)),
            ((-7, -1), (1, 5)),
            ((-7, 4), (-5, -2)),
            ((3, 4), (6, 9)),
        ] {
            let (xs, ys) = (Bounds::new(x.0, x.1), Bounds::new(y.0, y.1));
            for a in x.0..=x.1 {
                for b in (y.0..=y.1).filter(|&b| b != 0) {
                    let floored = a.rem_euclid(b) + if b < 0 && a.rem_euclid(b) != 0 { b } else { 0 };
                    for (found, bounds) in [
                        (a / b, xs.divided(ys)),
                        ((a - floored) / b, xs.divided(ys)),
                        (a % b, xs.truncated_rest(ys)),
                        (floored, Bounds::floored_rest(ys)),
                    ] {
                        assert!(Bounds::new(found, found).is_within(bounds), "{a} and {b}: {found} in {bounds:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_ends_of_int64_do_not_wrap() {
        let all = Bounds::ALL;
        for bounds in [
            all.mul(all),
            all.add(all),
            all.negated(),
            all.abs(),
            all.divided(all),
            all.multiplied(3),
            all.summed(9),
        ] {
            assert_eq!(bounds.most, i64::MAX);
        }
        assert!(!Bounds::INT32.negated().is_within(Bounds::INT32));
        assert!(!Bounds::INT32.divided(Bounds::INT32).is_within(Bounds::INT32));
    }

    #[test]
    fn open_axes_count_as_many() {
        assert_eq!(count(&[Some(3), None, Some(4)], &[0, 2]), 12);
        assert_eq!(count(&[Some(3), None], &[1]), MOST_ELEMENTS);
        assert_eq!(count(&[Some(0)], &[0]), 0);
    }
}
