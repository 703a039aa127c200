//! Writes the graph anew: half nodes on half tensors, Casts between, weights in half.
//!
//! A float32 tensor has up to two forms: its own name is the float32 one, and a name beside it the half one. The node that makes it
//! writes one of them; the other is a Cast, put before the first node that takes it.

use super::assign::Plan;
use super::keep::Role;
use super::tensors::{Source, Tensors, inside};
use super::{Half, PrecisionError, range};
use crate::proto::onnx;
use crate::proto::onnx::attribute_proto::AttributeType;
use crate::proto::onnx::tensor_proto::DataType;
use std::collections::{HashMap, HashSet};

/// The graph in half, and how many Casts it got.
pub fn apply(all: &Tensors, plan: &Plan, to: Half) -> Result<(onnx::GraphProto, usize), PrecisionError> {
    let mut writer = Writer {
        all,
        plan,
        to,
        forms: all.tensors.iter().map(|_| Forms::default()).collect(),
        names: all.tensors.iter().map(|t| t.name.to_string()).collect(),
        aliases: HashMap::new(),
        nodes: Vec::with_capacity(all.nodes.len()),
        halves: Vec::new(),
        casts: 0,
    };
    let mut outputs: HashSet<&str> = all.graph.output.iter().map(|o| o.name()).collect();
    // What graphs inside nodes take by name keeps its name, too.
    outputs.extend(all.graph.node.iter().flat_map(inside));
    for (id, tensor) in all.tensors.iter().enumerate() {
        if matches!(tensor.source, Source::Input | Source::Constant(_)) {
            writer.forms[id].float = true;
        }
    }
    for i in 0..all.nodes.len() {
        writer.node(i, &outputs)?;
    }
    let ids = all.graph.output.iter().filter_map(|output| all.find(output.name()));
    for id in ids.filter(|&id| all.tensors[id].is_float()) {
        writer.form(id, false)?;
    }
    Ok(writer.finish())
}

/// What there is of a float32 tensor so far.
#[derive(Default)]
struct Forms {
    /// The float32 one, under the tensor's own name.
    float: bool,
    /// The name of the half one.
    half: Option<String>,
    /// Whether a node or the border takes the float32 one.
    float_taken: bool,
}

struct Writer<'t, 'a> {
    all: &'t Tensors<'a>,
    plan: &'t Plan,
    to: Half,
    forms: Vec<Forms>,
    names: HashSet<String>,
    /// Outputs of the model's own Casts to half, and the tensors that they are.
    aliases: HashMap<&'t str, String>,
    nodes: Vec<onnx::NodeProto>,
    halves: Vec<onnx::TensorProto>,
    casts: usize,
}

