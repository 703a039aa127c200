//! A graph with its tensors resolved: who gives each, who takes it, and of which element type it is.

use super::keep::{self, Gives, Role, Rule};
use super::range::Loss;
use super::{Half, PrecisionError};
use crate::proto::onnx::tensor_proto::DataType;
use crate::proto::{graphs_of, onnx, takes};
use std::cell::OnceCell;
use std::collections::HashMap;

const FLOAT: i32 = DataType::Float as i32;
const UNKNOWN: i32 = DataType::Undefined as i32;

/// Where a tensor comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Input,
    /// The place among the initializers.
    Constant(usize),
    /// The place among the nodes.
    Node(usize),
}

pub struct Tensor<'a> {
    pub name: &'a str,
    /// As ONNX numbers them; 0 where it is not known.
    pub dtype: i32,
    pub source: Source,
    /// The name of the half tensor that this float32 tensor is a Cast of.
    pub widened: Option<&'a str>,
    /// Nodes that take it as one of their operands, each once, in the order of the graph.
    pub users: Vec<usize>,
    /// Something needs it in float32 whatever is decided: an output, an op of fixed types.
    pub needed_in_float: bool,
    /// The model itself casts it to the half type.
    pub needed_in_half: bool,
    /// Sizes of the axes, as far as they are declared.
    shape: Option<Vec<Option<i64>>>,
    loss: OnceCell<Loss>,
}

impl Tensor<'_> {
    pub fn is_constant(&self) -> bool {
        matches!(self.source, Source::Constant(_))
    }

    pub fn is_float(&self) -> bool {
        self.dtype == FLOAT
    }
}

/// What the graphs inside a node take by name, at all depths.
pub fn inside(node: &onnx::NodeProto) -> impl Iterator<Item = &str> {
    takes(node).into_iter().skip(node.input.len())
}

/// The type of output `at` of a loop or conditional, as the graph inside declares it. (A loop's first output inside is its condition.)
fn declared(node: &onnx::NodeProto, at: usize) -> i32 {
    let at = if node.op_type() == "Loop" { at + 1 } else { at };
    let output = graphs_of(node).next().and_then(|graph| graph.output.get(at));
    output.map_or(UNKNOWN, element_type)
}

/// A node on float32 tensors whose type may be chosen, or any other (`None` in [`Tensors::nodes`]).
pub struct Node {
    pub rule: &'static Rule,
    /// The operands that have the op's type: input position and tensor.
    pub operands: Vec<(usize, usize)>,
    /// The outputs that have the op's type: output position and tensor.
    pub results: Vec<(usize, usize)>,
}

pub struct Tensors<'a> {
    pub graph: &'a onnx::GraphProto,
    to: Half,
    index: HashMap<&'a str, usize>,
    pub tensors: Vec<Tensor<'a>>,
    pub nodes: Vec<Option<Node>>,
}

