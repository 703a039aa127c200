"""Inputs whose values are shapes: engines of the CPU backend serve any values, whatever values the profiles were made with."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compiler.tf2tensorrt.ops import gen_trt_ops

import plan_files
from conftest import assert_close

X = tf.reshape(tf.range(24, dtype=tf.float32), [2, 12])


def ints(*values):
    return tf.constant(values, tf.int32)


def wants(size):
    return tf.TensorSpec([size], tf.int32)


WIDE = tf.TensorSpec([None, 12])
SCALAR = tf.TensorSpec([], tf.int32)


def after(x):
    """Ops behind the one that a test is about: its shape goes on through the engine."""
    return tf.nn.relu(x) * 2.0


# By op type: the function, its specs, the inputs of two calls of build(), and other values of the same input shapes.
CASES = {
    "Reshape": (
        lambda x, shape: after(tf.reshape(x + 1.0, shape)),
        [WIDE, wants(2)],
        [(X, ints(4, 6)), (X, ints(6, 4))],
        [(X, ints(1, 24)), (X, ints(24, 1)), (X, ints(-1, 2)), (X, ints(3, -1))],
    ),
    "Pack": (
        # The shape is computed from an input, inside the engine.
        lambda x, rows: after(tf.reshape(x + 1.0, tf.stack([2 * rows, -1]))),
        [WIDE, SCALAR],
        [(X, tf.constant(2)), (X, tf.constant(3))],
        [(X, tf.constant(1)), (X, tf.constant(6)), (X, tf.constant(12))],
    ),
    "Fill": (
        lambda shape, value: after(tf.fill(shape, value) + 1.0),
        [wants(2), tf.TensorSpec([])],
        [(ints(2, 3), tf.constant(2.0)), (ints(4, 6), tf.constant(2.0))],
        [(ints(1, 1), tf.constant(-3.0)), (ints(9, 7), tf.constant(5.0)), (ints(0, 4), tf.constant(1.0))],
    ),
    "Slice": (
        lambda x, begin, size: after(tf.slice(x + 1.0, begin, size)),
        [WIDE, wants(2), wants(2)],
        [(X, ints(0, 2), ints(1, 4)), (X, ints(1, 3), ints(1, 6))],
        [(X, ints(0, 0), ints(2, 12)), (X, ints(1, 11), ints(1, 1)), (X, ints(0, 5), ints(-1, -1)), (X, ints(0, 0), ints(2, 0))],
    ),
    "StridedSlice": (
        lambda x, begin, end: after(tf.strided_slice(x + 1.0, begin, end)),
        [WIDE, wants(2), wants(2)],
        [(X, ints(0, 2), ints(1, 4)), (X, ints(1, 3), ints(2, 6))],
        [(X, ints(0, 0), ints(2, 12)), (X, ints(0, -3), ints(2, -1))],
    ),
    "BroadcastTo": (
        lambda x, shape: after(tf.broadcast_to(x + 1.0, shape)),
        [WIDE, wants(2)],
        [(X[:1], ints(2, 12)), (X[:1], ints(4, 12))],
        [(X[:1], ints(1, 12)), (X[:1], ints(9, 12))],
    ),
    "Tile": (
        lambda x, times: after(tf.tile(x + 1.0, times)),
        [WIDE, wants(2)],
        [(X, ints(2, 1)), (X, ints(1, 2))],
        [(X, ints(3, 3)), (X, ints(1, 1)), (X, ints(0, 1))],
    ),
    "Range": (
        lambda start, limit: after(tf.cast(tf.range(start, limit), tf.float32) - 3.0),
        [SCALAR, SCALAR],
        [(tf.constant(0), tf.constant(4)), (tf.constant(2), tf.constant(9))],
        [(tf.constant(-5), tf.constant(20)), (tf.constant(7), tf.constant(8)), (tf.constant(3), tf.constant(3))],
    ),
}


@pytest.fixture(params=CASES)
def case(request, convert_function):
    """A case, converted, with the shape's op and the input that it comes from in one engine."""
    fn, specs, recorded, others = CASES[request.param]
    converted = convert_function(fn, specs)
    (engine,) = converted.engines
    assert request.param in converted.segment(engine)
    assert len(engine.attr["input_shapes"].list.shape) == len(specs)
    return converted, recorded, others


