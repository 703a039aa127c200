"""The steps that random_graphs.py grows its graphs by: for each, how to choose what it takes.

A proposal gives `(inputs, function of their tensors)`, with a third entry for the name of the choice, or None where no value
fits. Whatever it draws is drawn before the function is made: the function runs several times.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from random_graphs import b, f16, f32, f64, i32, i64

raw = tf.raw_ops


@dataclasses.dataclass
class Op:
    name: str
    propose: Callable
    weight: float
    exact: bool  # rounds nothing
    shape: bool  # reads only the shapes of what it takes


OPS: list[Op] = []


def op(weight=1.0, exact=False, shape=False):
    def add(propose):
        OPS.append(Op(propose.__name__, propose, weight, exact, shape))
        return propose

    return add


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


# Shapes, and arithmetic with them.
ANY = (f32, f32, f32, i32, b, i64, f16)


@op(2.5, exact=True, shape=True)
def size_of(g):
    x = g.pick(ANY, range(1, 7))
    if not x:
        return None
    axis, kind = g.number(-x.rank, x.rank - 1), g.number(0, 4)
    if kind == 0:
        return [x], tf.shape, "shape"
    if kind == 1:
        return [x], tf.size, "size"
    if kind == 2:
        return [x], lambda x: tf.shape(x, out_type=i64)[axis], "int64"
    return [x], lambda x: tf.shape(x)[axis]


@op(3, exact=True)
def host_arithmetic(g):
    s = g.pick((i32, i64), (0, 1), where=lambda v: v.host)
    if not s:
        return None
    n = g.choice([2, 3, -2, 1])
    return [s], g.choice([lambda s: s * n, lambda s: s + n, lambda s: s // n, lambda s: s % n, lambda s: tf.maximum(s, n), lambda s: s - n,
                          lambda s: -s,
                          lambda s: tf.reduce_prod(s) if s.shape.rank else s * s])


@op(2, exact=True)
def host_pack(g):
    s, t = (g.pick((i32,), (0,), where=lambda v: v.host) for _ in range(2))
    return s and ([s, t], g.choice([lambda s, t: tf.stack([s, t]), lambda s, t: tf.stack([s, 3, t]), lambda s, t: tf.concat([[s], [2], [t]], 0),
                                    lambda s, t: s + t]))


def bounded(s, most):
    """A size from 1 to `most` out of any integer."""
    return tf.cast(s, i32) % most + 1


@op(2, exact=True)
def from_size(g):
    s = g.pick((i32, i64), (0,), where=lambda v: v.host)
    if not s:
        return None
    fill, most = float(g.number(-3, 3)), g.number(1, 6)
    return [s], *g.choice([
        (lambda s: tf.range(bounded(s, most)), "range"), (lambda s: tf.range(bounded(s, most), -2, -2), "range down"),
        (lambda s: tf.cast(tf.range(bounded(s, most)), f32) * 0.5, "ramp"), (lambda s: tf.fill([bounded(s, most), 3], fill), "fill"),
        (lambda s: tf.zeros([2, bounded(s, most)]), "zeros"), (lambda s: tf.linspace(0.0, tf.cast(s, f32), 5), "linspace"),
        (lambda s: tf.one_hot(tf.range(bounded(s, most)), 4), "eye"), (lambda s: tf.range(0.0, tf.cast(bounded(s, most), f32), 0.5), "float range"),
    ])


@op(2.5, exact=True)
def by_size(g):
    """A value whose shape is changed by a size."""
    s, x = g.pick((i32,), (0,), where=lambda v: v.host), g.pick((f32, i32), range(1, 5))
    if not s or not x:
        return None
    most = g.number(1, 3)
    return [x, s], *g.choice([
        (lambda x, s: tf.tile(x, [bounded(s, most)] + [1] * (len(x.shape) - 1)), "tile"),
        (lambda x, s: tf.broadcast_to(x, tf.concat([[bounded(s, most)], tf.shape(x)], 0)), "broadcast_to"),
        (lambda x, s: x[: bounded(s, most)], "head"), (lambda x, s: x[-bounded(s, most) :], "tail"),
        (lambda x, s: tf.pad(x, [[0, s % most]] + [[0, 0]] * (len(x.shape) - 1)), "pad"),
        (lambda x, s: x[..., s % most :: 2], "from"), (lambda x, s: x * tf.cast(s, x.dtype), "times"), (lambda x, s: tf.roll(x, s, 0), "roll"),
    ])


@op(2.5, exact=True)
def reshape(g):
    x = g.pick(ANY)
    if not x:
        return None
    kinds = [(lambda x: tf.reshape(x, [-1]), "flat")] if not x.empty() or None in x.known else []
    if x.rank:
        axis = g.number(0, x.rank - 1)
        n = x.known[axis]
        sizes = lambda x: tf.unstack(tf.shape(x), num=len(x.shape))
        kinds.append((lambda x: tf.reshape(x, [*sizes(x)[:axis], 1, *sizes(x)[axis:]]), "new axis"))
        if n and n > 1 and n % 2 == 0:
            kinds.append((lambda x: tf.reshape(x, [*sizes(x)[:axis], 2, n // 2, *sizes(x)[axis + 1 :]]), "split axis"))
            if not x.empty():
                kinds.append((lambda x: tf.reshape(x, [*sizes(x)[:axis], -1, 2, *sizes(x)[axis + 1 :]]), "split axis by -1"))
        if axis + 1 < x.rank:
            kinds.append((lambda x: tf.reshape(x, [*sizes(x)[:axis], sizes(x)[axis] * sizes(x)[axis + 1], *sizes(x)[axis + 2 :]]), "merged axes"))
            kinds.append((lambda x: tf.reshape(x, tf.concat([tf.shape(x)[:axis], [tf.reduce_prod(tf.shape(x)[axis:])]], 0)), "merged rest"))
            kinds.append((lambda x: tf.reshape(x, tf.reverse(tf.shape(x), [0])), "reversed"))
        if not x.empty():
            kinds.append((lambda x: tf.reshape(x, [tf.shape(x)[0], -1]), "rows"))
    return kinds and ([x], *g.choice(kinds)) or None


@op(1, exact=True)
def expand(g):
    x = g.pick(ANY, range(0, 6))
    axis = x and g.number(-x.rank - 1, x.rank)
    return x and ([x], lambda x: tf.expand_dims(x, axis))


@op(1, exact=True)
def squeeze(g):
    x = g.pick(ANY, range(1, 7), where=lambda v: 1 in v.known)
    if not x:
        return None
    axis = g.choice([i for i, d in enumerate(x.known) if d == 1])
    return [x], lambda x: tf.squeeze(x, [axis])


@op(2, exact=True)
def transpose(g):
    x = g.pick(ANY, range(2, 7))
    if not x:
        return None
    perm = [int(a) for a in g.rng.permutation(x.rank)]
    if x.rank == 4 and g.chance(0.5):
        perm = g.choice([[0, 3, 1, 2], [0, 2, 3, 1]])
    return [x], lambda x: tf.transpose(x, perm), str(perm)


@op(1, exact=True)
def rearranged(g):
    x = g.pick((f32, f32, i32, b), range(1, 6))
    if not x:
        return None
    axis, n, dtype = g.number(-x.rank, x.rank - 1), g.number(-3, 7), x.dtype
    kinds = [(lambda x: tf.reverse(x, [axis]), "reverse"), (lambda x: tf.roll(x, n, axis), "roll"), (lambda x: tf.repeat(x, 2, axis), "repeat")]
    if dtype != b:
        before, after = g.constant([x.rank], i32) % 3, g.constant([x.rank], i32) % 2
        kinds.append((lambda x: tf.pad(x, np.stack([before, after], 1), constant_values=tf.cast(n, dtype)), "pad"))
        kinds.append((lambda x: tf.tile(x, [2 if a == axis % len(x.shape) else 1 for a in range(len(x.shape))]), "tile"))
    if dtype == f32 and x.least(axis) > 2:
        kinds.append((lambda x: tf.pad(x, [[2, 1] if a == axis % len(x.shape) else [0, 0] for a in range(len(x.shape))], "REFLECT"), "mirror"))
    return [x], *g.choice(kinds)


# Parts and pieces.
@op(2.5, exact=True)
def brackets(g):
    x = g.pick(ANY, range(1, 6))
    if not x:
        return None
    items, axis, shown = [], 0, []
    while axis < x.rank:
        least, kind = x.least(axis), g.number(0, 9)
        if kind == 0 and least > 0:
            items.append(g.number(-least, least - 1))
        elif kind <= 2 and least > 0:
            items.append(slice(g.number(-least, least - 1), None, g.choice([None, 1, 2])))
        elif kind == 3:
            items.append(slice(None, None, g.choice([-1, -2])))
        elif kind == 4 and least > 0:
            items.append(slice(g.number(0, least - 1), g.choice([None, 100, least]), g.choice([None, 2, 3])))
        elif kind == 5 and least > 1:
            items.append(slice(-1, g.choice([None, -100, 0, -least]), -1))
        elif kind == 6 and x.rank < 6:
            items.append(tf.newaxis)
            continue
        elif kind == 7 and Ellipsis not in items:
            items.append(Ellipsis)
            axis += g.number(0, x.rank - axis)
            continue
        else:
            items.append(slice(None))
        axis += 1
    return [x], lambda x: x[tuple(items)], str(items).replace("slice", "")


@op(0.7, exact=True)
def slice_by_size(g):
    x = g.pick(ANY, range(1, 5), where=lambda v: not v.empty())
    if not x:
        return None
    axis, rank = g.number(0, x.rank - 1), x.rank
    begin = lambda n: [n if a == axis else 0 for a in range(rank)]
    return [x], *g.choice([
        (lambda x: tf.slice(x, begin(tf.shape(x)[axis] - 1), [-1] * rank), "last"),
        (lambda x: tf.slice(x, begin(tf.shape(x)[axis] // 2), [-1] * rank), "second half"),
        (lambda x: tf.slice(x, [0] * rank, [(tf.shape(x)[axis] + 1) // 2 if a == axis else -1 for a in range(rank)]), "first half"),
    ])


@op(2, exact=True)
def gather(g):
    x = g.pick((f32, f32, i32, b), range(1, 6))
    if not x:
        return None
    axis = g.number(0, x.rank - 1)
    if x.least(axis) == 0:
        return None
    indices = g.pick((i32, i64), range(0, 3))
    if indices and g.chance(0.7):
        if g.chance(0.5):
            axis -= x.rank
        return [x, indices], lambda x, i: tf.gather(x, tf.math.floormod(i, tf.shape(x, out_type=i.dtype)[axis]), axis=axis), f"axis {axis}"
    constant = g.rng.integers(0, x.least(axis), g.choice([[], [3], [2, 2]]))
    return [x], lambda x: tf.gather(x, constant, axis=axis), f"constant, axis {axis}"


@op(0.7, exact=True)
def gather_nd(g):
    x = g.pick((f32, f32, i32), range(1, 5), where=lambda v: not v.empty())
    if not x:
        return None
    depth = g.number(1, x.rank)
    indices = np.stack([g.rng.integers(0, x.least(a), [3]) for a in range(depth)], -1)
    return [x], lambda x: tf.gather_nd(x, indices)


@op(0.7, exact=True)
def take_along(g):
    """Batched: the largest ones' neighbours."""
    x = g.pick(ranks=range(2, 4), where=lambda v: not v.empty() and not any(ties(run[0].numpy(), 1) for run in v.runs))
    first = lambda x: tf.argmax(x if len(x.shape) == 2 else x[..., 0], 1, output_type=i32)
    return x and ([x], lambda x: tf.gather(x, first(x), batch_dims=1, axis=1))


