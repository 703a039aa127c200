"""Loops and conditionals inside engines, as ONNX's Loop and If: those that can be neither unrolled nor chosen (see test_flow.py for these).

What is made of them is in src/optimizer/flow/functional.rs and lists.rs, and src/convert/ops/control.rs.
"""

import numpy as np
import onnx
import pytest
import tensorflow as tf
from conftest import _convert_function as convert
from conftest import assert_close
from test_flow import AROUND, OPEN, L, W, cond, inputs, keras, loop_with_its_number

random = np.random.default_rng(11)
BIG = (random.standard_normal((4, 4, 40)) * 0.3).astype(np.float32)
KERNEL = (random.standard_normal((3, 3, 3, 5)) * 0.3).astype(np.float32)
OTHER_KERNEL = (random.standard_normal((1, 1, 3, 5)) * 0.3).astype(np.float32)
COUNT = tf.TensorSpec([], tf.int32)
STEPS = [tf.TensorSpec([None, None, 4])]
IMAGES = [tf.TensorSpec([None, 8, 8, 3])]


def counted(body, n, x):
    return tf.while_loop(lambda i, y: i < n, lambda i, y: (i + 1, body(i, y)), [0, x])[1]


def loop_of_unknown_length(x, n):
    return counted(lambda i, y: tf.tanh(y @ W) + tf.cast(i, tf.float32), n, x)


def loop_until(x):
    return tf.while_loop(lambda y: tf.reduce_sum(tf.abs(y)) > 1.0, lambda y: y * 0.5, [x])[0] + 1.0


def loop_too_long(x):
    return counted(lambda i, y: y * 0.99 + 0.01, 600, x)


def loop_with_a_large_weight(x, n):
    return counted(lambda i, y: tf.tanh(tf.reduce_sum(tf.einsum("ni,ijk->njk", y, BIG), -1)), n, x)


def loop_in_loop(x, n):
    return counted(lambda i, y: counted(lambda j, z: tf.tanh(z @ W), i, y) + 1.0, n, x)


def known_loop_in_loop(x, n):
    return counted(lambda i, y: loop_with_its_number(y)[1] * 0.1, n, x)


def loop_in_known_loop(x, n):
    for _ in tf.range(3):
        x = counted(lambda i, y: tf.tanh(y @ W), n, x)
    return x


def cond_in_loop(x, n):
    side = lambda i, y: tf.cond(tf.reduce_sum(y) > 0.0, lambda: tf.tanh(y @ W), lambda: tf.nn.relu(y @ (W * 2.0)) - 1.0)
    return counted(side, n, x)


def choice_in_loop(x, n):
    return counted(lambda i, y: cond(y) * 0.5, n, x)


def loop_in_cond(x, n):
    return tf.cond(x[0, 0] > 0.0, lambda: counted(lambda i, y: tf.tanh(y @ W), n, x), lambda: x * 2.0)


def cond_of_work(x):
    return tf.cond(x[0, 0] > 0.0, lambda: tf.tanh(x @ W), lambda: x)


def cond_of_images(x):
    sides = lambda: tf.nn.conv2d(x, KERNEL, 1, "SAME"), lambda: tf.nn.relu(tf.nn.conv2d(x, OTHER_KERNEL, 1, "SAME"))
    return tf.nn.max_pool2d(tf.cond(tf.reduce_mean(x) > 0.0, *sides), 2, 2, "VALID")


def cond_in_cond(x):
    inside = lambda: tf.cond(tf.reduce_max(x) > 1.5, lambda: tf.tanh(x @ W), lambda: tf.nn.relu(x @ W))
    return tf.cond(tf.reduce_sum(x) > 0.0, inside, lambda: x @ (W + 1.0))


def cond_with_index(x):
    return tf.cond(tf.shape(x)[0] > 3, lambda: x[0] * 2.0 + tf.gather(x, 3), lambda: x[0])


def two_results(x, n):
    i, y, z = tf.while_loop(lambda i, y, z: i < n, lambda i, y, z: (i + 2, tf.tanh(y @ W), z + y), [0, x, x * 0.0])
    return y * tf.cast(i, tf.float32) + z


def until_a_flag(x, n):
    """A bool that goes from round to round, and a loop that ends by it."""
    body = lambda on, i, y: (tf.logical_and(on, tf.reduce_max(tf.abs(y)) > 0.2), i + 1, y * 0.6)
    return tf.while_loop(lambda on, i, y: tf.logical_and(on, i < n), body, [True, 0, x])[2]


