"""Fused ops that TensorFlow's CPU kernels do not run: graphs made by hand, in ONNX Runtime, against the same written out in TensorFlow.

FusedConv2DBiasActivation was a GPU op of TensorFlow 1 (2.21 has no OpDef of it), and of _FusedDepthwiseConv2dNative, _FusedBatchNormEx and
_MklFusedBatchMatMulV2 only some forms have a kernel that runs here. Needs `cargo build --release --example segment_to_onnx` first.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tensorrt_rtx
from op_cases import weights
from op_cases_recur import BY_HAND
from tensorflow.core.framework import attr_value_pb2, graph_pb2, tensor_shape_pb2
from test_convert_direct import session, to_onnx


def attr(value):
    """A Python value as an attribute."""
    result = attr_value_pb2.AttrValue()
    match value:
        case bool():
            result.b = value
        case int():
            result.i = value
        case float():
            result.f = value
        case str():
            result.s = value.encode()
        case tf.DType():
            result.type = value.as_datatype_enum
        case list() if value and isinstance(value[0], str):
            result.list.s.extend(v.encode() for v in value)
        case list():
            result.list.i.extend(value)
        case _:
            raise TypeError(value)
    return result


def described(node, shape, outputs=1):
    """Writes type and shape of a node's outputs where `segment_to_onnx` reads them."""
    shape = tensor_shape_pb2.TensorShapeProto(dim=[{"size": -1 if size is None else size} for size in shape])
    node.attr["_output_shapes"].list.shape.extend([shape] * outputs)
    node.attr["_output_types"].list.type.extend([tf.float32.as_datatype_enum] * outputs)


def by_hand(op, inputs, out, outputs=1, **attrs):
    """A segment of one node. An input is the shape of an argument, as a list, or the array of a constant; `out` is the result's shape."""
    graph = graph_pb2.GraphDef()
    names = []
    arguments = 0
    for i, value in enumerate(inputs):
        if isinstance(value, list):
            node = graph.node.add(name=f"TensorRTInputPH_{arguments}", op="_Arg")
            node.attr["T"].type, node.attr["index"].i = tf.float32.as_datatype_enum, arguments
            described(node, value)
            arguments += 1
        else:
            node = graph.node.add(name=f"const_{i}", op="Const")
            node.attr["dtype"].type = tf.float32.as_datatype_enum
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.asarray(value, np.float32)))
            described(node, np.shape(value))
        names.append(node.name)
    node = graph.node.add(name="fused", op=op, input=names)
    for name, value in attrs.items():
        node.attr[name].CopyFrom(attr(value))
    described(node, out, outputs)
    end = graph.node.add(name="TensorRTOutputPH_0", op="_Retval", input=["fused"])
    end.attr["T"].type, end.attr["index"].i = tf.float32.as_datatype_enum, 0
    return graph


@dataclasses.dataclass
class Example:
    segment: graph_pb2.GraphDef
    same: Callable  # of the arguments, in ops that TensorFlow runs
    shapes: list  # of the arguments


FILTER, BIAS = weights(3, 3, 3, 4, scale=0.5), weights(4)
CHANNELS = dict(zip(["scale", "offset", "mean", "variance"], [weights(4), weights(4) + 1, weights(4) * 0.3, np.abs(weights(4)) + 0.5]))
IMAGES, RESULT, SIZES = [None, None, None, 3], [None, None, None, 4], [[2, 6, 5, 3]]
ACTIVATIONS = {"Relu": tf.nn.relu, "Relu6": tf.nn.relu6, "Elu": tf.nn.elu, "LeakyRelu": lambda x: tf.nn.leaky_relu(x, 0.3), "Tanh": tf.tanh,
               "Sigmoid": tf.sigmoid, "GeluExact": lambda x: tf.nn.gelu(x, False), "GeluApproximate": lambda x: tf.nn.gelu(x, True)}


def conv(x, strides=1, padding="SAME", **options):
    return tf.nn.conv2d(x, FILTER, strides, padding, **options)


def first(images):
    return tf.transpose(images, [0, 3, 1, 2])


def last(images):
    return tf.transpose(images, [0, 2, 3, 1])


def batch_norm(x):
    scale, offset, mean, variance = CHANNELS.values()
    return (x - mean) / tf.sqrt(variance + 1e-3) * scale + offset


