"""Models that were trained with simulated quantisation (QAT), in INT8 without calibration (guide, section 4.2).

On the CPU the steps are arithmetic, and the numbers native TensorFlow's. What an engine in INT8 gets (QuantizeLinear and DequantizeLinear) is
looked at as ONNX, run in ONNX Runtime, and given to TensorRT-RTX's parser and builder. Needs
`cargo build --release --example segment_to_onnx --example onnx_to_half --example trt_check` first.
"""

import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
import tensorrt_rtx
from onnx import numpy_helper
from tensorflow.python.compiler.tensorrt import trt_convert as trt
from test_convert_direct import PROGRAM, segment, to_onnx
from test_precision import to_half

raw = tf.raw_ops


def toolkit(x, limit, axis=None):
    """As NVIDIA's toolkit for TensorFlow 2 does it: symmetric, -127 to 127."""
    if axis is None:
        return raw.QuantizeAndDequantizeV2(input=x, input_min=-limit, input_max=limit, range_given=True, narrow_range=True)
    return raw.QuantizeAndDequantizeV3(input=x, input_min=-limit, input_max=limit, num_bits=8, narrow_range=True, axis=axis)


def fake_quant(x, limit, axis=None):
    """FakeQuant ops with ranges around zero."""
    if axis is None:
        return tf.quantization.fake_quant_with_min_max_vars(x, -limit, limit)
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(x, -limit, limit, narrow_range=True)


def skewed(x, limit, axis=None):
    """As TensorFlow's own model optimization does it: weights around zero, activations as they come."""
    if axis is None:
        return tf.quantization.fake_quant_with_min_max_vars(x, -0.1 * limit, limit)
    return fake_quant(x, limit, axis)


WAYS = {"toolkit": toolkit, "fake_quant": fake_quant, "skewed": skewed}


class Network(tf.Module):
    """Two convolutions, a depthwise one with a residual, and a dense layer: [batch, 12, 12, 3] to [batch, 5]."""

    def __init__(self, way):
        super().__init__()
        random = np.random.default_rng(11)

        def weight(*shape):
            """A weight, and the largest magnitude in each of its output channels."""
            values = (random.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)
            return tf.Variable(values), np.abs(values).max(axis=tuple(range(len(shape) - 1)))

        self.way = way
        self.first, self.second = weight(3, 3, 3, 8), weight(3, 3, 8, 8)
        self.depthwise, self.dense = weight(3, 3, 8, 1), weight(8, 5)
        self.bias = tf.Variable(random.standard_normal(8).astype(np.float32) * 0.1)

    def channels(self, weight):
        """A weight in steps of its own for each output channel."""
        variable, limits = weight
        return self.way(variable, limits, variable.shape.rank - 1)

    @tf.function(input_signature=[tf.TensorSpec([None, 12, 12, 3], tf.float32, name="x")])
    def __call__(self, x):
        x = self.way(x, 3.0)
        x = self.way(tf.nn.relu(tf.nn.conv2d(x, self.channels(self.first), 1, "SAME") + self.bias), 4.0)
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        y = self.way(tf.nn.relu(tf.nn.conv2d(x, self.channels(self.second), 1, "SAME")), 2.5)
        y = self.way(tf.nn.depthwise_conv2d(y, self.channels(self.depthwise), [1, 1, 1, 1], "SAME") + x, 4.0)
        y = self.way(tf.reduce_mean(y, [1, 2]), 2.0)
        return {"y": tf.matmul(y, self.channels(self.dense))}


def images(batch=6):
    return np.random.default_rng(5).uniform(-3, 3, (batch, 12, 12, 3)).astype(np.float32)


