"""More of the table of `op_cases`: slices named by indices, order along an axis, parts of matrices, and arithmetic at its edges."""

import numpy as np
import tensorflow as tf
from op_cases import BATCHES, OPEN, OPEN_SPEC, b, case, f16, f32, i32, i64, raw, spec, weights

INF, NAN = float("inf"), float("nan")

# Slices named by rows of indices.
ROWS = np.arange(12).reshape(4, 3)
for dtype in (f32, f16, i32, b):
    case("GatherNd", lambda x, i: tf.gather_nd(x, i), [spec([None, 3], dtype), spec([None, 2], i32)], [], dtype.name,
         values=((ROWS, [[3, 2], [0, 0], [3, 2]]), (ROWS[:1], [[0, 1]])))
case("GatherNd", lambda x, i: tf.gather_nd(x, i), [spec([None, None, 3]), spec([None, 2, 1], i32)], [[[3, 2, 3], [4, 2, 1]]], "slices",
     low=0, high=2)
case("GatherNd", lambda x, i: tf.gather_nd(x, i), [spec([None, 3]), spec([2], i32)], [], "one_element", values=((ROWS, [2, 1]),))
case("GatherNd", lambda x, i: tf.gather_nd(x, i), [spec([None, 3]), spec([None, 1], i32)], [], "no_rows",
     values=((ROWS, np.zeros([0, 1])), (ROWS, [[1]])))
case("GatherNd", lambda x: tf.gather_nd(tf.shape(x), [[2], [0]]) + 1, OPEN_SPEC, OPEN, "of_shape", fold=True)
case("GatherNd", lambda x: tf.gather_nd(x, [[1, 0], [0, 1]]) * 2.0, [spec([None, None, 3])], [[[2, 2, 3]]], "constant_indices")
case("GatherNd", lambda x, i: tf.gather_nd(x, i, batch_dims=1), [spec([2, 4, 3]), spec([2, 2, 1], i32)], [[[2, 4, 3], [2, 2, 1]]], "batch_dims",
     low=0, high=3)
for dtype in (f32, f16, i32):
    case("ScatterNd", lambda u: tf.scatter_nd([[4], [0], [2]], u, [5, 3]), [spec([3, 3], dtype)], [[[3, 3]]], dtype.name)
case("ScatterNd", lambda u: tf.scatter_nd([[1, 2], [0, 0]], u, [2, 3]), [spec([2])], [], "elements", values=(([1.5, NAN],), ([INF, -0.0],)))
case("ScatterNd", lambda x, u: tf.scatter_nd([[0], [2]], u, tf.shape(x)), [spec([None, 3]), spec([2, 3])], [[[4, 3], [2, 3]], [[3, 3], [2, 3]]],
     "open_shape")
case("ScatterNd", lambda u: tf.scatter_nd([[1], [0], [1]], u, [4, 3]), [spec([3, 3])], [[[3, 3]]], "twice")
case("ScatterNd", lambda i, u: tf.scatter_nd(i, u, [4, 3]), [spec([None, 1], i32), spec([None, 3])], [], "indices_at_run_time",
     values=(([[1], [3]], ROWS[:2]),))
for dtype in (f32, i32, b):
    case("TensorScatterUpdate", lambda x, i, u: tf.tensor_scatter_nd_update(x, i, u),
         [spec([None, 3], dtype), spec([None, 1], i32), spec([None, 3], dtype)], [], dtype.name,
         values=((ROWS, [[3], [1]], [[9, 8, 7], [0, 1, 0]]), (ROWS, np.zeros([0, 1]), np.zeros([0, 3]))))
case("TensorScatterUpdate", lambda x, u: tf.tensor_scatter_nd_update(x, [[0, 1], [2, 2]], u), [spec([None, 3]), spec([2])], [], "elements",
     values=((ROWS, [NAN, -INF]),))
