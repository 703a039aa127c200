"""Sequences through recurrent cells: classifiers of word ids."""

import functools

import numpy as np
import tensorflow as tf

from .model import Model, fill, of_keras

LENGTH, WORDS = 12, 200
SPECS = [tf.TensorSpec([None, LENGTH], tf.int32, name="ids")]


def classifier(cell):
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Input([LENGTH], dtype="int32"),
            layers.Embedding(WORDS, 24),
            layers.Bidirectional(cell(32, return_sequences=True)),
            cell(32),
            layers.Dense(5),
        ]
    )
    return of_keras(fill(model), SPECS)


def ids(batch, seed):
    return [np.random.default_rng([seed, batch]).integers(0, WORDS, (batch, LENGTH), dtype=np.int32)]


LOOP = "the cells run in a While loop"

MODELS = [
    Model("LSTM", functools.partial(classifier, tf.keras.layers.LSTM), SPECS, ids, note=LOOP),
    Model("GRU", functools.partial(classifier, tf.keras.layers.GRU), SPECS, ids, note=LOOP),
]
