"""cuDNN's recurrent layers as the tests call them, beside the same arithmetic in numpy.

test_cudnn.py has them on the CPU, test_gpu_flow.py on a GPU.
"""

import importlib
import itertools

import numpy as np
import tensorflow as tf

# (The package has a function of the module's name.)
keras_rnn = importlib.import_module("keras.src.backend.tensorflow.rnn")
L = tf.keras.layers
raw = tf.raw_ops
random = np.random.default_rng(17)
INPUTS, UNITS, STEPS, BATCH = 3, 4, 5, 2
GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
LENGTHS = np.array([5, 2, 4], np.int32)


def parameters(mode):
    """Of each gate the matrix of the input, of each that of the state, of each both biases: as cuDNN has them, one after the other."""
    draw = lambda *shape: (random.standard_normal(shape) * 0.4).astype(np.float32)
    return draw(GATES[mode], UNITS, INPUTS), draw(GATES[mode], UNITS, UNITS), draw(2, GATES[mode], UNITS)


PARAMETERS = {mode: parameters(mode) for mode in GATES}


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def step(mode, x, h, c):
    """One step of a batch."""
    w, r, b = PARAMETERS[mode]
    of_x, of_h = np.einsum("bi,gui->gbu", x, w) + b[0][:, None], np.einsum("bv,guv->gbu", h, r) + b[1][:, None]
    if mode == "lstm":
        i, f, new, o = of_x + of_h
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(new)
        return sigmoid(o) * np.tanh(c), c
    if mode == "gru":
        reset, update = sigmoid(of_x[:2] + of_h[:2])
        return (1 - update) * np.tanh(of_x[2] + reset * of_h[2]) + update * h, c
    return {"rnn_tanh": np.tanh, "rnn_relu": lambda x: np.maximum(x, 0)}[mode](of_x[0] + of_h[0]), c


def series(mode, x, h, c, lengths):
    """Outputs and last states of x [steps, batch, inputs]; behind the end of a series, the outputs are zeros and the states stay."""
    outputs = []
    for at, now in enumerate(x):
        on = (at < lengths)[:, None]
        new_h, new_c = step(mode, now, h, c)
        h, c = np.where(on, new_h, h), np.where(on, new_c, c)
        outputs.append(np.where(on, new_h, 0.0))
    return np.stack(outputs), h, c


def layer(mode, time_major=True, lengths="full", version=3, params=None, **options):
    """A function of x, h, c and lengths over one node of cuDNN's."""
    packed = np.concatenate([part.reshape(-1) for part in PARAMETERS[mode]]) if params is None else params

    def fn(x, h, c, given):
        cell = c if mode == "lstm" else tf.constant(0.0)
        common = dict(input=x, input_h=h, input_c=cell, params=packed, rnn_mode=mode, **options)
        if version < 3:
            out = {1: raw.CudnnRNN, 2: raw.CudnnRNNV2}[version](**common)
        else:
            filled = tf.fill([tf.shape(x)[int(time_major)]], x.shape[1 - int(time_major)])
            out = raw.CudnnRNNV3(**common, time_major=time_major, sequence_lengths=given if lengths == "given" else filled)
        results = [out.output, out.output_h] + ([out.output_c] if mode == "lstm" else [])
        return [result * 1.0 for result in results]

    return fn


def specs(time_major=True, steps=STEPS):
    order = lambda dims: dims if time_major else [dims[1], dims[0], dims[2]]
    state = tf.TensorSpec(order([1, None, UNITS]))
    return [tf.TensorSpec(order([steps, None, INPUTS])), state, state, tf.TensorSpec([None], tf.int32)]


CASES = {
    f"{mode}{'' if time_major else '_batch_first'}{'_given' if lengths == 'given' else ''}": (mode, dict(time_major=time_major, lengths=lengths))
    for mode, time_major, lengths in itertools.product(GATES, (True, False), ("full", "given"))
    if time_major or mode in ("lstm", "gru")
}
CASES |= {"lstm_of_the_first_version": ("lstm", dict(version=1)), "gru_of_the_second_version": ("gru", dict(version=2))}


def example(name, batch):
    """Inputs of a case, as its function takes them, and what is to come of them, as its function gives it."""
    mode, options = CASES[name]
    x = random.standard_normal([STEPS, batch, INPUTS]).astype(np.float32)
    h, c = random.standard_normal([2, 1, batch, UNITS]).astype(np.float32)
    lengths = LENGTHS[:batch] if options.get("lengths") == "given" else np.full([batch], STEPS, np.int32)
    outputs, *states = series(mode, x, h[0], c[0], lengths)
    wanted = [outputs, *(state[None] for state in states)][: 3 if mode == "lstm" else 2]
    order = (lambda a: a) if options.get("time_major", True) else (lambda a: a.transpose(1, 0, 2))
    return [order(x), order(h), order(c), lengths], [order(w) for w in wanted]


KERAS = {
    "lstm": lambda: [L.LSTM(8)],
    "lstm_series": lambda: [L.LSTM(8, return_sequences=True), L.LSTM(5)],
    "lstm_both_ways": lambda: [L.Bidirectional(L.LSTM(8))],
    "lstm_backwards": lambda: [L.LSTM(8, go_backwards=True)],
    "gru": lambda: [L.GRU(8, return_sequences=True), L.GRU(5)],
    "gru_both_ways": lambda: [L.Bidirectional(L.GRU(8))],
}


def keras_model(name, steps):
    """A model of the layers, with weights that are the same in each process."""
    tf.keras.utils.set_random_seed(5)
    model = tf.keras.Sequential([tf.keras.Input((steps, 4)), *KERAS[name](), L.Dense(3, activation="softmax")])
    # New layers have no bias yet that would show where it goes.
    model.set_weights([weight + 0.1 * random.standard_normal(weight.shape) for weight in model.get_weights()])
    return model
