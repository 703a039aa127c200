//! The rewrite on small graphs: each rule, and what has to hold for every graph.

use super::{Half, MARK, PrecisionError, Summary, keep, rewrite, to_half};
use crate::proto::onnx;
use crate::proto::onnx::attribute_proto::AttributeType;
use crate::proto::onnx::tensor_proto::DataType;
use half::{bf16, f16};
use proptest::prelude::*;
use prost::Message;
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

#[test]
fn the_table_is_sorted_and_each_op_is_in_it_once() {
    assert!(keep::rules().windows(2).all(|pair| pair[0].op < pair[1].op));
    assert!(
        keep::rules()
            .iter()
            .all(|rule| keep::rule(rule.op).is_some_and(|found| found.op == rule.op))
    );
}

#[test]
fn a_dense_layer_is_half_between_two_casts() {
    let mut g = Graph::default();
    let product = g.product("x");
    let bias = g.constant(&[4], &[0.1; 4]);
    let sum = g.op("Add", &[&product, &bias]);
    let y = g.op("Relu", &[&sum]);
    let (model, summary) = g.rewritten(&y, Half::Float16);
    assert_eq!((summary.half, summary.float, summary.casts), (3, 0, 2));
    let bias = weight(&model, "c1/float16").unwrap();
    assert_eq!(bias.raw_data(), f16::from_f32(0.1).to_le_bytes().repeat(4));
    assert!(weight(&model, "c1").is_none(), "the float32 bias is left over");
}

#[test]
fn a_layer_norm_is_one_region_in_float32() {
    let mut g = Graph::default();
    let before = g.product("x");
    let norm = g.layer_norm(&before);
    let y = g.product(&norm);
    let (_, summary) = g.rewritten(&y, Half::Float16);
    // In at x, out behind the first product, in before the second, out at the end.
    assert_eq!((summary.half, summary.float, summary.casts), (2, 10, 4));
}

#[test]
fn a_residual_around_a_layer_norm_stays_in_half() {
    let mut g = Graph::default();
    let first = g.product("x");
    let norm = g.layer_norm(&first);
    let rows = g.op("Reshape", &[&norm]);
    let second = g.product(&rows);
    let residual = g.op("Add", &[&norm, &second]);
    let norm = g.layer_norm(&residual);
    let y = g.product(&norm);
    let (model, summary) = g.rewritten(&y, Half::Float16);
    assert!(in_half(&model, &residual));
    assert_eq!(summary.casts, 6);
}

#[test]
fn an_epsilon_that_vanishes_keeps_its_consumer_in_float32() {
    for (epsilon, float) in [(1e-12, true), (1e-5, true), (1e-3, false)] {
        let mut g = Graph::default();
        let x = g.product("x");
        let epsilon = g.scalar(epsilon);
        let sum = g.op("Add", &[&x, &epsilon]);
        let y = g.product(&sum);
        assert_eq!(g.clone().rewritten(&y, Half::Float16).1.float == 1, float);
        assert_eq!(g.rewritten(&y, Half::BFloat16).1.float, 0, "BF16 holds it");
    }
}

#[test]
fn small_weights_beside_larger_ones_do_not_keep_a_product_in_float32() {
    let mut g = Graph::default();
    let mut values = [0.5; 16];
    values[3] = 1e-9;
    let weight = g.constant(&[4, 4], &values);
    let y = g.op("MatMul", &["x", &weight]);
    assert_eq!(g.rewritten(&y, Half::Float16).1.half, 1);
    let mut g = Graph::default();
    let weight = g.constant(&[4, 4], &[1e-9; 16]);
    let y = g.op("MatMul", &["x", &weight]);
    assert_eq!(g.rewritten(&y, Half::Float16).1.half, 0);
}

