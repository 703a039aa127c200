"""A case of `op_cases` through the plugin: which of its engines there are, and their numbers beside native TensorFlow's."""

import numpy as np
import tensorflow as tf

import tftrt


def inside(converted) -> set[str]:
    """The op types of all nodes in `converted`'s engines."""
    return {op for engine in converted.engines for op in converted.segment(engine)}


def hold(case, found, expected, rtol: float = 0.0) -> None:
    """Each of the tensors `found` has the dtype, the shape and, within the case's tolerances, the values of the one in `expected`.

    `rtol` is the least relative tolerance.
    """
    assert len(expected) == len(found)
    for e, f in zip(expected, found):
        e, f = e.numpy(), f.numpy()
        assert (e.dtype, e.shape) == (f.dtype, f.shape), f"Another type or shape: {f.dtype}{f.shape}, expected {e.dtype}{e.shape}"
        if e.dtype.kind == "f":
            np.testing.assert_allclose(f, e, rtol=max(rtol, case.rtol), atol=case.atol)
        else:
            np.testing.assert_array_equal(f, e)


def run(case, converted, rtol: float = 0.0) -> dict[str, int]:
    """Builds `converted` for the case's inputs, and holds each run against native TensorFlow on the CPU; `rtol` as in `hold`.

    Returns what the runs (not the build) added to the counters, with "calls": how often engines were called or should have been.
    """
    runs = case.runs()
    converted.build(*runs)
    before = dict(tftrt.stats()["totals"])
    for inputs in runs:
        with tf.device("CPU:0"):
            arguments = [tf.constant(x) for x in inputs]
            expected = tf.nest.flatten(converted.native(*arguments))
        hold(case, tf.nest.flatten(converted(*arguments)), expected, rtol)
    after = tftrt.stats()["totals"]
    counted = {name: after[name] - before[name] for name in ("engine_calls", "native_fallbacks")}
    return counted | {"calls": len(runs) * len(converted.engines)}
