"""Structured fuzzing of whole SavedModels: changed attributes, functions and assets are loaded and called twice, each in a forked child.

A child may answer or give an error in words. It may not end by a signal, hang, or give other numbers where only the seed's are right.
`TFTRT_MODEL_FUZZ` is the number of inputs (300), `TFTRT_MODEL_FUZZ_FIRST` the first one (0).
"""

import json
import os
import subprocess
import sys

import pytest
from isolated import HERE, python_path

COUNT = int(os.environ.get("TFTRT_MODEL_FUZZ", "300"))
FIRST = int(os.environ.get("TFTRT_MODEL_FUZZ_FIRST", "0"))
PROCESSES = 2


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """The folder of the seeds, made in a process of its own: a fork wants a TensorFlow that has run nothing yet."""
    folder = tmp_path_factory.mktemp("seeds")
    done = subprocess.run(
        [sys.executable, HERE / "model_seeds.py", folder],
        env={**os.environ, "PYTHONPATH": python_path()},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def fuzz(seeds, first: int, count: int) -> subprocess.Popen:
    command = [sys.executable, HERE / "model_fuzzer.py", seeds, str(first), str(count)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": python_path()}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_changed_models_give_answers_or_errors(seeds):
    each = COUNT // PROCESSES
    running = [fuzz(seeds, FIRST + at * each, each) for at in range(PROCESSES)]
    ended: dict[str, int] = {}
    bad = []
    for process in running:
        out, errors = process.communicate(timeout=120 + each * 5)
        assert out.strip(), errors[-4000:]
        found = json.loads(out.splitlines()[-1])
        bad += found["bad"]
        for how, times in found["ended"].items():
            ended[how] = ended.get(how, 0) + times
    print(ended)
    assert not bad, json.dumps(bad, indent=1)
    assert sum(ended.values()) == each * PROCESSES
    # The seeds are engines that work, and the changes reach all that can be told of them.
    assert ended["same by the engine"] >= COUNT // 4
    assert ended["error"] >= COUNT // 8