def greedy_decoder(x, n):
    """Writes the best token of each step into a buffer, up to `n` steps; what is chosen goes into the next step."""

    def step(i, state, tokens):
        best = tf.argmax(state, -1, output_type=tf.int32)
        tokens = tf.where(tf.range(6)[None] == i, best[:, None], tokens)
        return i + 1, tf.tanh(state @ W + tf.gather(W, best)), tokens

    tokens = tf.fill([tf.shape(x)[0], 6], -1)
    return tf.cast(tf.while_loop(lambda i, *_: i < n, step, [0, x, tokens])[2], tf.float32)


def map_fn(x):
    return tf.map_fn(lambda step: tf.tanh(step @ W), tf.transpose(x, [1, 0, 2]))


def scan(x):
    return tf.scan(lambda a, step: a * 0.5 + step, tf.transpose(x, [1, 0, 2]), initializer=tf.zeros([tf.shape(x)[0], 4]))


N = [*OPEN, COUNT]
CASES = {
    "loop_of_unknown_length": (lambda: loop_of_unknown_length, N, {"Loop"}),
    "loop_until": (lambda: loop_until, OPEN, {"Loop"}),
    "loop_too_long": (lambda: loop_too_long, OPEN, {"Loop"}),
    "loop_with_a_large_weight": (lambda: loop_with_a_large_weight, N, {"Loop"}),
    "loop_in_loop": (lambda: loop_in_loop, N, {"Loop"}),
    "known_loop_in_loop": (lambda: known_loop_in_loop, N, {"Loop"}),
    "loop_in_known_loop": (lambda: loop_in_known_loop, N, {"Loop"}),
    "cond_in_loop": (lambda: cond_in_loop, N, {"Loop", "If"}),
    "choice_in_loop": (lambda: choice_in_loop, N, {"Loop"}),
    "loop_in_cond": (lambda: loop_in_cond, N, {"Loop", "If"}),
    "cond_of_work": (lambda: cond_of_work, OPEN, {"If"}),
    "cond_of_images": (lambda: cond_of_images, IMAGES, {"If"}),
    "cond_in_cond": (lambda: cond_in_cond, OPEN, {"If"}),
    "cond_with_index": (lambda: cond_with_index, OPEN, {"If"}),
    "two_results": (lambda: two_results, N, {"Loop"}),
    "until_a_flag": (lambda: until_a_flag, N, {"Loop"}),
    "greedy_decoder": (lambda: greedy_decoder, N, {"Loop"}),
    "map_fn": (lambda: map_fn, STEPS, {"Loop"}),
    "scan": (lambda: scan, STEPS, {"Loop"}),
    "lstm": (lambda: keras(L.LSTM(8), shape=(None, 4)), STEPS, {"Loop"}),
    "gru_sequences": (lambda: keras(L.GRU(8, return_sequences=True), shape=(None, 4)), STEPS, {"Loop"}),
}


def inside(graph):
    """All nodes of an ONNX graph, with those of graphs inside nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from inside(attribute.g)


def runs(specs):
    """Inputs of several batches and signs; counts from none on, and times of several lengths."""
    for batch, n in ((1, 0), (3, 1), (3, 4), (5, 3)):
        for seed in range(2):
            sized = [tf.TensorSpec([d or (n + 2 if axis else batch) for axis, d in enumerate(spec.shape)], spec.dtype) for spec in specs]
            yield [tf.constant(n) if spec == COUNT else inputs([size], batch, seed)[0] for spec, size in zip(specs, sized)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of the cases' ONNX models."""
    return tmp_path_factory.mktemp("flow_engine")


@pytest.mark.parametrize("name", CASES)
def test_is_one_engine(name, exported, monkeypatch, stats):
    make, specs, ops = CASES[name]
    folder = exported / name
    folder.mkdir()
    monkeypatch.setenv("TF_TRT_EXPORT_TRT_ENGINES_PATH", str(folder))
    converted = convert(make(), specs)
    assert len(converted.engines) == 1, converted.outside
    assert set(converted.outside) <= AROUND
    all_runs = list(runs(specs))
    converted.build(all_runs[0], all_runs[4], all_runs[-1])
    stats.reset()
    for run in all_runs:
        assert_close(converted(*run), converted.native(*run))
    assert stats["engine_calls"] == len(all_runs)
    assert stats["native_fallbacks"] == 0
    (path,) = folder.glob("TRTEngineOp_*")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {node.op_type for node in inside(model.graph)} & {"Loop", "If"} == ops
    # The native segment, a functional While or If, where no engine serves the shapes.
    larger = [tf.constant(2) if spec == COUNT else inputs([tf.TensorSpec([d or 9 for d in spec.shape], spec.dtype)], 9)[0] for spec in specs]
    assert_close(converted(*larger), converted.native(*larger))
    assert stats["native_fallbacks"] == 1
