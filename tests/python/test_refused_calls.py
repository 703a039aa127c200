"""What native TensorFlow refuses, a converted function refuses: the table of refused_calls.py, on the CPU.

Each case first runs good calls, in engines and with native TensorFlow's numbers. A bad call then fails as the native function does, and
leaves the engine good for what follows.
"""

import numpy as np
import pytest
import tensorflow as tf
from conftest import _convert_function as convert
from refused_calls import CASES, Case
from tensorflow.python.compiler.tensorrt import trt_convert

import tftrt


def outcome(function, inputs):
    """The outputs of a call as arrays; of one that fails, the class of its error."""
    try:
        return [np.asarray(x) for x in tf.nest.flatten(function(*map(tf.constant, inputs)))]
    except tf.errors.OpError as error:
        return type(error)


def counted(work):
    before = dict(tftrt.stats()["totals"])
    result = work()
    after = tftrt.stats()["totals"]
    return result, {name: after[name] - before.get(name, 0) for name in after}


def same(found, expected):
    if isinstance(expected, type):
        return found is expected
    return not isinstance(found, type) and all(a.shape == b.shape and np.allclose(a, b) for a, b in zip(found, expected, strict=True))


def build(converted, case):
    """Builds an engine whose profile holds the shapes of the bad calls too: else those would run natively for their shapes."""
    converted._set_profile_mode(True)
    recording = trt_convert._construct_function_from_graph_def(converted.function, converted.graph_def)
    for inputs in case.good + case.bad:
        outcome(recording, inputs)
    converted._set_profile_mode(False)
    assert not isinstance(outcome(converted, case.good[0]), type)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused(case):
    converted = convert(case.fn, case.specs)
    assert len(converted.engines) == 1
    assert set(converted.outside) <= {"Const", "Identity", "NoOp", "Placeholder"}
    build(converted, case)
    for inputs in case.good * 2:
        found, counts = counted(lambda inputs=inputs: outcome(converted, inputs))
        assert same(found, outcome(converted.native, inputs)), (inputs, found)
        assert counts["engine_calls"] == 1 and counts["native_refused"] == counts["native_fallbacks"] == 0
    for inputs in case.bad * 2:
        expected = outcome(converted.native, inputs)
        assert isinstance(expected, type), f"native TensorFlow takes {inputs}"
        found, counts = counted(lambda inputs=inputs: outcome(converted, inputs))
        assert same(found, expected), f"{inputs}: {found}, natively {expected}"
        if case.told:
            assert counts["native_refused"] == 1 and counts["native_fallbacks"] == counts["engine_calls"] == 0
    found, counts = counted(lambda: outcome(converted, case.good[0]))
    assert same(found, outcome(converted.native, case.good[0])) and counts["engine_calls"] == 1


POOLS = [
    lambda x: tf.nn.avg_pool2d(x, 3, 2, "VALID") * 2,
    lambda x: tf.nn.max_pool2d(x, 4, 3, "VALID") * 2,
    lambda x: tf.reduce_sum(tf.nn.max_pool2d(x, [3, 2], [2, 2], [[0, 0], [0, 1], [0, 0], [0, 0]]), [1, 2]),
]


@pytest.mark.parametrize("pool", POOLS, ids=["average", "maximum", "explicit"])
def test_pools_of_images_that_hold_no_window(pool):
    """TensorFlow's result has no rows; ONNX Runtime's pools had one where less than a stride is missing."""
    images = [np.arange(height * 24, dtype=np.float32).reshape(2, height, 4, 3) for height in (5, 4, 3, 2, 1)]
    converted = convert(pool, [tf.TensorSpec([None, None, None, 3])])
    build(converted, Case("", pool, [], [(images[0],)], [(image,) for image in images[1:]]))
    for image in images * 2:
        assert same(outcome(converted, [image]), outcome(converted.native, [image])), image.shape


def test_a_refused_call_leaves_no_line_of_onnx_runtime(capfd):
    """What is wrong is in the error: a client's bad calls do not fill the log."""
    converted = convert(lambda x, at: x[at] + 1, [tf.TensorSpec([None, 6]), tf.TensorSpec([], tf.int32)])
    x = np.ones([4, 6], np.float32)
    build(converted, Case("", None, [], [(x, np.int32(1))], []))
    for _ in range(3):
        assert isinstance(outcome(converted, [x, np.int32(9)]), type)
    assert "onnxruntime:" not in capfd.readouterr().err
