//! Large constants, taken out of their graph for the way over the bridge.
//!
//! TensorFlow copies a message whole wherever it passes one on, and so does a message that is serialized and parsed: a
//! graph with its weights would be copied several times for what is read off its other parts. So `Const` nodes leave
//! their large contents behind and get a mark, the place of the content in a list.

use super::DType;
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
