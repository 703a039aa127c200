//! Constant values: `tensorflow.TensorProto` with its shorthand forms undone.

use super::DType;
use crate::memory::{self, NoMemory};
use crate::proto::{MESSAGE_LIMIT, tensorflow as tf};
use bytes::Bytes;

/// A constant: element type, sizes, and the elements as little-endian bytes, first dimension outermost.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    pub dtype: DType,
    pub dims: Vec<i64>,
    pub data: Bytes,
}

/// Why a `TensorProto` cannot be read as a constant.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ConstantError {
    #[error("constants of type {0} are not supported")]
    Type(DType),
    #[error("the constant's shape has unknown or impossible dimensions")]
    Shape,
    #[error("the constant holds {held} bytes where its shape needs {needed}")]
    Size { held: usize, needed: usize },
    #[error("the constant has {needed} bytes, and an engine's model at most {MESSAGE_LIMIT}")]
    TooLarge { needed: usize },
    #[error(transparent)]
    NoMemory(#[from] NoMemory),
}

/// What a constant's elements are called where there is no memory for them.
const WHAT: &str = "a constant's elements";

impl Constant {
    /// Reads a `TensorProto`: `tensor_content` is shared, not copied; typed fields are expanded (the last value
    /// given fills the rest, as TensorFlow does).
    pub fn from_proto(proto: &tf::TensorProto) -> Result<Constant, ConstantError> {
        let dtype = DType::from_proto(proto.dtype);
        if dtype.size() == 0 {
            return Err(ConstantError::Type(dtype));
        }
        let mut dims = Vec::new();
        let mut count: usize = 1;
        if let Some(shape) = &proto.tensor_shape {
            if shape.unknown_rank {
                return Err(ConstantError::Shape);
            }
            for d in &shape.dim {
                let size = usize::try_from(d.size).map_err(|_| ConstantError::Shape)?;
                count = count.checked_mul(size).ok_or(ConstantError::Shape)?;
                dims.push(d.size);
            }
        }
        let needed = count.checked_mul(dtype.size()).ok_or(ConstantError::Shape)?;
        if !proto.tensor_content.is_empty() {
            let held = proto.tensor_content.len();
            if held != needed {
                return Err(ConstantError::Size { held, needed });
            }
            return Ok(Constant {
                dtype,
                dims,
                data: proto.tensor_content.clone(),
            });
        }
        // A few bytes may stand for any number of them.
        if needed > MESSAGE_LIMIT {
            return Err(ConstantError::TooLarge { needed });
        }
        let mut data = memory::room(WHAT, needed)?;
        let size = dtype.size();
        let held = typed_values(dtype, proto, &mut data).ok_or(ConstantError::Type(dtype))?;
        if held > needed {
            return Err(ConstantError::Size { held, needed });
        }
        // An all-default tensor gives no value at all: zeros.
        if data.is_empty() {
            data.resize(needed, 0);
        }
        while data.len() < needed {
            data.extend_from_within(data.len() - size..);
        }
        Ok(Constant {
            dtype,
            dims,
            data: Bytes::from(data),
        })
    }

    pub fn from_i64s(values: &[i64]) -> Constant {
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Constant {
            dtype: DType::INT64,
            dims: vec![values.len() as i64],
            data: data.into(),
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.data.len() / self.dtype.size()
    }

    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The elements of an integer or bool constant, widened; `None` for other types.
    pub fn i64s(&self) -> Option<impl Iterator<Item = i64>> {
        /// How a type's bytes become a number.
        type Read = fn(&[u8]) -> i64;
        fn bytes<const N: usize>(b: &[u8]) -> [u8; N] {
            b.try_into().expect("chunks_exact gives N bytes")
        }
        let read: Read = match self.dtype {
            DType::INT8 => |b| i64::from(i8::from_le_bytes(bytes(b))),
            DType::UINT8 | DType::BOOL => |b| i64::from(b[0]),
            DType::INT16 => |b| i64::from(i16::from_le_bytes(bytes(b))),
            DType::UINT16 => |b| i64::from(u16::from_le_bytes(bytes(b))),
            DType::INT32 => |b| i64::from(i32::from_le_bytes(bytes(b))),
            DType::UINT32 => |b| i64::from(u32::from_le_bytes(bytes(b))),
            DType::INT64 => |b| i64::from_le_bytes(bytes(b)),
            _ => return None,
        };
        Some(self.data.chunks_exact(self.dtype.size()).map(read))
    }

    /// [`Self::i64s`] in a vector: for few elements, for it asks nobody for its memory.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        Some(self.i64s()?.collect())
    }

