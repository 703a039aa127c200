"""What a loop, a conditional or a call in an engine computes is what its functions compute, however TensorFlow's own passes rewrite them.

A long run of random programs (random_flow.py), of other seeds:

    TFTRT_RANDOM_FLOW=1000 TFTRT_RANDOM_SEED=5000 pytest tests/python/test_flow_functions.py -k random
"""

import os
import time
import traceback

import numpy as np
import pytest
import random_flow
import tensorflow as tf
from conftest import _convert_function as convert
from conftest import assert_close
from tensorflow.python.compiler.tensorrt import trt_convert

import tftrt

COUNT = 24
GRAPHS = "_tftrt_graphs"
S = [tf.TensorSpec([3, 3], tf.float32, name=name) for name in "abc"]
rng = np.random.default_rng(4)
RUNS = [[tf.constant(sign * rng.random((3, 3)), tf.float32) for _ in S] for sign in (1, -1, 1)]


def used_on_one_side(a, b, c):
    wave, other = tf.sin(a), tf.exp(b) * 0.1
    return tf.cond(tf.reduce_sum(b) > 0, lambda: wave @ wave, lambda: other @ b)


def used_on_no_side(a, b, c):
    """The input that no branch needs is dropped by TensorFlow; the others move up."""
    waves = [tf.sin(a), tf.cos(b), tf.tanh(c)]
    return tf.cond(tf.reduce_sum(c) > 0, lambda: waves[2] @ waves[2], lambda: waves[1] @ waves[2])


def permuted(a, b, c):
    x, y, z = tf.sin(a), tf.cos(b), tf.tanh(c)
    return tf.cond(tf.reduce_sum(c) > 0, lambda: (z @ x - y, x, y), lambda: (y, z @ (x - y), z))


def chain(a, b, c):
    cases = [(tf.reduce_sum(a) > 9, lambda: a @ b), (tf.reduce_sum(b) > 0, lambda: b @ c)]
    return tf.case(cases, default=lambda: tf.sin(c) @ a)


def nested(a, b, c):
    x = tf.sin(a)
    inside = lambda p, q: tf.cond(tf.reduce_sum(p) > 0, lambda: p @ q, lambda: q @ (x - p))
    return tf.cond(tf.reduce_sum(b) > 0, lambda: inside(c, b), lambda: inside(b, x) @ c)


def loop_of_unknown_length(a, b, c):
    step, grow = tf.sin(b) * 0.2, tf.cos(a)
    loop = lambda x, y: (tf.tanh(y @ step + x), tf.tanh(x @ grow - y))
    return tf.while_loop(lambda x, y: tf.reduce_sum(tf.abs(x)) < 4, loop, [a * 0.1, c], maximum_iterations=20)


def loop_around_a_loop(a, b, c):
    x = tf.sin(b)
    inner = lambda y: tf.while_loop(lambda i, y: i < tf.cast(tf.abs(a[0, 0]) * 4, tf.int32), lambda i, y: (i + 1, tf.tanh(y @ x)), [0, y])[1]
    return tf.while_loop(lambda i, y: tf.reduce_sum(y) < 3, lambda i, y: (i + 1, inner(y) + c + 0.5), [0, b], maximum_iterations=5)[1]


def call(a, b, c):
    """TensorFlow makes another function of one that is given a constant, or of which a result is not used."""
    product = tf.function(lambda a, b, c: (a @ b, tf.sin(c)), experimental_attributes={"_noinline": True}, autograph=False)
    return product(tf.cos(a), tf.constant(2 * np.eye(3), tf.float32), c)[0] + product(c, tf.cos(a), b)[1]


