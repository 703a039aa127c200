"""TRTEngineOp on a GPU: engines serve the calls on TensorFlow's own tensors there, and give what native TensorFlow gives."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.compiler.tensorrt import trt_convert as trt

import gpu_support
import models
import plan_files
import tftrt
from gpu_support import TOLERANCE, batch, close, dense, dense_specs, result

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def device():
    return gpu_support.device_name()


def holds(converted, *inputs, tolerance=TOLERANCE) -> None:
    """Each output is native TensorFlow's."""
    inputs = [tf.convert_to_tensor(x) for x in inputs]
    found, expected = tf.nest.flatten(converted(*inputs)), tf.nest.flatten(converted.native(*inputs))
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        close(one, other, tolerance)


def test_the_backend_is_tensorrt(device):
    if device == "CPU:0":
        pytest.skip("a rehearsal has no TensorRT")
    assert tftrt.backend() == "tensorrt"
    state = tftrt.versions()["backends"]["tensorrt"]
    assert state["available"] and state["version"] and state["library"]


@pytest.mark.parametrize("precision, tolerance", [("FP32", TOLERANCE), ("FP16", 1e-2)])
def test_a_cnn(precision, tolerance, convert_function, stats, device):
    fn, specs = models.digits_cnn()
    converted = convert_function(fn, specs, precision=precision)
    (engine,) = converted.engines
    if device == "GPU:0":
        assert engine.device.endswith(device)
    sets = [tf.random.stateless_uniform([n, 8, 8, 1], seed=[n, 0]) for n in (1, 7, 64)]
    converted.build([sets[0]], [sets[-1]])
    stats.reset()
    for x in sets * 2:
        (found,) = tf.nest.flatten(converted(x))
        assert found.device.endswith(device)
        holds(converted, x, tolerance=tolerance)
    assert stats["engine_calls"] == 12 and stats["native_fallbacks"] == 0 and stats["builds"] == 0
    (mine,) = [r for r in tftrt.stats()["resources"] if r["name"] == engine.name and r["engine_calls"] >= 12]
    assert mine["device"].endswith(device)


def test_bert_with_two_layers(convert_function, stats):
    fn, specs = models.bert(layers=2, hidden=64, heads=4, ffn=128, vocab=1000)
    converted = convert_function(fn, specs)

    def inputs(shape):
        ids = tf.random.stateless_uniform(shape, seed=[1, 2], maxval=1000, dtype=tf.int32)
        return [ids, tf.ones(shape, tf.int32), tf.zeros(shape, tf.int32)]

    converted.build(inputs([1, 16]), inputs([4, 32]))
    stats.reset()
    for shape in ([1, 16], [4, 32], [2, 24]):
        holds(converted, *inputs(shape), tolerance=5e-3)
    assert stats["engine_calls"] == 3 and stats["native_fallbacks"] == 0


def test_an_mlp_that_is_not_built_beforehand(convert_function, stats):
    """The first call builds for its own shape; another shape has no profile and runs natively."""
    fn, specs = models.mlp()
    converted = convert_function(fn, specs)
    for n in (5, 5, 4):
        holds(converted, tf.random.stateless_uniform([n, 28, 28], seed=[n, 1]))
    assert stats["builds"] == 1 and stats["engine_calls"] == 2 and stats["native_no_engine"] == 1


@pytest.mark.parametrize("strategy", ["Range", "Optimal", "Range+Optimal", "ImplicitBatchModeCompatible"])
def test_each_profile_serves_its_shapes(strategy, convert_function, stats):
    """With Optimal there is one profile a shape: the engine has to run with the right one of several."""
    converted = convert_function(dense, dense_specs(), profile_strategy=strategy)
    converted.build([batch(2)], [batch(6)], [batch(4)])
    stats.reset()
    for n in (2, 6, 4, 6, 2):
        holds(converted, batch(n))
    assert stats["engine_calls"] == 5 and stats["native_fallbacks"] == 0


def test_implicit_batch(convert_function, stats):
    converted = convert_function(dense, dense_specs(), dynamic=False, maximum_cached_engines=2)
    for n in (8, 8, 3, 1):
        holds(converted, batch(n))
    assert stats["builds"] == 1 and stats["engine_calls"] == 4
    holds(converted, batch(9))
    assert stats["builds"] == 2 and stats["native_fallbacks"] == 0


