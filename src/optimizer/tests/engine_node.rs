//! The node that stands in for a segment, its function and its attributes.

use super::{Keeper, converted, explicit, item, node, small, value};
use crate::graph::{DType, PartialShape};
use crate::optimizer::{Host, Params};
use crate::proto::tensorflow as tf;
use crate::segment::test_graphs::Builder;
use tf::attr_value::Value;

#[test]
fn the_engine_node_stands_in_for_its_segment() {
    let host = Keeper::default();
    let graph = converted(&explicit(3), item("tf_graph", &small(), &["out"]), &host);
    let names: Vec<&str> = graph.node.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["in", "first", "TRTEngineOp_000_000", "last", "out"]);
    let engine = node(&graph, "TRTEngineOp_000_000");
    assert_eq!((engine.op.as_str(), engine.device.as_str()), ("TRTEngineOp", ""));
    assert_eq!(engine.input, ["in", "^first"]);
    assert_eq!(node(&graph, "out").input, ["TRTEngineOp_000_000"]);
    assert_eq!(node(&graph, "last").input, ["^TRTEngineOp_000_000"]);
    assert_eq!(graph.versions.as_ref().unwrap().producer, 1234);
    let library = graph.library.unwrap();
    assert_eq!(
        library.function[0].signature.as_ref().unwrap().name,
        "TRTEngineOp_000_000_native_segment"
    );
    let body = &host.bodies.borrow()["TRTEngineOp_000_000_native_segment"];
    let lines: Vec<String> = body
        .node
        .iter()
        .map(|n| format!("{} = {}({})", n.name, n.op, n.input.join(", ")))
        .collect();
    assert_eq!(
        lines,
        [
            "TensorRTInputPH_0 = _Arg()",
            "w = Const()",
            "a = MatMul(TensorRTInputPH_0, w)",
            "b = Relu(a)",
            "TensorRTOutputPH_0 = _Retval(b)"
        ]
    );
    assert_eq!(body.versions.as_ref().unwrap().producer, 1234);
    let arg = &body.node[0];
    assert_eq!((value(arg, "T"), value(arg, "index")), (&Value::Type(DType::FLOAT.0), &Value::I(0)));
    let Value::List(shapes) = value(arg, "_output_shapes") else {
        panic!("a list of shapes")
    };
    assert_eq!(shapes.shape, [PartialShape::from_dims(&[-1, 4]).to_proto()]);
}

#[test]
fn the_engine_node_has_every_attribute_of_the_op() {
    let host = Keeper::default();
    let params = Params {
        precision_mode: "FP16".into(),
        maximum_cached_engines: 5,
        max_workspace_size_bytes: 77,
        allow_build_at_runtime: false,
        profile_strategy: "Optimal".into(),
        ..explicit(1)
    };
    let mut item = item("tf_graph", &small(), &["out"]);
    item.default_device = "/job:localhost/replica:0/task:0/device:GPU:0".into();
    let graph = converted(&params, item, &host);
    let engine = node(&graph, "TRTEngineOp_000_000");
    assert_eq!(engine.device, "/job:localhost/replica:0/task:0/device:GPU:0");
    let op_def = include_str!("../../../op_defs/TRTEngineOp.pbtxt");
    let mut in_op_def: Vec<&str> = op_def
        .split("\nattr {\n  name: \"")
        .skip(1)
        .map(|rest| &rest[..rest.find('"').unwrap()])
        .collect();
    in_op_def.extend([
        "_use_implicit_batch",
        "_allow_build_at_runtime",
        "_profile_generation_mode",
        "_tftrt_report",
        "_tftrt_segment_hash",
    ]);
    in_op_def.sort_unstable();
    assert_eq!(engine.attr.keys().collect::<Vec<_>>(), in_op_def);
    for (name, expected) in [
        ("precision_mode", Value::S("FP16".into())),
        ("max_cached_engines_count", Value::I(5)),
        ("workspace_size_bytes", Value::I(77)),
        ("max_batch_size", Value::I(-1)),
        ("static_engine", Value::B(false)),
        ("use_calibration", Value::B(false)),
        ("use_explicit_precision", Value::B(false)),
        ("_allow_build_at_runtime", Value::B(false)),
        ("_use_implicit_batch", Value::B(false)),
        ("_profile_generation_mode", Value::B(false)),
        ("profile_strategy", Value::S("Optimal".into())),
        ("serialized_segment", Value::S("".into())),
    ] {
        assert_eq!(value(engine, name), &expected, "{name}");
    }
    let (Value::List(types), Value::List(shapes)) = (value(engine, "InT"), value(engine, "input_shapes")) else {
        panic!("lists")
    };
    assert_eq!(types.r#type, [DType::FLOAT.0]);
    assert_eq!(shapes.shape, [PartialShape::from_dims(&[-1, 4]).to_proto()]);
    let Value::Func(function) = value(engine, "segment_func") else {
        panic!("a function")
    };
    assert_eq!(function.name, "TRTEngineOp_000_000_native_segment");
}

#[test]
fn calibration_is_for_int8_without_explicit_precision() {
    let flags = |precision: &str, b: &Builder| {
        let params = Params {
            precision_mode: precision.into(),
            ..explicit(1)
        };
        let graph = converted(&params, item("tf_graph", b, &["out"]), &Keeper::default());
        let engine = node(&graph, "TRTEngineOp_000_000");
        (
            value(engine, "use_calibration").clone(),
            value(engine, "use_explicit_precision").clone(),
        )
    };
    let mut b = small();
    assert_eq!(flags("FP32", &b), (Value::B(false), Value::B(false)));
    assert_eq!(flags("INT8", &b), (Value::B(true), Value::B(false)));
    b.def.node[4].op = "QuantizeAndDequantizeV2".into();
    assert_eq!(flags("INT8", &b), (Value::B(false), Value::B(true)));
}

#[test]
fn numbers_that_are_taken_are_passed_over() {
    let host = Keeper::default();
    let mut b = small();
    b.add("TRTEngineOp_000_004", "NoSuch", &[]);
    b.def.library = Some(tf::FunctionDefLibrary {
        function: vec![
            host.function_from_graph(b.def.clone(), "TRTEngineOp_001_000_native_segment")
                .unwrap(),
        ],
        ..Default::default()
    });
    let graph = converted(&explicit(1), item("tf_graph", &b, &["out"]), &host);
    node(&graph, "TRTEngineOp_002_000");
    let functions = &graph.library.as_ref().unwrap().function;
    let names: Vec<&str> = functions.iter().map(|f| f.signature.as_ref().unwrap().name.as_str()).collect();
    assert_eq!(names, ["TRTEngineOp_001_000_native_segment", "TRTEngineOp_002_000_native_segment"]);
}