CASES = [used_on_one_side, used_on_no_side, permuted, chain, nested, loop_of_unknown_length, loop_around_a_loop, call]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """All cases in one model, and that converted, built and saved: their folders."""
    folder = tmp_path_factory.mktemp("flow_functions")
    module = tf.Module()

    @tf.function(input_signature=S, autograph=False)
    def all_cases(a, b, c):
        results = {case.__name__: tf.nest.flatten(case(a, b, c)) for case in CASES}
        return {f"{name}_{at}": value for name, values in results.items() for at, value in enumerate(values)}

    module.f = all_cases
    tf.saved_model.save(module, str(folder / "native"), signatures=all_cases.get_concrete_function())
    converter = trt_convert.TrtGraphConverterV2(
        input_saved_model_dir=str(folder / "native"), use_dynamic_shape=True, minimum_segment_size=1
    )
    converter.convert()
    converter.build(lambda: iter([RUNS[0]]))
    converter.save(str(folder / "converted"))
    return folder


def test_a_loaded_model_computes_what_the_original_does(models, stats):
    native = tf.saved_model.load(str(models / "native"))
    model = tf.saved_model.load(str(models / "converted"))
    signature, original = (loaded.signatures["serving_default"] for loaded in (model, native))
    engines = [node for function in signature.graph.as_graph_def().library.function for node in function.node_def if node.op == "TRTEngineOp"]
    stats.reset()
    ways = [signature, tf.function(lambda **arguments: signature(**{name: value * 1.0 for name, value in arguments.items()}))]
    for way in ways:
        for run in RUNS:
            arguments = dict(zip("abc", run))
            assert_close(way(**arguments), original(**arguments))
    assert engines
    assert stats["engine_calls"] == len(engines) * len(ways) * len(RUNS)
    assert stats["native_fallbacks"] == 0
    assert (stats["builds"], stats["loads"], stats["rejected_plans"]) == (0, len(engines), 0)


def test_its_plans_are_found_in_another_process(models, run_isolated):
    """The fingerprint of a segment is the same wherever its functions are read."""
    run_isolated(f"""
        import numpy as np, tensorflow as tf, tftrt
        arguments = {{name: tf.constant(np.full([3, 3], 0.3), tf.float32) for name in "abc"}}
        models = [tf.saved_model.load("{models}/" + name) for name in ("native", "converted")]
        native, converted = [model.signatures["serving_default"](**arguments) for model in models]
        for name in native:
            np.testing.assert_allclose(native[name], converted[name], atol=1e-4)
        totals = tftrt.stats()["totals"]
        assert (totals["builds"], totals["native_fallbacks"]) == (0, 0), totals
        assert totals["loads"] == totals["engine_calls"] > 0, totals
    """)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_is_in_engines_as_a_whole(case, stats):
    converted = convert(case, S)
    assert set(converted.outside) <= {"Placeholder", "Identity", "Const", "NoOp"}, converted.outside
    converted.build(RUNS[0])
    stats.reset()
    for run in RUNS:
        assert_close(converted(*run), converted.native(*run))
    assert stats["engine_calls"] == len(converted.engines) * len(RUNS)
    assert stats["native_fallbacks"] == 0


def functions(converted):
    """The functions of its library, by name."""
    return {function.signature.name: function for function in converted.graph_def.library.function}


def marked(converted):
    """The nodes of native segments that are read with their functions."""
    segments = [function for name, function in functions(converted).items() if name.endswith("_native_segment")]
    return [node for segment in segments for node in segment.node_def if GRAPHS in node.attr]


def again(converted):
    """The function of its graph, which was changed."""
    converted.function = trt_convert._construct_function_from_graph_def(converted.function, converted.graph_def)
    return converted


def test_a_model_holds_no_second_copy_of_what_runs():
    found = marked(convert(nested, S))
    assert found and all(node.attr[GRAPHS].list.s == [] for node in found)


