//! The native segment's body: its fingerprint, and its way to ONNX.

use super::attrs::Attrs;
use crate::convert::{self, Model};
use crate::graph::{DType, Graph, PartialShape};
use crate::optimizer::{INPUT_PREFIX, OUTPUT_PREFIX};
use crate::proto::tensorflow as tf;
use crate::tf::infer_shapes;
use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use tf::attr_value::{ListValue, Value};

/// Constants longer than this enter the fingerprint by their checksum: hashing hundreds of megabytes at every load
/// would cost more than reading them.
const HASHED_WHOLE: usize = 4096;

pub struct Segment {
    graph: tf::GraphDef,
}

impl Segment {
    /// Reads the serialized body of a segment function.
    pub fn read(body: Vec<u8>) -> Result<Segment, String> {
        let mut graph = tf::GraphDef::decode(Bytes::from(body)).map_err(|e| format!("the native segment cannot be read: {e}"))?;
        name_borders(&mut graph);
        Ok(Segment { graph })
    }

    /// Identifies what the segment computes, whichever process reads it: ops, names, edges, attributes and weights;
    /// not the devices that it was placed on.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut nodes: Vec<&tf::NodeDef> = self.graph.node.iter().collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let mut hash = Sha256::new();
        let mut text = |s: &str| {
            hash.update((s.len() as u64).to_le_bytes());
            hash.update(s.as_bytes());
        };
        let mut attrs = Vec::new();
        for node in nodes {
            text(&node.name);
            text(&node.op);
            for input in &node.input {
                text(input);
            }
            // Attributes whose names begin with '_' are hints of TensorFlow's own passes, and differ from load to load.
            for (name, value) in node.attr.iter().filter(|(name, _)| !name.starts_with('_')) {
                attrs.extend_from_slice(name.as_bytes());
                match &value.value {
                    Some(Value::Tensor(tensor)) if tensor.tensor_content.len() > HASHED_WHOLE => {
                        attrs.extend_from_slice(&tensor.dtype.to_le_bytes());
                        attrs.extend_from_slice(&tensor.tensor_shape.as_ref().map(|s| s.encode_to_vec()).unwrap_or_default());
                        attrs.extend_from_slice(&crc32c::crc32c(&tensor.tensor_content).to_le_bytes());
                    }
                    _ => attrs.extend_from_slice(&value.encode_to_vec()),
                }
            }
        }
        hash.update(&attrs);
        hash.finalize().into()
    }

    /// Converts the segment for calls of the given shapes: what the node's attributes leave open stays open, and where
    /// they say nothing the call gives the ranks (implicit batch: all sizes but the batch).
    pub fn convert(mut self, attrs: &Attrs, actual: &[Vec<i64>]) -> Result<Model, String> {
        let shapes = argument_shapes(attrs, actual);
        for node in self.graph.node.iter_mut().filter(|n| n.op == "_Arg") {
            let index = int_attr(node, "index")
                .and_then(|i| usize::try_from(i).ok())
                .ok_or_else(|| format!("argument '{}' has no index", node.name))?;
            let shape = shapes
                .get(index)
                .ok_or_else(|| format!("argument '{}' has index {index}, the node has {} inputs", node.name, shapes.len()))?;
            let list = ListValue {
                shape: vec![shape.to_proto()],
                ..Default::default()
            };
            node.attr.insert(
                "_output_shapes".into(),
                tf::AttrValue {
                    value: Some(Value::List(list)),
                },
            );
        }
        let inferred = infer_shapes(&self.graph.encode_to_vec()).map_err(|e| format!("shapes cannot be inferred: {e}"))?;
        let mut graph = Graph::new(self.graph, inferred).map_err(|e| e.to_string())?;
        for node in graph.nodes.iter_mut().filter(|n| n.op() == "_Arg" && n.outputs.is_empty()) {
            let index = node.attr_i("index").unwrap_or(0) as usize;
            let dtype = node.attr_type("T").unwrap_or(DType::INVALID);
            node.outputs = vec![crate::graph::TensorInfo {
                dtype,
                shape: shapes[index].clone(),
            }];
        }
        let model = convert::convert(&attrs.node, &graph).map_err(|e| e.to_string())?;
        for (i, binding) in model.inputs.iter().enumerate() {
            if attrs.input_types.get(i) != Some(&binding.dtype) {
                return Err(format!(
                    "input {i} of the segment is {}, the node says {:?}",
                    binding.dtype,
                    attrs.input_types.get(i)
                ));
            }
        }
        Ok(model)
    }
}

/// Gives the segment's arguments and results their TF-TRT names: a FunctionDef holds them in lower case.
fn name_borders(graph: &mut tf::GraphDef) {
    let mut renamed = HashMap::new();
    for node in &mut graph.node {
        let prefix = match node.op.as_str() {
            "_Arg" => INPUT_PREFIX,
            "_Retval" => OUTPUT_PREFIX,
            _ => continue,
        };
        if let Some(index) = int_attr(node, "index") {
            let name = format!("{prefix}{index}");
            renamed.insert(std::mem::replace(&mut node.name, name.clone()), name);
        }
    }
    for input in graph.node.iter_mut().flat_map(|node| &mut node.input) {
        // An argument has one output: it is always taken as "name" or "name:0", or waited for as "^name".
        let (control, name) = input.strip_prefix('^').map_or(("", input.as_str()), |name| ("^", name));
        if let Some(new) = renamed.get(name.strip_suffix(":0").unwrap_or(name)) {
            *input = format!("{control}{new}");
        }
    }
}

fn int_attr(node: &tf::NodeDef, name: &str) -> Option<i64> {
    match node.attr.get(name)?.value.as_ref()? {
        Value::I(i) => Some(*i),
        _ => None,
    }
}

fn argument_shapes(attrs: &Attrs, actual: &[Vec<i64>]) -> Vec<PartialShape> {
    actual
        .iter()
        .enumerate()
        .map(|(i, actual)| {
            let known = attrs.input_shapes.get(i).cloned().unwrap_or_default();
            let mut dims = known.0.unwrap_or_else(|| vec![None; actual.len()]);
            if attrs.implicit_batch {
                for (dim, size) in dims.iter_mut().zip(actual).skip(1) {
                    *dim = Some(*size);
                }
                if let Some(batch) = dims.first_mut() {
                    *batch = None;
                }
            }
            PartialShape(Some(dims))
        })
        .collect()
}
