"""The four models of first light, converted as whole models: outputs within 1e-4 of native TensorFlow on the CPU backend, and
no call that should have run in an engine running natively.
"""

import gc

import models
import numpy as np
import onnx
import pytest
import tensorflow as tf


def images(shape):
    return lambda batch, seed: [tf.random.stateless_uniform([batch, *shape], seed=[seed, batch])]


def tokens(vocab, length):
    def inputs(batch, seed):
        ids = tf.random.stateless_uniform([batch, length], seed=[seed, batch], maxval=vocab, dtype=tf.int32)
        segments = tf.random.stateless_uniform([batch, length], seed=[seed + 1, batch], maxval=2, dtype=tf.int32)
        mask = tf.concat([tf.ones([batch, length - 3], tf.int32), tf.zeros([batch, 3], tf.int32)], axis=1)
        return [ids, mask, segments]

    return inputs


@pytest.fixture(autouse=True)
def exported(monkeypatch, tmp_path):
    monkeypatch.setenv("TF_TRT_EXPORT_TRT_ENGINES_PATH", str(tmp_path))
    yield tmp_path
    gc.collect()  # Hundreds of megabytes of weights each.


def check(converted, stats, build, calls):
    """Builds for `build`, runs `calls`, and holds outputs and counters."""
    assert len(converted.engines) == 1, converted.outside
    converted.build(*build)
    stats.reset()
    for inputs in calls:
        (found,), (expected,) = tf.nest.flatten(converted(*inputs)), tf.nest.flatten(converted.native(*inputs))
        assert found.shape == expected.shape
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * scale)
    assert stats["engine_calls"] == len(calls)
    assert stats["native_fallbacks"] == 0
    assert stats["builds"] == 0


@pytest.mark.parametrize("dynamic", [True, False], ids=["dynamic_shape", "implicit_batch"])
@pytest.mark.parametrize("model, shape", [(models.mlp, [28, 28]), (models.digits_cnn, [8, 8, 1])], ids=["mlp", "digits_cnn"])
def test_small_models(model, shape, dynamic, convert_function, stats):
    fn, specs = model()
    converted = convert_function(fn, specs, dynamic=dynamic, minimum_segment_size=3)
    sizes, make = (1, 7, 64), images(shape)
    build = [make(b, 0) for b in sizes] if dynamic else [make(64, 0)]
    check(converted, stats, build, [make(b, 1) for b in sizes])


def test_resnet50(convert_function, stats, exported):
    fn, specs = models.resnet50()
    converted = convert_function(fn, specs, minimum_segment_size=3)
    make = images([224, 224, 3])
    check(converted, stats, [make(1, 0), make(4, 0)], [make(1, 1), make(4, 1)])
    graph = onnx.load(exported / converted.engines[0].name).graph
    # NHWC outside, NCHW inside: one transpose where the image enters, and none between the convolutions. The head is pooled
    # to [batch, channels] and needs none.
    assert [node.op_type for node in graph.node].count("Transpose") <= 1
    assert [node.op_type for node in graph.node].count("Conv") == 53


def test_bert_base(convert_function, stats, exported):
    """One engine of one Range profile serves every batch and sequence length in it."""
    fn, specs = models.bert()
    converted = convert_function(fn, specs, minimum_segment_size=3)
    short, long = tokens(30522, 16), tokens(30522, 128)
    calls = [make(batch, 1) for make in (short, long) for batch in (1, 7, 64)]
    check(converted, stats, [short(1, 0), long(64, 0)], calls)
    graph = onnx.load(exported / converted.engines[0].name, load_external_data=False).graph
    for tensor in [*graph.input, *graph.output]:
        if tensor.name == "tftrt_valid":  # Whether the call is good: none of the node's outputs.
            continue
        open_dims = [d.dim_param != "" for d in tensor.type.tensor_type.shape.dim]
        assert open_dims[:2] == [True, True], f"{tensor.name}: batch or sequence was frozen"
