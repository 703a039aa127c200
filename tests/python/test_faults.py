"""Each step that can fail fails once (TFTRT_FAULT): the process lives, the answer is TensorFlow's or a clear error, the next call is right,
and no file is left half-written. The caches on disk have the same in src/cache/disk/tests/faults.rs.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from isolated import python_path

HERE = pathlib.Path(__file__).resolve().parent

# How often each way reaches each point when nothing fails. A new step that can fail changes these on purpose.
STEPS = {
    "Save": {
        "allocate": 2,
        "bind": 2,
        "body": 2,
        "build": 1,
        "convert": 1,
        "copy": 1,
        "create": 1,
        "enqueue": 2,
        "function": 1,
        "rename": 1,
        "serialize": 1,
        "shapes": 1,
        "sync": 1,
        "sync_folder": 1,
        "write": 1,
    },
    "Serve": {
        "allocate": 4,
        "bind": 4,
        "body": 3,
        "build": 2,
        "convert": 2,
        "copy": 2,
        "create": 1,
        "deserialize": 1,
        "enqueue": 4,
        "instantiate": 1,
        "open": 1,
        "read": 1,
        "rename": 1,
        "serialize": 1,
        "shapes": 2,
        "sync": 1,
        "sync_folder": 1,
        "thread": 1,
        "write": 1,
    },
}


def steps(tmp_path, model, **env):
    """What fault_steps.py tells, and its log."""
    done = subprocess.run(
        [sys.executable, HERE / "fault_steps.py", model, tmp_path],
        env={**os.environ, "TFTRT_FAULT": "count", "PYTHONPATH": python_path(), **env},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_each_step_fails_once_and_nothing_is_lost(tmp_path, dense_model):
    told, log = steps(tmp_path, dense_model)
    print(json.dumps(told, indent=1))
    assert {way: each["reached"] for way, each in told.items()} == STEPS
    assert "steps fail on purpose in this process" in log
    total = sum(len(each["outcomes"]) for each in told.values())
    assert total == sum(sum(points.values()) for points in STEPS.values())
    print(f"{total} steps failed once each")


@pytest.mark.gpu
def test_each_step_fails_once_on_a_gpu(tmp_path, dense_model):
    """With TensorRT there are contexts, device memory and both caches on disk; which steps there are depends on its version."""
    import gpu_support

    gpu_support.device_name()
    told, _ = steps(tmp_path, dense_model)  # It makes a folder of caches for each step.
    reached = {point for each in told.values() for point in each["reached"]}
    if not os.environ.get("TFTRT_REHEARSE"):
        assert {"context", "bind", "enqueue", "allocate", "deserialize", "build", "lock", "rename"} <= reached
    assert all(each["outcomes"] for each in told.values())


def test_a_step_that_is_none_is_said(run_isolated):
    said = run_isolated("import tftrt", env={"TFTRT_FAULT": "reed:3", "TF_CPP_MIN_LOG_LEVEL": "0"}).stderr
    (line,) = [line for line in said.splitlines() if "TFTRT_FAULT" in line]
    assert '"reed:3" is neither count nor a point and a number' in line and "no fault is made" in line


def test_a_process_without_the_variable_fails_no_step():
    from tftrt import _api

    with pytest.raises(RuntimeError, match="without TFTRT_FAULT"):
        _api._library_in_use().request("faults", ask="read:1")
