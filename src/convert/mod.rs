//! TensorFlow segments to ONNX.
//!
//! A segment is the body of a native segment function: `_Arg` nodes, convertible nodes with the constants they take, and
//! `_Retval` nodes. [`convert`] walks it in topological order; the record of each op in [`ops`] emits ONNX nodes through a
//! [`context::Context`]. What a TensorFlow tensor has become is a [`value::Value`], which may lie in another form than
//! TensorFlow's (channels-first, or int64 for int32): that module tells why. [`supports`] asks the predicate that stands beside
//! the converter, so that a node which may enter a segment can be converted there.

mod bounds;
mod builder;
mod carried;
mod context;
pub mod guard;
mod interval;
mod layout;
mod nesting;
mod ops;
mod shape_inputs;
mod size;
mod value;
mod view;

pub use crate::engine::model::{BadValues, Binding, Model, Quantization};
use crate::graph::{DType, Graph, Node, NodeId, Port, TensorInfo};
use crate::memory::{self, NoMemory};
use crate::proto::MESSAGE_LIMIT;
use context::{Context, State};
use guard::Claims;
pub use nesting::may_nest;
use prost::Message;
pub use shape_inputs::shape_inputs;
use std::collections::HashMap;
use value::{Form, Value};
use view::View;

/// The order in which images lie inside an engine. ONNX's operations on images take channels first; TensorFlow's default is last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Channels first from op to op: Transposes stand where images come in and where another order is needed.
    #[default]
    Kept,
    /// Every op gives TensorFlow's order back: a Transpose on each side of it.
    Restored,
}

/// Why a node cannot go into an engine, in words for the conversion report.
pub type Reason = String;

/// Why a segment could not be converted; it stays native then.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ConvertError {
    #[error("segment '{segment}': node '{node}' ({op}) cannot be converted: {reason}")]
    Node {
        segment: String,
        node: String,
        op: String,
        reason: Reason,
    },
    #[error("segment '{segment}' needs {bytes} bytes as an ONNX model, and protobuf takes messages of fewer than {limit} bytes only")]
    TooLarge { segment: String, bytes: usize, limit: usize },
    #[error("segment '{segment}' has a cycle through {nodes:?}")]
    Cycle { segment: String, nodes: Vec<String> },
    #[error("segment '{segment}': {why}")]
    NoMemory { segment: String, why: NoMemory },
}

/// Whether `node` can be converted, judged from its op, attributes, and the types and shapes around it.
pub fn supports(graph: &Graph, node: NodeId) -> Result<(), Reason> {
    let view = View { graph, id: node };
    let converter = ops::find(view.op()).ok_or_else(|| ops::why_not(view.op()))?;
    ops::check_tensors(view)?;
    (converter.supports)(view)
}

/// The names of all ops that have a converter, without those that no model has: loops and conditionals as the pass makes them.
pub fn supported_ops() -> impl Iterator<Item = &'static str> {
    ops::all()
        .map(|c| c.op)
        .filter(|op| crate::graph::inner::functions_of(op).is_none())
}

/// What may be chosen of a conversion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub layout: Layout,
    pub quantization: Quantization,
    pub bad_values: BadValues,
}

/// Converts the body of a native segment function. `name` is for messages and becomes the ONNX graph's name.
pub fn convert(name: &str, graph: &Graph, options: Options) -> Result<Model, ConvertError> {
    convert_within(name, graph, options, Claims::default(), MESSAGE_LIMIT)
}

/// As [`convert`]; what `forward` does not know of the shapes, by node name, is concluded from the takers of a tensor, and has to hold.
pub fn convert_told(
    name: &str,
    graph: &Graph,
    options: Options,
    forward: &HashMap<String, Vec<TensorInfo>>,
) -> Result<Model, ConvertError> {
    convert_within(name, graph, options, guard::claims(graph, forward), MESSAGE_LIMIT)
}

