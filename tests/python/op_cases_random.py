"""More of the table of `op_cases`: what random graphs and edges have found, each as small as it gets."""

import numpy as np
import tensorflow as tf
from op_cases import BATCHES, case, i32, i64, raw, spec

# (a - (a mod b)) / b leaves int32 where a is near its end.
ENDS = np.array([2**31 - 1, -(2**31), -(2**31) + 1, 7, -7, 0])
DIVISORS = np.array([2**31 - 1, -(2**31), 1, -1, 2, -3])
LEFT, RIGHT = (np.ravel(side) for side in np.meshgrid(ENDS, DIVISORS))
for op in ["FloorDiv", "FloorMod", "TruncateDiv", "TruncateMod"]:
    case(op, lambda x, y, f=getattr(raw, op): f(x=x, y=y), [spec([None], i32)] * 2, [], "ends_of_int32", values=((LEFT, RIGHT),))
# As ids are put into buckets: float32 does not hold them.
IDS = np.array([2**24 + 1, 123456789, -123456789, 2**31 - 1, -(2**31), 1000])
case("FloorMod", lambda x: tf.math.floormod(x, 1000), [spec([None], i32)], [], "of_large_ids", values=((IDS,),))
case("FloorMod", lambda x: tf.math.floormod(x, [1000, -1000]), [spec([None, 1], i32)], [], "of_large_ids_either_way", values=((IDS[:, None],),))
case("FloorDiv", lambda x: tf.math.floordiv(x, -3), [spec([None, 3], i32)], BATCHES, "by_constant", low=-9, high=9)

# int64 inside an engine is int32 to TensorRT 8.6, which clamps constants: only the ends of slices bear that.
case("Mul", lambda x: tf.cast(tf.cast(x, i64) * 2**33 // 2**33, i32), [spec([None], i32)], [[[3]]], "beyond_int32")
wide = lambda value: tf.constant([value], i64)
case("StridedSlice", lambda x: raw.StridedSlice(input=x, begin=wide(1), end=wide(2**62), strides=wide(1)) * 2.0,
     [spec([None])], [[[3]], [[1]]], "end_beyond_int32")

# Over no elements: the largest of no integers is not false, and a product with a transpose has to write its zeros.
for op in ["All", "Any"]:
    case(op, lambda x, f=getattr(raw, op): f(input=x > 0.0, axis=[0]), [spec([None, 2, 3])], [[[0, 2, 3]], [[2, 2, 3]]], "over_no_rows")
case("BatchMatMulV2", lambda x: tf.matmul(x, x, transpose_a=True), [spec([3, None, 4])], [[[3, 0, 4]], [[3, 2, 4]]], "of_its_transpose_over_no_rows")

# ONNX Runtime moves such transposes past a Resize, which then cannot run.
case("ResizeBilinear", lambda x: tf.image.resize(tf.transpose(x, [0, 3, 1, 2]), [3, 6]), [spec([None, 2, 8, 8])], [[[1, 2, 8, 8]], [[4, 2, 8, 8]]],
     "of_a_transpose")
case("ResizeBilinear", lambda x: tf.image.resize(tf.transpose(tf.stack([x[0], x[1]], 1), [0, 3, 1, 2]), [3, 6]), [spec([2, None, 8, 8])],
     [[[2, 1, 8, 8]], [[2, 4, 8, 8]]], "of_a_transpose_of_a_stack")
