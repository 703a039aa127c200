//! Graphs that TensorFlow would not make: they contradict themselves, or say too little. Each is refused in words, and none is a panic.

use super::*;

#[test]
fn nodes_without_inference_are_refused_and_do_not_panic() {
    let mut segment = Segment::default()
        .arg(0, &[3])
        .node("relu", "Relu", &["TensorRTInputPH_0"], &[], &[3]);
    segment.infos.remove("relu");
    let graph = segment.graph();
    assert!(supports(&graph, graph.find("relu").unwrap()).is_err());
    // No op's predicate may fall over a node that lacks everything.
    for op in supported_ops() {
        let bare = Segment::default().node("bare", op, &[], &[], &[]).graph();
        let _ = supports(&bare, 0);
    }
}

#[test]
fn more_outputs_than_inputs_to_hand_on_are_refused() {
    let mut segment = Segment::default()
        .arg(0, &[3])
        .node("same", "Identity", &["TensorRTInputPH_0"], &[], &[3])
        .retval(0, "same:1");
    let infos = segment.infos.get_mut("same").unwrap();
    infos.extend_from_within(..);
    let Err(ConvertError::Node { node, reason, .. }) = convert("s", &segment.graph(), Options::default()) else {
        panic!("it is converted");
    };
    assert_eq!((node.as_str(), reason.as_str()), ("same", "Identity has 2 outputs of 1 inputs."));
}

#[test]
fn a_slice_that_ends_beyond_int64_goes_to_the_end() {
    let tensor = |value: i64| tf::TensorProto {
        dtype: DType::INT64.0,
        tensor_shape: Some(PartialShape::from_dims(&[1]).to_proto()),
        int64_val: vec![value],
        ..Default::default()
    };
    let attrs = |value| [("value", Attr::Tensor(tensor(value))), ("dtype", Attr::Type(DType::INT64.0))];
    let model = Segment::default()
        .arg(0, &[3])
        .node("begin", "Const", &[], &attrs(1), &[1])
        .node("size", "Const", &[], &attrs(i64::MAX), &[1])
        .node("slice", "Slice", &["TensorRTInputPH_0", "begin", "size"], &[], &[2])
        .retval(0, "slice")
        .convert();
    assert!(ops(&model).contains(&"Slice"));
}

#[test]
fn sizes_that_no_engine_has_are_refused() {
    let wide = i64::from(i32::MAX) + 1;
    let large = Segment::default()
        .arg(0, &[wide])
        .node("relu", "Relu", &["TensorRTInputPH_0"], &[], &[wide]);
    let reason = |segment: Segment, node: &str| {
        let graph = segment.graph();
        supports(&graph, graph.find(node).unwrap()).unwrap_err()
    };
    assert_eq!(
        reason(large, "relu"),
        "An engine cannot hold input 0: its size 2147483648 is beyond int32"
    );
    let shapes = Segment::default().arg(0, &[1 << 30]).arg(1, &[1]);
    let int = [("dtype", Attr::Type(DType::INT32.0))];
    let mut shapes = shapes.node(
        "both",
        "BroadcastArgs",
        &["TensorRTInputPH_0", "TensorRTInputPH_1"],
        &int,
        &[1 << 30],
    );
    for name in ["TensorRTInputPH_0", "TensorRTInputPH_1"] {
        shapes.infos.get_mut(name).unwrap()[0].dtype = DType::INT32;
    }
    assert_eq!(
        reason(shapes, "both"),
        "BroadcastArgs of a shape of 1073741824 dimensions is not supported."
    );
}

#[test]
fn strides_beyond_int32_are_refused() {
    let mut segment = Segment::default()
        .arg(0, &[1, 4, 4, 2])
        .conv("conv", "TensorRTInputPH_0", &[1, 4, 4, 2]);
    let conv = segment.def.node.iter_mut().find(|node| node.op == "Conv2D").unwrap();
    let strides = Attr::List(tf::attr_value::ListValue {
        i: vec![1, i64::MAX, 1, 1],
        ..Default::default()
    });
    conv.attr.insert("strides".into(), tf::AttrValue { value: Some(strides) });
    let graph = segment.graph();
    let why = supports(&graph, graph.find("conv").unwrap()).unwrap_err();
    assert!(why.starts_with("strides [1, 9223372036854775807, 1, 1]"), "{why}");
}

#[test]
fn a_constant_of_another_shape_than_is_said_of_it_is_refused() {
    let mut segment = Segment::default()
        .arg(0, &[1, 4, 4, 3])
        .conv("conv", "TensorRTInputPH_0", &[1, 4, 4, 8])
        .retval(0, "conv");
    let filter = segment.def.node.iter().find(|node| node.op == "Conv2D").unwrap().input[1].clone();
    segment.infos.get_mut(&filter).unwrap()[0].shape = PartialShape::from_dims(&[3, 3, 3, 9]);
    let Err(ConvertError::Node { node, reason, .. }) = convert("s", &segment.graph(), Options::default()) else {
        panic!("it is converted");
    };
    assert_eq!(node, "conv");
    assert!(reason.contains("is said to have [Some(3), Some(3), Some(3), Some(9)]"), "{reason}");
}
