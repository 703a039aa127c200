//! What becomes of a constant's numbers in half, and the conversion itself.

use super::{Half, PrecisionError};
use crate::memory;
use crate::proto::onnx;
use crate::proto::onnx::tensor_proto::{DataLocation, DataType};
use bytes::Bytes;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Elements converted at a time: 16 kB of float32.
const BLOCK: usize = 4096;

/// What rounding to half does to a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// A finite element becomes infinite.
    pub overflows: bool,
    /// An element that is not zero becomes zero or subnormal.
    pub some_vanish: bool,
    /// All elements that are not zero do, and there are such.
    pub all_vanish: bool,
    /// Every element keeps its value.
    pub exact: bool,
}

impl Loss {
    pub fn of(tensor: &onnx::TensorProto, to: Half) -> Result<Loss, PrecisionError> {
        let (mut overflows, mut some_vanish, mut exact) = (false, false, true);
        let mut largest = 0f32;
        let smallest_normal = match to {
            Half::Float16 => f16::MIN_POSITIVE.to_f32(),
            Half::BFloat16 => bf16::MIN_POSITIVE.to_f32(),
        };
        let mut halves = [0f32; BLOCK];
        each_block(tensor, |block| {
            let halves = &mut halves[..block.len()];
            round(block, halves, to);
            for (&value, &half) in block.iter().zip(halves.iter()) {
                overflows |= half.is_infinite() && value.is_finite();
                some_vanish |= value != 0.0 && half.abs() < smallest_normal;
                exact &= half == value || value.is_nan();
                // NaN is no maximum: `max` passes it by.
                largest = largest.max(half.abs());
            }
        })?;
        Ok(Loss {
            overflows,
            some_vanish,
            all_vanish: some_vanish && largest < smallest_normal,
            exact,
        })
    }
}

/// `values`, rounded to half and back.
fn round(values: &[f32], rounded: &mut [f32], to: Half) {
    match to {
        Half::Float16 => {
            let mut halves = [f16::ZERO; BLOCK];
            let halves = &mut halves[..values.len()];
            halves.convert_from_f32_slice(values);
            halves.convert_to_f32_slice(rounded);
        }
        Half::BFloat16 => {
            let mut halves = [bf16::ZERO; BLOCK];
            let halves = &mut halves[..values.len()];
            halves.convert_from_f32_slice(values);
            halves.convert_to_f32_slice(rounded);
        }
    }
}

/// `tensor` (float32) in half, under the name `name`; rounded to nearest, ties to even.
pub fn to_half(tensor: &onnx::TensorProto, name: &str, to: Half) -> Result<onnx::TensorProto, PrecisionError> {
    let elements = tensor.raw_data().len() / 4;
    let mut bytes = memory::room("weights in half", 2 * elements.max(tensor.float_data.len()))?;
    each_block(tensor, |block| match to {
        Half::Float16 => {
            let mut halves = [f16::ZERO; BLOCK];
            halves[..block.len()].convert_from_f32_slice(block);
            bytes.extend(halves[..block.len()].iter().flat_map(|half| half.to_le_bytes()));
        }
        Half::BFloat16 => {
            let mut halves = [bf16::ZERO; BLOCK];
            halves[..block.len()].convert_from_f32_slice(block);
            bytes.extend(halves[..block.len()].iter().flat_map(|half| half.to_le_bytes()));
        }
    })?;
    Ok(onnx::TensorProto {
        dims: tensor.dims.clone(),
        data_type: Some(to.data_type()),
        name: Some(name.to_string()),
        doc_string: tensor.doc_string.clone(),
        raw_data: Some(Bytes::from(bytes)),
        ..Default::default()
    })
}

/// Hands the elements of a float32 tensor to `take`, at most [`BLOCK`] at a time.
fn each_block(tensor: &onnx::TensorProto, mut take: impl FnMut(&[f32])) -> Result<(), PrecisionError> {
    let wrong = |why: String| PrecisionError::Initializer {
        name: tensor.name().to_string(),
        why,
    };
    if tensor.data_type() != DataType::Float as i32 {
        return Err(wrong(format!("element type {} where float32 was expected", tensor.data_type())));
    }
    if tensor.data_location() == DataLocation::External {
        return Err(wrong(
            "its data is in another file; the rewrite to half takes models with their weights inside".to_string(),
        ));
    }
    let elements = tensor
        .dims
        .iter()
        .try_fold(1usize, |n, &dim| n.checked_mul(usize::try_from(dim).ok()?))
        .ok_or_else(|| wrong(format!("the dimensions {:?} are no shape", tensor.dims)))?;
    let found = match &tensor.raw_data {
        Some(raw) => raw.len() / 4,
        None => tensor.float_data.len(),
    };
    if found != elements || tensor.raw_data.as_ref().is_some_and(|raw| raw.len() % 4 != 0) {
        return Err(wrong(format!("it has {found} elements where {:?} says {elements}", tensor.dims)));
    }
    match &tensor.raw_data {
        Some(raw) => {
            let mut block = [0f32; BLOCK];
            for bytes in raw.chunks(4 * BLOCK) {
                let (words, _) = bytes.as_chunks::<4>();
                for (value, word) in block.iter_mut().zip(words) {
                    *value = f32::from_le_bytes(*word);
                }
                take(&block[..words.len()]);
            }
        }
        None => tensor.float_data.chunks(BLOCK).for_each(take),
    }
    Ok(())
}
