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
from flow_engine_cases import CASES, MIXED, N, counted, loop_of_unknown_length, runs
from test_flow import AROUND, OPEN, L, cond, inputs, reasons
from test_flow import loop as known_loop
from test_precision import element_types, to_half


def inside(graph):
    """All nodes of an ONNX graph, with those of graphs inside nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from inside(attribute.g)


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
    larger = [tf.constant(2) if spec == N[-1] else inputs([tf.TensorSpec([d or 9 for d in spec.shape], spec.dtype)], 9)[0] for spec in specs]
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
    random = np.random.default_rng(11)
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
