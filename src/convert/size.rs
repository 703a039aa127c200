//! Sizes, and which of those that only a call gives are equal in every call.
//!
//! Models ask a tensor for its shape to give another one the same: behind a dense layer over the channels of images, say, whose height
//! and width shape inference has lost by then. So each open dimension is known by where it came from, and keeps that through
//! ops that do not change it and through the arithmetic of shapes.

use super::value::ValueId;

/// A dimension of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub value: ValueId,
    pub axis: usize,
}

/// A size, as a dimension or as an element of a tensor of sizes. No two of them are `==`: two that are open may be unlike.
#[derive(Clone, Copy, Debug)]
pub enum Size {
    Known(i64),
    /// Whatever that dimension is.
    Of(Origin),
    Open,
}

impl Size {
    pub fn known(self) -> Option<i64> {
        match self {
            Size::Known(size) => Some(size),
            Size::Of(_) | Size::Open => None,
        }
    }

    /// Whether the two are equal in every call.
    pub fn same_as(self, other: Size) -> bool {
        match (self, other) {
            (Size::Known(a), Size::Known(b)) => a == b,
            (Size::Of(a), Size::Of(b)) => a == b,
            _ => false,
        }
    }

    /// What becomes of two sizes that are broadcast together.
    fn beside(self, other: Size) -> Size {
        match (self, other) {
            (Size::Known(1), size) | (size, Size::Known(1)) => size,
            // The open one is this, or 1.
            (Size::Known(size), _) | (_, Size::Known(size)) => Size::Known(size),
            (a, b) if a.same_as(b) => a,
            _ => Size::Open,
        }
    }
}

impl From<Option<i64>> for Size {
    fn from(size: Option<i64>) -> Size {
        size.map_or(Size::Open, Size::Known)
    }
}

/// The shape of tensors of these shapes, broadcast together.
pub fn broadcast(shapes: &[Vec<Size>]) -> Vec<Size> {
    let rank = shapes.iter().map(Vec::len).max().unwrap_or(0);
    let mut sizes = vec![Size::Known(1); rank];
    for shape in shapes {
        for (size, &other) in sizes[rank - shape.len()..].iter_mut().zip(shape) {
            *size = size.beside(other);
        }
    }
    sizes
}

/// Whether images of the sizes `from` (batch, height, width), reshaped to `to`, keep these sizes. The channels do, so one
/// size that is left to be computed, or is beside known ones, has to.
pub fn keeps_images(from: [Size; 3], to: &[Size]) -> bool {
    if to.len() != 3 {
        return false;
    }
    let unlike: Vec<usize> = (0..3).filter(|&axis| !from[axis].same_as(to[axis])).collect();
    match unlike[..] {
        [] => true,
        [axis] => {
            let others_known = (0..3).filter(|&other| other != axis).all(|other| from[other].known() > Some(0));
            to[axis].known() == Some(-1) || (others_known && (from[axis].known().is_none() || to[axis].known().is_none()))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Size::{Known, Open};

    fn of(value: ValueId, axis: usize) -> Size {
        Size::Of(Origin { value, axis })
    }

    fn all_same(a: &[Size], b: &[Size]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, &b)| a.same_as(b))
    }

    #[test]
    fn open_sizes_are_not_the_same() {
        assert!(of(1, 2).same_as(of(1, 2)));
        assert!(!of(1, 2).same_as(of(2, 2)));
        assert!(!Open.same_as(Open));
        assert!(!Open.same_as(Known(3)));
    }

    #[test]
    fn broadcasting_keeps_what_does_not_change() {
        let image = vec![of(1, 0), of(1, 1), Known(8)];
        assert!(all_same(&broadcast(&[image.clone(), vec![Known(8)], vec![]]), &image));
        assert!(all_same(&broadcast(&[vec![of(1, 0), of(1, 1), Known(1)], image.clone()]), &image));
        // Either of two open sizes may be 1.
        assert!(!broadcast(&[vec![of(1, 0)], vec![of(2, 0)]])[0].same_as(of(1, 0)));
        assert!(broadcast(&[vec![of(1, 0)], vec![Known(4)]])[0].same_as(Known(4)));
    }

    #[test]
    fn images_that_stay_as_they_were() {
        let open = [of(1, 0), of(1, 1), of(1, 2)];
        assert!(keeps_images(open, &open));
        assert!(keeps_images(open, &[Known(-1), of(1, 1), of(1, 2)]));
        assert!(!keeps_images(open, &[of(1, 0), of(1, 2), of(1, 1)]));
        assert!(!keeps_images(open, &[Known(-1), Open, of(1, 2)]));
        // Of images without a pixel there may be any number.
        assert!(!keeps_images(open, &[Open, of(1, 1), of(1, 2)]));
        let known = [of(1, 0), Known(4), Known(6)];
        assert!(keeps_images(known, &[Open, Known(4), Known(6)]));
        assert!(!keeps_images(known, &[Open, Known(6), Known(4)]));
        assert!(!keeps_images([Known(2), Known(4), Known(6)], &[Known(3), Known(4), Known(6)]));
    }
}