def assert_steps(found, expected, share=0.35):
    """Sums in another order may lead over the border between two steps: rarely, and then little changes."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    scale = np.abs(expected).max()
    assert np.abs(found - expected).max() < 0.02 * scale
    assert np.mean(np.abs(found - expected) > 1e-4 * scale) < share


@pytest.fixture(scope="module", params=WAYS)
def network(request, tmp_path_factory):
    network = Network(WAYS[request.param])
    folder = tmp_path_factory.mktemp("network") / request.param
    tf.saved_model.save(network, str(folder))
    return request.param, network, folder


@pytest.mark.parametrize("dynamic", [False, True], ids=["implicit_batch", "dynamic_shape"])
def test_int8_without_calibration(network, dynamic, tmp_path, stats, run_isolated):
    name, native, folder = network
    converter = trt.TrtGraphConverterV2(
        input_saved_model_dir=str(folder),
        precision_mode=trt.TrtPrecisionMode.INT8,
        use_calibration=False,
        use_dynamic_shape=dynamic,
        dynamic_shape_profile_strategy="Range",
    )
    function = converter.convert()
    engines = [node for node in function.graph.as_graph_def().node if node.op == "TRTEngineOp"]
    assert len(engines) == 1
    assert engines[0].attr["precision_mode"].s == b"INT8"
    assert not engines[0].attr["use_calibration"].b
    outside = {node.op for node in function.graph.as_graph_def().node} - {"TRTEngineOp", "Placeholder", "Identity", "NoOp", "Const"}
    assert outside == set()
    x = images()
    converter.build(input_fn=lambda: [[x], [x[:1]]])
    for batch in (6, 1):
        (found,) = tf.nest.flatten(function(tf.constant(x[:batch])))
        assert_steps(found.numpy(), native(x[:batch])["y"].numpy())
    assert stats["engine_calls"] >= 2
    assert stats["native_fallbacks"] == 0
    if not dynamic or name != "toolkit":
        return
    # Once through a file, and a process that never saw the converter.
    converter.save(str(tmp_path / "saved"))
    np.save(tmp_path / "x.npy", x)
    run_isolated(f"""
        import numpy as np, tensorflow as tf, tftrt
        loaded = tf.saved_model.load({str(tmp_path / "saved")!r})
        y = loaded.signatures["serving_default"](x=tf.constant(np.load({str(tmp_path / "x.npy")!r})))["y"]
        assert tftrt.stats()["totals"]["native_fallbacks"] == 0
        np.save({str(tmp_path / "y.npy")!r}, y.numpy())
    """)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), function(tf.constant(x))[0].numpy())


@pytest.mark.parametrize("mode", ["FP32", "FP16", "INT8"])
def test_the_steps_are_exact_on_the_cpu(convert_function, mode):
    """In no precision mode does the CPU round otherwise than TensorFlow, halves between two steps included."""
    halves = (np.arange(-300, 301) / 2 * (2.0 / 127)).astype(np.float32)
    converted = convert_function(lambda x: toolkit(x, 2.0) * 1.0, [tf.TensorSpec([None])], precision=mode)
    converted.build([halves])
    (found,), (expected,) = (tf.nest.flatten(function(tf.constant(halves))) for function in (converted, converted.native))
    np.testing.assert_array_equal(found.numpy(), expected.numpy())


def int8_onnx(folder, definition, name="int8"):
    source, target = folder / f"{name}.pb", folder / f"{name}.onnx"
    source.write_bytes(definition.SerializeToString())
    run = subprocess.run([PROGRAM, "--int8", source, target], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return target


@pytest.fixture(scope="module")
def int8(network, tmp_path_factory):
    name, native, _ = network
    definition, frozen = segment(native.__call__, native.__call__.input_signature, fold=False)
    return name, frozen, int8_onnx(tmp_path_factory.mktemp(name), definition, name)


PRODUCTS = {"Conv", "MatMul", "Gemm"}


def products(model):
    """Each product with the ops that give its first two operands."""
    giver = {output: node for node in model.graph.node for output in node.output}
    found = [node for node in model.graph.node if node.op_type in PRODUCTS]
    return [(node, [giver[name].op_type if name in giver else None for name in node.input[:2]]) for node in found]


def unfused(path):
    """A session that computes what the model says, node by node: ONNX Runtime would make int8 kernels of its own of it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def test_every_product_is_between_quantised_operands(int8):
    name, _, path = int8
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    found = products(model)
    assert len(found) == 4
    if name == "skewed":
        # Steps that are not around zero are none of TensorRT's: weights alone are int8 then.
        assert all(givers[1] == "DequantizeLinear" for _, givers in found)
        return
    for node, givers in found:
        # TensorRT looks through pooling and transposing: what comes out is whole steps as before.
        assert givers[1] == "DequantizeLinear" and givers[0] in ("DequantizeLinear", "MaxPool", "Transpose"), node.name
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = constants[node.input[1]], constants[node.input[2]]
            assert (scale > 0).all() and zero.dtype == np.int8 and not zero.any()


def test_the_int8_model_computes_the_same(int8):
    _, native, path = int8
    x = images()
    (found,) = unfused(path).run(None, {"TensorRTInputPH_0": x})
    (expected,) = tf.nest.flatten(native(tf.constant(x)))
    # ONNX divides by the step where TensorFlow multiplies: more values change to the step beside.
    assert_steps(found, expected.numpy(), share=0.8)


