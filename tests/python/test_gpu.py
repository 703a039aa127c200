"""On a machine with a GPU: there is no engine backend for it yet, so every TRTEngineOp runs its native segment there, with a
word, and nothing breaks. What these tests hold is that the kernels, the resources and the native segment are right on a GPU.
"""

import numpy as np
import pytest
import tensorflow as tf

import models

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def on_a_gpu():
    assert tf.config.list_physical_devices("GPU"), "these tests need a GPU that TensorFlow sees"


def close(found, expected, tolerance):
    found, expected = np.asarray(found), np.asarray(expected)
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def test_a_converted_cnn_runs_natively_on_the_gpu(convert_function, stats):
    fn, specs = models.digits_cnn()
    converted = convert_function(fn, specs)
    (engine,) = converted.engines
    assert engine.device.endswith("GPU:0")
    for batch in (1, 7, 64):
        x = tf.random.stateless_uniform([batch, 8, 8, 1], seed=[batch, 0])
        found = tf.nest.flatten(converted(x))[0]
        assert found.device.endswith("GPU:0")
        # TF32 convolutions, in other layouts.
        close(found, tf.nest.flatten(converted.native(x))[0], 1e-3)
    assert stats["native_no_backend"] == 3
    assert stats["engine_calls"] == 0


def test_int32_inputs_cross_to_the_host_and_back(convert_function, stats):
    """TRTEngineOp's int32 tensors are in device memory, a function's in host memory."""
    converted = convert_function(
        lambda i, x: (i * 3 + 1, tf.gather(x, i) * 2.0), [tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, 4], tf.float32)]
    )
    i, x = tf.constant([2, 0, 1]), tf.random.stateless_uniform([5, 4], seed=[1, 2])
    whole, gathered = tf.nest.flatten(converted(i, x))
    np.testing.assert_array_equal(whole, [7, 1, 4])
    np.testing.assert_allclose(gathered, np.asarray(x)[[2, 0, 1]] * 2.0)
    empty, none = tf.nest.flatten(converted(tf.zeros([0], tf.int32), x))
    assert empty.shape == [0] and none.shape == [0, 4]
    assert stats["native_no_backend"] >= 2


def test_bert_with_two_layers(convert_function):
    fn, specs = models.bert(layers=2, hidden=64, heads=4, ffn=128, vocab=1000)
    converted = convert_function(fn, specs)
    for shape in ((1, 16), (4, 32)):
        ids = tf.random.stateless_uniform(shape, seed=[1, 2], maxval=1000, dtype=tf.int32)
        inputs = [ids, tf.ones(shape, tf.int32), tf.zeros(shape, tf.int32)]
        close(tf.nest.flatten(converted(*inputs))[0], tf.nest.flatten(converted.native(*inputs))[0], 1e-3)


def test_native_execution_can_be_forbidden(convert_function, monkeypatch):
    converted = convert_function(lambda x: tf.nn.relu(x) * 2.0, [tf.TensorSpec([None, 4])])
    monkeypatch.setenv("TF_TRT_ALLOW_ENGINE_NATIVE_SEGMENT_EXECUTION", "false")
    with pytest.raises(tf.errors.AbortedError, match="User disallowed engine native segment execution.*on the CPU only"):
        converted(tf.ones([1, 4]))
    monkeypatch.delenv("TF_TRT_ALLOW_ENGINE_NATIVE_SEGMENT_EXECUTION")
    np.testing.assert_array_equal(tf.nest.flatten(converted(tf.ones([1, 4])))[0], 2.0 * np.ones([1, 4]))


def test_save_and_load(dense_model, tmp_path, stats):
    from tensorflow.python.compiler.tensorrt import trt_convert as trt

    converter = trt.TrtGraphConverterV2(input_saved_model_dir=dense_model, use_dynamic_shape=True)
    converter.convert()
    x = tf.random.stateless_uniform([3, 8], seed=[3, 4])
    converter.build(input_fn=lambda: iter([[x]]))
    converter.save(str(tmp_path / "out"))
    native = tf.saved_model.load(dense_model).signatures["serving_default"](x=x)["y"]
    loaded = tf.saved_model.load(str(tmp_path / "out"))
    close(loaded.signatures["serving_default"](x=x)["y"], native, 1e-5)
    assert stats["engine_calls"] == 0 and stats["failures"] == 0


def test_many_threads(convert_function):
    from concurrent.futures import ThreadPoolExecutor

    fn, specs = models.mlp()
    converted = convert_function(fn, specs)
    inputs = [tf.random.stateless_uniform([1 + n % 5, 28, 28], seed=[n, n]) for n in range(32)]
    expected = [tf.nest.flatten(converted.native(x))[0] for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for found, wanted in zip(pool.map(converted.function, inputs), expected):
            close(tf.nest.flatten(found)[0], wanted, 1e-4)
