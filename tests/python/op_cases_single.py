"""More of the table of `op_cases`: suppressed boxes, crops, bicubic images, counts, Einsum in full, and the thin spots of what was there."""

import numpy as np
import tensorflow as tf
from op_cases import BATCHES, OPEN, OPEN_IMAGE, OPEN_SPEC, GRIDS, IMAGES, b, between, case, f16, f32, i32, i64, raw, spec, weights

INF, NAN = float("inf"), float("nan")
RNG = np.random.default_rng(7)

# Suppressed boxes. Scores are all different: which of two equal ones goes first is not TensorFlow's to say either.
NMS = "CombinedNonMaxSuppression"


def boxes(*dims, scale=1.0):
    """Boxes [*dims, 4] that overlap: corners around a few centres; some lie partly outside 0..1."""
    centre = RNG.choice([0.1, 0.3, 0.35, 0.6, 0.9], [*dims, 2]) + RNG.uniform(-0.05, 0.05, [*dims, 2])
    half = RNG.uniform(0.05, 0.25, [*dims, 2])
    return (np.concatenate([centre - half, centre + half], -1) * scale).astype(np.float32)


def scores(*dims):
    count = int(np.prod(dims))
    return (RNG.permutation(count).reshape(dims) / count).astype(np.float32)


def combined(each, total, overlap=0.5, score=0.2, **flags):
    return lambda x, s: tuple(raw.CombinedNonMaxSuppression(
        boxes=x, scores=s, max_output_size_per_class=each, max_total_size=total, iou_threshold=overlap, score_threshold=score, **flags))


IN_BATCHES = [[None, 20, 1, 4], [None, 20, 3]]
for name, fn in {
    "": combined(5, 10), "more_than_there_are": combined(30, 100), "few": combined(1, 2), "keeps_all": combined(20, 60, overlap=1.0, score=-INF),
    "nothing": combined(5, 10, score=2.0), "pad_per_class": combined(3, 50, pad_per_class=True), "pad_per_class_total": combined(9, 4, pad_per_class=True),
    "no_clip": combined(5, 10, clip_boxes=False), "no_overlap": combined(5, 10, overlap=0.0),
}.items():
    case(NMS, fn, [spec(s) for s in IN_BATCHES], [], name,
         values=((boxes(1, 20, 1), scores(1, 20, 3)), (boxes(3, 20, 1, scale=1.3), scores(3, 20, 3))))
case(NMS, combined(4, 9), [spec([None, 20, 3, 4]), spec([None, 20, 3])], [], "own_boxes", values=((boxes(2, 20, 3), scores(2, 20, 3)),))
case(NMS, combined(5, 10, score=0.5), [spec([None, 20, 1, 4]), spec([None, 20, 1])], [], "one_class",
     values=((boxes(2, 20, 1), scores(2, 20, 1)), (boxes(1, 20, 1), np.full([1, 20, 1], 0.5))))
case(NMS, combined(5, 10), [spec([2, 20, 1, 4]), spec([2, 20, 3])], [], "known", values=((boxes(2, 20, 1), scores(2, 20, 3)),))
case(NMS, lambda x, s: tuple(t * 1 for t in combined(5, 10)(tf.expand_dims(x * 1.1, 2), tf.sigmoid(s))), [spec([None, 20, 4]), spec([None, 20, 3])], [],
     "after_a_head", values=((boxes(2, 20), scores(2, 20, 3) * 6 - 3),))
case(NMS, combined(5, 10), [spec([None, None, 1, 4]), spec([None, None, 3])], [], "open_boxes", values=((boxes(2, 20, 1), scores(2, 20, 3)),))
case(NMS, combined(5, 10), [spec([None, 5000, 1, 4]), spec([None, 5000, 1])], [], "too_many_boxes",
     values=((boxes(1, 5000, 1), scores(1, 5000, 1)),))
case(NMS, lambda x, s, n: tuple(combined(5, n)(x, s)), [spec([None, 20, 1, 4]), spec([None, 20, 3]), spec([], i32)], [], "computed_size",
     values=((boxes(1, 20, 1), scores(1, 20, 3), 4),))


def one(version, most, score=0.2, pad=True, sigma=None):
    extra = {} if sigma is None else {"soft_nms_sigma": sigma}
    op = getattr(raw, f"NonMaxSuppressionV{version}")
    return lambda x, s: tuple(op(boxes=x, scores=s, max_output_size=most, iou_threshold=0.5, score_threshold=score, pad_to_max_output_size=pad, **extra))


