"""Steps of random graphs that work on single elements, and those that reduce, count or normalise (random_table.py)."""

import numpy as np
import tensorflow as tf
from random_graphs import b, f16, f32, f64, i32, i64
from random_table import op

raw = tf.raw_ops

# Of one element.
SMOOTH = {
    "tanh": tf.tanh, "sigmoid": tf.sigmoid, "sin": tf.sin, "cos": tf.cos, "erf": tf.math.erf, "softplus": tf.nn.softplus, "elu": tf.nn.elu,
    "selu": tf.nn.selu, "softsign": tf.nn.softsign, "square": tf.square, "atan": tf.atan, "asinh": tf.math.asinh,
    "exp": lambda x: tf.exp(tf.clip_by_value(x, -4.0, 3.0)), "log": lambda x: tf.math.log(tf.abs(x) + 0.5), "sqrt": lambda x: tf.sqrt(tf.abs(x)),
    "rsqrt": lambda x: tf.math.rsqrt(tf.abs(x) + 0.5), "expm1": lambda x: tf.math.expm1(tf.minimum(x, 3.0)),
    "log1p": lambda x: tf.math.log1p(tf.abs(x)),
    "reciprocal": lambda x: tf.math.reciprocal(x * x + 0.5), "tan": lambda x: tf.tan(tf.clip_by_value(x, -1.0, 1.0)), "gelu": tf.nn.gelu,
    "swish": tf.nn.silu, "sinh": lambda x: tf.sinh(tf.clip_by_value(x, -3.0, 3.0)), "xlogy": lambda x: tf.math.xlogy(x, tf.abs(x) + 0.25),
}
EXACT = {
    "abs": tf.abs, "neg": tf.negative, "relu": tf.nn.relu, "relu6": tf.nn.relu6, "half": lambda x: x * 0.5,
    "leaky": lambda x: tf.nn.leaky_relu(x, 0.25),
    "clip": lambda x: tf.clip_by_value(x, -1.0, 0.75), "identity": tf.identity, "zeros_like": tf.zeros_like, "ones_like": tf.ones_like,
    "stop": lambda x: tf.stop_gradient(x + 1.0),
}
STEPS = {"floor": tf.floor, "ceil": tf.math.ceil, "round": tf.round, "rint": tf.math.rint, "sign": tf.sign}


@op(4)
def smooth(g):
    name, x = g.choice(list(SMOOTH)), g.pick()
    return x and ([x], SMOOTH[name], name)


@op(2, exact=True)
def exact(g):
    name, x = g.choice(list(EXACT)), g.pick()
    return x and ([x], EXACT[name], name)


@op(1, exact=True)
def steps(g):
    name, x = g.choice(list(STEPS)), g.pick()
    return x and ([x], STEPS[name], name)


# Of two, broadcast together.
def stretches(x, y):
    """Whether the two have shapes that are broadcast together, in each shape set."""
    try:
        return all(np.broadcast_shapes(r[0].shape, q[0].shape) is not None for r, q in zip(x.runs, y.runs))
    except ValueError:
        return False


def partner(g, x):
    """Something to be broadcast against `x`: another value, a constant, or a part of `x`; as `(more inputs, function)`."""
    kind = g.number(0, 3)
    if kind == 0:
        y = g.pick((x.dtype,), where=lambda v: stretches(x, v))
        if y:
            return [y], lambda x, y: y
    if kind == 1 and x.rank:
        axis = g.number(-x.rank, x.rank - 1)
        if x.dtype.is_floating or not x.empty():
            reduce = g.choice([tf.reduce_max, tf.reduce_min]) if not x.empty() else tf.reduce_sum
            return [], lambda x: reduce(x, axis, keepdims=True)
    dims = [d if d is not None and g.chance(0.6) else 1 for d in x.known]
    if g.chance(0.1):
        dims = [2, *[1] * len(dims)]
    constant = g.constant(dims[g.number(0, len(dims)) :], x.dtype)
    return [], lambda *_: constant


def binary(g, x, functions):
    name = g.choice(list(functions))
    more, other = partner(g, x)
    f, swap = functions[name], g.chance(0.3)
    return [x, *more], (lambda *a: f(other(*a), a[0])) if swap else (lambda *a: f(a[0], other(*a))), name


ARITHMETIC = {"add": tf.add, "sub": tf.subtract, "mul": tf.multiply, "max": tf.maximum, "min": tf.minimum,
              "squared_difference": tf.math.squared_difference}
