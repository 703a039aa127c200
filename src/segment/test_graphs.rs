//! Small graphs for the tests of segmenter and optimizer.

use crate::convert::Reason;
use crate::graph::{DType, Graph, NodeId, PartialShape, TensorInfo};
use crate::proto::tensorflow as tf;
use std::collections::HashMap;

#[derive(Clone, Default, Debug)]
pub struct Builder {
    pub def: tf::GraphDef,
    pub shapes: HashMap<String, Vec<TensorInfo>>,
}

impl Builder {
    /// A node whose outputs have these types and sizes (-1: open).
    pub fn outputs(&mut self, name: &str, op: &str, inputs: &[&str], outputs: &[(DType, &[i64])]) -> &mut tf::NodeDef {
        let info = |&(dtype, dims): &(DType, &[i64])| TensorInfo {
            dtype,
            shape: PartialShape::from_dims(dims),
        };
        self.shapes.insert(name.into(), outputs.iter().map(info).collect());
        self.def.node.push(tf::NodeDef {
            name: name.into(),
            op: op.into(),
            input: inputs.iter().map(|input| input.to_string()).collect(),
            ..Default::default()
        });
        self.def.node.last_mut().expect("just pushed")
    }

    /// A node with one output of that type and shape [8, 4].
    pub fn typed(&mut self, dtype: DType, name: &str, op: &str, inputs: &[&str]) -> &mut tf::NodeDef {
        self.outputs(name, op, inputs, &[(dtype, &[8, 4])])
    }

    /// A node with one float32 output of shape [8, 4].
    pub fn add(&mut self, name: &str, op: &str, inputs: &[&str]) -> &mut tf::NodeDef {
        self.typed(DType::FLOAT, name, op, inputs)
    }

    /// An `Enter` of the frame `frame`.
    pub fn enter(&mut self, name: &str, input: &str, frame: &str) {
        let node = self.add(name, "Enter", &[input]);
        let value = Some(tf::attr_value::Value::S(frame.as_bytes().to_vec().into()));
        node.attr.insert("frame_name".into(), tf::AttrValue { value });
    }

    pub fn graph(&self) -> Graph {
        Graph::new(self.def.clone(), self.shapes.clone()).expect("a graph")
    }
}

/// Takes all ops but placeholders and those whose type starts with "No".
pub fn supports(graph: &Graph, node: NodeId) -> Result<(), Reason> {
    match graph.nodes[node].op() {
        op if op.starts_with("No") || op == "Placeholder" => Err(format!("Op type {op} is not supported.")),
        _ => Ok(()),
    }
}
