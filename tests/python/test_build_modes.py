"""TFTRT_BUILD: who builds an engine that a call misses, and what the calls do meanwhile.

Builds in the background run one at a time, so a test that needs some to be under way starts many: the last of them has to wait for the
others, however fast the machine is. The newest comes first (test_overload.py). What comes later is waited for by counters.
"""

import gc
import pathlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compiler.tf2tensorrt.ops import gen_trt_ops
from tensorflow.python.compiler.tensorrt import trt_convert as trt

import plan_files
from conftest import assert_close

HERE = str(pathlib.Path(__file__).resolve().parent)
# So many builds are put in front of the one that a test is about.
AHEAD = 24


def dense(x):
    w = tf.constant(np.random.default_rng(3).standard_normal((8, 4)).astype(np.float32))
    return tf.nn.relu(tf.matmul(x, w) + 1.0)


SPECS = [tf.TensorSpec([None, 8])]


def batch(n):
    return tf.random.stateless_uniform([n, 8], seed=[n, 0])


def network(x):
    """A segment whose build takes about twenty times as long as a native call of it."""
    for seed in range(200):
        w = np.random.default_rng(seed).standard_normal((64, 64)).astype(np.float32)
        x = tf.nn.relu(tf.matmul(x, tf.constant(w / 256))) + x
    return x


NETWORK_SPECS = [tf.TensorSpec([None, None, 64])]


def rows(n):
    return tf.random.stateless_uniform([1, n, 64], seed=[n, 1])


def start_builds(converted):
    """Calls of AHEAD shapes that no engine serves: each starts a build, and the builds wait for each other."""
    for n in range(1, 1 + AHEAD):
        converted(rows(n))


def holds(converted, *inputs):
    assert_close(converted(*inputs), converted.native(*inputs))


def until(condition, what):
    """Waits for what another thread does. The bound is for what never comes, and far above what a loaded machine takes."""
    end = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < end, f"{what}: not within 240 seconds"
        time.sleep(0.005)


def landed(stats, builds, failures=0):
    until(lambda: (stats["builds"], stats["failures"]) == (builds, failures), f"{builds} builds and {failures} failures")


def test_unseen_shapes_run_natively_until_their_engine_is_there(convert_function, stats, monkeypatch):
    monkeypatch.setenv("TFTRT_BUILD", "background")
    converted = convert_function(dense, SPECS, dynamic=False, maximum_cached_engines=2)
    for nth, n in enumerate((4, 9), start=1):
        holds(converted, batch(n))
        # However fast the build is, the call that asks for it does not wait.
        assert stats["native_building"] == nth
        landed(stats, builds=nth)
        before = stats["engine_calls"]
        for smaller in (n, n - 1, n):
            holds(converted, batch(smaller))
        assert stats["engine_calls"] == before + 3 and stats["native_building"] == nth
    assert stats["native_fallbacks"] == 0 and stats["failures"] == 0


def test_with_dynamic_shapes_the_recorded_profile_is_built(convert_function, stats, monkeypatch):
    monkeypatch.setenv("TFTRT_BUILD", "background")
    converted = convert_function(dense, SPECS)
    converted.build([batch(2)], [batch(6)])
    # build() has recorded two calls, and made one that started the engine.
    assert stats["native_profile_generation"] == 2 and stats["native_building"] == 1 and stats["engine_calls"] == 0
    landed(stats, builds=1)
    for n in (2, 3, 6):
        holds(converted, batch(n))
    assert stats["engine_calls"] == 3 and stats["native_fallbacks"] == 0
    # It will never serve these, and no other is built.
    for n in (1, 7):
        holds(converted, batch(n))
    assert stats["native_no_engine"] == 2 and stats["native_building"] == 1 and stats["builds"] == 1


def test_many_threads_start_one_build(convert_function, stats, monkeypatch):
    monkeypatch.setenv("TFTRT_BUILD", "background")
    converted = convert_function(network, NETWORK_SPECS, dynamic=False, maximum_cached_engines=2 * AHEAD)
    mine = rows(AHEAD + 1)
    expected = converted.native(mine)
    start_builds(converted)
    threads = 16
    together = threading.Barrier(threads)

    def call(_):
        together.wait(timeout=120)
        return tf.nest.map_structure(lambda y: y.numpy(), converted.function(mine))

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(call, range(threads)))
        served = stats["engine_calls"]
        assert served + stats["native_building"] == AHEAD + threads
        landed(stats, builds=AHEAD + 1)
        found += pool.map(call, range(threads))
    assert stats["engine_calls"] == served + threads and stats["native_building"] == AHEAD + threads - served
    assert stats["builds"] == AHEAD + 1 and stats["native_fallbacks"] == 0
    for one in found:
        assert_close(one, expected)


