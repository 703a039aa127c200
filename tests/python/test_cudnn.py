"""cuDNN's recurrent layers, of which TensorFlow has no kernel for a CPU: beside the same arithmetic in numpy, and Keras' own layers.

Keras makes CudnnRNNV3 of its LSTM and GRU where there is a GPU. Here it is told that there is one while a model is traced, so that
the graph is the one of such a machine; only the engine can run it on this one.
"""

import importlib
import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorrt_rtx
from conftest import _convert_function as convert
from conftest import assert_close
from test_convert_direct import segment, session, to_onnx

# (The package has a function of the module's name.)
keras_rnn = importlib.import_module("keras.src.backend.tensorflow.rnn")
L = tf.keras.layers
raw = tf.raw_ops
random = np.random.default_rng(17)
INPUTS, UNITS, STEPS, BATCH = 3, 4, 5, 2
GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
LENGTHS = np.array([5, 2], np.int32)


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


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The cases' ONNX models by name."""
    made = {name: segment(layer(mode, **options), specs(options.get("time_major", True)), fold=True)[0] for name, (mode, options) in CASES.items()}
    paths, said = to_onnx(tmp_path_factory.mktemp("cudnn"), made)
    assert set(paths) == set(CASES), said
    return paths


@pytest.mark.parametrize("name", CASES)
def test_as_the_arithmetic(name, models):
    mode, options = CASES[name]
    time_major = options.get("time_major", True)
    ort = session(models[name])
    for batch in (BATCH, 1):
        x = random.standard_normal([STEPS, batch, INPUTS]).astype(np.float32)
        h, c = random.standard_normal([2, 1, batch, UNITS]).astype(np.float32)
        lengths = LENGTHS[:batch] if options.get("lengths") == "given" else np.full([batch], STEPS, np.int32)
        wanted = series(mode, x, h[0], c[0], lengths)
        wanted = [wanted[0], wanted[1][None], wanted[2][None]][: 3 if mode == "lstm" else 2]
        order = (lambda a: a) if time_major else (lambda a: a.transpose(1, 0, 2))
        given = {"TensorRTInputPH_0": order(x), "TensorRTInputPH_1": order(h), "TensorRTInputPH_2": order(c), "TensorRTInputPH_3": lengths}
        found = ort.run(None, {i.name: given[i.name] for i in ort.get_inputs()})
        for f, w in zip(found, wanted, strict=True):
            np.testing.assert_allclose(f, order(w), rtol=1e-4, atol=1e-5)


def test_tensorrt_takes_them(models):
    """TensorRT-RTX's parser and builder."""
    answers = tensorrt_rtx.check(models.values())
    assert [(name, answer["error"]) for name, answer in zip(models, answers) if not answer["ok"]] == []


def keeps_for_training(x, h, c, given):
    out = raw.CudnnRNNV3(input=x, input_h=h, input_c=c, params=np.zeros([144], np.float32), sequence_lengths=given)
    return out.output, out.reserve_space


LAYERS = tf.TensorSpec([2, None, UNITS])
REFUSED = {
    "two_layers": (layer("lstm", lengths="given"), [specs()[0], LAYERS, LAYERS, specs()[3]], "of 2 layers is not supported"),
    "both_ways": (layer("lstm", lengths="given", direction="bidirectional"), specs(), 'direction "bidirectional" is not supported'),
    "skipped": (layer("lstm", lengths="given", input_mode="skip_input"), specs(), 'input_mode "skip_input" is not supported'),
    "drops_out": (layer("lstm", lengths="given", dropout=0.5), specs(), "drops out at random"),
    "projects": (layer("lstm", lengths="given", num_proj=2), specs(), "projection"),
    "few": (layer("lstm", lengths="given", params=np.zeros([7], np.float32)), specs(), "3 inputs and 4 units needs 144 parameters, not [Some(7)]"),
    "keeps": (keeps_for_training, specs(), "keeps for training"),
}


def test_what_is_refused_and_why(tmp_path):
    made = {name: segment(fn, given, fold=True)[0] for name, (fn, given, _) in REFUSED.items()}
    paths, said = to_onnx(tmp_path, made)
    assert not paths
    for _, _, words in REFUSED.values():
        assert words in said, (words, said)
    # In training without a dropout, which is how Keras asks for it, it is not.
    assert to_onnx(tmp_path, {"plain": segment(layer("lstm", lengths="given", is_training=True), specs(), fold=True)[0]})[0]


KERAS = {
    "lstm": lambda: [L.LSTM(8)],
    "lstm_series": lambda: [L.LSTM(8, return_sequences=True), L.LSTM(5)],
    "lstm_both_ways": lambda: [L.Bidirectional(L.LSTM(8))],
    "lstm_backwards": lambda: [L.LSTM(8, go_backwards=True)],
    "gru": lambda: [L.GRU(8, return_sequences=True), L.GRU(5)],
    "gru_both_ways": lambda: [L.Bidirectional(L.GRU(8))],
}


@pytest.mark.parametrize("steps", [6, None], ids=["steps_known", "steps_open"])
@pytest.mark.parametrize("name", KERAS)
def test_keras_layers_are_one_engine(name, steps, monkeypatch, stats):
    """As on a machine with a GPU, against the same model without cuDNN; the parameters, packed by Keras, are folded."""
    tf.keras.utils.set_random_seed(5)
    model = tf.keras.Sequential([tf.keras.Input((steps, 4)), *KERAS[name](), L.Dense(3, activation="softmax")])
    # New layers have no bias yet that would show where it goes.
    model.set_weights([weight + 0.1 * random.standard_normal(weight.shape) for weight in model.get_weights()])
    # Of one shape: a profile would be recorded by running the native segment.
    runs = [random.standard_normal([3, steps or 7, 4]).astype(np.float32) for _ in range(2)]
    wanted = [model(x, training=False).numpy() for x in runs]
    monkeypatch.setattr(keras_rnn, "_is_gpu_available", lambda: True)
    converted = convert(lambda x: model(x, training=False), [tf.TensorSpec([None, steps, 4])])
    assert len(converted.engines) == 1, converted.outside
    assert converted.segment(converted.engines[0]).count("CudnnRNNV3") in (1, 2)
    assert not any(op.startswith("Cudnn") for op in converted.outside)
    for x, y in zip(runs, wanted):
        assert_close(converted(tf.constant(x)), y)
    assert stats["native_fallbacks"] == 0 and stats["engine_calls"] == len(runs)
