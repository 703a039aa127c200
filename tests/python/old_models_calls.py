"""What the models of old_models.py are called with, what each call has to do, and the process that makes the calls."""

import json
import os
import pathlib
import subprocess

import isolated
import numpy as np
import old_models
import tensorflow as tf
from conftest import assert_close

HERE = pathlib.Path(__file__).resolve().parent

# Four calls of each model, in this order, by the letters of what they have to do: "B" an engine was built and ran, "E" an engine that was there ran,
# "N" the native segment ran, "C" it ran because INT8 was never calibrated.
BATCHES = [4, 16, 3, 40]
OPEN_CONV = [(4, 7, 7, 3), (4, 9, 9, 3), (4, 8, 7, 3), (16, 7, 7, 3)]
CALLS = {
    # Implicit batch: an engine for each larger batch; where engines were saved, first those are built again.
    **{f"{version}_implicit": "BBEB" for version in ("2.10", "2.12", "2.13", "2.15", "2.16")},
    **{f"{version}_implicit": "BEEB" for version in ("2.11", "2.14", "2.17")},
    "three_engines_cached": "BBEB",
    "conv": "BBEB",
    "int32_input_implicit": "BBEB",
    **dict.fromkeys(["on_gpu0", "in_a_scope", "leftovers"], "BEEB"),
    # Explicit batch without profiles: the first call's shapes, and no others.
    **{f"{version}_explicit": "BNNN" for version in ("2.11", "2.12", "2.14", "2.15", "2.17")},
    **{f"unbuilt_{strategy}": "BNNN" for strategy in old_models.STRATEGIES},
    # With saved engines: by the strategy, from the shapes that they were saved under and those of the first call.
    "2.10_explicit": "BENN",
    "2.13_explicit": "BEEN",
    "2.16_explicit": "BENN",
    "bare_Range": "BENN",
    "bare_Optimal": "BENN",
    "bare_Range+Optimal": "BENN",
    "bare_ImplicitBatchModeCompatible": "BEEN",
    "open_conv": "BEEN",
    "int32_input": "BNNN",
    "ints_on_device": "BENN",
    "two_engines": "BENN",
    **dict.fromkeys(["no_build_bare", "no_build_explicit", "no_build_unbuilt"], "NNNN"),
    **dict.fromkeys(["no_segment", "missing_file"], ""),
    "int8_table": "BEEB",
    "int8_table_explicit": "BNNN",
    "int8_no_calibration": "BEEB",
    "int8_garbage_table": "BBEB",
    **dict.fromkeys(["int8_no_table", "int8_no_table_bare"], "CCCC"),
    # TF 1's: a static engine is for batches up to max_batch_size.
    **dict.fromkeys(["v1_static", "v1_static_empty", "v1_two_engines"], "BEEN"),
    "v1_static_conv": "BNEN",
    **dict.fromkeys(["v1_dynamic", "v1_int8_table"], "BBEB"),
}


def feeds(name: str) -> list[dict[str, np.ndarray]]:
    """The inputs of a model's four calls."""
    old = old_models.ALL[name]
    random = np.random.default_rng(old.number)
    made = []
    for at, batch in enumerate(BATCHES):
        feed = {}
        for label, (dtype, shape) in zip(["x", "ids"], old.engines[0].inputs):
            shape = OPEN_CONV[at] if name == "open_conv" else [batch, *shape[1:]]
            feed[label] = random.integers(0, 10, shape).astype(np.int32) if dtype == tf.int32 else random.standard_normal(shape).astype(np.float32)
        made.append(feed)
    return made


def write_all(folder: pathlib.Path) -> pathlib.Path:
    """Writes all models into `folder`, in a process of its own: the one that asks has not seen them before they are loaded."""
    done = subprocess.run([*isolated.python(), str(HERE / "old_models.py"), str(folder)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def run_alone(folders: dict[str, pathlib.Path], place: pathlib.Path, timeout: float = 300, **env: str) -> dict[str, dict]:
    """What old_models_run.py tells of each model, with what the log said of it as "log". `folders` are by the models' names in old_models.ALL."""
    calls = {}
    for name, folder in folders.items():
        calls[str(folder)] = []
        for number, feed in enumerate(feeds(name)):
            files = {label: str(place / f"{folder.name}.{number}.{label}.npy") for label in feed}
            for label, value in feed.items():
                np.save(files[label], value)
            calls[str(folder)].append({"inputs": files})
    plan = place / "calls.json"
    plan.write_text(json.dumps(calls))
    command = [*isolated.python(), str(HERE / "old_models_run.py"), str(plan), *calls]
    done = subprocess.run(command, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "1", **env}, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    logs = dict(part.split("\n", 1) for part in done.stderr.split("@@ ")[1:])
    told = {one["folder"]: {**one, "log": logs[one["folder"]]} for one in map(json.loads, done.stdout.splitlines())}
    return {name: told[str(folder)] for name, folder in folders.items()}


def letters(told: dict, engines: int) -> str:
    """What each call did, as in CALLS; "?" where it is none of these in all its engines."""
    found, before = "", told["loaded"]
    for call in told["calls"]:
        now = call["counters"]
        did = {name: now.get(name, 0) - before.get(name, 0) for name in ("engine_calls", "builds", "native_fallbacks", "native_calibration")}
        before = now
        match [did[name] // engines for name in did]:
            case [1, 1, 0, 0]:
                found += "B"
            case [1, 0, 0, 0]:
                found += "E"
            case [0, 0, 1, 0]:
                found += "N"
            case [0, 0, 0, 1]:
                found += "C"
            case _:
                found += "?"
    return found


def of(name: str, told: dict) -> dict:
    """What `tftrt.stats()` told of the model's first engine while the model was there."""
    (mine,) = [one for one in told["resources"] if one["name"] == old_models.ALL[name].engine_names()[0]]
    return mine


def as_native(name: str, told: dict, tolerance: float = 1e-5) -> None:
    """Every output of every call is native TensorFlow's on the CPU, within `tolerance` of the largest."""
    native = old_models.native(old_models.ALL[name])
    for feed, call in zip(feeds(name), told["calls"], strict=True):
        with tf.device("/CPU:0"):
            expected = native(*map(tf.constant, feed.values()))
        found = {label: np.load(file) for label, file in call["outputs"].items()}
        assert_close(found, {label: value.numpy() for label, value in expected.items()}, tolerance)
