//! The native segment's body: its fingerprint, and its way to ONNX.

use super::attrs::Attrs;
use super::functions::{Functions, Library};
use super::inner_shapes;
use crate::convert::{self, BadValues, Model, Quantization};
use crate::fault::{self, Point};
use crate::graph::native_segment::{INPUT_PREFIX, OUTPUT_PREFIX};
use crate::graph::{DType, Graph, PartialShape, contents, inner};
use crate::memory;
use crate::proto::tensorflow as tf;
use crate::segment::keeps_to_itself;
use crate::settings::Settings;
use crate::tf::{infer_forward, infer_shapes, is_stateful};
use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use tf::attr_value::{ListValue, Value};

/// What the body is called if there is no memory for it.
const BODY: &str = "the native segment without its weights";

#[derive(Clone)]
pub struct Segment {
    /// Its large constants are empty and marked (see [`contents`]).
    graph: tf::GraphDef,
    contents: Vec<Bytes>,
}

impl Segment {
    /// Reads the serialized body of a segment function, whose large constants' contents are beside it.
    /// `library` reads the functions that the segment runs inside.
    pub fn read(body: Vec<u8>, contents: Vec<Bytes>, library: Library<'_>) -> Result<Segment, String> {
        Ok(Segment {
            graph: read(body, library)?,
            contents,
        })
    }