def test_a_profile_of_shapes_serves_all_values(case, stats):
    converted, recorded, others = case
    converted.build(*recorded)
    assert stats["builds"] == 1
    stats.reset()
    # Twice, and in turn: an engine must not take what one call's values gave for what the next one's give.
    calls = [*recorded, *others] * 2
    for inputs in calls:
        assert_close(converted(*inputs), converted.native(*inputs))
    assert stats["engine_calls"] == len(calls)
    assert stats["builds"] == 0 and stats["native_fallbacks"] == 0


def test_without_build_the_first_call_binds_no_values(case, stats):
    converted, recorded, others = case
    calls = [recorded[0], *others, recorded[0]]
    for inputs in calls:
        assert_close(converted(*inputs), converted.native(*inputs))
    assert stats["engine_calls"] == len(calls) and stats["builds"] == 1 and stats["native_fallbacks"] == 0


def test_the_shapes_still_bind(convert_function, stats):
    fn, specs, recorded, _ = CASES["Reshape"]
    converted = convert_function(fn, specs)
    converted.build(*recorded)
    stats.reset()
    x = tf.ones([3, 12])
    assert_close(converted(x, ints(4, 9)), converted.native(x, ints(4, 9)))
    assert stats["native_no_engine"] == 1 and stats["engine_calls"] == 0


@pytest.mark.parametrize("built", [True, False], ids=["after_an_engine_call", "at_once"])
def test_values_that_are_wrong_are_an_error_and_the_next_call_is_right(built, convert_function, stats):
    fn, specs, recorded, others = CASES["Reshape"]
    converted = convert_function(fn, specs)
    converted.build(*recorded)
    stats.reset()
    if built:
        converted(*recorded[0])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"24 values, but the requested shape has 25") as failure:
        converted(X, ints(5, 5))
    assert converted.engines[0].name in str(failure.value)
    assert stats["native_engine_failed"] == 1
    for inputs in (recorded[0], others[0], recorded[0]):
        assert_close(converted(*inputs), converted.native(*inputs))
    assert stats["native_engine_failed"] == 1 and stats["engine_calls"] == 3 + built


def test_many_threads_with_different_values(convert_function, stats):
    """Calls of equal input shapes and different output shapes at the same time, from the engine's first call on."""
    fn, specs, recorded, _ = CASES["Reshape"]
    converted = convert_function(fn, specs)
    converted.build(*recorded)
    stats.reset()
    shapes = [(24, 1), (12, 2), (8, 3), (6, 4), (4, 6), (3, 8), (2, 12), (1, 24)]
    calls = [(X + float(n), ints(*shapes[n % len(shapes)])) for n in range(256)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda inputs: tf.nest.flatten(converted.function(*inputs))[0].numpy(), calls))
    for (x, shape), y in zip(calls, found):
        np.testing.assert_allclose(y, 2.0 * (x.numpy() + 1.0).reshape(shape.numpy()), rtol=1e-6)
    assert stats["engine_calls"] == len(calls) and stats["native_fallbacks"] == 0


def test_values_are_no_part_of_a_saved_profile(convert_function, tmp_path):
    fn, specs, recorded, _ = CASES["Slice"]
    converted = convert_function(fn, specs)
    converted.build(*recorded)
    file = tmp_path / "asset"
    gen_trt_ops.serialize_trt_resource(resource_name=converted.engines[0].name, filename=str(file))
    (instance,) = plan_files.read_asset(file)
    profiles = plan_files.Plan.decode(instance.plan).header["profiles"]
    assert [bounds["max"] for bounds in profiles[0]["shapes"]] == [[2, 12], [2], [2]]
    assert [profile["values"] for profile in profiles] == [[None, None, None]] * len(profiles)