/// softmax(scores + (1 - mask) * far): with -1e9 the addition is float32, with -10000 half; the softmax is float32 in both, and
/// the product behind it is half.
#[test]
fn an_attention_mask_is_added_where_its_numbers_exist() {
    for (far, half) in [(-10000.0, true), (-1e9, false), (f32::MIN, false)] {
        let mut g = Graph::default();
        let scores = g.product("x");
        let mask = g.node("Cast", &["mask"], &[("to", i64::from(FLOAT))]);
        let (one, far) = (g.scalar(1.0), g.scalar(far));
        let hidden = g.op("Sub", &[&one, &mask]);
        let bias = g.op("Mul", &[&hidden, &far]);
        let sum = g.op("Add", &[&scores, &bias]);
        let softmax = g.op("Softmax", &[&sum]);
        let other = g.op("Relu", &[&sum]);
        let product = g.product(&softmax);
        let next = g.op("Add", &[&product, &other]);
        let y = g.product(&next);
        let (model, _) = g.rewritten(&y, Half::Float16);
        let types = Types::check(&model, Half::Float16);
        assert_eq!(in_half(&model, &sum), half);
        assert!(in_half(&model, &product), "Softmax ends what the mask began");
        assert!(
            !types.0.contains_key(format!("{bias}/float16").as_str()) || half,
            "the mask became infinite"
        );
    }
}

#[test]
fn the_lowest_float32_is_out_of_bf16s_range_as_well() {
    let mut g = Graph::default();
    let x = g.product("x");
    let far = g.scalar(f32::MIN);
    let y = g.op("Add", &[&x, &far]);
    let (model, _) = g.rewritten(&y, Half::BFloat16);
    assert!(weight(&model, "c1").is_some() && weight(&model, "c1/bfloat16").is_none());
}

#[test]
fn what_an_exponential_gives_meets_another_op_before_it_is_rounded() {
    let mut g = Graph::default();
    let x = g.product("x");
    let e = g.op("Exp", &[&x]);
    let y = g.op("MatMul", &[&e, &x]);
    assert_eq!(g.clone().rewritten(&y, Half::Float16).1.half, 1);
    assert_eq!(g.rewritten(&y, Half::BFloat16).1.half, 2, "BF16 has the range");
}

#[test]
fn movements_between_the_input_and_a_product_are_half() {
    let mut g = Graph::default();
    let turned = g.op("Transpose", &["x"]);
    let same = g.op("Identity", &[&turned]);
    let y = g.product(&same);
    let (_, summary) = g.rewritten(&y, Half::Float16);
    assert_eq!((summary.half, summary.casts), (3, 2));
}

#[test]
fn movements_behind_a_float32_op_stay_there_if_that_saves_a_cast() {
    let mut g = Graph::default();
    let softmax = g.op("Softmax", &["x"]);
    let y = g.op("Transpose", &[&softmax]);
    let (model, summary) = g.clone().rewritten(&y, Half::Float16);
    assert_eq!((summary.half, summary.casts), (0, 0));
    let graph = model.graph.unwrap();
    assert_eq!(graph.node, g.nodes);
}

#[test]
fn a_comparison_is_half_only_if_nothing_is_rounded_for_it() {
    for (limit, half) in [(0.5, true), (0.1, false)] {
        let mut g = Graph::default();
        let x = g.product("x");
        let limit = g.scalar(limit);
        let above = g.op("Greater", &[&x, &limit]);
        let y = g.op("Where", &[&above, &x, &x]);
        let (_, summary) = g.rewritten(&y, Half::Float16);
        assert_eq!(summary.half == 3, half, "{summary:?}");
    }
}

/// A model that was trained in mixed precision: its Casts serve as ours.
#[test]
fn casts_of_the_model_are_not_doubled() {
    let mut g = Graph::default();
    let product = g.product("x");
    let down = g.node("Cast", &[&product], &[("to", i64::from(FLOAT16))]);
    let cosine = g.op("Neg", &[&down]);
    let up = g.node("Cast", &[&cosine], &[("to", i64::from(FLOAT))]);
    let y = g.product(&up);
    let (model, summary) = g.rewritten(&y, Half::Float16);
    assert_eq!((summary.half, summary.casts), (2, 2));
    let casts = model.graph.unwrap().node.into_iter().filter(|n| n.op_type() == "Cast").count();
    assert_eq!(casts, 2);
}

