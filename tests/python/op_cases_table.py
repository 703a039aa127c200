"""Cases that whole models brought up: what Keras makes of dense layers over channels, of GELU and of attention, and parts of images."""

import tensorflow as tf
from op_cases import BATCHES, case, f16, f32, raw, spec, weights

for dtype in (f32, f16):
    loose = dict(rtol=4e-3, atol=4e-3) if dtype == f16 else {}
    case("Erfc", lambda x: raw.Erfc(x=x), [spec([None, 3], dtype)], BATCHES, dtype.name, **loose)
case("Erfc", lambda x: 0.5 * x * tf.math.erfc(-x * 0.5**0.5), [spec([None, 3])], BATCHES, "in_gelu", low=-6, high=6)
case("Einsum", lambda x, y: tf.einsum("aA,Ab->ab", x, y), [spec([None, 3]), spec([3, None])], [[[2, 3], [3, 4]]], "both_cases")

IMAGES = [[[1, 6, 5, 3]], [[3, 6, 5, 3]]]


def conv(x, channels, given):
    return tf.nn.conv2d(x, weights(3, 3, channels, given, scale=0.3), 1, "SAME")


def dense(x, channels, given, **options):
    """As Keras: the product through the matrix of all pixels."""
    matrix = tf.reshape(x, [-1, channels])
    shape = weights(given, channels) if options else weights(channels, given)
    return tf.reshape(tf.matmul(matrix, shape, **options), [-1, *x.shape[1:3], given])


FIXED = [spec([None, 6, 5, 3])]
case("MatMul", lambda x: conv(tf.nn.relu(dense(conv(x, 3, 4), 4, 7)), 7, 2), FIXED, IMAGES, "of_pixels", rtol=1e-3, atol=1e-3)
case("MatMul", lambda x: conv(dense(conv(x, 3, 4), 4, 7, transpose_b=True), 7, 2), FIXED, IMAGES, "of_pixels_transposed", rtol=1e-3, atol=1e-3)
case("MatMul", lambda x: conv(tf.tensordot(conv(x, 3, 4), weights(4, 5), [[3], [0]]), 5, 2), FIXED, IMAGES, "tensordot_of_an_image",
     rtol=1e-3, atol=1e-3, fold=True)
# Sizes that nobody knows beforehand: the matrix is made.
case("MatMul", lambda x: conv(tf.reshape(tf.tensordot(conv(x, 3, 4), weights(4, 5), [[3], [0]]), tf.concat([tf.shape(x)[:3], [5]], 0)), 5, 2),
     [spec([None, None, None, 3])], IMAGES, "tensordot_of_an_open_image", rtol=1e-3, atol=1e-3, fold=True)
# The matrix of the pixels goes elsewhere, too, and is not what it was when it comes back.
case("MatMul", lambda x: (lambda m: (tf.nn.softmax(m), conv(tf.reshape(m, [-1, 5, 6, 4]), 4, 2)))(
    tf.matmul(tf.reshape(conv(x, 3, 4), [-1, 4]), weights(4, 4))), FIXED, IMAGES, "of_pixels_put_together_otherwise", rtol=1e-3, atol=1e-3)
case("MatMul", lambda x, w: conv(tf.reshape(tf.matmul(tf.reshape(conv(x, 3, 4), [-1, 4]), w), [-1, 6, 5, 4]), 4, 2),
     [*FIXED, spec([4, 4])], [[[2, 6, 5, 3], [4, 4]]], "of_pixels_by_no_constant", rtol=1e-3, atol=1e-3)
case("Reshape", lambda x: tf.reshape(conv(x, 3, 4), [-1, 4]), FIXED, IMAGES, "to_pixels", rtol=1e-3, atol=1e-3)
case("Reshape", lambda x: tf.shape(tf.reshape(conv(x, 3, 4), [-1, 4]))[0] + 1, FIXED, IMAGES, "how_many_pixels")

# Squeeze and excite: an image of one pixel out of the mean over a whole one.
case("Reshape", lambda x: (lambda y: conv(y * tf.sigmoid(tf.nn.conv2d(tf.reshape(tf.reduce_mean(y, [1, 2]), [-1, 1, 1, 4]), weights(1, 1, 4, 4), 1,
     "SAME")), 4, 2))(conv(x, 3, 4)), FIXED, IMAGES, "squeeze_and_excite", rtol=1e-3, atol=1e-3)
case("Reshape", lambda x: tf.nn.conv2d(tf.reshape(x, [-1, 1, 1, 3]), weights(1, 1, 3, 4), 1, "SAME"), [spec([None, 3])], [[[2, 3]], [[5, 3]]],
     "one_pixel")

# Parts of images between convolutions.
for name, part in [
    ("image", lambda y: y[:, 1:-1, :4]),
    ("image_steps", lambda y: y[:, ::2, ::-1, 1:3]),
    ("image_row", lambda y: y[:, 2, :, :][:, tf.newaxis]),
    ("image_batch", lambda y: y[:1]),
]:
    case("StridedSlice", lambda x, p=part: (lambda y: conv(y, y.shape[3], 2))(p(conv(x, 3, 4))), FIXED, IMAGES, name, rtol=1e-3, atol=1e-3)
case("Slice", lambda x: conv(tf.slice(conv(x, 3, 4), [0, 1, 0, 2], [-1, 4, -1, 2]), 2, 2), FIXED, IMAGES, "image", rtol=1e-3, atol=1e-3)

# Zeros at an edge where all is below zero, as in ResNet's second version: the pool takes the zeros.
case("MaxPool", lambda x: tf.nn.max_pool2d(tf.pad(x * 1.0, [[0, 0], [1, 1], [1, 1], [0, 0]]), 3, 2, "VALID"), FIXED, IMAGES, "of_zeros_around",
     low=-3, high=-1)
case("MaxPool", lambda x: tf.nn.max_pool2d(conv(x, 3, 4), 3, 2, "SAME"), FIXED, IMAGES, "same_below_zero", low=-3, high=-1, rtol=1e-3, atol=1e-3)
