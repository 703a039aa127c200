//! The nodes that stand for lists and their ops.

use crate::graph::native_segment::attr;
use crate::graph::{Constant, DType, NewNode, PartialShape, TensorInfo};
use crate::proto::tensorflow as tf;
use tf::attr_value::Value;

/// A node of one output.
pub fn node(name: &str, op: &str, input: Vec<String>, attrs: Vec<(&str, Value)>, info: TensorInfo) -> NewNode {
    let def = tf::NodeDef {
        name: name.into(),
        op: op.into(),
        input,
        attr: attrs.into_iter().map(|(name, value)| (name.to_string(), attr(value))).collect(),
        ..Default::default()
    };
    (def, vec![info])
}

/// What is known of a tensor of `dims`.
pub fn info(dtype: DType, dims: Vec<Option<i64>>) -> TensorInfo {
    TensorInfo {
        dtype,
        shape: PartialShape(Some(dims)),
    }
}

/// A constant of int32.
pub fn ints(name: &str, values: &[i32], dims: &[i64]) -> NewNode {
    let value = Constant {
        dtype: DType::INT32,
        dims: dims.to_vec(),
        data: values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into(),
    };
    constant(name, &value)
}

/// A `Const` node.
pub fn constant(name: &str, value: &Constant) -> NewNode {
    let tensor = tf::TensorProto {
        dtype: value.dtype.0,
        tensor_shape: Some(PartialShape::from_dims(&value.dims).to_proto()),
        tensor_content: value.data.clone(),
        ..Default::default()
    };
    let attrs = vec![("dtype", Value::Type(value.dtype.0)), ("value", Value::Tensor(tensor))];
    let dims = value.dims.iter().copied().map(Some).collect();
    node(name, "Const", Vec::new(), attrs, info(value.dtype, dims))
}

/// The attribute of a type.
pub fn dtype(dtype: DType) -> Value {
    Value::Type(dtype.0)
}

/// A `GatherV2` of the element `at` of `from`, which has the type `params`; `axis` is a constant zero.
pub fn gather(name: &str, params: DType, from: &str, at: &str, axis: &str, element: TensorInfo) -> NewNode {
    let attrs = vec![
        ("Tparams", dtype(params)),
        ("Tindices", dtype(DType::INT32)),
        ("Taxis", dtype(DType::INT32)),
        ("batch_dims", Value::I(0)),
    ];
    node(name, "GatherV2", vec![from.into(), at.into(), axis.into()], attrs, element)
}