#[test]
fn inputs_and_constants_that_are_outputs_keep_their_type() {
    let mut g = Graph::default();
    let y = g.product("x");
    let model = g.model(&[(&y, FLOAT), ("x", FLOAT), ("c0", FLOAT)]);
    let (model, _) = rewrite(model, Half::Float16).unwrap();
    Types::check(&model, Half::Float16);
    assert!(weight(&model, "c0").is_some() && weight(&model, "c0/float16").is_some());
}

#[test]
fn names_that_are_taken_are_left_to_their_owners() {
    let mut g = Graph::default();
    let y = g.product("x");
    g.nodes.push(onnx::NodeProto {
        op_type: Some("Relu".to_string()),
        input: vec!["x".to_string()],
        output: vec!["x/float16".to_string()],
        ..Default::default()
    });
    let (model, _) = rewrite(g.model(&[(&y, FLOAT), ("x/float16", FLOAT)]), Half::Float16).unwrap();
    Types::check(&model, Half::Float16);
}

#[test]
fn an_unknown_op_and_what_comes_of_it_stay_in_float32() {
    let mut g = Graph::default();
    let x = g.product("x");
    let strange = g.op("Frobnicate", &[&x]);
    let y = g.product(&strange);
    let (model, summary) = rewrite(g.model(&[(&y, FLOAT)]), Half::Float16).unwrap();
    assert_eq!((summary.half, summary.casts), (1, 2));
    let graph = model.graph.unwrap();
    let node = graph.node.iter().find(|n| n.op_type() == "Frobnicate").unwrap();
    assert_eq!(node.input, [x]);
    assert_eq!(graph.node.last().unwrap().input[0], strange);
}

#[test]
fn value_info_speaks_of_the_tensors_that_are_there() {
    let mut g = Graph::default();
    let product = g.product("x");
    let y = g.op("Softmax", &[&product]);
    let mut model = g.model(&[(&y, FLOAT)]);
    model.graph.as_mut().unwrap().value_info.push(info(&product, FLOAT));
    let (model, _) = rewrite(model, Half::Float16).unwrap();
    let types = Types::check(&model, Half::Float16);
    let infos = &model.graph.as_ref().unwrap().value_info;
    assert!(infos.len() == 2 && infos.iter().all(|info| types.0[info.name()] == elem_type(info)));
}

#[test]
fn float_data_is_read_like_raw_data() {
    let mut g = Graph::default();
    let y = g.product("x");
    let mut other = g.clone();
    let values = vec![0.5; 16];
    other.constants[0].raw_data = None;
    other.constants[0].float_data = values;
    assert_eq!(g.rewritten(&y, Half::Float16), other.rewritten(&y, Half::Float16));
}

#[test]
fn a_rewritten_model_comes_back_as_it_is() {
    let mut g = Graph::default();
    let first = g.product("x");
    let y = g.layer_norm(&first);
    let model = g.model(&[(&y, FLOAT)]).encode_to_vec();
    let once = to_half(&model, Half::Float16).unwrap();
    assert_ne!(once, model);
    assert_eq!(to_half(&once, Half::Float16).unwrap(), once);
    let error = to_half(&once, Half::BFloat16).unwrap_err();
    assert!(matches!(error, PrecisionError::Already { .. }), "{error}");
}

