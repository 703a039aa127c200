//! Large constants, taken out of their graph for the way over the bridge.
//!
//! TensorFlow copies a message whole wherever it passes one on, and so does a message that is serialized and parsed: a
//! graph with its weights would be copied several times for what is read off its other parts. So `Const` nodes leave
//! their large contents behind and get a mark, the place of the content in a list.

use super::{Constant, ConstantError, DType};
use crate::memory::NoMemory;
use crate::proto::tensorflow as tf;
use bytes::Bytes;
use tf::attr_value::Value;

/// Contents of more bytes than this are large, but for those of integers: what is left out reads as zeros, and shapes may
/// follow from parts of an integer constant.
pub const LARGE: usize = 4096;

/// The attribute with a content's place. TensorFlow hands on what begins with '_' and looks at none of it.
pub const MARK: &str = "_tftrt_content";

/// The types that shapes are made of.
const SHAPES: [i32; 2] = [DType::INT32.0, DType::INT64.0];

fn content(node: &mut tf::NodeDef) -> Option<&mut Bytes> {
    match node.attr.get_mut("value")?.value.as_mut()? {
        Value::Tensor(tensor) if node.op == "Const" && !SHAPES.contains(&tensor.dtype) => Some(&mut tensor.tensor_content),
        _ => None,
    }
}

/// Turns the large constants whose values stand in a typed field into ones with contents, which are shared and not copied. TensorFlow's
/// constant folding writes such fields.
///
/// # Errors
/// There is no memory for a content.
pub fn make<'a>(nodes: impl IntoIterator<Item = &'a mut tf::NodeDef>) -> Result<(), NoMemory> {
    for node in nodes.into_iter().filter(|node| node.op == "Const") {
        let Some(Value::Tensor(tensor)) = node.attr.get_mut("value").and_then(|attr| attr.value.as_mut()) else {
            continue;
        };
        // A value that stands for many others stays one.
        let given = typed_bytes(tensor);
        let needed = tensor_elements(tensor).saturating_mul(DType::from_proto(tensor.dtype).size());
        if given <= LARGE || given.saturating_mul(2) < needed {
            continue;
        }
        match Constant::from_proto(tensor) {
            Ok(constant) => {
                *tensor = tf::TensorProto {
                    dtype: tensor.dtype,
                    tensor_shape: tensor.tensor_shape.take(),
                    version_number: tensor.version_number,
                    tensor_content: constant.data,
                    ..Default::default()
                }
            }
            Err(ConstantError::NoMemory(why)) => return Err(why),
            // What is wrong with it is said where it is read.
            Err(_) => {}
        }
    }
    Ok(())
}

/// The bytes of the elements that stand in a typed field.
fn typed_bytes(tensor: &tf::TensorProto) -> usize {
    let counts = [
        tensor.float_val.len(),
        tensor.double_val.len(),
        tensor.int_val.len(),
        tensor.int64_val.len(),
        tensor.bool_val.len(),
        tensor.half_val.len(),
        tensor.uint32_val.len(),
        tensor.uint64_val.len(),
    ];
    counts.into_iter().max().unwrap_or(0) * DType::from_proto(tensor.dtype).size()
}

/// How many elements its shape says it has.
fn tensor_elements(tensor: &tf::TensorProto) -> usize {
    let dims = tensor.tensor_shape.iter().flat_map(|shape| &shape.dim);
    let size = |size: i64| usize::try_from(size).unwrap_or(0);
    dims.fold(1, |count: usize, dim| count.saturating_mul(size(dim.size)))
}

/// The place of the content that this node left behind.
pub fn mark(node: &tf::NodeDef) -> Option<usize> {
    match node.attr.get(MARK)?.value.as_ref()? {
        Value::I(at) => usize::try_from(*at).ok(),
        _ => None,
    }
}

/// Takes the large contents out of the constants, which get their marks. Marks that were there before are gone.
pub fn take_out<'a>(nodes: impl IntoIterator<Item = &'a mut tf::NodeDef>) -> Vec<Bytes> {
    let mut taken = Vec::new();
    for node in nodes {
        node.attr.remove(MARK);
        let Some(content) = content(node).filter(|content| content.len() > LARGE) else {
            continue;
        };
        let at = Value::I(taken.len() as i64);
        taken.push(std::mem::take(content));
        node.attr.insert(MARK.into(), tf::AttrValue { value: Some(at) });
    }
    taken
}