for op, function in [("TensorScatterAdd", tf.tensor_scatter_nd_add), ("TensorScatterSub", tf.tensor_scatter_nd_sub)]:
    for dtype in (f32, i32):
        case(op, lambda x, u, f=function: f(x, [[2], [0]], u), [spec([None, 3], dtype), spec([2, 3], dtype)], [[[4, 3], [2, 3]]], dtype.name)
    case(op, lambda x, u, f=function: f(x, [[2], [2]], u), [spec([None, 3]), spec([2, 3])], [[[4, 3], [2, 3]]], "twice")

# Order along an axis.
for name, axis in [("first", [0]), ("last", [-1]), ("two", [2, 0]), ("all", [0, 1, 2])]:
    case("ReverseV2", lambda x, a=axis: tf.reverse(x, a), OPEN_SPEC, [*OPEN, [[0, 4, 6]]], name)
for dtype in (f16, i32, b):
    case("ReverseV2", lambda x: tf.reverse(x, [1]), [spec([None, 3], dtype)], BATCHES, dtype.name)
case("ReverseV2", lambda x: tf.reverse(tf.shape(x), [0]), OPEN_SPEC, OPEN, "of_shape")
case("ReverseV2", lambda x: tf.nn.relu(tf.reverse(tf.nn.conv2d(x, weights(3, 3, 3, 4), 1, "SAME"), [2, 3])), [spec([None, None, None, 3])],
     [[[2, 5, 4, 3]]], "image")
for name, batch, seq, dims in [("batch_first", 0, 1, [3, 5, 2]), ("time_first", 1, 0, [5, 3, 2]), ("last", 0, 2, [3, 2, 5]),
                               ("between", 2, 1, [2, 5, 3])]:
    case("ReverseSequence", lambda x, n, s=seq, a=batch: tf.reverse_sequence(x, n, seq_axis=s, batch_axis=a),
         [spec([None] * 3), spec([None], i32)], [], name, values=((np.arange(30).reshape(dims), [5, 1, 3]), (np.arange(30).reshape(dims), [2, 0, 4])))
for dtype in (f16, i32, b):
    case("ReverseSequence", lambda x, n: tf.reverse_sequence(x, n, seq_axis=1, batch_axis=0), [spec([None, None], dtype), spec([None], i32)], [],
         dtype.name, values=((np.arange(12).reshape(3, 4) % 2, [4, 1, 3]),))
for name, shift, axis in [("right", 1, 1), ("left", -2, -1), ("far", 15, 2), ("two", [1, -1], [1, 2]), ("same_axis_twice", [2, 3], [2, 2]),
                          ("open", 3, 0), ("open_left", -7, 0)]:
    case("Roll", lambda x, s=shift, a=axis: tf.roll(x, s, a), [spec([None, 4, 6])], [[[2, 4, 6]], [[3, 4, 6]], [[0, 4, 6]]], name)
for dtype in (f16, i32, b):
    case("Roll", lambda x: tf.roll(x, 1, 1), [spec([None, 3], dtype)], BATCHES, dtype.name)
case("Roll", lambda x: tf.roll(x, 12, 2) + 1.0, [spec([None, 4, 6])], [[[2, 4, 6]]], "whole_turns")
case("InvertPermutation", lambda x: tf.math.invert_permutation(x), [spec([None], i32)], [], values=(([2, 0, 3, 1],), ([0],), ([],)))
case("InvertPermutation", lambda x: tf.math.invert_permutation(x), [spec([4], i32)], [], "known_size", values=(([2, 0, 3, 1],),))
for name, exclusive, reverse in [("plain", False, False), ("exclusive", True, False), ("reverse", False, True), ("both", True, True)]:
    for op, function in [("Cumsum", tf.cumsum), ("Cumprod", tf.math.cumprod)]:
        case(op, lambda x, f=function, e=exclusive, r=reverse: f(x, 1, exclusive=e, reverse=r), [spec([None, 5])], [], name,
             values=(([[1.5, -2, 0, 4, 3], [2, NAN, 1, -1, 2], [1, 2, INF, 3, 4]],), (np.zeros([0, 5]),)))
        case(op, lambda x, f=function, e=exclusive, r=reverse: f(x, -2, exclusive=e, reverse=r), [spec([None, 4, None], i32)],
             [[[2, 4, 3]], [[1, 4, 1]]], name + "_int32")
    case("Cumsum", lambda x, e=exclusive, r=reverse: tf.cumsum(x, 0, exclusive=e, reverse=r), [spec([None, 3])], [*BATCHES, [[0, 3]]], name + "_open")
