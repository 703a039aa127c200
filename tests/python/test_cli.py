"""`python -m tftrt`: the commands end to end, and what a wrong command gets."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import plan_files
import tftrt
from tftrt.cli import shapes, summary
from tftrt.cli.errors import UsageError
from tftrt.cli.main import main


def _process(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tftrt", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def converted_model(dense_model, tmp_path_factory):
    """The dense model converted by the command line for batches of 1 to 8, and the command's finished process."""
    folder = str(tmp_path_factory.mktemp("converted") / "out")
    done = _process("convert", dense_model, folder, "--dynamic", "--input-shapes", "1x8;8x8", "--max-cached-engines", "2")
    assert done.returncode == 0, done.stderr
    return folder, done


def test_convert_reports_and_saves(converted_model):
    folder, done = converted_model
    assert "[*] Total number of TensorRT engines: 1" in done.stdout
    for said in ("starting TensorFlow: ", "converting ", "building engines for 2 sets of shapes: ", "saving "):
        assert f"tftrt: {said}" in done.stderr
    # TensorFlow's start-up lines stay away.
    assert "oneDNN" not in done.stderr
    (asset,) = os.listdir(os.path.join(folder, "assets"))
    assert asset.startswith("trt-serialized-engine.TRTEngineOp_")
    assert os.path.getsize(os.path.join(folder, "assets", asset)) > 0


def test_summary_agrees_with_the_converter(converted_model, capsys):
    folder, done = converted_model
    assert main(["summary", folder]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^inputs +x: float32 \[\?, 8\]$", out, re.MULTILINE)
    assert re.search(r"^outputs +y: float32 \[\?, 4\]$", out, re.MULTILINE)
    assert re.search(r"^TRTEngineOp_\d+_\d+ +FP32 +\d+ +float32\[\?,8\] +float32\[\?,4\] +1, ", out, re.MULTILINE)
    assert "MatMul 2" in out
    percent, inside, total = re.search(r"OPs Converted: ([\d.]+)% \[(\d+)/(\d+)\]", done.stdout).groups()
    assert f"1 engine, {percent} % of the ops converted ({inside} of {total})" in out


def test_summary_of_a_model_that_was_not_converted(dense_model, capsys):
    assert main(["summary", dense_model]) == 0
    assert "no engines" in capsys.readouterr().out


# ---- inspect -------------------------------------------------------------------------------------------------------------


def test_inspect_tells_what_the_stored_engine_is(converted_model):
    """The command as it is typed; the tests below call it in this process."""
    done = _process("inspect", converted_model[0])
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"TRTEngineOp_\d+_\d+: onnxruntime \d+\.\d+\.\d+, \d+ bytes", lines[0])
    assert lines[1] == "  profile 0: [1-8, 8]"
    assert lines[2].startswith("  layers: an ONNX Runtime engine is its ONNX model; export it")
    assert len(lines) == 3
    assert "error" not in done.stderr and "oneDNN" not in done.stderr


def test_inspect_as_json(converted_model, capsys):
    folder, _ = converted_model
    assert main(["inspect", folder, "--json"]) == 0
    ((node, engines),) = json.loads(capsys.readouterr().out).items()
    (asset,) = os.listdir(os.path.join(folder, "assets"))
    assert asset == f"trt-serialized-engine.{node}"
    (engine,) = engines
    assert engine["backend"] == "onnxruntime" and engine["backend_version"] == tftrt.versions()["backends"]["onnxruntime"]["version"]
    assert engine["compute_capability"] is None and engine["input_shapes"] == [[8, 8]] and engine["profiles"] == ["[1-8, 8]"]
    # The container is in the file, and the engine in the container.
    assert 0 < engine["payload_bytes"] < engine["bytes"] < os.path.getsize(os.path.join(folder, "assets", asset))
    assert "TF_TRT_EXPORT_TRT_ENGINES_PATH" in engine["layers_error"] and "layers" not in engine


@pytest.fixture(scope="module")
def two_engines(tmp_path_factory):
    """A converted model of two engines, one for each branch of what stays in TensorFlow between them; for batches of 2 and of 5."""

    class Two(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="x")])
        def __call__(self, x):
            first = tf.nn.relu(tf.nn.relu(x + 1.0) * 2.0) - 1.0
            # No converter takes it.
            between = tf.math.bessel_i0e(first)
            return {"y": tf.nn.relu(tf.nn.relu(between + 3.0) * 4.0) - 1.0}

    folder = tmp_path_factory.mktemp("two")
    tf.saved_model.save(Two(), str(folder / "in"))
    command = ["convert", str(folder / "in"), str(folder / "out"), "--input-shapes", "2x8;5x8", "--max-cached-engines", "2"]
    assert main(command) == 0
    names = sorted(name.removeprefix("trt-serialized-engine.") for name in os.listdir(folder / "out" / "assets"))
    assert len(names) == 2
    return str(folder / "out"), names


