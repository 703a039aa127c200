"""Control flow, calls and cuDNN's recurrent layers inside TensorRT's engines, beside native TensorFlow on the CPU, or arithmetic in numpy."""

import cudnn_layers
import flow_engine_cases
import gpu_support
import numpy as np
import pytest
import tensorflow as tf
import test_calls
from conftest import _convert_function as convert

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("float32_products")]


def values(structure) -> list[np.ndarray]:
    return [np.asarray(tensor) for tensor in tf.nest.flatten(structure)]


def hold(found, wanted) -> None:
    for f, w in zip(values(found), wanted, strict=True):
        gpu_support.close(f, w, gpu_support.TOLERANCE)


def natively(converted, run) -> list[np.ndarray]:
    with tf.device("/CPU:0"):
        return values(converted.native(*run))


@pytest.fixture
def without_cudnn(monkeypatch):
    """Keras makes its layers of loops, here too: they are what is asked about, and a CPU can run them."""
    monkeypatch.setattr(cudnn_layers.keras_rnn, "_is_gpu_available", lambda: False)


@pytest.mark.usefixtures("without_cudnn")
@pytest.mark.parametrize("name", flow_engine_cases.CASES)
def test_loops_and_conditionals(name, stats):
    make, specs, _ = flow_engine_cases.CASES[name]
    device = gpu_support.device_name()
    converted = convert(make(), specs)
    assert len(converted.engines) == 1, converted.outside
    assert gpu_support.REHEARSAL or all(engine.device.endswith(device) for engine in converted.engines)
    runs = list(flow_engine_cases.runs(specs))
    converted.build(runs[0], runs[4], runs[-1])
    stats.reset()
    for run in runs:
        hold(converted(*run), natively(converted, run))
    assert stats["engine_calls"] == len(runs) and stats["native_fallbacks"] == 0


@pytest.mark.parametrize("name", flow_engine_cases.MIXED)
def test_what_may_not_be_inside_each_other(name, stats):
    """The outer one stays TensorFlow's: the process lives, and the numbers are right."""
    fn, _ = flow_engine_cases.MIXED[name]
    gpu_support.device_name()
    converted = convert(fn, flow_engine_cases.N)
    assert {"LoopCond", "Switch"} & set(converted.outside)
    for run in flow_engine_cases.runs(flow_engine_cases.N):
        hold(converted(*run), natively(converted, run))
    assert stats["engine_calls"] > 0


STEP = test_calls.compiled(lambda x: tf.tanh(x @ test_calls.W) + x)
CALLS = {
    "grouped_convolutions": (test_calls.grouped, test_calls.IMAGES, (3, 5, 6, 4)),
    "compiled": (lambda x: STEP(STEP(x)) - 1.0, test_calls.OPEN, (3, 4)),
    "not_inlined": (lambda x: test_calls.not_inlined(lambda x: (x @ test_calls.W, tf.nn.relu(x)))(x)[0] * 2.0, test_calls.OPEN, (3, 4)),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_of_functions(name, stats):
    fn, specs, shape = CALLS[name]
    gpu_support.device_name()
    converted = convert(fn, specs)
    assert len(converted.engines) == 1 and not test_calls.CALLS & set(converted.outside), converted.outside
    run = [tf.constant(np.random.default_rng(5).standard_normal(shape).astype(np.float32))]
    for _ in range(2):
        hold(converted(*run), natively(converted, run))
    assert stats["engine_calls"] == 2 and stats["native_fallbacks"] == 0


@gpu_support.only_tensorrt
@pytest.mark.parametrize("name", cudnn_layers.CASES)
def test_layers_of_cudnn(name, stats):
    """Each mode, order and kind of lengths; the last batch is in no profile, and cuDNN itself runs there: as the arithmetic, too."""
    mode, options = cudnn_layers.CASES[name]
    gpu_support.device_name()
    converted = convert(cudnn_layers.layer(mode, **options), cudnn_layers.specs(options.get("time_major", True)))
    assert len(converted.engines) == 1, converted.outside
    # TensorFlow 2.21's own kernels of the first two versions do not run with cuDNN 9 ("No algorithm worked!"): nothing is recorded for them.
    native = options.get("version", 3) == 3
    examples = {batch: cudnn_layers.example(name, batch) for batch in ((1, 2, 3) if native else (2,))}
    if native:
        converted.build(*(list(map(tf.constant, examples[batch][0])) for batch in (1, 2)))
        stats.reset()
    for batch, (given, wanted) in examples.items():
        hold(converted(*map(tf.constant, given)), wanted)
        assert stats["native_fallbacks"] == int(batch == 3)
    assert stats["engine_calls"] == (2 if native else 1)


@pytest.mark.parametrize("steps", [6, None], ids=["steps_known", "steps_open"])
@pytest.mark.parametrize("name", cudnn_layers.KERAS)
def test_keras_layers_of_cudnn(name, steps, monkeypatch, stats):
    """What Keras makes on a machine with a GPU, beside what it makes without: one engine, and the same numbers."""
    gpu_support.device_name()
    model = cudnn_layers.keras_model(name, steps)
    runs = [cudnn_layers.random.standard_normal([batch, steps or 7, 4]).astype(np.float32) for batch in (3, 3)]
    with monkeypatch.context() as patched, tf.device("/CPU:0"):
        patched.setattr(cudnn_layers.keras_rnn, "_is_gpu_available", lambda: False)
        wanted = [values(model(x, training=False)) for x in runs]
    monkeypatch.setattr(cudnn_layers.keras_rnn, "_is_gpu_available", lambda: True)
    converted = convert(lambda x: model(x, training=False), [tf.TensorSpec([None, steps, 4])])
    assert len(converted.engines) == 1, converted.outside
    assert converted.segment(converted.engines[0]).count("CudnnRNNV3") in (1, 2)
    for x, w in zip(runs, wanted):
        hold(converted(tf.constant(x)), w)
    assert stats["engine_calls"] == len(runs) and stats["native_fallbacks"] == 0