#[test]
fn bad_models_are_errors_that_say_what_is_wrong() {
    let good = || {
        let mut g = Graph::default();
        let y = g.product("x");
        g.model(&[(&y, FLOAT)])
    };
    let said = |change: fn(&mut onnx::ModelProto)| {
        let mut model = good();
        change(&mut model);
        rewrite(model, Half::Float16).unwrap_err().to_string()
    };
    fn graph(model: &mut onnx::ModelProto) -> &mut onnx::GraphProto {
        model.graph.as_mut().unwrap()
    }
    assert!(
        to_half(b"\xff\xff", Half::Float16)
            .unwrap_err()
            .to_string()
            .contains("cannot be read")
    );
    assert!(said(|m| m.graph = None).contains("no graph"));
    assert!(said(|m| m.opset_import[0].version = Some(13)).contains("opset 13"));
    assert!(said(|m| m.opset_import.clear()).contains("opset 0"));
    assert!(said(|m| graph(m).node[0].input[0] = "nobody".into()).contains("'MatMul0' (MatMul) takes 'nobody'"));
    assert!(said(|m| graph(m).node[0].output[0] = "x".into()).contains("'x' is given twice"));
    assert!(said(|m| graph(m).initializer[0].dims = vec![4, 5]).contains("initializer 'c0': it has 16 elements"));
    assert!(said(|m| graph(m).initializer[0].dims = vec![-4, -4]).contains("are no shape"));
    assert!(said(|m| graph(m).initializer[0].data_location = Some(1)).contains("in another file"));
    let body = |m: &mut onnx::ModelProto| {
        let mut attribute = integer("body", 0);
        attribute.g = Some(onnx::GraphProto::default());
        graph(m).node[0].attribute.push(attribute);
    };
    assert!(said(body).contains("'MatMul0' (MatMul) has a graph inside"));
}

/// A node of a random graph: an op, and which of the earlier tensors it takes.
fn random_graph() -> impl Strategy<Value = (Graph, Vec<String>)> {
    let constants = prop::sample::select(vec![1.0f32, 0.5, 0.1, 1e-12, 1e-5, -10000.0, -1e9, 7e4, f32::MIN, f32::INFINITY]);
    let node = (0..20usize, any::<prop::sample::Index>(), any::<prop::sample::Index>(), constants);
    (
        prop::collection::vec(node, 1..40),
        prop::collection::vec(any::<prop::sample::Index>(), 1..4),
    )
        .prop_map(|(nodes, outputs)| {
            let mut g = Graph::default();
            let mut tensors = vec!["x".to_string()];
            for (op, a, b, value) in nodes {
                let (a, b) = (a.get(&tensors).clone(), b.get(&tensors).clone());
                let new = match op {
                    0..3 => g.product(&a),
                    3 => g.op("MatMul", &[&a, &b]),
                    4 => g.op("Add", &[&a, &b]),
                    5 => g.op("Mul", &[&a, &b]),
                    6 => g.op("Softmax", &[&a]),
                    7 => g.op("Exp", &[&a]),
                    8 => g.op("Transpose", &[&a]),
                    9 => g.op("Relu", &[&a]),
                    10 => g.mean(&a),
                    11 => g.layer_norm(&a),
                    12 | 13 => {
                        let c = g.scalar(value);
                        g.op(if op == 12 { "Add" } else { "Mul" }, &[&c, &a])
                    }
                    14 => {
                        let above = g.op("Greater", &[&a, &b]);
                        g.op("Where", &[&above, &b, &a])
                    }
                    15 => {
                        let infinite = g.op("IsInf", &[&a]);
                        g.op("Where", &[&infinite, &b, &a])
                    }
                    16 => {
                        let down = g.node("Cast", &[&a], &[("to", i64::from(FLOAT16))]);
                        let twice = g.op("Neg", &[&down]);
                        g.node("Cast", &[&twice], &[("to", i64::from(FLOAT))])
                    }
                    17 => g.op("Concat", &[&a, &b]),
                    18 => {
                        let v = g.constant(&[4], &[0.1, 1.0, value, 2.0]);
                        g.op("BatchNormalization", &[&a, &v, &v, &v, &v])
                    }
                    _ => g.op("Erf", &[&a]),
                };
                tensors.push(new);
            }
            let mut chosen: Vec<String> = outputs.iter().map(|i| i.get(&tensors).clone()).collect();
            let mut seen = HashSet::new();
            chosen.retain(|name| seen.insert(name.clone()));
            (g, chosen)
        })
}

