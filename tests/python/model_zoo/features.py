"""Tables and texts: models with inputs that no engine takes."""

import numpy as np
import tensorflow as tf

from .model import Model, Saved, fill

NUMBERS, USERS, BUCKETS = 8, 500, 100
CITIES = ["Athens", "Bergen", "Cork", "Delft", "Evora", "Fez"]


def wide_and_deep_inputs(batch, seed):
    rng = np.random.default_rng([seed, batch])
    return [
        rng.normal(size=(batch, NUMBERS)).astype(np.float32),
        rng.integers(0, USERS, batch, dtype=np.int32),
        rng.choice(CITIES, (batch, 2)).astype(object),
    ]


WIDE_SPECS = [
    tf.TensorSpec([None, NUMBERS], tf.float32, name="numbers"),
    tf.TensorSpec([None], tf.int32, name="user"),
    tf.TensorSpec([None, 2], tf.string, name="words"),
]


class WideAndDeep(tf.Module):
    """Crossed hashes of words into a linear part, embeddings and numbers into a deep one."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.weights = [
            tf.Variable(rng.normal(0, np.sqrt(2 / shape[0]), shape).astype(np.float32))
            for shape in [(NUMBERS + 24 + 16, 64), (64, 32), (32, 1)]
        ]
        self.biases = [tf.Variable(rng.normal(0, 0.1, n).astype(np.float32)) for n in (64, 32, 1)]
        self.users = tf.Variable(rng.normal(0, 1, (USERS, 24)).astype(np.float32))
        self.words = tf.Variable(rng.normal(0, 1, (BUCKETS, 8)).astype(np.float32))
        self.wide = tf.Variable(rng.normal(0, 1, (BUCKETS, 1)).astype(np.float32))

    @tf.function(input_signature=WIDE_SPECS)
    def function(self, numbers, user, words):
        hashed = tf.cast(tf.strings.to_hash_bucket_fast(words, BUCKETS), tf.int32)
        crossed = tf.strings.join([words[:, 0], words[:, 1]], "_x_")
        crossed = tf.cast(tf.strings.to_hash_bucket_fast(crossed, BUCKETS), tf.int32)
        deep = tf.concat([numbers, tf.gather(self.users, user), tf.reshape(tf.gather(self.words, hashed), [-1, 16])], axis=1)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            deep = tf.nn.bias_add(tf.matmul(deep, weight), bias)
            deep = tf.nn.relu(deep) if layer < 2 else deep
        return tf.sigmoid(deep + tf.gather(self.wide, crossed))


def string_lookup():
    layers = tf.keras.layers
    lookup = layers.StringLookup(vocabulary=CITIES)
    network = tf.keras.Sequential(
        [layers.Input([2], dtype="int32"), layers.Embedding(len(CITIES) + 1, 16), layers.Flatten()]
        + [layers.Dense(32, activation="relu"), layers.Dense(16, activation="gelu"), layers.Dense(3, activation="softmax")]
    )
    fill(network)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.string, name="cities")])
    def classify(cities):
        return network(tf.cast(lookup(cities), tf.int32), training=False)

    return Saved(classify, lookup, network)


def cities(batch, seed):
    return [np.random.default_rng([seed, batch]).choice([*CITIES, "Gent"], (batch, 2)).astype(object)]


MODELS = [
    Model("WideAndDeep", WideAndDeep, WIDE_SPECS, wide_and_deep_inputs, note="hashes of strings"),
    Model("StringLookup", string_lookup, [tf.TensorSpec([None, 2], tf.string, name="cities")], cities, note="a table of strings"),
]
