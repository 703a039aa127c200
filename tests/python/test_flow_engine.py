"""Loops and conditionals inside engines, as ONNX's Loop and If: those that can be neither unrolled nor chosen (see test_flow.py for these).

What is made of them is in src/optimizer/flow/functional.rs and lists.rs, and src/convert/ops/control.rs; what may not be inside what, in
src/convert/nesting.rs.
"""

import json
import pathlib

import numpy as np
import onnx
import pytest
import tensorflow as tf
import tensorrt_rtx
from conftest import _convert_function as convert
from conftest import assert_close
from tensorflow.python.compiler.tensorrt import trt_convert
from test_flow import AROUND, OPEN, L, W, cond, inputs, keras, loop_with_its_number, reasons
from test_flow import loop as known_loop
from test_precision import element_types, to_half

random = np.random.default_rng(11)
BIG = (random.standard_normal((4, 4, 40)) * 0.3).astype(np.float32)
KERNEL = (random.standard_normal((3, 3, 3, 5)) * 0.3).astype(np.float32)
OTHER_KERNEL = (random.standard_normal((1, 1, 3, 5)) * 0.3).astype(np.float32)
COUNT = tf.TensorSpec([], tf.int32)
STEPS = [tf.TensorSpec([None, None, 4])]
IMAGES = [tf.TensorSpec([None, 8, 8, 3])]


def counted(body, n, x):
    return tf.while_loop(lambda i, y: i < n, lambda i, y: (i + 1, body(i, y)), [0, x])[1]


def loop_of_unknown_length(x, n):
    return counted(lambda i, y: tf.tanh(y @ W) + tf.cast(i, tf.float32), n, x)


def loop_until(x):
    return tf.while_loop(lambda y: tf.reduce_sum(tf.abs(y)) > 1.0, lambda y: y * 0.5, [x])[0] + 1.0


def loop_too_long(x):
    return counted(lambda i, y: y * 0.99 + 0.01, 600, x)


def loop_with_a_large_weight(x, n):
    return counted(lambda i, y: tf.tanh(tf.reduce_sum(tf.einsum("ni,ijk->njk", y, BIG), -1)), n, x)


def loop_in_loop(x, n):
    return counted(lambda i, y: counted(lambda j, z: tf.tanh(z @ W), i, y) + 1.0, n, x)


def known_loop_in_loop(x, n):
    return counted(lambda i, y: loop_with_its_number(y)[1] * 0.1, n, x)


def loop_in_known_loop(x, n):
    for _ in tf.range(3):
        x = counted(lambda i, y: tf.tanh(y @ W), n, x)
    return x


def choice_in_loop(x, n):
    return counted(lambda i, y: cond(y) * 0.5, n, x)


def cond_of_work(x):
    return tf.cond(x[0, 0] > 0.0, lambda: tf.tanh(x @ W), lambda: x)


def cond_of_images(x):
    sides = lambda: tf.nn.conv2d(x, KERNEL, 1, "SAME"), lambda: tf.nn.relu(tf.nn.conv2d(x, OTHER_KERNEL, 1, "SAME"))
    return tf.nn.max_pool2d(tf.cond(tf.reduce_mean(x) > 0.0, *sides), 2, 2, "VALID")


def cond_in_cond(x):
    inside = lambda: tf.cond(tf.reduce_max(x) > 1.5, lambda: tf.tanh(x @ W), lambda: tf.nn.relu(x @ W))
    return tf.cond(tf.reduce_sum(x) > 0.0, inside, lambda: x @ (W + 1.0))


def cond_with_index(x):
    return tf.cond(tf.shape(x)[0] > 3, lambda: x[0] * 2.0 + tf.gather(x, 3), lambda: x[0])


def two_results(x, n):
    i, y, z = tf.while_loop(lambda i, y, z: i < n, lambda i, y, z: (i + 2, tf.tanh(y @ W), z + y), [0, x, x * 0.0])
    return y * tf.cast(i, tf.float32) + z


def until_a_flag(x, n):
    """A bool that goes from round to round, and a loop that ends by it."""
    body = lambda on, i, y: (tf.logical_and(on, tf.reduce_max(tf.abs(y)) > 0.2), i + 1, y * 0.6)
    return tf.while_loop(lambda on, i, y: tf.logical_and(on, i < n), body, [True, 0, x])[2]


def greedy_decoder(x, n):
    """Writes the best token of each step into a buffer, up to `n` steps; what is chosen goes into the next step."""

    def step(i, state, tokens):
        best = tf.argmax(state, -1, output_type=tf.int32)
        tokens = tf.where(tf.range(6)[None] == i, best[:, None], tokens)
        return i + 1, tf.tanh(state @ W + tf.gather(W, best)), tokens

    tokens = tf.fill([tf.shape(x)[0], 6], -1)
    return tf.cast(tf.while_loop(lambda i, *_: i < n, step, [0, x, tokens])[2], tf.float32)