case("Cumsum", lambda x: tf.cumsum(x, 1), [spec([None, 3], f16)], BATCHES, "float16", rtol=4e-3, atol=4e-3)
case("Cumprod", lambda x: tf.math.cumprod(x, 1), [spec([None, 3], f16)], BATCHES, "float16", rtol=4e-3, atol=4e-3)
case("Cumprod", lambda x: tf.math.cumprod(x, 0), [spec([None, 3])], BATCHES, "open_axis")

# Parts of matrices.
SQUARE = [[1, NAN, INF, -0.0], [2, 3, 4, 5], [6, -INF, 7, 8], [9, 1, 2, 3]]
for name, lower, upper in [("lower", -1, 0), ("upper", 0, -1), ("diagonal", 0, 0), ("band", 1, 2), ("all_below", 2, 0)]:
    case("MatrixBandPart", lambda x, a=lower, z=upper: tf.linalg.band_part(x, a, z), [spec([None, None])], [], name, values=((SQUARE,), (SQUARE[:2],)))
for dtype in (f16, i32, b):
    case("MatrixBandPart", lambda x: tf.linalg.band_part(x, 1, 0), [spec([None, 3, 4], dtype)], [[[2, 3, 4]], [[0, 3, 4]]], dtype.name)
for name, k, dims in [("square", 0, (3, 3)), ("wide", 0, (2, 4)), ("high", 0, (4, 2)), ("above", 2, (3, 4)), ("below", -1, (3, 4)), ("corner", -2, (3, 2))]:
    case("MatrixDiagPartV3", lambda x, k=k: tf.linalg.diag_part(x, k=k), [spec([None, *dims])], [[[2, *dims]], [[0, *dims]]], name)
case("MatrixDiagPartV3", lambda x: tf.linalg.diag_part(x, k=(-1, 0)), [spec([None, 3, 3])], [[[2, 3, 3]]], "several")
case("MatrixDiagPartV2", lambda x: raw.MatrixDiagPartV2(input=x, k=1, padding_value=0), [spec([None, 3, 3], i32)], [[[2, 3, 3]]])
case("MatrixDiagPart", lambda x: raw.MatrixDiagPart(input=x), [spec([3, 3], b)], [[[3, 3]]])

# Arithmetic at its edges. The reciprocal shows the sign of a zero.
EDGES = [0.0, -0.0, 1.0, -1.0, 2.5, -2.5, 1e-30, 3e30, INF, -INF, NAN]
LEFT, RIGHT = (np.ravel(side) for side in np.meshgrid(EDGES, EDGES))
for op in ["Xdivy", "Xlogy", "Xlog1py", "MulNoNan", "DivNoNan"]:
    case(op, lambda x, y, f=getattr(raw, op): f(x=x, y=y), [spec([None])] * 2, [], "edges", values=((LEFT, RIGHT),))
    case(op, lambda x, y, f=getattr(raw, op): f(x=x, y=y), [spec([None, 3]), spec([3])], [[[1, 3], [3]], [[7, 3], [3]]], "broadcast", low=0.5, high=3)
    case(op, lambda x, y, f=getattr(raw, op): f(x=x, y=y), [spec([None, 3], f16), spec([None, 3], f16)], [[[4, 3]] * 2], "float16", low=0.5, high=3,
         rtol=4e-3, atol=4e-3)
DIVIDENDS, DIVISORS = [7, -7, 7, -7, 6, -6, 0, 5, -4, 2147483647], [2, 2, -2, -2, 3, 3, 3, -5, 9, -2]
for op in ["Mod", "TruncateMod"]:
    case(op, lambda x, y, f=getattr(raw, op): f(x=x, y=y), [spec([None], i32)] * 2, [], "int32", values=((DIVIDENDS, DIVISORS), ([], [])))
    case(op, lambda x, y, f=getattr(raw, op): f(x=x, y=y), [spec([None, 3], i32), spec([3], i32)], [], "int32_broadcast",
         values=((ROWS - 6, [2, -3, 4]),))
    case(op, lambda x, y, f=getattr(raw, op): f(x=x, y=y), [spec([None])] * 2, [], "float32", values=((LEFT, RIGHT), ([5.5, -5.5], [2.0, 2.0])))
