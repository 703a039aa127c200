//! Channels-last and channels-first: the two orders in which the dimensions of an image batch are kept.
//!
//! TensorFlow's default is NHWC; ONNX convolutions, pools and batch normalisations take NCHW only. A rank-4 value may
//! therefore exist in a second order beside the one TensorFlow sees (see [`super::value::Form`]); this file is the arithmetic.

use crate::graph::Constant;
use crate::memory::{self, NoMemory};
use bytes::Bytes;

/// The permutation that makes NCHW from NHWC, as in `Transpose(perm)`.
pub const TO_FIRST: [usize; 4] = [0, 3, 1, 2];
/// The permutation that makes NHWC from NCHW.
pub const TO_LAST: [usize; 4] = [0, 2, 3, 1];

/// Where dimension `axis` of the NHWC order stands in the NCHW order.
pub fn axis_first(axis: usize) -> usize {
    TO_LAST[axis]
}

/// One entry per NHWC dimension, put into NCHW order.
pub fn reorder_first<T: Clone>(items: &[T]) -> Vec<T> {
    TO_FIRST.iter().map(|&i| items[i].clone()).collect()
}

pub fn as_ints(permutation: &[usize]) -> Vec<i64> {
    permutation.iter().map(|&p| p as i64).collect()
}

/// Whether the dimensions of an NCHW tensor that are not in `removed` (NHWC numbers) stand in NHWC's order still, so that
/// a tensor which loses `removed` is the same in both orders.
pub fn order_survives(removed: &[usize]) -> bool {
    let left: Vec<usize> = TO_FIRST.into_iter().filter(|axis| !removed.contains(axis)).collect();
    left.is_sorted()
}

/// `constant` with its dimensions permuted: dimension `i` of the result is dimension `perm[i]` of the source. The bytes
/// are shared where the order of the elements does not change.
///
/// # Errors
/// There is no memory for it.
pub fn transpose(constant: &Constant, perm: &[usize]) -> Result<Constant, NoMemory> {
    let dims: Vec<i64> = perm.iter().map(|&p| constant.dims[p]).collect();
    let moved: Vec<usize> = perm.iter().copied().filter(|&p| constant.dims[p] != 1).collect();
    let data = if moved.is_sorted() || constant.is_empty() {
        constant.data.clone()
    } else {
        let mut strides = vec![1usize; perm.len()];
        for i in (0..perm.len().saturating_sub(1)).rev() {
            strides[i] = strides[i + 1] * constant.dims[i + 1] as usize;
        }
        let strides: Vec<usize> = perm.iter().map(|&p| strides[p]).collect();
        permute_bytes(&constant.data, &dims, &strides, constant.dtype.size())?
    };
    Ok(Constant {
        dtype: constant.dtype,
        dims,
        data,
    })
}

/// Copies elements of `size` bytes so that the result has `dims`, taking source elements at `strides`.
fn permute_bytes(source: &[u8], dims: &[i64], strides: &[usize], size: usize) -> Result<Bytes, NoMemory> {
    let mut out = memory::room("a transposed constant", source.len())?;
    let mut index = vec![0i64; dims.len()];
    let (inner, inner_stride) = (dims[dims.len() - 1] as usize, strides[dims.len() - 1]);
    let mut at = 0usize;
    'rows: loop {
        for i in 0..inner {
            let from = (at + i * inner_stride) * size;
            out.extend_from_slice(&source[from..from + size]);
        }
        for d in (0..dims.len() - 1).rev() {
            index[d] += 1;
            at += strides[d];
            if index[d] < dims[d] {
                continue 'rows;
            }
            at -= strides[d] * dims[d] as usize;
            index[d] = 0;
        }
        return Ok(out.into());
    }
}

/// A constant of rank 4 or less as it has to stand beside an NCHW tensor to be broadcast against it as it would have
/// been, unchanged, against the NHWC tensor. A scalar stays one.
///
/// # Errors
/// There is no memory for it.
pub fn constant_first(constant: &Constant) -> Result<Constant, NoMemory> {
    if constant.dims.is_empty() {
        return Ok(constant.clone());
    }
    let mut dims = vec![1; 4usize.saturating_sub(constant.dims.len())];
    dims.extend_from_slice(&constant.dims);
    let padded = Constant { dims, ..constant.clone() };
    transpose(&padded, &TO_FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_permutations_undo_each_other() {
        let there = reorder_first(&["n", "h", "w", "c"]);
        assert_eq!(there, ["n", "c", "h", "w"]);
        for axis in 0..4 {
            assert_eq!(there[axis_first(axis)], ["n", "h", "w", "c"][axis]);
        }
    }

    #[test]
    fn constants_are_transposed_element_by_element() {
        let mut c = Constant::from_i64s(&(0..24).collect::<Vec<_>>());
        c.dims = vec![2, 3, 4];
        let t = transpose(&c, &[2, 0, 1]).unwrap();
        assert_eq!(t.dims, [4, 2, 3]);
        let values = t.to_i64s().unwrap();
        for (i, j, k) in (0..4).flat_map(|i| (0..2).flat_map(move |j| (0..3).map(move |k| (i, j, k)))) {
            assert_eq!(values[(i * 2 + j) * 3 + k], ((j * 3 + k) * 4 + i) as i64);
        }
    }

    #[test]
    fn a_vector_becomes_a_channel_without_a_copy() {
        let c = Constant::from_i64s(&[5, 6, 7]);
        let first = constant_first(&c).unwrap();
        assert_eq!(first.dims, [1, 3, 1, 1]);
        assert_eq!(first.data.as_ptr(), c.data.as_ptr());
    }

    #[test]
    fn empty_constants_are_transposed_too() {
        let mut c = Constant::from_i64s(&[]);
        c.dims = vec![2, 0, 3];
        assert_eq!(transpose(&c, &[2, 0, 1]).unwrap().dims, [3, 2, 0]);
    }

    #[test]
    fn removing_height_and_width_leaves_one_order() {
        assert!(order_survives(&[1, 2]));
        assert!(order_survives(&[3]));
        assert!(order_survives(&[0, 1, 2, 3]));
        assert!(!order_survives(&[1]));
        assert!(!order_survives(&[0]));
    }
}
