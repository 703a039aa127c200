//! Segments built by hand: what the table of op cases cannot look at from outside.

use super::*;
use crate::graph::{Constant, PartialShape, TensorInfo};
use crate::proto::{onnx, tensorflow as tf};
use std::collections::HashMap;
use tf::attr_value::Value as Attr;

mod contradictions;

/// A segment in the making: nodes in any order, with what inference would say of their outputs.
#[derive(Default)]
struct Segment {
    def: tf::GraphDef,
    infos: HashMap<String, Vec<TensorInfo>>,
}

impl Segment {
    fn node(mut self, name: &str, op: &str, inputs: &[&str], attrs: &[(&str, Attr)], dims: &[i64]) -> Self {
        let value = |v: &Attr| tf::AttrValue { value: Some(v.clone()) };
        self.def.node.push(tf::NodeDef {
            name: name.into(),
            op: op.into(),
            input: inputs.iter().map(|s| s.to_string()).collect(),
            attr: attrs.iter().map(|(k, v)| (k.to_string(), value(v))).collect(),
            ..Default::default()
        });
        let dtype = match attrs.iter().find(|(k, _)| *k == "dtype") {
            Some((_, Attr::Type(t))) => DType(*t),
            _ => DType::FLOAT,
        };
        let shape = PartialShape::from_dims(dims);
        self.infos.insert(name.into(), vec![TensorInfo { dtype, shape }]);
        self
    }

    fn arg(self, index: i64, dims: &[i64]) -> Self {
        self.node(&format!("TensorRTInputPH_{index}"), "_Arg", &[], &[("index", Attr::I(index))], dims)
    }

    fn retval(self, index: i64, of: &str) -> Self {
        self.node(
            &format!("TensorRTOutputPH_{index}"),
            "_Retval",
            &[of],
            &[("index", Attr::I(index))],
            &[],
        )
    }

    fn floats(self, name: &str, dims: &[i64]) -> Self {
        let tensor = tf::TensorProto {
            dtype: DType::FLOAT.0,
            tensor_shape: Some(PartialShape::from_dims(dims).to_proto()),
            float_val: vec![1.0],
            ..Default::default()
        };
        self.node(name, "Const", &[], &[("value", Attr::Tensor(tensor))], dims)
    }

    fn ints(self, name: &str, values: &[i32]) -> Self {
        let dims = [values.len() as i64];
        let tensor = tf::TensorProto {
            dtype: DType::INT32.0,
            tensor_shape: Some(PartialShape::from_dims(&dims).to_proto()),
            int_val: values.to_vec(),
            ..Default::default()
        };
        let attrs = [("value", Attr::Tensor(tensor)), ("dtype", Attr::Type(DType::INT32.0))];
        self.node(name, "Const", &[], &attrs, &dims)
    }

    fn conv(self, name: &str, x: &str, dims: &[i64]) -> Self {
        let attrs = [
            ("padding", Attr::S(bytes::Bytes::from_static(b"SAME"))),
            (
                "strides",
                Attr::List(tf::attr_value::ListValue {
                    i: vec![1, 1, 1, 1],
                    ..Default::default()
                }),
            ),
        ];
        let weights = format!("{name}/weights");
        self.floats(&weights, &[3, 3, 2, 2])
            .node(name, "Conv2D", &[x, &weights], &attrs, dims)
    }

    fn graph(self) -> Graph {
        Graph::new(self.def, self.infos).unwrap()
    }

    fn convert(self) -> onnx::GraphProto {
        let model = convert("segment", &self.graph(), Options::default()).unwrap();
        onnx::ModelProto::decode(model.onnx).unwrap().graph.unwrap()
    }
}

const IMAGE: &[i64] = &[-1, 8, 8, 2];

/// The ops of the nodes, in order.
fn ops(graph: &onnx::GraphProto) -> Vec<&str> {
    graph.node.iter().map(|n| n.op_type()).collect()
}

#[test]
fn transposes_cancel_between_convolutions() {
    let graph = Segment::default()
        .arg(0, IMAGE)
        .conv("a", "TensorRTInputPH_0", IMAGE)
        .floats("bias", &[2])
        .node("biased", "BiasAdd", &["a", "bias"], &[], IMAGE)
        .node("relu", "Relu", &["biased"], &[], IMAGE)
        .conv("b", "relu", IMAGE)
        .node("sum", "AddV2", &["a", "b"], &[], IMAGE)
        .retval(0, "sum")
        .convert();
    assert_eq!(ops(&graph), ["Transpose", "Conv", "Add", "Relu", "Conv", "Add", "Transpose"]);
    let bias = graph.initializer.iter().find(|i| i.name().starts_with("biased")).unwrap();
    assert_eq!(bias.dims, [1, 2, 1, 1]);
}

