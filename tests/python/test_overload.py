"""More shapes than can be built for (TFTRT_BUILD=background): bounds on threads, on what waits and on memory; answers stay right.

TFTRT_STORM_SHAPES sets the number of shapes of the storm (500).
"""

import os
import pathlib

import pytest

HERE = str(pathlib.Path(__file__).resolve().parent)
SHAPES = int(os.environ.get("TFTRT_STORM_SHAPES", "500"))

BEGIN = f"""
    import os, sys, threading, time
    sys.path.insert(0, {HERE!r})
    import numpy as np, tensorflow as tf, tftrt, conftest
    os.environ["TFTRT_BUILD"] = "background"
    totals = lambda: tftrt.stats()["totals"]
    builders = lambda: sum(open(f"/proc/self/task/{{t}}/comm").read().startswith("tftrt_build") for t in os.listdir("/proc/self/task"))
    resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4 // 1024
    def until(condition):
        end = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < end, totals()
            time.sleep(0.005)
    idle = lambda: builders() == 0
"""


def test_a_storm_of_shapes(run_isolated):
    """Weights of 4 MB: a copy for each of 500 builds that wait would be 2 GB, for each of 64 still 256 MB."""
    width = 1024 if SHAPES <= 2000 else 256
    code = BEGIN + f"""
    shapes, width = {SHAPES}, {width}
    weights = np.random.default_rng(0).normal(size=(width, width)).astype(np.float32) / width
    def network(x):
        y = tf.matmul(x, tf.constant(weights))
        for i in range(20): y = tf.tanh(y * 1.01 + i)
        return y
    model = conftest._convert_function(network, [tf.TensorSpec([None, None, None, width])], dynamic=False, maximum_cached_engines=2)
    out = lambda y: np.asarray(tf.nest.flatten(y)[0])
    # Distinct shapes, the small ones first.
    pairs = sorted(((b, c) for b in range(1, 3000) for c in range(1, 1 + 3000 // b)), key=lambda pair: (pair[0] * pair[1], pair))[:shapes]
    rows = np.random.default_rng(1).normal(size=(pairs[-1][0] * pairs[-1][1], width)).astype(np.float32)
    expected = out(model.native(tf.constant(rows[None, None])))[0, 0]
    def call(b, c):
        found = out(model(tf.constant(rows[: b * c].reshape(1, b, c, width))))
        assert np.abs(found.reshape(-1, width) - expected[: b * c]).max() < 1e-4, (b, c)
    call(1, 1); until(lambda: totals()["builds"] == 1 and idle())
    before, threads, grown, started = resident(), 0, 0, totals()
    for nth, pair in enumerate(pairs[1:]):
        call(*pair)
        if nth % 10 == 0: threads, grown = max(threads, builders()), max(grown, resident() - before)
    until(idle)
    now = {{name: value - started[name] for name, value in totals().items()}}
    print("> threads", threads, "MB", grown, "shapes", len(pairs), {{name: n for name, n in now.items() if n}})
    assert len(pairs) == shapes and threads == 1 and grown < 500
    assert now["native_building"] == shapes - 1 and now["native_fallbacks"] == 0 and now["failures"] == 0
    # Each was built or given up.
    assert now["dropped_builds"] > 0 and now["builds"] >= 64 and now["builds"] + now["dropped_builds"] == shapes - 1
    """
    print(run_isolated(code, timeout=900).stdout)


# The first build is under way until `go()`, and what comes meanwhile waits.
SLOW = """
    hold = os.environ["TFTRT_FAULT"].split(":", 1)[1]
    go = lambda: os.remove(hold)
    def quick(x): return tf.nn.relu(x * 2.0 - 1.0) + 1.0
    model = conftest._convert_function(quick, [tf.TensorSpec([None, None])], dynamic=False, maximum_cached_engines=40)
    started = totals()
    count = lambda name: totals()[name] - started[name]
    def call(n):
        x = np.linspace(-1, 1, n, dtype=np.float32)[None]
        assert np.allclose(np.asarray(model(tf.constant(x))), np.maximum(x * 2 - 1, 0) + 1)
    def first(threads=1):
        for n in range(1, 1 + threads): call(n)
        until(lambda: builders() == threads)
        time.sleep(0.1)  # They have taken what they build.
"""


@pytest.fixture
def hold(tmp_path) -> dict[str, str]:
    file = tmp_path / "hold"
    file.touch()
    return {"TFTRT_FAULT": f"hold:{file}", "TF_CPP_MIN_LOG_LEVEL": "1"}


def test_the_most_wanted_and_newest_are_built_and_the_rest_is_counted(run_isolated, hold):
    code = BEGIN + SLOW + """
    first()
    for n in (10, 11, 11, 12, 13, 14, 15): call(n)
    # Of six that wait, three may: the oldest of those that were asked for once are gone.
    assert count("dropped_builds") == 3 and count("native_building") == 8 and count("builds") == 0
    go()
    until(lambda: count("builds") == 4 and idle())
    os.environ["TFTRT_BUILD"] = "never"
    for n in (1, 11, 14, 15): call(n)
    assert count("engine_calls") == 4 and count("native_no_engine") == 0
    for n in (10, 12, 13): call(n)
    assert count("engine_calls") == 4 and count("native_no_engine") == 3
    metrics = tftrt._api._library_in_use().request("metrics")["metrics"]
    assert metrics["dropped_builds"] == totals()["dropped_builds"]
    # What was given up is built if it is asked for again.
    os.environ["TFTRT_BUILD"] = "background"
    call(12)
    until(lambda: count("builds") == 5 and idle())
    call(12)
    assert count("engine_calls") == 5
    """
    run_isolated(code, env={**hold, "TFTRT_BUILD_QUEUE": "3"}, timeout=120)


def test_a_number_of_threads_a_save_that_waits_and_the_end(run_isolated, hold, tmp_path):
    """What somebody waits for is never given up, however many shapes come meanwhile."""
    code = BEGIN + SLOW + """
    from tensorflow.compiler.tf2tensorrt.ops import gen_trt_ops
    first(threads=3)
    for n in (10, 11): call(n)
    name = model.engines[0].name
    save = threading.Thread(target=lambda: gen_trt_ops.serialize_trt_resource(resource_name=name, filename=FILE))
    save.start()
    time.sleep(0.5)
    for n in range(20, 40): call(n)
    assert count("builds") == 0 and save.is_alive() and builders() == 3 and count("dropped_builds") == 19
    go()
    save.join(60)
    assert not save.is_alive()
    until(lambda: count("builds") == 6 and idle())
    os.environ["TFTRT_BUILD"] = "never"
    for n in (1, 2, 3, 10, 11, 39): call(n)
    assert count("engine_calls") == 6, totals()
    # The end of the process gives up what waits, and waits for what is under way.
    os.environ["TFTRT_BUILD"] = "background"
    open(hold, "w").close()
    for n in range(50, 60): call(n)
    threading.Timer(1, go).start()
    sys.exit(9)
    """.replace("FILE", repr(str(tmp_path / "asset")))
    done = run_isolated(code, env={**hold, "TFTRT_BUILD_QUEUE": "3", "TFTRT_BUILD_THREADS": "3"}, check=False, timeout=120)
    assert done.returncode == 9, done.stderr[-3000:]