def map_fn(x):
    return tf.map_fn(lambda step: tf.tanh(step @ W), tf.transpose(x, [1, 0, 2]))


def scan(x):
    return tf.scan(lambda a, step: a * 0.5 + step, tf.transpose(x, [1, 0, 2]), initializer=tf.zeros([tf.shape(x)[0], 4]))


N = [*OPEN, COUNT]
CASES = {
    "loop_of_unknown_length": (lambda: loop_of_unknown_length, N, {"Loop"}),
    "loop_until": (lambda: loop_until, OPEN, {"Loop"}),
    "loop_too_long": (lambda: loop_too_long, OPEN, {"Loop"}),
    "loop_with_a_large_weight": (lambda: loop_with_a_large_weight, N, {"Loop"}),
    "loop_in_loop": (lambda: loop_in_loop, N, {"Loop"}),
    "known_loop_in_loop": (lambda: known_loop_in_loop, N, {"Loop"}),
    "loop_in_known_loop": (lambda: loop_in_known_loop, N, {"Loop"}),
    "choice_in_loop": (lambda: choice_in_loop, N, {"Loop"}),
    "cond_of_work": (lambda: cond_of_work, OPEN, {"If"}),
    "cond_of_images": (lambda: cond_of_images, IMAGES, {"If"}),
    "cond_in_cond": (lambda: cond_in_cond, OPEN, {"If"}),
    "cond_with_index": (lambda: cond_with_index, OPEN, {"If"}),
    "two_results": (lambda: two_results, N, {"Loop"}),
    "until_a_flag": (lambda: until_a_flag, N, {"Loop"}),
    "greedy_decoder": (lambda: greedy_decoder, N, {"Loop"}),
    "map_fn": (lambda: map_fn, STEPS, {"Loop"}),
    "scan": (lambda: scan, STEPS, {"Loop"}),
    "lstm": (lambda: keras(L.LSTM(8), shape=(None, 4)), STEPS, {"Loop"}),
    "gru_sequences": (lambda: keras(L.GRU(8, return_sequences=True), shape=(None, 4)), STEPS, {"Loop"}),
}


def inside(graph):
    """All nodes of an ONNX graph, with those of graphs inside nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from inside(attribute.g)


def runs(specs):
    """Inputs of several batches and signs; counts from none on, and times of several lengths."""
    for batch, n in ((1, 0), (3, 1), (3, 4), (5, 3)):
        for seed in range(2):
            sized = [tf.TensorSpec([d or (n + 2 if axis else batch) for axis, d in enumerate(spec.shape)], spec.dtype) for spec in specs]
            yield [tf.constant(n) if spec == COUNT else inputs([size], batch, seed)[0] for spec, size in zip(specs, sized)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of the cases' ONNX models."""
    return tmp_path_factory.mktemp("flow_engine")


@pytest.mark.parametrize("name", CASES)
def test_is_one_engine(name, exported, monkeypatch, stats):
    make, specs, ops = CASES[name]
    folder = exported / name
    folder.mkdir()
    monkeypatch.setenv("TF_TRT_EXPORT_TRT_ENGINES_PATH", str(folder))
    converted = convert(make(), specs)
    assert len(converted.engines) == 1, converted.outside
    assert set(converted.outside) <= AROUND
    all_runs = list(runs(specs))
    converted.build(all_runs[0], all_runs[4], all_runs[-1])
    stats.reset()
    for run in all_runs:
        assert_close(converted(*run), converted.native(*run))
    assert stats["engine_calls"] == len(all_runs)
    assert stats["native_fallbacks"] == 0
    (path,) = folder.glob("TRTEngineOp_*")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {node.op_type for node in inside(model.graph)} & {"Loop", "If"} == ops
    # The native segment, a functional While or If, where no engine serves the shapes.
    larger = [tf.constant(2) if spec == COUNT else inputs([tf.TensorSpec([d or 9 for d in spec.shape], spec.dtype)], 9)[0] for spec in specs]
    assert_close(converted(*larger), converted.native(*larger))
    assert stats["native_fallbacks"] == 1


def test_weights_are_there_once(exported):
    """Large constants are outside of the graphs that take them, and in the model once."""
    for name in ("loop_with_a_large_weight", "lstm"):
        (path,) = (exported / name).glob("TRTEngineOp_*")
        model = onnx.load(path)
        assert not any(a.g.initializer for node in inside(model.graph) for a in node.attribute if a.HasField("g"))
        large = [weight.raw_data for weight in model.graph.initializer if len(weight.raw_data) > 200]
        assert large and len(large) == len(set(large)), name


