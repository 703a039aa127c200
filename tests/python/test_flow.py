"""Calls, conditionals and loops: what of them goes into engines, and that the results are native TensorFlow's.

The front end inlines calls and lowers control flow when it freezes a model; src/optimizer/flow takes it from there.
"""

import json

import numpy as np
import pytest
import tensorflow as tf
import tensorrt_rtx
from conftest import _convert_function as convert
from conftest import assert_close
from tensorflow.python.compiler.tensorrt import trt_convert

W = (np.random.default_rng(3).standard_normal((4, 4)) * 0.5).astype(np.float32)
OPEN = [tf.TensorSpec([None, 4])]
STEPS = [tf.TensorSpec([None, 6, 4])]
WORDS = [tf.TensorSpec([None, 6], tf.int32)]
# What the graph has around an engine: inputs (those of loops, too, which the freezing leaves behind), outputs, and constants.
AROUND = {"Placeholder", "Identity", "Const"}


@tf.function
def inner(x):
    return tf.nn.relu(x) * 2.0 + 1.0


@tf.function
def calls(x):
    return tf.tanh(inner(x) @ W) + inner(-x)


def cond(x):
    return tf.cond(tf.reduce_sum(x) > 0.0, lambda: tf.nn.relu(x) + 1.0, lambda: tf.tanh(x) * 2.0)


def cond_of_two_results(x):
    a, b = tf.cond(x[0, 0] > 0.0, lambda: (x, tf.constant(2.0)), lambda: (-x, tf.reduce_mean(x)))
    return a * b


def cond_in_cond(x):
    inside = lambda: tf.cond(tf.reduce_max(x) > 1.5, lambda: x + 1.0, lambda: x + 2.0)
    return tf.cond(tf.reduce_sum(x) > 0.0, inside, lambda: x + 3.0)


def loop(x):
    return tf.while_loop(lambda i, y: i < 5, lambda i, y: (i + 1, tf.tanh(y @ W)), [0, x])[1]


def loop_that_never_runs(x):
    return tf.while_loop(lambda i, y: i < 0, lambda i, y: (i + 1, tf.tanh(y)), [0, x])[1] * 2.0


def loop_with_its_number(x):
    return tf.while_loop(lambda i, y: i < 4, lambda i, y: (i + 1, y * tf.cast(i, tf.float32) + 1.0), [0, x])


def loop_in_loop(x):
    def body(i, y):
        return i + 1, tf.while_loop(lambda j, z: j < 2, lambda j, z: (j + 1, tf.tanh(z @ W)), [0, y])[1]

    return tf.while_loop(lambda i, y: i < 3, body, [0, x])[1]


def cond_in_loop(x):
    body = lambda i, y: (i + 1, tf.cond(i > 1, lambda: tf.tanh(y), lambda: y * 2.0))
    return tf.while_loop(lambda i, y: i < 3, body, [0, x])[1]


def cond_on_data_in_loop(x):
    body = lambda i, y: (i + 1, tf.cond(tf.reduce_sum(y) > 1.0, lambda: tf.tanh(y), lambda: y * 2.0))
    return tf.while_loop(lambda i, y: i < 3, body, [0, x])[1]


def map_fn(x):
    return tf.map_fn(lambda step: tf.tanh(step @ W), tf.transpose(x, [1, 0, 2]))


def scan(x):
    return tf.scan(lambda a, step: a * 0.5 + step, tf.transpose(x, [1, 0, 2]), initializer=tf.zeros_like(x[:, 0]))


def tensor_array(x):
    written = tf.TensorArray(tf.float32, 0, dynamic_size=True, element_shape=[None, 4])
    for i in tf.range(4):
        written = written.write(i, tf.tanh(x) * tf.cast(i, tf.float32))
    return written.stack()


def keras(*layers, shape=(6, 4), dtype="float32"):
    """A function of a model whose weights are the same in each process."""
    tf.keras.utils.set_random_seed(5)
    model = tf.keras.Sequential([tf.keras.Input(shape, dtype=dtype), *layers, tf.keras.layers.Dense(3, activation="softmax")])
    return lambda x: model(x, training=False)