@op(0.5, exact=True)
def scatter(g):
    x = g.pick((f32, i32), range(1, 4), where=lambda v: v.least(0) > 1)
    return x and ([x], g.choice([lambda x: tf.tensor_scatter_nd_update(x, [[1], [0]], -x[:2]), lambda x: tf.tensor_scatter_nd_add(x, [[0]], x[1:2])]))


@op(1.5, exact=True)
def concat(g):
    x = g.pick((f32, f32, i32, b), range(1, 6))
    if not x:
        return None
    axis = g.number(-x.rank, x.rank - 1)
    others = lambda shape: [d for a, d in enumerate(shape) if a != axis % len(shape)]
    fits = lambda v: v.rank == x.rank and all(others(p[0].shape) == others(q[0].shape) for p, q in zip(v.runs, x.runs))
    y, n = g.pick((x.dtype,), where=fits), g.choice([[0, 1], [1, 0, 0], [0]])
    return [x, y], lambda *a: tf.concat([a[i] for i in n], axis), f"axis {axis}"


@op(1, exact=True)
def stack(g):
    x = g.pick(ANY, range(0, 5))
    if not x:
        return None
    y = g.pick((x.dtype,), where=lambda v: all(p[0].shape == q[0].shape for p, q in zip(v.runs, x.runs)))
    axis = g.number(-x.rank - 1, x.rank)
    if x is y and any(x.id in step.outputs[1:] for step in g.steps):
        return None  # TensorFlow 2.21 makes a Tile of the stack, and takes the step's first output for it: `tf.stack([b, b])` fails natively.
    return [x, y], lambda x, y: tf.stack([y, x], axis), f"axis {axis}"


