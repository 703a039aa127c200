"""What is promised about files of others (docs/deploy/security.md) and needs TensorFlow to be shown."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from isolated import python_path
from tensorflow.python.compiler.tensorrt import trt_convert as trt

import plan_files

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, dense_model):
    """A converted, built and saved model, and what native TensorFlow gives."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    converter = trt.TrtGraphConverterV2(input_saved_model_dir=dense_model, use_dynamic_shape=True)
    converter.convert()
    converter.build(input_fn=lambda: iter([[X]]))
    converter.save(str(folder))
    return folder, tf.saved_model.load(dense_model).signatures["serving_default"](x=tf.constant(X))["y"].numpy()


CALL = """
    import json, sys
    import numpy as np, tensorflow as tf, tftrt
    from tftrt import _api
    from test_security import X
    for folder in sys.argv[1:]:
        before = dict(tftrt.stats()["totals"])
        _api._library_in_use().request("faults", ask="count")
        model = tf.saved_model.load(folder)
        loaded = _api._library_in_use().request("faults")["reached"].get("deserialize", 0)
        y = model.signatures["serving_default"](x=tf.constant(X))["y"].numpy().tolist()
        after = tftrt.stats()["totals"]
        changed = {name: after[name] - before[name] for name in ("loads", "builds", "rejected_plans", "native_fallbacks")}
        print("@" + json.dumps({"deserialized": loaded, "y": y, **changed}), flush=True)
        del model
        import gc
        gc.collect()
"""


def in_a_new_process(*folders):
    """For each model: whether a backend was given bytes while it was loaded, its result, the counters; and the log of all."""
    import textwrap

    env = {**os.environ, "TFTRT_FAULT": "count", "PYTHONPATH": python_path(), "TF_CPP_MIN_LOG_LEVEL": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CALL), *map(str, folders)], env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line[1:]) for line in done.stdout.splitlines() if line.startswith("@")], done.stderr


def flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


# How a plan is changed, and whether a backend may see its bytes.
PLANS = {
    "sound": (lambda plan: plan, 1),
    "bare": (lambda plan: b"ftrt" + bytes(500), 0),
    "flipped in the payload": (lambda plan: flip(plan, len(plan) - 100), 0),
    "flipped in the header": (lambda plan: flip(plan, 80), 0),
    "cut": (lambda plan: plan[:-1], 0),
    "of another backend": (lambda plan: changed(plan, backend="tensorrt"), 0),
    "of another version": (lambda plan: changed(plan, backend_version="0.0.1"), 0),
}


def changed(content: bytes, **header) -> bytes:
    plan = plan_files.Plan.decode(content)
    plan.header.update(header)
    return plan.encode()


def test_no_backend_sees_a_plan_that_was_not_checked(saved, tmp_path):
    folder, expected = saved
    for name, (change, _) in PLANS.items():
        shutil.copytree(folder, tmp_path / name)
        (asset,) = plan_files.assets(tmp_path / name)
        plan_files.replace_plans(asset, change)
    told, _ = in_a_new_process(*(tmp_path / name for name in PLANS))
    for (name, (_, seen)), each in zip(PLANS.items(), told, strict=True):
        assert each["deserialized"] == seen, name
        assert (each["loads"], each["rejected_plans"]) == (seen, 1 - seen), name
        np.testing.assert_allclose(each["y"], expected, rtol=1e-4, atol=1e-5)


def test_a_file_of_as_many_segments_as_engines(saved, tmp_path):
    """The most engines that a file may hold, each of a segment of its own and none sound: the time to load and to call grows with their number,
    and not with its square (which would be hours; the process has minutes)."""
    folder, expected = saved
    shutil.copytree(folder, tmp_path / "many")
    (asset,) = plan_files.assets(tmp_path / "many")
    (instance,) = plan_files.read_asset(asset)
    plan = plan_files.Plan.decode(instance.plan)
    plan.payload = b"x"
    plans = []
    for n in range(65_536):
        plan.header["segment_sha256"] = f"{n:064x}"
        plans.append(plan_files.Instance(instance.fields, plan.encode()))
    plan_files.write_asset(asset, plans)
    (told,), log = in_a_new_process(tmp_path / "many")
    assert (told["loads"], told["rejected_plans"], told["builds"], told["native_fallbacks"]) == (0, 65_536, 1, 0)
    assert log.count("engine 65535") == 0
    np.testing.assert_allclose(told["y"], expected, rtol=1e-4, atol=1e-5)


def test_an_engine_file_that_leads_out_of_the_model_is_not_read(saved, tmp_path):
    folder, expected = saved
    shutil.copytree(folder, tmp_path / "out")
    (asset,) = plan_files.assets(tmp_path / "out")
    asset.rename(tmp_path / "elsewhere")
    asset.symlink_to(tmp_path / "elsewhere")
    # One that stays inside is as good as a file.
    shutil.copytree(folder, tmp_path / "in")
    (inside,) = plan_files.assets(tmp_path / "in")
    inside.rename(tmp_path / "in" / "engine")
    inside.symlink_to(pathlib.Path("..") / "engine")
    (out, within), log = in_a_new_process(tmp_path / "out", tmp_path / "in")
    assert (out["deserialized"], out["loads"], out["rejected_plans"], out["builds"]) == (0, 0, 1, 1)
    assert "leads out of the model's folder" in log and asset.name in log
    assert (within["loads"], within["rejected_plans"]) == (1, 0)
    for each in (out, within):
        np.testing.assert_allclose(each["y"], expected, rtol=1e-4, atol=1e-5)


def test_weights_in_another_file_are_not_opened(saved, tmp_path):
    """An ONNX model in a sound container, whose weights are said to be in /etc/passwd."""
    import onnx

    folder, expected = saved
    shutil.copytree(folder, tmp_path / "model")
    (asset,) = plan_files.assets(tmp_path / "model")

    def point_elsewhere(plan):
        model = onnx.load_from_string(plan.payload)
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/passwd")
        plan.payload = model.SerializeToString()

    plan_files.change_plans(asset, point_elsewhere)
    (told,), log = in_a_new_process(tmp_path / "model")
    assert (told["loads"], told["rejected_plans"], told["builds"]) == (0, 1, 1)
    assert "is in another file, which is not opened" in log
    np.testing.assert_allclose(told["y"], expected, rtol=1e-4, atol=1e-5)


def test_inspect_reads_engine_files_alone_and_prints_what_they_say_as_text(saved, tmp_path, capsys):
    from tftrt.cli.main import main

    folder = shutil.copytree(saved[0], tmp_path / "model")
    (asset,) = plan_files.assets(folder)
    plan_files.replace_plans(asset, lambda plan: changed(plan, backend_version="1\x1b[2J\nforged: line"))
    assert main(["inspect", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "1\\x1b[2J\\nforged: line" in said and all(line.isprintable() for line in said.splitlines())
    # No name leads to another file, and nobody waits for a pipe.
    asset.rename(tmp_path / "secret")
    os.mkfifo(asset)
    for node in ("../../secret", f"{asset.name}/../../../secret", "", "/etc/passwd"):
        assert main(["inspect", str(folder), "--node", node]) != 0
        assert "holds no engine file of" in capsys.readouterr().err
    assert main(["inspect", str(folder)]) != 0
    assert "not a regular file" in capsys.readouterr().err


def test_a_report_takes_names_of_models_for_no_paths(tmp_path):
    from tftrt.cli import report_model

    (tmp_path / "model" / "assets").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"")
    (tmp_path / "model" / "assets" / "trt-serialized-engine.x").mkdir()
    assert report_model._stored("x/../../../secret", str(tmp_path / "model")) is None