@pytest.mark.parametrize("stale", [b"", b"\xff\xff", b"\n\x0b\n\x01x\x12\x04Relu\x1a\x00"])
@pytest.mark.parametrize("case", [used_on_one_side, permuted, call])
def test_graphs_in_the_attribute_are_not_read(case, stale, stats):
    """Models converted before hold copies there, which may be of other bodies than their functions have now."""
    converted = convert(case, S)
    for node in marked(converted):
        node.attr[GRAPHS].list.s[:] = [stale, stale]
    again(converted).build(RUNS[0])
    stats.reset()
    for run in RUNS:
        assert_close(converted(*run), converted.native(*run))
    assert stats["engine_calls"] == len(converted.engines) * len(RUNS)
    assert stats["native_fallbacks"] == 0


@pytest.mark.parametrize("case", [used_on_one_side, used_on_no_side, permuted, nested])
def test_a_conditional_that_is_rewritten_in_the_segment(case, stats):
    """As models converted before have it: the conditional in the segment itself, where TensorFlow sinks, drops and permutes its inputs."""
    converted = convert(case, S)
    library = functions(converted)
    for node in marked(converted):
        inside = [inner for inner in library[node.attr["f"].func.name].node_def if inner.op == "StatelessIf"]
        assert node.op == "PartitionedCall" and len(inside) == 1
        inputs = [node.input[int(name.removeprefix("tftrt_arg_"))] for name in inside[0].input]
        node.CopyFrom(inside[0])
        node.input[:] = inputs
        # In a FunctionDef the outputs of both ops are named "output".
        node.attr[GRAPHS].list.s[:] = [b"stale", b"stale"]
    again(converted).build(RUNS[0])
    stats.reset()
    for run in RUNS:
        assert_close(converted(*run), converted.native(*run))
    assert stats["engine_calls"] == len(converted.engines) * len(RUNS)
    assert stats["native_fallbacks"] == 0


def test_a_function_that_does_not_fit_is_refused_with_a_word(stats):
    """A branch that does more than compute: what it does would be lost in an engine."""
    converted = convert(used_on_one_side, S)
    (branch,) = [function for name, function in functions(converted).items() if name.endswith("then_branch")]
    random = branch.node_def.add()
    random.name, random.op = "noise", "RandomUniform"
    random.input.append("size:output:0")
    random.attr["T"].type = tf.int32.as_datatype_enum
    random.attr["dtype"].type = tf.float32.as_datatype_enum
    size = branch.node_def.add()
    size.name, size.op = "size", "Const"
    size.attr["dtype"].type = tf.int32.as_datatype_enum
    size.attr["value"].tensor.CopyFrom(tf.make_tensor_proto([2]))
    branch.control_ret["noise"] = "noise"
    branch.signature.control_output.append("noise")
    branch.signature.is_stateful = True
    again(converted)
    stats.reset()
    for run in RUNS:
        assert_close(converted(*run), converted.native(*run))
    assert stats["engine_calls"] == 0
    assert stats["native_no_engine"] == len(RUNS)
    names = [engine.name for engine in converted.engines]
    (reasons,) = [one["native_reasons"] for one in tftrt.stats()["resources"] if one["name"] in names and one["native_reasons"]]
    assert any("(StatelessIf) runs the function" in why and "(RandomUniform) inside does more than compute" in why for why in reasons), reasons


def test_random_programs(capsys):
    count, first = int(os.environ.get("TFTRT_RANDOM_FLOW", COUNT)), int(os.environ.get("TFTRT_RANDOM_SEED", "0"))
    start, engines, calls, failed = time.monotonic(), 0, 0, []
    for seed in range(first, first + count):
        try:
            wrong, made, called, program = random_flow.run(seed)
        except Exception:  # noqa: BLE001 - whatever it is, the seed has to be told, and the others run
            failed.append(f"seed {seed}\n{traceback.format_exc(limit=-4)}")
            continue
        engines, calls = engines + made, calls + called
        if wrong:
            failed.append("\n".join([str(program), *wrong]))
    with capsys.disabled():
        print(f"\n{count} random programs from seed {first} on, {engines} engines, {calls} calls, {time.monotonic() - start:.0f} s")
    assert not failed, "\n\n".join(failed)
    assert engines >= count and calls >= 3 * random_flow.RUNS * count // 2
