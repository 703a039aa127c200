"""cuDNN's recurrent layers, of which TensorFlow has no kernel for a CPU: beside the same arithmetic in numpy, and Keras' own layers.

Keras makes CudnnRNNV3 of its LSTM and GRU where there is a GPU. Here it is told that there is one while a model is traced, so that
the graph is the one of such a machine; only the engine can run it on this one.
"""

import numpy as np
import pytest
import tensorflow as tf
import tensorrt_rtx
from conftest import _convert_function as convert
from conftest import assert_close
from cudnn_layers import BATCH, CASES, KERAS, UNITS, example, keras_model, keras_rnn, layer, random, raw, specs
from test_convert_direct import segment, session, to_onnx


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The cases' ONNX models by name."""
    made = {name: segment(layer(mode, **options), specs(options.get("time_major", True)), fold=True)[0] for name, (mode, options) in CASES.items()}
    paths, said = to_onnx(tmp_path_factory.mktemp("cudnn"), made)
    assert set(paths) == set(CASES), said
    return paths


@pytest.mark.parametrize("name", CASES)
def test_as_the_arithmetic(name, models):
    ort = session(models[name])
    for batch in (BATCH, 1):
        inputs, wanted = example(name, batch)
        given = {f"TensorRTInputPH_{at}": value for at, value in enumerate(inputs)}
        found = ort.run(None, {i.name: given[i.name] for i in ort.get_inputs()})
        for f, w in zip(found, wanted, strict=True):
            np.testing.assert_allclose(f, w, rtol=1e-4, atol=1e-5)


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


@pytest.mark.parametrize("steps", [6, None], ids=["steps_known", "steps_open"])
@pytest.mark.parametrize("name", KERAS)
def test_keras_layers_are_one_engine(name, steps, monkeypatch, stats):
    """As on a machine with a GPU, against the same model without cuDNN; the parameters, packed by Keras, are folded."""
    model = keras_model(name, steps)
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
