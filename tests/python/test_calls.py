"""Calls that TensorFlow does not inline, inside engines: functions compiled by XLA (jit_compile=True), and those marked as not to be inlined.

Keras makes the first of every grouped convolution. What is made of them is in src/optimizer/flow/calls.rs.
"""

import numpy as np
import tensorflow as tf
from conftest import assert_close
from test_flow import OPEN, W, inputs, reasons

KERNEL = (np.random.default_rng(3).standard_normal((3, 3, 2, 8)) * 0.3).astype(np.float32)
IMAGES = [tf.TensorSpec([None, None, 6, 4])]
CALLS = {"PartitionedCall", "StatefulPartitionedCall"}


def compiled(fn):
    return tf.function(fn, jit_compile=True)


def not_inlined(fn):
    return tf.function(fn, experimental_attributes={"_noinline": True})


def as_one_engine(convert_function, stats, fn, specs, shapes):
    """Converts `fn` and holds it against the native one; the native segment does not run."""
    converted = convert_function(fn, specs)
    assert len(converted.engines) == 1 and not CALLS & set(converted.outside), converted.outside
    random = np.random.default_rng(5)
    for shape in shapes:
        run = [tf.constant(random.standard_normal(shape).astype(np.float32))]
        assert_close(converted(*run), converted.native(*run))
    assert stats["native_fallbacks"] == 0 and stats["engine_calls"] == len(shapes)
    return converted


def grouped(x):
    """As Keras makes it: the kernel is an argument, and of the result not even the rank is known outside."""
    conv = compiled(lambda x, kernel: tf.nn.convolution(x, kernel, 1, "SAME"))
    x = tf.nn.relu(conv(tf.nn.relu(x), tf.constant(KERNEL)))
    x = conv(tf.concat([x[..., :2], x[..., 6:]], -1), tf.constant(KERNEL))
    return tf.reduce_mean(tf.nn.max_pool2d(x, 2, 2, "SAME"), [1, 2])


def test_grouped_convolutions(convert_function, stats):
    converted = as_one_engine(convert_function, stats, grouped, IMAGES, [(3, 5, 6, 4)] * 2)
    assert converted.segment(converted.engines[0]).count("PartitionedCall") == 2


def test_a_call_in_a_call(convert_function, stats):
    """What XLA compiles has a call of its own, which is not inlined there either."""
    inside = tf.function(lambda x: (tf.nn.relu(x) + 1.0, tf.tanh(x @ W)))
    compiled_around = compiled(lambda x: tf.add(*inside(x)) * 2.0)
    as_one_engine(convert_function, stats, lambda x: compiled_around(x) - compiled_around(-x), OPEN, [(3, 4)] * 3)


def test_results_in_their_order(convert_function, stats):
    """One result is an argument as it was given, and one comes twice."""

    def results(x):
        y = tf.nn.relu(x)
        return x, y, x @ W, y

    def fn(x):
        a, b, c, d = not_inlined(results)(x + 1.0)
        return a - 2.0 * b + tf.sigmoid(c) * d

    as_one_engine(convert_function, stats, fn, OPEN, [(2, 4)])


def test_in_a_loop_and_a_conditional(convert_function, stats):
    step = compiled(lambda x: tf.tanh(x @ W) + x)

    def fn(x):
        _, x = tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, step(y)), [0, x])
        return tf.cond(tf.reduce_sum(x) > 0.0, lambda: step(x), lambda: x - 1.0)

    as_one_engine(convert_function, stats, fn, OPEN, [(2, 4)] * 3)


def test_the_native_segment_calls_the_function(convert_function, stats, monkeypatch):
    monkeypatch.setenv("TF_TRT_ABORT_CUDA_ENGINE_BUILD", "1")
    converted = convert_function(grouped, IMAGES)
    run = [tf.constant(np.random.default_rng(6).standard_normal((2, 5, 6, 4)).astype(np.float32))]
    assert_close(converted(*run), converted.native(*run))
    assert stats["native_fallbacks"] == 1