@op(1.5, exact=True)
def pieces(g):
    x = g.pick((f32, f32, i32), range(1, 6), where=lambda v: any(d and d > 1 for d in v.known))
    if not x:
        return None
    axis = g.choice([a for a, d in enumerate(x.known) if d and d > 1])
    n = x.known[axis]
    axis -= x.rank * g.number(0, 1)
    kinds = [(lambda x: tf.split(x, [1, n - 1], axis), "sizes"), (lambda x: tf.split(x, [n - 1, -1], axis), "sizes and -1")]
    kinds += [(lambda x: tf.split(x, 2, axis), "halves")] * (n % 2 == 0) + [(lambda x: tf.unstack(x, axis=axis)[:3], "unstacked")]
    return [x], *g.choice(kinds)


@op(0.7, exact=True)
def one_hot(g):
    x = g.pick((i32, i64), range(0, 4))
    if not x:
        return None
    depth, axis, on = g.number(1, 5), g.choice([-1, 0]), g.choice([(1.0, 0.0), (2.5, -1.0)])
    return [x], lambda x: tf.one_hot(x, depth, *on, axis=axis)


# Products.
def spoils(x, rank) -> bool:
    """Whether TensorFlow's own kernel writes where it may not in the product of `x` and a tensor of another rank: with oneDNN, 2.21 ends
    at some point of `tf.matmul(tf.ones([3, 1, 6, 2]), tf.ones([2, 1]))` in a loop, with a spoilt heap. Not with TF_ENABLE_ONEDNN_OPTS=0."""
    return x.rank == 4 and rank < 4 and 1 in x.sizes(1)


