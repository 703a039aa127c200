//! What is around the nodes: inputs, outputs, names, marks, and models that are wrong.

use super::{FLOAT, Graph, Types, elem_type, info, weight};
use crate::precision::{Half, MARK, PrecisionError, rewrite, to_half};
use crate::proto::onnx;
use bytes::Bytes;
use prost::Message;

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
    let model = Bytes::from(g.model(&[(&y, FLOAT)]).encode_to_vec());
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
        to_half(&Bytes::from_static(b"\xff\xff"), Half::Float16)
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
}

#[test]
fn the_mark_is_written_once() {
    let mut g = Graph::default();
    let y = g.product("x");
    let (model, _) = g.rewritten(&y, Half::BFloat16);
    let marks: Vec<_> = model.metadata_props.iter().filter(|entry| entry.key() == MARK).collect();
    assert!(marks.len() == 1 && marks[0].value() == "bfloat16");
}