def test_implicit_batch(convert_function, stats):
    conv = compiled(lambda x, kernel: tf.nn.convolution(x, kernel, 1, "SAME"))
    converted = convert_function(lambda x: tf.nn.relu(conv(x, tf.constant(KERNEL))) + 1.0, [tf.TensorSpec([None, 5, 6, 4])], dynamic=False)
    assert len(converted.engines) == 1 and not CALLS & set(converted.outside), converted.outside
    for n in (2, 1):
        run = [tf.random.stateless_normal([n, 5, 6, 4], [1, n])]
        assert_close(converted(*run), converted.native(*run))
    assert stats["native_fallbacks"] == 0


def test_what_does_not_convert_inside_stays_as_a_whole_and_says_why(monkeypatch, capfd):
    compiled_one = compiled(lambda x: tf.linalg.matrix_transpose(tf.linalg.inv(x[:4] @ W)) * 2.0)
    converted, said = reasons(lambda x: compiled_one(tf.nn.relu(x)) + 1.0, [tf.TensorSpec([4, 4])], monkeypatch, capfd)
    assert CALLS & set(converted.outside)
    assert "is compiled by XLA (jit_compile=True), and its call stays: " in said and "(MatrixInverse) inside" in said


def test_what_has_an_effect_stays(monkeypatch, capfd):
    noisy = not_inlined(lambda x: x + tf.random.uniform([4]) * 0.0)
    converted, said = reasons(lambda x: noisy(x) * 2.0, OPEN, monkeypatch, capfd)
    assert CALLS & set(converted.outside)
    assert "is not to be inlined, and its call stays: " in said and "does more than compute" in said
    run = inputs(OPEN, 2)
    assert_close(converted(*run), converted.native(*run))


def test_denied_inside(convert_function, monkeypatch):
    monkeypatch.setenv("TF_TRT_OP_DENYLIST", "Tanh")
    converted = convert_function(lambda x: compiled(lambda x: tf.tanh(x) * 2.0)(x) + 1.0, OPEN)
    assert CALLS & set(converted.outside)


def test_saved_and_loaded(tmp_path, run_isolated):
    """By the stock converter, in FP16; the model that it wrote in a process of its own."""
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    module = tf.Module()
    module.kernel = tf.Variable(KERNEL)
    conv = compiled(lambda x: tf.nn.convolution(x, module.kernel, 1, "SAME"))
    module.__call__ = tf.function(lambda x: tf.nn.relu(conv(x)) * 0.5, input_signature=[tf.TensorSpec([None, 5, 6, 4])])
    tf.saved_model.save(module, source, signatures=module.__call__)
    run_isolated(
        f"""
        import numpy as np, tensorflow as tf, tftrt
        from tensorflow.python.compiler.tensorrt import trt_convert as trt
        x = np.random.default_rng(0).standard_normal((2, 5, 6, 4)).astype(np.float32)
        converter = trt.TrtGraphConverterV2({source!r}, use_dynamic_shape=True, precision_mode="FP16")
        converter.convert()
        converter.build(lambda: iter([[x]]))
        converter.save({target!r})
        """
    )
    run_isolated(
        f"""
        import numpy as np, tensorflow as tf, tftrt
        x = tf.constant(np.random.default_rng(0).standard_normal((2, 5, 6, 4)).astype(np.float32))
        native = list(tf.saved_model.load({source!r}).signatures["serving_default"](x).values())[0]
        converted = tf.saved_model.load({target!r})
        engine = list(converted.signatures["serving_default"](x).values())[0]
        np.testing.assert_allclose(engine, native, rtol=0, atol=5e-3)
        totals = tftrt.stats()["totals"]
        assert totals["engine_calls"] == 1 and totals["native_fallbacks"] == 0 and totals["loads"] == 1, totals
        """
    )
