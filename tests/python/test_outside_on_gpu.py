"""What a GPU's engine is made of where indices may be outside of their range: zeros are read, and nothing is written, as TensorFlow's
GPU kernels do it. The models for TensorRT, in ONNX Runtime, against numbers by hand.

Needs `cargo build --release --example segment_to_onnx` first.
"""

import numpy as np
import pytest
import tensorflow as tf
from refused_calls import F, I, L, X, f, i, n, s
from test_convert_direct import segment, session, to_onnx


def taken(x, at, axis=0):
    """numpy's take, zeros for what is outside."""
    at = np.asarray(at)
    inside = (at >= 0) & (at < x.shape[axis])
    found = np.take(x, np.where(inside, at, 0), axis)
    return found * inside.reshape((1,) * axis + at.shape + (1,) * (x.ndim - axis - 1)).astype(x.dtype)


def written(x, at, updates, change=lambda old, new: new):
    """Each update at its row of indices; those outside are left out."""
    x = x.copy()
    for row, update in zip(at, updates):
        if all(0 <= place < size for place, size in zip(row, x.shape)):
            x[tuple(row)] = change(x[tuple(row)], update)
    return x


def rows(x, at):
    return np.stack([x[tuple(row)] if all(0 <= p < d for p, d in zip(row, x.shape)) else np.zeros_like(x[(0,) * len(row)]) for row in at])


def batched(x, at, axis):
    return np.stack([taken(a, b, axis - 1) for a, b in zip(x, at)])


def add(a, b):
    return a + b


IDS, N, PAIRS = s([None], I), s([], I), s([None, 2], I)
update = tf.tensor_scatter_nd_update
CASES = {
    "gather": (lambda x, at: tf.gather(x, at), [X, IDS], (f(4, 6), i(0, -1, 3, 4)), taken),
    "gather_scalar": (lambda x, at: tf.gather(x, at), [X, N], (f(4, 6), n(-1)), taken),
    "gather_int64": (lambda x, at: tf.gather(x, tf.cast(at, L)), [X, s([None, None], I)], (f(4, 6), i([0, -5], [9, 3])), taken),
    "gather_axis": (lambda x, at: tf.gather(x, at, axis=1), [s([None, None, 3]), IDS], (f(2, 4, 3), i(3, -1, 4)), lambda x, at: taken(x, at, 1)),
    "gather_bool": (lambda x, at: tf.cast(tf.gather(x > 2, at), F), [X, IDS], (f(4, 6), i(3, -1)), lambda x, at: taken((x > 2).astype("f"), at)),
    "gather_sizes": (lambda x, at: tf.gather(tf.shape(x), at) * 2, [X, IDS], (f(4, 6), i(1, -1, 2)), lambda x, at: taken(i(4, 6), at) * 2),
    "gather_batch": (
        lambda x, at: tf.gather(x, at, axis=1, batch_dims=1),
        [s([None, None, 3]), s([None, None], I)],
        (f(2, 4, 3), i([3, -1], [4, 2])),
        lambda x, at: batched(x, at, 1),
    ),
    "gather_batch_axis": (
        lambda x, at: tf.gather(x, at, axis=2, batch_dims=1),
        [s([None, 3, None]), s([None, None], I)],
        (f(2, 3, 4), i([3, -1], [4, 2])),
        lambda x, at: batched(x, at, 2),
    ),
    "gather_nd": (lambda x, at: tf.gather_nd(x, at), [X, PAIRS], (f(4, 6), i([-1, 0], [3, 6], [3, 5])), rows),
    "gather_nd_rows": (lambda x, at: tf.gather_nd(x, at), [X, s([None, 1], I)], (f(4, 6), i([-1], [3])), rows),
    "update": (update, [X, s([None, 1], I), s([None, 6])], (f(4, 6), i([-1], [0], [4]), -f(3, 6)), written),
    "update_one": (update, [X, s([1, 1], I), s([1, 6])], (f(4, 6), i([-1]), -f(1, 6)), written),
    "update_pairs": (update, [X, PAIRS, s([None])], (f(4, 6), i([0, 6], [3, 5], [-1, 0]), -f(3)), written),
    "update_cubes": (update, [s([None, None, 2]), PAIRS, s([None, 2])], (f(4, 6, 2), i([0, 6], [3, 5], [-1, 0]), -f(3, 2)), written),
    "add_small": (
        tf.tensor_scatter_nd_add,
        [s([4, 6]), PAIRS, s([None])],
        (f(4, 6), i([0, 6], [3, 5], [3, 5], [-1, 0]), f(4)),
        lambda x, at, u: written(x, at, u, add),
    ),
    "scatter_small": (
        lambda at, u: tf.scatter_nd(at, u, [4, 6]),
        [PAIRS, s([None])],
        (i([0, 6], [3, 5], [-1, 0]), f(3)),
        lambda at, u: written(np.zeros((4, 6), "f"), at, u),
    ),
    "scatter_constant": (
        lambda x, u: tf.scatter_nd([[0], [5]], u, [tf.shape(x)[0], 6]),
        [X, s([2, 6])],
        (f(4, 6), f(2, 6)),
        lambda x, u: written(np.zeros((4, 6), "f"), [[0], [5]], u),
    ),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    segments = {name: segment(fn, specs, True)[0] for name, (fn, specs, _, _) in CASES.items()}
    return to_onnx(tmp_path_factory.mktemp("outside"), segments)


@pytest.mark.parametrize("name", CASES)
def test_outside(name, models):
    made, said = models
    assert name in made, said
    _, _, inputs, by_hand = CASES[name]
    ort = session(made[name])
    found = ort.run(None, {f"TensorRTInputPH_{at}": np.asarray(x) for at, x in enumerate(inputs)})
    # TensorRT's models have no word on the call: nobody would read it.
    assert len(found) == 1
    np.testing.assert_array_equal(found[0], by_hand(*inputs))
