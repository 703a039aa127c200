//! TensorFlow's element types, as far as a segment can hold them.

use crate::proto::{onnx, tensorflow as tf};
use std::fmt;

/// One of TensorFlow's element types (`tensorflow.DataType`, reference types reduced to their base).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DType(pub i32);

macro_rules! dtypes {
    ($($name:ident = $tf:ident, $text:literal, $size:literal, $onnx:expr;)*) => {
        impl DType {
            $(pub const $name: DType = DType(tf::DataType::$tf as i32);)*

            /// TensorFlow's Python name of the type ("float32").
            pub fn name(self) -> &'static str {
                match self { $(DType::$name => $text,)* _ => "unknown" }
            }

            /// Bytes of one element; 0 where elements have no fixed size (string, resource, variant).
            pub fn size(self) -> usize {
                match self { $(DType::$name => $size,)* _ => 0 }
            }

            /// The ONNX element type with the same values, if there is one.
            pub fn onnx(self) -> Option<onnx::tensor_proto::DataType> {
                match self { $(DType::$name => $onnx,)* _ => None }
            }
        }
    };
}

use onnx::tensor_proto::DataType as O;
dtypes! {
    FLOAT = DtFloat, "float32", 4, Some(O::Float);
    DOUBLE = DtDouble, "float64", 8, Some(O::Double);
    INT32 = DtInt32, "int32", 4, Some(O::Int32);
    UINT8 = DtUint8, "uint8", 1, Some(O::Uint8);
    INT16 = DtInt16, "int16", 2, Some(O::Int16);
    INT8 = DtInt8, "int8", 1, Some(O::Int8);
    STRING = DtString, "string", 0, None;
    COMPLEX64 = DtComplex64, "complex64", 8, None;
    INT64 = DtInt64, "int64", 8, Some(O::Int64);
    BOOL = DtBool, "bool", 1, Some(O::Bool);
    BFLOAT16 = DtBfloat16, "bfloat16", 2, Some(O::Bfloat16);
    UINT16 = DtUint16, "uint16", 2, Some(O::Uint16);
    COMPLEX128 = DtComplex128, "complex128", 16, None;
    HALF = DtHalf, "float16", 2, Some(O::Float16);
    RESOURCE = DtResource, "resource", 0, None;
    VARIANT = DtVariant, "variant", 0, None;
    UINT32 = DtUint32, "uint32", 4, Some(O::Uint32);
    UINT64 = DtUint64, "uint64", 8, Some(O::Uint64);
    INVALID = DtInvalid, "invalid", 0, None;
}

impl DType {
    /// From the number in a `type` attribute; reference types (`DT_FLOAT_REF`) become their base type.
    pub fn from_proto(number: i32) -> DType {
        DType(if number > 100 { number - 100 } else { number })
    }

    pub fn is_float(self) -> bool {
        matches!(self, DType::FLOAT | DType::DOUBLE | DType::HALF | DType::BFLOAT16)
    }

    pub fn is_integer(self) -> bool {
        matches!(
            self,
            DType::INT8 | DType::INT16 | DType::INT32 | DType::INT64 | DType::UINT8 | DType::UINT16 | DType::UINT32 | DType::UINT64
        )
    }
}

impl fmt::Debug for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "unknown" => write!(f, "DataType({})", self.0),
            name => f.write_str(name),
        }
    }
}
