"""Calls that native TensorFlow refuses on a CPU, and beside each one that it takes: one op a case, what may be wrong left open.

`good` runs in an engine. Of `bad`, native TensorFlow says what becomes of it, on the device of the test: an error, or numbers.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

raw = tf.raw_ops
F, I, L, B = tf.float32, tf.int32, tf.int64, tf.bool


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    fn: Callable
    specs: list
    good: list
    bad: list
    # Whether the engine itself tells that the call is bad. False where ONNX Runtime fails by itself.
    told: bool = True


def f(*shape):
    """Numbers from 1 on."""
    return np.arange(1, 1 + np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)


def i(*values):
    return np.array(values, np.int32)


def n(value):
    return np.int32(value)


def s(shape, dtype=F):
    return tf.TensorSpec(shape, dtype)


def case(name, fn, specs, good, bad, told=True):
    return Case(name, fn, specs, good, bad, told)


def tensor_array(x, at):
    """Reads the elements at, at + 1, ... of a list, in a loop of `at`'s own number of rounds."""
    array = tf.TensorArray(F, size=tf.shape(x)[0], element_shape=[6], clear_after_read=False).unstack(x)
    return tf.while_loop(lambda r, a, total: r < 3, lambda r, a, total: (r + 1, a + 1, total + array.read(a)), [0, at, tf.zeros([6])])[2]


def tensor_array_write(x, at):
    array = tf.TensorArray(F, size=4, element_shape=[6])
    step = lambda r, a, to: (r + 1, a, to.write(a[r], x[r]))  # noqa: E731
    return tf.while_loop(lambda r, a, to: r < tf.shape(a)[0], step, [0, at, array])[2].stack()


def gather_in_branch(x, at, yes):
    return tf.cond(yes, lambda: tf.nn.relu(tf.gather(x, at)) * 2.0, lambda: tf.nn.relu(tf.gather(x, tf.zeros_like(at)) + 1.0))


def gather_in_loop(x, at):
    step = lambda r, total: (r + 1, total + tf.reduce_sum(tf.gather(x, at[r])))  # noqa: E731
    return tf.while_loop(lambda r, total: r < tf.shape(at)[0], step, [0, 0.0])[1]


def walk(following, at):
    """From place to place until one is 0: a place that is outside, brought inside, may lead on for ever."""
    return tf.while_loop(lambda at, steps: at > 0, lambda at, steps: (tf.gather(following, at), steps + 1), [at, 0])[1]


def walk_by_condition(following, at):
    more = lambda at, steps: tf.gather(following, at) > 0  # noqa: E731
    return tf.while_loop(more, lambda at, steps: (tf.gather(following, at), steps + 1), [at, 0])[1]


def steps_of(widths, at):
    """By a step that is read before the loop: one that is read elsewhere may be 0."""
    width = tf.gather(widths, at)
    return tf.while_loop(lambda at, steps: at < 10, lambda at, steps: (at + width, steps + 1), [0, 0])[1]


def over_channels(x, a):
    """A dense layer over the channels of images, which go back to the sizes [a, 4, 4, 2]."""
    pixels = tf.reshape(tf.nn.conv2d(x, f(3, 3, 3, 8), 1, "SAME"), [-1, 8])
    return tf.reshape(tf.matmul(pixels, f(8, 2)), [a, 4, 4, 2]) * 2


def transposed(x, sizes, strides, padding):
    return tf.nn.conv2d_transpose(x, f(3, 3, 2, 3), sizes, strides, padding) + 1


def concluded_in_branch(x, a, yes):
    return tf.cond(yes, lambda: tf.nn.bias_add(x[:, :a], tf.ones([3])), lambda: tf.zeros([4, 3]) * tf.reduce_sum(x))


def concluded_in_loop(x, a, rounds):
    return tf.while_loop(lambda r, y: r < rounds, lambda r, y: (r + 1, tf.add_n([x[:, :a], y])), [0, tf.zeros([4, 3])])[1]