EXAMPLES = {}
WINDOW = dict(strides=[1, 1, 1, 1], padding="SAME")
for name, function in ACTIVATIONS.items():
    EXAMPLES[f"conv_{name}"] = Example(
        by_hand("_FusedConv2D", [IMAGES, FILTER, BIAS], RESULT, fused_ops=["BiasAdd", name], leakyrelu_alpha=0.3, **WINDOW),
        lambda x, f=function: f(conv(x) + BIAS), SIZES)
    EXAMPLES[f"conv_norm_{name}"] = Example(
        by_hand("_FusedConv2D", [IMAGES, FILTER, *CHANNELS.values()], RESULT, fused_ops=["FusedBatchNorm", name], leakyrelu_alpha=0.3, epsilon=1e-3,
                **WINDOW),
        lambda x, f=function: f(batch_norm(conv(x))), SIZES)
    EXAMPLES[f"depthwise_{name}"] = Example(
        by_hand("_FusedDepthwiseConv2dNative", [IMAGES, weights(3, 3, 3, 2), weights(6)], [None, None, None, 6], fused_ops=["BiasAdd", name],
                leakyrelu_alpha=0.3, **WINDOW),
        lambda x, f=function: f(tf.nn.depthwise_conv2d(x, weights(3, 3, 3, 2), [1, 1, 1, 1], "SAME") + weights(6)), SIZES)
EXAMPLES["conv_add"] = Example(
    by_hand("_FusedConv2D", [IMAGES, FILTER, BIAS, RESULT], RESULT, fused_ops=["BiasAdd", "Add", "Relu"], **WINDOW),
    lambda x, y: tf.nn.relu(conv(x) + BIAS + y), [*SIZES, [2, 6, 5, 4]])
EXAMPLES["depthwise_nchw"] = Example(
    by_hand("_FusedDepthwiseConv2dNative", [[None, 3, None, None], weights(3, 3, 3, 2), weights(6)], [None, 6, None, None],
            fused_ops=["BiasAdd", "Relu"], data_format="NCHW", dilations=[1, 1, 2, 2], **WINDOW),
    lambda x: first(tf.nn.relu(tf.nn.depthwise_conv2d(last(x), weights(3, 3, 3, 2), [1, 1, 1, 1], "SAME", dilations=[2, 2]) + weights(6))),
    [[2, 3, 6, 5]])
for mode in ["Identity", "Relu"]:
    for side in [0, 1]:
        EXAMPLES[f"norm_{mode}_{side}"] = Example(
            by_hand("_FusedBatchNormEx", [RESULT, *CHANNELS.values(), *[RESULT] * side], RESULT, 6, activation_mode=mode, is_training=False,
                    epsilon=1e-3, num_side_inputs=side),
            lambda x, *y, m=mode: (tf.nn.relu if m == "Relu" else tf.identity)(tf.add_n([batch_norm(x), *y])), [[2, 3, 5, 4]] * (1 + side))
EXAMPLES["norm_nchw"] = Example(
    by_hand("_FusedBatchNormEx", [[None, 4, None, None], *CHANNELS.values(), [None, 4, None, None]], [None, 4, None, None], 6, activation_mode="Relu",
            is_training=False, epsilon=1e-3, num_side_inputs=1, data_format="NCHW"),
    lambda x, y: tf.nn.relu(first(batch_norm(last(x))) + y), [[2, 4, 3, 5]] * 2)
for name, ops, args, function in [
    ("mul", ["Mul"], [0.125], lambda p: p * 0.125),
    ("mul_add", ["Mul", "Add"], [0.125, weights(1, 1, 5, 5)], lambda p: p * 0.125 + weights(1, 1, 5, 5)),
]:
    EXAMPLES[f"batch_{name}"] = Example(
        by_hand("_MklFusedBatchMatMulV2", [[None, 2, 5, 3], [None, 2, 5, 3], *args], [None, 2, 5, 5], fused_ops=ops, adj_x=False, adj_y=True,
                num_args=len(args)),
        lambda x, y, f=function: f(tf.matmul(x, y, transpose_b=True)), [[3, 2, 5, 3]] * 2)
for mode, activation in [("None", tf.identity), ("Relu", tf.nn.relu)]:
    for side_scale in [0.0, 0.5]:
        for scale in [1.0, 0.25]:
            side = RESULT if side_scale else np.zeros([0, 1, 1, 1])
            EXAMPLES[f"bias_activation_{mode}_{side_scale}_{scale}"] = Example(
                by_hand("FusedConv2DBiasActivation", [IMAGES, FILTER, BIAS, side, scale, side_scale], RESULT, activation_mode=mode, **WINDOW),
                lambda x, *y, a=activation, s=scale, t=side_scale: a(tf.add_n([conv(x) * s, *(t * z for z in y)]) + BIAS),
                [*SIZES, *[[2, 6, 5, 4]] * bool(side_scale)])