def models(exported):
    found = sorted(path for path in exported.glob("*/TRTEngineOp_*") if not path.suffix)
    assert found, "test_is_one_engine has to run first"
    return found, [json.loads((path.parent / f"dims-{path.name}").read_text())["profiles"] for path in found]


# Its builder comes to an assertion of its own on a conditional inside another (TensorRT 8.6 ran this one rightly on a GPU).
RTX_REFUSES = {"cond_in_cond"}


def refused(paths, answers):
    """The cases that are refused; each by the builder, with its words."""
    found = {path.parent.name: answer["error"] for path, answer in zip(paths, answers) if not answer["ok"]}
    assert all("could not build the engine" in error for error in found.values()), found
    return set(found)


def test_tensorrt_takes_them(exported):
    """TensorRT-RTX's parser and builder, on the engines' own profiles."""
    found, profiles = models(exported)
    answers = tensorrt_rtx.check(found, profiles)
    assert refused(found, answers) == RTX_REFUSES


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_precision_leaves_them_in_float32(kind, exported):
    """What is inside keeps float32, what is around goes to half, and TensorRT-RTX takes that, too."""
    found, profiles = models(exported)
    targets = [path.parent / f"half-{kind}.onnx" for path in found]
    to_half(list(zip(found, targets)), kind)
    for source, target in zip(found, targets):
        before, after = onnx.load(source), onnx.load(target)
        element_types(after)
        parts = lambda model: [a.g.SerializeToString() for n in model.graph.node for a in n.attribute if a.HasField("g")]
        assert parts(before) == parts(after)
    assert refused(found, tensorrt_rtx.check(targets, profiles)) == RTX_REFUSES


def cond_in_loop(x, n):
    side = lambda i, y: tf.cond(tf.reduce_sum(y) > 0.0, lambda: tf.tanh(y @ W), lambda: tf.nn.relu(y @ (W * 2.0)) - 1.0)
    return counted(side, n, x)


def loop_in_cond(x, n):
    return tf.cond(x[0, 0] > 0.0, lambda: counted(lambda i, y: tf.tanh(y @ W), n, x), lambda: x * 2.0)


def loop_in_cond_in_cond(x, n):
    inside = lambda: tf.cond(tf.reduce_max(x) > 1.0, lambda: counted(lambda i, y: tf.tanh(y @ W), n, x), lambda: tf.nn.relu(x @ W))
    return tf.cond(x[0, 0] > 0.0, inside, lambda: x * 2.0)


def cond_in_loop_in_loop(x, n):
    return counted(lambda i, y: cond_in_loop(y, i + 1), n, x)


def sum_in_cond(x, n):
    """TensorRT 8.6 makes a loop of a running sum."""
    return tf.cond(x[0, 0] > 0.0, lambda: tf.cumsum(x @ W, 1) * tf.cast(n, tf.float32), lambda: x)


MIXED = {
    "cond_in_loop": (cond_in_loop, "(StatelessIf) would be a conditional inside a loop, which gives wrong numbers in TensorRT 8.6"),
    "cond_in_loop_in_loop": (cond_in_loop_in_loop, "(StatelessIf) would be a conditional inside a loop"),
    "loop_in_cond": (loop_in_cond, "(StatelessWhile) would be a loop inside a conditional, which ends the process in TensorRT 8.6"),
    "loop_in_cond_in_cond": (loop_in_cond_in_cond, "(StatelessWhile) would be a loop inside a conditional"),
    "sum_in_cond": (sum_in_cond, "(Cumsum) would be a loop inside a conditional"),
}


@pytest.mark.parametrize("name", MIXED)
def test_loops_and_conditionals_are_not_inside_each_other(name, tmp_path, monkeypatch, capfd):
    """The outer one stays native; no engine holds both kinds, and what the inner one becomes is right."""
    fn, reason = MIXED[name]
    monkeypatch.setenv("TF_TRT_EXPORT_TRT_ENGINES_PATH", str(tmp_path))
    converted, said = reasons(fn, N, monkeypatch, capfd)
    assert {"LoopCond", "Switch"} & set(converted.outside)
    assert reason in said
    for run in runs(N):
        assert_close(converted(*run), converted.native(*run))
    models = [onnx.load(path) for path in tmp_path.glob("TRTEngineOp_*")]
    kinds = [{node.op_type for node in inside(model.graph)} & {"Loop", "If", "CumSum"} for model in models]
    assert all(not kind & {"Loop", "CumSum"} or "If" not in kind for kind in kinds)
    assert any(kinds), "the inner one is in an engine of its own"


