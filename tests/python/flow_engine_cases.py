"""Loops and conditionals that can be neither unrolled nor chosen: what test_flow_engine.py has on the CPU, and test_gpu_flow.py on a GPU."""

import numpy as np
import tensorflow as tf
from test_flow import OPEN, L, W, cond, inputs, keras, loop_with_its_number

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


def choice_in_loop(x, n):
    return counted(lambda i, y: cond(y) * 0.5, n, x)


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
    "choice_in_loop": (lambda: choice_in_loop, N, {"Loop"}),
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


def runs(specs):
    """Inputs of several batches and signs; counts from none on, and times of several lengths."""
    for batch, n in ((1, 0), (3, 1), (3, 4), (5, 3)):
        for seed in range(2):
            sized = [tf.TensorSpec([d or (n + 2 if axis else batch) for axis, d in enumerate(spec.shape)], spec.dtype) for spec in specs]
            yield [tf.constant(n) if spec == COUNT else inputs([size], batch, seed)[0] for spec, size in zip(specs, sized)]


def cond_in_loop(x, n):
    side = lambda i, y: tf.cond(tf.reduce_sum(y) > 0.0, lambda: tf.tanh(y @ W), lambda: tf.nn.relu(y @ (W * 2.0)) - 1.0)
    return counted(side, n, x)


def loop_in_cond(x, n):
    return tf.cond(x[0, 0] > 0.0, lambda: counted(lambda i, y: tf.tanh(y @ W), n, x), lambda: x * 2.0)


def loop_in_cond_in_cond(x, n):
    inside = lambda: tf.cond(tf.reduce_max(x) > 1.0, lambda: counted(lambda i, y: tf.tanh(y @ W), n, x), lambda: tf.nn.relu(x @ W))
    return tf.cond(x[0, 0] > 0.0, inside, lambda: x * 2.0)


def cond_in_loop_in_loop(x, n):
    return counted(lambda i, y: cond_in_loop(y, i + 1), n, x)


def sum_in_cond(x, n):
    """TensorRT 8.6 makes a loop of a running sum."""
    return tf.cond(x[0, 0] > 0.0, lambda: tf.cumsum(x @ W, 1) * tf.cast(n, tf.float32), lambda: x)


MIXED = {
    "cond_in_loop": (cond_in_loop, "(StatelessIf) would be a conditional inside a loop, which gives wrong numbers in TensorRT 8.6"),
    "cond_in_loop_in_loop": (cond_in_loop_in_loop, "(StatelessIf) would be a conditional inside a loop"),
    "loop_in_cond": (loop_in_cond, "(StatelessWhile) would be a loop inside a conditional, which ends the process in TensorRT 8.6"),
    "loop_in_cond_in_cond": (loop_in_cond_in_cond, "(StatelessWhile) would be a loop inside a conditional"),
    "sum_in_cond": (sum_in_cond, "(Cumsum) would be a loop inside a conditional"),
}