for version, sigma in [(4, None), (5, 0.0)]:
    op = f"NonMaxSuppressionV{version}"
    for name, fn in {"": one(version, 5, sigma=sigma), "padded": one(version, 40, sigma=sigma), "nothing": one(version, 5, 2.0, sigma=sigma),
                     "all_scores": one(version, 8, -INF, sigma=sigma)}.items():
        case(op, fn, [spec([20, 4]), spec([20])], [], name, values=((boxes(20), scores(20)), (boxes(20)[:, [2, 1, 0, 3]], scores(20) - 0.5)))
    case(op, one(version, 5, sigma=sigma, pad=False), [spec([20, 4]), spec([20])], [], "not_padded", values=((boxes(20), scores(20)),))
    case(op, one(version, 5, sigma=sigma), [spec([None, 4]), spec([None])], [], "open_boxes", values=((boxes(20), scores(20)),))
case("NonMaxSuppressionV5", one(5, 5, sigma=0.5), [spec([20, 4]), spec([20])], [], "soft", values=((boxes(20), scores(20)),))
case("NonMaxSuppressionV3", lambda x, s: raw.NonMaxSuppressionV3(boxes=x, scores=s, max_output_size=5, iou_threshold=0.5, score_threshold=0.1),
     [spec([20, 4]), spec([20])], [], values=((boxes(20), scores(20)),))
case("NonMaxSuppressionV4", lambda x, s: tf.gather(x, one(4, 6)(x, tf.nn.relu(s))[0]), [spec([20, 4]), spec([20])], [], "then_gather",
     values=((boxes(20), scores(20)),))

# The largest.
case("TopKV2", lambda x: tuple(tf.math.top_k(x, 3)), [spec([None, 7])], [], "ties", values=(([[1, 2, 2, 0, 2, 1, 1], [5, 5, 5, 5, 5, 5, 5]],),))
case("TopKV2", lambda x: tuple(tf.math.top_k(x, 5)), [spec([5])], [[[5]]], "vector")
case("TopKV2", lambda x: tuple(tf.math.top_k(x, 2)), [spec([None, None, None])], [[[2, 3, 4]], [[0, 3, 2]]], "open")
case("TopKV2", lambda x: tuple(raw.TopKV2(input=x, k=4, sorted=False))[0], [spec([None, 4], f16)], [[[3, 4]]], "float16_all")
case("TopKV2", lambda x: tf.cast(raw.TopKV2(input=x, k=3, index_type=i64)[1], f32), [spec([None, 9])], [[[3, 9]]], "int64_places")
case("TopKV2", lambda x: tuple(tf.math.top_k(x, 3840)), [spec([None, 4000])], [[[1, 4000]]], "most")
case("TopKV2", lambda x: tuple(tf.math.top_k(x, 3841)), [spec([None, 4000])], [[[1, 4000]]], "too_many")
case("TopKV2", lambda x: tuple(tf.math.top_k(x, tf.shape(x)[0])), [spec([None, 9])], [[[3, 9]]], "computed")

# Crops.
CROPS = [[0.1, 0.2, 0.7, 0.9], [0, 0, 1, 1], [-0.3, 0.4, 0.5, 1.4], [0.8, 0.9, 0.1, 0.2], [0.5, 0.5, 0.5, 0.5]]
INDEX = [0, 1, 1, 0, 1]
PICTURE = RNG.uniform(-2, 2, [2, 9, 7, 3])
for method in ["bilinear", "nearest"]:
    for name, size in [("", [4, 5]), ("pixel", [1, 1]), ("row", [1, 6]), ("larger", [17, 12])]:
        case("CropAndResize", lambda x, c, i, m=method, s=size: raw.CropAndResize(
            image=x, boxes=c, box_ind=i, crop_size=s, method=m, extrapolation_value=-1.5),
             [spec([None, 9, 7, 3]), spec([None, 4]), spec([None], i32)], [], f"{method}_{name}" if name else method,
             values=((PICTURE, CROPS, INDEX), (PICTURE[:1], CROPS[:1], [0]), (PICTURE, np.zeros([0, 4]), [])))
    case("CropAndResize", lambda x, c, i, m=method: raw.CropAndResize(image=x, boxes=c, box_ind=i, crop_size=[4, 5], method=m),
         [spec(OPEN_IMAGE), spec([None, 4]), spec([None], i32)], [], f"{method}_open", values=((PICTURE, CROPS, INDEX), (PICTURE[:, :3, :5], CROPS, INDEX)))
    case("CropAndResize", lambda x, c, i, m=method: raw.CropAndResize(image=x, boxes=c, box_ind=i, crop_size=[3, 2], method=m),
         [spec([None, 9, 7, 3], i32), spec([None, 4]), spec([None], i32)], [], f"{method}_int32", values=((PICTURE * 50, CROPS, INDEX),))
