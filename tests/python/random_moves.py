"""Steps of random graphs that read and make shapes, and move elements (random_table.py)."""

import numpy as np
import tensorflow as tf
from random_elements import ties
from random_graphs import b, f16, f32, i32, i64
from random_table import op

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
