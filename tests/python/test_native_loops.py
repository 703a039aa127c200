"""Loops that stay native, with engines before, behind and inside them: recurrent layers as Keras 2 writes them, and others.

What begins such a loop and what takes from it must not be one engine, also where the one reaches the other by way of the next round only:
TensorFlow would give an empty tensor and no error.
"""

import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close

RANDOM = np.random.default_rng(5)
UNITS, FEATURES = 3, 8


def weights(*shape):
    return tf.constant(RANDOM.uniform(-0.5, 0.5, shape).astype(np.float32))


CELLS = [(weights(FEATURES, 4 * UNITS), weights(UNITS, 4 * UNITS), weights(4 * UNITS)) for _ in range(2)]


def recurrent(x, cell, *, backwards=False, mask=None, sequences=False, kept=False):
    """A layer of `LSTM`, step by step as Keras 2 has it: the steps in a list, the results in another, masked steps as those before.

    `kept`: with an op that no engine takes in each step.
    """
    kernel, recurrent_kernel, bias = cell
    # Of a known length nothing but the lists and the states leads into the loop.
    steps = x.shape[1] or tf.shape(x)[1]
    x = tf.transpose(x, [1, 0, 2])
    zeros = tf.tile(tf.expand_dims(tf.reduce_sum(tf.zeros_like(x), axis=[0, 2]), -1), [1, UNITS])
    given = tf.TensorArray(tf.float32, size=steps).unstack(tf.reverse(x, [0]) if backwards else x)
    written = tf.TensorArray(tf.float32, size=steps if sequences else 1, element_shape=[None, UNITS])
    masks = None
    if mask is not None:
        masks = tf.transpose(mask)[:, :, None]
        masks = tf.TensorArray(tf.bool, size=steps).unstack(tf.reverse(masks, [0]) if backwards else masks)

    def step(time, written, last, h, c):
        z = given.read(time) @ kernel + h @ recurrent_kernel + bias
        i, f, g, o = tf.split(z, 4, axis=1)
        new_c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        new_h = tf.sigmoid(o) * tf.tanh(new_c)
        if kept:
            new_h = tf.tanh(tf.math.lgamma(tf.abs(new_h) + 1.5))
        out = new_h
        if masks is not None:
            on = tf.tile(masks.read(time), [1, UNITS])
            out, new_h, new_c = tf.where(on, new_h, last), tf.where(on, new_h, h), tf.where(on, new_c, c)
        return time + 1, written.write(time if sequences else 0, out), out, new_h, new_c

    start = (tf.constant(0), written, tf.zeros_like(zeros), zeros, zeros)
    _, written, _, h, _ = tf.while_loop(lambda time, *_: time < steps, step, start, maximum_iterations=steps, parallel_iterations=32)
    results = tf.transpose(written.stack(), [1, 0, 2])
    return results if sequences else tf.reshape(results[:, -1], [-1, UNITS]) + h * 0.0


def bidirectional(x, **options):
    return tf.concat([recurrent(x, CELLS[0], **options), recurrent(x, CELLS[1], backwards=True, **options)], -1) * 2.0


def plain(x):
    return bidirectional(x)


def stays(x):
    return bidirectional(x, kept=True)


def one_of_both_stays(x):
    return tf.concat([recurrent(x, CELLS[0]), recurrent(x, CELLS[1], backwards=True, kept=True)], -1) + 1.0


def masked(x):
    return bidirectional(x, mask=tf.reduce_any(tf.not_equal(x, 0.0), axis=-1), kept=True)


def two_layers(x):
    """The second layer's loops begin with what the first one's give."""
    first = bidirectional(x, sequences=True, kept=True)
    return bidirectional(tf.concat([first, first[..., :2]], -1), kept=True)


def by_the_next_round(x):
    """Of the loop only the second variable is taken, which the first comes into a round later."""
    start = tf.zeros([tf.shape(x)[0], FEATURES]) + tf.reduce_mean(x) * 2.0 + 1.0

    def step(i, h, total):
        h = tf.tanh(tf.math.lgamma(tf.abs(h * 0.5 + x[:, 0]) + 1.5))
        return i + 1, h, total * 0.5 + h

    loop = lambda: tf.while_loop(lambda i, *_: i < tf.shape(x)[1], step, [0, start, tf.ones_like(x[:, 0])])[2]
    return tf.concat([loop() + start, loop()], -1) * 2.0 + start[:, :1]


