"""The four models that the converters are held against.

Each function gives `(fn, specs)`: a tf.function and the TensorSpecs of its arguments, batch (and sequence) open.
"""

import numpy as np
import tensorflow as tf


def of_keras(model, shape):
    """A Keras model as `(fn, specs)`, in inference mode."""
    return tf.function(lambda x: model(x, training=False)), [tf.TensorSpec([None, *shape], tf.float32)]


def mlp():
    """The guide's MNIST multilayer perceptron: Flatten and two Dense layers over 28x28 images."""
    tf.keras.utils.set_random_seed(0)
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [layers.Input([28, 28]), layers.Flatten(), layers.Dense(512, activation="relu"), layers.Dense(10, activation="softmax")]
    )
    return of_keras(model, [28, 28])


def digits_cnn():
    """A small CNN over scikit-learn's 8x8 digits."""
    tf.keras.utils.set_random_seed(0)
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Input([8, 8, 1]),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.DepthwiseConv2D(3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    return of_keras(model, [8, 8, 1])


def resnet50():
    """Keras ResNet-50 with random weights and statistics that are not the initial ones."""
    tf.keras.utils.set_random_seed(0)
    model = tf.keras.applications.ResNet50(weights=None)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            for variable, low, high in [(layer.gamma, 0.4, 1.1), (layer.beta, -0.1, 0.1), (layer.moving_mean, -0.1, 0.1),
                                        (layer.moving_variance, 0.7, 1.3)]:
                variable.assign(rng.uniform(low, high, variable.shape))
    return of_keras(model, [224, 224, 3])


def bert(layers=12, hidden=768, heads=12, ffn=3072, vocab=30522, positions=512):
    """A BERT encoder written in raw ops, batch and sequence open: int32 ids, mask, segments [N,S] to float32 [N,S,hidden]."""
    rng = np.random.default_rng(0)

    def weight(*shape):
        return tf.Variable((rng.standard_normal(shape) * 0.02).astype(np.float32))

    depth = hidden // heads
    words, places, kinds = weight(vocab, hidden), weight(positions, hidden), weight(2, hidden)
    blocks = [
        {
            **{name: (weight(hidden, hidden), weight(hidden)) for name in ("query", "key", "value", "output")},
            "up": (weight(hidden, ffn), weight(ffn)),
            "down": (weight(ffn, hidden), weight(hidden)),
            "norms": [(tf.Variable(tf.ones(hidden)), weight(hidden)) for _ in range(2)],
        }
        for _ in range(layers)
    ]
    first_norm = (tf.Variable(tf.ones(hidden)), weight(hidden))

    def norm(x, parameters):
        mean = tf.reduce_mean(x, -1, keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(x, mean), -1, keepdims=True)
        return (x - mean) * tf.math.rsqrt(variance + 1e-12) * parameters[0] + parameters[1]

    def dense(x, parameters, n, s):
        w, b = parameters
        flat = tf.reshape(x, [-1, w.shape[0]])
        return tf.reshape(tf.nn.bias_add(tf.matmul(flat, w), b), tf.stack([n, s, w.shape[1]]))

    def split_heads(x, n, s):
        return tf.transpose(tf.reshape(x, tf.stack([n, s, heads, depth])), [0, 2, 1, 3])

    specs = [tf.TensorSpec([None, None], tf.int32, name=name) for name in ("ids", "mask", "segs")]

    @tf.function
    def encode(ids, mask, segs):
        shape = tf.shape(ids)
        n, s = shape[0], shape[1]
        x = tf.gather(words, ids) + places[:s] + tf.gather(kinds, segs)
        x = norm(x, first_norm)
        bias = (1.0 - tf.cast(mask[:, tf.newaxis, tf.newaxis, :], tf.float32)) * -10000.0
        for block in blocks:
            q, k, v = (split_heads(dense(x, block[name], n, s), n, s) for name in ("query", "key", "value"))
            scores = tf.raw_ops.BatchMatMulV2(x=q, y=k, adj_y=True) * np.float32(depth**-0.5) + bias
            context = tf.raw_ops.BatchMatMulV2(x=tf.nn.softmax(scores), y=v)
            context = tf.reshape(tf.transpose(context, [0, 2, 1, 3]), tf.stack([n, s, hidden]))
            x = norm(x + dense(context, block["output"], n, s), block["norms"][0])
            up = dense(x, block["up"], n, s)
            gelu = 0.5 * up * (1.0 + tf.math.erf(up * np.float32(0.5**0.5)))
            x = norm(x + dense(gelu, block["down"], n, s), block["norms"][1])
        return x

    encode.variables_alive = (words, places, kinds, blocks, first_norm)
    return encode, specs