DIVISION = {
    "div": lambda x, y: x / (tf.abs(y) + 0.5), "div_no_nan": lambda x, y: tf.math.divide_no_nan(x, tf.nn.relu(y) + tf.sign(tf.nn.relu(y))),
    "floordiv": lambda x, y: tf.math.floordiv(x, tf.abs(y) + 0.7), "floormod": lambda x, y: tf.math.floormod(x, tf.abs(y) + 0.7),
    "negative_mod": lambda x, y: tf.math.floormod(x, -0.7 - tf.abs(y)),
    "truncatemod": lambda x, y: raw.TruncateMod(x=x, y=tf.abs(y) + 0.7 + tf.zeros_like(x)),
    "pow": lambda x, y: tf.pow(tf.abs(x) + 0.5, tf.clip_by_value(y, -2.0, 2.0)), "mul_no_nan": tf.math.multiply_no_nan,
    "xdivy": lambda x, y: tf.math.xdivy(x, tf.abs(y) + 0.5), "add_n": lambda x, y: tf.add_n([x + y, y + x, x - y]),
}


def divisor(y):
    return tf.where(tf.equal(y, 0), tf.constant(3, y.dtype), tf.convert_to_tensor(y))


INTEGER_DIVISION = {
    "floordiv": lambda x, y: tf.math.floordiv(x, divisor(y)), "floormod": lambda x, y: tf.math.floormod(x, divisor(y)),
    "truncatediv": lambda x, y: raw.TruncateDiv(x=x, y=divisor(y)), "truncatemod": lambda x, y: raw.TruncateMod(x=x, y=divisor(y)),
}
COMPARISON = {"less": tf.less, "less_equal": tf.less_equal, "greater": tf.greater, "greater_equal": tf.greater_equal}
EQUALITY = {"equal": tf.equal, "not_equal": tf.not_equal}
LOGIC = {"and": tf.logical_and, "or": tf.logical_or, "not": lambda x, y: tf.logical_not(x), "equal": tf.equal}


@op(4)
def arithmetic(g):
    x = g.pick()
    return x and binary(g, x, ARITHMETIC)


@op(1.5)
def division(g):
    x = g.pick()
    return x and binary(g, x, DIVISION)


@op(2)
def integers(g):
    x = g.pick((i32, i64))
    return x and binary(g, x, {**ARITHMETIC, **INTEGER_DIVISION, **INTEGER_DIVISION})


@op(0.5)
def integer_unary(g):
    x = g.pick((i32, i64))
    return x and ([x], g.choice([tf.abs, tf.negative, tf.sign, tf.square]))


@op(1.5)
def comparison(g):
    x = g.pick((f32, f32, i32))
    return x and binary(g, x, COMPARISON if x.dtype == f32 else {**COMPARISON, **EQUALITY})


@op(1)
def logic(g):
    x = g.pick((b,))
    return x and binary(g, x, LOGIC)


@op(1.5, exact=True)
def select(g):
    c = g.pick((b,))
    x = c and g.pick((f32, i32), where=lambda v: stretches(c, v))
    if not x:
        return None
    more, other = partner(g, x)
    return [c, x, *more], lambda c, *a: tf.where(c, a[0], other(*a))


@op(0.5, exact=True)
def select_rows(g):
    x = g.pick((f32, i32), range(1, 5))
    if not x or x.empty():
        return None
    return [x], lambda x: raw.Select(condition=tf.reduce_any(tf.reshape(x, [tf.shape(x)[0], -1]) > tf.zeros([], x.dtype), 1), x=x, y=-x)


# Types.
CASTS = [(f32, i32), (i32, f32), (i32, f32), (b, f32), (b, i32), (f32, b), (i32, b), (i32, i64), (i64, i32), (i64, f32), (f32, i64)]


@op(2, exact=True)
def cast(g):
    source, target = g.choice(CASTS)
    x = g.pick((source,))
    return x and ([x], lambda x: tf.cast(x, target), f"{source.name} to {target.name}")


@op(0.7, exact=True)
def scale_to_integers(g):
    x = g.pick()
    return x and ([x], lambda x: tf.cast(tf.clip_by_value(x, -100.0, 100.0) * 4.0, i32))


@op(0.6)
def half_detour(g):
    """Through float16 and back: the rounding to half is the disturbance's to see."""
    x, f = g.pick(), g.choice([lambda x: x, tf.nn.relu, tf.tanh, lambda x: x + x])
    return x and ([x], lambda x: f(tf.cast(tf.clip_by_value(x, -9.0, 9.0), f16)))


