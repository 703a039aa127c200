"""TRTEngineOp itself: which engine serves a call, what is built and what is evicted, static engines, threads, functions."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compiler.tf2tensorrt.ops import gen_trt_ops
from tensorflow.core.framework import attr_value_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, rewriter_config_pb2
from tensorflow.python.compiler.tensorrt import trt_convert as trt
from tensorflow.python.grappler import tf_optimizer
from tensorflow.python.training import saver

import plan_files
import tftrt


def fn(x):
    w = tf.constant(np.random.default_rng(3).standard_normal((8, 4)).astype(np.float32))
    return tf.nn.relu(tf.matmul(x, w) + 1.0)


SPECS = [tf.TensorSpec([None, 8])]


def batch(n, seed=0):
    return tf.random.stateless_uniform([n, 8], seed=[n, seed])


def holds(converted, x):
    np.testing.assert_allclose(tf.nest.flatten(converted(x))[0], tf.nest.flatten(converted.native(x))[0], rtol=1e-4, atol=1e-5)


def test_implicit_batch_reuses_the_larger_engine(convert_function, stats):
    converted = convert_function(fn, SPECS, dynamic=False, maximum_cached_engines=2)
    for n in (8, 8, 3, 1):
        holds(converted, batch(n))
    assert stats["builds"] == 1 and stats["engine_calls"] == 4
    holds(converted, batch(9))
    assert stats["builds"] == 2 and stats["native_fallbacks"] == 0


def test_the_least_recently_used_engine_is_evicted(convert_function, stats):
    converted = convert_function(fn, SPECS, dynamic=False, maximum_cached_engines=1)
    for n, builds, evictions in ((4, 1, 0), (8, 2, 1), (2, 2, 1), (16, 3, 2)):
        holds(converted, batch(n))
        assert (stats["builds"], stats["evictions"]) == (builds, evictions)
    (mine,) = [r for r in tftrt.stats()["resources"] if r["name"] == converted.engines[0].name]
    assert mine["engines"] == 1 and "CPU:0" in mine["device"]


@pytest.mark.parametrize(
    "strategy, served, refused",
    [
        ("Range", [2, 3, 6], [1, 7]),
        ("Optimal", [2, 6], [3, 1]),
        ("Range+Optimal", [2, 3, 6], [1, 7]),
        ("ImplicitBatchModeCompatible", [1, 2, 3, 6], [7]),
    ],
)
def test_profiles_decide_what_is_served(strategy, served, refused, convert_function, stats):
    converted = convert_function(fn, SPECS, profile_strategy=strategy)
    converted.build([batch(2)], [batch(6)])
    assert stats["native_profile_generation"] == 2 and stats["builds"] == 1
    stats.reset()
    for n in served + refused:
        holds(converted, batch(n))
    assert stats["engine_calls"] == len(served)
    assert stats["native_no_engine"] == len(refused)


def test_without_build_the_first_call_makes_the_profile(convert_function, stats):
    converted = convert_function(fn, SPECS)
    for n in (5, 5, 4):
        holds(converted, batch(n))
    assert stats["builds"] == 1 and stats["engine_calls"] == 2 and stats["native_no_engine"] == 1


def test_a_static_engine_runs_its_plan(convert_function, stats, tmp_path):
    """The plan of a dynamic engine's asset, put into serialized_segment as a static engine holds it."""
    converted = convert_function(fn, SPECS)
    converted.build([batch(1)], [batch(6)])
    file = tmp_path / "asset"
    gen_trt_ops.serialize_trt_resource(resource_name=converted.engines[0].name, filename=str(file), delete_resource=True)
    (record,) = list(tf.data.TFRecordDataset(str(file)).as_numpy_iterator())
    plan = record[record.index(b"TFTRTpln") :]
    for node in converted.engines:
        node.attr["static_engine"].b = True
        node.attr["serialized_segment"].s = plan
    static = trt._construct_function_from_graph_def(converted.function, converted.graph_def)
    stats.reset()
    x = batch(4)
    np.testing.assert_allclose(tf.nest.flatten(static(x))[0], fn(x), rtol=1e-4, atol=1e-5)
    assert stats["loads"] == 1 and stats["builds"] == 0 and stats["engine_calls"] == 1


def test_many_threads_build_once(convert_function, stats):
    converted = convert_function(fn, SPECS, dynamic=False, maximum_cached_engines=8)
    inputs = [batch(1 + n % 4, n) for n in range(64)]
    with ThreadPoolExecutor(16) as pool:
        outputs = list(pool.map(lambda x: tf.nest.flatten(converted.function(x))[0].numpy(), inputs))
    for x, y in zip(inputs, outputs):
        np.testing.assert_allclose(y, fn(x), rtol=1e-4, atol=1e-5)
    assert stats["engine_calls"] == 64 and stats["native_fallbacks"] == 0
    # One a batch size at the most: several callers of one size wait for one build.
    assert 1 <= stats["builds"] <= 4


def test_bool_int32_and_empty_tensors(convert_function, stats):
    converted = convert_function(
        lambda x, i, b: (tf.where(b, x * 2.0, x), i * 2, tf.logical_not(b)),
        [tf.TensorSpec([None, 3]), tf.TensorSpec([None, 3], tf.int32), tf.TensorSpec([None, 3], tf.bool)],
    )
    sets = [[tf.ones([n, 3]), tf.fill([n, 3], 7), tf.fill([n, 3], n % 2 == 0)] for n in (0, 2, 5)]
    converted.build(*sets)
    for inputs in sets * 2:
        for found, expected in zip(tf.nest.flatten(converted(*inputs)), tf.nest.flatten(converted.native(*inputs))):
            np.testing.assert_array_equal(found, expected)
            assert found.shape == expected.shape
    assert stats["native_fallbacks"] == 0