impl<'t> Writer<'t, '_> {
    fn node(&mut self, i: usize, outputs: &HashSet<&str>) -> Result<(), PrecisionError> {
        let (all, source) = (self.all, &self.all.graph.node[i]);
        let output = source.output.first().map_or("", String::as_str);
        let made = all.find(output);
        if let Some((id, half)) = made.and_then(|id| Some((id, all.tensors[id].widened?))) {
            // A Cast of the model from half: written where somebody takes its float32 form.
            // What it casts may be a Cast to half that one of ours stands for.
            let half = self.aliases.get(half).cloned().unwrap_or_else(|| half.to_string());
            self.forms[id].half = Some(half);
            return Ok(());
        }
        let to_half = source.op_type() == "Cast" && all.cast_to(i) == self.to.data_type();
        if let Some(node) = all.nodes[i].as_ref().filter(|_| to_half && !outputs.contains(output)) {
            let half = self.form(node.operands[0].1, true)?;
            self.aliases.insert(output, half);
            return Ok(());
        }
        let mut new = source.clone();
        for (position, name) in new.input.iter_mut().enumerate().filter(|(_, name)| !name.is_empty()) {
            if let Some(half) = self.aliases.get(name.as_str()) {
                name.clone_from(half);
                continue;
            }
            let Some(id) = all.find(name).filter(|&id| all.tensors[id].is_float()) else {
                continue;
            };
            let node = all.nodes[i].as_ref().filter(|node| node.operands.contains(&(position, id)));
            let half = match node.map(|node| node.rule.role) {
                Some(Role::Any) => !self.forms[id].float,
                Some(_) => self.plan.half[i],
                None => false,
            };
            *name = self.form(id, half)?;
        }
        for id in inside(source)
            .filter_map(|name| all.find(name))
            .filter(|&id| all.tensors[id].is_float())
        {
            self.form(id, false)?;
        }
        for &(position, id) in all.nodes[i].iter().flat_map(|node| &node.results) {
            if self.plan.half[i] {
                let name = self.fresh(id);
                new.output[position].clone_from(&name);
                self.forms[id].half = Some(name);
            } else {
                self.forms[id].float = true;
            }
        }
        // Also what is float32 whatever the node computes in: a Cast from an integer, statistics.
        for id in source.output.iter().filter_map(|name| all.find(name)) {
            self.forms[id].float |= all.tensors[id].is_float() && self.forms[id].half.is_none();
        }
        self.nodes.push(new);
        Ok(())
    }

    /// The name of a form of a float32 tensor, which is made if it is not there.
    fn form(&mut self, id: usize, half: bool) -> Result<String, PrecisionError> {
        let tensor = &self.all.tensors[id];
        if !half {
            self.forms[id].float_taken = true;
            if !self.forms[id].float {
                self.forms[id].float = true;
                let from = self.forms[id].half.clone().unwrap_or_default();
                self.cast(from, tensor.name.to_string(), DataType::Float as i32);
                // The Cast of the model itself, in another place, is not one of ours.
                self.casts -= usize::from(tensor.widened.is_some());
            }
            return Ok(tensor.name.to_string());
        }
        if let Some(name) = &self.forms[id].half {
            return Ok(name.clone());
        }
        let name = self.fresh(id);
        if let Source::Constant(i) = tensor.source {
            self.halves.push(range::to_half(&self.all.graph.initializer[i], &name, self.to)?);
        } else {
            self.cast(tensor.name.to_string(), name.clone(), self.to.data_type());
        }
        self.forms[id].half = Some(name.clone());
        Ok(name)
    }

    fn fresh(&mut self, id: usize) -> String {
        let base = format!("{}/{}", self.all.tensors[id].name, self.to.name());
        let numbered = (1..).map(|n| format!("{base}_{n}"));
        let free = std::iter::once(base.clone())
            .chain(numbered)
            .find(|name| !self.names.contains(name));
        let name = free.unwrap_or(base);
        self.names.insert(name.clone());
        name
    }

    fn cast(&mut self, from: String, to: String, data_type: i32) {
        self.casts += 1;
        self.nodes.push(onnx::NodeProto {
            input: vec![from],
            name: Some(format!("{to}/Cast")),
            output: vec![to],
            op_type: Some("Cast".to_string()),
            attribute: vec![onnx::AttributeProto {
                name: Some("to".to_string()),
                i: Some(i64::from(data_type)),
                r#type: Some(AttributeType::Int as i32),
                ..Default::default()
            }],
            ..Default::default()
        });
    }

    fn finish(self) -> (onnx::GraphProto, usize) {
        let source = self.all.graph;
        let mut graph = onnx::GraphProto {
            node: self.nodes,
            initializer: Vec::with_capacity(source.initializer.len()),
            value_info: Vec::with_capacity(source.value_info.len()),
            name: source.name.clone(),
            doc_string: source.doc_string.clone(),
            input: source.input.clone(),
            output: source.output.clone(),
            sparse_initializer: source.sparse_initializer.clone(),
            quantization_annotation: source.quantization_annotation.clone(),
            metadata_props: source.metadata_props.clone(),
        };
        for constant in &source.initializer {
            let forms = self.all.find(constant.name()).map(|id| &self.forms[id]);
            // Its bytes are shared, not copied. It goes only if half nodes alone have taken it.
            if forms.is_none_or(|forms| forms.float_taken || forms.half.is_none()) {
                graph.initializer.push(constant.clone());
            }
        }
        graph.initializer.extend(self.halves);
        for info in &source.value_info {
            let Some(id) = self.all.find(info.name()).filter(|&id| self.all.tensors[id].is_float()) else {
                if !self.aliases.contains_key(info.name()) {
                    graph.value_info.push(info.clone());
                }
                continue;
            };
            let forms = &self.forms[id];
            if forms.float {
                graph.value_info.push(info.clone());
            }
            // The half form of a Cast of the model is a tensor with an entry of its own.
            if let Some(half) = forms.half.as_ref().filter(|_| self.all.tensors[id].widened.is_none()) {
                let mut info = info.clone();
                info.name = Some(half.clone());
                if let Some(onnx::type_proto::Value::TensorType(tensor)) = info.r#type.as_mut().and_then(|t| t.value.as_mut()) {
                    tensor.elem_type = Some(self.to.data_type());
                }
                graph.value_info.push(info);
            }
        }
        (graph, self.casts)
    }
}