case("CropAndResize", lambda x, c, i: raw.CropAndResize(image=x, boxes=c, box_ind=i, crop_size=tf.shape(x)[1:3]),
     [spec(OPEN_IMAGE), spec([None, 4]), spec([None], i32)], [], "computed_size", values=((PICTURE, CROPS, INDEX),))
case("CropAndResize", between(lambda y: tf.nn.conv2d(raw.CropAndResize(image=y, boxes=CROPS[:2], box_ind=[0, 0], crop_size=[4, 4]), weights(1, 1, 4, 2),
                                                     1, "VALID")), [spec([None, 8, 8, 3])], [[[2, 8, 8, 3]]], "between_convolutions")

# Images between four pixels each way.
for grid, flags in GRIDS.items():
    bicubic = lambda x, s, g=flags: raw.ResizeBicubic(images=x, size=s, **g)
    for name, size in [("larger", [17, 11]), ("smaller", [5, 3]), ("pixel", [1, 1]), ("doubled", [16, 14]), ("same", [8, 7])]:
        case("ResizeBicubic", lambda x, r=bicubic, s=size: r(x, s), [spec([None, 8, 7, 3])], [[[1, 8, 7, 3]], [[3, 8, 7, 3]]], f"{grid}_{name}")
    case("ResizeBicubic", lambda x, r=bicubic: r(x, [9, 8]), [spec([None, 2, 1, 3])], [[[2, 2, 1, 3]]], f"{grid}_few_pixels")
    case("ResizeBicubic", lambda x, r=bicubic: r(x, [5, 9]), [spec([None, 8, 7, 3], i32)], [[[2, 8, 7, 3]]], f"{grid}_int32", low=-90, high=90)
    case("ResizeBicubic", between(lambda y, r=bicubic: tf.nn.conv2d(r(y, [16, 16]), weights(1, 1, 4, 2), 1, "VALID")), [spec([None, 8, 8, 3])],
         [[[2, 8, 8, 3]]], f"{grid}_between_convolutions")
case("ResizeBicubic", lambda x: raw.ResizeBicubic(images=x, size=[6, 13]), [spec(OPEN_IMAGE)], IMAGES, "open")

# What the layout optimizer puts around convolutions.
for source, target in [("NHWC", "NCHW"), ("NCHW", "NHWC"), ("NHWC", "HWNC")]:
    name = f"{source}_{target}".lower()
    case("DataFormatVecPermute", lambda x, s=source, t=target: raw.DataFormatVecPermute(x=x, src_format=s, dst_format=t), [spec([4], i32)], [], name,
         values=(([3, 5, 7, 9],),))
    case("DataFormatDimMap", lambda x, s=source, t=target: raw.DataFormatDimMap(x=x, src_format=s, dst_format=t), [spec([None], i32)], [], name,
         values=(([0, 1, 2, 3, -1, -2, -3, -4],),))
case("DataFormatVecPermute", lambda x: raw.DataFormatVecPermute(x=x, src_format="NHWC", dst_format="NCHW"), [spec([4, 2], i32)], [], "pairs",
     values=((np.arange(8).reshape(4, 2),),))
case("DataFormatVecPermute", lambda x: raw.DataFormatVecPermute(x=x, src_format="NHWC", dst_format="NCHW"), [spec([2], i32)], [], "image_only",
     values=(([4, 9],),))
case("DataFormatVecPermute", lambda x: tf.reshape(x, raw.DataFormatVecPermute(x=tf.shape(x), src_format="NHWC", dst_format="NCHW")),
     [spec([None, 2, 3, 4])], [[[2, 2, 3, 4]]], "of_shape")

