"""Attention: an encoder, a decoder and one over images."""

import models
import numpy as np
import tensorflow as tf

from .model import Model, Saved, fill, images, of_keras

WORDS = 300
IDS = tf.TensorSpec([None, None], tf.int32, name="ids")


def bert():
    function, specs = models.bert(layers=3, hidden=96, heads=4, ffn=192, vocab=WORDS, positions=64)
    return Saved(tf.function(function.python_function, input_signature=specs), function.variables_alive)


def bert_inputs(batch, seed):
    rng = np.random.default_rng([seed, batch])
    # The length changes with the batch: both are open.
    length = 8 + 2 * batch
    mask = (np.arange(length) < length - rng.integers(0, 4, (batch, 1))).astype(np.int32)
    return [rng.integers(0, WORDS, (batch, length), dtype=np.int32), mask, rng.integers(0, 2, (batch, length), dtype=np.int32)]


class Gpt(tf.Module):
    """A GPT-2-like decoder over a whole text: norms before, a causal mask, and scores by the words' own embeddings."""

    def __init__(self, layers=3, hidden=96, heads=4, positions=64):
        super().__init__()
        rng = np.random.default_rng(1)

        def weight(*shape):
            return tf.Variable(rng.normal(0, 0.06, shape).astype(np.float32))

        self.heads, self.hidden = heads, hidden
        self.words, self.places = weight(WORDS, hidden), weight(positions, hidden)
        self.blocks = [
            {
                "attention": (weight(hidden, 3 * hidden), weight(3 * hidden)),
                "out": (weight(hidden, hidden), weight(hidden)),
                "up": (weight(hidden, 4 * hidden), weight(4 * hidden)),
                "down": (weight(4 * hidden, hidden), weight(hidden)),
                "norms": [(tf.Variable(tf.ones(hidden)), weight(hidden)) for _ in range(2)],
            }
            for _ in range(layers)
        ]
        self.last = (tf.Variable(tf.ones(hidden)), weight(hidden))

    def norm(self, x, parameters):
        mean, variance = tf.nn.moments(x, -1, keepdims=True)
        return (x - mean) * tf.math.rsqrt(variance + 1e-5) * parameters[0] + parameters[1]

    def attend(self, x, parameters, n, s):
        qkv = tf.reshape(tf.einsum("nsh,hk->nsk", x, parameters[0]) + parameters[1], [n, s, 3, self.heads, self.hidden // self.heads])
        q, k, v = tf.unstack(tf.transpose(qkv, [2, 0, 3, 1, 4]))
        scores = tf.matmul(q, k, transpose_b=True) * (self.hidden // self.heads) ** -0.5
        # What comes later is not seen: row i sees columns up to i.
        place = tf.range(s)
        seen = place[:, tf.newaxis] >= place[tf.newaxis, :]
        weights = tf.nn.softmax(tf.where(seen, scores, -1e9))
        return tf.reshape(tf.transpose(tf.matmul(weights, v), [0, 2, 1, 3]), [n, s, self.hidden])

    @tf.function(input_signature=[IDS])
    def function(self, ids):
        n, s = tf.shape(ids)[0], tf.shape(ids)[1]
        x = tf.gather(self.words, ids) + self.places[:s]
        for block in self.blocks:
            heard = self.attend(self.norm(x, block["norms"][0]), block["attention"], n, s)
            x += tf.einsum("nsh,hk->nsk", heard, block["out"][0]) + block["out"][1]
            up = tf.einsum("nsh,hk->nsk", self.norm(x, block["norms"][1]), block["up"][0]) + block["up"][1]
            gelu = 0.5 * up * (1.0 + tf.tanh(np.float32(np.sqrt(2 / np.pi)) * (up + 0.044715 * tf.pow(up, 3.0))))
            x += tf.einsum("nsh,hk->nsk", gelu, block["down"][0]) + block["down"][1]
        return tf.einsum("nsh,wh->nsw", self.norm(x, self.last), self.words)


def gpt_inputs(batch, seed):
    return [np.random.default_rng([seed, batch]).integers(0, WORDS, (batch, 6 + 3 * batch), dtype=np.int32)]


IMAGE = [tf.TensorSpec([None, 48, 48, 3], tf.float32, name="image")]


class ClassToken(tf.keras.layers.Layer):
    """Puts a learnt token before the patches, and adds learnt positions."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="random_normal", name="token")
        self.places = self.add_weight(shape=(1, shape[1] + 1, shape[-1]), initializer="random_normal", name="places")

    def call(self, x):
        token = tf.tile(self.token, [tf.shape(x)[0], 1, 1])
        return tf.concat([token, x], axis=1) + self.places


def vit(hidden=64, heads=4, blocks=3):
    """A vision transformer: patches by a convolution, a class token, and blocks of Keras's own attention."""
    tf.keras.utils.set_random_seed(0)
    layers = tf.keras.layers
    image = layers.Input([48, 48, 3])
    x = ClassToken()(layers.Reshape([36, hidden])(layers.Conv2D(hidden, 8, strides=8)(image)))
    for _ in range(blocks):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([x, layers.MultiHeadAttention(heads, hidden // heads)(y, y)])
        y = layers.Dense(2 * hidden, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(x))
        x = layers.Add()([x, layers.Dense(hidden)(y)])
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    return of_keras(fill(tf.keras.Model(image, layers.Dense(10)(x[:, 0]))), IMAGE)


MODELS = [
    Model("BERT", bert, [tf.TensorSpec([None, None], tf.int32, name=name) for name in ("ids", "mask", "segs")], bert_inputs),
    Model("GPT2", Gpt, [IDS], gpt_inputs),
    Model("ViT", vit, IMAGE, images(48, 48, 3)),
]
