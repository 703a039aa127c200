//! Writes ONNX nodes and initializers, and gives every tensor a name of its own.

use super::{carried, value};
use crate::graph::{Constant, DType, PartialShape};
use crate::proto::{onnx, takes};
use prost::Message;
use std::collections::{HashMap, HashSet};

/// TensorRT 8.6's parser, TensorRT-RTX's and ONNX Runtime all read it.
pub const OPSET: i64 = 17;
/// The version of ONNX's file format that belongs to [`OPSET`].
const IR_VERSION: i64 = 8;

/// An attribute of an ONNX node.
pub enum Attr<'a> {
    I(i64),
    F(f32),
    S(&'a str),
    Ints(&'a [i64]),
    Strings(&'a [&'a str]),
    Graph(Box<onnx::GraphProto>),
}

/// What a builder had when it began on a graph inside a node.
pub struct Outer {
    nodes: Vec<onnx::NodeProto>,
    made: HashMap<(String, Vec<String>, Vec<u8>), Vec<String>>,
}

#[derive(Default)]
pub struct Builder {
    nodes: Vec<onnx::NodeProto>,
    initializers: Vec<onnx::TensorProto>,
    inputs: Vec<onnx::ValueInfoProto>,
    /// Each with the tensor that it is.
    outputs: Vec<(onnx::ValueInfoProto, String)>,
    names: HashSet<String>,
    /// How often a base name was given out, so that numbering does not start over each time.
    counts: HashMap<String, usize>,
    /// Small int64 vectors by content: axes and the like repeat all over a graph.
    vectors: HashMap<(bool, Vec<i64>), String>,
    /// Outputs of the nodes so far, by op, inputs and attributes: shape arithmetic repeats all over a model, and a node that
    /// is there already need not be made again.
    made: HashMap<(String, Vec<String>, Vec<u8>), Vec<String>>,
    /// The TensorFlow node that is being converted: new names begin with it.
    pub scope: String,
    /// Whether a tensor is rounded to bfloat16.
    pub bfloat16: bool,
    /// The TensorFlow node that looks at int64 numbers which int32 may not hold.
    pub int64: Option<String>,
    /// The TensorFlow node that adds up integers whose sums float32 may not hold.
    pub wide_sum: Option<String>,
}

impl Builder {
    pub fn fresh(&mut self, what: &str) -> String {
        let base = format!("{}/{what}", self.scope);
        let count = self.counts.entry(base.clone()).or_default();
        loop {
            let name = if *count == 0 { base.clone() } else { format!("{base}_{count}") };
            *count += 1;
            if self.names.insert(name.clone()) {
                return name;
            }
        }
    }

    /// Appends a node with one output; gives the output's name. An empty input name leaves an optional input out.
    pub fn emit(&mut self, op: &str, inputs: &[&str], attrs: &[(&str, Attr)]) -> String {
        self.emit_many(op, inputs, 1, attrs).remove(0)
    }

    /// Appends a node with `outputs` outputs; gives their names. Of a node that exists already, gives the names it has.
    pub fn emit_many(&mut self, op: &str, inputs: &[&str], outputs: usize, attrs: &[(&str, Attr)]) -> Vec<String> {
        let inputs: Vec<String> = inputs.iter().map(|s| s.to_string()).collect();
        let attrs: Vec<onnx::AttributeProto> = attrs.iter().map(|(name, value)| attribute(name, value)).collect();
        let written = attrs.iter().flat_map(|a| a.encode_length_delimited_to_vec()).collect();
        let key = (op.to_string(), inputs.clone(), written);
        if let Some(names) = self.made.get(&key).filter(|names| names.len() == outputs) {
            return names.clone();
        }
        let name = self.fresh(op);
        let output: Vec<String> = match outputs {
            1 => vec![name.clone()],
            _ => (0..outputs).map(|i| self.fresh(&format!("{op}:{i}"))).collect(),
        };
        self.nodes.push(onnx::NodeProto {
            input: inputs,
            output: output.clone(),
            name: Some(name),
            op_type: Some(op.to_string()),
            attribute: attrs,
            ..Default::default()
        });
        self.made.insert(key, output.clone());
        output
    }

    /// Appends an initializer, in the type in which engines hold the constant's; of that type it shares the bytes.
    pub fn initializer(&mut self, constant: &Constant) -> Result<String, String> {
        self.initializer_as_it_is(&carried::constant(constant)?)
    }