# Counts.
for name, dtype in [("", i32), ("int64", i64), ("float32", f32)]:
    case("Bincount", lambda x, t=dtype: tf.cast(raw.Bincount(arr=x, size=6, weights=tf.zeros([0], t)), f32), [spec([None], i32)], [], name,
         values=(([1, 5, 2, 1, 9, 0],), ([],)))
case("Bincount", lambda x, w: raw.Bincount(arr=x, size=6, weights=w), [spec([4], i32), spec([4])], [], "weights", values=(([1, 5, 1, 9], [0.5, 2, -3, 7]),))
case("Bincount", lambda x: raw.Bincount(arr=x, size=6, weights=tf.zeros([0], i32)), [spec([None, 3], i32)], [], "matrix", values=(([[1, 5, 2], [2, 2, 8]],),))
case("Bincount", lambda x: raw.Bincount(arr=x, size=tf.reduce_max(x) + 1, weights=tf.zeros([0], i32)), [spec([None], i32)], [], "computed_size",
     values=(([1, 5, 2],),))
for name, binary in [("", False), ("binary", True)]:
    case("DenseBincount", lambda x, y=binary: raw.DenseBincount(input=x, size=6, weights=tf.zeros([0]), binary_output=y), [spec([None, 4], i32)], [], name,
         values=(([[1, 5, 2, 1], [9, 0, 0, 0]],),))
    case("DenseBincount", lambda x, y=binary: raw.DenseBincount(input=x, size=6, weights=tf.zeros([0], i32), binary_output=y), [spec([None], i32)], [],
         f"{name}_vector".strip("_"), values=(([1, 5, 2, 1, 9],), ([],)))
case("DenseBincount", lambda x, w: raw.DenseBincount(input=x, size=6, weights=w), [spec([2, 3], i32), spec([2, 3])], [], "weights",
     values=(([[1, 5, 1], [9, 0, 0]], [[0.5, 2, -3], [7, 1, 1]]),))

# Bits and bytes.
case("Invert", lambda x: tf.bitwise.invert(x), [spec([None], i32)], [], values=(([0, -1, 5, -(2**31), 2**31 - 1],),))
case("Bitcast", lambda x: tf.bitcast(x * 2.0, f32), [spec([None, 3])], BATCHES)
case("Bitcast", lambda x: tf.bitcast(x * 2.0, i32), [spec([None, 3])], BATCHES, "float32_int32")

# Refused in words.
case("Where", lambda x: tf.where(x > 0.0), [spec([None])], [[[5]]])
case("Unique", lambda x: tf.unique(x)[0], [spec([None], i32)], [[[5]]])
case("BitwiseAnd", lambda x, y: tf.bitwise.bitwise_and(x, y), [spec([None], i32)] * 2, [[[5], [5]]])
case("Erfinv", lambda x: tf.math.erfinv(x), [spec([None])], [[[5]]], low=-0.9, high=0.9)
case("Lgamma", lambda x: tf.math.lgamma(x), [spec([None])], [[[5]]], low=1, high=3)

# Rows of each batch.
TABLES = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
for name, axis, batch, indices in [("one_batch", 1, 1, [[2, 0], [1, 1]]), ("far_axis", 3, 1, [[4, 0, 2], [1, 1, 0]]), ("last_axis", -1, 1, [[4], [0]]),
                                   ("between", 2, 1, [[[3, 0], [1, 2]], [[0, 0], [1, 1]]]),
                                   ("two_batches", 2, 2, [[[3, 0]] * 3, [[1, 2]] * 3]), ("all_batches", 2, 2, [[3, 0, 1], [1, 2, 2]]),
                                   ("two_batches_far", 3, 2, [[[4, 0, 1]] * 3, [[1, 2, 3]] * 3]), ("from_the_end", 2, -1, [[[3, 0]] * 3, [[1, 2]] * 3])]:
    case("GatherV2", lambda x, i, a=axis, n=batch: tf.raw_ops.GatherV2(params=x, indices=i, axis=a, batch_dims=n),
         [spec([None, 3, None, 5]), spec([None] * np.ndim(indices), i32)], [], name, values=((TABLES, indices),))

