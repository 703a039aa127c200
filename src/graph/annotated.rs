//! Types and shapes of outputs that a GraphDef carries with it.

use super::{DType, PartialShape, TensorInfo};
use crate::proto::tensorflow::{
    self as tf,
    attr_value::{ListValue, Value},
};
use std::collections::HashMap;

/// Reads what every node says of its outputs in `_output_shapes` (written by `graph.as_graph_def(add_shapes=True)`) and
/// `_output_types` (a list of types of the same length), in the form that [`super::Graph::new`] takes. Nodes without
/// both, or with lists of different lengths, are left out.
pub fn annotated_outputs(def: &tf::GraphDef) -> HashMap<String, Vec<TensorInfo>> {
    let list = |node: &tf::NodeDef, name: &str| match node.attr.get(name)?.value.as_ref()? {
        Value::List(list) => Some(list.clone()),
        _ => None,
    };
    def.node
        .iter()
        .filter_map(|node| {
            let shapes = list(node, "_output_shapes")?.shape;
            let types = list(node, "_output_types")?.r#type;
            let infos = shapes.iter().zip(&types).map(|(shape, &dtype)| TensorInfo {
                dtype: DType::from_proto(dtype),
                shape: PartialShape::from_proto(shape),
            });
            (shapes.len() == types.len()).then(|| (node.name.clone(), infos.collect()))
        })
        .collect()
}

/// `def` saying of its outputs what they are: [`annotated_outputs`] reads it back.
pub fn annotate(mut def: tf::NodeDef, outputs: &[TensorInfo]) -> tf::NodeDef {
    let list = |list| tf::AttrValue {
        value: Some(Value::List(list)),
    };
    let types = ListValue {
        r#type: outputs.iter().map(|info| info.dtype.0).collect(),
        ..Default::default()
    };
    let shapes = ListValue {
        shape: outputs.iter().map(|info| info.shape.to_proto()).collect(),
        ..Default::default()
    };
    def.attr.insert("_output_types".into(), list(types));
    def.attr.insert("_output_shapes".into(), list(shapes));
    def
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_shapes_are_paired() {
        let list = |list| tf::AttrValue {
            value: Some(Value::List(list)),
        };
        let mut node = tf::NodeDef {
            name: "a".into(),
            ..Default::default()
        };
        let shapes = tf::attr_value::ListValue {
            shape: vec![PartialShape::from_dims(&[-1, 3]).to_proto()],
            ..Default::default()
        };
        let types = tf::attr_value::ListValue {
            r#type: vec![DType::HALF.0],
            ..Default::default()
        };
        node.attr.insert("_output_shapes".into(), list(shapes));
        let mut def = tf::GraphDef {
            node: vec![node],
            ..Default::default()
        };
        assert!(annotated_outputs(&def).is_empty(), "shapes alone are not enough");
        def.node[0].attr.insert("_output_types".into(), list(types));
        let info = TensorInfo {
            dtype: DType::HALF,
            shape: PartialShape::from_dims(&[-1, 3]),
        };
        assert_eq!(annotated_outputs(&def)["a"], [info]);
    }
}