    /// Converts the segment for calls of the given shapes: what the node's attributes leave open stays open, and where
    /// they say nothing the call gives the ranks (implicit batch: all sizes but the batch).
    pub fn convert(
        mut self,
        attrs: &Attrs,
        actual: &[Vec<i64>],
        quantization: Quantization,
        bad_values: BadValues,
    ) -> Result<Model, String> {
        fault::at(Point::Convert).map_err(|why| why.to_string())?;
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
        self.graph.node = inner::write_out_calls(self.graph.node)?;
        // No shape follows from the constants that are left out, so TensorFlow need not see them.
        let written = memory::encode(BODY, &self.graph)?;
        let inferred = infer_shapes(&written).map_err(|e| format!("shapes cannot be inferred: {e}"))?;
        let forward = match bad_values {
            BadValues::Told => Some(infer_forward(&written).map_err(|e| format!("shapes cannot be inferred: {e}"))?),
            BadValues::Zeroed => None,
        };
        drop(written);
        contents::put_back(&mut self.graph.node, &self.contents)?;
        let mut graph = Graph::new(self.graph, inferred).map_err(|e| e.to_string())?;
        for node in graph.nodes.iter_mut().filter(|n| n.op() == "_Arg" && n.outputs.is_empty()) {
            let index = node.attr_i("index").unwrap_or(0) as usize;
            let dtype = node.attr_type("T").unwrap_or(DType::INVALID);
            node.outputs = vec![crate::graph::TensorInfo {
                dtype,
                shape: shapes[index].clone(),
            }];
        }
        let infer = inner_shapes::Infer {
            shapes: &|graph| {
                let written = memory::encode(BODY, graph)?;
                infer_shapes(&written).map_err(|e| format!("shapes cannot be inferred: {e}"))
            },
            forward: match bad_values {
                BadValues::Told => Some(&|graph| {
                    let written = memory::encode(BODY, graph)?;
                    infer_forward(&written).map_err(|e| format!("shapes cannot be inferred: {e}"))
                }),
                BadValues::Zeroed => None,
            },
        };
        inner_shapes::add(&mut graph, infer)?;
        let layout = match Settings::current().enable_layout_optimizer {
            true => convert::Layout::Kept,
            false => convert::Layout::Restored,
        };
        let options = convert::Options {
            layout,
            quantization,
            bad_values,
        };
        let model = match forward {
            Some(forward) => convert::convert_told(&attrs.node, &graph, options, &forward),
            None => convert::convert(&attrs.node, &graph, options),
        };
        let model = model.map_err(|e| e.to_string())?;
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

/// Says how segments become engines. Where an engine that was saved before answers otherwise than one that is built now, this has changed: 2,
/// of calls that native TensorFlow refuses.
const CONVERSION: &[u8] = b"conversion 2";

/// Identifies what a segment computes, whichever process reads it: ops, names, edges, attributes and weights; not the
/// devices that it was placed on. `body` is the serialized body of its function; of the contents that it left behind there
/// are the checksums.
///
/// Saved plans are found by this: whatever changes it makes them be built anew.
///
/// The same segment has another fingerprint since conversion makes another engine of it: see [`CONVERSION`].
pub fn fingerprint(body: Vec<u8>, checksums: &[u32], library: Library<'_>) -> Result<[u8; 32], String> {
    of_graph(&read(body, library)?, checksums)
}

fn of_graph(graph: &tf::GraphDef, checksums: &[u32]) -> Result<[u8; 32], String> {
    const ATTRIBUTES: &str = "the native segment's attributes";
    let mut nodes: Vec<&tf::NodeDef> = graph.node.iter().collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let mut hash = Sha256::new();
    hash.update(CONVERSION);
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
        // What a loop or conditional runs stands in the graphs inside it; its functions' names number the engines of a process.
        let graphs = inner::graphs(node)?;
        let functions = inner::functions_of(&node.op).filter(|_| !graphs.is_empty()).unwrap_or_default();
        for (name, graph) in functions.iter().zip(&graphs) {
            attrs.extend_from_slice(name.as_bytes());
            attrs.extend_from_slice(&of_graph(graph, &[])?);
        }
        let counts = |name: &str| !name.starts_with('_') && !functions.contains(&name);
        for (name, value) in node.attr.iter().filter(|(name, _)| counts(name)) {
            attrs.extend_from_slice(name.as_bytes());
            match (&value.value, contents::mark(node)) {
                (Some(Value::Tensor(tensor)), Some(place)) if name == "value" => {
                    let left = checksums.get(place);
                    let crc = left.ok_or_else(|| format!("the constant '{}' came without its checksum", node.name))?;
                    large(&mut attrs, tensor, *crc);
                }
                (Some(Value::Tensor(tensor)), _) if tensor.tensor_content.len() > contents::LARGE => {
                    large(&mut attrs, tensor, crc32c::crc32c(&tensor.tensor_content));
                }
                _ => memory::append(ATTRIBUTES, &mut attrs, &memory::encode(ATTRIBUTES, value)?)?,
            }
        }
    }
    hash.update(&attrs);
    Ok(hash.finalize().into())
}

/// A large content enters the fingerprint by its checksum: hashing hundreds of megabytes at every load would cost more than
/// reading them.
fn large(attrs: &mut Vec<u8>, tensor: &tf::TensorProto, crc: u32) {
    attrs.extend_from_slice(&tensor.dtype.to_le_bytes());
    attrs.extend_from_slice(&tensor.tensor_shape.as_ref().map(|s| s.encode_to_vec()).unwrap_or_default());
    attrs.extend_from_slice(&crc.to_le_bytes());
}

fn read(body: Vec<u8>, library: Library<'_>) -> Result<tf::GraphDef, String> {
    let mut graph: tf::GraphDef = memory::decode(BODY, body.into()).map_err(|e| format!("the native segment cannot be read: {e}"))?;
    name_borders(&mut graph);
    let has_effect = |op: &str| is_stateful(op) && !keeps_to_itself(op);
    Functions::new(library, &has_effect).open(&mut graph)?;
    Ok(graph)
}

/// Gives the segment's arguments and results their TF-TRT names: a FunctionDef holds them in lower case.
///
/// TF-TRT's older native segments keep their integers on the device (`experimental_ints_on_device`). TensorFlow then makes their int32
/// arguments and results `_DeviceArg` and `_DeviceRetval`, which are nothing else to an engine.
fn name_borders(graph: &mut tf::GraphDef) {
    let mut renamed = HashMap::new();
    for node in &mut graph.node {
        let (op, prefix) = match node.op.as_str() {
            "_Arg" | "_DeviceArg" => ("_Arg", INPUT_PREFIX),
            "_Retval" | "_DeviceRetval" => ("_Retval", OUTPUT_PREFIX),
            _ => continue,
        };
        if node.op != op {
            node.op = op.to_string();
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A library without functions.
    const NONE: Library<'static> = &|_| Err("it is not there".into());

    fn node(name: &str, op: &str, inputs: &[&str], attrs: Vec<(&str, Value)>) -> tf::NodeDef {
        tf::NodeDef {
            name: name.into(),
            op: op.into(),
            input: inputs.iter().map(|i| i.to_string()).collect(),
            attr: attrs
                .into_iter()
                .map(|(name, value)| (name.to_string(), tf::AttrValue { value: Some(value) }))
                .collect(),
            ..Default::default()
        }
    }

    fn constant(name: &str, content: Vec<u8>) -> tf::NodeDef {
        let tensor = tf::TensorProto {
            dtype: DType::UINT8.0,
            tensor_shape: Some(PartialShape::from_dims(&[content.len() as i64]).to_proto()),
            tensor_content: content.into(),
            ..Default::default()
        };
        let dtype = Value::Type(DType::UINT8.0);
        node(name, "Const", &[], vec![("dtype", dtype), ("value", Value::Tensor(tensor))])
    }

    fn weight(seed: usize) -> Vec<u8> {
        (0..contents::LARGE + 100).map(|i| (i * 7 + seed) as u8).collect()
    }

    fn body() -> tf::GraphDef {
        tf::GraphDef {
            node: vec![
                node("tensorrtinputph_0", "_Arg", &[], vec![("index", Value::I(0))]),
                constant("w", weight(1)),
                constant("v", weight(2)),
                constant("b", vec![5; 8]),
                node("mul", "Mul", &["tensorrtinputph_0", "w"], vec![("T", Value::Type(DType::UINT8.0))]),
                node("add", "Add", &["mul", "b", "^v"], vec![("T", Value::Type(DType::UINT8.0))]),
                node("tensorrtoutputph_0_retval", "_Retval", &["add"], vec![("index", Value::I(0))]),
            ],
            ..Default::default()
        }
    }

    fn whole(body: &tf::GraphDef) -> String {
        hex(fingerprint(body.encode_to_vec(), &[], NONE).unwrap())
    }

    fn hex(hash: [u8; 32]) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// As a call hands it over.
    fn outline(mut body: tf::GraphDef) -> (Vec<u8>, Vec<Bytes>) {
        let contents = contents::take_out(&mut body.node);
        (body.encode_to_vec(), contents)
    }

    #[test]
    fn the_rule_is_the_one_that_saved_plans_were_written_with() {
        let known = "8dc5a837222ce31a08f4a9da2e64a7a6d5d76d021d124edf97fac0e4c805f14f";
        assert_eq!(whole(&body()), known);
    }

    #[test]
    fn the_weights_beside_the_body_count_as_if_they_were_in_it() {
        let (graph, weights) = outline(body());
        assert_eq!(weights.len(), 2);
        let checksums: Vec<u32> = weights.iter().map(|w| crc32c::crc32c(w)).collect();
        assert_eq!(hex(fingerprint(graph.clone(), &checksums, NONE).unwrap()), whole(&body()));
        let swapped = [checksums[1], checksums[0]];
        assert_ne!(hex(fingerprint(graph.clone(), &swapped, NONE).unwrap()), whole(&body()));
        assert!(fingerprint(graph, &checksums[..1], NONE).unwrap_err().contains("'v'"));
    }

    #[test]
    fn whatever_changes_the_result_changes_the_fingerprint() {
        let change = |change: &dyn Fn(&mut Vec<tf::NodeDef>)| {
            let mut body = body();
            change(&mut body.node);
            whole(&body)
        };
        let mut one_element = weight(1);
        one_element[contents::LARGE] ^= 1;
        let found = [
            whole(&body()),
            change(&|nodes| nodes[1] = constant("w", one_element.clone())),
            change(&|nodes| nodes[3] = constant("b", vec![5, 5, 5, 5, 5, 5, 5, 6])),
            change(&|nodes| nodes[4].op = "Sub".into()),
            change(&|nodes| nodes[4].input[1] = "v".into()),
            change(&|nodes| nodes[5].input.swap(0, 1)),
            change(&|nodes| {
                nodes[4].attr.insert(
                    "more".into(),
                    tf::AttrValue {
                        value: Some(Value::B(true)),
                    },
                );
            }),
        ];
        for (i, one) in found.iter().enumerate() {
            assert!(!found[..i].contains(one), "change {i} is not seen");
        }
    }

    #[test]
    fn what_a_function_computes_counts_and_not_its_name() {
        let called = |op: &str| tf::GraphDef {
            node: vec![
                node("x", "_Arg", &[], vec![("index", Value::I(0)), ("T", Value::Type(DType::FLOAT.0))]),
                node("made", op, &["x"], vec![]),
                node(
                    "out",
                    "_Retval",
                    &["made"],
                    vec![("index", Value::I(0)), ("T", Value::Type(DType::FLOAT.0))],
                ),
            ],
            ..Default::default()
        };
        let of = |name: &str, op: &str| {
            let types = || {
                Value::List(ListValue {
                    r#type: vec![DType::FLOAT.0],
                    ..Default::default()
                })
            };
            let function = tf::NameAttrList {
                name: name.into(),
                ..Default::default()
            };
            let attrs = vec![("f", Value::Func(function)), ("Tin", types()), ("Tout", types())];
            let mut call = node("call", "PartitionedCall", &["tensorrtinputph_0"], attrs);
            call.attr.insert(inner::GRAPHS.into(), inner::no_graphs());
            let mut body = body();
            body.node.push(call);
            hex(fingerprint(body.encode_to_vec(), &[], &|_| Ok(called(op))).unwrap())
        };
        assert_eq!(of("f", "Relu"), of("g", "Relu"));
        assert_ne!(of("f", "Relu"), of("f", "Tanh"));
        assert_ne!(of("f", "Relu"), whole(&body()));
    }

    #[test]
    fn hints_devices_and_the_order_of_nodes_change_nothing() {
        let mut body = body();
        body.node.reverse();
        for node in &mut body.node {
            node.device = "/device:GPU:0".into();
            node.attr.insert("_hint".into(), tf::AttrValue { value: Some(Value::I(3)) });
        }
        assert_eq!(whole(&body), whole(&self::body()));
    }

    #[test]
    fn arguments_on_the_device_are_arguments() {
        let mut body = body();
        body.node[0].op = "_DeviceArg".into();
        body.node[6].op = "_DeviceRetval".into();
        assert_eq!(whole(&body), whole(&self::body()));
    }

    #[test]
    fn the_body_is_whole_again_with_its_contents() {
        let (graph, weights) = outline(body());
        let mut segment = Segment::read(graph, weights, NONE).unwrap();
        contents::put_back(&mut segment.graph.node, &segment.contents).unwrap();
        let whole = Segment::read(body().encode_to_vec(), Vec::new(), NONE).unwrap();
        assert_eq!(segment.graph, whole.graph);
    }
}
