"""Steps of random graphs through the types that engines carry in others (random_table.py): each casts, does a few things there, and casts back."""

import numpy as np
import tensorflow as tf
from random_graphs import b, f16, f32, f64, i32, i64
from random_table import op

bf16 = tf.bfloat16
NARROW = [tf.int8, tf.uint8, tf.int16, tf.uint16]


def constant(value, dtype):
    return np.asarray(value).astype(dtype.as_numpy_dtype)


def links(g, dtype, shape) -> dict:
    """What may be done with a tensor of this type and rank, by name. `shape` is what is known of its shape: rank, and None where open."""
    low, high = (0, 100) if dtype.is_integer and dtype.min == 0 else (-100, 100)
    scalar = lambda: constant(g.number(low, high), dtype)
    row = constant(g.rng.integers(low, high + 1, [shape[-1]]), dtype) if shape and shape[-1] else scalar()
    c, d, many = scalar(), scalar(), g.number(2, 3)
    made = {
        "add": lambda x: x + row, "sub": lambda x: c - x, "mul": lambda x: x * row, "double": lambda x: x + x,
        "maximum": lambda x: tf.maximum(x, c), "minimum": lambda x: tf.minimum(x, c), "where": lambda x: tf.where(x > c, x, d),
        "negative": tf.negative, "relu": tf.nn.relu, "flat": lambda x: tf.reshape(x, [-1]), "deeper": lambda x: tf.expand_dims(x, 0),
        "same": tf.identity, "like": lambda x: x - tf.ones_like(x),
    }
    if dtype.is_floating:
        # Of integers TensorFlow's own optimizer makes a SquaredDifference, where there is a difference before, which has no kernel for them.
        made["square"] = tf.square
    if shape:
        made |= {
            "reverse": lambda x: tf.reverse(x, [0]), "concat": lambda x: tf.concat([x, x], -1), "tile": lambda x: tf.tile(x, [many] + [1] * (len(x.shape) - 1)),
            "slice": lambda x: x[..., ::2], "transpose": tf.transpose, "pad": lambda x: tf.pad(x, [[1, 1]] + [[0, 0]] * (len(x.shape) - 1), constant_values=d),
            "gather": lambda x: tf.gather(x, [0, 0], axis=0),
        }
    return made


def through(g, x, dtype, back):
    """`x` as `dtype`, one to three things done to it, and what it is then: cast back, or compared."""
    chosen, known = [], x.known
    for _ in range(g.number(1, 3)):
        fitting = links(g, dtype, known)
        chosen.append(g.choice(list(fitting.items())))
        # What changes the last size or the rank: the next one knows no size.
        if chosen[-1][0] not in ("add", "sub", "mul", "double", "square", "maximum", "minimum", "where", "negative", "relu", "same", "like"):
            known = []
    end, bound = g.choice([*back, b]), constant(g.number(0, 50), dtype)

    def run(value):
        value = tf.cast(value, dtype)
        for _, link in chosen:
            value = link(value)
        return value <= bound if end == b else tf.cast(value, end)

    return [x], run, "_".join([dtype.name, *(name for name, _ in chosen), end.name])


def unmoved(value) -> bool:
    """Whether the value stands on no rounding: rounded again, coarsely, it is the same on both sides."""
    return all((variant == run[0]).numpy().all() for run in value.runs for variant in run[1:])


@op(1, exact=True)
def narrow(g):
    x = g.pick((i32, i64))
    return x and through(g, x, g.choice(NARROW), [f32, i32, i64])


@op(0.5, exact=True)
def narrow_of_floats(g):
    """Within the type: of floats beyond it TensorFlow's own answers differ."""
    x, dtype = g.pick((f32, f16), where=unmoved), g.choice(NARROW)
    if x is None:
        return None
    inputs, run, name = through(g, x, dtype, [f32, i32])
    low = 0.0 if dtype.min == 0 else -100.0
    return inputs, lambda value: run(tf.clip_by_value(value, tf.cast(low, value.dtype), tf.cast(100.0, value.dtype))), name


@op(1, exact=True)
def brain_floats(g):
    x = g.pick((f32, i32, f16), where=unmoved)
    return x and through(g, x, bf16, [f32, f16] if np.abs(x.runs[0][0]).max(initial=0) < 10 else [f32])


@op(0.7)
def doubles(g):
    x = g.pick((f32, i32))
    return x and through(g, x, f64, [f32])