fn convert_within(segment: &str, graph: &Graph, options: Options, claims: Claims, limit: usize) -> Result<Model, ConvertError> {
    let order = graph.topological_order().map_err(|nodes| ConvertError::Cycle {
        segment: segment.to_string(),
        nodes,
    })?;
    let at = |id: NodeId| {
        let node = &graph.nodes[id];
        move |reason| ConvertError::Node {
            segment: segment.to_string(),
            node: node.name().to_string(),
            op: node.op().to_string(),
            reason,
        }
    };
    let mut state = State::new(options);
    state.guards.claims = claims;
    let inputs = interface(graph, "_Arg").map_err(|(id, reason)| at(id)(reason))?;
    let outputs = interface(graph, "_Retval").map_err(|(id, reason)| at(id)(reason))?;
    let mut input_bindings = Vec::new();
    for &id in &inputs {
        input_bindings.push(convert_input(graph, id, &mut state).map_err(at(id))?);
    }
    for id in order {
        let node = &graph.nodes[id];
        if !matches!(node.op(), "_Arg" | "_Retval") {
            convert_node(graph, id, &mut state).map_err(at(id))?;
            state.require_claims(graph, id).map_err(at(id))?;
            tracing::trace!("segment '{segment}': '{}' ({}) is converted", node.name(), node.op());
        }
    }
    let mut output_bindings = Vec::new();
    for &id in &outputs {
        output_bindings.push(convert_output(graph, id, &mut state).map_err(at(id))?);
    }
    if let Some(holds) = state.guard() {
        let output = |reason| ConvertError::Node {
            segment: segment.to_string(),
            node: guard::OUTPUT.to_string(),
            op: "Identity".to_string(),
            reason,
        };
        let shape = guard::shape();
        state.builder.output(guard::OUTPUT, &holds, DType::BOOL, &shape).map_err(output)?;
    }
    let bfloat16 = state.builder.bfloat16;
    let int64 = state.builder.int64.take();
    let wide_sum = state.builder.wide_sum.take();
    let model = state.builder.finish(segment);
    let int8 = model
        .graph
        .iter()
        // (In a loop or a branch nothing is kept in int8.)
        .flat_map(|graph| &graph.node)
        .any(|node| node.op_type() == "QuantizeLinear");
    let bytes = model.encoded_len();
    tracing::debug!(
        "segment '{segment}': {} nodes of TensorFlow's are {} of ONNX's, {bytes} bytes with weights",
        graph.nodes.len(),
        model.graph.as_ref().map_or(0, |graph| graph.node.len())
    );
    if bytes >= limit {
        return Err(ConvertError::TooLarge {
            segment: segment.to_string(),
            bytes,
            limit,
        });
    }
    let onnx = memory::encode("its ONNX model", &model).map_err(|why| ConvertError::NoMemory {
        segment: segment.to_string(),
        why,
    })?;
    Ok(Model {
        onnx: onnx.into(),
        inputs: input_bindings,
        outputs: output_bindings,
        int8,
        bfloat16,
        int64,
        wide_sum,
    })
}

/// The nodes of type `op` in the order of their `index` attributes, which have to be 0, 1, 2, ...
fn interface(graph: &Graph, op: &str) -> Result<Vec<NodeId>, (NodeId, Reason)> {
    let mut ids: Vec<(Option<i64>, NodeId)> = (0..graph.nodes.len())
        .filter(|&id| graph.nodes[id].op() == op)
        .map(|id| (graph.nodes[id].attr_i("index"), id))
        .collect();
    ids.sort_unstable();
    for (expected, (index, id)) in ids.iter().enumerate() {
        if *index != Some(expected as i64) {
            return Err((*id, format!("its attribute index is {index:?} where {expected} was expected")));
        }
    }
    Ok(ids.into_iter().map(|(_, id)| id).collect())
}

fn convert_input(graph: &Graph, id: NodeId, state: &mut State) -> Result<Binding, Reason> {
    let view = View { graph, id };
    let info = view.out(0)?;
    let dims = view.out_dims(0)?.to_vec();
    at_the_border(info.dtype)?;
    let name = view.node().name().to_string();
    state.builder.input(&name, info.dtype, &info.shape)?;
    let mut value = Value::new(info.dtype, dims);
    value.set_name(Form::Plain, name.clone());
    state.add(Port { node: id, index: 0 }, value);
    Ok(Binding {
        name,
        dtype: info.dtype,
        shape: info.shape.clone(),
    })
}

pub(in crate::convert) fn convert_node(graph: &Graph, id: NodeId, state: &mut State) -> Result<(), Reason> {
    supports(graph, id)?;
    let view = View { graph, id };
    let converter = ops::find(view.op()).ok_or("its op has no converter")?;
    (converter.convert)(&mut Context::new(view, state)?)
}

/// Fails for types that only the inside of an engine knows. The segmenter lets none of them be at a border.
fn at_the_border(dtype: DType) -> Result<(), Reason> {
    match carried::is_carried(dtype) {
        true => Err(format!("an engine neither takes nor gives {dtype}")),
        false => Ok(()),
    }
}

fn convert_output(graph: &Graph, id: NodeId, state: &mut State) -> Result<Binding, Reason> {
    let view = View { graph, id };
    let node: &Node = view.node();
    let port = *node.inputs.first().ok_or("it has no input")?;
    let info = view.info(0)?;
    at_the_border(info.dtype)?;
    let value = state.find(port).ok_or_else(|| format!("'{}' has no value", node.def.input[0]))?;
    state.builder.scope = node.name().to_string();
    let source = state.name(value, Form::Plain)?;
    state.builder.output(node.name(), &source, info.dtype, &info.shape)?;
    Ok(Binding {
        name: node.name().to_string(),
        dtype: info.dtype,
        shape: info.shape.clone(),
    })
}

#[cfg(test)]
mod tests;