def test_inspect_one_node(two_engines, capsys):
    folder, names = two_engines
    assert main(["inspect", folder]) == 0
    heads = re.findall(r"^(\w+): onnxruntime", capsys.readouterr().out, re.MULTILINE)
    # Two engines each, by the batch that they were built for.
    assert heads == [names[0]] * 2 + [names[1]] * 2
    assert main(["inspect", folder, "--node", names[1]]) == 0
    out = capsys.readouterr().out
    assert names[0] not in out
    # In the order in which they were used.
    assert sorted(re.findall(r"^  profile 0: (.*)$", out, re.MULTILINE)) == ["[1-2, 8]", "[1-5, 8]"]
    assert main(["inspect", folder, "--node", names[0], "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == [names[0]]
    assert sorted(engine["input_shapes"] for engine in told[names[0]]) == [[[2, 8]], [[5, 8]]]


def test_inspect_a_node_that_is_not_there(two_engines, capsys):
    folder, names = two_engines
    _fails(capsys, 1, ["inspect", folder, "--node", "TRTEngineOp_9"], "no engine file of TRTEngineOp_9", *names)
    # The beginning of a name is no name.
    _fails(capsys, 1, ["inspect", folder, "--node", names[0][:-1]], f"no engine file of {names[0][:-1]};")


@pytest.mark.parametrize("option", ["--signature", "--tag"])
def test_inspect_takes_no_option_that_it_would_not_heed(option, two_engines, capsys):
    """The files are those of the whole model; the commands that read the model itself do choose in it."""
    folder, _ = two_engines
    _fails(capsys, 2, ["inspect", folder, option, "other"], "unrecognized arguments", option)
    _fails(capsys, 1, ["summary", folder, option, "other"], "other")
    with pytest.raises(SystemExit):
        main(["inspect", "--help"])
    told = capsys.readouterr().out
    assert option not in told and "--verbose" in told and "--node" in told


def test_inspect_what_holds_no_engines(dense_model, tmp_path, capsys):
    _fails(capsys, 1, ["inspect", dense_model], dense_model, "holds no engine files", "it was not converted")
    _fails(capsys, 1, ["inspect", str(tmp_path / "none")], "none is not a folder")
    (tmp_path / "file").write_text("no model")
    _fails(capsys, 1, ["inspect", str(tmp_path / "file")], "file is not a folder")
    _fails(capsys, 2, ["inspect"], "DIR")


def test_inspect_a_model_that_was_saved_without_engines(dense_model, tmp_path, capsys):
    folder = str(tmp_path / "out")
    assert main(["convert", dense_model, folder, "--no-build"]) == 0
    capsys.readouterr()
    _fails(capsys, 1, ["inspect", folder], "holds no engine files", "saved without engines")


@pytest.fixture
def damaged(converted_model, tmp_path):
    """A copy of the converted model to damage: its folder, its asset file and the node's name."""
    folder = tmp_path / "copy"
    shutil.copytree(converted_model[0], folder)
    (asset,) = plan_files.assets(folder)
    return str(folder), asset, asset.name.removeprefix("trt-serialized-engine.")


def test_inspect_an_empty_file(damaged, capsys):
    """What save(save_gpu_specific_engines=False) writes."""
    folder, asset, node = damaged
    asset.write_bytes(b"")
    assert main(["inspect", folder]) == 0
    assert capsys.readouterr().out == f"{node}: no engine was saved\n"
    assert main(["inspect", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {node: []}


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-7], lambda content: content[:5], lambda content: content[:400] + b"?" + content[401:], lambda content: b"garbage" * 99],
    ids=["truncated", "cut_in_its_head", "one_byte", "garbage"],
)
def test_inspect_a_damaged_file(damage, damaged, capsys):
    folder, asset, _ = damaged
    content = damage(asset.read_bytes())
    assert content != asset.read_bytes()
    asset.write_bytes(content)
    _fails(capsys, 1, ["inspect", folder], str(asset), "record 0")
    assert asset.read_bytes() == content


def test_inspect_an_engine_that_cannot_be_used(damaged, capsys):
    """The file is sound, and what is in it is not: that is told of the engine, and the others are shown."""
    folder, asset, node = damaged
    plan_files.replace_plans(asset, lambda plan: plan[: len(plan) // 2])
    assert main(["inspect", folder]) == 0
    assert re.fullmatch(rf"{node}: \d+ bytes that cannot be used: .*truncated.*\n", capsys.readouterr().out)
    plan_files.replace_plans(asset, lambda plan: b"\x00ptrt" + b"a plan of TF-TRT 2.x" * 9)
    assert main(["inspect", folder, "--json"]) == 0
    ((engine,),) = json.loads(capsys.readouterr().out).values()
    assert "bare TensorRT plan" in engine["error"] and engine["bytes"] == 5 + 9 * 20 and "backend" not in engine


def test_inspect_an_engine_of_another_backend(damaged, capsys):
    """Here is no GPU: all that the file says is shown, and why its layers are not."""
    folder, asset, node = damaged
    plan_files.change_plans(asset, lambda plan: plan.header.update(backend="tensorrt", backend_version="8.6.1", compute_capability=[9, 0]))
    assert main(["inspect", folder]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{node}: tensorrt 8.6.1 for compute capability 9.0, ")
    assert "  profile 0: [1-8, 8]\n  layers: " in out


def test_run_uses_the_saved_engine(converted_model):
    done = _process("run", converted_model[0], "--batch", "5", "--steps", "3")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^inputs +x=5x8$", done.stdout, re.MULTILINE)
    assert re.search(r"^outputs +y +float32 +5x4$", done.stdout, re.MULTILINE)
    assert re.search(r"^time +[\d.]+ ms per step \(median of 3;", done.stdout, re.MULTILINE)
    # The first call and three steps, all in the engine that was saved.
    assert re.search(r"^engines +4 calls, 0 native fallbacks$", done.stdout, re.MULTILINE)


def test_run_takes_a_native_model_too(dense_model, capsys):
    assert main(["run", dense_model, "--input-shapes", "2x8;3x8", "--steps", "1"]) == 0
    out = capsys.readouterr().out
    assert "x=2x8" in out and "x=3x8" in out
    assert out.count("engines  0 calls, 0 native fallbacks") == 2
    _fails(capsys, 2, ["run", dense_model, "--input-shapes", "2x8", "--batch", "3"], "leave out --batch")


def test_convert_no_build(dense_model, tmp_path, capsys):
    folder = str(tmp_path / "out")
    assert main(["convert", dense_model, folder, "--no-build"]) == 0
    assert "building engines" not in capsys.readouterr().err
    assert main(["summary", folder]) == 0
    assert re.search(r"float32\[\?,4\] +none$", capsys.readouterr().out, re.MULTILINE)


def test_convert_says_what_it_builds_for_by_default(dense_model, tmp_path, capsys):
    assert main(["convert", dense_model, str(tmp_path / "out")]) == 0
    assert "no --input-shapes: engines are built for x=1x8" in capsys.readouterr().err


def test_help_needs_no_library():
    for arguments in (["--help"], ["convert", "--help"], ["summary", "--help"], ["inspect", "--help"], ["run", "--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "tftrt", *arguments],
            env={**os.environ, "TFTRT_LIBRARY": "/nowhere/libtftrt.so"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0
        assert done.stdout.startswith("usage: python -m tftrt")
        assert done.stderr == ""


def test_a_library_that_cannot_be_loaded_is_one_line(dense_model):
    done = subprocess.run(
        [sys.executable, "-m", "tftrt", "run", dense_model],
        env={**os.environ, "TFTRT_LIBRARY": "/nowhere/libtftrt.so"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("tftrt: error:")]
    assert errors == ["tftrt: error: TFTRT_LIBRARY names /nowhere/libtftrt.so, which is not a file"]
    assert "Traceback" not in done.stderr


def _fails(capsys, code: int, arguments: list[str], *said: str) -> None:
    """The command exits with `code` and one error line that holds all of `said`."""
    try:
        returned = main(arguments)
    except SystemExit as stopped:  # argparse's own way out.
        returned = stopped.code
    assert returned == code
    error = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(error) == 1
    for part in said:
        assert part in error[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--profile-strategy", "Optimal"], ["--profile-strategy needs --dynamic"]),
        (["--dynamic", "--profile-strategy", "Best"], ["Best"]),
        (["--precision", "FP8"], ["FP8"]),
        (["--precision", "INT8"], ["--calibration-data"]),
        (["--calibration-data", "x.npz"], ["INT8 only"]),
        (["--no-build", "--input-shapes", "1x8"], ["leave one out"]),
        (["--minimum-segment-size", "0"], ["0 is neither"]),
        (["--input-shapes", "1xy"], ["'1xy'", "no shape"]),
        (["--input-shapes", "1x9"], ["1x9 does not fit the input x: float32 [?, 8]"]),
        (["--input-shapes", "1x8x8"], ["does not fit"]),
        (["--input-shapes", "z=1x8"], ["no input 'z'", "it has x"]),
        (["--input-shapes", "1x8,1x8"], ["2 shapes for 1 inputs"]),
        (["--input-shapes", "1x8;;2x8"], ["a set is empty"]),
        (["--input-shapes", "0x8"], ["below 1"]),
    ],
)
def test_wrong_usage(dense_model, tmp_path, capsys, options, said):
    _fails(capsys, 2, ["convert", dense_model, str(tmp_path / "out"), *options], *said)
    assert not (tmp_path / "out").exists()


def test_the_output_folder_is_not_overwritten(dense_model, tmp_path, capsys):
    (tmp_path / "kept").write_text("mine")
    _fails(capsys, 2, ["convert", dense_model, str(tmp_path)], "is not empty", "--overwrite")
    _fails(capsys, 2, ["convert", dense_model, dense_model], "same folder")
    _fails(capsys, 2, ["convert", dense_model, str(tmp_path / "kept")], "is a file")
    assert (tmp_path / "kept").read_text() == "mine"


@pytest.mark.parametrize("command", ["summary", "run"])
def test_models_that_are_not_there(dense_model, tmp_path, capsys, command):
    _fails(capsys, 1, [command, str(tmp_path / "none")], "none is not a folder")
    _fails(capsys, 1, [command, str(tmp_path)], "no saved_model.pb")
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff garbage")
    _fails(capsys, 1, [command, str(tmp_path)], "cannot be read as a SavedModel")
    _fails(capsys, 1, [command, dense_model, "--signature", "other"], "no signature 'other'", "serving_default")
    _fails(capsys, 1, [command, dense_model, "--tag", "train"], "tags train", "it has: serve")


def test_open_dimensions_ask_for_shapes(tmp_path, capsys):
    class Wide(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")])
        def __call__(self, x):
            return {"y": tf.nn.relu(x) + 1.0}

    tf.saved_model.save(Wide(), str(tmp_path / "wide"))
    _fails(capsys, 2, ["run", str(tmp_path / "wide")], "x: float32 [?, ?]", "--input-shapes '1x128'")


def test_int8_calibration_data_has_to_fit(dense_model, tmp_path, capsys):
    file = str(tmp_path / "data.npz")
    command = ["convert", dense_model, str(tmp_path / "out"), "--precision", "INT8", "--calibration-data", file]
    _fails(capsys, 1, command, "data.npz cannot be read")
    np.savez(file, z=np.zeros((64, 8), np.float32))
    _fails(capsys, 1, command, "holds z; the model takes x")
    np.savez(file, x=np.zeros((8, 8), np.float32))
    _fails(capsys, 1, command, "at least one batch of 32")


INPUTS = [shapes.Input("ids", tf.int32, (None, None)), shapes.Input("mask", tf.int32, (None, None))]


def test_shape_syntax():
    assert shapes.resolve("ids=1x16,mask=1x16; mask=8x128, ids=8x128", INPUTS) == [
        {"ids": (1, 16), "mask": (1, 16)},
        {"mask": (8, 128), "ids": (8, 128)},
    ]
    assert shapes.resolve("1x16,2x3", INPUTS) == [{"ids": (1, 16), "mask": (2, 3)}]
    assert shapes.resolve("scalar", [shapes.Input("step", tf.int32, ())]) == [{"step": ()}]
    assert shapes.resolve(shapes.example(INPUTS), INPUTS) == [{"ids": (1, 128), "mask": (1, 128)}]
    for wrong in ("ids=1x16", "ids=1x16,2x3", "ids=1x16,ids=1x16", "ids=1x16,mask=1"):
        with pytest.raises(UsageError):
            shapes.resolve(wrong, INPUTS)


def test_stored_engines_reads_the_framing(tmp_path):
    file = tmp_path / "asset"
    assert summary.stored_engines(file) == "none"
    file.write_bytes(b"")
    assert summary.stored_engines(file) == "none"
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(b"x" * 1000)
        writer.write(b"y" * 500)
    assert summary.stored_engines(file) == "2, 1.5 kB"
    file.write_bytes(file.read_bytes()[:-3])
    assert summary.stored_engines(file).startswith("damaged file")
