"""The table of converter cases: one small function per op and per way of using it.

A case knows nothing of how it is run. `specs` are the TensorSpecs of `fn`'s arguments (None dimensions stay open in the
engine), `shapes` the concrete shapes to run it with, one list of shapes (an entry per argument) per run.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

f32, f16, i32, i64, b = tf.float32, tf.float16, tf.int32, tf.int64, tf.bool
raw = tf.raw_ops


def reasons(file):
    """`{case: reason}` from a text file of lines "case: reason" beside this one."""
    lines = (pathlib.Path(__file__).parent / file).read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines if line and not line.startswith("#"))


@dataclasses.dataclass(frozen=True)
class Case:
    op: str  # the TensorFlow op under test
    name: str  # unique in the table
    fn: Callable
    specs: list
    shapes: list
    low: float = -2.0  # bounds of the random input values
    high: float = 2.0
    rtol: float = 1e-4
    atol: float = 1e-5
    fold: bool = False  # whether the case relies on TensorFlow's constant folding, which runs before every conversion
    values: tuple = ()  # where not empty: the inputs themselves, one tuple per run, instead of random ones

    def runs(self, seed=0):
        """The inputs of each run, as lists of numpy arrays."""
        if self.values:
            return [[np.asarray(v, s.dtype.as_numpy_dtype) for v, s in zip(run, self.specs)] for run in self.values]
        rng = np.random.default_rng(seed)
        return [[random(rng, spec, shape, self.low, self.high) for spec, shape in zip(self.specs, run)] for run in self.shapes]


def random(rng, spec, shape, low, high):
    if spec.dtype == b:
        return rng.integers(0, 2, shape).astype(bool)
    if spec.dtype.is_integer:
        return rng.integers(int(low), int(high) + 1, shape).astype(spec.dtype.as_numpy_dtype)
    return rng.uniform(low, high, shape).astype(spec.dtype.as_numpy_dtype)


def spec(shape, dtype=f32):
    return tf.TensorSpec(shape, dtype)


def weights(*shape, scale=1.0):
    return (np.random.default_rng(1).standard_normal(shape) * scale).astype(np.float32)


CASES = []


def case(op, fn, specs, shapes, name="", **options):
    CASES.append(Case(op, f"{op}_{name}" if name else op, fn, specs, shapes, **options))


# Functions of one element: open shapes, every type the engine takes.
BATCHES = [[[1, 3]], [[5, 3]], [[64, 3]]]


def unary(op, low=-2.0, high=2.0, dtypes=(f32,), **options):
    for dtype in dtypes:
        loose = dict(rtol=4e-3, atol=4e-3) if dtype == f16 else {}
        function = getattr(raw, op)
        # The last addition keeps the op's own input and output away from the segment's edge.
        names = {"Softmax": "logits", "LogSoftmax": "logits", "Elu": "features", "Selu": "features", "Relu": "features",
                 "Relu6": "features", "Softplus": "features", "Softsign": "features", "LeakyRelu": "features"}
        argument = names.get(op, "x")
        case(op, lambda x, f=function, a=argument: f(**{a: x}), [spec([None, 3], dtype)], BATCHES, dtype.name,
             low=low, high=high, **{**loose, **options})


for op in ["Abs", "Neg", "Sign", "Square"]:
    unary(op, dtypes=(f32, i32), low=-5, high=5)
for op in ["Atan", "Asinh", "Ceil", "Cos", "Cosh", "Erf", "Exp", "Expm1", "Floor", "Reciprocal", "Rint", "Round", "Sigmoid", "Sin",
           "Sinh", "Tanh", "Elu", "Selu", "Relu", "Relu6", "Softplus", "Softsign", "LeakyRelu", "Softmax", "LogSoftmax", "Inv"]:
    unary(op, dtypes=(f32, f16) if op in ("Relu", "Sigmoid", "Tanh", "Exp", "Softmax", "Relu6") else (f32,))
for op in ["Acos", "Asin", "Atanh"]:
    unary(op, low=-0.9, high=0.9)
for op in ["Log", "Sqrt", "Rsqrt", "Acosh"]:
    unary(op, low=1.1, high=9.0)
unary("Tan", low=-1.2, high=1.2)
case("Relu6", lambda x: tf.nn.relu6(x), [spec([None, 3])], BATCHES, "beyond", low=-9, high=9)
for op in ["Relu", "Relu6"]:
    unary(op, dtypes=(i32,), low=-9, high=9)
    case(op, lambda x, f=getattr(raw, op): tf.cast(f(features=tf.cast(x, tf.int8)), i32), [spec([None, 3], i32)], BATCHES, "int8", low=-300, high=300)
    case(op, lambda x, f=getattr(raw, op): x * tf.cast(f(features=tf.shape(x) - 2)[1], f32), [spec([None, None])], [[[1, 3]], [[5, 12]]], "of_sizes")
case("Log1p", lambda x: tf.math.log1p(x), [spec([None])], [], values=(([1e-7, 1e-3, -0.5, 0.0, 3.0, 1e6],), ([-1e-8],)), rtol=1e-5, atol=0)
case("Expm1", lambda x: tf.math.expm1(x), [spec([None])], [], "small", values=(([1e-7, 1e-3, -30.0, 0.0, 30.0],),), rtol=1e-5, atol=0)
case("Round", lambda x: tf.round(x), [spec([None])], [], "halves", values=(([0.5, 1.5, 2.5, -0.5, -1.5, 2.4],),))
NOT_NUMBERS = (([1.0, float("inf"), float("-inf"), float("nan"), 0.0],),)
case("IsInf", lambda x: tf.math.is_inf(x), [spec([None])], [], values=NOT_NUMBERS)
case("IsNan", lambda x: tf.math.is_nan(x), [spec([None])], [], values=NOT_NUMBERS)
case("IsFinite", lambda x: tf.math.is_finite(x), [spec([None])], [], values=NOT_NUMBERS)
case("LogicalNot", lambda x: tf.logical_not(x), [spec([None, 3], b)], BATCHES)
case("OnesLike", lambda x: raw.OnesLike(x=x) + x, [spec([None, 3])], BATCHES)
case("ZerosLike", lambda x: raw.ZerosLike(x=x) + x, [spec([None, 3])], BATCHES)
case("LeakyRelu", lambda x: tf.nn.leaky_relu(x, 0.3), [spec([None, 3])], BATCHES, "alpha")
case("Softmax", lambda x: tf.nn.softmax(x), [spec([None, 2, None, 4])], [[[1, 2, 3, 4]], [[2, 2, 5, 4]]], "rank4")

# Arithmetic, with broadcasting.
PAIRS = [[[1, 3], [3]], [[7, 3], [3]]]
PAIR_SPECS = [[None, 3], [3]]


def binary(op, dtypes=(f32, i32), low=-3.0, high=3.0, **options):
    for dtype in dtypes:
        case(op, lambda x, y, f=getattr(raw, op): f(x=x, y=y), [spec(s, dtype) for s in PAIR_SPECS], PAIRS, dtype.name, low=low, high=high,
             **options)


for op in ["Add", "AddV2", "Sub", "Mul", "Maximum", "Minimum", "SquaredDifference", "Greater", "GreaterEqual", "Less", "LessEqual"]:
    binary(op)
for op in ["RealDiv", "Pow"]:
    binary(op, dtypes=(f32,), low=0.5, high=3)
binary("AddV2", dtypes=(f16,), rtol=2e-3)
for op in ["Equal", "NotEqual"]:
    case(op, lambda x, y, f=getattr(raw, op): f(x=x, y=y), [spec([None, 3], i32), spec([3], i32)], PAIRS, "int32", low=0, high=2)
    case(op, lambda x, y, f=getattr(raw, op): f(x=x, y=y), [spec([None, 3], b), spec([3], b)], PAIRS, "bool")
    case(op, lambda x, y, f=getattr(raw, op): f(x=tf.round(x), y=tf.round(y)), [spec([None, 3]), spec([3])], PAIRS, "float32")
for op in ["LogicalAnd", "LogicalOr"]:
    case(op, lambda x, y, f=getattr(raw, op): f(x=x, y=y), [spec([None, 3], b), spec([3], b)], PAIRS)
NUMERATORS, DENOMINATORS = [7, -7, 7, -7, 6, -6, 0, 5], [2, 2, -2, -2, 3, 3, 3, -5]
for op in ["FloorDiv", "FloorMod"]:
    for dtype in (f32, i32):
        numerators = np.array(NUMERATORS) + (0.25 if dtype == f32 else 0)
        case(op, lambda x, y, f=getattr(raw, op): f(x=x, y=y), [spec([None], dtype)] * 2, [], dtype.name, values=((numerators, DENOMINATORS),))
for op in ["TruncateDiv", "Div"]:
    case(op, lambda x, y, f=getattr(raw, op): f(x=x, y=y), [spec([None], i32)] * 2, [], "int32", values=((NUMERATORS, DENOMINATORS),))
case("Div", lambda x, y: raw.Div(x=x, y=y), [spec([None])] * 2, [], "float32", values=((NUMERATORS, DENOMINATORS),))
case("DivNoNan", lambda x, y: tf.math.divide_no_nan(x, y), [spec([None])] * 2, [], values=(([1.0, 2.0, 0.0], [0.0, 4.0, 0.0]),))
case("AddN", lambda x, y, z: tf.add_n([x, y, z]), [spec([None, 3])] * 3, [[[2, 3]] * 3, [[5, 3]] * 3])
case("BiasAdd", lambda x: tf.nn.bias_add(x, weights(3)), [spec([None, 3])], BATCHES)
case("BiasAdd", lambda x, y: tf.nn.bias_add(x, y), [spec([None, None, 3]), spec([3])], [[[2, 4, 3], [3]]], "dynamic")
case("BiasAdd", lambda x: tf.nn.bias_add(x, weights(3), data_format="NCHW"), [spec([None, 3, 4, 4])], [[[2, 3, 4, 4]]], "nchw")
case("ClipByValue", lambda x: raw.ClipByValue(t=x, clip_value_min=-1.0, clip_value_max=0.5), [spec([None, 3])], BATCHES)
case("Select", lambda c, x, y: raw.Select(condition=c, x=x, y=y), [spec([None], b), spec([None, 3]), spec([None, 3])],
     [[[4], [4, 3], [4, 3]]], "rows")
case("Select", lambda c, x, y: raw.Select(condition=c, x=x, y=y), [spec([None, 3], b), spec([None, 3]), spec([None, 3])],
     [[[4, 3], [4, 3], [4, 3]]])
case("SelectV2", lambda c, x, y: tf.where(c, x, y), [spec([None, 1], b), spec([None, 3]), spec([3])], [[[4, 1], [4, 3], [3]]])
case("SelectV2", lambda c, x, y: tf.where(c, x, y), [spec([None, 1], b), spec([None, 3], i32), spec([3], i32)], [[[4, 1], [4, 3], [3]]], "int32")
case("SelectV2", lambda c, x, y: tf.where(c, x, y), [spec([None, 1], b), spec([None, 3], b), spec([3], b)], [[[4, 1], [4, 3], [3]]], "bool")

# Casts.
for source, target in [(f32, i32), (i32, f32), (f32, f16), (f16, f32), (b, f32), (f32, b), (i32, b), (b, i32)]:
    case("Cast", lambda x, t=target: tf.cast(x, t), [spec([None, 3], source)], BATCHES, f"{source.name}_{target.name}", rtol=1e-3)
case("Cast", lambda x: tf.cast(tf.cast(x, i64) * 3, i32), [spec([None, 3], i32)], BATCHES, "int64_inside")

# Reductions.
for op in ["Sum", "Mean", "Max", "Min", "Prod", "EuclideanNorm"]:
    for name, axes, keep in [("last", [-1], True), ("middle", [1, 2], False), ("scalar_axis", 0, False), ("none", [], False)]:
        case(op, lambda x, f=getattr(raw, op), a=axes, k=keep: f(input=x, axis=tf.constant(a, i32), keep_dims=k) * 1.0,
             [spec([None, None, 3])], [[[2, 4, 3]], [[1, 2, 3]]], name)
for op in ["Sum", "Max", "Min", "Prod"]:
    case(op, lambda x, f=getattr(raw, op): f(input=x, axis=[1]), [spec([None, 4], i32)], [[[3, 4]]], "int32")
for op in ["All", "Any"]:
    case(op, lambda x, f=getattr(raw, op): f(input=x, axis=[1]), [spec([None, 3], b)], BATCHES)
for op in ["ArgMax", "ArgMin"]:
    for name, axis in [("last", -1), ("first", 0)]:
        case(op, lambda x, f=getattr(raw, op), a=axis: f(input=x, dimension=a, output_type=i32), [spec([None, 5])], [[[3, 5]], [[1, 5]]], name)
case("ArgMax", lambda x: tf.cast(tf.argmax(x, -1), f32), [spec([None, 5])], [[[3, 5]]], "int64")
case("ArgMax", lambda x: raw.ArgMax(input=x, dimension=1, output_type=i32), [spec([None, 4], i32)], [[[9, 4]]], "ties")
case("TopKV2", lambda x: tuple(tf.math.top_k(x, 3)), [spec([None, 7])], [[[2, 7]]])

# Images: open batch and sizes, both paddings, strides and dilations.
IMAGES = [[[1, 8, 8, 3]], [[2, 9, 7, 3]]]
OPEN_IMAGE, FIXED_IMAGE = [None, None, None, 3], [None, 9, 8, 3]
for padding in ["SAME", "VALID"]:
    for stride in [1, 2]:
        name = f"{padding.lower()}_{stride}"
        case("Conv2D", lambda x, p=padding, s=stride: tf.nn.conv2d(x, weights(3, 3, 3, 5), s, p), [spec(OPEN_IMAGE)], IMAGES, name)
        case("Conv2D", lambda x, p=padding, s=stride: tf.nn.conv2d(x, weights(2, 3, 3, 5), s, p), [spec(FIXED_IMAGE)], [[[2, 9, 8, 3]]],
             name + "_fixed")
        case("DepthwiseConv2dNative", lambda x, p=padding, s=stride: tf.nn.depthwise_conv2d(x, weights(3, 3, 3, 2), [1, s, s, 1], p),
             [spec(OPEN_IMAGE)], IMAGES, name)
        for op, function in [("MaxPool", tf.nn.max_pool2d), ("AvgPool", tf.nn.avg_pool2d)]:
            case(op, lambda x, p=padding, s=stride, f=function: f(x, 3, s, p), [spec(OPEN_IMAGE)], IMAGES, name)
            case(op, lambda x, p=padding, s=stride, f=function: f(x, [2, 3], s, p), [spec(FIXED_IMAGE)], [[[2, 9, 8, 3]]], name + "_fixed")
case("Conv2D", lambda x: tf.nn.conv2d(x, weights(1, 1, 3, 4), 2, "SAME"), [spec(OPEN_IMAGE)], IMAGES, "pixel_stride")
case("Conv2D", lambda x: tf.nn.conv2d(x, weights(3, 3, 3, 4), 1, "SAME", dilations=2), [spec(OPEN_IMAGE)], IMAGES, "dilated")
case("Conv2D", lambda x: tf.nn.conv2d(x, weights(3, 3, 3, 4), 2, [[0, 0], [1, 2], [0, 1], [0, 0]]), [spec(OPEN_IMAGE)], IMAGES, "explicit")
case("Conv2D", lambda x: tf.nn.conv2d(x, weights(3, 3, 1, 4), 1, "SAME"), [spec([None, 8, 8, 4])], [[[2, 8, 8, 4]]], "grouped")
case("Conv2D", lambda x: tf.transpose(tf.nn.conv2d(tf.transpose(x, [0, 2, 3, 1]), weights(3, 3, 3, 4), 1, "SAME"), [0, 3, 1, 2]),
     [spec([None, 3, None, None])], [[[2, 3, 6, 5]]], "between_transposes")
case("Conv2D", lambda x: tf.nn.conv2d(x, tf.cast(weights(3, 3, 3, 4), f16), 1, "SAME"), [spec(OPEN_IMAGE, f16)], IMAGES, "float16", rtol=2e-2,
     atol=3e-2, fold=True)


def batch_norm(x, fmt="NHWC", channels=3):
    scale, offset, mean = weights(channels), weights(channels) + 1, weights(channels) * 0.3
    return raw.FusedBatchNormV3(x=x, scale=scale, offset=offset, mean=mean, variance=np.abs(weights(channels)) + 0.5,
                                epsilon=1e-3, is_training=False, data_format=fmt)[0]


case("FusedBatchNormV3", batch_norm, [spec(OPEN_IMAGE)], IMAGES)
case("FusedBatchNormV3", lambda x: batch_norm(x, "NCHW"), [spec([None, 3, None, None])], [[[2, 3, 4, 5]]], "nchw")
case("FusedBatchNorm", lambda x: raw.FusedBatchNorm(x=x, scale=weights(3), offset=weights(3), mean=weights(3), variance=np.abs(weights(3)) + 1,
                                                    is_training=False)[0], [spec(OPEN_IMAGE)], IMAGES)
case("FusedBatchNormV2", lambda x: raw.FusedBatchNormV2(x=x, scale=weights(3), offset=weights(3), mean=weights(3),
                                                        variance=np.abs(weights(3)) + 1, is_training=False)[0], [spec(OPEN_IMAGE)], IMAGES)
for op, extra in [("Pad", {}), ("PadV2", {"constant_values": 1.5})]:
    case(op, lambda x, f=getattr(raw, op), e=extra: f(input=x, paddings=[[0, 0], [1, 2], [3, 0]], **e), [spec([None, None, 3])], [[[2, 4, 3]]])
case("MirrorPad", lambda x: tf.pad(x, [[0, 0], [1, 2]], "REFLECT"), [spec([None, 4])], [[[2, 4]]])


# Channels-first neighbours: everything between two convolutions works on the images as they lie there.
def between(middle, channels=4):
    def fn(x):
        y = tf.nn.conv2d(x, weights(3, 3, 3, channels), 1, "SAME")
        return middle(y)

    return fn


LAYOUT = {
    "bias": lambda y: tf.nn.conv2d(tf.nn.relu(tf.nn.bias_add(y, weights(4))), weights(1, 1, 4, 2), 1, "VALID"),
    "broadcasts": lambda y: y * weights(4) + weights(1, 1, 4) - weights(1, 1, 1, 4) + 2.0 + tf.reduce_mean(y, [1, 2], keepdims=True),
    "vector_at_run_time": lambda y: y + tf.reduce_mean(y, [0, 1, 2]),
    "matrix_at_run_time": lambda y: y + tf.reduce_mean(y, [0, 1]),
    "pad": lambda y: tf.nn.max_pool2d(tf.pad(y, [[0, 0], [1, 0], [2, 1], [0, 3]]), 2, 2, "VALID"),
    "concat": lambda y: tf.concat([y, tf.nn.relu(y)], -1),
    "concat_height": lambda y: tf.concat([y, y * 2.0], 1),
    "split": lambda y: tf.add(*tf.split(y, 2, axis=-1)),
    "mean": lambda y: tf.reduce_mean(y, [1, 2]),
    "mean_height": lambda y: tf.reduce_mean(y, 1),
    "max_channels": lambda y: tf.reduce_max(y, -1),
    "sum_keep": lambda y: tf.reduce_sum(y, [1, 3], keepdims=True),
    "softmax": lambda y: tf.nn.softmax(y),
    "squeeze": lambda y: tf.squeeze(tf.reduce_mean(y, [1, 2], keepdims=True), [1, 2]),
    "reshape": lambda y: tf.reshape(y, [tf.shape(y)[0], -1, 4]),
    "shape": lambda y: (tf.shape(y), tf.size(y)),
    "both_forms": lambda y: (tf.reshape(y, [-1]), tf.nn.relu(y)),
    "slice": lambda y: y[:, 1:, ::2, 0],
    "select": lambda y: tf.where(y > 0.0, y, -0.5),
    "expand": lambda y: tf.expand_dims(y, 1),
    "image_and_plain": lambda y: y + tf.transpose(tf.transpose(y, [1, 0, 2, 3]), [1, 0, 2, 3]),
    "batch_norm": lambda y: tf.nn.relu(batch_norm(y, channels=4)),
}
for name, middle in LAYOUT.items():
    case("Conv2D", between(middle), [spec(OPEN_IMAGE)], IMAGES, "then_" + name)

# Images resized: every grid, larger and smaller, both open and known sizes, a size that is computed.
GRIDS = {"corner": {}, "aligned": {"align_corners": True}, "centers": {"half_pixel_centers": True}}
SIZES = {"larger": [17, 11], "smaller": [5, 3], "pixel": [1, 1], "doubled": [16, 14], "wider": [8, 28]}
for op in ["ResizeBilinear", "ResizeNearestNeighbor"]:
    for grid, flags in GRIDS.items():
        resize = lambda x, s, f=getattr(raw, op), g=flags: f(images=x, size=s, **g)
        for name, size in SIZES.items():
            case(op, lambda x, r=resize, s=size: r(x, s), [spec([None, 8, 7, 3])], [[[1, 8, 7, 3]], [[3, 8, 7, 3]]], f"{grid}_{name}")
        case(op, lambda x, r=resize: r(x, [6, 13]), [spec(OPEN_IMAGE)], IMAGES, f"{grid}_open")
        case(op, lambda x, r=resize: r(x, tf.shape(x)[1:3] * [2, 3] - 1), [spec(OPEN_IMAGE)], IMAGES, f"{grid}_computed")
        case(op, lambda x, r=resize: r(x, [82, 123]), [spec([None, 2, 3, 1])], [[[2, 2, 3, 1]]], f"{grid}_far")
        case(op, between(lambda y, r=resize: tf.nn.conv2d(r(y, [16, 16]), weights(1, 1, 4, 2), 1, "VALID")), [spec([None, 8, 8, 3])],
             [[[2, 8, 8, 3]]], f"{grid}_between_convolutions")
    case(op, lambda x, f=getattr(raw, op): f(images=x, size=[4, 9]), [spec([None, 8, 7, 3], f16)], [[[2, 8, 7, 3]]], "float16", rtol=2e-3)
    case(op, lambda x, f=getattr(raw, op): f(images=x, size=[4, 9]), [spec([None, 8, 7, 3], i32)], [[[2, 8, 7, 3]]], "int32", low=-9, high=9)
case("ResizeNearestNeighbor", lambda x: raw.ResizeNearestNeighbor(images=x, size=[16, 14]), [spec([None, 8, 7, 3], i32)], [[[2, 8, 7, 3]]],
     "int32_doubled", low=-9, high=9)

for grid, flags in GRIDS.items():
    case("ResizeNearestNeighbor", lambda x, g=flags: raw.ResizeNearestNeighbor(images=x, size=[4, 9], **g), [spec([None, 8, 7, 3])],
         [[[2, 8, 7, 3]], [[0, 8, 7, 3]]], f"{grid}_no_rows")

# Blocks of pixels in the channels and in the batch.
BLOCKS = [[[1, 6, 9, 18]], [[2, 3, 6, 18]]]
for op in ["SpaceToDepth", "DepthToSpace"]:
    case(op, lambda x, f=getattr(raw, op): f(input=x, block_size=3), [spec([None, None, None, 18])], BLOCKS)
    case(op, lambda x, f=getattr(raw, op): f(input=x, block_size=3), [spec([None, 6, 9, 18], f16)], BLOCKS[:1], "float16")
    case(op, between(lambda y, f=getattr(raw, op): tf.nn.relu(f(input=y, block_size=2))), [spec([None, 8, 6, 3])], [[[2, 8, 6, 3]]], "after_convolution")
for name, shape in [("open", [None, None, None, 3]), ("open_batch", [None, 5, 6, 3]), ("fixed", [2, 5, 6, 3])]:
    case("SpaceToBatchND", lambda x: tf.space_to_batch(x, [2, 3], [[1, 0], [2, 1]]), [spec(shape)], [[[2, 5, 6, 3]]], name)
    grouped = [shape[0] and 12, *shape[1:]]
    case("BatchToSpaceND", lambda x: tf.batch_to_space(x, [2, 3], [[1, 0], [2, 1]]), [spec(grouped)], [[[12, 5, 6, 3]]], name)
case("SpaceToBatchND", lambda x: tf.space_to_batch(x, [2], [[0, 0]]), [spec([None, None, 3])], [[[1, 4, 3]], [[5, 2, 3]]], "rows")
case("BatchToSpaceND", lambda x: tf.batch_to_space(x, [2], [[0, 1]]), [spec([None, None, 3])], [[[4, 4, 3]], [[2, 2, 3]]], "rows")
case("SpaceToBatchND", lambda x: tf.space_to_batch(x, [2, 1], [[0, 1], [1, 0]]), [spec([None, None, 4], i32)], [[[2, 3, 4]]], "int32")
case("BatchToSpaceND", lambda x: tf.batch_to_space(x, [2, 1], [[0, 1], [1, 0]]), [spec([None, None, 4], i32)], [[[2, 3, 4]]], "int32")

case("SpaceToBatchND", lambda x: tf.space_to_batch(x, [2], [[0, 0]]), [spec([None, None, 3])], [[[2, 4, 3]], [[0, 2, 3]]], "no_rows")
case("BatchToSpaceND", lambda x: tf.batch_to_space(x, [2], [[0, 1]]), [spec([None, None, 3])], [[[4, 4, 3]], [[0, 2, 3]]], "no_rows")

# Volumes: open batch and sizes, both orders, as for images.
VOLUMES = [[[1, 6, 7, 8, 2]], [[2, 5, 4, 6, 2]]]
OPEN_VOLUME, FIXED_VOLUME = [None, None, None, None, 2], [None, 6, 7, 8, 2]
for padding in ["SAME", "VALID"]:
    for stride in [1, 2]:
        for name, shape, shapes in [("", OPEN_VOLUME, VOLUMES), ("_fixed", FIXED_VOLUME, VOLUMES[:1])]:
            name = f"{padding.lower()}_{stride}{name}"
            case("Conv3D", lambda x, p=padding, s=stride: tf.nn.conv3d(x, weights(2, 3, 3, 2, 4), [1, s, s, s, 1], p), [spec(shape)], shapes, name)
            for op, function in [("MaxPool3D", tf.nn.max_pool3d), ("AvgPool3D", tf.nn.avg_pool3d)]:
                case(op, lambda x, p=padding, s=stride, f=function: f(x, [2, 3, 2], s, p), [spec(shape)], shapes, name)
case("Conv3D", lambda x: tf.nn.conv3d(x, weights(2, 2, 2, 2, 3), [1] * 5, "SAME", dilations=[1, 2, 1, 2, 1]), [spec(OPEN_VOLUME)], VOLUMES, "dilated")
case("Conv3D", lambda x: tf.nn.relu(tf.nn.conv3d(tf.nn.conv3d(x, weights(2, 2, 2, 2, 3), [1] * 5, "SAME"), weights(1, 1, 1, 3, 2), [1] * 5, "VALID")),
     [spec(OPEN_VOLUME)], VOLUMES, "twice")
NCDHW, FIRST_VOLUMES = [None, 2, None, None, None], [[[1, 2, 6, 7, 8]]]
case("Conv3D", lambda x: raw.Conv3D(input=x, filter=weights(2, 3, 3, 2, 4), strides=[1, 1, 2, 1, 2], padding="SAME", data_format="NCDHW"),
     [spec(NCDHW)], FIRST_VOLUMES, "ncdhw")
for op in ["MaxPool3D", "AvgPool3D"]:
    case(op, lambda x, f=getattr(raw, op): f(input=x, ksize=[1, 1, 2, 3, 2], strides=[1, 1, 2, 1, 2], padding="SAME", data_format="NCDHW"),
         [spec(NCDHW)], FIRST_VOLUMES, "ncdhw")


# Transposed convolutions: results of even and odd sizes, which by a stride of 2 come from the same input.
def transposed(x, size, filter, stride, padding, dilation=1, fmt="channels_last"):
    """The gradient of a convolution to its input, an image or a volume, of `size` (None: computed as large as `x`)."""
    inner = len(filter.shape) - 2
    last = fmt == "channels_last"
    around = lambda v: [1, *v, 1] if last else [1, 1, *v]
    size = tf.unstack(tf.shape(x)[1:-1] if last else tf.shape(x)[2:]) if size is None else size
    channels = int(filter.shape[-2])
    sizes = [tf.shape(x)[0], *size, channels] if last else [tf.shape(x)[0], channels, *size]
    extra = {"explicit_paddings": padding, "padding": "EXPLICIT"} if isinstance(padding, list) else {"padding": padding}
    op = raw.Conv2DBackpropInput if inner == 2 else raw.Conv3DBackpropInputV2
    data_format = {(2, True): "NHWC", (2, False): "NCHW", (3, True): "NDHWC", (3, False): "NCDHW"}[inner, last]
    return op(input_sizes=tf.stack(sizes), filter=filter, out_backprop=x, strides=around([stride] * inner), dilations=around([dilation] * inner),
              data_format=data_format, **extra)


BACK = "Conv2DBackpropInput"
for name, padding, stride, kernel, size in [
    ("same_1", "SAME", 1, 3, [5, 4]), ("same_2_even", "SAME", 2, 3, [10, 8]), ("same_2_odd", "SAME", 2, 3, [9, 7]), ("same_2_small", "SAME", 2, 1, [10, 7]),
    ("same_3", "SAME", 3, 2, [15, 10]), ("same_2_wide", "SAME", 2, 4, [10, 8]), ("valid_1", "VALID", 1, 3, [7, 6]), ("valid_2", "VALID", 2, 3, [11, 9]),
    ("valid_2_rest", "VALID", 2, 3, [12, 10]), ("valid_3_small", "VALID", 3, 1, [15, 11]), ("explicit", [0, 0, 1, 2, 0, 1, 0, 0], 2, 3, [9, 8]),
    ("explicit_1", [0, 0, 1, 0, 2, 1, 0, 0], 1, 3, [6, 3]),
]:
    case(BACK, lambda x, p=padding, s=stride, k=kernel, z=size: transposed(x, z, weights(k, k, 3, 2), s, p), [spec([None, 5, 4, 2])],
         [[[1, 5, 4, 2]], [[3, 5, 4, 2]]], name)
case(BACK, lambda x: transposed(x, None, weights(3, 2, 3, 2), 1, "SAME"), [spec([None, None, None, 2])], [[[1, 5, 4, 2]], [[2, 3, 6, 2]]], "open")
case(BACK, lambda x: transposed(x, [9, 8], weights(3, 3, 3, 2), 1, "VALID", 2), [spec([None, 5, 4, 2])], [[[2, 5, 4, 2]]], "dilated")
case(BACK, lambda x: transposed(x, [9, 8], weights(3, 3, 3, 2), 2, "SAME", fmt="channels_first"), [spec([None, 2, 5, 4])], [[[2, 2, 5, 4]]], "nchw")
case(BACK, lambda x: raw.Conv2DBackpropInput(
    input_sizes=tf.stack([tf.shape(x)[0], 5, 4, 4]), filter=weights(3, 3, 2, 4), out_backprop=x, strides=[1] * 4, padding="SAME"),
     [spec([None, 5, 4, 4])], [[[2, 5, 4, 4]]], "grouped")
case(BACK, lambda x: transposed(x, [9, 8], tf.cast(weights(3, 3, 3, 2), f16), 2, "SAME"), [spec([None, 5, 4, 2], f16)], [[[2, 5, 4, 2]]], "float16",
     rtol=2e-2, atol=3e-2, fold=True)
case(BACK, lambda x: transposed(tf.nn.relu(tf.nn.conv2d(x, weights(3, 3, 3, 2), 2, "SAME")), [8, 8], weights(3, 3, 3, 2), 2, "SAME"),
     [spec([None, 8, 8, 3])], [[[2, 8, 8, 3]]], "after_convolution")
BACK = "Conv3DBackpropInputV2"
for name, padding, stride, size in [("same_1", "SAME", 1, [3, 4, 5]), ("same_2_even", "SAME", 2, [6, 8, 10]), ("same_2_odd", "SAME", 2, [5, 7, 9]),
                                    ("valid_1", "VALID", 1, [4, 6, 6]), ("valid_2_rest", "VALID", 2, [7, 10, 10])]:
    case(BACK, lambda x, p=padding, s=stride, z=size: transposed(x, z, weights(2, 3, 2, 3, 2), s, p), [spec([None, 3, 4, 5, 2])],
         [[[1, 3, 4, 5, 2]], [[3, 3, 4, 5, 2]]], name)
case(BACK, lambda x: transposed(x, None, weights(2, 3, 2, 3, 2), 1, "SAME"), [spec(OPEN_VOLUME)], VOLUMES, "open")
case(BACK, lambda x: transposed(x, [5, 7, 9], weights(2, 3, 2, 3, 2), 2, "SAME", fmt="channels_first"), [spec([None, 2, 3, 4, 5])], [[[2, 2, 3, 4, 5]]],
     "ncdhw")

# Local response normalisation, and the loss of weights.
case("LRN", lambda x: tf.nn.lrn(x), [spec([None, None, None, 17])], [[[1, 4, 3, 17]], [[2, 3, 5, 17]]])
case("LRN", lambda x: tf.nn.lrn(x, 2, 0.7, 0.3, 0.75), [spec([None, 4, 3, 9])], [[[2, 4, 3, 9]]], "attributes")
case("LRN", lambda x: tf.nn.lrn(x, 7, 2.0, 1e-4, 0.75), [spec([None, 4, 3, 3])], [[[2, 4, 3, 3]]], "wider_than_channels")
case("LRN", lambda x: tf.nn.lrn(x, 0), [spec([None, 4, 3, 3])], [[[2, 4, 3, 3]]], "one_channel")
case("LRN", between(lambda y: tf.nn.conv2d(tf.nn.lrn(y, 1), weights(1, 1, 4, 2), 1, "VALID")), [spec(OPEN_IMAGE)], IMAGES, "between_convolutions")
case("L2Loss", lambda x: tf.nn.l2_loss(x), [spec([None, 3])], BATCHES)
case("L2Loss", lambda x: tf.nn.l2_loss(x), [spec([None, 3], f16)], BATCHES[:2], "float16", rtol=4e-3)
case("L2Loss", between(lambda y: tf.nn.l2_loss(y)), [spec(OPEN_IMAGE)], IMAGES, "after_convolution")
case("L2Loss", lambda x: tf.nn.l2_loss(tf.reduce_sum(x)), [spec([None, 3])], BATCHES, "scalar")

# Matrix products.
for ta in [False, True]:
    for tb in [False, True]:
        name = f"{'t' if ta else 'n'}{'t' if tb else 'n'}"
        case("MatMul", lambda x, y, ta=ta, tb=tb: tf.linalg.matmul(x, y, transpose_a=ta, transpose_b=tb),
             [spec([4, None] if ta else [None, 4]), spec([6, 4] if tb else [4, 6])],
             [[[4, n] if ta else [n, 4], [6, 4] if tb else [4, 6]] for n in (1, 5)], name)
        for op in ["BatchMatMulV2", "BatchMatMulV3", "BatchMatMul"]:
            extra = {"Tout": f32} if op == "BatchMatMulV3" else {}
            case(op, lambda x, y, f=getattr(raw, op), ta=ta, tb=tb, e=extra: f(x=x, y=y, adj_x=ta, adj_y=tb, **e),
                 [spec([None, 4, None] if ta else [None, None, 4]), spec([None, 6, 4] if tb else [None, 4, 6])],
                 [[[2, 4, 3] if ta else [2, 3, 4], [2, 6, 4] if tb else [2, 4, 6]]], name)
case("MatMul", lambda x: tf.linalg.matmul(x, weights(4, 6)), [spec([None, 4])], [[[1, 4]], [[64, 4]]], "weights")
case("MatMul", lambda x: tf.linalg.matmul(x, weights(6, 4), transpose_b=True), [spec([None, 4])], [[[1, 4]]], "weights_transposed")
case("MatMul", lambda x: tf.linalg.matmul(x, tf.cast(weights(4, 6), f16)), [spec([None, 4], f16)], [[[3, 4]]], "float16", rtol=1e-2, atol=1e-2)
case("BatchMatMulV2", lambda x, y: tf.linalg.matmul(x, y), [spec([None, 2, None, 4]), spec([4, 5])], [[[2, 2, 3, 4], [4, 5]]], "broadcast")
case("Einsum", lambda x, y: tf.einsum("bij,bjk->bik", x, y), [spec([None, None, 4]), spec([None, 4, 6])], [[[2, 3, 4], [2, 4, 6]]])
case("Einsum", lambda x: tf.einsum("abc,cde->abde", x, weights(4, 2, 3)), [spec([None, None, 4])], [[[2, 3, 4]]], "dense")

# Shapes.
OPEN = [[[1, 4, 6]], [[3, 5, 6]]]
OPEN_SPEC = [spec([None, None, 6])]
case("Shape", lambda x: tf.shape(x), OPEN_SPEC, OPEN)
case("Shape", lambda x: tf.cast(tf.shape(x, out_type=i64), i32) * 2, OPEN_SPEC, OPEN, "int64")
case("ShapeN", lambda x, y: tuple(raw.ShapeN(input=[x, y], out_type=i32)), [spec([None, 3]), spec([None, 3])], [[[2, 3], [4, 3]]])
case("Size", lambda x: tf.size(x), OPEN_SPEC, OPEN)
case("Rank", lambda x: raw.Rank(input=x) + tf.shape(x)[0], OPEN_SPEC, OPEN)
case("Reshape", lambda x: tf.reshape(x, [-1, 6]), OPEN_SPEC, OPEN, "minus_one")
case("Reshape", lambda x: tf.reshape(x, [tf.shape(x)[0], tf.shape(x)[1], 2, 3]), OPEN_SPEC, OPEN, "heads")
case("Reshape", lambda x: tf.reshape(x, [tf.shape(x)[0], tf.shape(x)[1] * 6]), OPEN_SPEC, OPEN, "product")
case("Reshape", lambda x: tf.reshape(x, [-1, tf.shape(x)[1], 6]), OPEN_SPEC, OPEN, "minus_one_and_open")
case("Reshape", lambda x: tf.reshape(x, [tf.math.reduce_prod(tf.shape(x)[:2]), 6]), OPEN_SPEC, OPEN, "prod")
case("Reshape", lambda x: tf.reshape(x, tf.concat([tf.shape(x)[:-1], [2, 3]], 0)), OPEN_SPEC, OPEN, "concat")
case("Reshape", lambda x, y: tf.reshape(x, tf.shape(y)), [spec([None, 6]), spec([None, None])], [[[4, 6], [3, 8]]], "of_another")
case("Reshape", lambda x, s: tf.reshape(x, tf.stack([s[0], s[1]])), [spec([None, 6]), spec([2], i32)], [], "shape_as_input",
     values=((np.arange(24).reshape(4, 6), [8, 3]),))
case("Reshape", lambda x: tf.reshape(x, [tf.shape(x)[0], tf.shape(x)[1] // 2, 2, 6]), OPEN_SPEC, [[[1, 4, 6]], [[3, 2, 6]]], "floor_div")
case("Reshape", lambda x: tf.reshape(x, [tf.shape(x)[0], tf.shape(x)[1] * 2]), [spec([None, None, 2])], [[[0, 4, 2]], [[2, 3, 2]]], "no_rows")
case("Squeeze", lambda x: tf.squeeze(x, [1]), [spec([None, 1, 3])], [[[2, 1, 3]]])
case("Squeeze", lambda x: tf.squeeze(x), [spec([2, 1, 3, 1])], [[[2, 1, 3, 1]]], "all")
for axis in [0, 1, -1]:
    case("ExpandDims", lambda x, a=axis: tf.expand_dims(x, a), [spec([None, 3])], BATCHES, f"axis{axis}")
case("Transpose", lambda x: tf.transpose(x, [1, 0, 2]), OPEN_SPEC, OPEN)
case("Transpose", lambda x: tf.transpose(x, [0, 2, 3, 1]) * weights(3), [spec([None, 3, 4, 5])], [[[2, 3, 4, 5]]], "to_channels_last")
case("Transpose", lambda x: tf.transpose(x, [0, 3, 1, 2]), [spec([None, 3, 4, 5])], [[[2, 3, 4, 5]]], "to_channels_first")

# Parts.
BRACKETS = {
    "ranges": lambda x: x[1:, :3, ::2],
    "negative": lambda x: x[-1:, -3:-1, -100:100],
    "backwards": lambda x: x[::-1, 3:0:-2],
    "index": lambda x: x[0, :, -1],
    "last": lambda x: x[-1],
    "ellipsis": lambda x: x[..., 1],
    "ellipsis_middle": lambda x: x[0:1, ..., 2:],
    "new_axis": lambda x: x[:, tf.newaxis, :, tf.newaxis],
    "new_axis_index": lambda x: x[tf.newaxis, 0, ..., tf.newaxis, 1:3],
    "folded_open_end": lambda x: x[:, : tf.shape(x)[1] - 1],
    "folded_open_begin": lambda x: x[:, tf.shape(x)[1] - 2 :],
    "open_index": lambda x: x[:, tf.shape(x)[1] - 1],
    "all": lambda x: x[:, :, :] + 1.0,
}
for name, brackets in BRACKETS.items():
    case("StridedSlice", brackets, OPEN_SPEC, OPEN, name, fold=name.startswith("folded"))
case("StridedSlice", lambda x: tf.constant(weights(16, 3))[: tf.shape(x)[1]][:3], OPEN_SPEC, OPEN, "of_weights", fold=True)
case("Slice", lambda x: tf.slice(x, [0, 1, 2], [-1, 2, 3]), OPEN_SPEC, OPEN)
case("Slice", lambda x: tf.slice(x, [0, 1, 0], [1, tf.shape(x)[1] - 1, 6]), OPEN_SPEC, OPEN, "open_size")
case("Slice", lambda x: tf.slice(x, [0, tf.shape(x)[1] - 2, 0], [-1, 2, -1]), OPEN_SPEC, OPEN, "open_begin")
case("Slice", lambda x, s: tf.slice(x, s, -tf.ones_like(s)), [spec([None, 3]), spec([2], i32)], [], "size_at_run_time",
     values=((np.arange(12).reshape(4, 3), [1, 2]),))
for name, axis in [("first", 0), ("second", 1)]:
    case("GatherV2", lambda i, a=axis: tf.gather(weights(5, 4), i, axis=a), [spec([None, None], i32)], [[[2, 3]], [[1, 1]]], name, low=0, high=3)
case("GatherV2", lambda x, i: tf.gather(x, i, axis=-1), [spec([None, 4]), spec([3], i32)], [[[2, 4], [3]]], "last", low=0, high=3)
case("Gather", lambda x, i: raw.Gather(params=x, indices=i), [spec([4, None]), spec([None], i32)], [[[4, 2], [3]]], low=0, high=3)
case("GatherV2", lambda x: tf.gather(tf.shape(x), [0, 2]), OPEN_SPEC, OPEN, "of_shape")
case("Split", lambda x: tuple(tf.split(x, 3, axis=1)), [spec([None, 6])], [[[2, 6]]])
case("Split", lambda x: tuple(tf.split(x, 2, axis=0)), [spec([None, 6])], [[[4, 6]]], "open_axis")
case("SplitV", lambda x: tuple(tf.split(x, [1, -1, 2], axis=1)), [spec([None, 6])], [[[2, 6]]])
case("Unpack", lambda x: tuple(tf.unstack(x, axis=1)), [spec([None, 3])], [[[2, 3]]])
case("Unpack", lambda x: tf.unstack(tf.shape(x))[0] + 1, OPEN_SPEC, OPEN, "of_shape")

# Putting together.
case("Pack", lambda x, y: tf.stack([x, y], axis=1), [spec([None, 3])] * 2, [[[2, 3]] * 2])
case("Pack", lambda x, y: tf.stack([x, y], axis=-1), [spec([None, 3])] * 2, [[[2, 3]] * 2], "last")
case("Pack", lambda x: tf.stack([tf.shape(x)[0], 7, tf.shape(x)[1]]), OPEN_SPEC, OPEN, "of_shape")
case("ConcatV2", lambda x, y: tf.concat([x, y, weights(2, 3)], 0), [spec([None, 3])] * 2, [[[2, 3], [1, 3]]])
case("ConcatV2", lambda x, y: tf.concat([x, y], -1), [spec([None, 3], i32), spec([None, 2], i32)], [[[2, 3], [2, 2]]], "int32")
case("Tile", lambda x: tf.tile(x, [2, 3]), [spec([None, 3])], BATCHES)
case("Tile", lambda x: tf.tile(x[:, tf.newaxis], [1, tf.shape(x)[0], 1]), [spec([None, 3])], BATCHES, "open")
case("Fill", lambda x: tf.fill([tf.shape(x)[0], 4], 1.5) + x[:, :1], [spec([None, 3])], BATCHES)
case("Fill", lambda x: tf.fill(tf.shape(x), tf.reduce_max(x)), [spec([None, 3])], BATCHES, "value_at_run_time")
case("BroadcastTo", lambda x: tf.broadcast_to(x, [4, tf.shape(x)[0], 3]), [spec([None, 3])], BATCHES)
case("Range", lambda x: tf.range(tf.shape(x)[1]), OPEN_SPEC, OPEN)
case("Range", lambda x: tf.range(1.0, tf.reduce_max(x) + 2.0, 0.5), [spec([None])], [[[3]]], "float32")
case("Range", lambda x: tf.range(100, tf.shape(x)[0], -2), [spec([None, 3])], BATCHES, "down")
for name, axis in [("last", -1), ("first", 0)]:
    case("OneHot", lambda i, a=axis: tf.one_hot(i, 4, axis=a), [spec([None, 3], i32)], BATCHES, name, low=-2, high=6)
case("OneHot", lambda i: tf.one_hot(i, 4, on_value=7, off_value=-1), [spec([None], i32)], [[[9]]], "int32", low=-2, high=6)

# Ops that hand on, among others that do not; outputs that are inputs or constants.
case("Identity", lambda x: (tf.identity(x), tf.identity(x), tf.identity(x + 1.0)), [spec([None, 3])], BATCHES)
case("IdentityN", lambda x, y: tuple(tf.identity_n([x * 2.0, y])), [spec([None, 3])] * 2, [[[2, 3]] * 2])
case("Snapshot", lambda x: raw.Snapshot(input=x * 2.0), [spec([None, 3])], BATCHES)
case("StopGradient", lambda x: tf.stop_gradient(x * 2.0), [spec([None, 3])], BATCHES)
case("PreventGradient", lambda x: raw.PreventGradient(input=x * 2.0), [spec([None, 3])], BATCHES)
case("Const", lambda x: (x + weights(3), tf.constant(weights(2, 2))), [spec([None, 3])], BATCHES)
case("Const", lambda x: (lambda y: (y, y, tf.nn.relu(y)))(x * 2.0), [spec([None, 3])], BATCHES, "one_output_twice")

import op_cases_more  # noqa: E402, F401 - it adds its cases to CASES
import op_cases_table  # noqa: E402, F401
import op_cases_recur  # noqa: E402, F401
import op_cases_random  # noqa: E402, F401
import op_cases_single  # noqa: E402, F401
import op_cases_types  # noqa: E402, F401
import op_cases_ends  # noqa: E402, F401