#[test]
fn an_image_that_two_convolutions_take_is_transposed_once() {
    let graph = Segment::default()
        .arg(0, IMAGE)
        .conv("a", "TensorRTInputPH_0", IMAGE)
        .conv("b", "TensorRTInputPH_0", IMAGE)
        .node("sum", "AddV2", &["a", "b"], &[], IMAGE)
        .ints("axes", &[1, 2])
        .node("mean", "Mean", &["sum", "axes"], &[], &[-1, 2])
        .retval(0, "mean")
        .convert();
    assert_eq!(ops(&graph), ["Transpose", "Conv", "Conv", "Add", "ReduceMean"]);
    assert_eq!(graph.node[4].attribute[0].ints, [2, 3]);
    assert_eq!(graph.node[4].output, ["TensorRTOutputPH_0"]);
}

/// A float segment whose nodes are of the types given: each takes the one before it.
fn chained(nodes: &[(&str, DType)]) -> Segment {
    let (mut segment, mut before) = (Segment::default().arg(0, &[-1, 2]), "TensorRTInputPH_0".to_string());
    for (i, (op, dtype)) in nodes.iter().enumerate() {
        let name = format!("n{i}");
        let inputs = if *op == "Mul" {
            vec![before.as_str(); 2]
        } else {
            vec![before.as_str()]
        };
        segment = segment.node(&name, op, &inputs, &[("dtype", Attr::Type(dtype.0))], &[-1, 2]);
        before = name;
    }
    segment.retval(0, &before)
}

#[test]
fn carried_types_cost_what_their_rounding_costs() {
    for (nodes, expected) in [
        // float64 is there by name only.
        (
            vec![("Cast", DType::DOUBLE), ("Neg", DType::DOUBLE), ("Cast", DType::FLOAT)],
            vec!["Neg"],
        ),
        (
            vec![("Cast", DType::BFLOAT16), ("Relu", DType::BFLOAT16), ("Cast", DType::FLOAT)],
            vec!["Cast", "Cast", "Relu"],
        ),
        (
            vec![
                ("Cast", DType::UINT8),
                ("Mul", DType::UINT8),
                ("Cast", DType::BFLOAT16),
                ("Cast", DType::FLOAT),
            ],
            vec!["Cast", "Mod", "Add", "Mod", "Mul", "Mod", "Add", "Mod", "Cast"],
        ),
        (
            vec![("Cast", DType::BOOL), ("Cast", DType::INT8), ("Cast", DType::FLOAT)],
            vec!["Cast", "Cast", "Cast"],
        ),
    ] {
        assert_eq!(ops(&chained(&nodes).convert()), expected, "{nodes:?}");
    }
}

#[test]
fn what_float32_cannot_carry_is_refused_in_words() {
    let refused = |nodes: &[(&str, DType)], at: usize| {
        let graph = chained(nodes).graph();
        let id = (0..graph.nodes.len())
            .find(|&id| graph.nodes[id].name() == format!("n{at}"))
            .unwrap();
        supports(&graph, id).err()
    };
    let (double, float) = (DType::DOUBLE, DType::FLOAT);
    let sums = [("Cast", double), ("Mul", double), ("Mul", double), ("Cast", float)];
    assert!(refused(&sums, 1).unwrap().contains("only if it is cast to float32 next"));
    assert_eq!(refused(&[("Cast", double), ("Mul", double), ("Cast", float)], 1), None);
    let integers = [("Cast", DType::INT64), ("Cast", double), ("Cast", float)];
    assert!(refused(&integers, 1).unwrap().contains("round twice"));
    let softmax = [("Cast", DType::BFLOAT16), ("Softmax", DType::BFLOAT16), ("Cast", float)];
    assert!(refused(&softmax, 1).unwrap().contains("engines carry bfloat16 in float32"));
    let unsigned = [("Cast", DType::UINT8), ("Sign", DType::UINT8), ("Cast", float)];
    assert!(refused(&unsigned, 1).unwrap().contains("cannot be wrapped around"));
}