impl<'a> Tensors<'a> {
    pub fn of(graph: &'a onnx::GraphProto, to: Half) -> Result<Self, PrecisionError> {
        let mut all = Tensors {
            graph,
            to,
            index: HashMap::new(),
            tensors: Vec::new(),
            nodes: Vec::with_capacity(graph.node.len()),
        };
        for input in &graph.input {
            all.define(input.name(), element_type(input), Source::Input)?;
        }
        for (i, constant) in graph.initializer.iter().enumerate() {
            // One that is an input, too, is its default value, and the caller may give another.
            if all.index.contains_key(constant.name()) {
                continue;
            }
            let id = all.define(constant.name(), constant.data_type(), Source::Constant(i))?;
            all.tensors[id].shape = Some(constant.dims.iter().map(|&dim| Some(dim)).collect());
        }
        for i in 0..graph.node.len() {
            let node = all.resolve(i)?;
            all.nodes.push(node);
        }
        for info in graph.value_info.iter().chain(&graph.input) {
            if let Some(&id) = all.index.get(info.name()) {
                all.tensors[id].shape = declared_shape(info);
            }
        }
        for output in &graph.output {
            if let Some(id) = all.find(output.name()) {
                all.tensors[id].needed_in_float = true;
            }
        }
        Ok(all)
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    fn define(&mut self, name: &'a str, dtype: i32, source: Source) -> Result<usize, PrecisionError> {
        let id = self.tensors.len();
        if self.index.insert(name, id).is_some() {
            return Err(PrecisionError::Twice { tensor: name.to_string() });
        }
        self.tensors.push(Tensor {
            name,
            dtype,
            source,
            widened: None,
            users: Vec::new(),
            needed_in_float: false,
            needed_in_half: false,
            shape: None,
            loss: OnceCell::new(),
        });
        Ok(id)
    }

    /// Looks the inputs of a node up, defines its outputs.
    fn resolve(&mut self, i: usize) -> Result<Option<Node>, PrecisionError> {
        let graph = self.graph;
        let node = &graph.node[i];
        // What a loop or branch takes from around it, it takes as it was.
        for name in inside(node) {
            if let Some(id) = self.find(name) {
                self.tensors[id].needed_in_float = true;
            }
        }
        let ours = matches!(node.domain(), "" | "ai.onnx");
        let rule = keep::rule(node.op_type()).filter(|_| ours);
        let mut operands = Vec::new();
        let mut dtype = UNKNOWN;
        for (position, name) in node.input.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let id = self.find(name).ok_or_else(|| PrecisionError::Undefined {
                node: node.name().to_string(),
                op: node.op_type().to_string(),
                tensor: name.clone(),
            })?;
            if rule.is_some_and(|rule| rule.takes.has(position)) {
                if operands.is_empty() {
                    dtype = self.tensors[id].dtype;
                }
                operands.push((position, id));
            } else {
                self.tensors[id].needed_in_float = true;
            }
        }
        let results = self.define_outputs(node, i, rule, dtype)?;
        // All operands have one type in a valid model; a model that mixes them is left to the engine's own words.
        let float = operands.iter().all(|&(_, id)| self.tensors[id].is_float());
        let Some(rule) = rule.filter(|_| dtype == FLOAT && float) else {
            for (_, id) in operands {
                self.tensors[id].needed_in_float = true;
            }
            return Ok(None);
        };
        for &(_, id) in &operands {
            if self.tensors[id].users.last() != Some(&i) {
                self.tensors[id].users.push(i);
            }
        }
        if rule.op == "Cast" && self.cast_to(i) == self.to.data_type() {
            self.tensors[operands[0].1].needed_in_half = true;
        }
        Ok(Some(Node { rule, operands, results }))
    }

    fn define_outputs(
        &mut self,
        node: &'a onnx::NodeProto,
        i: usize,
        rule: Option<&'static Rule>,
        dtype: i32,
    ) -> Result<Vec<(usize, usize)>, PrecisionError> {
        let mut results = Vec::new();
        for (position, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let (has_ops_type, dtype) = match (rule.map(|rule| rule.gives), position) {
                (Some(Gives::Same), _) | (Some(Gives::SameThenInt64 | Gives::SameThenFloat), 0) => (true, dtype),
                (Some(Gives::SameThenFloat), _) => (false, FLOAT),
                (Some(Gives::Int64 | Gives::SameThenInt64), _) => (false, DataType::Int64 as i32),
                (Some(Gives::Int8), _) => (false, DataType::Int8 as i32),
                (Some(Gives::Bool), _) => (false, DataType::Bool as i32),
                (Some(Gives::To), _) => (false, self.cast_to(i)),
                (Some(Gives::Declared), at) => (false, declared(node, at)),
                (None, _) => (false, UNKNOWN),
            };
            let id = self.define(name, dtype, Source::Node(i))?;
            if has_ops_type {
                results.push((position, id));
            }
            if rule.is_some_and(|rule| rule.op == "Cast") && dtype == FLOAT {
                let from = node.input.first().and_then(|name| self.find(name));
                self.tensors[id].widened = from
                    .filter(|&from| self.tensors[from].dtype == self.to.data_type())
                    .map(|from| self.tensors[from].name);
            }
        }
        Ok(results)
    }

    /// The type that a Cast casts to.
    pub fn cast_to(&self, node: usize) -> i32 {
        attribute(&self.graph.node[node], "to").map_or(UNKNOWN, |a| a.i() as i32)
    }

    /// What rounding to half does to a constant float32 tensor; `None` for other tensors.
    pub fn loss(&self, id: usize) -> Result<Option<Loss>, PrecisionError> {
        let tensor = &self.tensors[id];
        let Source::Constant(i) = tensor.source else {
            return Ok(None);
        };
        if let Some(&loss) = tensor.loss.get() {
            return Ok(Some(loss));
        }
        let loss = Loss::of(&self.graph.initializer[i], self.to)?;
        Ok(Some(*tensor.loss.get_or_init(|| loss)))
    }
}