L = tf.keras.layers
CASES = {
    "calls": (lambda: calls, OPEN),
    "cond": (lambda: cond, OPEN),
    "cond_of_two_results": (lambda: cond_of_two_results, OPEN),
    "cond_in_cond": (lambda: cond_in_cond, OPEN),
    "loop": (lambda: loop, OPEN),
    "loop_that_never_runs": (lambda: loop_that_never_runs, OPEN),
    "loop_with_its_number": (lambda: lambda x: loop_with_its_number(x)[1], OPEN),
    "loop_in_loop": (lambda: loop_in_loop, OPEN),
    "cond_in_loop": (lambda: cond_in_loop, OPEN),
    "cond_on_data_in_loop": (lambda: cond_on_data_in_loop, OPEN),
    "map_fn": (lambda: map_fn, STEPS),
    "scan": (lambda: scan, STEPS),
    "tensor_array": (lambda: tensor_array, OPEN),
    "lstm": (lambda: keras(L.LSTM(8)), STEPS),
    "lstm_stacked": (lambda: keras(L.LSTM(8, return_sequences=True), L.LSTM(5)), STEPS),
    "lstm_bidirectional": (lambda: keras(L.Bidirectional(L.LSTM(8))), STEPS),
    "lstm_of_words": (lambda: keras(L.Embedding(20, 4, mask_zero=True), L.LSTM(8), shape=(6,), dtype="int32"), WORDS),
    "gru": (lambda: keras(L.GRU(8)), STEPS),
    "gru_backwards": (lambda: keras(L.GRU(8, go_backwards=True, reset_after=False)), STEPS),
    "simple_rnn": (lambda: keras(L.SimpleRNN(8, return_sequences=True)), STEPS),
}


def inputs(specs, batch, seed=0):
    """Both signs, so that conditionals of the cases go both ways over a few seeds."""
    random = np.random.default_rng([seed, batch])
    shapes = [([batch if size is None else size for size in spec.shape], spec.dtype) for spec in specs]
    make = lambda shape, dtype: random.integers(0, 20, shape) if dtype == tf.int32 else random.standard_normal(shape)
    return [tf.constant(make(shape, dtype), dtype) for shape, dtype in shapes]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of the cases' ONNX models."""
    return tmp_path_factory.mktemp("flow")


@pytest.mark.parametrize("name", CASES)
def test_is_one_engine(name, exported, monkeypatch, stats):
    make, specs = CASES[name]
    folder = exported / name
    folder.mkdir()
    monkeypatch.setenv("TF_TRT_EXPORT_TRT_ENGINES_PATH", str(folder))
    converted = convert(make(), specs)
    assert len(converted.engines) == 1, converted.outside
    assert set(converted.outside) <= AROUND
    if name.startswith(("lstm", "gru", "simple_rnn")):
        # The one op outside hands the result out.
        inside = [op for op in converted.segment(converted.engines[0]) if op != "Const"]
        outside = [op for op in converted.outside if op == "Identity"]
        assert len(inside) / (len(inside) + len(outside)) >= 0.95
    converted.build(inputs(specs, 1), inputs(specs, 5))
    stats.reset()
    runs = [inputs(specs, batch, seed) for batch in (1, 3, 5) for seed in range(4)]
    for run in runs:
        assert_close(converted(*run), converted.native(*run))
    assert stats["engine_calls"] == len(runs)
    assert stats["native_fallbacks"] == 0
    # The segment itself, which runs where no engine does.
    larger = inputs(specs, 9)
    assert_close(converted(*larger), converted.native(*larger))
    assert stats["native_fallbacks"] == 1


def test_tensorrt_takes_them(exported):
    """TensorRT-RTX's parser and builder, on the engines' own profiles."""
    models = [path for path in sorted(exported.glob("*/TRTEngineOp_*"))]
    assert models, "test_is_one_engine has to run first"
    profiles = [json.loads((path.parent / f"dims-{path.name}").read_text())["profiles"] for path in models]
    answers = tensorrt_rtx.check(models, profiles)
    refused = [f"{path.parent.name}: {answer['error']}" for path, answer in zip(models, answers) if not answer["ok"]]
    assert refused == []


def reasons(fn, specs, monkeypatch, capfd):
    """What stays of `fn`, in the words of the report: `(converted, text)`."""
    monkeypatch.setenv("TF_TRT_SHOW_DETAILED_REPORT", "1")
    capfd.readouterr()
    converted = convert(fn, specs)
    said = capfd.readouterr()
    return converted, said.out + said.err


def loop_with_random(x):
    return tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y + tf.random.uniform([4]) * 0.0), [0, x])[1]


def loop_with_unconvertible(x):
    return tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y + tf.linalg.trace(tf.linalg.expm(y[:1, :1]))), [0, x])[1]


def cond_of_two_shapes(x):
    return tf.cond(x[0, 0] > 0.0, lambda: x, lambda: tf.zeros([1, 4]))


def cond_of_two_inputs(x, y):
    return tf.cond(x[0, 0] > 0.0, lambda: x * 2.0, lambda: y * 3.0)


