"""Many threads on one engine op, with more shapes than engines: nothing is wrong, nothing is stuck, nothing falls back."""

import os

import pytest

import gpu_support

SECONDS = float(os.environ.get("TFTRT_STRESS_SECONDS", "60"))


@pytest.mark.parametrize("seconds", [pytest.param(2.0, id="short"), pytest.param(SECONDS, id="long", marks=pytest.mark.gpu)])
def test_sixteen_threads_and_eight_shapes_while_engines_are_evicted(seconds, run_isolated, request):
    if request.node.get_closest_marker("gpu"):
        gpu_support.device_name()
    told, log = gpu_support.isolated(
        run_isolated, f"tell(**gpu_support.stress({seconds}))", watchdog=int(seconds) + 200, check=False
    )
    assert told["exit code"] == 0, log[-8000:]
    assert told["stuck"] == 0 and told["errors"] == [] and told["wrong"] == []
    assert min(told["calls"]) > 0
    counters = told["counters"]
    assert counters["evictions"] > 0 and counters["builds"] > 2 and counters["failures"] == 0
    assert counters["native_fallbacks"] == 0
    assert counters["engine_calls"] == sum(told["calls"])
