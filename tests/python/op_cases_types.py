"""Cases of types that engines carry in others: int8, uint8, int16 and uint16 in int32, bfloat16 and float64 in float32.

No such tensor crosses an engine's border, so each case begins and ends with a type that does. Bits are compared: nothing here is near.
"""

import numpy as np
import tensorflow as tf
from op_cases import BATCHES, b, case, f16, f32, i32, i64, raw, spec, weights

i8, u8, i16, u16, bf16, f64 = tf.int8, tf.uint8, tf.int16, tf.uint16, tf.bfloat16, tf.float64
EXACT = dict(rtol=0, atol=0)
INF, NAN = float("inf"), float("nan")

INTEGERS = np.array([0, 1, 127, 128, 129, 255, 256, 257, -1, -127, -128, -129, -256, 32767, 32768, 65535, 65536, -32768, -32769, 2**24 + 1,
                     123456789, 2**31 - 1, -(2**31), -(2**31) + 1])
# Within every type here, and off the integers.
SMALL = np.array([0, -0.0, 0.5, -0.5, 1.5, 0.99, 2.5, 100.7, 126.99, 127.0, 1e-20, 3.0])
# Halfway between two numbers of bfloat16's, next to it, over its largest one, and infinities and NaN.
MIDDLES = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0xBF818000, 0x7F7F7FFF, 0x7F7F8000, 0xFF7FFFFF, 0x00800000, 0x00808000, 0x4B7F8000,
                    0x80000000, 0x47800000, 0x3F7FFFFF], np.uint32).view(np.float32)
FLOATS = np.concatenate([MIDDLES, np.array([INF, -INF, NAN, 0.1, 1e-30, 65504, 65520, 3e38, -1 / 3, 256.5, 257], np.float32)])


def through(*types):
    """A Cast to each of the types in turn."""

    def fn(x):
        for dtype in types:
            x = tf.cast(x, dtype)
        return x

    return fn


def casts(source, middle, target, values, name=""):
    label = "_".join(t.name for t in (source, middle, target)) + name
    case("Cast", through(middle, target), [spec([None], source)], [], "carried_" + label, values=((values,), (values[:1],), (values[:0],)), **EXACT)


for narrow in (i8, u8, i16, u16):
    for target in (f32, i32, f16, b):
        casts(i32, narrow, target, INTEGERS)
        positive = SMALL if narrow in (i8, i16) else np.abs(SMALL)
        casts(f32, narrow, target, np.concatenate([positive, [-1, -128, -127.9]]) if narrow in (i8, i16) else positive)
    casts(f16, narrow, i32, SMALL[:-2])
    casts(b, narrow, f32, np.array([True, False]))
    case("Cast", through(narrow, f32), [spec([], i32)], [], f"carried_{narrow.name}_scalar", values=((300,), (-1,)), **EXACT)
    case("Cast", through(i64, narrow, i32), [spec([None], i32)], [], f"carried_int64_{narrow.name}", values=((INTEGERS,),), **EXACT)
    case("Cast", lambda x, t=narrow: tf.cast(tf.cast(tf.cast(x, i64) * 65537, t), i32), [spec([None], i32)], [], f"carried_large_int64_{narrow.name}",
         values=((INTEGERS,),), **EXACT)
    case("Cast", through(narrow, i64, i32), [spec([None], i32)], [], f"carried_{narrow.name}_int64", values=((INTEGERS,),), **EXACT)
    case("Cast", lambda x, t=narrow: tf.cast(tf.cast(tf.shape(x) * 200, t), f32), [spec([None, None])], [[[2, 3]], [[9, 1]]],
         f"carried_{narrow.name}_of_shape", **EXACT)
    for other in (i8, u8, i16, u16, bf16, f64):
        if other != narrow:
            case("Cast", through(narrow, other, i32), [spec([None], i32)], [], f"carried_{narrow.name}_{other.name}", values=((INTEGERS,),), **EXACT)

for target in (f32, f16, b):
    casts(f32, bf16, target, FLOATS)
    casts(f32, f64, target, FLOATS)
