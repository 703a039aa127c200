"""Cases of integers at the ends of their types, where TensorFlow wraps around, and of reductions over no elements."""

import numpy as np
import tensorflow as tf
from op_cases import b, case, f16, f32, i32, i64, raw, spec

LEAST, MOST = -(2**31), 2**31 - 1
ENDS = np.array([[MOST, 1, 0, 0], [2**30, 2**30, 2**30, 5], [LEAST, -1, 0, 7], [65537, 65537, 3, 1], [LEAST, LEAST, LEAST, MOST],
                 [MOST, MOST, -3, 2], [12345, -6789, 46341, -46341], [-(2**21), 2**21 + 1, LEAST + 1, MOST - 1]])
RUNS = ((ENDS,), (ENDS[:1],), (ENDS[:0],))
OPEN = [spec([None, 4], i32)]
BOTH_OPEN = [spec([None, None], i32)]
i8, u8, i16, u16 = tf.int8, tf.uint8, tf.int16, tf.uint16
EXACT = dict(rtol=0, atol=0)


def wide(x):
    """int64 far beyond int32, of both signs: what a hash computes."""
    return tf.cast(x, i64) * tf.cast(x, i64) * 3 + tf.cast(x, i64)


def narrow(x):
    """Both halves of int64, as an engine may give them."""
    return tf.cast(x, i32), tf.cast(x // 65536 // 65536, i32)


def ends(op, fn, name, specs=OPEN, values=RUNS, **options):
    case(op, fn, specs, [], name, values=values, **EXACT, **options)


for axis in (0, 1, [0, 1]):
    label = "_".join(map(str, np.atleast_1d(axis)))
    ends("Sum", lambda x, a=axis: tf.reduce_sum(x, a), f"ends_int32_{label}")
    ends("Sum", lambda x, a=axis: narrow(tf.reduce_sum(wide(x), a)), f"ends_int64_{label}")
ends("Sum", lambda x: tf.reduce_sum(x, 1, keepdims=True), "ends_open", BOTH_OPEN, ((ENDS,), (ENDS[:, :0],), (np.tile(ENDS, [1, 300]),)))
ends("Sum", lambda x: narrow(tf.reduce_sum(wide(x), 1)), "ends_open_int64", BOTH_OPEN, ((ENDS,), (ENDS[:, :0],), (np.tile(ENDS, [1, 300]),)))
ends("Sum", lambda x: tf.reduce_sum(x * 1103515245, 1) % 1000, "ends_hashed")
ends("Prod", lambda x: (tf.reduce_prod(x, 1), tf.reduce_prod(x, 1, keepdims=True)), "ends_int32")
ends("Prod", lambda x: narrow(tf.reduce_prod(wide(x) + 1, 1)), "ends_int64")
for size in (1, 2, 3, 5, 7, 8):
    ends("Prod", lambda x: tf.reduce_prod(x, 0), f"ends_of_{size}", [spec([size, 4], i32)], ((ENDS[:size] + 1,),))
ends("Prod", lambda x: tf.reduce_prod(x, [0, 1]), "ends_two_axes", [spec([5, 4], i32)], ((ENDS[2:7] | 1,),))
ends("Max", lambda x: (tf.reduce_max(x, 0), tf.reduce_min(x, 0)), "ends")
for axis in (0, 1, [0, 1]):
    label = "_".join(map(str, np.atleast_1d(axis)))
    signs = lambda x: wide(x) * tf.cast(tf.sign(x[:, :1]), i64)  # noqa: E731
    ends("Max", lambda x, a=axis, f=signs: narrow(tf.reduce_max(f(x), a)), f"ends_int64_{label}")
    ends("Min", lambda x, a=axis, f=signs: narrow(tf.reduce_min(f(x), a, keepdims=True)), f"ends_int64_{label}")
ends("Cumsum", lambda x: (tf.cumsum(x, 1), tf.cumsum(x, 1, exclusive=True, reverse=True), *narrow(tf.cumsum(wide(x), 1))), "ends")
ends("Cumprod", lambda x: (tf.math.cumprod(x, 1), tf.math.cumprod(x, 1, exclusive=True, reverse=True)), "ends")
ends("TensorScatterAdd", lambda x: tf.tensor_scatter_nd_add(tf.fill([3], MOST), [[0], [1], [0], [2]], x), "ends", [spec([4], i32)], tuple((row,) for row in ENDS))
ends("ScatterNd", lambda x: tf.scatter_nd([[0], [1], [0], [0]], x, [3]), "ends", [spec([4], i32)], tuple((row,) for row in ENDS))
ends("Bincount", lambda x, w: raw.Bincount(arr=x, size=3, weights=w), "ends", [spec([4], i32)] * 2, tuple(([0, 2, 0, 0], row) for row in ENDS))
ends("DenseBincount", lambda x, w: raw.DenseBincount(input=x, size=3, weights=w), "ends", [spec([8, 4], i32)] * 2, ((ENDS % 3, ENDS),))

ends("Abs", lambda x: (tf.abs(x), -x, tf.sign(x), tf.square(x), ~x), "ends")
ends("SquaredDifference", lambda x: (tf.math.squared_difference(x, x[:, ::-1]), tf.add_n([x, x, x]), x * x[:, ::-1], x - x[:, ::-1] * 2), "ends")
ends("Neg", lambda x: narrow(-wide(x) - MOST), "ends_int64")
DIVISORS = [7, -7, 1000007, -1, 1, MOST, LEAST, 65536]
for op, function in {"FloorMod": tf.math.floormod, "FloorDiv": tf.math.floordiv, "TruncateMod": tf.truncatemod, "TruncateDiv": tf.truncatediv}.items():
    ends(op, lambda x, f=function: [f(x, by) for by in DIVISORS], "ends_int32")
    ends(op, lambda x, y, f=function: f(x, y), "ends_given", OPEN * 2, ((ENDS, np.where(ENDS[:, ::-1] == 0, -1, ENDS[:, ::-1])),))
    ends(op, lambda x, f=function: [part for by in DIVISORS for part in narrow(f(wide(x), by))], "ends_int64")
    ends(op, lambda x, y, f=function: narrow(f(wide(x), wide(y) + 1)), "ends_given_int64", OPEN * 2, ((ENDS, ENDS[:, ::-1]),))

# Casts that cut off digits, of what was computed on the way.
for to in (i8, u8, i16, u16, i32):
    ends("Cast", lambda x, t=to: tf.cast(tf.cast(wide(x), t), i32), f"ends_int64_{to.name}")
    if to != i32:
        ends("Cast", lambda x, t=to: tf.cast(tf.cast(x, t) * tf.cast(x[:, ::-1], t) - tf.cast(x, t), i32), f"ends_product_{to.name}")
for to in (i8, i16):
    ends("Cast", lambda x, t=to: (tf.cast(tf.abs(tf.cast(x, t)), i32), tf.cast(-tf.cast(x, t), i32)), f"ends_abs_{to.name}", values=((ENDS << 7,), (ENDS,)))
ends("Cast", lambda x: (tf.cast(x, f32), tf.cast(x, f16), tf.cast(wide(x), f32), tf.cast(wide(x), f16), tf.cast(x, b), tf.cast(wide(x), b)), "ends_to_floats")
BEYOND = np.array([1e30, -1e30, 2**31, -(2.0**31), -(2.0**31) - 256, 3e9, 1.9, -1.9, 2**32, 9e18, np.nan, np.inf, -np.inf, 0.5], np.float32)
ends("Cast", lambda x: (tf.cast(x, i32), *narrow(tf.cast(x, i64))), "ends_of_float32", [spec([None])], ((np.tile(BEYOND, 3),), (BEYOND[:3],)))

# int32 that is kept as int64: sizes, places and counts, and arithmetic on them.
SCORES = [spec([None, 6])]
RANDOM = tuple((np.random.default_rng(0).standard_normal((rows, 6)),) for rows in (4, 2, 1))
GROWS = {
    "of_argmax": lambda x: tf.argmax(x, 1, output_type=i32) * 1103515245 + 12345,
    "of_range": lambda x: tf.range(tf.shape(x)[0]) * 1103515245 + 12345,
    "of_size": lambda x: tf.size(x) * 4 * 50000000,
    "of_shape": lambda x: (tf.shape(x) - 3) * 2000000011,
    "of_places": lambda x: tf.math.top_k(x, 3)[1] * 2000000011,
    "of_known": lambda x: (tf.shape(x)[1:] * 1103515245 + 12345) * tf.shape(x),
}
for name, grows in GROWS.items():
    ends("Mul", lambda x, g=grows: [g(x), *(f(g(x), 1000) for f in (tf.math.floormod, tf.math.floordiv, tf.truncatemod, tf.truncatediv)), g(x) > 0,
                                    tf.cast(g(x), f32), *narrow(tf.cast(g(x), i64)), tf.abs(g(x)), tf.maximum(g(x), 5), -g(x), tf.sign(g(x)),
                                    tf.reduce_sum(g(x)), tf.reduce_max(g(x)), tf.cumsum(tf.reshape(g(x), [-1])), tf.nn.relu(g(x)), ~g(x),
                                    g(x) * g(x), tf.stack([g(x), g(x) - 7]) // 3, tf.cast(tf.cast(g(x), i8), i32), tf.square(g(x)) % 7],
         f"wraps_{name}", SCORES, RANDOM, fold=True)
ends("Prod", lambda x: [tf.reduce_prod((tf.shape(x) + 3) * 50021) + 0, tf.reduce_prod(tf.argmax(x[:, :4], 0, output_type=i32) * 50021 - 3), tf.reduce_prod(tf.shape(x))],
     "wraps_of_shape", SCORES, RANDOM)
ends("Range", lambda x: tf.range(tf.size(x) * 0 + LEAST, MOST - tf.shape(x)[0], 2**30 + tf.shape(x)[0]), "ends", SCORES, RANDOM)
ends("Fill", lambda x: tf.fill([tf.shape(x)[0] * 2**30 * 4 + 3], tf.shape(x)[0]), "wraps_size", SCORES, RANDOM)

# Reductions of no elements.
NONE = ((np.zeros((0, 6)),), (np.ones((4, 6)),), (np.arange(12).reshape(2, 6),))
NO_COLUMNS = ((np.zeros((3, 0)),), (np.ones((4, 6)),), (np.zeros((0, 0)),))
for dtype in (f32, f16):
    ends("Mean", lambda x: [tf.reduce_mean(x, 0), tf.reduce_mean(x, 1), tf.reduce_mean(x), tf.reduce_mean(x, 0, keepdims=True)], f"of_nothing_{dtype.name}",
         [spec([None, 6], dtype)], NONE)
ends("Mean", lambda x: [tf.reduce_mean(x, 1), tf.reduce_mean(x), tf.reduce_mean(x, [0, 1], keepdims=True)], "of_no_columns", [spec([None, None])], NO_COLUMNS)
ends("Mean", lambda x: tf.reduce_mean(tf.nn.relu(x), [1, 2]), "of_no_pixels", [spec([None, None, None, 3])],
     ((np.zeros((2, 0, 4, 3)),), (np.ones((2, 4, 4, 3)),), (np.ones((1, 3, 0, 3)),)))
ends("Mean", lambda x: tf.reduce_mean(x, 1), "of_nothing_known", [spec([None, 0, 2])], ((np.zeros((2, 0, 2)),),))
case("Mean", lambda x: [*tf.nn.moments(x, [1]), tf.math.reduce_variance(x, 0), tf.math.reduce_std(x)], [spec([None, None])], [], "moments_of_nothing", values=NO_COLUMNS)
REDUCTIONS = {"Max": tf.reduce_max, "Min": tf.reduce_min, "Prod": tf.reduce_prod, "Sum": tf.reduce_sum}
for op, reduction in REDUCTIONS.items():
    for dtype in (f32, f16, i32) if op != "Prod" else (f32, f16):
        ends(op, lambda x, r=reduction: [r(x, 0), r(x, 1), r(x, [0, 1])], f"of_nothing_{dtype.name}", [spec([None, None], dtype)], NO_COLUMNS)
ends("Prod", lambda x: [tf.reduce_prod(x, 1), narrow(tf.reduce_prod(wide(x), 1))], "of_nothing_int32", [spec([None, 0], i32)], ((np.zeros((3, 0)),),))
ends("Max", lambda x: [tf.reduce_max(tf.range(tf.shape(x)[0])), tf.reduce_min(tf.argmax(x, 1, output_type=i32))], "of_no_places", [spec([None, 6])], NONE)
for op, reduction in {"All": tf.reduce_all, "Any": tf.reduce_any}.items():
    ends(op, lambda x, r=reduction: [r(x, 0), r(x, 1), r(x)], "of_nothing", [spec([None, None], b)], NO_COLUMNS)
case("EuclideanNorm", lambda x: [tf.math.reduce_euclidean_norm(x, 1), tf.nn.l2_loss(x)], [spec([None, None])], [], "of_nothing", values=NO_COLUMNS)
case("Softmax", lambda x: [tf.nn.softmax(x), tf.nn.log_softmax(x), tf.reduce_logsumexp(x, 1), tf.reduce_logsumexp(x)], [spec([None, None])], [], "of_nothing", values=NO_COLUMNS)