def test_int32_and_bool_go_in_and_out(convert_function, stats):
    """TRTEngineOp's int32 tensors are in device memory, a function's in host memory; TensorRT has its own bools."""

    def fn(x, i, b):
        other = tf.logical_not(b)
        return tf.where(other, x * 2.0, x), tf.where(other, i * 2 + 1, i), other

    converted = convert_function(fn, [tf.TensorSpec([None, 3]), tf.TensorSpec([None, 3], tf.int32), tf.TensorSpec([None, 3], tf.bool)])
    assert len(converted.engines) == 1

    def inputs(n):
        chance = np.random.default_rng(n)
        return [chance.random((n, 3), np.float32), chance.integers(-99, 99, (n, 3), np.int32), chance.random((n, 3)) < 0.5]

    converted.build(inputs(1), inputs(5))
    stats.reset()
    for n in (1, 2, 5):
        holds(converted, *inputs(n), tolerance=1e-6)
    assert stats["engine_calls"] == 3 and stats["native_fallbacks"] == 0


def test_int32_that_indexes(convert_function, stats):
    converted = convert_function(
        lambda i, x: (i * 3 + 1, tf.gather(x, i) * 2.0), [tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, 4], tf.float32)]
    )
    x = tf.random.stateless_uniform([5, 4], seed=[1, 2])
    converted.build([[0], x[:1]], [[2, 0, 1, 4], x])
    whole, gathered = tf.nest.flatten(converted(tf.constant([2, 0, 1]), x))
    np.testing.assert_array_equal(whole, [7, 1, 4])
    close(gathered, np.asarray(x)[[2, 0, 1]] * np.float32(2.0), 1e-6)
    assert stats["native_fallbacks"] == 0


def test_empty_tensors(convert_function, stats):
    """No element: on an engine whose profile holds it, or natively; the shapes are right, and the next call is."""
    converted = convert_function(dense, dense_specs())
    converted.build([batch(1)], [batch(6)])
    assert result(converted, np.zeros([0, 8], np.float32)).shape == (0, 4)
    holds(converted, batch(3))
    other = convert_function(dense, dense_specs())
    other.build([np.zeros([0, 8], np.float32)], [batch(4)])
    stats.reset()
    assert result(other, np.zeros([0, 8], np.float32)).shape == (0, 4)
    holds(other, batch(4))
    assert stats["engine_calls"] >= 1 and stats["failures"] == 0


def test_outputs_stay_right_while_calls_go_on(convert_function):
    """No call waits for the GPU: an output that is kept must not be written by a later call."""
    converted = convert_function(dense, dense_specs())
    converted.build([batch(64)])
    inputs = [tf.constant(batch(64, seed)) for seed in range(50)]
    outputs = [tf.nest.flatten(converted(x))[0] for x in inputs]
    for x, y in zip(inputs, outputs):
        close(y, tf.nest.flatten(converted.native(x))[0], TOLERANCE)


def test_what_comes_from_and_goes_to_tensorflows_own_kernels(convert_function, stats):
    """On one stream with them: their results are there when the engine reads, its own when they read."""
    converted = convert_function(dense, dense_specs())
    converted.build([batch(256)])

    @tf.function
    def around(call, x):
        for _ in range(20):
            x = tf.concat([tf.nest.flatten(call(x * 1.01))[0]] * 2, axis=1) - 0.5
            x = x / (1.0 + tf.reduce_max(tf.abs(x)))
        return x

    x = tf.constant(batch(256))
    stats.reset()
    close(around(converted.function, x), around(converted.native, x), 5e-2)
    assert stats["engine_calls"] == 20 and stats["native_fallbacks"] == 0


@pytest.mark.parametrize("graphs", ["true", "false"])
def test_the_same_with_and_without_cuda_graphs(graphs, run_isolated, device):
    """The same shape many times over, at addresses that change."""
    told, _ = gpu_support.isolated(
        run_isolated,
        """
        from gpu_support import TOLERANCE, batch, dense, dense_specs, result
        converted = conftest._convert_function(dense, dense_specs())
        converted.build([batch(1)], [batch(6)])
        worst, kept = 0.0, []
        for n in range(60):
            x = batch(1 + n // 10, n)
            kept.append(tf.zeros([1 + n * 37]))  # Moves what is allocated next.
            expected = result(converted.native, x)
            worst = max(worst, float(np.abs(result(converted, x) - expected).max() / np.abs(expected).max()))
        tell(worst=worst, **tftrt.stats()["totals"])
        """,
        TFTRT_CUDA_GRAPHS=graphs,
    )
    assert told["worst"] <= TOLERANCE
    assert told["engine_calls"] >= 60 and told["native_fallbacks"] == 0
    if graphs == "false":
        assert told["graph_launches"] == 0
    elif device == "GPU:0":
        assert told["graph_launches"] >= 6


