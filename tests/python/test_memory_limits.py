"""Where memory or open files are lacking: the answer is TensorFlow's, or an error in words, and the next call is right.

Each large allocation of this library's and of ONNX Runtime's fails once (memory_steps.py), and a converted model is
called under limits on memory and on open files, beside the same one without its engine (limit_steps.py). docs/security.md says what holds.
"""

import json
import os
import re
import subprocess
import sys

import pytest
from isolated import HERE, python_path

# A smaller allocation that fails ends the process: Rust's collections do so, and TensorFlow does.
LARGE = 64 << 10
# How many allocations as large as that each way makes at least, by library. A call of an engine makes none of this library's, and ONNX
# Runtime makes the same engine where it loads and where it builds.
ALLOCATIONS = {"libtftrt": {"Convert": 15, "Load": 2, "Call": 0}, "libonnxruntime": {"Load": 10, "Call": 1}}


def run(program: str, *arguments, **env: str) -> dict:
    """The JSON object that a program of this folder writes last."""
    done = subprocess.run(
        [sys.executable, HERE / program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": python_path(), "CUDA_VISIBLE_DEVICES": "", **env},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def failing_malloc(tmp_path_factory) -> str:
    """tests/cpp/failing_malloc.cc, compiled."""
    made = tmp_path_factory.mktemp("failing_malloc") / "failing_malloc.so"
    source = HERE.parent / "cpp" / "failing_malloc.cc"
    command = [os.environ.get("CXX", "g++"), "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", str(source), "-o", str(made)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no C++ compiler")
    return str(made)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> str:
    """The native and the converted model of limit_steps.py, made in a process of its own: a fork wants a TensorFlow that has run nothing."""
    folder = tmp_path_factory.mktemp("limited")
    run("limit_steps.py", "make", folder)
    return str(folder)


@pytest.mark.parametrize("library", ALLOCATIONS)
def test_each_large_allocation_fails_once(library, failing_malloc, tmp_path):
    told = run("memory_steps.py", tmp_path, library, LARGE, *ALLOCATIONS[library], LD_PRELOAD=failing_malloc)
    print(json.dumps(told, indent=1))
    for way, each in told.items():
        came = each["outcomes"].values()
        assert len(came) == each["reached"] >= ALLOCATIONS[library][way]
        # What fails is seen: an error, or other counters than usual. ONNX Runtime's own run may go well at a second try.
        seen = [one for one in came if re.match("an error|native's answer", one)]
        assert len(seen) == len(came) or library != "libtftrt", (way, came)
        assert seen or way == "Call", (way, came)


def outcomes(came: dict) -> str:
    return "\n".join(f"{model}: {result}" for model, results in came.items() for result in results)


def assert_no_worse_than_native(came: dict) -> None:
    """Every answer is right, and the converted model ends a process, or hangs, at most where it does so without its engine."""
    print(outcomes(came))
    ended = {model: [not result.startswith(("right", "error")) for result in results] for model, results in came.items()}
    assert not any(result.startswith(("wrong", "after")) for results in came.values() for result in results), outcomes(came)
    assert all(native for native, converted in zip(ended["native"], ended["converted"]) if converted), outcomes(came)
    # The last limit is enough for both, and the engine's own answer.
    assert came["native"][-1].startswith("right") and came["converted"][-1] == "right: engine_calls 2", outcomes(came)


def test_a_limit_on_memory_ends_no_process_that_native_tensorflow_survives(models):
    came = run("limit_steps.py", "memory", models)
    assert_no_worse_than_native(came)


def test_a_limit_on_open_files_ends_no_process_that_native_tensorflow_survives(models):
    came = run("limit_steps.py", "files", models)
    assert_no_worse_than_native(came)
