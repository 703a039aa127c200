//! Between which numbers the elements of an integer tensor are, by the ops that made it: an index out of an ArgMax needs no check.

use super::view::{View, normal_axis};
use crate::graph::{DType, Graph, Port};
use std::cell::Cell;

/// How many nodes are looked at for an answer, and how far back.
const MOST_NODES: usize = 200;
const DEPTH: usize = 12;

/// Longer constants are not read.
const MOST_VALUES: i64 = 1 << 20;

/// From the first to the last number, both inside; of a tensor without elements any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    low: i64,
    high: i64,
}

const ANY: Interval = Interval {
    low: i64::MIN,
    high: i64::MAX,
};

impl Interval {
    fn new(low: i64, high: i64) -> Interval {
        Interval { low, high }
    }

    /// Whether all are from 0 to `size` - 1.
    pub fn within(self, size: i64) -> bool {
        self.low >= 0 && self.high < size
    }

    pub fn is_not_negative(self) -> bool {
        self.low >= 0
    }

    fn beside(self, other: Interval) -> Interval {
        Interval::new(self.low.min(other.low), self.high.max(other.high))
    }

    /// As it is if the type `dtype` holds it, else anything: integers wrap around.
    fn held(self, dtype: DType) -> Interval {
        let (low, high) = match dtype {
            DType::INT64 => (i64::MIN, i64::MAX),
            DType::INT32 => (i32::MIN.into(), i32::MAX.into()),
            DType::INT16 => (i16::MIN.into(), i16::MAX.into()),
            DType::INT8 => (i8::MIN.into(), i8::MAX.into()),
            DType::UINT16 => (0, u16::MAX.into()),
            DType::UINT8 => (0, u8::MAX.into()),
            _ => return ANY,
        };
        if self.low >= low && self.high <= high { self } else { ANY }
    }
}

/// The interval of input `i` of a node.
pub fn of_input(view: View, i: usize) -> Interval {
    let left = Cell::new(MOST_NODES);
    view.node().inputs.get(i).map_or(ANY, |&port| of(view.graph, port, DEPTH, &left))
}

fn of(graph: &Graph, port: Port, depth: usize, left: &Cell<usize>) -> Interval {
    let (Some(deeper), Some(rest)) = (depth.checked_sub(1), left.get().checked_sub(1)) else {
        return ANY;
    };
    left.set(rest);
    let view = View { graph, id: port.node };
    let node = view.node();
    let input = |i: usize| node.inputs.get(i).map_or(ANY, |&port| of(graph, port, deeper, left));
    let all = |inputs: std::ops::Range<usize>| inputs.map(&input).reduce(Interval::beside).unwrap_or(ANY);
    let count = node.inputs.len();
    match node.op() {
        "Const" => constant(graph, port),
        // What takes elements from its input and makes none.
        "Identity" | "Snapshot" | "StopGradient" | "Reshape" | "ExpandDims" | "Squeeze" | "Tile" | "Transpose" | "BroadcastTo"
        | "Slice" | "StridedSlice" | "Unpack" | "SplitV" | "ReverseV2" | "Roll" => input(0),
        "Split" => input(1),
        "Pack" | "Select" | "SelectV2" if count > 0 => all(usize::from(node.op() != "Pack")..count),
        "ConcatV2" if count > 1 => all(0..count - 1),
        "Cast" => cast(view, input(0)),
        "ArgMax" | "ArgMin" => places(view, view.need_int(1, "axis").unwrap_or(i64::MAX)),
        "TopKV2" if port.index == 1 => places(view, -1),
        "FloorMod" => match input(1) {
            by if by.low > 0 => Interval::new(0, by.high - 1),
            _ => ANY,
        },
        "Minimum" => {
            let (a, b) = (input(0), input(1));
            Interval::new(a.low.min(b.low), a.high.min(b.high))
        }
        "Maximum" => {
            let (a, b) = (input(0), input(1));
            Interval::new(a.low.max(b.low), a.high.max(b.high))
        }
        "ClipByValue" => {
            let (x, from, to) = (input(0), input(1), input(2));
            Interval::new(x.low.min(to.low).max(from.low), x.high.min(to.high).max(from.high))
        }
        "Range" if input(2).low > 0 => Interval::new(input(0).low, input(1).high.saturating_sub(1)),
        "Shape" | "ShapeN" | "Size" => Interval::new(0, i64::MAX),
        _ => ANY,
    }
}

fn constant(graph: &Graph, port: Port) -> Interval {
    let short = graph
        .info(port)
        .and_then(|info| info.shape.full())
        .is_some_and(|dims| crate::graph::elements(&dims) <= MOST_VALUES);
    let values = if short {
        graph.constant(port).and_then(|c| c.to_i64s())
    } else {
        None
    };
    let ends = values.and_then(|v| Some(Interval::new(*v.iter().min()?, *v.iter().max()?)));
    ends.unwrap_or(ANY)
}

fn cast(view: View, from: Interval) -> Interval {
    match (view.dtype(0), view.out(0)) {
        (Ok(DType::BOOL), _) => Interval::new(0, 1),
        (Ok(dtype), Ok(to)) if !dtype.is_float() => from.held(to.dtype),
        _ => ANY,
    }
}

/// Places along an axis of input 0.
fn places(view: View, axis: i64) -> Interval {
    let size = view.dims(0).ok().and_then(|dims| dims[normal_axis(axis, dims.len()).ok()?]);
    size.map_or(ANY, |size| Interval::new(0, size - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_wraps_around_may_be_any() {
        assert_eq!(Interval::new(0, 300).held(DType::UINT8), ANY);
        assert_eq!(Interval::new(0, 255).held(DType::UINT8), Interval::new(0, 255));
        assert_eq!(Interval::new(-1, 3).held(DType::UINT8), ANY);
    }

    #[test]
    fn inside_is_from_zero_on_and_below_the_size() {
        assert!(Interval::new(0, 3).within(4));
        assert!(!Interval::new(0, 4).within(4));
        assert!(!Interval::new(-1, 3).within(4));
        assert!(!ANY.within(i64::MAX));
    }
}
