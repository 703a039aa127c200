//! What a TensorFlow tensor has become in the ONNX graph: one value, in up to four physical forms.
//!
//! A form is made when an op first asks for it, and kept; a form nobody asks for is never made. That is what lets
//! transposes cancel: a convolution gives its result channels-first, the next one takes it so, and only where a segment
//! ends (or an op needs TensorFlow's order) does a Transpose appear. In the same way shape arithmetic, which TensorFlow does
//! in int32 and ONNX in int64, runs in int64 from `Shape` to `Reshape` without a Cast between.

use super::bounds::Bounds;
use super::size::{Origin, Size};
use crate::graph::{Constant, DType, elements};

/// One physical form of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As TensorFlow has it.
    Plain,
    /// A tensor of rank 4 whose dimensions TensorFlow numbers N, H, W, C, kept as N, C, H, W.
    ChannelsFirst,
    /// An int32 tensor kept as int64. Beyond int32 it has not been wrapped around yet (`Value::overflows`).
    Wide,
    /// A matrix whose rows are the pixels of a batch of images, [N*H*W, C], kept as the images, N, C, H, W.
    Pixels,
}

pub type ValueId = usize;

#[derive(Clone, Debug)]
pub struct Value {
    pub dtype: DType,
    /// The dimensions as TensorFlow sees them.
    pub dims: Vec<Option<i64>>,
    /// For each dimension the one whose size it has: this one, or an earlier one. (There once the value is part of a segment.)
    pub origins: Vec<Origin>,
    /// The value itself, where it is known now.
    pub constant: Option<Constant>,
    /// Of a constant whose values are whole steps: the engine is to keep it in int8.
    pub steps: Option<Steps>,
    /// The elements of a small integer tensor, as far as they are known now, in row-major order.
    pub elements: Option<Vec<Size>>,
    /// Between which numbers the elements lie, of integers. Of int32 they may go beyond the type: then the form Wide holds numbers that are
    /// equal to the elements modulo 2^32 only.
    pub bounds: Bounds,
    /// Whether it is made of sizes of tensors and constants alone.
    pub of_sizes: bool,
    /// The ONNX name of each form that exists.
    names: [Option<String>; 4],
    /// Batch, height and width of the images whose pixels the rows are; there if the form Pixels is.
    pub images: Option<[Size; 3]>,
    /// The name of the int64 vector that holds this value's shape, once an op asked for it.
    pub shape_name: Option<String>,
}

/// The distance from one value of a quantised tensor to the next: values are -128 to 127 steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Steps {
    /// One for the whole tensor, or one for each place along `axis`.
    pub sizes: Vec<f32>,
    pub axis: Option<usize>,
}

impl Steps {
    /// The same steps along the axis `to` of a tensor that is laid out anew: `places` gives for each place along it the one along
    /// the old axis. `None` where that gives `None`: such steps cannot be kept. One step for a whole tensor stays as it is.
    pub fn along(&self, to: usize, places: impl FnOnce(usize) -> Option<Vec<usize>>) -> Option<Steps> {
        let Some(axis) = self.axis else {
            return Some(self.clone());
        };
        let sizes = places(axis)?.into_iter().map(|place| self.sizes.get(place).copied());
        Some(Steps {
            sizes: sizes.collect::<Option<_>>()?,
            axis: Some(to),
        })
    }
}

/// Longer integer tensors are data, not shapes: their elements are not followed.
const MAX_ELEMENTS: usize = 64;

impl Value {
    pub fn new(dtype: DType, dims: Vec<Option<i64>>) -> Value {
        Value {
            dtype,
            dims,
            origins: Vec::new(),
            constant: None,
            steps: None,
            elements: None,
            bounds: Bounds::of_type(dtype),
            of_sizes: false,
            images: None,
            names: Default::default(),
            shape_name: None,
        }
    }

    pub fn from_constant(constant: Constant) -> Value {
        let mut value = Value::new(constant.dtype, constant.dims.iter().map(|&d| Some(d)).collect());
        if matches!(constant.dtype, DType::INT32 | DType::INT64) && constant.len() <= MAX_ELEMENTS {
            value.elements = constant.to_i64s().map(|v| v.into_iter().map(Size::Known).collect());
        }
        value.bounds = Bounds::of_constant(&constant);
        value.constant = Some(constant);
        value
    }

    pub fn name(&self, form: Form) -> Option<&str> {
        self.names[form as usize].as_deref()
    }

    pub fn set_name(&mut self, form: Form, name: String) {
        self.names[form as usize] = Some(name);
    }

    /// Takes over the forms that `other`, the same value, has.
    pub fn take_names(&mut self, other: &mut Value) {
        self.names = std::mem::take(&mut other.names);
    }

    /// The dimensions, the open ones by where their sizes came from.
    pub fn sizes(&self) -> Vec<Size> {
        let size = |(&known, &origin): (&Option<i64>, &Origin)| known.map_or(Size::Of(origin), Size::Known);
        self.dims.iter().zip(&self.origins).map(size).collect()
    }

    /// Adds what else is known of the dimensions. Another number of them is none of these.
    pub fn know_sizes(&mut self, sizes: &[Size]) {
        if sizes.len() != self.dims.len() {
            return;
        }
        for ((known, own), size) in self.dims.iter_mut().zip(&mut self.origins).zip(sizes) {
            match *size {
                Size::Known(size) if known.is_none() && size >= 0 => *known = Some(size),
                Size::Of(origin) => *own = origin,
                Size::Known(_) | Size::Open => {}
            }
        }
    }

    /// Whether this is a batch of images of one pixel, whose elements lie alike in both orders.
    pub fn pixel_batch(&self) -> bool {
        matches!(self.dims[..], [_, Some(1), Some(1), Some(channels)] if channels > 0)
    }