    /// The elements of a float32 constant; `None` for other types.
    pub fn f32s(&self) -> Option<impl Iterator<Item = f32>> {
        let read = |c: &[u8]| f32::from_le_bytes(c.try_into().expect("4 bytes"));
        (self.dtype == DType::FLOAT).then(|| self.data.chunks_exact(4).map(read))
    }

    /// [`Self::f32s`] in a vector: for few elements, for it asks nobody for its memory.
    pub fn to_f32s(&self) -> Option<Vec<f32>> {
        Some(self.f32s()?.collect())
    }
}

/// Writes the values of a typed field into `to`, as far as it has room; gives how many bytes they have. `None`: no such field is known.
fn typed_values(dtype: DType, p: &tf::TensorProto, to: &mut Vec<u8>) -> Option<usize> {
    fn put<T: Copy, const N: usize>(to: &mut Vec<u8>, values: &[T], f: impl Fn(T) -> [u8; N]) -> usize {
        let room = (to.capacity() - to.len()) / N;
        values.iter().take(room).for_each(|&value| to.extend_from_slice(&f(value)));
        values.len() * N
    }
    Some(match dtype {
        DType::FLOAT => put(to, &p.float_val, f32::to_le_bytes),
        DType::DOUBLE => put(to, &p.double_val, f64::to_le_bytes),
        DType::INT32 => put(to, &p.int_val, i32::to_le_bytes),
        DType::INT64 => put(to, &p.int64_val, i64::to_le_bytes),
        DType::BOOL => put(to, &p.bool_val, |v| [u8::from(v)]),
        DType::INT8 | DType::UINT8 => put(to, &p.int_val, |v| [v as u8]),
        DType::INT16 | DType::UINT16 => put(to, &p.int_val, |v| (v as u16).to_le_bytes()),
        DType::HALF | DType::BFLOAT16 => put(to, &p.half_val, |v| (v as u16).to_le_bytes()),
        DType::UINT32 => put(to, &p.uint32_val, u32::to_le_bytes),
        DType::UINT64 => put(to, &p.uint64_val, u64::to_le_bytes),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proto(dtype: DType, dims: &[i64]) -> tf::TensorProto {
        tf::TensorProto {
            dtype: dtype.0,
            tensor_shape: Some(crate::graph::PartialShape::from_dims(dims).to_proto()),
            ..Default::default()
        }
    }

    #[test]
    fn the_last_value_given_fills_the_rest() {
        let mut p = proto(DType::INT32, &[2, 2]);
        p.int_val = vec![7, 9];
        assert_eq!(Constant::from_proto(&p).unwrap().to_i64s().unwrap(), [7, 9, 9, 9]);
    }

    #[test]
    fn no_value_at_all_is_zeros_and_an_empty_tensor_is_empty() {
        assert_eq!(
            Constant::from_proto(&proto(DType::FLOAT, &[3])).unwrap().to_f32s().unwrap(),
            [0.0; 3]
        );
        assert!(Constant::from_proto(&proto(DType::FLOAT, &[0, 5])).unwrap().is_empty());
    }

    #[test]
    fn content_of_the_wrong_length_is_refused() {
        let mut p = proto(DType::FLOAT, &[2]);
        p.tensor_content = Bytes::from_static(&[0; 4]);
        assert_eq!(Constant::from_proto(&p), Err(ConstantError::Size { held: 4, needed: 8 }));
    }

    #[test]
    fn strings_and_unknown_shapes_are_refused() {
        assert_eq!(
            Constant::from_proto(&proto(DType::STRING, &[1])),
            Err(ConstantError::Type(DType::STRING))
        );
        assert_eq!(Constant::from_proto(&proto(DType::FLOAT, &[-1])), Err(ConstantError::Shape));
    }
}
