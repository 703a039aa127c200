"""Steps of random graphs that multiply matrices, and those on images (random_table.py)."""

import numpy as np
import tensorflow as tf
from random_graphs import f32, i32
from random_table import op


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
    labels = "...i,ij->...j" if tuple(map(int, tf.__version__.split(".")[:2])) >= (2, 20) else "{0}i,ij->{0}j".format("abcd"[: x.rank - 1])
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