def delayed_by_rounds(x):
    """Each variable is the one before it a round later; the last one alone is taken, beside what the first began with."""
    start = tf.nn.relu(x[:, 0]) + 1.0
    step = lambda i, a, b, c: (i + 1, tf.tanh(tf.math.lgamma(a + 1.5)), a, b)
    end = tf.while_loop(lambda i, *_: i < 4, step, [0, start, x[:, 0], x[:, 0]])[3]
    return tf.sigmoid(end) * start


def a_loop_in_a_loop(x):
    """Inside of the outer loop's body, an engine before the inner loop and one behind it."""

    def step(i, y):
        start = tf.nn.relu(y * 0.5 + x[:, 0])
        inner = lambda j, a, b: (j + 1, tf.tanh(tf.math.lgamma(tf.abs(a) + 1.5)), tf.tanh(a + b))
        end = tf.while_loop(lambda j, *_: j < 2, inner, [0, start, x[:, 0]])[2]
        return i + 1, tf.tanh(end) * start + 0.5

    return tf.while_loop(lambda i, _: i < 3, step, [0, x[:, 0]])[1] * 2.0


MODELS = [plain, stays, one_of_both_stays, masked, two_layers, by_the_next_round, delayed_by_rounds, a_loop_in_a_loop]


FIXED = [(model, 5) for model in MODELS]
OPEN = [(model, None) for model in (plain, stays, by_the_next_round)]


@pytest.mark.parametrize(("model", "length"), FIXED + OPEN, ids=lambda value: getattr(value, "__name__", str(value)))
def test_engines_beside_a_loop(convert_function, stats, model, length):
    converted = convert_function(model, [tf.TensorSpec([None, length, FEATURES], tf.float32)])
    sets = [RANDOM.uniform(-1, 1, [n, length or steps, FEATURES]).astype(np.float32) for n, steps in ((4, 5), (2, 3))]
    sets[0][1, 2:] = 0.0
    converted.build(*([x] for x in sets))
    stats.reset()
    for x in sets:
        assert_close(converted(tf.constant(x)), converted.native(tf.constant(x)))
    assert converted.engines
    assert model is plain or "LoopCond" in converted.outside
    assert stats["native_fallbacks"] == 0 and stats["engine_calls"] >= 2 * len(converted.engines)


def test_two_variables_begin_with_one_list(convert_function, stats):
    """TensorFlow makes one TensorListReserve of both; their elements are of two sizes."""

    def model(x):
        first, second = (tf.TensorArray(tf.float32, size=4) for _ in range(2))
        step = lambda i, h, a, b: (i + 1, tf.tanh(h + x[:, i]), a.write(i, h), b.write(i, tf.concat([h, h], -1)))
        rounds = tf.minimum(tf.shape(x)[1], 4)
        h, a, b = tf.while_loop(lambda i, *_: i < rounds, step, [0, tf.zeros([2, 3]), first, second])[1:]
        return h, tf.reshape(a.stack(), [4, 2, 3]), tf.reshape(b.stack(), [4, 2, 6])

    converted = convert_function(model, [tf.TensorSpec([2, None, 3], tf.float32)])
    x = tf.constant(RANDOM.uniform(-1, 1, [2, 5, 3]).astype(np.float32))
    converted.build([x])
    stats.reset()
    assert_close(converted(x), converted.native(x))
    assert "LoopCond" not in converted.outside and "PartitionedCall" in converted.segment(converted.engines[0])
    assert stats["engine_calls"] == 1 and stats["native_fallbacks"] == 0


def test_two_loops_begin_with_one_list(convert_function, stats):
    def loop(x, kernel, rounds):
        written = tf.TensorArray(tf.float32, size=4, element_shape=[2, 3])
        step = lambda i, h, ta: (i + 1, tf.tanh(h @ kernel + x[:, i]), ta.write(i, h))
        return tf.while_loop(lambda i, *_: i < rounds, step, [0, tf.zeros_like(x[:, 0]), written])[2].stack()

    kernels = [weights(3, 3), weights(3, 3)]

    def model(x, rounds):
        rounds = tf.reduce_max(rounds)
        return loop(x, kernels[0], rounds) + loop(x, kernels[1], rounds)

    converted = convert_function(model, [tf.TensorSpec([2, 4, 3], tf.float32), tf.TensorSpec([2], tf.int32)])
    arguments = [tf.constant(RANDOM.uniform(-1, 1, [2, 4, 3]).astype(np.float32)), tf.constant([3, 4])]
    converted.build(arguments)
    stats.reset()
    assert_close(converted(*arguments), converted.native(*arguments))
    assert not {"LoopCond", "TensorListReserve"} & set(converted.outside)
    assert stats["engine_calls"] == 1 and stats["native_fallbacks"] == 0
