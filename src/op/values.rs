//! The values of inputs that may be shapes themselves (contract, section 2.3).

use crate::graph::DType;
use crate::profile::{Bounds, Profile};
use crate::tf::{Call, Status};

/// No shape has more sizes than TensorRT has dimensions; some room for operands like Pad's, which has two for each.
const MOST: usize = 64;

/// Whether an input may be one: a scalar or short vector of integers.
fn may_be(dtype: DType, shape: &[i64]) -> bool {
    matches!(dtype, DType::INT32 | DType::INT64) && shape.len() <= 1 && shape.iter().all(|&size| 0 <= size && size as usize <= MOST)
}

/// The values of a call's inputs: of those in `wanted`, else (empty) of all that may be shapes. On a GPU each is waited for.
pub fn of(call: &Call, wanted: &[bool]) -> Result<Vec<Option<Vec<i64>>>, Status> {
    let read = |(i, shape): (usize, &Vec<i64>)| {
        let dtype = call.input_dtype(i);
        let is_wanted = wanted.is_empty() || wanted.get(i).copied().unwrap_or(false);
        if !is_wanted || !may_be(dtype, shape) {
            return Ok(None);
        }
        Ok(Some(integers(dtype, &call.input_on_host(i)?)))
    };
    call.shapes().iter().enumerate().map(read).collect()
}

fn integers(dtype: DType, bytes: &[u8]) -> Vec<i64> {
    match dtype {
        DType::INT64 => bytes.as_chunks().0.iter().map(|&word| i64::from_le_bytes(word)).collect(),
        _ => bytes
            .as_chunks()
            .0
            .iter()
            .map(|&word| i64::from(i32::from_le_bytes(word)))
            .collect(),
    }
}

/// The bounds of a profile that serves one call.
pub fn of_call(call: &[Option<Vec<i64>>], shape_inputs: &[bool], inputs: usize) -> Vec<Option<Bounds>> {
    (0..inputs)
        .map(|i| {
            let values = call.get(i)?.as_deref()?;
            shape_inputs.get(i).copied().unwrap_or(false).then(|| Bounds::exactly(values))
        })
        .collect()
}

/// Drops the bounds of values that an engine does not ask for.
pub fn keep_only(profiles: &mut [Profile], shape_inputs: &[bool]) {
    for profile in profiles {
        for (i, values) in profile.values.iter_mut().enumerate() {
            if !shape_inputs.get(i).copied().unwrap_or(false) {
                *values = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_integers_are_shapes() {
        assert!(may_be(DType::INT32, &[]) && may_be(DType::INT64, &[4]) && may_be(DType::INT32, &[0]));
        assert!(!may_be(DType::FLOAT, &[4]) && !may_be(DType::INT32, &[2, 2]) && !may_be(DType::INT32, &[65]));
    }

    #[test]
    fn integers_of_both_widths() {
        let bytes: Vec<u8> = [-1i32, 7].iter().flat_map(|n| n.to_le_bytes()).collect();
        assert_eq!(integers(DType::INT32, &bytes), [-1, 7]);
        let bytes: Vec<u8> = [i64::MIN, 7].iter().flat_map(|n| n.to_le_bytes()).collect();
        assert_eq!(integers(DType::INT64, &bytes), [i64::MIN, 7]);
    }

    #[test]
    fn values_nobody_asks_for_bind_nobody() {
        let call = [Some(vec![3]), Some(vec![4, 5]), None];
        assert_eq!(
            of_call(&call, &[false, true, true], 3),
            [None, Some(Bounds::exactly(&[4, 5])), None]
        );
        assert_eq!(of_call(&call, &[], 3), [None, None, None]);
        let mut profiles = vec![Profile::exactly(&[vec![], vec![2]], &[Some(vec![3]), Some(vec![4, 5])])];
        keep_only(&mut profiles, &[false, true]);
        assert_eq!(profiles[0].values, [None, Some(Bounds::exactly(&[4, 5]))]);
        keep_only(&mut profiles, &[]);
        assert_eq!(profiles[0].values, [None, None]);
    }
}