    /// The sizes of such a batch, in the order `perm` of its dimensions, for a Reshape: an open batch is what is left.
    pub fn pixel_sizes(&self, perm: &[usize]) -> Vec<i64> {
        perm.iter().map(|&axis| self.dims[axis].unwrap_or(-1)).collect()
    }

    /// Whether the form Wide may lie beyond int32: it has to be wrapped around before its numbers are looked at.
    pub fn overflows(&self) -> bool {
        self.dtype == DType::INT32 && !self.bounds.is_within(Bounds::INT32)
    }

    /// Whether `form` can be had without a node in the graph.
    pub fn has(&self, form: Form) -> bool {
        self.constant.is_some() || self.name(form).is_some()
    }

    /// Records what is known of the elements, int32 wrapped around as TensorFlow does it; a value known to the last one becomes a constant.
    pub fn know(&mut self, mut elements: Vec<Size>) {
        if elements.len() > MAX_ELEMENTS {
            return;
        }
        if self.dtype == DType::INT32 {
            for size in &mut elements {
                *size = size.known().map_or(*size, |value| Size::Known(i64::from(value as i32)));
            }
        }
        let dims: Option<Vec<i64>> = match self.dims.len() {
            0 => Some(Vec::new()),
            1 => Some(vec![elements.len() as i64]),
            _ => self.dims.iter().copied().collect(),
        };
        let values: Option<Vec<i64>> = elements.iter().map(|size| size.known()).collect();
        if let (Some(dims), Some(values)) = (dims, values) {
            self.constant = integers(self.dtype, &dims, &values);
            if let Some(constant) = &self.constant {
                self.bounds = Bounds::of_constant(constant);
                self.names = Default::default();
            }
        }
        self.elements = Some(elements);
    }
}

/// An int32 or int64 constant; `None` for another type, a value it cannot hold, or dimensions of another size.
pub fn integers(dtype: DType, dims: &[i64], values: &[i64]) -> Option<Constant> {
    if elements(dims) != values.len() as i64 {
        return None;
    }
    let data: Vec<u8> = match dtype {
        DType::INT64 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::INT32 => {
            let narrow: Option<Vec<i32>> = values.iter().map(|&v| i32::try_from(v).ok()).collect();
            narrow?.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        _ => return None,
    };
    Some(Constant {
        dtype,
        dims: dims.to_vec(),
        data: data.into(),
    })
}

/// One element of a constant of float type `dtype` (or an integer one), rounded to nearest, ties to even.
pub fn scalar(dtype: DType, value: f64) -> Option<Constant> {
    let data: Vec<u8> = match dtype {
        DType::FLOAT => (value as f32).to_le_bytes().to_vec(),
        DType::DOUBLE => value.to_le_bytes().to_vec(),
        DType::HALF => half_bits(value as f32).to_le_bytes().to_vec(),
        DType::INT32 => (value as i32).to_le_bytes().to_vec(),
        DType::INT64 => (value as i64).to_le_bytes().to_vec(),
        DType::BOOL => vec![u8::from(value != 0.0)],
        _ => return None,
    };
    Some(Constant {
        dtype,
        dims: Vec::new(),
        data: data.into(),
    })
}

/// IEEE 754 binary16 of `value`.
fn half_bits(value: f32) -> u16 {
    let sign = if value.is_sign_negative() { 0x8000u16 } else { 0 };
    let a = value.abs();
    if a.is_nan() {
        return sign | 0x7e00;
    }
    if a >= 65520.0 {
        return sign | 0x7c00;
    }
    // Below 2^-14 the steps are all 2^-24 wide; above, the step is 2^-10 of the power of two at or below the value.
    let exponent = (a.to_bits() >> 23) as i32 - 127;
    let step = 2f32.powi(exponent.max(-14) - 10);
    let steps = (a / step).round_ties_even() as u16;
    // Carrying into the next exponent comes out right by addition: the leading bit of a normal number is implicit.
    sign | if exponent < -14 {
        steps
    } else {
        (((exponent + 14) as u16) << 10) + steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_bits() {
        for (value, bits) in [
            (0.0, 0x0000),
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (6.0, 0x4600),
            (0.5, 0x3800),
            (65504.0, 0x7bff),
            (65520.0, 0x7c00),
            (6.103_515_6e-5, 0x0400),
            (5.960_464_5e-8, 0x0001),
            (0.1, 0x2e66),
            (2047.9, 0x6800),
            (-0.0, 0x8000),
        ] {
            assert_eq!(half_bits(value), bits, "{value}");
        }
    }

    #[test]
    fn a_value_known_to_its_last_element_is_a_constant() {
        let mut value = Value::new(DType::INT32, vec![Some(2)]);
        value.know(vec![Size::Known(3), Size::Open]);
        assert!(value.constant.is_none());
        value.know(vec![Size::Known(3), Size::Known(4)]);
        assert_eq!(value.constant.unwrap().to_i64s().unwrap(), [3, 4]);
    }

    #[test]
    fn known_int32_wraps_around() {
        let mut value = Value::new(DType::INT32, vec![Some(2)]);
        value.know(vec![Size::Known(1 << 31), Size::Known(-(1 << 33) - 5)]);
        assert_eq!(value.constant.unwrap().to_i64s().unwrap(), [i64::from(i32::MIN), -5]);
    }

    #[test]
    fn what_int32_cannot_hold_is_no_int32_constant() {
        assert_eq!(integers(DType::INT32, &[1], &[1 << 40]), None);
        assert!(integers(DType::INT64, &[1], &[1 << 40]).is_some());
    }
}