#[test]
fn a_models_own_transposes_cancel_with_the_layouts() {
    let (nchw, attrs) = ([-1, 2, 8, 8], []);
    let graph = Segment::default()
        .arg(0, &nchw)
        .ints("to_last", &[0, 2, 3, 1])
        .ints("to_first", &[0, 3, 1, 2])
        .node("in", "Transpose", &["TensorRTInputPH_0", "to_last"], &attrs, IMAGE)
        .conv("a", "in", IMAGE)
        .node("out", "Transpose", &["a", "to_first"], &attrs, &nchw)
        .retval(0, "out")
        .convert();
    assert_eq!(ops(&graph), ["Conv"]);
}

/// What Keras makes of a Dense layer over channels: pixels as rows, a product, and back with sizes that are known but for the batch.
fn dense_over_channels(rows: &[i64]) -> Segment {
    Segment::default()
        .arg(0, IMAGE)
        .conv("a", "TensorRTInputPH_0", IMAGE)
        .ints("rows", &[-1, 2])
        .node("flat", "Reshape", &["a", "rows"], &[], rows)
        .floats("weights", &[2, 5])
        .node("product", "MatMul", &["flat", "weights"], &[], &[rows[0], 5])
        .ints("sizes", &[-1, 8, 8, 5])
        .node("image", "Reshape", &["product", "sizes"], &[], &[-1, 8, 8, 5])
        .node("relu", "Relu", &["image"], &[], &[-1, 8, 8, 5])
        .ints("axes", &[1, 2])
        .node("mean", "Mean", &["relu", "axes"], &[], &[-1, 5])
}

#[test]
fn a_dense_layer_over_channels_is_a_convolution() {
    let graph = dense_over_channels(&[-1, 2]).retval(0, "mean").convert();
    assert_eq!(ops(&graph), ["Transpose", "Conv", "Conv", "Relu", "ReduceMean"]);
    let weights = graph.initializer.iter().find(|i| i.name().starts_with("product")).unwrap();
    assert_eq!(weights.dims, [5, 2, 1, 1]);
}

#[test]
fn the_pixels_themselves_are_made_where_something_else_takes_them() {
    let graph = dense_over_channels(&[-1, 2]).retval(0, "mean").retval(1, "product").convert();
    assert_eq!(
        ops(&graph),
        ["Transpose", "Conv", "Conv", "Relu", "ReduceMean", "Transpose", "Reshape"]
    );
}

/// A dense layer over the channels of images of any size, given the `places` of the convolution's shape and its own channels back. Its
/// shape is taken apart as tf.tensordot does it, so that inference loses the sizes.
fn dense_over_open_images(places: &[i32]) -> onnx::GraphProto {
    let (open, size) = ([-1, -1, -1, 2], [("dtype", Attr::Type(DType::INT32.0))]);
    Segment::default()
        .arg(0, &open)
        .conv("a", "TensorRTInputPH_0", &open)
        .node("tanh", "Tanh", &["a"], &[], &open)
        .ints("rows", &[-1, 2])
        .node("flat", "Reshape", &["tanh", "rows"], &[], &[-1, 2])
        .floats("weights", &[2, 2])
        .node("product", "MatMul", &["flat", "weights"], &[], &[-1, 2])
        .node("shape", "Shape", &["a"], &size, &[4])
        .ints("places", places)
        .ints("axis", &[0])
        .ints("units", &[2])
        .node("free", "GatherV2", &["shape", "places", "axis"], &size, &[3])
        .node("sizes", "ConcatV2", &["free", "units", "axis"], &size, &[4])
        .node("image", "Reshape", &["product", "sizes"], &[], &open)
        .conv("b", "image", &open)
        .retval(0, "b")
        .convert()
}

#[test]
fn images_get_their_open_sizes_back_in_place() {
    assert_eq!(
        ops(&dense_over_open_images(&[0, 1, 2])),
        ["Transpose", "Conv", "Tanh", "Conv", "Conv", "Transpose"]
    );
}

#[test]
fn images_that_get_other_open_sizes_are_moved() {
    let graph = dense_over_open_images(&[0, 2, 1]);
    assert_eq!(ops(&graph).iter().filter(|&&op| op == "Transpose").count(), 4);
}

