"""NHWC models reach TensorRT without a Transpose on each side of every convolution."""

import collections
import functools

import models
import numpy as np
import onnx
import pytest
import tensorflow as tf
from model_zoo import MODELS, classifiers
from onnx_transposes import transposes

NETWORKS = {
    "ResNet50": functools.partial(classifiers.build, "ResNet50", 64),
    "MobileNetV2": MODELS["MobileNetV2"].build,
    "EfficientNetB0": MODELS["EfficientNetB0"].build,
}


def exported(convert_function, monkeypatch, folder, fn, specs, x):
    """The ONNX graph of the one engine of `fn`, which gives what native TensorFlow gives."""
    monkeypatch.setenv("TF_TRT_EXPORT_TRT_ENGINES_PATH", str(folder))
    converted = convert_function(fn, specs, minimum_segment_size=3)
    assert len(converted.engines) == 1, converted.outside
    converted.build([x])
    found, expected = converted(x)[0].numpy(), converted.native(x).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-4 * np.abs(expected).max())
    return onnx.load(folder / converted.engines[0].name).graph


@pytest.mark.parametrize("name", NETWORKS)
def test_no_transposes_inside(name, convert_function, monkeypatch, tmp_path, stats):
    network = NETWORKS[name]()
    x = tf.random.stateless_uniform([2, 64, 64, 3], [1, 2], maxval=255.0 if name == "EfficientNetB0" else 1.0)
    graph = exported(convert_function, monkeypatch, tmp_path, network.function, network.function.input_signature, x)
    assert stats["native_fallbacks"] == 0
    found = transposes(graph)
    assert found.inside == []
    assert len(found.entering) <= 1
    assert len(found.leaving) <= 1
    # None of any kind: these models have no transposes of their own.
    assert [n.op_type for n in graph.node].count("Transpose") == len(found.entering) + len(found.leaving)
    assert [n.op_type for n in graph.node].count("Conv") > 50


def depthwise_blocks(height, width, channels=8, blocks=2):
    """Blocks of ConvNeXt's kind, with every weight of its own: what mixes up axes gives other numbers."""
    tf.keras.utils.set_random_seed(0)
    layers = tf.keras.layers
    image = layers.Input([height, width, channels])
    x = image
    for _ in range(blocks):
        y = layers.DepthwiseConv2D(3, padding="same")(x)
        y = layers.LayerNormalization(epsilon=1e-6)(y)
        y = layers.Dense(4 * channels, activation="gelu")(y)
        y = layers.Dense(channels)(y)
        y = layers.Rescaling(np.linspace(0.5, 1.5, channels).tolist())(y)
        x = layers.Add()([x, y])
    model = tf.keras.Model(image, layers.Conv2D(4, 3, padding="same")(x))
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if len(variable.shape) == 1:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return tf.function(lambda x: model(x, training=False)), [tf.TensorSpec([None, height, width, channels], tf.float32)]


def computing(graph):
    """The nodes that compute the outputs; those that only say whether the call is good (`tftrt_valid`) are left out."""
    waiting = [output.name for output in graph.output if output.name != "tftrt_valid"]
    made = {name: node for node in graph.node for name in node.output}
    found = {}
    while waiting:
        node = made.get(waiting.pop())
        if node is not None and id(node) not in found:
            found[id(node)] = node
            waiting += node.input
    return list(found.values())


@pytest.mark.parametrize("sizes", [(9, 7), (9, None), (None, None)], ids=["known", "open width", "open"])
def test_dense_layers_over_channels(sizes, convert_function, monkeypatch, tmp_path, stats):
    """Behind the first dense layer, height and width are what the arithmetic of shapes says, and nothing that inference knows."""
    fn, specs = depthwise_blocks(*sizes)
    x = tf.random.stateless_normal([3, 9, 7, 8], [1, 2])
    graph = exported(convert_function, monkeypatch, tmp_path, fn, specs, x)
    assert stats["native_fallbacks"] == 0
    found = transposes(graph)
    assert (len(found.inside), len(found.entering), len(found.leaving)) == (0, 1, 1)
    ops = collections.Counter(node.op_type for node in computing(graph))
    assert ops["Transpose"] == 2
    # Two depthwise convolutions, four dense layers, one convolution.
    assert (ops["Conv"], ops["MatMul"], ops["Reshape"]) == (7, 0, 0)


def tokens(shape):
    """A product over the pixels of a convolution's images, which are then given another shape, and to another convolution."""
    rng = np.random.default_rng(0)
    kernel, weights = (tf.constant(rng.normal(size=size), tf.float32) for size in ([3, 3, 4, 4], [4, 4]))

    @tf.function
    def fn(x):
        y = tf.nn.conv2d(x, kernel, 1, "SAME")
        rows = tf.linalg.matmul(tf.reshape(y, [-1, 4]), weights)
        return tf.nn.conv2d(tf.reshape(rows, [*shape(tf.shape(y)), 4]), kernel, 1, "SAME")

    return fn


SHAPES = {
    "as it was": (lambda s: [s[0], s[1], s[2]], 0),
    "batch left open": (lambda s: [-1, s[1], s[2]], 0),
    "height left open": (lambda s: [s[0], -1, s[2]], 0),
    "turned": (lambda s: [s[0], s[2], s[1]], 2),
    "one row": (lambda s: [s[0], 1, s[1] * s[2]], 2),
    "halves": (lambda s: [2 * s[0], -1, s[2]], 2),
}


@pytest.mark.parametrize("name", SHAPES)
def test_pixels_get_a_shape(name, convert_function, monkeypatch, tmp_path, stats):
    """Only where it is the one that the images had does nothing move."""
    shape, inside = SHAPES[name]
    x = tf.random.stateless_normal([2, 6, 4, 4], [1, 2])
    specs = [tf.TensorSpec([None, None, None, 4], tf.float32)]
    graph = exported(convert_function, monkeypatch, tmp_path, tokens(shape), specs, x)
    assert stats["native_fallbacks"] == 0
    assert len(transposes(graph).inside) == inside


def test_without_the_layout_optimizer(convert_function, monkeypatch, tmp_path):
    """The variable that TF-TRT had for it: the same numbers, with the transposes left where they are."""
    fn, specs = models.digits_cnn()
    x = tf.random.stateless_uniform([3, 8, 8, 1], [1, 2])
    inside = {}
    for value in ("true", "false"):
        monkeypatch.setenv("TF_TRT_ENABLE_LAYOUT_OPTIMIZER", value)
        folder = tmp_path / value
        folder.mkdir()
        inside[value] = len(transposes(exported(convert_function, monkeypatch, folder, fn, specs, x)).inside)
    assert inside["true"] == 0
    assert inside["false"] >= 4
