//! What follows from known integers and booleans: how often a loop runs, and which element of a list it reads.

use crate::graph::{Constant, DType};
use crate::proto::tensorflow as tf;
use bytes::Bytes;
use tf::attr_value::Value;

/// The result of an op on scalars of integer or bool type, as far as they are known; booleans are 0 and 1. `dtype` is the
/// result's. `None`: it does not follow.
pub fn fold(op: &str, inputs: &[Option<i64>], dtype: DType) -> Option<i64> {
    let known = |i: usize| *inputs.get(i)?;
    let both = || Some((known(0)?, known(1)?));
    let compare = |holds: fn(&i64, &i64) -> bool| both().map(|(a, b)| i64::from(holds(&a, &b)));
    let value = match op {
        "Identity" => known(0)?,
        "Add" | "AddV2" => both().and_then(|(a, b)| a.checked_add(b))?,
        "Sub" => both().and_then(|(a, b)| a.checked_sub(b))?,
        "Mul" => both().and_then(|(a, b)| a.checked_mul(b))?,
        "Maximum" => both().map(|(a, b)| a.max(b))?,
        "Minimum" => both().map(|(a, b)| a.min(b))?,
        "Less" => compare(i64::lt)?,
        "LessEqual" => compare(i64::le)?,
        "Greater" => compare(i64::gt)?,
        "GreaterEqual" => compare(i64::ge)?,
        "Equal" => compare(i64::eq)?,
        "NotEqual" => compare(i64::ne)?,
        "LogicalNot" => 1 - known(0)?,
        // One that is false decides, whatever the other is.
        "LogicalAnd" => match (known(0), known(1)) {
            (Some(0), _) | (_, Some(0)) => 0,
            (Some(_), Some(_)) => 1,
            _ => return None,
        },
        "LogicalOr" => match (known(0), known(1)) {
            (Some(1), _) | (_, Some(1)) => 1,
            (Some(_), Some(_)) => 0,
            _ => return None,
        },
        _ => return None,
    };
    // What would wrap around is left to TensorFlow.
    (dtype != DType::INT32 || i32::try_from(value).is_ok()).then_some(value)
}

/// Whether scalars of this type are followed.
pub fn is_followed(dtype: DType) -> bool {
    matches!(dtype, DType::INT32 | DType::INT64 | DType::BOOL)
}

/// The value of a scalar that is followed.
pub fn scalar(constant: &Constant) -> Option<i64> {
    if !constant.dims.is_empty() || !is_followed(constant.dtype) {
        return None;
    }
    constant.to_i64s()?.first().copied()
}

/// A `Const` node that holds such a scalar.
pub fn node(name: &str, dtype: DType, value: i64) -> tf::NodeDef {
    let content = match dtype {
        DType::INT64 => value.to_le_bytes().to_vec(),
        DType::INT32 => (value as i32).to_le_bytes().to_vec(),
        _ => vec![u8::from(value != 0)],
    };
    let tensor = tf::TensorProto {
        dtype: dtype.0,
        tensor_shape: Some(tf::TensorShapeProto::default()),
        tensor_content: Bytes::from(content),
        ..Default::default()
    };
    let attr = |value| tf::AttrValue { value: Some(value) };
    tf::NodeDef {
        name: name.into(),
        op: "Const".into(),
        attr: [
            ("dtype".to_string(), attr(Value::Type(dtype.0))),
            ("value".to_string(), attr(Value::Tensor(tensor))),
        ]
        .into(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_and_what_does_not() {
        let int = |op, a, b| fold(op, &[a, b], DType::INT32);
        assert_eq!(int("AddV2", Some(2), Some(3)), Some(5));
        assert_eq!(int("AddV2", Some(2), None), None);
        assert_eq!(int("AddV2", Some(i64::from(i32::MAX)), Some(1)), None, "int32 would wrap around");
        assert_eq!(fold("AddV2", &[Some(i64::from(i32::MAX)), Some(1)], DType::INT64), Some(1 << 31));
        assert_eq!(fold("AddV2", &[Some(i64::MAX), Some(1)], DType::INT64), None);
        assert_eq!(fold("Less", &[Some(4), Some(5)], DType::BOOL), Some(1));
        assert_eq!(fold("LogicalAnd", &[None, Some(0)], DType::BOOL), Some(0));
        assert_eq!(fold("LogicalAnd", &[None, Some(1)], DType::BOOL), None);
        assert_eq!(fold("LogicalOr", &[Some(1), None], DType::BOOL), Some(1));
        assert_eq!(fold("RandomUniformInt", &[Some(1), Some(2)], DType::INT32), None);
    }

    #[test]
    fn a_constant_holds_what_it_was_made_of() {
        for (dtype, value) in [(DType::INT32, -7), (DType::INT64, 1 << 40), (DType::BOOL, 1)] {
            let made = node("c", dtype, value);
            let Some(Value::Tensor(tensor)) = &made.attr["value"].value else {
                panic!("a tensor")
            };
            let constant = Constant::from_proto(tensor).unwrap();
            assert_eq!((scalar(&constant), constant.dtype), (Some(value), dtype));
        }
    }
}
