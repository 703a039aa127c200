//! Shapes of which the rank or single dimensions may be unknown.

use crate::proto::tensorflow as tf;
use std::fmt;

/// A tensor's shape as far as it is known: `None` where not even the rank is, else one entry a dimension,
/// `None` where its size is open (TensorFlow's -1).
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct PartialShape(pub Option<Vec<Option<i64>>>);

/// How many elements a tensor of these sizes has; the largest number there is where it is more.
pub fn elements(dims: &[i64]) -> i64 {
    // Exact where one is 0, whatever the others are.
    match dims.contains(&0) {
        true => 0,
        false => dims.iter().fold(1, |count: i64, &size| count.saturating_mul(size)),
    }
}

impl PartialShape {
    pub fn unknown() -> Self {
        PartialShape(None)
    }

    pub fn scalar() -> Self {
        PartialShape(Some(Vec::new()))
    }

    /// From sizes in which a negative number means "open".
    pub fn from_dims(dims: &[i64]) -> Self {
        PartialShape(Some(dims.iter().map(|&d| (d >= 0).then_some(d)).collect()))
    }

    pub fn from_proto(shape: &tf::TensorShapeProto) -> Self {
        if shape.unknown_rank {
            return PartialShape(None);
        }
        PartialShape(Some(shape.dim.iter().map(|d| (d.size >= 0).then_some(d.size)).collect()))
    }

    pub fn to_proto(&self) -> tf::TensorShapeProto {
        match &self.0 {
            None => tf::TensorShapeProto {
                unknown_rank: true,
                dim: Vec::new(),
            },
            Some(dims) => tf::TensorShapeProto {
                unknown_rank: false,
                dim: dims
                    .iter()
                    .map(|d| tf::tensor_shape_proto::Dim {
                        size: d.unwrap_or(-1),
                        name: Default::default(),
                    })
                    .collect(),
            },
        }
    }

    pub fn rank(&self) -> Option<usize> {
        self.0.as_ref().map(Vec::len)
    }

    /// The dimensions, where the rank is known.
    pub fn dims(&self) -> Option<&[Option<i64>]> {
        self.0.as_deref()
    }

    /// The size of dimension `i`, where rank and size are known; negative `i` counts from the end.
    pub fn dim(&self, i: isize) -> Option<i64> {
        let dims = self.0.as_ref()?;
        let at = if i < 0 {
            dims.len().checked_sub(i.unsigned_abs())?
        } else {
            i as usize
        };
        dims.get(at).copied().flatten()
    }

    /// All sizes, where every one is known.
    pub fn full(&self) -> Option<Vec<i64>> {
        self.0.as_ref()?.iter().copied().collect()
    }

    /// Whether a tensor of shape `actual` fits: the same rank, and every known dimension equal.
    pub fn admits(&self, actual: &[i64]) -> bool {
        match &self.0 {
            None => true,
            Some(dims) => dims.len() == actual.len() && dims.iter().zip(actual).all(|(d, a)| d.is_none_or(|d| d == *a)),
        }
    }
}

impl fmt::Display for PartialShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("<unknown rank>"),
            Some(dims) => {
                f.write_str("[")?;
                for (i, d) in dims.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    match d {
                        Some(d) => write!(f, "{comma}{d}")?,
                        None => write!(f, "{comma}?")?,
                    }
                }
                f.write_str("]")
            }
        }
    }
}

impl fmt::Debug for PartialShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