@op(0.8)
def half(g):
    x = g.pick((f16,))
    back = lambda x, y: tf.cast(x, f32)
    return x and binary(g, x, {"add": tf.add, "mul": tf.multiply, "max": tf.maximum, "back": back, "again": back})


# What no engine takes, so that there are several.
NATIVE = {
    "lgamma": lambda x: tf.math.lgamma(tf.abs(x) + 0.5), "digamma": lambda x: tf.math.digamma(tf.abs(x) + 0.5),
    "erfinv": lambda x: tf.math.erfinv(tf.tanh(x) * 0.9),
    "double": lambda x: tf.cast(tf.sin(tf.cast(x, f64)) * 2.0, f32), "next": lambda x: tf.math.lgamma(tf.sigmoid(x) + 1.0),
}


@op(0.8)
def native(g):
    name, x = g.choice(list(NATIVE)), g.pick()
    return x and ([x], NATIVE[name], name)


# Reductions.
def axes(g, x):
    count = g.number(1, x.rank)
    chosen = [int(a) for a in g.rng.permutation(x.rank)[:count]]
    return [a - x.rank if g.chance(0.4) else a for a in chosen]


@op(2)
def reduction(g):
    x = g.pick((f32, f32, i32), range(1, 7))
    if not x:
        return None
    names = {"sum": tf.reduce_sum, "max": tf.reduce_max, "min": tf.reduce_min, "prod": tf.reduce_prod}
    if x.dtype == f32:
        names |= {"mean": tf.reduce_mean, "norm": tf.math.reduce_euclidean_norm, "logsumexp": tf.reduce_logsumexp,
                  "variance": tf.math.reduce_variance}
    name, over, keep = g.choice(list(names)), axes(g, x), g.chance(0.5)
    if name == "prod" and not small_product(x):
        return None
    return [x], lambda x: names[name](x, over, keepdims=keep), f"{name} over {over}"


def small_product(x):
    """Whether int32 holds the product of all elements: beyond it TensorFlow wraps around, and ONNX Runtime does not."""
    return all(np.abs(run[0].numpy().astype(np.float64)).clip(1).prod() < 2**31 for run in x.runs)


@op(0.5)
def reduction_of_bools(g):
    x = g.pick((b,), range(1, 7))
    if not x:
        return None
    f, over, keep = g.choice([tf.reduce_all, tf.reduce_any]), axes(g, x), g.chance(0.5)
    return [x], lambda x: f(x, over, keepdims=keep)


@op(1)
def arg(g):
    x = g.pick((f32, i32), range(1, 7), where=lambda v: not v.empty())
    if not x:
        return None
    f, axis, out = g.choice([tf.argmax, tf.argmin]), g.number(-x.rank, x.rank - 1), g.choice([i32, i32, i64])
    if any(ties(run[0].numpy(), axis) for run in x.runs):
        return None
    return [x], lambda x: f(x, axis, output_type=out)


def ties(x, axis):
    """Whether there are equal elements along the axis: TensorFlow's own threads then do not agree on which is the first one."""
    ordered = np.sort(x, axis)
    return (np.diff(ordered, axis=axis) == 0).any()


@op(0.7)
def cumulative(g):
    x = g.pick((f32, i32), range(1, 6))
    if not x:
        return None
    f, axis, exclusive, reverse = tf.cumsum, g.number(-x.rank, x.rank - 1), g.chance(0.5), g.chance(0.5)
    if x.known[axis] is not None and g.chance(0.3) and small_product(x):
        f = tf.math.cumprod
    return [x], lambda x: f(x, axis, exclusive=exclusive, reverse=reverse)


@op(1)
def softmax(g):
    x = g.pick(ranks=range(1, 6))
    if not x:
        return None
    f, axis = g.choice([tf.nn.softmax, tf.nn.log_softmax]), g.choice([-1, -1, -x.rank])
    return [x], lambda x: f(x, axis)


@op(0.7)
def layer_norm(g):
    x = g.pick(ranks=range(2, 6), where=lambda v: v.least(-1) > 1)

    def norm(x):
        mean = tf.reduce_mean(x, -1, keepdims=True)
        return (x - mean) * tf.math.rsqrt(tf.reduce_mean(tf.math.squared_difference(x, mean), -1, keepdims=True) + 0.1)

    return x and ([x], norm)
