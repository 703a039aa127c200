//! What tells a segment from others where the node has it no longer: models may be saved without their native segments.
//!
//! Beside the fingerprint, which a call takes of the function as TensorFlow has it by then, this is taken of the segment as it was cut.
//! The node carries it, plans that are built for the node carry it too (`op/engines.rs`), and the two are held against each other.

use crate::graph::inner;
use crate::memory::{self, NoMemory};
use crate::proto::tensorflow as tf;
use prost::Message;
use sha2::{Digest, Sha256};
use tf::attr_value::Value;

/// The SHA-256 of what a segment computes: ops, names, edges, attributes and weights; not devices, nor hints of TensorFlow's.
///
/// # Errors
/// There is no memory for an attribute's bytes.
pub fn of(body: &tf::GraphDef) -> Result<String, NoMemory> {
    let mut hash = Sha256::new();
    for node in &body.node {
        text(&mut hash, &node.name);
        text(&mut hash, &node.op);
        number(&mut hash, node.input.len());
        node.input.iter().for_each(|input| text(&mut hash, input));
        // Names of functions number the engines of a process; what they run stands in the graphs inside the node.
        let functions = match node.attr.contains_key(inner::GRAPHS) {
            true => inner::functions_of(&node.op).unwrap_or_default(),
            false => &[],
        };
        for (name, value) in &node.attr {
            let hint = name.starts_with('_') && name != inner::GRAPHS && name != inner::VARIABLES;
            if hint || functions.contains(&name.as_str()) {
                continue;
            }
            text(&mut hash, name);
            match &value.value {
                Some(Value::Tensor(tensor)) if !tensor.tensor_content.is_empty() => weights(&mut hash, tensor),
                _ => bytes(&mut hash, &memory::encode("a node's attribute", value)?),
            }
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A tensor's contents may be large: they are not copied.
fn weights(hash: &mut Sha256, tensor: &tf::TensorProto) {
    hash.update(tensor.dtype.to_le_bytes());
    let shape = tensor.tensor_shape.as_ref().map(Message::encode_to_vec).unwrap_or_default();
    bytes(hash, &shape);
    bytes(hash, &tensor.tensor_content);
}

fn text(hash: &mut Sha256, text: &str) {
    bytes(hash, text.as_bytes());
}

fn bytes(hash: &mut Sha256, bytes: &[u8]) {
    number(hash, bytes.len());
    hash.update(bytes);
}

fn number(hash: &mut Sha256, number: usize) {
    hash.update((number as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::native_segment::attr;

    fn body(weight: u8) -> tf::GraphDef {
        let tensor = tf::TensorProto {
            dtype: 1,
            tensor_content: vec![weight; 8].into(),
            ..Default::default()
        };
        let constant = tf::NodeDef {
            name: "w".into(),
            op: "Const".into(),
            attr: [("value".to_string(), attr(Value::Tensor(tensor)))].into(),
            ..Default::default()
        };
        let product = tf::NodeDef {
            name: "y".into(),
            op: "MatMul".into(),
            input: vec!["x".into(), "w".into()],
            ..Default::default()
        };
        tf::GraphDef {
            node: vec![constant, product],
            ..Default::default()
        }
    }

    #[test]
    fn what_computes_other_numbers_has_another_hash() {
        let changed = |change: &dyn Fn(&mut tf::GraphDef)| {
            let mut body = body(1);
            change(&mut body);
            of(&body).unwrap()
        };
        let hashes = [
            of(&body(1)).unwrap(),
            of(&body(2)).unwrap(),
            changed(&|body| body.node[1].input.swap(0, 1)),
            changed(&|body| body.node[1].op = "Mul".into()),
            changed(&|body| drop(body.node[1].attr.insert("transpose_a".into(), attr(Value::B(true))))),
        ];
        for (i, one) in hashes.iter().enumerate() {
            assert_eq!(one.len(), 64);
            assert!(!hashes[..i].contains(one), "change {i} is not seen");
        }
    }

    #[test]
    fn devices_and_hints_change_nothing() {
        let mut other = body(1);
        other.node[1].device = "/device:GPU:0".into();
        other.node[1].attr.insert("_hint".into(), attr(Value::I(3)));
        assert_eq!(of(&other), of(&body(1)));
    }
}
