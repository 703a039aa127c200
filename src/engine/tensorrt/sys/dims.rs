//! TensorRT's `Dims`, whose elements are 32 bits wide in 8.6 and 64 bits since 10.

/// The most dimensions that a tensor of TensorRT has.
pub const MAX_DIMS: usize = 8;

/// A shape as TensorRT gives or takes it; -1 is an open size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dims(pub Vec<i64>);

/// What 8.6 calls `Dims`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Dims32 {
    count: i32,
    sizes: [i32; MAX_DIMS],
}

/// What 10 and later call `Dims`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Dims64 {
    count: i32,
    sizes: [i64; MAX_DIMS],
}

impl Dims64 {
    /// `None` for more than [`MAX_DIMS`] dimensions.
    pub(super) fn of(shape: &[i64]) -> Option<Dims64> {
        let mut sizes = [0; MAX_DIMS];
        sizes.get_mut(..shape.len())?.copy_from_slice(shape);
        Some(Dims64 {
            count: i32::try_from(shape.len()).ok()?,
            sizes,
        })
    }

    pub(super) fn shape(&self) -> Dims {
        // A count below zero is how TensorRT says that the shape is unknown; callers see an empty list only where the
        // tensor's name is wrong, which they have checked.
        let count = usize::try_from(self.count).unwrap_or(0).min(MAX_DIMS);
        Dims(self.sizes[..count].to_vec())
    }
}

impl Dims32 {
    /// `None` for more than [`MAX_DIMS`] dimensions, or a size that 32 bits cannot hold.
    pub(super) fn of(shape: &[i64]) -> Option<Dims32> {
        let wide = Dims64::of(shape)?;
        let mut sizes = [0; MAX_DIMS];
        for (narrow, wide) in sizes.iter_mut().zip(wide.sizes) {
            *narrow = i32::try_from(wide).ok()?;
        }
        Some(Dims32 { count: wide.count, sizes })
    }

    pub(super) fn shape(&self) -> Dims {
        Dims64 {
            count: self.count,
            sizes: self.sizes.map(i64::from),
        }
        .shape()
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Table;
    use super::super::version::Version;
    use super::*;

    #[test]
    fn sizes_are_those_of_the_headers() {
        let size = |number| Version::from_number(number).and_then(Table::of).and_then(|t| t.size_of("Dims"));
        assert_eq!(size(8600), Some(size_of::<Dims32>()));
        assert_eq!(size(100001), Some(size_of::<Dims64>()));
        assert_eq!(size(10701), Some(size_of::<Dims64>()));
    }

    #[test]
    fn there_and_back() {
        let shape = [-1, 3, 224, 224];
        assert_eq!(Dims64::of(&shape).map(|d| d.shape()), Some(Dims(shape.to_vec())));
        assert_eq!(Dims32::of(&shape).map(|d| d.shape()), Some(Dims(shape.to_vec())));
        assert_eq!(Dims64::of(&[]).map(|d| d.shape()), Some(Dims(vec![])));
        assert!(Dims64::of(&[1; 9]).is_none());
        assert!(Dims32::of(&[1 << 31]).is_none());
    }
}