proptest! {
    /// Types fit everywhere, borders keep theirs, nothing is cast twice or back, and the summary tells the truth.
    #[test]
    fn every_graph_stays_sound((g, outputs) in random_graph(), bf16 in any::<bool>()) {
        let to = if bf16 { Half::BFloat16 } else { Half::Float16 };
        let outputs: Vec<(&str, i32)> = outputs.iter().map(|o| (o.as_str(), FLOAT)).collect();
        let before = g.model(&outputs);
        let (after, summary) = rewrite(before.clone(), to).unwrap();
        Types::check(&after, to);
        let (old, new) = (before.graph.unwrap(), after.graph.unwrap());
        prop_assert_eq!(&old.input, &new.input);
        prop_assert_eq!(&old.output, &new.output);

        let is_cast = |n: &&onnx::NodeProto| n.op_type() == "Cast";
        let casts: Vec<_> = new.node.iter().filter(is_cast).collect();
        let made: HashMap<&str, &onnx::NodeProto> = casts.iter().map(|n| (n.output[0].as_str(), *n)).collect();
        for cast in &casts {
            if let Some(earlier) = made.get(cast.input[0].as_str()) {
                // Not there and back; FP16 that the model had made itself, on its way to BF16, does go through float32.
                let from = earlier.attribute[0].i() as i32;
                prop_assert!(from != to.data_type() && cast.attribute[0].i() as i32 != FLOAT, "{} behind {}", cast.name(), earlier.name());
            }
        }
        // All nodes that are no Casts are there, in their order, but for their names' endings.
        let ops = |nodes: &[onnx::NodeProto]| nodes.iter().filter(|n| n.op_type() != "Cast").map(|n| n.name().to_string()).collect::<Vec<_>>();
        prop_assert_eq!(ops(&old.node), ops(&new.node));
        // No more Casts than one a tensor, and none without half nodes.
        prop_assert!(summary.casts <= old.node.len() + old.input.len());
        prop_assert!(summary.half > 0 || summary.casts == 0 || bf16 || old.node.iter().any(|n| n.op_type() == "Cast"));
        let own = new.node.iter().filter(is_cast).filter(|n| n.name().ends_with("/Cast")).count();
        prop_assert!(summary.casts <= own, "{} of {own}", summary.casts);
    }

    /// A finite weight never becomes infinite or changes by more than half a step; what half cannot hold stays float32.
    #[test]
    fn weights_are_rounded_to_nearest_or_kept(values in prop::collection::vec(any::<f32>(), 16), scale in -30i32..30, bf16 in any::<bool>()) {
        let to = if bf16 { Half::BFloat16 } else { Half::Float16 };
        let values: Vec<f32> = values.iter().map(|v| if v.is_finite() { v.signum() * (v.abs().fract() + 0.5) * 2f32.powi(scale) } else { *v }).collect();
        let mut g = Graph::default();
        let constant = g.constant(&[4, 4], &values);
        let y = g.op("MatMul", &["x", &constant]);
        let (model, summary) = g.rewritten(&y, to);
        let wanted: Vec<u16> = values.iter().map(|v| if bf16 { bf16::from_f32(*v).to_bits() } else { f16::from_f32(*v).to_bits() }).collect();
        let back = |bits: u16| if bf16 { bf16::from_bits(bits).to_f32() } else { f16::from_bits(bits).to_f32() };
        let overflows = values.iter().zip(&wanted).any(|(v, w)| v.is_finite() && back(*w).is_infinite());
        match weight(&model, &format!("c0/{}", to.name())) {
            Some(half) => {
                prop_assert!(!overflows && summary.half == 1);
                let found: Vec<u16> = half.raw_data().chunks(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
                for ((found, wanted), value) in found.iter().zip(&wanted).zip(&values) {
                    prop_assert!(found == wanted || value.is_nan() && back(*found).is_nan());
                }
            }
            None => prop_assert!(summary.half == 0 && weight(&model, "c0").is_some()),
        }
    }
}

#[test]
fn the_mark_is_written_once() {
    let mut g = Graph::default();
    let y = g.product("x");
    let (model, _) = g.rewritten(&y, Half::BFloat16);
    let marks: Vec<_> = model.metadata_props.iter().filter(|entry| entry.key() == MARK).collect();
    assert!(marks.len() == 1 && marks[0].value() == "bfloat16");
}