/// Undoes [`take_out`], in whatever order the nodes have come back. Err: a node is marked that left nothing behind.
pub fn put_back(nodes: &mut [tf::NodeDef], contents: &[Bytes]) -> Result<(), String> {
    for node in nodes.iter_mut().filter(|node| node.attr.contains_key(MARK)) {
        let left = mark(node).and_then(|at| contents.get(at));
        match (left, content(node)) {
            (Some(left), Some(place)) => *place = left.clone(),
            _ => return Err(format!("the constant '{}' came back without its content", node.name)),
        }
        node.attr.remove(MARK);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constant(name: &str, content: &[u8]) -> tf::NodeDef {
        let tensor = tf::TensorProto {
            dtype: crate::graph::DType::UINT8.0,
            tensor_content: Bytes::copy_from_slice(content),
            ..Default::default()
        };
        tf::NodeDef {
            name: name.into(),
            op: "Const".into(),
            attr: [(
                "value".to_string(),
                tf::AttrValue {
                    value: Some(Value::Tensor(tensor)),
                },
            )]
            .into(),
            ..Default::default()
        }
    }

    #[test]
    fn large_contents_go_and_come_back_to_their_own_nodes() {
        let nodes = [
            constant("a", &[1; LARGE + 1]),
            constant("small", &[2; LARGE]),
            constant("b", &[3; LARGE + 2]),
        ];
        let mut taken = nodes.to_vec();
        let contents = take_out(&mut taken);
        assert_eq!(contents.iter().map(Bytes::len).collect::<Vec<_>>(), [LARGE + 1, LARGE + 2]);
        assert_eq!(taken.iter().map(mark).collect::<Vec<_>>(), [Some(0), None, Some(1)]);
        assert_eq!(taken[1], nodes[1]);
        taken.reverse();
        put_back(&mut taken, &contents).unwrap();
        taken.reverse();
        assert_eq!(taken, nodes);
    }

    #[test]
    fn large_values_of_a_typed_field_become_contents() {
        let typed = |values: usize, elements: i64| {
            let mut node = constant("a", &[]);
            let tensor = tf::TensorProto {
                dtype: DType::FLOAT.0,
                tensor_shape: Some(crate::graph::PartialShape::from_dims(&[elements]).to_proto()),
                float_val: (0..values).map(|value| value as f32).collect(),
                ..Default::default()
            };
            node.attr.get_mut("value").unwrap().value = Some(Value::Tensor(tensor));
            node
        };
        let mut nodes = [typed(2000, 2002), typed(1000, 1000), typed(2000, 100_000)];
        let before = nodes.clone();
        make(&mut nodes).unwrap();
        assert_eq!(
            nodes[1..],
            before[1..],
            "few values, and a value that stands for many, stay as they are"
        );
        let tensor = |node: &tf::NodeDef| match &node.attr["value"].value {
            Some(Value::Tensor(tensor)) => tensor.clone(),
            _ => unreachable!(),
        };
        let (was, is) = (tensor(&before[0]), tensor(&nodes[0]));
        assert_eq!((is.float_val.len(), is.tensor_content.len()), (0, 2002 * 4));
        assert_eq!(Constant::from_proto(&is), Constant::from_proto(&was));
    }

    #[test]
    fn a_mark_that_was_there_before_takes_nothing() {
        let mut stray = constant("stray", &[4; 2]);
        stray.attr.insert(MARK.into(), tf::AttrValue { value: Some(Value::I(0)) });
        let mut nodes = [stray.clone(), constant("a", &[1; LARGE + 1])];
        let contents = take_out(&mut nodes);
        assert_eq!(nodes.iter().map(mark).collect::<Vec<_>>(), [None, Some(0)]);
        put_back(&mut nodes, &contents).unwrap();
        assert_eq!(nodes[0], constant("stray", &[4; 2]));
        assert!(put_back(&mut [stray], &[]).unwrap_err().contains("'stray'"));
    }

    #[test]
    fn integers_stay_for_shapes_may_follow_from_them() {
        let mut shapes = constant("shapes", &[1; LARGE + 4]);
        if let Some(Value::Tensor(tensor)) = shapes.attr.get_mut("value").and_then(|value| value.value.as_mut()) {
            tensor.dtype = DType::INT32.0;
        }
        let mut nodes = [shapes.clone()];
        assert!(take_out(&mut nodes).is_empty());
        assert_eq!(nodes[0], shapes);
    }

    #[test]
    fn only_constants_are_looked_at() {
        let mut node = constant("x", &[1; LARGE + 1]);
        node.op = "Other".into();
        let mut nodes = [node.clone()];
        assert!(take_out(&mut nodes).is_empty());
        assert_eq!(nodes[0], node);
    }
}