# Scattered: what is larger or smaller stays.
for op, function in [("TensorScatterMax", tf.tensor_scatter_nd_max), ("TensorScatterMin", tf.tensor_scatter_nd_min)]:
    for dtype in (f32, i32):
        case(op, lambda x, u, f=function: f(x, [[2], [0]], u), [spec([None, 3], dtype), spec([2, 3], dtype)], [[[4, 3], [2, 3]]], dtype.name)
    case(op, lambda x, u, f=function: f(x, [[2], [2]], u), [spec([None, 3]), spec([2, 3])], [[[4, 3], [2, 3]]], "twice")

# What several rows send to one place is added up.
for dtype in (f32, i32):
    case("ScatterNd", lambda i, u: tf.scatter_nd(i, u, [4, 3]), [spec([None, 1], i32), spec([None, 3], dtype)], [], f"summed_{dtype.name}",
         values=(([[1], [3], [1], [1]], np.arange(12).reshape(4, 3) - 5), (np.zeros([0, 1]), np.zeros([0, 3]))))
case("ScatterNd", lambda i, u: tf.scatter_nd(i, u, [2, 3, 4]), [spec([None, 2, 2], i32), spec([None, 2, 4])], [], "summed_pairs",
     values=(([[[1, 2], [0, 0]], [[1, 2], [1, 0]]], [[[1, NAN, 3, 4], [5, 6, 7, 8]], [[INF, 2, -3, 4], [0, -INF, 1, 1]]]),))
case("ScatterNd", lambda i, u: tf.scatter_nd(i, u, [2, 3]), [spec([None, 2], i32), spec([None])], [], "summed_elements",
     values=(([[1, 2], [0, 0], [1, 2]], [1.5, 2.5, 4]),))
case("ScatterNd", lambda i, u: tf.scatter_nd(i, u, [1025]), [spec([None, 1], i32), spec([None])], [], "too_large", values=(([[1], [1]], [1.5, 2.5]),))
for op, function in [("TensorScatterAdd", tf.tensor_scatter_nd_add), ("TensorScatterSub", tf.tensor_scatter_nd_sub)]:
    case(op, lambda x, i, u, f=function: f(x, i, u), [spec([4, 3]), spec([None, 1], i32), spec([None, 3])], [], "summed",
         values=((np.ones([4, 3]), [[1], [3], [1], [1]], np.arange(12).reshape(4, 3)),))

# Padding by mirrors.
for mode in ["REFLECT", "SYMMETRIC"]:
    case("MirrorPad", lambda x, m=mode: tf.pad(x, [[0, 0], [1, 2], [3, 0]], m), [spec([None, None, 4])], [[[2, 3, 4]], [[1, 5, 4]]], mode.lower())
    case("MirrorPad", between(lambda y, m=mode: tf.nn.conv2d(tf.pad(y, [[0, 0], [1, 2], [2, 0], [0, 1]], m), weights(3, 3, 5, 2), 1, "VALID")),
         [spec(OPEN_IMAGE)], IMAGES, f"{mode.lower()}_image")
    case("MirrorPad", lambda x, m=mode: tf.pad(x, [[0, 0], [2, 1]], m), [spec([None, 4], i32)], [[[3, 4]]], f"{mode.lower()}_int32")
case("MirrorPad", lambda x: tf.pad(x, [[0, 0], [4, 4]], "SYMMETRIC"), [spec([None, 4])], [[[3, 4]]], "symmetric_whole")

# Einsum in full.
for name, equation, first, second in [
    ("upper_case", "BTNH,BSNH->BNTS", [None, 4, 2, 3], [None, 5, 2, 3]), ("ellipsis", "...ij,...jk->...ik", [2, None, 4, 3], [2, None, 3, 5]),
    ("ellipsis_one_side", "...x,xy->...y", [None, None, 4], [4, 5]), ("ellipsis_of_none", "...ij,jk->...ik", [None, 3], [3, 4]),
    ("ellipsis_broadcast", "...ij,...jk->...ik", [None, 2, 4, 3], [1, 3, 5]), ("ellipsis_lower_rank", "...ij,...jk->...ik", [None, 2, 4, 3], [2, 3, 5]),
    ("ellipsis_behind", "i...,j...->ij...", [3, None], [4, None]), ("diagonal", "bii,bj->bij", [None, 3, 3], [None, 4]),
    ("outer", "i,j->ij", [None], [None]), ("inner", "bi,bi->b", [None, 3], [None, 3]), ("sum", "bi,bj->", [None, 3], [None, 2]),
    ("sums_alone", "bij,bk->bk", [None, 3, 2], [None, 4]), ("no_batch", "ij,kj->ik", [None, 3], [4, 3]), ("ones", "...i,...i->...", [1, None, 3], [2, 1, 3]),
]:
    sizes = [[2 if d is None else d for d in s] for s in (first, second)]
    case("Einsum", lambda x, y, e=equation: raw.Einsum(inputs=[x, y], equation=e), [spec(first), spec(second)], [sizes], name)