    /// Appends an initializer of the constant's own type.
    pub fn initializer_as_it_is(&mut self, constant: &Constant) -> Result<String, String> {
        let data_type = constant
            .dtype
            .onnx()
            .ok_or_else(|| format!("ONNX has no element type {}", constant.dtype))?;
        let name = self.fresh("const");
        self.initializers.push(onnx::TensorProto {
            dims: constant.dims.clone(),
            data_type: Some(data_type as i32),
            name: Some(name.clone()),
            raw_data: Some(constant.data.clone()),
            ..Default::default()
        });
        Ok(name)
    }

    /// The name of an int64 vector of these values.
    pub fn vector(&mut self, values: &[i64]) -> String {
        self.shared(true, values)
    }

    /// The name of an int64 scalar.
    pub fn index(&mut self, value: i64) -> String {
        self.shared(false, &[value])
    }

    fn shared(&mut self, vector: bool, values: &[i64]) -> String {
        let key = (vector, values.to_vec());
        if let Some(name) = self.vectors.get(&key) {
            return name.clone();
        }
        let mut constant = Constant::from_i64s(values);
        if !vector {
            constant.dims.clear();
        }
        let name = self.initializer(&constant).expect("ONNX has int64");
        self.vectors.insert(key, name.clone());
        name
    }

    /// The name of a scalar of type `dtype`.
    pub fn scalar(&mut self, dtype: DType, value: f64) -> Result<String, String> {
        let dtype = carried::held(dtype);
        let constant = value::scalar(dtype, value).ok_or_else(|| format!("no scalar of type {dtype} can be written"))?;
        self.initializer(&constant)
    }

    /// Begins a graph inside a node. What follows is part of it, up to [`Builder::leave`]; constants alone stay outside, where all see them.
    pub fn enter(&mut self) -> Outer {
        Outer {
            nodes: std::mem::take(&mut self.nodes),
            made: self.made.clone(),
        }
    }

    /// Ends the graph begun by [`Builder::enter`]: one that takes `inputs` and gives `outputs`, tensors of it or of the graph around.
    pub fn leave(&mut self, outer: Outer, name: &str, inputs: &[Declared], outputs: &[Declared]) -> Result<onnx::GraphProto, String> {
        let mut nodes = std::mem::replace(&mut self.nodes, outer.nodes);
        self.made = outer.made;
        let own: HashSet<String> = nodes.iter().flat_map(|node| node.output.iter().cloned()).collect();
        let mut given = HashSet::new();
        let mut declared = Vec::with_capacity(outputs.len());
        for output in outputs {
            // What comes from around, or is given already, is no output by itself.
            let mut source = output.name.clone();
            if !own.contains(&source) || !given.insert(source.clone()) {
                source = self.fresh("Identity");
                nodes.push(onnx::NodeProto {
                    input: vec![output.name.clone()],
                    output: vec![source.clone()],
                    name: Some(source.clone()),
                    op_type: Some("Identity".to_string()),
                    ..Default::default()
                });
            }
            declared.push(value_info(&source, output.dtype, &output.shape)?);
        }
        let needed = declared.iter().map(|info| info.name().to_string()).collect();
        retain_needed(&mut nodes, needed);
        Ok(onnx::GraphProto {
            name: Some(name.to_string()),
            node: nodes,
            input: inputs
                .iter()
                .map(|input| value_info(&input.name, input.dtype, &input.shape))
                .collect::<Result<_, _>>()?,
            output: declared,
            ..Default::default()
        })
    }

    /// Declares an input of the graph. Its open dimensions get names of their own: nothing says that they are equal to
    /// those of another input.
    pub fn input(&mut self, name: &str, dtype: DType, shape: &PartialShape) -> Result<(), String> {
        if !self.names.insert(name.to_string()) {
            return Err(format!("two inputs are named '{name}'"));
        }
        self.inputs.push(value_info(name, dtype, shape)?);
        Ok(())
    }

    /// Makes `source` the graph's output `name`.
    pub fn output(&mut self, name: &str, source: &str, dtype: DType, shape: &PartialShape) -> Result<(), String> {
        if !self.names.insert(name.to_string()) {
            return Err(format!("the name '{name}' is taken"));
        }
        self.outputs.push((value_info(name, dtype, shape)?, source.to_string()));
        Ok(())
    }

    /// Gives the outputs their names: what a node makes for one output is renamed; an input, a constant, or what is an
    /// output already, gets an Identity.
    fn name_outputs(&mut self) {
        let made: HashSet<String> = self.nodes.iter().flat_map(|n| n.output.iter().cloned()).collect();
        let mut renamed: HashMap<String, String> = HashMap::new();
        let mut identities = Vec::new();
        for (info, source) in &self.outputs {
            let name = info.name().to_string();
            if made.contains(source) && !renamed.contains_key(source) {
                renamed.insert(source.clone(), name);
            } else {
                identities.push(onnx::NodeProto {
                    input: vec![source.clone()],
                    output: vec![name.clone()],
                    name: Some(name),
                    op_type: Some("Identity".to_string()),
                    ..Default::default()
                });
            }
        }
        self.nodes.extend(identities);
        rename(&mut self.nodes, &renamed);
    }