casts(f32, bf16, i32, SMALL)
casts(f32, f64, i32, SMALL)
casts(f16, bf16, f32, SMALL)
casts(f16, f64, f32, SMALL)
casts(b, bf16, f32, np.array([True, False]))
casts(b, f64, f32, np.array([True, False]))
casts(i32, bf16, f32, INTEGERS)
casts(i32, f64, f32, INTEGERS)
casts(i32, f64, i32, INTEGERS, "_beyond_float32")
case("Cast", through(i64, bf16, f32), [spec([None], i32)], [], "carried_int64_bfloat16", values=((INTEGERS,),), **EXACT)
case("Cast", through(i64, f64, f32), [spec([None], i32)], [], "carried_int64_float64", values=((INTEGERS,),), **EXACT)
for first, second in [(bf16, f64), (f64, bf16)]:
    case("Cast", through(first, second, f32), [spec([None])], [], f"carried_{first.name}_{second.name}", values=((FLOATS,),), **EXACT)
for wide in (bf16, f64):
    for narrow in (i8, u8, i16, u16):
        case("Cast", through(wide, narrow, f32), [spec([None])], [], f"carried_{wide.name}_{narrow.name}", values=((np.abs(SMALL),),), **EXACT)
    case("Cast", through(wide, i64, i32), [spec([None])], [], f"carried_{wide.name}_int64", values=((SMALL,),), **EXACT)
case("Cast", through(bf16, f32), [spec([None, 3])], [[[0, 3]], [[300, 3]]], "carried_bfloat16_rows", low=-1e4, high=1e4, **EXACT)

# Elements that are moved, of each carried type: floats that bfloat16 has to round, integers that wrap around.
MATRIX = [spec([None, 4])]
ROWS = [[[2, 4]], [[6, 4]]]
MOVES = {
    "Reshape": lambda x: tf.reshape(x, [-1, 2]), "Transpose": lambda x: tf.transpose(x), "ExpandDims": lambda x: tf.expand_dims(x, 1),
    "Squeeze": lambda x: tf.squeeze(tf.expand_dims(tf.transpose(x), 1), [1]), "ConcatV2": lambda x: tf.concat([x, x[:1]], 0),
    "Pack": lambda x: tf.stack([x, x], 1), "Unpack": lambda x: tf.unstack(x, axis=1)[2], "Split": lambda x: tf.split(x, 2, 1)[1],
    "SplitV": lambda x: tf.split(x, [1, 3], 1)[1], "Slice": lambda x: tf.slice(x, [0, 1], [-1, 2]), "StridedSlice": lambda x: x[:, ::-2],
    "GatherV2": lambda x: tf.gather(x, [3, 0], axis=1), "GatherNd": lambda x: tf.gather_nd(x, [[1, 1], [0, 3]]), "Tile": lambda x: tf.tile(x, [2, 1]),
    "BroadcastTo": lambda x: tf.broadcast_to(x, [3, tf.shape(x)[0], 4]), "ReverseV2": lambda x: tf.reverse(x, [1]),
    "Pad": lambda x: tf.pad(x, [[1, 0], [0, 2]]),
    "SelectV2": lambda x: tf.where(x > tf.cast(7, x.dtype), x, tf.ones_like(x)), "Maximum": lambda x: tf.maximum(x, tf.cast(9, x.dtype)),
    "Minimum": lambda x: tf.minimum(x, x[0]), "Roll": lambda x: tf.roll(x, 1, 1), "ZerosLike": lambda x: tf.concat([raw.ZerosLike(x=x), x], 0),
}
for dtype in (u8, bf16, f64):
    for op, move in MOVES.items():
        case(op, lambda x, f=move, t=dtype: tf.cast(f(tf.cast(x, t)), f32), MATRIX, ROWS, f"carried_{dtype.name}",
             low=0 if dtype == u8 else -100, high=120, **EXACT)
    for op in ("Equal", "Less", "GreaterEqual"):
        case(op, lambda x, f=getattr(raw, op), t=dtype: f(x=tf.cast(x, t), y=tf.cast(x[:1], t)), MATRIX, ROWS, f"carried_{dtype.name}", low=0, high=3)
case("SpaceToDepth", lambda x: tf.cast(tf.nn.space_to_depth(tf.cast(x, bf16), 2), f32), [spec([None, 4, 4, 3])], [[[2, 4, 4, 3]]],
     "carried_bfloat16", **EXACT)

