"""Integers at the ends of their types, beside the table of `op_cases_ends`: what the wrapping costs, what stays native, and random chains."""

import collections
import os

import numpy as np
import onnx
import pytest
import tensorflow as tf
import test_convert_direct
from op_cases_ends import ENDS, wide

i32, i64, f32 = tf.int32, tf.int64, tf.float32
OPEN = [tf.TensorSpec([None, 6])]
MATRIX = [tf.TensorSpec([None, None])]
INTS = [tf.TensorSpec([None, 4], i32)]


def sizes(x):
    return tf.shape(x)[0] - 1, tf.shape(x)[1] // 2


# Each with the ONNX ops of its model, without those that only move sizes about.
COSTS = {
    "known_mean": (lambda x: tf.reduce_mean(x, 1), OPEN, "ReduceMean"),
    "open_mean": (lambda x: tf.reduce_mean(x, 0), OPEN, "ReduceMean Equal Where"),
    "open_means": (lambda x: tf.reduce_mean(x, [0, 1]), MATRIX, "ReduceMean ReduceMin Equal Where"),
    "lengths": (lambda x: tf.reduce_sum(tf.cast(x > 0, i32), 1), MATRIX, "Greater Cast ReduceSum"),
    "int64_lengths": (lambda x: tf.cast(tf.reduce_sum(tf.cast(x > 0, i64), 1), f32), MATRIX, "Greater Cast ReduceSum Cast"),
    "few_places": (lambda x: tf.reduce_sum(tf.argmax(x, 1, output_type=i32)), [tf.TensorSpec([4, 6])], "ArgMax ReduceSum Cast"),
    "few_integers": (lambda x: tf.reduce_sum(x, 1), INTS, "Cast ReduceSum Cast"),
    "many_integers": (lambda x: tf.reduce_sum(x, 0), INTS, "Cast Div Mul Sub ReduceSum ReduceSum Mul Add Cast"),
    "part_of_sizes": (lambda x: x[: sizes(x)[0], : sizes(x)[1]], MATRIX, "Sub Mod Sub Div"),
    "reshape_by_products": (lambda x: tf.reshape(x, [tf.shape(x)[0] * tf.shape(x)[1], tf.shape(x)[2]]),
                            [tf.TensorSpec([None] * 3)], "Mul"),
    "filled_by_products": (lambda x: tf.zeros([tf.shape(x)[0] * tf.shape(x)[1]]), MATRIX, "Mul Cast Cast"),
    "small_remainder": (lambda x: tf.argmax(x, 1, output_type=i32) % 3, OPEN, "ArgMax Mod Cast"),
}
MOVES = {"Shape", "Gather", "Slice", "Concat", "Unsqueeze", "Squeeze", "Reshape", "Expand", "Identity"}


def test_what_is_known_to_fit_costs_nothing(tmp_path):
    segments = {name: test_convert_direct.segment(fn, specs, True)[0] for name, (fn, specs, _) in COSTS.items()}
    paths, said = test_convert_direct.to_onnx(tmp_path, segments)
    assert set(paths) == set(COSTS), said
    found = {name: collections.Counter(n.op_type for n in onnx.load(path).graph.node if n.op_type not in MOVES) for name, path in paths.items()}
    assert found == {name: collections.Counter(ops.split()) for name, (_, _, ops) in COSTS.items()}


@pytest.mark.parametrize("dtype", [i32, i64], ids=lambda t: t.name)
def test_products_over_an_open_axis_stay_native(convert_function, stats, dtype):
    """ONNX Runtime multiplies in float64, and there are no pairs of an unknown number."""
    converted = convert_function(lambda x: tf.cast(tf.reduce_prod(tf.cast(x, dtype), 0), i32) + x, INTS)
    assert "Prod" in converted.outside
    converted.build([ENDS.astype(np.int32)])
    expected = converted.native(tf.constant(ENDS, i32))
    stats.reset()
    np.testing.assert_array_equal(tf.nest.flatten(converted(tf.constant(ENDS, i32)))[0], tf.nest.flatten(expected)[0])
    assert stats["native_fallbacks"] == 0


@pytest.mark.parametrize("arg", [tf.argmax, tf.argmin], ids=["ArgMax", "ArgMin"])
def test_the_place_of_the_largest_of_none_is_the_same_error(convert_function, stats, arg):
    converted = convert_function(lambda x, n: arg(x[:n], 0, output_type=i32), [tf.TensorSpec([4, 6]), tf.TensorSpec([], i32)])
    x, some, none = tf.ones([4, 6]), tf.constant(3), tf.constant(0)
    converted.build([x, some])
    stats.reset()
    converted(x, some)
    assert stats["engine_calls"] == 1 and stats["native_fallbacks"] == 0
    for call in (converted.native, converted):
        with pytest.raises(tf.errors.InvalidArgumentError, match="Reduction axis 0 is empty"):
            call(x, none)


