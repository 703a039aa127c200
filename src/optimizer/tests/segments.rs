//! Which graphs and segments are converted, and what becomes of the nodes around them.

use super::{Keeper, convert, converted, explicit, item, node, small, two};
use crate::optimizer::{Params, concerns};
use crate::proto::{MESSAGE_LIMIT, tensorflow as tf};
use crate::segment::test_graphs::Builder;
use std::collections::BTreeMap;
use tf::attr_value::Value;

#[test]
fn only_the_main_graph_and_functions_that_ask_are_converted() {
    let host = Keeper::default();
    let b = small();
    let outcome = |id, params: &Params, attrs: Option<&BTreeMap<String, tf::AttrValue>>| {
        let mut item = item(id, &b, &["out"]);
        item.function_attrs = attrs;
        let made = convert(params, item, &host, MESSAGE_LIMIT).unwrap().graph.is_some();
        assert_eq!(concerns(params, id, attrs), made, "{id}");
        made
    };
    let ask = |flag| {
        let value = Some(Value::B(flag));
        BTreeMap::from([("_tftrt_convert_function".to_string(), tf::AttrValue { value })])
    };
    assert!(outcome("tf_graph", &explicit(1), None));
    assert!(!outcome("tf_graph", &explicit(-1), None));
    assert!(!outcome("some_function", &explicit(1), None));
    assert!(!outcome("some_function", &explicit(1), Some(&ask(false))));
    assert!(outcome("some_function", &explicit(1), Some(&ask(true))));
    assert!(outcome("some_function", &explicit(-1), Some(&ask(true))));
}

#[test]
fn preserved_names_may_carry_ports() {
    let outcome = convert(
        &explicit(1),
        item("tf_graph", &small(), &["a:0", "^b"]),
        &Keeper::default(),
        MESSAGE_LIMIT,
    )
    .unwrap();
    assert!(outcome.graph.is_none());
    let report = outcome.record.unwrap().native;
    let reason = "excluded by segmenter option. Most likely an input or output node.";
    let entries: Vec<_> = report.entries().filter(|(_, why, _)| *why == reason).map(|(op, _, _)| op).collect();
    assert_eq!(entries, ["MatMul", "Relu"]);
}

#[test]
fn a_segment_that_fails_stays_native_and_the_others_go_on() {
    let host = Keeper {
        refused: Some("MatMul"),
        ..Keeper::default()
    };
    let outcome = convert(&explicit(1), item("tf_graph", &two(), &["end"]), &host, MESSAGE_LIMIT).unwrap();
    let graph = outcome.graph.unwrap();
    assert_eq!(node(&graph, "TRTEngineOp_000_000").input, ["out", "b"]);
    node(&graph, "a");
    node(&graph, "w");
    let report = outcome.record.unwrap().native;
    let why = "In a segment that stays native: node 'a' cannot be in a function.";
    assert!(
        report
            .entries()
            .any(|(op, reason, count)| (op, reason, count) == ("MatMul", why, 1))
    );
}

#[test]
fn a_segment_over_the_message_limit_stays_native() {
    let mut b = two();
    let weights = tf::TensorProto {
        tensor_content: vec![0u8; 100_000].into(),
        ..Default::default()
    };
    let value = Some(Value::Tensor(weights));
    b.def.node[1].attr.insert("value".into(), tf::AttrValue { value });
    let outcome = convert(&explicit(1), item("tf_graph", &b, &["end"]), &Keeper::default(), 50_000).unwrap();
    assert!(outcome.graph.is_none(), "the whole graph is over the limit as well");
    let report = outcome.record.unwrap().native;
    let reasons: Vec<&str> = report.entries().filter(|(op, ..)| *op == "MatMul").map(|(_, why, _)| why).collect();
    assert!(
        reasons[0].contains("over protobuf's limit of 50000 bytes for one message"),
        "{reasons:?}"
    );
}

#[test]
fn shared_constants_are_copied_and_leave_no_rest() {
    let host = Keeper::default();
    let mut b = two();
    b.def.node.iter_mut().find(|n| n.name == "d").unwrap().input.push("w".into());
    let graph = converted(&explicit(1), item("tf_graph", &b, &["end"]), &host);
    assert!(!graph.node.iter().any(|node| node.name == "w"));
    for body in host.bodies.borrow().values() {
        assert!(body.node.iter().any(|node| node.name == "w"));
    }
    // With a taker outside it stays as well; its control edges are gone from the engines.
    b.add("taker", "NoSuch", &["w"]);
    let graph = converted(&explicit(1), item("tf_graph", &b, &["end"]), &host);
    assert_eq!(node(&graph, "taker").input, ["w"]);
    assert_eq!(node(&graph, "TRTEngineOp_000_000").input, ["in", "^first"]);
}

#[test]
fn what_a_copied_constant_waits_for_the_engine_waits_for() {
    let mut b = small();
    b.def.node.iter_mut().find(|n| n.name == "first").unwrap().op = "NoSuch".into();
    b.def.node[1].input.push("^first".into());
    b.def.node[3].input.retain(|input| !input.starts_with('^'));
    b.add("taker", "NoSuch", &["w"]);
    let graph = converted(&explicit(1), item("tf_graph", &b, &["out"]), &Keeper::default());
    assert_eq!(node(&graph, "TRTEngineOp_000_000").input, ["in", "^w"]);
}

#[test]
fn colocation_with_nodes_that_went_away_is_dropped() {
    let host = Keeper::default();
    let mut b = small();
    let class = |targets: &[&str]| {
        let s = targets.iter().map(|t| bytes::Bytes::from(format!("loc:@{t}"))).collect();
        let list = tf::attr_value::ListValue { s, ..Default::default() };
        tf::AttrValue {
            value: Some(Value::List(list)),
        }
    };
    b.def.node[4].attr.insert("_class".into(), class(&["a", "in"]));
    b.def.node[6].attr.insert("_class".into(), class(&["a"]));
    b.def.node[5].attr.insert("_class".into(), class(&["out", "b"]));
    let graph = converted(&explicit(1), item("tf_graph", &b, &["out"]), &host);
    assert!(!node(&graph, "out").attr.contains_key("_class"));
    assert_eq!(node(&graph, "last").attr["_class"], class(&["out"]));
    let body = &host.bodies.borrow()["TRTEngineOp_000_000_native_segment"];
    assert_eq!(node(body, "b").attr["_class"], class(&["a"]));
}

#[test]
fn bad_graphs_are_errors_that_name_the_node() {
    let mut b = small();
    b.def.node[4].input.push("nowhere".into());
    let message = |b: &Builder| {
        convert(&explicit(1), item("tf_graph", b, &[]), &Keeper::default(), MESSAGE_LIMIT)
            .unwrap_err()
            .to_string()
    };
    assert!(message(&b).contains("node 'b' takes input 'nowhere'"));
    b.def.node[4].input = vec!["a".into(), "^out".into()];
    assert!(message(&b).contains("b, out are on a cycle"));
}