X = s([None, 6])
IMAGES = s([None, None, None, 3])
IDS = s([None], I)
N = s([], I)

INDICES = [
    case("gather", lambda x, at: tf.gather(x, at) + 1, [X, IDS], [(f(4, 6), i(0, 3, 3)), (f(4, 6), i())], [(f(4, 6), i(-1)), (f(4, 6), i(0, 4)), (f(4, 6), i(-5, 1))]),
    case("gather_int64", lambda x, at: tf.gather(x, tf.cast(at, L)) + 1, [s([5, 6]), s([None, None], I)], [(f(5, 6), i([0], [4]))], [(f(5, 6), i([-1], [2])), (f(5, 6), i([2, 5]))]),
    case("gather_axis", lambda x, at: tf.gather(x, at, axis=1) + 1, [s([None, None, 3]), IDS], [(f(2, 4, 3), i(3, 0))], [(f(2, 4, 3), i(3, -1)), (f(2, 4, 3), i(4, 1))]),
    case("gather_scalar", lambda x, at: tf.gather(x, at) + 1, [X, N], [(f(4, 6), n(3))], [(f(4, 6), n(-1)), (f(4, 6), n(4))]),
    case("gather_batch", lambda x, at: tf.gather(x, at, axis=1, batch_dims=1) + 1, [s([None, None, 3]), s([None, None], I)], [(f(2, 4, 3), i([3, 0], [1, 2]))], [(f(2, 4, 3), i([3, 0], [-1, 2])), (f(2, 4, 3), i([4, 0], [1, 2]))]),
    case("gather_batch_axis", lambda x, at: tf.gather(x, at, axis=2, batch_dims=1) + 1, [s([None, 3, None]), s([None, None], I)], [(f(2, 3, 4), i([3, 0], [1, 2]))], [(f(2, 3, 4), i([3, 0], [-1, 2])), (f(2, 3, 4), i([4, 0], [1, 2]))]),
    case("gather_bool", lambda x, at: tf.logical_not(tf.gather(x > 2, at)), [X, IDS], [(f(4, 6), i(0, 3))], [(f(4, 6), i(-1)), (f(4, 6), i(4))]),
    case("gather_nd", lambda x, at: tf.gather_nd(x, at) + 1, [X, s([None, 2], I)], [(f(4, 6), i([0, 5], [3, 0]))], [(f(4, 6), i([-1, 0])), (f(4, 6), i([0, 6], [0, 0])), (f(4, 6), i([0, -1]))]),
    case("gather_nd_rows", lambda x, at: tf.gather_nd(x, at) + 1, [X, s([None, 1], I)], [(f(4, 6), i([0], [3]))], [(f(4, 6), i([-1])), (f(4, 6), i([4], [0]))]),
    case("embedding", lambda at: tf.nn.relu(tf.reduce_mean(tf.nn.embedding_lookup(tf.constant(f(10, 4)), at), 1) * 2.0), [s([None, None], I)], [(i([1, 2], [9, 0]),)], [(i([-1, 2], [3, 4]),), (i([10, 2], [3, 4]),)]),
    case("embedding_hashed", lambda at: tf.nn.embedding_lookup(tf.constant(f(10, 4)), tf.math.floormod(at, 10)) + 1, [IDS], [(i(1, 12, -1),)], []),
    case("scatter_nd_constant", lambda x, y: tf.scatter_nd([[0], [5]], y, [tf.shape(x)[0], 6]) + 1, [X, s([2, 6])], [(f(9, 6), f(2, 6))], [(f(5, 6), f(2, 6))], told=False),
    case("scatter_nd_small", lambda at, x: tf.scatter_nd(at, x, [4, 6]) + 1, [s([None, 1], I), s([None, 6])], [(i([0], [3]), f(2, 6))], [(i([0], [-1]), f(2, 6)), (i([4], [1]), f(2, 6))]),
    case("rows_of_scatter_nd", lambda at, x: tf.scatter_nd(at, x, [4, 6]) + 1, [s([None, 1], I), s([None, 6])], [(i([0], [3]), f(2, 6))], [(i([0], [1]), f(1, 6))]),
    case("scatter_nd_small_two_axes", lambda at, x: tf.scatter_nd(at, x, [4, 6]) + 1, [s([None, 2], I), s([None])], [(i([0, 5], [3, 0]), f(2))], [(i([0, 6], [3, 1]), f(2)), (i([1, -1], [1, 2]), f(2))]),
    case("scatter_update", lambda x, at, u: tf.tensor_scatter_nd_update(x, at, u) + 1, [X, s([None, 1], I), s([None, 6])], [(f(4, 6), i([0], [3]), f(2, 6))], [(f(4, 6), i([-1], [0]), f(2, 6)), (f(4, 6), i([0], [4]), f(2, 6))]),
    case("scatter_update_nothing", lambda x, at, u: tf.tensor_scatter_nd_update(x, at, u) + 1, [s([None, None]), s([None, 1], I), s([None, None])], [(f(4, 6), i([0]), f(1, 6))], [(f(4, 0), i([0]), f(1, 0))]),
    case("scatter_add_nothing", lambda x, u: tf.tensor_scatter_nd_add(x, [[0], [2]], u) + 1, [s([None, None]), s([None, None])], [(f(4, 6), f(2, 6))], [(f(4, 0), f(2, 0))]),
    case("scatter_update_one", lambda x, at, u: tf.tensor_scatter_nd_update(x, at, u) + 1, [X, s([1, 1], I), s([1, 6])], [(f(4, 6), i([3]), f(1, 6))], [(f(4, 6), i([-1]), f(1, 6)), (f(4, 6), i([4]), f(1, 6))]),
    case("scatter_update_two_axes", lambda x, at, u: tf.tensor_scatter_nd_update(x, at, u) + 1, [X, s([None, 2], I), s([None])], [(f(4, 6), i([0, 5], [3, 1]), f(2))], [(f(4, 6), i([-1, 0], [0, 0]), f(2)), (f(4, 6), i([0, 0], [0, 6]), f(2))]),
    case("scatter_add_small", lambda x, at, u: tf.tensor_scatter_nd_add(x, at, u) + 1, [s([4, 6]), s([None, 1], I), s([None, 6])], [(f(4, 6), i([0], [3]), f(2, 6))], [(f(4, 6), i([-1], [0]), f(2, 6)), (f(4, 6), i([0], [4]), f(2, 6))]),
    case("one_hot", lambda at: tf.one_hot(at, 5) + 1, [IDS], [(i(0, 4, -1, 7),)], []),
    case("invert_permutation", lambda p: tf.math.invert_permutation(p) + 1, [IDS], [(i(2, 0, 1),)], [(i(2, -1, 0),), (i(3, 0, 1),), (i(0, 0, 1),)]),
    case("reverse_sequence", lambda x, n: tf.reverse_sequence(x, n, 1, 0) + 1, [s([None, None, 3]), IDS], [(f(2, 4, 3), i(4, 0))], [(f(2, 4, 3), i(5, 1)), (f(2, 4, 3), i(-1, 1))]),
    case("reverse_sequence_count", lambda x, n: tf.reverse_sequence(x, n, 1, 0) + 1, [s([None, None, 3]), IDS], [(f(2, 4, 3), i(4, 0))], [(f(2, 4, 3), i(1)), (f(2, 4, 3), i(1, 2, 3))], told=False),
    case("strided_slice_index", lambda x, at: x[at] + 1, [X, N], [(f(4, 6), n(3)), (f(4, 6), n(-4))], [(f(4, 6), n(4)), (f(4, 6), n(-5))], told=False),
    case("strided_slice_range", lambda x, a, b: x[a:b] + 1, [X, N, N], [(f(4, 6), n(-9), n(9)), (f(4, 6), n(3), n(1))], []),
    case("gather_nd_of_nothing", lambda x, at: tf.gather_nd(x, at) + 1, [s([None, None]), s([None, 1], I)], [(f(4, 6), i([0], [3]))], [(f(4, 0), i([0]))]),
    case("crop_box_not_finite", lambda x, b: tf.image.crop_and_resize(x, b, [0], [2, 2]) + 1, [s([None, 4, 4, 1]), s([1, 4])], [(f(1, 4, 4, 1), f(1, 4) - 1)], [(f(1, 4, 4, 1), f(1, 4) * np.float32(np.nan)), (f(1, 4, 4, 1), f(1, 4) * np.float32(np.inf))]),
    case("crop_box_index", lambda x, b, at: tf.image.crop_and_resize(x, b, at, [2, 2]) + 1, [s([None, 4, 4, 1]), s([None, 4]), IDS], [(f(2, 4, 4, 1), np.array([[0, 0, 1, 1]], np.float32), i(1))], [(f(2, 4, 4, 1), np.array([[0, 0, 1, 1]], np.float32), i(-1)), (f(2, 4, 4, 1), np.array([[0, 0, 1, 1]], np.float32), i(2)), (f(2, 4, 4, 1), np.array([[0, 0, 1, 1]], np.float32), i(0, 1))]),
    case("bincount", lambda x: raw.DenseBincount(input=x, size=4, weights=tf.zeros([0]), binary_output=False) + 1, [IDS], [(i(0, 3, 9),)], [(i(-1, 2),)]),
    case("bincount_weights", lambda x, w: raw.DenseBincount(input=x, size=4, weights=tf.concat([w, w], 0), binary_output=False) + 1, [IDS, s([2])], [(i(0, 3, 1, 1), f(2))], [(i(0), f(2))]),
    case("bincount_weights_of_rows", lambda x, w: raw.DenseBincount(input=x, size=4, weights=w, binary_output=False) + 1, [s([None, None], I), s([1, 3])], [(i([0, 3, 1]), f(1, 3))], [(i([0, 3, 1], [1, 2, 3]), f(1, 3)), (i([0]), f(1, 3))]),
    case("tensor_array_read", tensor_array, [X, N], [(f(5, 6), n(0)), (f(5, 6), n(2))], [(f(5, 6), n(-1)), (f(5, 6), n(3))]),
    case("tensor_array_write", tensor_array_write, [X, IDS], [(f(4, 6), i(0, 3, 1, 2))], [(f(4, 6), i(0, 1, -1, 2)), (f(4, 6), i(0, 1, 4, 2))]),
    case("gather_in_branch", gather_in_branch, [X, IDS, s([], B)], [(f(4, 6), i(0, 3), np.array(True)), (f(4, 6), i(0, -1), np.array(False))], [(f(4, 6), i(0, -1), np.array(True))]),
    case("walk", walk, [IDS, N], [(i(5, 2, 3, 0), n(1)), (i(5, 2, 3, 0), n(0))], [(i(5, 2, 7, 3), n(1)), (i(5, -2, 7, 3), n(5))]),
    case("walk_by_condition", walk_by_condition, [IDS, N], [(i(1, 2, 3, 0), n(0))], [(i(1, 2, 7, 3), n(0)), (i(1, 2, 3, 3), n(-1)), (i(1, 2, 3, 3), n(4))]),
    case("steps_of", steps_of, [IDS, N], [(i(1, 2, 3, 4), n(3))], [(i(0, 2, 3, 4), n(-1)), (i(1, 2, 3, 0), n(4))]),
    case("gather_in_loop", gather_in_loop, [X, IDS], [(f(4, 6), i(0, 3)), (f(4, 6), i())], [(f(4, 6), i(1, -1)), (f(4, 6), i(-1, 1)), (f(4, 6), i(0, 4))]),
]

