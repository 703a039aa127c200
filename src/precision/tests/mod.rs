//! The rewrite on small graphs: each rule, and what has to hold for every graph.

mod borders;
mod choice;
mod random;

use super::{Half, Summary, keep, rewrite};
use crate::proto::onnx;
use crate::proto::onnx::attribute_proto::AttributeType;
use crate::proto::onnx::tensor_proto::DataType;
use std::collections::{HashMap, HashSet};

const FLOAT: i32 = DataType::Float as i32;
const FLOAT16: i32 = DataType::Float16 as i32;

/// A graph that is being written: the input `x` of [4, 4], and what is added.
#[derive(Debug, Default, Clone)]
struct Graph {
    nodes: Vec<onnx::NodeProto>,
    constants: Vec<onnx::TensorProto>,
}

impl Graph {
    fn node(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, i64)]) -> String {
        let name = format!("{op}{}", self.nodes.len());
        self.nodes.push(onnx::NodeProto {
            op_type: Some(op.to_string()),
            name: Some(name.clone()),
            input: inputs.iter().map(|s| s.to_string()).collect(),
            output: vec![name.clone()],
            attribute: attributes.iter().map(|(name, value)| integer(name, *value)).collect(),
            ..Default::default()
        });
        name
    }

    fn op(&mut self, op: &str, inputs: &[&str]) -> String {
        self.node(op, inputs, &[])
    }

    fn constant(&mut self, dims: &[i64], values: &[f32]) -> String {
        let name = format!("c{}", self.constants.len());
        self.constants.push(onnx::TensorProto {
            dims: dims.to_vec(),
            data_type: Some(FLOAT),
            name: Some(name.clone()),
            raw_data: Some(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into()),
            ..Default::default()
        });
        name
    }

    fn scalar(&mut self, value: f32) -> String {
        self.constant(&[], &[value])
    }

    /// `x` times a matrix of halves.
    fn product(&mut self, x: &str) -> String {
        let weight = self.constant(&[4, 4], &[0.5; 16]);
        self.op("MatMul", &[x, &weight])
    }

    fn mean(&mut self, x: &str) -> String {
        self.op("ReduceMean", &[x])
    }

    /// x - mean, its square's mean, epsilon, root, reciprocal, scale and offset: as the converter writes a layer norm.
    fn layer_norm(&mut self, x: &str) -> String {
        let mean = self.mean(x);
        let difference = self.op("Sub", &[x, &mean]);
        let square = self.op("Mul", &[&difference, &difference]);
        let variance = self.mean(&square);
        let epsilon = self.scalar(1e-12);
        let sum = self.op("Add", &[&variance, &epsilon]);
        let root = self.op("Sqrt", &[&sum]);
        let reciprocal = self.op("Reciprocal", &[&root]);
        let normal = self.op("Mul", &[&difference, &reciprocal]);
        let (scale, offset) = (self.constant(&[4], &[1.0; 4]), self.constant(&[4], &[0.25; 4]));
        let scaled = self.op("Mul", &[&normal, &scale]);
        self.op("Add", &[&scaled, &offset])
    }

    fn model(self, outputs: &[(&str, i32)]) -> onnx::ModelProto {
        onnx::ModelProto {
            opset_import: vec![onnx::OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(17),
            }],
            graph: Some(onnx::GraphProto {
                node: self.nodes,
                initializer: self.constants,
                input: vec![info("x", FLOAT), info("mask", DataType::Int32 as i32)],
                output: outputs.iter().map(|(name, dtype)| info(name, *dtype)).collect(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn rewritten(self, output: &str, to: Half) -> (onnx::ModelProto, Summary) {
        let (model, summary) = rewrite(self.model(&[(output, FLOAT)]), to).unwrap();
        Types::check(&model, to);
        (model, summary)
    }
}

fn integer(name: &str, value: i64) -> onnx::AttributeProto {
    onnx::AttributeProto {
        name: Some(name.to_string()),
        i: Some(value),
        r#type: Some(AttributeType::Int as i32),
        ..Default::default()
    }
}

fn info(name: &str, dtype: i32) -> onnx::ValueInfoProto {
    onnx::ValueInfoProto {
        name: Some(name.to_string()),
        r#type: Some(onnx::TypeProto {
            value: Some(onnx::type_proto::Value::TensorType(onnx::type_proto::Tensor {
                elem_type: Some(dtype),
                shape: None,
            })),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A type checker of its own, over the ops that these tests use.
struct Types<'m>(HashMap<&'m str, i32>);

impl<'m> Types<'m> {
    fn check(model: &'m onnx::ModelProto, to: Half) -> Self {
        let graph = model.graph.as_ref().unwrap();
        let mut types = HashMap::new();
        let mut casts = HashSet::new();
        for input in &graph.input {
            types.insert(input.name(), elem_type(input));
        }
        for constant in &graph.initializer {
            assert!(
                types.insert(constant.name(), constant.data_type()).is_none(),
                "{} twice",
                constant.name()
            );
        }
        for node in &graph.node {
            let taken: Vec<i32> = node.input.iter().map(|name| types[name.as_str()]).collect();
            let alike = |from: usize| {
                assert!(taken[from..].iter().all(|t| *t == taken[from]), "{} mixes {taken:?}", node.name());
                taken[from]
            };
            let given = match node.op_type() {
                "Cast" => {
                    let wanted = node.attribute[0].i() as i32;
                    if wanted != DataType::Bool as i32 {
                        assert_ne!(wanted, taken[0], "{} casts to what it has", node.name());
                    }
                    // Casts of the model itself, to FP16 in a model that goes to BF16, are its own affair, also from BF16.
                    let first = casts.insert((&node.input[0], wanted));
                    let pair = [taken[0], wanted];
                    let ours = pair.contains(&FLOAT) && pair.contains(&to.data_type());
                    assert!(first || !ours, "{} casts again", node.name());
                    wanted
                }
                "Greater" => {
                    alike(0);
                    DataType::Bool as i32
                }
                "Where" => alike(1),
                "IsInf" => {
                    assert_eq!(alike(0), FLOAT);
                    DataType::Bool as i32
                }
                "BatchNormalization" => {
                    assert!(taken[1..].iter().all(|t| *t == FLOAT));
                    taken[0]
                }
                op => {
                    let dtype = alike(0);
                    if dtype == to.data_type() {
                        assert!(keep::rule(op).unwrap().admits.has(to), "{op} in {}", to.name());
                    }
                    dtype
                }
            };
            for output in &node.output {
                assert!(types.insert(output, given).is_none(), "{output} twice");
            }
        }
        for output in &graph.output {
            assert_eq!(types[output.name()], elem_type(output), "output {}", output.name());
        }
        Types(types)
    }
}

/// Whether the node that gives `name` gives it in FP16.
fn in_half(model: &onnx::ModelProto, name: &str) -> bool {
    let graph = model.graph.as_ref().unwrap();
    let maker = graph.node.iter().find(|n| n.name() == name).unwrap();
    maker.output[0] == format!("{name}/float16")
}

fn elem_type(info: &onnx::ValueInfoProto) -> i32 {
    match info.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(onnx::type_proto::Value::TensorType(tensor)) => tensor.elem_type(),
        _ => 0,
    }
}

fn weight<'m>(model: &'m onnx::ModelProto, name: &str) -> Option<&'m onnx::TensorProto> {
    model.graph.as_ref()?.initializer.iter().find(|t| t.name() == name)
}