@op(2)
def dense(g):
    x = g.pick(ranks=range(2, 6), where=lambda v: v.known[-1])
    if not x:
        return None
    w = g.constant([x.known[-1], g.number(1, 6)], scale=0.5)
    if x.rank == 2:
        return [x], *g.choice([(lambda x: tf.matmul(x, w), "matmul"), (lambda x: tf.matmul(x, w.T, transpose_b=True), "by transposed"),
                               (lambda x: tf.nn.relu(tf.nn.bias_add(tf.matmul(x, w), w[0])), "layer")])
    # Until TensorFlow 2.19 its own Einsum with an ellipsis is wrong here where oneDNN runs it (TF_ENABLE_ONEDNN_OPTS).
    labels = "...i,ij->...j" if tf.__version__ >= "2.20" else "{0}i,ij->{0}j".format("abcd"[: x.rank - 1])
    name, product = g.choice([("tensordot", lambda x: tf.tensordot(x, w, 1)), ("batch", lambda x: tf.matmul(x, w)),
                              ("einsum", lambda x: tf.einsum(labels, x, w))])
    unfit = {"batch": spoils(x, 2), "einsum": x.empty()}  # ONNX Runtime has no Einsum of nothing: such a call runs natively.
    return None if unfit.get(name) else ([x], product, name)


@op(1.5)
def products(g):
    x = g.pick(ranks=range(2, 5))
    if not x:
        return None
    return [x], *g.choice([(lambda x: tf.matmul(x, x, transpose_b=True), "with its transpose"),
                           (lambda x: tf.matmul(x, x, transpose_a=True), "of its transpose"),
                           (lambda x: tf.nn.softmax(tf.matmul(x, x, transpose_b=True) * 0.3) @ x, "attention")])


@op(1)
def product(g):
    x = g.pick(ranks=range(2, 5))
    y = x and g.pick(ranks=range(2, 5), where=lambda v: v.sizes(-2) == x.sizes(-1) and stretches_but(2, x, v))
    return None if not y or spoils(x, y.rank) or spoils(y, x.rank) else ([x, y], tf.matmul)


def stretches_but(last, x, y):
    try:
        return all(np.broadcast_shapes(p[0].shape[:-last], q[0].shape[:-last]) is not None for p, q in zip(x.runs, y.runs))
    except ValueError:
        return False