# On x86 the least integer by -1 is a trap.
for op in ["Mod", "TruncateMod", "FloorMod", "FloorDiv", "TruncateDiv", "Div"]:
    case(op, lambda x, y, f=getattr(raw, op): f(x=x, y=y), [spec([None], i32)] * 2, [], "least", values=(([-(2**31), -(2**31), 5, 7], [-1, 1, -1, -2]),))
    case(op, lambda x, f=getattr(raw, op): f(x=x, y=-1), [spec([None], i32)], [], "by_minus_one", values=(([-(2**31), 5, -3],),))
case("Mod", lambda x: raw.Mod(x=tf.shape(x), y=4) + 1, OPEN_SPEC, OPEN, "of_shape")
case("FloorMod", lambda x, y: raw.FloorMod(x=x, y=y), [spec([None])] * 2, [], "edges", values=((LEFT, RIGHT),))
case("FloorMod", lambda x, y: tf.math.reciprocal(raw.FloorMod(x=x, y=y)), [spec([None])] * 2, [], "zeros",
     values=(([-4.0, 4.0, -0.0, 0.0], [2.0, -2.0, 3.0, -3.0]),))
case("ApproximateEqual", lambda x, y: raw.ApproximateEqual(x=x, y=y, tolerance=0.5), [spec([None])] * 2, [],
     values=((LEFT, RIGHT), ([1.0, 1.0, 2.0], [1.5, 1.25, 1.75])))
case("Log1p", lambda x: tf.math.log1p(x), [spec([None])], [], "edges", values=((EDGES + [-1e-9, 3e-8, 1e-4],),), rtol=1e-6, atol=0)
case("Expm1", lambda x: tf.math.expm1(x), [spec([None])], [], "edges", values=((EDGES + [-1e-9, 3e-8, 1e-4],),), rtol=1e-6, atol=0)
for op in ["Log1p", "Expm1"]:
    case(op, lambda x, f=getattr(raw, op): tf.math.reciprocal(f(x=x)), [spec([None])], [], "zeros", values=(([0.0, -0.0],),))
for num in (1, 2, 3, 7):
    case("LinSpace", lambda x, y, n=num: raw.LinSpace(start=x, stop=y, num=n), [spec([]), spec([])], [], f"of_{num}",
         values=((1.0, -2.0), (0.1, 0.7), (3.0, 3.0)), rtol=1e-6, atol=1e-7)
case("LinSpace", lambda x: raw.LinSpace(start=x[0], stop=x[1], num=tf.size(x)), [spec([None])], [[[4]]], "open")
case("BroadcastArgs", lambda x, y: raw.BroadcastArgs(s0=x, s1=y), [spec([3], i32), spec([2], i32)], [],
     values=(([4, 1, 3], [5, 1]), ([1, 2, 1], [1, 7]), ([0, 1, 3], [0, 3])))
case("BroadcastArgs", lambda x, y: tf.broadcast_to(x, raw.BroadcastArgs(s0=tf.shape(x), s1=tf.shape(y))), [spec([None, 1, 3]), spec([None, 1])],
     [[[2, 1, 3], [4, 1]], [[1, 1, 3], [1, 1]]], "of_shapes")
case("BroadcastArgs", lambda x: raw.BroadcastArgs(s0=tf.shape(x), s1=tf.constant([2, 1, 1], i32)) + 1, [spec([None, 3])], BATCHES, "constant")
case("BroadcastArgs", lambda x: tf.cast(raw.BroadcastArgs(s0=tf.shape(x, out_type=i64), s1=tf.constant([1], i64)), f32), [spec([None, 3])], BATCHES,
     "int64")
