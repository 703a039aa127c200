"""What the engines tell of themselves while they run: the host time in `tftrt.stats()`, and ranges in TensorFlow's profiles."""

import json
import pathlib

import pytest
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

import tftrt
from conftest import COUNTERS
from test_build_modes import SPECS, batch, dense, landed

HERE = str(pathlib.Path(__file__).resolve().parent)


def test_every_counter_is_known_to_the_tests_and_told_of_to_users():
    assert set(tftrt.stats()["totals"]) == COUNTERS
    for name in COUNTERS:
        assert f"\n      {name}: " in tftrt.stats.__doc__, name


# ---- stats()["host_time"] ------------------------------------------------------------------------------------------------

CALLS = """
    import sys; sys.path.insert(0, {here!r})
    import gc, json
    from tensorflow.compiler.tf2tensorrt.ops import gen_trt_ops
    import conftest, tftrt
    from test_build_modes import SPECS, batch, dense

    def tell(what):
        told = tftrt.stats()
        print("TOLD", json.dumps([what, told["host_time"], told["totals"]["engine_calls"], told["resources"]]))

    tell("at the start")
    converted = conftest._convert_function(dense, SPECS)
    converted.build([batch(2)], [batch(6)])
    tell("after the build")
    for n in (2, 3, 4, 5, 6) * 20:
        converted(batch(n))
    tell("after 100 calls")
    for n in (7, 8, 9):
        converted(batch(n))
    tell("after native calls")
    other = conftest._convert_function(dense, SPECS, dynamic=False)
    for _ in range(10):
        other(batch(4))
    tell("after another engine's")
    gen_trt_ops.serialize_trt_resource(resource_name=other.engines[0].name, filename={file!r}, delete_resource=True)
    del other
    gc.collect()
    tell("after its end")
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What a fresh process was told at each step: host_time, engine calls, resources."""
    import conftest

    code = CALLS.format(here=HERE, file=str(tmp_path_factory.mktemp("told") / "asset"))
    done = conftest._run_isolated(code, env={"TFTRT_BUILD": None})
    lines = [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("TOLD ")]
    return {what: (host, calls, resources) for what, host, calls, resources in lines}


def test_before_the_first_call_there_is_no_time(told):
    host, calls, resources = told["at the start"]
    nothing = {"count": 0, "p50_us": None, "p90_us": None, "p99_us": None, "histogram": []}
    parts = {"enqueued": {**nothing, "mean_us": None}, "replayed": {**nothing, "mean_us": None}}
    assert host == {**nothing, **parts}
    assert calls == 0 and resources == []


@pytest.mark.parametrize(
    ("when", "calls"),
    [("after the build", 1), ("after 100 calls", 101), ("after native calls", 101), ("after another engine's", 111), ("after its end", 111)],
)
def test_every_engine_call_is_timed_but_those_that_build(when, calls, told):
    host, engine_calls, _ = told[when]
    builds = {"after the build": 1, "after 100 calls": 1, "after native calls": 1}.get(when, 2)
    assert engine_calls == calls
    assert host["count"] == calls - builds
    assert sum(count for _, count in host["histogram"]) == calls - builds
    # Nothing is replayed on a CPU.
    assert host["enqueued"]["count"] == calls - builds and host["replayed"]["count"] == 0


@pytest.mark.parametrize("when", ["after 100 calls", "after its end"])
def test_the_parts_of_the_time_make_up_its_mean(when, told):
    host, _, _ = told[when]
    mean = host["enqueued"]["mean_us"]
    assert set(mean) == {"all", "find", "memory", "other"} and all(part > 0 for part in mean.values())
    assert mean["all"] == pytest.approx(mean["find"] + mean["memory"] + mean["other"])
    assert host["replayed"]["mean_us"] is None


@pytest.mark.parametrize("when", ["after 100 calls", "after another engine's", "after its end"])
def test_quantiles_are_in_order_and_within_the_histogram(when, told):
    host, _, _ = told[when]
    calls = host["count"]
    bounds = [bound for bound, _ in host["histogram"]]
    assert None not in bounds[:-1] and bounds[:-1] == sorted(set(bounds[:-1]))
    assert all(count > 0 for _, count in host["histogram"])
    assert 0 < host["p50_us"] <= host["p90_us"] <= host["p99_us"]
    for share, name in ((0.5, "p50_us"), (0.9, "p90_us"), (0.99, "p99_us")):
        # As many calls as the quantile says are in the buckets up to its own.
        within = sum(count for bound, count in host["histogram"] if bound is not None and bound < host[name])
        upto = within + next((count for bound, count in host["histogram"] if bound is None or bound >= host[name]), 0)
        assert within <= share * calls + 1e-9 and upto >= share * calls - 1e-9


def test_resources_have_their_own_times(told):
    host, calls, resources = told["after another engine's"]
    assert [one["host_time"]["count"] + one["builds"] for one in resources] == [one["engine_calls"] for one in resources]
    assert sorted(one["engine_calls"] for one in resources) == [10, 101]
    # What is gone counts in the sum.
    _, _, left = told["after its end"]
    assert [one["engine_calls"] for one in left] == [101]


# ---- TensorFlow's profiler -----------------------------------------------------------------------------------------------


def profiled(folder, calls):
    """The ranges named "tftrt ..." that TensorFlow's profiler saw while `calls()` ran: name, and duration in picoseconds."""
    tf.profiler.experimental.start(str(folder))
    try:
        calls()
    finally:
        tf.profiler.experimental.stop()
    (file,) = pathlib.Path(folder).glob("plugins/profile/*/*.xplane.pb")
    space = xplane_pb2.XSpace.FromString(file.read_bytes())
    return [
        (plane.event_metadata[event.metadata_id].name, event.duration_ps)
        for plane in space.planes
        for line in plane.lines
        for event in line.events
        if plane.event_metadata[event.metadata_id].name.startswith("tftrt ")
    ]


def test_a_build_is_a_range_in_the_profile(convert_function, stats, tmp_path, monkeypatch):
    monkeypatch.delenv("TFTRT_BUILD", raising=False)
    converted = convert_function(dense, SPECS, dynamic=False)
    ranges = profiled(tmp_path / "builds", lambda: converted(batch(4)))
    assert stats["builds"] == 1
    assert [name for name, _ in ranges] == ["tftrt build"]
    assert ranges[0][1] > 0
    # A call that builds nothing has none.
    assert profiled(tmp_path / "runs", lambda: converted(batch(4))) == []
    assert stats["engine_calls"] == 2


def test_a_build_in_the_background_too(convert_function, stats, tmp_path, monkeypatch):
    monkeypatch.setenv("TFTRT_BUILD", "background")
    converted = convert_function(dense, SPECS, dynamic=False)

    def calls():
        converted(batch(4))
        landed(stats, builds=1)

    ranges = profiled(tmp_path, calls)
    assert [name for name, _ in ranges] == ["tftrt build"]


def test_a_failed_build_ends_its_range(convert_function, stats, tmp_path, monkeypatch):
    monkeypatch.delenv("TFTRT_BUILD", raising=False)
    monkeypatch.setenv("TF_TRT_OP_FAKELIST", "BesselI0e")
    converted = convert_function(lambda x: tf.math.bessel_i0e(x * 2.0) + 1.0, SPECS)
    ranges = profiled(tmp_path, lambda: converted(batch(4)))
    assert stats["failures"] == 1
    assert [name for name, _ in ranges] == ["tftrt build"] and ranges[0][1] > 0