# Arithmetic that wraps around or is rounded at each step.
ENDS = np.array([0, 1, 2, 16, 100, 127, 128, 200, 255])
LEFT, RIGHT = (np.ravel(side) for side in np.meshgrid(ENDS, ENDS))
for dtype in (i8, u8, i16, u16):
    for op in ("AddV2", "Sub", "Mul"):
        case(op, lambda x, y, f=getattr(raw, op), t=dtype: tf.cast(f(x=tf.cast(x, t), y=tf.cast(y, t)), i32), [spec([None], i32)] * 2, [],
             f"carried_{dtype.name}", values=((LEFT * (257 if dtype.size == 2 else 1), RIGHT * (257 if dtype.size == 2 else 1)),))
    case("FloorDiv", lambda x, t=dtype: tf.cast(tf.cast(x, t) // tf.cast(3, t), f32), [spec([None], i32)], [[[5]]], f"carried_{dtype.name}", low=0, high=9)
case("Mul", lambda x: tf.cast(tf.cast(x, u8) * tf.constant(3, u8) + tf.constant([7, 250, 0], u8), f32), [spec([None, 3], i32)], BATCHES,
     "carried_uint8_constants", low=0, high=255, **EXACT)
for op in ("Abs", "Neg"):
    for dtype in (i8, i16):
        case(op, lambda x, f=getattr(raw, op), t=dtype: tf.cast(f(x=tf.cast(x, t)), i32), [spec([None], i32)], [], f"carried_{dtype.name}",
             values=(([0, 1, -1, 127, -127, -128, 32767, -32768],),))
for dtype in (bf16, f64):
    for op in ("AddV2", "Sub", "Mul", "RealDiv"):
        case(op, lambda x, y, f=getattr(raw, op), t=dtype: tf.cast(f(x=tf.cast(x, t), y=tf.cast(y, t)), f32), [spec([None, 64])] * 2, [[[40, 64]] * 2],
             f"carried_{dtype.name}", low=-9, high=9, **EXACT)
    for op in ("Abs", "Neg", "Floor", "Ceil"):
        case(op, lambda x, f=getattr(raw, op), t=dtype: tf.cast(f(x=tf.cast(x, t)), f32), MATRIX, ROWS, f"carried_{dtype.name}", low=-9, high=9, **EXACT)
    case("Sqrt", lambda x, t=dtype: tf.cast(tf.sqrt(tf.cast(x, t)), f32), MATRIX, ROWS, f"carried_{dtype.name}", low=0, high=9, **EXACT)
    case("Relu", lambda x, t=dtype: tf.cast(tf.nn.relu(tf.cast(x, t)), f32), MATRIX, ROWS, f"carried_{dtype.name}", **EXACT)
case("AddV2", lambda x: tf.cast(tf.cast(x, bf16) * tf.cast(1.1, bf16) + tf.cast(x, bf16) + tf.constant(0.3, bf16), f32), MATRIX, ROWS,
     "carried_bfloat16_chain", **EXACT)
case("AddV2", lambda x: tf.cast(tf.cast(x, f64) + tf.constant(2.5, f64), f32), MATRIX, ROWS, "carried_float64_constant", **EXACT)
case("AddV2", lambda x: tf.cast(tf.cast(x, f64) + tf.constant(0.1, f64), f32), MATRIX, ROWS, "carried_float64_long_constant", **EXACT)
case("Mul", lambda x: tf.cast(tf.cast(x, f64) * tf.cast(x, f64) * tf.cast(x, f64), f32), MATRIX, ROWS, "carried_float64_chain", **EXACT)
# One step of bfloat16's is 2^-8: a sum in another order may round to the next number.
for op in ("Exp", "Tanh", "Log"):
    case(op, lambda x, f=getattr(raw, op): tf.cast(f(x=tf.cast(x, bf16)), f32), MATRIX, ROWS, "carried_bfloat16", low=0.5, high=4, rtol=1e-2)
case("MatMul", lambda x: tf.cast(tf.matmul(tf.cast(x, bf16), tf.cast(weights(4, 5), bf16)), f32), MATRIX, ROWS, "carried_bfloat16", rtol=1e-2, atol=1e-2)
case("BiasAdd", lambda x: tf.cast(tf.nn.relu(tf.nn.bias_add(tf.matmul(tf.cast(x, bf16), tf.cast(weights(4, 5), bf16)), tf.cast(weights(5), bf16))), f32),
     MATRIX, ROWS, "carried_bfloat16", rtol=2e-2, atol=2e-2)