/// A node as the conditions in [`keep`] see it. Positions are those of the ONNX node's inputs.
pub struct Operands<'t, 'a> {
    pub all: &'t Tensors<'a>,
    pub node: usize,
}

impl<'t, 'a> Operands<'t, 'a> {
    fn input(&self, position: usize) -> Option<&'t Tensor<'a>> {
        let name = self.all.graph.node[self.node].input.get(position)?;
        Some(&self.all.tensors[self.all.find(name)?])
    }

    pub fn is_constant(&self, position: usize) -> bool {
        self.input(position).is_some_and(Tensor::is_constant)
    }

    /// Whether two inputs are one tensor.
    pub fn is_same(&self, a: usize, b: usize) -> bool {
        let inputs = &self.all.graph.node[self.node].input;
        matches!((inputs.get(a), inputs.get(b)), (Some(a), Some(b)) if a == b)
    }

    /// How many elements an input has, if its shape is declared.
    pub fn elements(&self, position: usize) -> Option<i64> {
        let shape = self.input(position)?.shape.as_ref()?;
        shape.iter().try_fold(1i64, |n, &dim| n.checked_mul(dim?))
    }

    /// An attribute of integers; empty where it is not given.
    pub fn ints(&self, name: &str) -> &[i64] {
        attribute(&self.all.graph.node[self.node], name).map_or(&[], |a| a.ints.as_slice())
    }

    /// How many elements a reduction makes one of, if the sizes are declared. Axes may be an attribute or input 1.
    pub fn reduced(&self) -> Option<i64> {
        let shape = self.input(0)?.shape.as_ref()?;
        let mut axes = self.ints("axes").to_vec();
        if let Some(given) = self.input(1) {
            let Source::Constant(i) = given.source else {
                return None;
            };
            axes = integers(&self.all.graph.initializer[i])?;
        }
        if axes.is_empty() {
            axes = (0..shape.len() as i64).collect();
        }
        axes.iter().try_fold(1i64, |n, &axis| {
            let axis = if axis < 0 { axis + shape.len() as i64 } else { axis };
            n.checked_mul((*shape.get(usize::try_from(axis).ok()?)?)?)
        })
    }

    /// Whether an input is an int8 tensor's numbers.
    pub fn is_in_steps(&self) -> bool {
        let giver = |name: &String| match self.all.tensors[self.all.find(name)?].source {
            Source::Node(node) => Some(self.all.graph.node[node].op_type()),
            _ => None,
        };
        let inputs = &self.all.graph.node[self.node].input;
        inputs.iter().any(|name| giver(name) == Some("DequantizeLinear"))
    }

    /// Whether the role of the node says half wherever it stands.
    pub fn is_seed(&self, rule: &Rule) -> bool {
        match rule.role {
            Role::Seed => true,
            Role::SeedIf(condition) => condition(self),
            _ => false,
        }
    }
}

fn attribute<'n>(node: &'n onnx::NodeProto, name: &str) -> Option<&'n onnx::AttributeProto> {
    node.attribute.iter().find(|a| a.name() == name)
}

/// The elements of an int64 initializer.
fn integers(tensor: &onnx::TensorProto) -> Option<Vec<i64>> {
    if tensor.data_type() != DataType::Int64 as i32 {
        return None;
    }
    Some(match &tensor.raw_data {
        Some(raw) => raw.as_chunks::<8>().0.iter().map(|word| i64::from_le_bytes(*word)).collect(),
        None => tensor.int64_data.clone(),
    })
}

fn tensor_type(info: &onnx::ValueInfoProto) -> Option<&onnx::type_proto::Tensor> {
    match info.r#type.as_ref()?.value.as_ref()? {
        onnx::type_proto::Value::TensorType(tensor) => Some(tensor),
        _ => None,
    }
}

fn element_type(info: &onnx::ValueInfoProto) -> i32 {
    tensor_type(info).map_or(UNKNOWN, |tensor| tensor.elem_type())
}

fn declared_shape(info: &onnx::ValueInfoProto) -> Option<Vec<Option<i64>>> {
    use onnx::tensor_shape_proto::dimension::Value;
    let shape = tensor_type(info)?.shape.as_ref()?;
    let size = |dim: &onnx::tensor_shape_proto::Dimension| match dim.value {
        Some(Value::DimValue(size)) => Some(size),
        _ => None,
    };
    Some(shape.dim.iter().map(size).collect())
}