for name, equation, shape in [("transpose", "bij->bji", [None, 3, 4]), ("trace", "bii->b", [None, 3, 3]), ("diagonal_of_three", "iii->i", [3, 3, 3]),
                              ("axis_sum", "bij->bj", [None, 3, 4]), ("ellipsis_transpose", "...ij->...ji", [None, 2, 3, 4]),
                              ("two_diagonals", "iijj->ij", [3, 3, 2, 2]), ("diagonal_apart", "ibi->bi", [3, None, 3])]:
    case("Einsum", lambda x, e=equation: raw.Einsum(inputs=[x], equation=e), [spec(shape)], [[[2 if d is None else d for d in shape]]], name)
case("Einsum", lambda x: raw.Einsum(inputs=[x], equation="bi->bii"), [spec([None, 3])], BATCHES, "to_a_diagonal")
case("Einsum", lambda x: raw.Einsum(inputs=[x], equation="bii->b"), [spec([None, None, None])], [[[2, 3, 3]]], "open_diagonal")

# Thin spots: convolutions with every padding, dilation, group and data format.
for name, padding in [("same", "SAME"), ("valid", "VALID"), ("explicit", [[0, 0], [0, 0], [1, 2], [0, 1]])]:
    for stride, dilation in [(1, 1), (2, 1), (1, 2)]:
        case("Conv2D", lambda x, p=padding, s=stride, d=dilation: tf.transpose(tf.nn.conv2d(
            tf.transpose(x, [0, 2, 3, 1]), weights(3, 2, 2, 6), s, p if isinstance(p, str) else [p[0], p[2], p[3], p[1]], dilations=d), [0, 3, 1, 2]),
             [spec([None, 4, 9, 8])], [[[2, 4, 9, 8]]], f"nchw_model_{name}_{stride}_{dilation}")
        case("Conv2D", lambda x, p=padding, s=stride, d=dilation: tf.nn.conv2d(x, weights(3, 2, 2, 6), s, p if isinstance(p, str) else
                                                                              [p[0], p[2], p[3], p[1]], dilations=d),
             [spec([None, 9, 8, 2])], [[[2, 9, 8, 2]]], f"nhwc_{name}_{stride}_{dilation}")
case("DepthwiseConv2dNative", lambda x: tf.nn.depthwise_conv2d(x, weights(3, 2, 3, 2), [1, 1, 1, 1], "SAME", dilations=[2, 3]), [spec([None, 9, 8, 3])],
     [[[2, 9, 8, 3]]], "dilated")
case("DepthwiseConv2dNative", lambda x: tf.nn.depthwise_conv2d(x, weights(3, 2, 3, 2), [1, 2, 2, 1], [[0, 0], [1, 0], [2, 1], [0, 0]]),
     [spec(OPEN_IMAGE)], IMAGES, "explicit")
for name, shape, fmt, channels in [("rank2", [None, 4], "NHWC", 4), ("rank3", [None, 5, 4], "NHWC", 4), ("rank4", [None, 5, None, 4], "NHWC", 4),
                                   ("rank5", [None, 2, 3, 5, 4], "NHWC", 4), ("nchw_rank3", [None, 4, 5], "NCHW", 4),
                                   ("nchw_rank4", [None, 4, None, 3], "NCHW", 4), ("nchw_rank5", [None, 4, 2, 3, 5], "NCHW", 4)]:
    sizes = [[3 if d is None else d for d in shape], [channels]]
    case("BiasAdd", lambda x, y, f=fmt: raw.BiasAdd(value=x, bias=y, data_format=f), [spec(shape), spec([channels])], [sizes], name)
case("BiasAdd", lambda x: raw.BiasAdd(value=x, bias=tf.constant([1, -2, 3])), [spec([None, 3], i32)], [[[4, 3]]], "int32")
for name, axes, keep in [("last", [-1], True), ("two", [0, -1], False), ("all", [0, 1, 2], False)]:
    case("EuclideanNorm", lambda x, a=axes, k=keep: raw.EuclideanNorm(input=x, axis=a, keep_dims=k), OPEN_SPEC, [*OPEN, [[0, 4, 6]]], f"axes_{name}")