def test_a_call_that_builds_itself_waits_for_the_build_under_way(convert_function, stats, monkeypatch):
    monkeypatch.setenv("TFTRT_BUILD", "background")
    converted = convert_function(network, NETWORK_SPECS, dynamic=False, maximum_cached_engines=2 * AHEAD)
    mine = rows(AHEAD + 1)
    expected = converted.native(mine)
    start_builds(converted)
    converted.function(mine)
    assert stats["native_building"] == AHEAD + 1 and stats["builds"] < AHEAD + 1
    monkeypatch.setenv("TFTRT_BUILD", "inline")
    assert_close(converted(mine), expected)
    # It does not wait for the others.
    assert stats["builds"] < AHEAD + 1 and stats["waits"] <= 1 and stats["engine_calls"] == 1
    landed(stats, builds=AHEAD + 1)


def test_a_failure_in_the_background_is_remembered_and_said_once(convert_function, stats, monkeypatch, capfd):
    monkeypatch.setenv("TFTRT_BUILD", "background")
    monkeypatch.setenv("TF_TRT_ABORT_CUDA_ENGINE_BUILD", "true")
    converted = convert_function(dense, SPECS, dynamic=False, maximum_cached_engines=2)
    holds(converted, batch(5))
    assert stats["native_building"] == 1 and stats["native_fallbacks"] == 0
    landed(stats, builds=0, failures=1)
    # Nobody tries again, not even when it would succeed.
    for value in ("true", "false"):
        monkeypatch.setenv("TF_TRT_ABORT_CUDA_ENGINE_BUILD", value)
        for _ in range(2):
            holds(converted, batch(5))
    assert stats["native_no_engine"] == 4 and stats["native_fallbacks"] == 4
    assert stats["native_building"] == 1 and stats["failures"] == 1
    assert capfd.readouterr().err.count("TF_TRT_ABORT_CUDA_ENGINE_BUILD") == 1
    # Another shape is another build.
    holds(converted, batch(6))
    landed(stats, builds=1, failures=1)
    holds(converted, batch(6))
    assert stats["engine_calls"] == 1


def test_an_op_that_cannot_be_converted_fails_in_the_background(convert_function, stats, monkeypatch, capfd):
    monkeypatch.setenv("TFTRT_BUILD", "background")
    monkeypatch.setenv("TF_TRT_OP_FAKELIST", "BesselI0e")
    converted = convert_function(lambda x: tf.math.bessel_i0e(x * 2.0) + 1.0, SPECS)
    holds(converted, batch(3))
    landed(stats, builds=0, failures=1)
    holds(converted, batch(3))
    assert stats["native_building"] == 1 and stats["native_no_engine"] == 1
    assert "(BesselI0e) cannot be converted" in capfd.readouterr().err


def test_where_native_execution_is_forbidden_calls_still_run_while_their_engine_is_built(convert_function, stats, monkeypatch):
    """The native segment is what TFTRT_BUILD=background asks for: by design, and no fallback. A failed build is one."""
    monkeypatch.setenv("TFTRT_BUILD", "background")
    monkeypatch.setenv("TF_TRT_ALLOW_ENGINE_NATIVE_SEGMENT_EXECUTION", "false")
    converted = convert_function(dense, SPECS, dynamic=False, maximum_cached_engines=2)
    holds(converted, batch(4))
    assert stats["native_building"] == 1
    landed(stats, builds=1)
    holds(converted, batch(4))
    assert stats["engine_calls"] == 1 and stats["native_fallbacks"] == 0
    monkeypatch.setenv("TF_TRT_ABORT_CUDA_ENGINE_BUILD", "true")
    holds(converted, batch(5))
    landed(stats, builds=1, failures=1)
    with pytest.raises(tf.errors.AbortedError, match="User disallowed engine native segment execution.*TF_TRT_ABORT_CUDA_ENGINE_BUILD"):
        converted(batch(5))
    holds(converted, batch(3))
    assert stats["engine_calls"] == 2


def test_a_function_that_goes_while_its_engine_is_built(convert_function, stats, monkeypatch):
    monkeypatch.setenv("TFTRT_BUILD", "background")
    converted = convert_function(network, NETWORK_SPECS, dynamic=False, maximum_cached_engines=2 * AHEAD)
    start_builds(converted)
    assert stats["builds"] < AHEAD
    del converted
    gc.collect()
    landed(stats, builds=AHEAD)
    # The builder is free for others.
    other = convert_function(dense, SPECS)
    holds(other, batch(2))
    landed(stats, builds=AHEAD + 1)
    holds(other, batch(2))
    assert stats["engine_calls"] == 1


EXIT = """
    import sys; sys.path.insert(0, {here!r})
    import conftest, test_build_modes, tftrt
    converted = conftest._convert_function(test_build_modes.network, test_build_modes.NETWORK_SPECS, dynamic=False, maximum_cached_engines=64)
    test_build_modes.start_builds(converted)
    totals = tftrt.stats()["totals"]
    print(totals["native_building"], totals["builds"], flush=True)
    {end}
"""


@pytest.mark.parametrize("end", ["pass", "del converted; import gc; gc.collect()", "sys.exit(0)"], ids=["the_end", "the_model_first", "sys_exit"])
def test_the_process_ends_while_engines_are_built(end, run_isolated):
    done = run_isolated(EXIT.format(here=HERE, end=end), env={"TFTRT_BUILD": "background", "TF_CPP_MIN_LOG_LEVEL": "1"}, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stderr[-3000:]}"
    native, builds = map(int, done.stdout.split()[-2:])
    assert native == AHEAD and builds < AHEAD
    for bad in ("panicked", "terminate called", "Fatal", "corrupt", "Aborted"):
        assert bad not in done.stderr, done.stderr[-3000:]


