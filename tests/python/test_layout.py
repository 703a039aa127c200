"""NHWC models reach TensorRT without a Transpose on each side of every convolution."""

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