for name, values in [("up", [0, 7, 2]), ("down", [9, -3, -4]), ("none", [5, 5, 1])]:
    case("Range", lambda x, v=values: tf.range(v[0] + tf.shape(x)[0], v[1] + tf.shape(x)[0], v[2]), [spec([None, 3])], BATCHES, "from_open_" + name)
case("Range", lambda x: tf.range(tf.cast(tf.shape(x)[0], f32), 9.0, 0.75), [spec([None, 3])], BATCHES[:2], "float32_computed")
for dtype in (f16, i32, b):
    case("Fill", lambda x, t=dtype: tf.fill([tf.shape(x)[0], 2], tf.cast(1, t)), [spec([None, 3])], BATCHES, dtype.name)
case("Fill", lambda x: tf.fill(tf.shape(x)[:0], 3.0) + x, [spec([None, 3])], BATCHES, "scalar")
case("Fill", lambda x: tf.fill([0, tf.shape(x)[0]], 3.0), [spec([None, 3])], BATCHES, "no_rows")
case("OneHot", lambda i: tf.one_hot(i, 4, axis=1), [spec([None, 3], i32)], BATCHES, "middle", low=-2, high=6)
case("OneHot", lambda i: tf.one_hot(i, 3), [spec([], i32)], [], "scalar", values=((2,), (-1,)))
case("OneHot", lambda i: tf.one_hot(i, 0), [spec([None], i32)], [[[3]]], "no_depth", low=0, high=2)
case("OneHot", lambda i: tf.one_hot(i, 3, on_value=True, off_value=False, dtype=b), [spec([None], i32)], [[[5]]], "bool", low=0, high=3)
case("OneHot", lambda i, x, y: tf.one_hot(i, 3, on_value=x, off_value=y), [spec([None], i32), spec([]), spec([])], [], "values_at_run_time",
     values=(([0, 2, 5], 1.5, NAN),))
for name, sizes, axis in [("first", [1, 2, 1], 0), ("negative", [2, 4], -1), ("rest_first", [-1, 1, 1], -2), ("one", [4], 0), ("empty_part", [0, 6], 2)]:
    case("SplitV", lambda x, s=sizes, a=axis: tuple(raw.SplitV(value=x, size_splits=s, axis=a, num_split=len(s))), [spec([4, 5, 6])], [[[4, 5, 6]]], name)
case("SplitV", lambda x: tuple(raw.SplitV(value=x, size_splits=[1, 2], axis=0, num_split=2)), [spec([None, 3], i32)], [[[3, 3]]], "open_axis")
for name, axis in [("minus_one", -1), ("minus_two", -2), ("first", 0)]:
    case("Pack", lambda x, y, a=axis: tf.stack([x, y], axis=a), [spec([None, 3], i32)] * 2, [[[2, 3]] * 2], "int32_" + name)
    case("Unpack", lambda x, a=axis: tuple(tf.unstack(x, num=3, axis=a)), [spec([3, 3, 3])], [[[3, 3, 3]]], name)
case("Pack", lambda x: tf.stack([x], axis=-1), [spec([None, 3], b)], BATCHES, "one_bool")
for source, target in [(f16, i32), (i32, f16), (f16, b), (b, f16), (i32, i64), (f32, i64), (i64, f32), (f16, f32)]:
    case("Cast", lambda x, s=source, t=target: tf.cast(tf.cast(tf.cast(x, s), t), f32), [spec([None, None])], BATCHES, f"inside_{source.name}_{target.name}",
         low=0, high=9, rtol=1e-3)
case("Cast", lambda x: tf.cast(x, f32) / 255.0, [spec([None, 3], tf.uint8)], BATCHES, "uint8", low=0, high=255)
case("Cast", lambda x: tf.cast(tf.abs(tf.cast(x, tf.float64)), f32), [spec([None, 3])], BATCHES, "float64_inside")
case("Cast", lambda x: tf.cast(tf.cast(x, tf.bfloat16), f32), [spec([None, 3])], BATCHES, "bfloat16_inside")
case("Cast", lambda x: tf.cast(tf.cast(x, tf.int8), f32), [spec([None, 3])], BATCHES, "int8_inside")