    /// The model; nodes and initializers that no output needs are left out.
    pub fn finish(mut self, name: &str) -> onnx::ModelProto {
        self.name_outputs();
        let needed: HashSet<String> = self.outputs.iter().map(|(o, _)| o.name().to_string()).collect();
        let needed = retain_needed(&mut self.nodes, needed);
        self.initializers.retain(|i| needed.contains(i.name()));
        onnx::ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some(env!("CARGO_PKG_NAME").to_string()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_string()),
            opset_import: vec![onnx::OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(OPSET),
            }],
            graph: Some(onnx::GraphProto {
                name: Some(name.to_string()),
                node: self.nodes,
                initializer: self.initializers,
                input: self.inputs,
                output: self.outputs.into_iter().map(|(info, _)| info).collect(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

/// An input or output of a graph inside a node.
pub struct Declared {
    pub name: String,
    pub dtype: DType,
    pub shape: PartialShape,
}

/// Keeps the nodes that lead to the tensors `needed`; gives all that are needed then.
fn retain_needed(nodes: &mut Vec<onnx::NodeProto>, mut needed: HashSet<String>) -> HashSet<String> {
    let mut keep = vec![false; nodes.len()];
    // Nodes stand after what they take, so one way back sees every use before its source.
    for (node, keep) in nodes.iter().zip(&mut keep).rev() {
        if node.output.iter().any(|o| needed.contains(o)) {
            *keep = true;
            needed.extend(takes(node).into_iter().map(str::to_string));
        }
    }
    let mut keep = keep.into_iter();
    nodes.retain(|_| keep.next().unwrap_or(false));
    needed
}

fn rename(nodes: &mut [onnx::NodeProto], renamed: &HashMap<String, String>) {
    for node in nodes {
        for port in node.input.iter_mut().chain(&mut node.output) {
            if let Some(name) = renamed.get(port) {
                port.clone_from(name);
            }
        }
        for graph in node.attribute.iter_mut().flat_map(|a| a.g.iter_mut().chain(&mut a.graphs)) {
            rename(&mut graph.node, renamed);
        }
    }
}

fn attribute(name: &str, value: &Attr) -> onnx::AttributeProto {
    use onnx::attribute_proto::AttributeType;
    let mut proto = onnx::AttributeProto {
        name: Some(name.to_string()),
        ..Default::default()
    };
    let kind = match value {
        Attr::I(i) => {
            proto.i = Some(*i);
            AttributeType::Int
        }
        Attr::F(f) => {
            proto.f = Some(*f);
            AttributeType::Float
        }
        Attr::S(s) => {
            proto.s = Some(s.as_bytes().to_vec());
            AttributeType::String
        }
        Attr::Ints(v) => {
            proto.ints = v.to_vec();
            AttributeType::Ints
        }
        Attr::Strings(v) => {
            proto.strings = v.iter().map(|s| s.as_bytes().to_vec()).collect();
            AttributeType::Strings
        }
        Attr::Graph(graph) => {
            proto.g = Some((**graph).clone());
            AttributeType::Graph
        }
    };
    proto.r#type = Some(kind as i32);
    proto
}

fn value_info(name: &str, dtype: DType, shape: &PartialShape) -> Result<onnx::ValueInfoProto, String> {
    use onnx::tensor_shape_proto::{Dimension, dimension::Value};
    let elem_type = carried::held(dtype)
        .onnx()
        .ok_or_else(|| format!("ONNX has no element type {dtype}"))? as i32;
    let shape = shape.dims().map(|dims| onnx::TensorShapeProto {
        dim: dims
            .iter()
            .enumerate()
            .map(|(axis, size)| Dimension {
                value: Some(match size {
                    Some(size) => Value::DimValue(*size),
                    None => Value::DimParam(format!("{name}_{axis}")),
                }),
                ..Default::default()
            })
            .collect(),
    });
    Ok(onnx::ValueInfoProto {
        name: Some(name.to_string()),
        r#type: Some(onnx::TypeProto {
            value: Some(onnx::type_proto::Value::TensorType(onnx::type_proto::Tensor {
                elem_type: Some(elem_type),
                shape,
            })),
            ..Default::default()
        }),
        ..Default::default()
    })
}