EXAMPLES["bias_activation_nchw"] = Example(
    by_hand("FusedConv2DBiasActivation", [[None, 3, None, None], FILTER, BIAS, [None, 4, None, None], 2.0, 1.0], [None, 4, None, None],
            activation_mode="Relu", data_format="NCHW", strides=[1, 1, 2, 2], padding="VALID"),
    lambda x, y: tf.nn.relu(2.0 * first(conv(last(x), 2, "VALID")) + y + BIAS[:, None, None]), [[2, 3, 7, 6], [2, 4, 3, 2]])


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    return to_onnx(tmp_path_factory.mktemp("fused"), {name: example.segment for name, example in EXAMPLES.items()})


@pytest.mark.parametrize("name", EXAMPLES)
def test_as_written_out(name, converted):
    paths, said = converted
    assert name in paths, said
    random = np.random.default_rng(3)
    inputs = [random.uniform(-3, 3, shape).astype(np.float32) for shape in EXAMPLES[name].shapes]
    (found,) = session(paths[name]).run(None, {f"TensorRTInputPH_{i}": x for i, x in enumerate(inputs)})
    expected = EXAMPLES[name].same(*map(tf.constant, inputs)).numpy()
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_each_op_that_has_no_case_is_here():
    assert BY_HAND <= {node.op for example in EXAMPLES.values() for node in example.segment.node}


def test_tensorrt_takes_them(converted):
    paths, _ = converted
    refused = {answer["model"]: answer["error"] for answer in tensorrt_rtx.check(paths.values()) if not answer["ok"]}
    assert refused == {}


@pytest.mark.parametrize(("segment", "reason"), [
    (by_hand("_FusedConv2D", [IMAGES, FILTER, BIAS], RESULT, fused_ops=["BiasAdd", "Mish"], **WINDOW),
     "_FusedConv2D is not supported with the fused op Mish."),
    (by_hand("_FusedConv2D", [IMAGES, FILTER, BIAS, BIAS], RESULT, fused_ops=["BiasAdd"], **WINDOW), "4 inputs where its fused ops"),
    (by_hand("_FusedConv2D", [IMAGES, FILTER, BIAS], RESULT, fused_ops=["BiasAdd"], filter_format="OIHW", **WINDOW),
     "filter_format OIHW is not supported."),
    (by_hand("_FusedBatchNormEx", [RESULT, *CHANNELS.values()], RESULT, 6, activation_mode="Relu", is_training=True), "is_training=True"),
    (by_hand("_FusedBatchNormEx", [RESULT, *CHANNELS.values()], RESULT, 6, activation_mode="Elu", is_training=False), "activation_mode Elu"),
    (by_hand("FusedConv2DBiasActivation", [IMAGES, FILTER, BIAS, RESULT, 1.0, 1.0], RESULT, activation_mode="Elu", **WINDOW), "activation_mode Elu"),
    (by_hand("FusedConv2DBiasActivation", [IMAGES, FILTER, BIAS, RESULT, [], 1.0], RESULT, **WINDOW),
     'The input "conv_input_scale" must be a constant.'),
    (by_hand("FusedConv2DBiasActivation", [IMAGES, FILTER, BIAS, RESULT, 1.0, 1.0], RESULT, data_format="NCHW_VECT_C", **WINDOW), "NCHW_VECT_C"),
])
def test_refused_with_a_reason(segment, reason, tmp_path):
    paths, said = to_onnx(tmp_path, {"refused": segment})
    assert not paths
    assert reason in said


def test_int8_images_are_refused_with_a_reason(tmp_path):
    segment = by_hand("FusedConv2DBiasActivation", [IMAGES, FILTER, BIAS, RESULT, 1.0, 1.0], RESULT, activation_mode="Relu", **WINDOW)
    for node in segment.node:
        if node.name == "TensorRTInputPH_0":
            node.attr["_output_types"].list.type[0] = tf.qint8.as_datatype_enum
    paths, said = to_onnx(tmp_path, {"int8": segment})
    assert not paths
    assert "unsupported data type" in said or "no element type" in said