def test_tensorrt_takes_the_int8_model(int8, tmp_path):
    """As it is, and with the rest in FP16: no Cast may stand between a DequantizeLinear and the product that it is for."""
    _, _, path = int8
    half = tmp_path / "half.onnx"
    to_half([(path, half)])
    before, after = (products(onnx.load(model)) for model in (path, half))
    assert [givers[1] for _, givers in after] == [givers[1] for _, givers in before] == ["DequantizeLinear"] * 4
    answers = tensorrt_rtx.check([path, half])
    assert [answer for answer in answers if not answer["ok"]] == []


WEIGHT = np.random.default_rng(2).standard_normal((3, 3, 4, 6)).astype(np.float32)
ROUNDED = {
    "whole": lambda w: toolkit(w, 2.0),
    "outputs": lambda w: fake_quant(w, np.linspace(1, 3, w.shape[-1], dtype=np.float32), 3),
    "inputs": lambda w: toolkit(w, np.linspace(1, 3, w.shape[-2], dtype=np.float32), 2),
}
TAKERS = {
    "conv": lambda x, w: tf.nn.conv2d(x, w, 1, "VALID"),
    "depthwise": lambda x, w: tf.nn.depthwise_conv2d(x, w, [1, 1, 1, 1], "VALID"),
    "transposed": lambda x, w: tf.nn.conv2d_transpose(x, w, [1, 7, 7, 4], 1, "VALID"),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("way", ROUNDED)
def test_weights_are_tensorflows_to_the_last_bit(way, taker, tmp_path):
    """An image of one bright pixel shows the weights themselves."""
    rounded = ROUNDED[way]
    channels = 6 if taker == "transposed" else 4
    definition, native = segment(lambda x: TAKERS[taker](x, rounded(tf.constant(WEIGHT))), [tf.TensorSpec([1, 5, 5, channels])], fold=False)
    path = int8_onnx(tmp_path, definition)
    quantised = sum(node.op_type == "QuantizeLinear" for node in onnx.load(path).graph.node)
    # Per tensor always; per channel along the axis that engines know: the outputs of a Conv, where each depthwise input has its own.
    assert quantised == {"whole": 1, "outputs": taker != "transposed", "inputs": taker == "depthwise"}[way]
    for channel in range(channels):
        pixel = np.zeros([1, 5, 5, channels], np.float32)
        pixel[0, 2, 2, channel] = 1
        (found,) = unfused(path).run(None, {"TensorRTInputPH_0": pixel})
        (expected,) = tf.nest.flatten(native(tf.constant(pixel)))
        np.testing.assert_array_equal(found, expected.numpy())


def test_the_fourth_version_with_an_axis_is_the_third(tmp_path):
    """TensorFlow 2.21's second and fourth op take no ranges with an axis: they want a scalar and a vector at once."""
    low, high = np.float32([-1, -0.5, 0]), np.float32([0.7, 1.5, 1])
    definition, third = segment(lambda x: raw.QuantizeAndDequantizeV3(input=x, input_min=low, input_max=high, num_bits=8, axis=1),
                                [tf.TensorSpec([None, 3])], fold=False)
    for node in definition.node:
        if node.op == "QuantizeAndDequantizeV3":
            node.op = "QuantizeAndDequantizeV4"
            del node.input[3:]
            node.attr["num_bits"].i = 8
    paths, said = to_onnx(tmp_path, {"fourth": definition})
    assert paths, said
    x = np.random.default_rng(4).uniform(-2, 2, (50, 3)).astype(np.float32)
    (found,) = unfused(paths["fourth"]).run(None, {"TensorRTInputPH_0": x})
    np.testing.assert_array_equal(found, tf.nest.flatten(third(tf.constant(x)))[0].numpy())


@pytest.mark.parametrize("op", ["QuantizeAndDequantizeV2", "QuantizeAndDequantizeV4"])
def test_explicit_precision_is_not_calibrated(convert_function, op):
    """The nodes say it all: `use_calibration`, on by default, has nothing to do."""
    converted = convert_function(lambda x: getattr(raw, op)(input=x, input_min=-1.0, input_max=1.0, range_given=True) * 2.0,
                                 [tf.TensorSpec([None, 3])], precision="INT8", use_calibration=True)
    (engine,) = converted.engines
    assert engine.attr["use_explicit_precision"].b and not engine.attr["use_calibration"].b