def cond_that_guards(x, y):
    return tf.cond(tf.shape(x)[0] == tf.shape(y)[0], lambda: tf.reduce_sum(x + y), lambda: 0.0)


STAY = {
    "loop_with_random": (loop_with_random, OPEN, "(RandomUniform) does more than compute"),
    "loop_with_unconvertible": (loop_with_unconvertible, OPEN, "which stays as it is: "),
    "cond_of_two_shapes": (cond_of_two_shapes, OPEN, "joins tensors whose shapes may differ"),
    "cond_of_two_inputs": (cond_of_two_inputs, OPEN * 2, "joins tensors whose shapes may differ"),
    "cond_that_guards": (cond_that_guards, OPEN * 2, "takes operands whose shapes may not fit"),
}


@pytest.mark.parametrize("name", STAY)
def test_stays_and_says_why(name, monkeypatch, capfd):
    fn, specs, reason = STAY[name]
    converted, said = reasons(fn, specs, monkeypatch, capfd)
    assert "Merge" in converted.outside
    assert reason in said
    for batches in ((2, 2), (5, 5), (1, 1), (1, 5), (5, 2)):
        run = [value for spec, batch in zip(specs, batches) for value in inputs([spec], batch)]
        assert_close(converted(*run), converted.native(*run))


def test_what_has_an_effect_is_waited_for(convert_function):
    """What has to run before a loop still does, once in each call, though nothing takes its result."""
    ran = []

    def counted(x):
        with tf.control_dependencies([tf.numpy_function(lambda: ran.append(1) or np.float32(0), [], tf.float32)]):
            y = loop(x)
        return y + 1.0

    converted = convert_function(counted, OPEN)
    assert "LoopCond" not in converted.outside
    assert any("Tanh" in converted.segment(engine) for engine in converted.engines)
    ran.clear()
    for n in (1, 2):
        assert_close(converted(tf.ones([2, 4])), loop(tf.ones([2, 4])) + 1.0)
        assert len(ran) == n


def test_a_loop_inside_one_that_stays(convert_function, stats):
    """The inner one is unrolled: its nodes are part of the outer loop's frame."""

    def outer(x, n):
        body = lambda i, y: (i + 1, loop_with_its_number(y)[1] + tf.random.uniform([4]) * 0.0)
        return tf.while_loop(lambda i, y: i < n, body, [0, x])[1]

    converted = convert_function(outer, [*OPEN, tf.TensorSpec([], tf.int32)])
    assert converted.outside.count("LoopCond") == 1
    assert any(converted.segment(engine).count("Mul") >= 4 for engine in converted.engines)
    for n in (0, 1, 3):
        run = [*inputs(OPEN, 2), tf.constant(n)]
        assert_close(converted(*run), converted.native(*run))


def test_denied_in_a_loop(convert_function, monkeypatch):
    monkeypatch.setenv("TF_TRT_OP_DENYLIST", "Tanh")
    converted = convert_function(loop, OPEN)
    assert "LoopCond" in converted.outside
    assert all("Tanh" not in converted.segment(engine) for engine in converted.engines)


@pytest.mark.parametrize("dynamic", [True, False], ids=["dynamic_shape", "implicit_batch"])
def test_saved_and_loaded(dynamic, tmp_path, run_isolated):
    """The stock converter on a SavedModel of an LSTM; the converted one in a process of its own."""
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    tf.keras.utils.set_random_seed(5)
    model = tf.keras.Sequential([tf.keras.Input((6, 4)), L.LSTM(8), L.Dense(3)])
    model.export(source, verbose=False)
    x = inputs(STEPS, 2)[0]
    converter = trt_convert.TrtGraphConverterV2(
        input_saved_model_dir=source,
        use_dynamic_shape=dynamic,
        dynamic_shape_profile_strategy="Range" if dynamic else None,
        minimum_segment_size=3,
    )
    converter.convert()
    converter.build(lambda: iter([[x]]))
    converter.save(target)
    np.savez(tmp_path / "expected.npz", x=x, y=model(x, training=False))
    run_isolated(
        f"""
        import numpy as np, tensorflow as tf, tftrt
        held = np.load({str(tmp_path / "expected.npz")!r})
        model = tf.saved_model.load({target!r})
        (found,) = model.signatures["serving_default"](tf.constant(held["x"])).values()
        np.testing.assert_allclose(found.numpy(), held["y"], rtol=1e-4, atol=1e-5)
        totals = tftrt.stats()["totals"]
        assert totals["engine_calls"] >= 1 and totals["builds"] == 0 and totals["native_fallbacks"] == 0, totals
        """
    )