#[test]
fn images_of_one_pixel_change_their_order_without_a_transpose() {
    let pixel = [-1, 1, 1, 2];
    let graph = Segment::default()
        .arg(0, &[-1, 2])
        .ints("sizes", &[-1, 1, 1, 2])
        .node("image", "Reshape", &["TensorRTInputPH_0", "sizes"], &[], &pixel)
        .conv("a", "image", &pixel)
        .retval(0, "a")
        .convert();
    assert_eq!(ops(&graph), ["Reshape", "Reshape", "Conv", "Reshape"]);
}

#[test]
fn a_part_of_an_image_is_cut_as_the_image_lies() {
    let part = [-1, 6, 8, 2];
    let masks = [("begin_mask", Attr::I(0b1101)), ("end_mask", Attr::I(0b1101))];
    let graph = Segment::default()
        .arg(0, IMAGE)
        .conv("a", "TensorRTInputPH_0", IMAGE)
        .ints("begin", &[0, 1, 0, 0])
        .ints("end", &[0, 7, 0, 0])
        .ints("strides", &[1, 1, 1, 1])
        .node("part", "StridedSlice", &["a", "begin", "end", "strides"], &masks, &part)
        .ints("from", &[0, 0, 2, 0])
        .ints("size", &[-1, -1, 4, -1])
        .node("smaller", "Slice", &["part", "from", "size"], &[], &[-1, 6, 4, 2])
        .conv("b", "smaller", &[-1, 6, 4, 2])
        .ints("axes", &[1, 2])
        .node("mean", "Mean", &["b", "axes"], &[], &[-1, 2])
        .retval(0, "mean")
        .convert();
    assert_eq!(ops(&graph), ["Transpose", "Conv", "Slice", "Slice", "Conv", "ReduceMean"]);
    let axes = |node: usize| {
        let name = &graph.node[node].input[3];
        let tensor = graph.initializer.iter().find(|i| i.name() == name).unwrap();
        let bytes = tensor.raw_data.as_ref().unwrap();
        bytes
            .chunks_exact(8)
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(axes(2), [2], "the height");
    assert_eq!(axes(3), [0, 2, 3, 1]);
}

#[test]
fn without_the_layout_every_convolution_has_its_transposes() {
    let segment = || {
        Segment::default()
            .arg(0, IMAGE)
            .conv("a", "TensorRTInputPH_0", IMAGE)
            .node("relu", "Relu", &["a"], &[], IMAGE)
            .conv("b", "relu", IMAGE)
            .retval(0, "b")
    };
    assert_eq!(ops(&segment().convert()), ["Transpose", "Conv", "Relu", "Conv", "Transpose"]);
    let model = convert(
        "segment",
        &segment().graph(),
        Options {
            layout: Layout::Restored,
            ..Options::default()
        },
    )
    .unwrap();
    let graph = onnx::ModelProto::decode(model.onnx).unwrap().graph.unwrap();
    let around = ["Transpose", "Conv", "Transpose"];
    assert_eq!(ops(&graph), [&around[..], &["Relu"], &around[..]].concat());
}

#[test]
fn outputs_that_are_inputs_constants_or_twice_the_same_get_identities() {
    let graph = Segment::default()
        .arg(0, &[-1])
        .floats("c", &[3])
        .node("relu", "Relu", &["TensorRTInputPH_0"], &[], &[-1])
        .retval(0, "TensorRTInputPH_0")
        .retval(1, "c")
        .retval(2, "relu")
        .retval(3, "relu")
        .convert();
    assert_eq!(ops(&graph), ["Relu", "Identity", "Identity", "Identity"]);
    assert_eq!(graph.node[0].output, ["TensorRTOutputPH_2"]);
    assert_eq!(graph.node[3].input, ["TensorRTOutputPH_2"]);
    assert_eq!(graph.input[0].name(), "TensorRTInputPH_0");
}

#[test]
fn a_reshape_to_known_sizes_and_one_open_one_needs_no_shape_at_run_time() {
    let int32 = || ("dtype", Attr::Type(DType::INT32.0));
    let graph = Segment::default()
        .arg(0, &[-1, 6])
        .node("shape", "Shape", &["TensorRTInputPH_0"], &[int32()], &[2])
        .ints("zero", &[0])
        .ints("one", &[1])
        .node("rows", "StridedSlice", &["shape", "zero", "one", "one"], &[int32()], &[1])
        .ints("rest", &[2, 3])
        .ints("axis", &[0])
        .node("sizes", "ConcatV2", &["rows", "rest", "axis"], &[int32()], &[3])
        .node("reshape", "Reshape", &["TensorRTInputPH_0", "sizes"], &[], &[-1, -1, -1])
        .retval(0, "reshape")
        .convert();
    assert_eq!(ops(&graph), ["Reshape"]);
    let sizes = Constant {
        dtype: DType::INT64,
        dims: vec![3],
        data: graph.initializer[0].raw_data.clone().unwrap(),
    };
    assert_eq!(sizes.to_i64s().unwrap(), [-1, 2, 3]);
}

#[test]
fn a_node_that_is_there_already_is_not_made_again() {
    let graph = Segment::default()
        .arg(0, &[-1])
        .node("a", "Exp", &["TensorRTInputPH_0"], &[], &[-1])
        .node("b", "Exp", &["TensorRTInputPH_0"], &[], &[-1])
        .node("sum", "AddV2", &["a", "b"], &[], &[-1])
        .retval(0, "sum")
        .convert();
    assert_eq!(ops(&graph), ["Exp", "Add"]);
    assert_eq!(graph.node[1].input, ["a/Exp", "a/Exp"]);
}

#[test]
fn open_dimensions_have_names_of_their_own() {
    let graph = Segment::default()
        .arg(0, &[-1, 3])
        .arg(1, &[-1, 3])
        .node("sum", "AddV2", &["TensorRTInputPH_0", "TensorRTInputPH_1"], &[], &[-1, 3])
        .retval(0, "sum")
        .convert();
    let names = |v: &onnx::ValueInfoProto| match v.r#type.clone().unwrap().value.unwrap() {
        onnx::type_proto::Value::TensorType(t) => t.shape.unwrap().dim.into_iter().map(|d| d.value.unwrap()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    use onnx::tensor_shape_proto::dimension::Value as Dim;
    assert_eq!(
        names(&graph.input[0]),
        [Dim::DimParam("TensorRTInputPH_0_0".into()), Dim::DimValue(3)]
    );
    assert_eq!(names(&graph.input[1])[0], Dim::DimParam("TensorRTInputPH_1_0".into()));
}

#[test]
fn an_op_that_cannot_be_converted_is_named_with_its_node_and_segment() {
    let unknown = Segment::default()
        .arg(0, &[3])
        .node("odd", "Bessel", &["TensorRTInputPH_0"], &[], &[3])
        .retval(0, "odd");
    let why = convert("TRTEngineOp_000_000", &unknown.graph(), Options::default())
        .unwrap_err()
        .to_string();
    assert_eq!(
        why,
        "segment 'TRTEngineOp_000_000': node 'odd' (Bessel) cannot be converted: Op type Bessel is not supported."
    );
    let axis_at_run_time = Segment::default()
        .arg(0, &[3, 3])
        .arg(1, &[1])
        .node("sum", "Sum", &["TensorRTInputPH_0", "TensorRTInputPH_1"], &[], &[3])
        .retval(0, "sum");
    let ConvertError::Node { node, op, reason, .. } = convert("s", &axis_at_run_time.graph(), Options::default()).unwrap_err() else {
        panic!("a node is at fault");
    };
    assert_eq!((node.as_str(), op.as_str()), ("sum", "Sum"));
    assert_eq!(reason, "The input \"axis\" must be a constant.");
}

#[test]
fn reasons_tell_type_and_rank() {
    let string = ("dtype", Attr::Type(DType::STRING.0));
    let graph = Segment::default()
        .node("text", "Placeholder", &[], &[string], &[3])
        .node("same", "Identity", &["text"], &[], &[3])
        .node("bools", "Placeholder", &[], &[("dtype", Attr::Type(DType::BOOL.0))], &[3])
        .node("relu", "Relu", &["bools"], &[], &[3])
        .graph();
    let reason = |name: &str| supports(&graph, graph.find(name).unwrap()).unwrap_err();
    assert_eq!(reason("text"), "Op type Placeholder is not supported.");
    assert_eq!(reason("same"), "An engine cannot hold input 0: unsupported data type string");
    assert_eq!(
        reason("relu"),
        "Relu op is not supported for input 0 - Allowed input dtypes: [float32, float16, int32, int64]. Received: bool"
    );
}

#[test]
fn blocks_of_channels_first_images_are_moved_as_they_lie() {
    let nchw = [
        ("data_format", Attr::S(bytes::Bytes::from_static(b"NCHW"))),
        ("block_size", Attr::I(2)),
    ];
    let graph = Segment::default()
        .arg(0, &[-1, 8, 4, 6])
        .node("large", "DepthToSpace", &["TensorRTInputPH_0"], &nchw, &[-1, 2, 8, 12])
        .node("small", "SpaceToDepth", &["large"], &nchw, &[-1, 8, 4, 6])
        .retval(0, "small")
        .convert();
    assert_eq!(ops(&graph), ["DepthToSpace", "SpaceToDepth"]);
    assert_eq!(graph.node[0].attribute.len(), 1, "the mode is ONNX's default, DCR");
}

#[test]
fn what_images_lack_is_told() {
    let set = |name| (name, Attr::B(true));
    let by_two = Attr::List(tf::attr_value::ListValue {
        i: vec![1, 2, 2, 1],
        ..Default::default()
    });
    let back = [("padding", Attr::S(bytes::Bytes::from_static(b"SAME"))), ("strides", by_two)];
    let format = |f: &'static [u8]| ("data_format", Attr::S(bytes::Bytes::from_static(f)));
    let size = ("dtype", Attr::Type(DType::INT32.0));
    let graph = Segment::default()
        .arg(0, IMAGE)
        .ints("size", &[4, 4])
        .ints("nothing", &[0, 4])
        .ints("block", &[2, 2, 2, 2])
        .ints("border", &[0; 8])
        .node("sizes", "_Arg", &[], &[("index", Attr::I(1)), size], &[4])
        .floats("weights", &[3, 3, 2, 2])
        .node(
            "both",
            "ResizeBilinear",
            &["TensorRTInputPH_0", "size"],
            &[set("align_corners"), set("half_pixel_centers")],
            IMAGE,
        )
        .node("gone", "ResizeNearestNeighbor", &["TensorRTInputPH_0", "nothing"], &[], IMAGE)
        .node(
            "back",
            "Conv2DBackpropInput",
            &["sizes", "weights", "TensorRTInputPH_0"],
            &back,
            &[-1, -1, -1, 2],
        )
        .node("vect", "SpaceToDepth", &["TensorRTInputPH_0"], &[format(b"NCHW_VECT_C")], IMAGE)
        .node("deep", "SpaceToBatchND", &["TensorRTInputPH_0", "block", "border"], &[], IMAGE)
        .node("wide", "LRN", &["TensorRTInputPH_0"], &[("depth_radius", Attr::I(8))], IMAGE)
        .graph();
    let reason = |name: &str| supports(&graph, graph.find(name).unwrap()).unwrap_err();
    assert_eq!(
        reason("both"),
        "ResizeBilinear takes only one of align_corners and half_pixel_centers."
    );
    assert_eq!(
        reason("gone"),
        "ResizeNearestNeighbor needs a height and a width over 0, not [0, 4]."
    );
    assert_eq!(
        reason("back"),
        "Conv2DBackpropInput with strides over 1 needs input_sizes that are known."
    );
    assert_eq!(reason("vect"), "data_format NCHW_VECT_C is not supported.");
    assert_eq!(reason("deep"), "block_shape [2, 2, 2, 2] does not fit an input of rank 4.");
    assert_eq!(reason("wide"), "LRN is not supported for depth_radius 8: TensorRT takes 0 to 7.");
}

#[test]
fn a_model_over_the_limit_is_refused_before_it_is_written() {
    let segment = || Segment::default().arg(0, &[100]).floats("c", &[100]);
    let segment = || {
        segment()
            .node("sum", "AddV2", &["TensorRTInputPH_0", "c"], &[], &[100])
            .retval(0, "sum")
    };
    let graph = segment().graph();
    let size = convert("s", &graph, Options::default()).unwrap().onnx.len();
    assert_eq!(
        convert_within("s", &graph, Options::default(), Claims::default(), size).unwrap_err(),
        ConvertError::TooLarge {
            segment: "s".into(),
            bytes: size,
            limit: size
        }
    );
    assert!(convert_within("s", &graph, Options::default(), Claims::default(), size + 1).is_ok());
}

#[test]
fn arguments_have_to_be_numbered() {
    let graph = Segment::default().arg(1, &[3]).retval(0, "TensorRTInputPH_1").graph();
    let why = convert("s", &graph, Options::default()).unwrap_err().to_string();
    assert!(why.contains("'TensorRTInputPH_1' (_Arg)"), "{why}");
}