NUMBERS = [0, 1, -1, 2, 7, -7, 1000, 65536, -46341, 1103515245, 2**31 - 1, -(2**31)]
DIVISORS = [1, -1, 2, 3, -7, 1000, 65536, 2**31 - 1, -(2**31)]
ONE = [tf.negative, tf.abs, tf.square, tf.sign, tf.nn.relu, lambda x: ~x, lambda x: tf.cumsum(x, 1), lambda x: tf.reverse(x, [1]),
       lambda x: tf.cast(tf.cast(x, tf.int16), x.dtype), lambda x: tf.cast(tf.cast(x, i64) * 3, x.dtype), lambda x: tf.cast(tf.cast(x, i32), x.dtype),
       lambda x: tf.reduce_sum(x, 1, keepdims=True) + x, lambda x: tf.reduce_sum(x, 0) - x, lambda x: tf.reduce_prod(x, 1, keepdims=True) * x,
       lambda x: tf.reduce_max(x, 1, keepdims=True) - x, lambda x: tf.math.cumprod(x, 1), lambda x: tf.concat([x[:, :2], x[:, :2] - 1], 1)]
TWO = [tf.add, tf.subtract, tf.multiply, tf.maximum, tf.minimum, tf.math.squared_difference, lambda x, y: tf.where(x > y, x, y * 3),
       lambda x, y: tf.where(x == y, x, y), lambda x, y: tf.add_n([x, y, x])]
BY = [tf.math.floormod, tf.math.floordiv, tf.truncatemod, tf.truncatediv]


def chain(rng, values, length):
    """One of `values`, all of one type and of four columns, after so many random ops."""

    def pick(some):
        return some[rng.integers(len(some))]

    x = pick(values)
    for _ in range(length):
        kind = rng.integers(4)
        if kind == 0:
            x = pick(ONE)(x)
        elif kind == 1:
            x = pick(TWO)(x, pick(values))
        elif kind == 2:
            x = pick(TWO[:6])(x, tf.constant(pick(NUMBERS), x.dtype))
        else:
            x = pick(BY)(x, tf.constant(pick(DIVISORS), x.dtype))
    return x


def narrow(x):
    return [x] if x.dtype == i32 else [tf.cast(x, i32), tf.cast(x // 65536 // 65536, i32)]


@pytest.mark.parametrize("seed", range(max(3, int(os.environ.get("TFTRT_RANDOM_GRAPHS", 0)))))
def test_random_chains(convert_function, stats, seed):
    """Of int32 as it comes, of int32 that is kept as int64 (places, sizes, counts), and of int64."""

    def fn(x, scores):
        rng = np.random.default_rng(seed)
        rows = tf.range(tf.shape(x)[0])[:, None] + tf.shape(x)[1] - tf.zeros([4], i32)
        places = tf.math.top_k(scores, 4)[1] * tf.argmax(scores, 0, output_type=i32)[:4]
        chosen = [x, rows, places, tf.size(x) + 0 * x]
        large = [wide(x), tf.cast(places, i64) * 2000000011, tf.cast(x, i64)]
        results = [chain(rng, chosen, int(rng.integers(1, 6))) for _ in range(14)] + [chain(rng, large, int(rng.integers(1, 6))) for _ in range(8)]
        return [part for result in results for part in narrow(result)]

    converted = convert_function(fn, INTS + OPEN)
    rng = np.random.default_rng(seed)
    runs = [[ENDS, rng.standard_normal((8, 6)).astype(np.float32)], [ENDS[1:2], rng.standard_normal((1, 6)).astype(np.float32)],
            [rng.integers(-(2**31), 2**31, (3, 4)).astype(np.int32), rng.standard_normal((3, 6)).astype(np.float32)]]
    runs = [[np.asarray(x, np.int32), scores] for x, scores in runs]
    assert converted.engines
    converted.build(*runs)
    stats.reset()
    for run in runs:
        expected = tf.nest.flatten(converted.native(*map(tf.constant, run)))
        found = tf.nest.flatten(converted(*map(tf.constant, run)))
        for i, (e, f) in enumerate(zip(expected, found, strict=True)):
            np.testing.assert_array_equal(f, e, err_msg=f"result {i}")
    assert stats["engine_calls"] == len(runs) * len(converted.engines) and stats["native_fallbacks"] == 0