@op(1)
def einsum(g):
    x = g.pick(ranks=(2, 3, 4), where=lambda v: None not in v.known[-2:] and not v.empty())
    if not x:
        return None
    w = g.constant([x.known[-1], 2, 3], scale=0.5)
    letters = "abcd"[: x.rank]
    last = letters[-1]
    equations = [f"{letters},{last}xy->{letters[:-1]}xy", f"{letters},{last}xy->x{letters[:-1]}y", f"{letters},{last}xy->y{letters[:-1]}"]
    equation = g.choice(equations)
    if x.rank == 3 and g.chance(0.4):
        return [x], lambda x: tf.einsum("abc,adc->abd", x, x), "abc,adc->abd"
    return [x], lambda x: tf.einsum(equation, x, w), equation


# Images.
def image(g, least=1):
    return g.pick(ranks=(4,), where=lambda v: v.known[-1] and v.least(1) >= least and v.least(2) >= least and not v.empty())


@op(2.5)
def convolution(g):
    k = g.choice([1, 2, 3])
    x = image(g, k)
    if not x:
        return None
    c, padding, stride = x.known[-1], g.choice(["SAME", "VALID"]), g.choice([1, 1, 2])
    w, depth = g.constant([k, k, c, g.choice([2, 4])], scale=0.4), g.constant([k, k, c, g.choice([1, 2])], scale=0.4)
    bias = g.constant([w.shape[-1]])
    dilation = 2 if min(x.least(1), x.least(2)) >= 2 * k else 1
    return [x], *g.choice([
        (lambda x: tf.nn.conv2d(x, w, stride, padding), "conv"),
        (lambda x: tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, w, stride, padding), bias)), "layer"),
        (lambda x: tf.nn.depthwise_conv2d(x, depth, [1, stride, stride, 1], padding), "depthwise"),
        (lambda x: tf.nn.conv2d(x, w, 1, padding, dilations=dilation), "dilated"),
    ])


@op(1.5, exact=False)
def pooling(g):
    k = g.choice([1, 2, 3])
    x = image(g, k)
    if not x:
        return None
    f, padding, stride = g.choice([tf.nn.max_pool2d, tf.nn.avg_pool2d]), g.choice(["SAME", "VALID"]), g.choice([1, 2])
    return [x], lambda x: f(x, k, stride, padding)


@op(2)
def image_work(g):
    x = image(g)
    if not x:
        return None
    c, flip = x.known[-1], g.chance(0.5)
    mean, scale, bias = g.constant([c]), g.constant([c]), g.constant([c])
    size = [g.number(2, 9), g.number(2, 9)]
    kinds = [
        (lambda x: tf.compat.v1.nn.fused_batch_norm(x, scale, bias, mean, np.abs(scale) + 0.5, is_training=False)[0], "batch norm"),
        (lambda x: tf.nn.bias_add(x, bias), "bias"), (lambda x: x * tf.sigmoid(tf.reduce_mean(x, [1, 2], keepdims=True)), "excite"),
        (lambda x: tf.image.resize(x, size), "bilinear"), (lambda x: tf.image.resize(x, size, "nearest"), "nearest"),
        (lambda x: tf.compat.v1.image.resize_bilinear(x, size, align_corners=flip), "old bilinear"),
        (lambda x: tf.nn.lrn(x), "lrn"), (lambda x: tf.reduce_mean(x, [1, 2]), "global mean"),
        (lambda x: tf.nn.conv2d_transpose(x, np.ones([2, 2, 3, c], np.float32) * 0.3,
                                          tf.stack([tf.shape(x)[0], tf.shape(x)[1] * 2, tf.shape(x)[2] * 2, 3]), 2, "SAME"), "transposed"),
    ]
    kinds += [(lambda x: tf.nn.depth_to_space(x, 2), "depth to space")] * (c % 4 == 0)
    if all(s % 2 == 0 for a in (1, 2) for s in x.sizes(a)):
        kinds.append((lambda x: tf.nn.space_to_depth(x, 2), "space to depth"))
        kinds.append((lambda x: tf.space_to_batch(x, [2, 2], [[0, 0], [0, 0]]), "space to batch"))
    return [x], *g.choice(kinds)


@op(0.6, exact=True)
def matrix_part(g):
    x = g.pick((f32, i32), range(2, 5), where=lambda v: not v.empty())
    if not x:
        return None
    low, high = g.number(-1, 2), g.number(-1, 2)
    return [x], *g.choice([(lambda x: tf.linalg.band_part(x, low, high), "band"), (lambda x: tf.linalg.diag_part(x), "diagonal")])