def test_graphs_of_many_shapes_from_many_threads(run_isolated, device):
    """More shapes than an engine keeps graphs of, two inputs and two outputs (one of a fixed size), every call on tensors of its own."""
    told, _ = gpu_support.isolated(
        run_isolated,
        """
        from concurrent.futures import ThreadPoolExecutor

        def fn(x, y):
            return tf.matmul(x, tf.ones([8, 4])) + y, tf.reduce_max(x - tf.reduce_sum(y, axis=1, keepdims=True), axis=0)

        def inputs(n, seed):
            chance = np.random.default_rng((n, seed))
            return tf.constant(chance.random((n, 8), np.float32)), tf.constant(chance.random((n, 4), np.float32))

        converted = conftest._convert_function(fn, [tf.TensorSpec([None, 8]), tf.TensorSpec([None, 4])])
        converted.build(inputs(1, 0), inputs(12, 0))

        def work(me):
            worst = 0.0
            for k in range(240):
                x, y = inputs(1 + (me + k // 8) % 12, 1000 * me + k)
                for found, expected in zip(tf.nest.flatten(converted(x, y)), tf.nest.flatten(converted.native(x, y))):
                    worst = max(worst, float(tf.reduce_max(tf.abs(found - expected))))
            return worst

        with ThreadPoolExecutor(6) as pool:
            tell(worst=max(pool.map(work, range(6))), **tftrt.stats()["totals"])
        """,
    )
    # Sums of eight, in TF32 in one of the two; another call's values would be off by ten times that.
    assert told["worst"] <= 1e-2
    assert told["engine_calls"] >= 6 * 240 and told["native_fallbacks"] == 0
    if device == "GPU:0":
        # Some shapes are forgotten and captured again.
        assert told["graphs"] > 8 and told["graph_launches"] > 240


def test_save_and_load_without_a_build(dense_model, tmp_path, run_isolated, device):
    converter = trt.TrtGraphConverterV2(input_saved_model_dir=dense_model, use_dynamic_shape=True)
    converter.convert()
    x = batch(3)
    converter.build(input_fn=lambda: iter([[x]]))
    converter.save(str(tmp_path / "out"))
    native = tf.saved_model.load(dense_model).signatures["serving_default"](x=tf.constant(x))["y"]
    (asset,) = plan_files.assets(tmp_path / "out")
    (instance,) = plan_files.read_asset(asset)
    header = plan_files.Plan.decode(instance.plan).header
    if device == "GPU:0":
        major, minor = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])["compute_capability"]
        assert header["backend"] == "tensorrt" and header["compute_capability"] == [major, minor]
    # Elsewhere, as when it is deployed; and no cache on disk helps.
    shutil.move(tmp_path / "out", tmp_path / "moved")
    told, _ = gpu_support.isolated(
        run_isolated,
        f"""
        model = tf.saved_model.load({str(tmp_path / "moved")!r})
        y = model.signatures["serving_default"](x=tf.constant(gpu_support.batch(3)))["y"]
        tell(y=y.numpy().tolist(), **tftrt.stats()["totals"])
        """,
        TFTRT_CACHE_DIR=str(tmp_path / "cache"),
    )
    close(np.asarray(told["y"], np.float32), native, TOLERANCE)
    assert told["loads"] == 1 and told["builds"] == 0 and told["engine_calls"] == 1 and told["native_fallbacks"] == 0


def test_native_execution_can_be_forbidden(convert_function, monkeypatch):
    converted = convert_function(dense, dense_specs())
    converted.build([batch(2)])
    monkeypatch.setenv("TF_TRT_ALLOW_ENGINE_NATIVE_SEGMENT_EXECUTION", "false")
    with pytest.raises(tf.errors.AbortedError, match="User disallowed engine native segment execution.*no profile"):
        result(converted, batch(3))
    close(result(converted, batch(2)), result(converted.native, batch(2)), TOLERANCE)


def test_many_threads(convert_function, stats):
    fn, specs = models.mlp()
    converted = convert_function(fn, specs)
    inputs = [tf.random.stateless_uniform([1 + n % 5, 28, 28], seed=[n, n]) for n in range(64)]
    converted.build([inputs[0]], [inputs[4]])
    expected = [result(converted.native, x) for x in inputs]
    stats.reset()
    with ThreadPoolExecutor(8) as pool:
        for found, wanted in zip(pool.map(lambda x: result(converted, x), inputs), expected):
            close(found, wanted, TOLERANCE)
    assert stats["engine_calls"] == 64 and stats["native_fallbacks"] == 0


def test_host_time_is_counted(convert_function):
    converted = convert_function(dense, dense_specs())
    converted.build([batch(4)])
    for _ in range(10):
        result(converted, batch(4))
    host = tftrt.stats()["host_time"]
    assert host["count"] >= 10
    assert host["count"] == host["enqueued"]["count"] + host["replayed"]["count"]
    assert 0 < host["p50_us"] <= host["p90_us"] <= host["p99_us"]
    assert sum(count for _, count in host["histogram"]) == host["count"]