SIZES = [
    case("slice_begin", lambda x, b: tf.slice(x, [b, 0], [-1, 3]) + 1, [X, N], [(f(4, 6), n(1)), (f(4, 6), n(4))], [(f(4, 6), n(-1)), (f(4, 6), n(5))]),
    case("slice_size", lambda x, b, c: tf.slice(x, [0, b], [2, c]) + 1, [X, N, N], [(f(4, 6), n(1), n(5)), (f(4, 6), n(6), n(-1))], [(f(4, 6), n(1), n(6)), (f(4, 6), n(1), n(-2)), (f(1, 6), n(1), n(2)), (f(4, 6), n(2**31 - 1), n(2**31 - 1))]),
    case("slice_constant", lambda x: tf.slice(x, [0, 1], [3, 2]) + 1, [s([None, None])], [(f(4, 6),), (f(3, 3),)], [(f(2, 6),), (f(4, 2),)]),
    case("range_down", lambda a, b: tf.range(a, b, -2) * 2, [N, N], [(n(5), n(0)), (n(3), n(3))], [(n(0), n(3))]),
    case("range_by", lambda a, b, by: tf.range(a, b, by) * 2, [N, N, N], [(n(0), n(5), n(2)), (n(5), n(0), n(-1))], [(n(0), n(3), n(-1)), (n(3), n(0), n(1)), (n(0), n(3), n(0))]),
    case("select_v1", lambda x, y: raw.Select(condition=tf.reduce_sum(x, 1) > 100, x=x, y=y) + 1, [s([None, None]), s([None, None])], [(f(4, 6), -f(4, 6))], [(f(4, 6), f(1, 6)), (f(4, 6), f(4, 1)), (f(1, 6), f(4, 6))]),
    case("select_v1_condition", lambda c, x: raw.Select(condition=c > 0, x=x, y=-x) + 1, [s([None]), s([None, None])], [(f(4) - 2, f(4, 6))], [(f(1), f(4, 6)), (f(4), f(1, 6))]),
    case("bias_add", lambda x, y: tf.nn.bias_add(x, y) * 2, [s([None, None]), s([None])], [(f(4, 6), f(6))], [(f(4, 6), f(1)), (f(4, 1), f(6))]),
    case("bias_add_nchw", lambda x, y: tf.nn.bias_add(x, y, "NCHW") * 2, [s([None, None, None, None]), s([None])], [(f(1, 3, 2, 2), f(3))], [(f(1, 3, 2, 2), f(1)), (f(1, 1, 2, 2), f(3))]),
    case("clip_by_value", lambda x, a, b: raw.ClipByValue(t=x, clip_value_min=a, clip_value_max=b) * 2, [s([None, None])] * 3, [(f(4, 6), f(4, 6) - 1, f(4, 6) + 1)], [(f(4, 6), f(1, 6), f(4, 6)), (f(4, 6), f(1, 1), f(1, 1)), (f(1, 6), f(4, 6), f(4, 6)), (f(4, 6), f(4, 6), f(4, 1))]),
    case("approximate_equal", lambda x, y: tf.cast(raw.ApproximateEqual(x=x, y=y, tolerance=0.1), F) * 2, [s([None, None])] * 2, [(f(4, 6), f(4, 6))], [(f(4, 6), f(1, 6)), (f(4, 6), f(4, 1)), (f(1, 6), f(4, 6))]),
    case("quantize_range", lambda x, a, b: tf.quantization.quantize_and_dequantize_v2(x, a, b, range_given=True) * 2, [s([None, 6]), s([]), s([])], [(f(4, 6), np.float32(-1), np.float32(9))], [(f(4, 6), np.float32(1), np.float32(-1)), (f(4, 6), np.float32(np.nan), np.float32(1))]),
    case("add_n", lambda x, y: tf.add_n([x, y, x]) * 2, [s([None, None]), s([None, None])], [(f(4, 6), f(4, 6))], [(f(1, 6), f(4, 6)), (f(4, 6), f(4, 1))]),
    case("broadcast_to", lambda x, y: tf.broadcast_to(x, tf.shape(y)) * 2, [s([None, None]), s([None, None])], [(f(4, 6), f(4, 6)), (f(1, 6), f(4, 6))], [(f(4, 6), f(1, 6)), (f(4, 6), f(4, 1))]),
    case("fill", lambda a: tf.fill([a, 2], 3.0) * 2, [N], [(n(3),), (n(0),)], [(n(-1),)]),
    case("einsum", lambda x, y: tf.einsum("bij,bjk->bik", x, y) * 2, [s([None, None, None]), s([None, None, None])], [(f(4, 2, 3), f(4, 3, 5))], [(f(1, 2, 3), f(4, 3, 5)), (f(4, 2, 1), f(4, 3, 5)), (f(4, 2, 3), f(1, 3, 5))]),
    case("batch_matmul_v1", lambda x, y: raw.BatchMatMul(x=x, y=y) * 2, [s([None, None, None]), s([None, None, None])], [(f(4, 2, 3), f(4, 3, 5))], [(f(1, 2, 3), f(4, 3, 5)), (f(4, 2, 3), f(1, 3, 5))]),
    case("batch_matmul_v2", lambda x, y: raw.BatchMatMulV2(x=x, y=y) * 2, [s([None, None, None]), s([None, None, None])], [(f(4, 2, 3), f(4, 3, 5)), (f(1, 2, 3), f(4, 3, 5))], [(f(3, 2, 3), f(4, 3, 5)), (f(4, 2, 1), f(4, 3, 5))], told=False),
    case("matmul", lambda x, y: tf.matmul(x, y) * 2, [s([None, None]), s([None, None])], [(f(4, 6), f(6, 2))], [(f(4, 1), f(6, 2)), (f(4, 6), f(1, 2))], told=False),
    case("matmul_transposed", lambda x, y: tf.matmul(x, y, transpose_b=True) * 2, [s([None, None]), s([None, None])], [(f(4, 6), f(2, 6))], [(f(4, 1), f(2, 6)), (f(4, 6), f(2, 1))], told=False),
    case("band_part", lambda x: tf.linalg.band_part(x, 3, 2) * 2, [s([None, None])], [(f(4, 6),), (f(3, 2),)], [(f(2, 6),), (f(4, 1),)]),
    case("pad_symmetric", lambda x: tf.pad(x, [[2, 3], [0, 2]], "SYMMETRIC") * 2, [s([None, None])], [(f(4, 6),), (f(3, 2),)], [(f(2, 6),), (f(4, 1),)]),
    case("pad_reflect", lambda x: tf.pad(x, [[2, 1], [0, 2]], "REFLECT") * 2, [s([None, None])], [(f(4, 6),), (f(3, 3),)], [(f(2, 6),), (f(4, 2),)], told=False),
    case("pad_reflect_nothing", lambda x: tf.pad(x, [[0, 0], [0, 2]], "REFLECT") * 2, [s([None, None])], [(f(4, 6),), (f(1, 3),)], [(f(0, 6),)]),
    case("reshape_rows", lambda x, a: tf.reshape(x, [a, 3]) * 2, [X, N], [(f(4, 6), n(8)), (f(4, 6), n(-1))], [(f(4, 6), n(7)), (f(4, 6), n(-2)), (f(4, 6), n(0))]),
    case("reshape_all", lambda x, a, b: tf.reshape(x, [a, b]) * 2, [X, N, N], [(f(4, 6), n(8), n(3)), (f(4, 6), n(-1), n(2))], [(f(4, 6), n(7), n(3)), (f(4, 6), n(-1), n(-1)), (f(4, 6), n(0), n(6))], told=False),
    case("reshape_pixels", lambda x, a: tf.reshape(tf.nn.conv2d(x, f(3, 3, 3, 8), 1, "SAME"), [a, 8]) * 2, [IMAGES, N], [(f(1, 4, 4, 3), n(16)), (f(1, 4, 4, 3), n(-1))], [(f(1, 4, 4, 3), n(15)), (f(1, 4, 4, 3), n(32)), (f(1, 4, 4, 3), n(-2))]),
    case("reshape_pixels_known", lambda x: tf.matmul(tf.reshape(tf.nn.conv2d(x, f(3, 3, 3, 8), 1, "SAME"), [16, 8]), f(8, 2)) * 2, [IMAGES], [(f(1, 4, 4, 3),), (f(2, 2, 4, 3),)], [(f(1, 4, 2, 3),), (f(2, 4, 4, 3),)]),
    case("reshape_pixels_back", over_channels, [s([None, 4, 4, 3]), N], [(f(2, 4, 4, 3), n(2)), (f(2, 4, 4, 3), n(-1))], [(f(2, 4, 4, 3), n(1)), (f(2, 4, 4, 3), n(3)), (f(2, 4, 4, 3), n(-2))]),
    case("transposed_size", lambda x, a: transposed(x, tf.stack([tf.shape(x)[0], a, a, 2]), 1, "SAME"), [IMAGES, N], [(f(2, 4, 4, 3), n(4))], [(f(2, 4, 4, 3), n(5)), (f(2, 4, 4, 3), n(3))]),
    case("transposed_batch", lambda x, a: transposed(x, tf.stack([a, 9, 9, 2]), 2, "VALID"), [s([None, 4, 4, 3]), N], [(f(2, 4, 4, 3), n(2))], [(f(2, 4, 4, 3), n(1)), (f(2, 4, 4, 3), n(3))]),
    case("transposed_known", lambda x: transposed(x, [2, 8, 8, 2], 2, "SAME"), [IMAGES], [(f(2, 4, 4, 3),)], [(f(2, 3, 4, 3),), (f(2, 5, 5, 3),)]),
    case("split", lambda x: tf.split(x, 2)[1] * 2, [s([None, 6])], [(f(4, 6),)], [(f(3, 6),)], told=False),
    case("split_v", lambda x: tf.split(x, [1, 3])[1] * 2, [s([None, 6])], [(f(4, 6),)], [(f(3, 6),), (f(5, 6),)], told=False),
    case("concat", lambda x, y: tf.concat([x, y], 0) * 2, [s([None, None]), s([None, None])], [(f(4, 6), f(2, 6)), (f(0, 6), f(2, 6))], [(f(0, 6), f(2, 5)), (f(4, 6), f(0, 5))]),
    case("pack", lambda x, y: tf.stack([x, y]) * 2, [s([None, None]), s([None, None])], [(f(4, 6), f(4, 6))], [(f(0, 6), f(4, 6))]),
    case("pack_unequal", lambda x, y: tf.stack([x, y]) * 2, [s([None, None]), s([None, None])], [(f(4, 6), f(4, 6))], [(f(4, 6), f(1, 6))], told=False),
    case("unpack", lambda x: tf.unstack(tf.concat([x, x], 0), 6)[1] * 2, [s([None, 6])], [(f(3, 6),)], [(f(4, 6),), (f(2, 6),)]),
    case("top_k", lambda x: tf.math.top_k(x, 3)[0] * 2, [s([None, None])], [(f(4, 6),), (f(4, 3),)], [(f(4, 2),)], told=False),
    case("tile", lambda x, a: tf.tile(x, [a, 1]) * 2, [X, N], [(f(4, 6), n(2)), (f(4, 6), n(0))], [(f(4, 6), n(-1))]),
    case("squeeze", lambda x: tf.squeeze(x, [0]) * 2, [s([None, 6])], [(f(1, 6),)], [(f(2, 6),)], told=False),
    case("add", lambda x, y: (x + y) * 2, [s([None, None]), s([None, None])], [(f(4, 6), f(1, 6))], [(f(4, 6), f(3, 6))], told=False),
    case("broadcast_args", lambda x, y: tf.fill(raw.BroadcastArgs(s0=tf.shape(x), s1=tf.shape(y)), 2.0) * 2, [s([None, None]), s([None, None])], [(f(4, 6), f(1, 6))], [(f(4, 6), f(3, 6))]),
    case("space_to_batch", lambda x: tf.space_to_batch_nd(x, [2], [[0, 1]]) * 2, [s([None, None, 3])], [(f(2, 3, 3),)], [(f(2, 4, 3),)], told=False),
    case("space_to_batch_of_nothing", lambda x: tf.space_to_batch_nd(x, [2], [[0, 1]]) * 2, [s([None, None, 3])], [(f(2, 3, 3),), (f(0, 3, 3),)], [(f(0, 4, 3),)]),
    case("batch_to_space_of_nothing", lambda x: tf.batch_to_space(x, [2], [[0, 0]]) * 2, [s([None, None, 3])], [(f(2, 3, 3),), (f(2, 0, 3),)], [(f(3, 0, 3),)]),
    case("batch_to_space", lambda x: tf.batch_to_space(x, [2], [[1, 2]]) * 2, [s([None, None, 3])], [(f(2, 3, 3),)], [(f(3, 3, 3),)], told=False),
    case("batch_to_space_crops", lambda x: tf.batch_to_space(x, [2], [[1, 2]]) * 2, [s([None, None, 3])], [(f(2, 3, 3),)], [(f(2, 1, 3),)]),
    case("depth_to_space", lambda x: tf.nn.depth_to_space(x, 2) * 2, [s([None, None, None, None])], [(f(1, 2, 2, 4),)], [(f(1, 2, 2, 3),), (f(1, 2, 2, 6),)], told=False),
    case("space_to_depth", lambda x: tf.nn.space_to_depth(x, 2) * 2, [s([None, None, None, 1])], [(f(1, 2, 2, 1),)], [(f(1, 3, 2, 1),)], told=False),
]