def test_no_calibration_table_yet(convert_function):
    converted = convert_function(fn, SPECS)
    holds(converted, batch(2))
    with pytest.raises(tf.errors.NotFoundError, match=f"'{converted.engines[0].name}' has no calibration table"):
        gen_trt_ops.get_calibration_data_op(converted.engines[0].name)


def test_serializing_what_is_not_there(tmp_path):
    with pytest.raises(tf.errors.NotFoundError):
        gen_trt_ops.serialize_trt_resource(resource_name="no_such_engine", filename=str(tmp_path / "asset"))
    assert list(tmp_path.iterdir()) == []


def test_a_resource_that_was_deleted_is_made_anew(convert_function, tmp_path, stats):
    """The kernel goes on with the next resource of its name, and that one can be saved as well."""
    converted = convert_function(fn, SPECS)
    converted.build([batch(4)])
    name = converted.engines[0].name
    for n in (1, 2):
        file = tmp_path / str(n)
        gen_trt_ops.serialize_trt_resource(resource_name=name, filename=str(file), delete_resource=True)
        assert len(plan_files.read_asset(file)) == 1
        converted(batch(4))
        assert stats["builds"] == 1 + n
    assert stats["native_fallbacks"] == 0


def test_export_for_debugging(convert_function, tmp_path, monkeypatch):
    folder = tmp_path / "made" / "where absent"
    monkeypatch.setenv("TF_TRT_EXPORT_TRT_ENGINES_PATH", str(folder))
    converted = convert_function(fn, SPECS)
    converted.build([batch(1)], [batch(6)])
    name = converted.engines[0].name
    assert sorted(p.name for p in folder.iterdir()) == sorted([name, f"dims-{name}"])
    (profile,) = json.loads((folder / f"dims-{name}").read_text())["profiles"]
    assert profile == {"TensorRTInputPH_0": {"min": [1, 8], "opt": [6, 8], "max": [6, 8]}}


def test_a_function_that_asks_for_it_is_converted():
    """`_tftrt_convert_function` on a function, with the main graph left alone (minimum_segment_size -1)."""

    @tf.function
    def inner(x):
        return fn(x) * 2.0

    outer = tf.function(lambda x: inner(x) + 0.0).get_concrete_function(*SPECS)
    graph_def = outer.graph.as_graph_def()
    (function,) = [f for f in graph_def.library.function]
    options = {
        "_tftrt_convert_function": attr_value_pb2.AttrValue(b=True),
        "_tftrt_trt_logger_name": attr_value_pb2.AttrValue(s=b"DefaultLogger"),
        "_tftrt_max_batch_size": attr_value_pb2.AttrValue(i=8),
        "_tftrt_max_workspace_size_bytes": attr_value_pb2.AttrValue(i=1 << 20),
        "_tftrt_precision_mode": attr_value_pb2.AttrValue(s=b"FP32"),
        "_tftrt_minimum_segment_size": attr_value_pb2.AttrValue(i=2),
        "_tftrt_is_dyn_op": attr_value_pb2.AttrValue(b=True),
        "_tftrt_max_cached_engines": attr_value_pb2.AttrValue(i=1),
        "_tftrt_use_calibration": attr_value_pb2.AttrValue(b=False),
        "_tftrt_use_implicit_batch": attr_value_pb2.AttrValue(b=False),
        "_tftrt_profile_strategy": attr_value_pb2.AttrValue(s=b"Range"),
        "_tftrt_allow_build_at_runtime": attr_value_pb2.AttrValue(b=True),
        "_noinline": attr_value_pb2.AttrValue(b=True),
    }
    for name, value in options.items():
        function.attr[name].CopyFrom(value)
    meta_graph = saver.export_meta_graph(graph_def=graph_def, graph=outer.graph)
    fetches = meta_graph_pb2.CollectionDef()
    fetches.node_list.value.extend(t.name for t in outer.inputs + outer.outputs)
    meta_graph.collection_def["train_op"].CopyFrom(fetches)
    config = config_pb2.ConfigProto()
    rewrite = config.graph_options.rewrite_options
    rewrite.min_graph_nodes = -1
    rewrite.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    optimizer = rewrite.custom_optimizers.add()
    optimizer.name = "TensorRTOptimizer"
    optimizer.parameter_map["minimum_segment_size"].i = -1
    optimizer.parameter_map["precision_mode"].s = b"FP32"
    converted = tf_optimizer.OptimizeGraph(config, meta_graph, graph_id=b"tf_graph")
    assert "TRTEngineOp" not in {node.op for node in converted.node}
    holders = [f for f in converted.library.function if "TRTEngineOp" in {n.op for n in f.node_def}]
    assert len(holders) == 1
    call = trt._construct_function_from_graph_def(outer, converted)
    x = batch(3)
    before = tftrt.stats()["totals"]["engine_calls"]
    np.testing.assert_allclose(tf.nest.flatten(call(x))[0], fn(x) * 2.0, rtol=1e-4, atol=1e-5)
    assert tftrt.stats()["totals"]["engine_calls"] == before + 1