def grows(x, n):
    return tf.while_loop(
        lambda i, y: i < n, lambda i, y: (i + 1, tf.concat([y, x], 0)), [0, x], shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, 4])]
    )[1]


def with_an_op_that_stays(x, n):
    return counted(lambda i, y: y + tf.cast(tf.size(tf.unique(tf.reshape(y, [-1]))[0]), tf.float32), n, x)


def with_random(x, n):
    return counted(lambda i, y: y + tf.random.uniform([4]) * 0.0, n, x)


STAY = {
    "grows": (grows, "may have another shape in each round"),
    "with_an_op_that_stays": (with_an_op_that_stays, "As a node of an engine: node 'while/body/_"),
    "with_random": (with_random, "(RandomUniform) does more than compute"),
}


@pytest.mark.parametrize("name", STAY)
def test_stays_and_says_why(name, monkeypatch, capfd):
    fn, reason = STAY[name]
    converted, said = reasons(fn, N, monkeypatch, capfd)
    assert "LoopCond" in converted.outside
    assert reason in said
    for n in (0, 2):
        run = [*inputs(OPEN, 3), tf.constant(n)]
        assert_close(converted(*run), converted.native(*run))


def test_too_small_for_an_engine(monkeypatch):
    """What comes into no engine is as it was: TensorFlow's own loop, and no function is left behind."""
    converted = convert(loop_of_unknown_length, N, minimum_segment_size=50)
    assert converted.engines == [] and "LoopCond" in converted.outside
    assert not {"StatelessWhile", "StatelessIf"} & set(converted.outside)


@pytest.mark.parametrize("value", ["unroll", "native"])
def test_a_setting_leaves_them_out(value, monkeypatch, capfd):
    """TFTRT_CONTROL_FLOW: which control flow goes into engines."""
    monkeypatch.setenv("TFTRT_CONTROL_FLOW", value)
    converted, said = reasons(loop_of_unknown_length, N, monkeypatch, capfd)
    assert "LoopCond" in converted.outside
    assert {"unroll": "TFTRT_CONTROL_FLOW leaves it out", "native": "by TFTRT_CONTROL_FLOW=native"}[value] in said
    run = [*inputs(OPEN, 3), tf.constant(2)]
    assert_close(converted(*run), converted.native(*run))
    known, choice = convert(known_loop, OPEN), convert(cond, OPEN)
    assert ("LoopCond" in known.outside, "Switch" in choice.outside) == ((value == "native"),) * 2


def test_denied_inside(monkeypatch):
    monkeypatch.setenv("TF_TRT_OP_DENYLIST", "Tanh")
    converted = convert(loop_of_unknown_length, N)
    assert "LoopCond" in converted.outside
    assert all("Tanh" not in converted.segment(engine) for engine in converted.engines)


@pytest.mark.parametrize("dynamic", [True, False], ids=["dynamic_shape", "implicit_batch"])
def test_saved_and_loaded(dynamic, tmp_path, run_isolated):
    """The stock converter on a SavedModel of an LSTM over any number of steps; the converted one in a process of its own."""
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    tf.keras.utils.set_random_seed(5)
    model = tf.keras.Sequential([tf.keras.Input((None, 4)), L.LSTM(8), L.Dense(3)])
    model.export(source, verbose=False)
    x, longer = (random.standard_normal((2, steps, 4)).astype(np.float32) for steps in (6, 9))
    converter = trt_convert.TrtGraphConverterV2(
        input_saved_model_dir=source,
        use_dynamic_shape=dynamic,
        dynamic_shape_profile_strategy="Range" if dynamic else None,
        minimum_segment_size=3,
    )
    converter.convert()
    converter.build(lambda: iter([[tf.constant(x)]]))
    converter.save(target)
    np.savez(tmp_path / "expected.npz", x=x, y=model(x, training=False), longer=longer, z=model(longer, training=False))
    assert any(pathlib.Path(target, "assets").iterdir())
    run_isolated(
        f"""
        import numpy as np, tensorflow as tf, tftrt
        held = np.load({str(tmp_path / "expected.npz")!r})
        model = tf.saved_model.load({target!r})
        for given, wanted in (("x", "y"), ("longer", "z")):
            (found,) = model.signatures["serving_default"](tf.constant(held[given])).values()
            np.testing.assert_allclose(found.numpy(), held[wanted], rtol=1e-4, atol=1e-5)
            totals = tftrt.stats()["totals"]
            assert totals["engine_calls"] >= 1, totals
            if given == "x":
                # Of implicit batch mode's engines, one is given steps in front and a batch: that one runs natively.
                assert totals["builds"] == 0 and totals["native_fallbacks"] <= {int(not dynamic)}, totals
        """
    )