def test_saving_waits_for_the_engines_under_way(convert_function, stats, monkeypatch, tmp_path):
    """A converter that runs where TFTRT_BUILD is background does not save a model without its engines."""
    monkeypatch.setenv("TFTRT_BUILD", "background")
    converted = convert_function(network, NETWORK_SPECS, dynamic=False, maximum_cached_engines=2 * AHEAD)
    start_builds(converted)
    assert stats["builds"] < AHEAD
    file = tmp_path / "asset"
    gen_trt_ops.serialize_trt_resource(resource_name=converted.engines[0].name, filename=str(file))
    assert stats["builds"] == AHEAD
    saved = plan_files.read_asset(file)
    assert len(saved) == AHEAD and len({instance.fields for instance in saved}) == AHEAD


# ---- never ---------------------------------------------------------------------------------------------------------------


def test_never_builds_nothing_and_says_so_once(convert_function, stats, monkeypatch, capfd):
    monkeypatch.setenv("TFTRT_BUILD", "never")
    for dynamic in (False, True):
        stats.reset()
        capfd.readouterr()
        converted = convert_function(dense, SPECS, dynamic=dynamic)
        for _ in range(3):
            holds(converted, batch(3))
        assert stats["native_no_engine"] == 3 and stats["native_fallbacks"] == 3
        assert stats["builds"] == 0 and stats["engine_calls"] == 0
        assert capfd.readouterr().err.count("building at run time is off (TFTRT_BUILD=never)") == 1


def test_never_is_no_failure_of_a_build(convert_function, stats, monkeypatch):
    """None was tried: a later call that may build does, and nothing stands in its way."""
    for dynamic in (False, True):
        stats.reset()
        monkeypatch.setenv("TFTRT_BUILD", "never")
        converted = convert_function(dense, SPECS, dynamic=dynamic)
        for _ in range(2):
            holds(converted, batch(3))
        assert stats["failures"] == 0
        monkeypatch.setenv("TFTRT_BUILD", "inline")
        holds(converted, batch(3))
        assert stats["builds"] == 1 and stats["engine_calls"] == 1


def test_never_and_no_native_execution_is_an_error(convert_function, monkeypatch):
    monkeypatch.setenv("TFTRT_BUILD", "never")
    monkeypatch.setenv("TF_TRT_ALLOW_ENGINE_NATIVE_SEGMENT_EXECUTION", "false")
    converted = convert_function(dense, SPECS)
    with pytest.raises(tf.errors.AbortedError, match="User disallowed engine native segment execution.*TFTRT_BUILD=never"):
        converted(batch(3))


def test_saved_engines_serve_where_none_is_built(dense_model, stats, monkeypatch, tmp_path):
    monkeypatch.setenv("TFTRT_BUILD", "inline")
    folder = str(tmp_path / "converted")
    converter = trt.TrtGraphConverterV2(input_saved_model_dir=dense_model, use_dynamic_shape=True)
    converter.convert()
    converter.build(input_fn=lambda: iter([[np.ones([1, 8], np.float32)], [np.ones([6, 8], np.float32)]]))
    converter.save(folder)
    del converter
    native = tf.saved_model.load(dense_model).signatures["serving_default"]
    monkeypatch.setenv("TFTRT_BUILD", "never")
    stats.reset()
    model = tf.saved_model.load(folder)  # Held: its engines go with it.
    call = model.signatures["serving_default"]
    for n, served in ((6, True), (2, True), (7, False)):
        before = stats["engine_calls"]
        assert_close(call(x=batch(n))["y"], native(x=batch(n))["y"])
        assert stats["engine_calls"] == before + served
    assert stats["builds"] == 0 and stats["native_no_engine"] == 1


# ---- inline --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "", "inline", "INLINE"])
def test_inline_is_the_default(value, convert_function, stats, monkeypatch):
    if value is None:
        monkeypatch.delenv("TFTRT_BUILD", raising=False)
    else:
        monkeypatch.setenv("TFTRT_BUILD", value)
    converted = convert_function(dense, SPECS)
    holds(converted, batch(3))
    assert stats["builds"] == 1 and stats["engine_calls"] == 1 and stats["native_building"] == 0 and stats["native_fallbacks"] == 0


def test_an_unknown_value_warns_once_and_is_inline(convert_function, stats, monkeypatch, capfd):
    monkeypatch.setenv("TFTRT_BUILD", "on_sundays")
    converted = convert_function(dense, SPECS)
    for _ in range(3):
        holds(converted, batch(3))
    assert stats["builds"] == 1 and stats["engine_calls"] == 3 and stats["native_building"] == 0
    said = [line for line in capfd.readouterr().err.splitlines() if "on_sundays" in line]
    assert len(said) == 1
    assert "TFTRT_BUILD" in said[0] and "inline, background, never" in said[0]