# A size inside that TensorFlow's inference takes from what a later node asks for: it is not known before the call.
CONCLUDED = [
    case("concluded_bias", lambda x, y, z: tf.nn.bias_add(x, tf.concat([y, z], 0)) * 2, [X, s([None]), s([None])], [(f(4, 6), f(3), f(3))], [(f(4, 6), f(1), f(0))]),
    case("concluded_reshape", lambda x, a, b: tf.matmul(tf.reshape(x, [a, b]), tf.ones([6, 2])) * 2, [s([None, 6]), N, N], [(f(4, 6), n(4), n(6)), (f(4, 6), n(-1), n(6))], [(f(4, 6), n(8), n(3))]),
    case("concluded_constant", lambda a, b: tf.add_n([tf.reshape(tf.constant(f(24)), [a, b]), tf.ones([4, 6])]) * 2, [N, N], [(n(4), n(6)), (n(4), n(-1))], [(n(8), n(3)), (n(-1), n(-1))], told=False),
    case("concluded_in_branch", concluded_in_branch, [s([4, None]), N, s([], B)], [(f(4, 6), n(3), np.array(True)), (f(4, 6), n(1), np.array(False))], [(f(4, 6), n(1), np.array(True))]),
    case("concluded_in_loop", concluded_in_loop, [s([4, None]), N, N], [(f(4, 6), n(3), n(2)), (f(4, 6), n(3), n(0))], [(f(4, 6), n(1), n(2))]),
    case("concluded_rows", lambda x, y: tf.add_n([tf.concat([x, y], 0), tf.ones([6, 6])]) * 2, [X, X], [(f(3, 6), f(3, 6))], [(f(1, 6), f(0, 6))]),
]

CASES = INDICES + SIZES + CONCLUDED
