"""The soak of tests/soak, for a few seconds: everything at once, every answer checked. What it says of memory needs a longer run
(python tests/soak/soak.py). `TFTRT_SOAK_SECONDS` is how long requests are made (15).
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

SOAK = pathlib.Path(__file__).resolve().parents[1] / "soak"
SECONDS = float(os.environ.get("TFTRT_SOAK_SECONDS", "15"))


@pytest.mark.parametrize("device", ["CPU", pytest.param("GPU", marks=pytest.mark.gpu)])
def test_everything_at_once_for_a_short_time(device, tmp_path):
    command = [sys.executable, str(SOAK / "soak.py"), "--seconds", str(SECONDS), "--reload-every", "0.5", "--shift", "2", "--out", str(tmp_path)]
    hidden = {"CUDA_VISIBLE_DEVICES": "-1"} if device == "CPU" else {}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300 + 3 * SECONDS, check=False, env={**os.environ, **hidden})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    report = json.loads((tmp_path / "soak.json").read_text())
    assert report["failed"] == [] and report["threads"] == 16 and report["reloads"] > 0
    assert report["versions"]["backend"] == ("onnxruntime" if device == "CPU" else "tensorrt")
    counters = report["counters"]
    assert counters["engine_calls"] > 0 and counters["evictions"] > 0 and report["native_calls"]["native_building"]["calls"] > 0


def watched(run_isolated, code: str):
    prelude = f"import sys, time, threading; sys.path.insert(0, {str(SOAK)!r}); from watchdog import Watchdog\n"
    return run_isolated(prelude + code, check=False, timeout=60)


def test_a_run_that_stands_still_is_ended_with_its_stacks(run_isolated):
    code = "def stuck():\n    threading.Event().wait()\nthreading.Thread(target=stuck, daemon=True).start()\nWatchdog(0.5)\ntime.sleep(30)"
    done = watched(run_isolated, code)
    assert done.returncode == 1
    assert "Timeout" in done.stderr and "in stuck" in done.stderr and "most recent call first" in done.stderr


def test_one_thread_that_stands_still_ends_the_run(run_isolated):
    code = "dog = Watchdog(60)\ndog.check({'moves': time.monotonic()})\ndog.patience = 1\ndog.check({'moves': time.monotonic(), 'stands': time.monotonic() - 2})"
    done = watched(run_isolated, code)
    assert done.returncode == 1 and "nothing was finished by stands for 2 s" in done.stderr and "<module>" in done.stderr


def test_growth_is_found_and_its_error_is_honest():
    sys.path.insert(0, str(SOAK))
    import random

    import memory

    chance = random.Random(1)
    x = [i / 60 for i in range(900)]
    noise, flat, growing = 0.0, [], []
    for minute in x:
        noise = 0.95 * noise + chance.gauss(0, 50)  # As memory moves: what is held now is held in the next second.
        flat.append(10_000 + noise)
        growing.append(10_000 + noise + 200 * minute)
    slope, error, *_ = memory.growth(x, flat)
    assert abs(slope) < 4 * error
    # The error of the samples one by one would be several times smaller, and wrong.
    assert error > 2 * memory.line(x, flat)[1]
    slope, error, *_ = memory.growth(x, growing)
    assert abs(slope - 200) < 4 * error and slope - 3 * error > 64
