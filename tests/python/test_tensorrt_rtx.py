"""TensorRT-RTX's real parser and builder, through the same layer that builds engines on a GPU."""

import contextlib
import ctypes
import json
import os
import subprocess
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tensorrt_rtx


def save(folder, name, nodes, inputs, outputs, weights=()):
    """Writes ``folder/name.onnx``; inputs and outputs as (name, element type, shape)."""
    values = [[helper.make_tensor_value_info(*value) for value in side] for side in (inputs, outputs)]
    graph = helper.make_graph(nodes, name, *values, [numpy_helper.from_array(w, n) for n, w in weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    return path


def layer(folder, name, batch):
    """Relu(x * w), x of [batch, 4]."""
    weight = np.arange(12, dtype=np.float32).reshape(4, 3)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], name="multiply"),
        helper.make_node("Relu", ["product"], ["y"], name="rectify"),
    ]
    ends = [("x", TensorProto.FLOAT, [batch, 4])], [("y", TensorProto.FLOAT, [batch, 3])]
    return save(folder, name, nodes, *ends, [("w", weight)])


def bounds(low, best, high):
    return {"min": low, "opt": best, "max": high}


def one(model, profiles=None, **more):
    (answer,) = tensorrt_rtx.check([model], [profiles], **more)
    assert answer["model"] == str(model)
    return answer


def error(answer):
    assert not answer["ok"], answer
    return answer["error"]


def built(answer):
    assert answer["ok"], answer
    assert answer["plan_bytes"] > 1000
    return answer["plan_bytes"]


def test_static_shape(tmp_path):
    built(one(layer(tmp_path, "static", 2)))


def test_static_shape_with_profiles(tmp_path):
    """A converter may hand profiles for a segment whose shapes turn out to be static."""
    profile = {"x": bounds([2, 4], [2, 4], [2, 4])}
    built(one(layer(tmp_path, "static", 2), [profile, profile]))


def test_two_profiles_of_an_open_batch(tmp_path):
    model = layer(tmp_path, "batch", "n")
    small, large = {"x": bounds([1, 4], [1, 4], [8, 4])}, {"x": bounds([9, 4], [64, 4], [128, 4])}
    both, alone = built(one(model, [small, large])), built(one(model, [small]))
    assert both > alone, "the second profile has left nothing in the plan"


def test_workspace_limit(tmp_path):
    built(one(layer(tmp_path, "limited", "n"), arguments=["--workspace", str(64 << 20)]))


@pytest.mark.parametrize("options", [["--level", "0"], ["--level", "5"], ["--no-tf32"], ["--sparse"], ["--detail", "none"]])
def test_builder_options_are_taken(tmp_path, options):
    """The build reads every flag back from TensorRT, and fails where it is not as it was set."""
    built(one(layer(tmp_path, "told", "n"), arguments=options))


def test_options_that_this_version_cannot_follow(tmp_path):
    text = error(one(layer(tmp_path, "half", "n"), arguments=["--fp16"]))
    assert text.startswith("node half: TensorRT-RTX 1.7.1 has no builder flag kFP16")
    text = error(one(layer(tmp_path, "low", "n"), arguments=["--level", "-1"]))
    assert text == "node low: the builder's optimization level is 0 to 5, not -1"


def logged_all(models, *options):
    """The answers of builds in one process, and all that was logged."""
    command = [tensorrt_rtx.program(), "--lib", tensorrt_rtx.locate(), "--verbose", *options, *models]
    run = subprocess.run(command, capture_output=True, text=True)
    return [json.loads(line) for line in run.stdout.splitlines()], run.stderr


def logged(model, *options):
    """The answer of a build, and all that was logged."""
    (answer,), log = logged_all([model], *options)
    return answer, log


def test_the_detail_that_is_kept_of_layers(tmp_path):
    model = layer(tmp_path, "detailed", "n")
    for detail, whole in (("names", False), ("all", True)):
        answer, log = logged(model, "--detail", detail)
        built(answer)
        assert ("LayerType: gemm" in log) == whole, log


def test_a_timing_cache_that_tensorrt_would_not_read_again_is_not_kept(tmp_path):
    """Without a GPU, TensorRT cannot tell that a cache is of its own device, and refuses the one that it has just written: the engine
    is built all the same, and nothing is kept that would spoil the next build."""
    model, cache = layer(tmp_path, "timed", "n"), tmp_path / "cache"
    answer, log = logged(model, "--timing-cache", cache)
    built(answer)
    # TensorRT says so where it was handed a cache, and not otherwise.
    assert "Global timing cache in use" in log
    assert any(line.startswith("WARN") and "does not take the timing cache that it wrote" in line for line in log.splitlines()), log
    assert "timing_cache_bytes" not in answer and not cache.exists()
    answer, log = logged(model)
    built(answer)
    assert "timing_cache_bytes" not in answer and "Global timing cache in use" not in log


def test_a_damaged_timing_cache_is_a_warning(tmp_path):
    model, cache = layer(tmp_path, "timed", "n"), tmp_path / "cache"
    for content in (b"no timing cache", b"\0" * 4096):
        cache.write_bytes(content)
        answer, log = logged(model, "--timing-cache", cache)
        built(answer)
        assert any(line.startswith("WARN") and "the timing cache given" in line for line in log.splitlines()), log
        assert cache.read_bytes() == content, "nothing was written that TensorRT would not read"


HANDED_ON = "the build goes on with the timing cache of earlier builds"
ONE_BUILDER = "the build goes on with the builder of an earlier one"
MERGED = "the timing cache of another build is merged"


def test_the_builds_of_a_process_hand_on_one_timing_cache(tmp_path):
    """The object itself, which this TensorRT takes although it does not read what it wrote; a build that fails loses nothing."""
    good, open_batch, bad = layer(tmp_path, "good", 2), layer(tmp_path, "open", "n"), tmp_path / "bad.onnx"
    bad.write_bytes(b"\xff" * 100)
    answers, log = logged_all([good, bad, open_batch], "--twice")
    assert [answer["ok"] for answer in answers] == [True, False, True] * 2
    # All but the first that comes so far; a model that is not read never does.
    assert log.count(HANDED_ON) == 3 and log.count("Global timing cache in use") == 4, log
    # One that a build has failed with is not used again.
    assert log.count(ONE_BUILDER) == 3, log
    # That it is not read again is said once, and not asked again.
    assert log.count("does not take the timing cache that it wrote") == 1, log
    assert MERGED not in log and "does not take the timing cache of earlier builds" not in log


def test_builds_at_once_have_a_timing_cache_each_and_later_ones_merge_them(tmp_path):
    models = [layer(tmp_path, f"model_{i}", i + 1) for i in range(4)]
    answers, log = logged_all(models, "--twice", "--together")
    assert [answer["ok"] for answer in answers] == [True] * 8
    assert [answer["model"] for answer in answers] == [str(model) for model in models] * 2
    assert log.count("Global timing cache in use") == 8, log
    # How many of the first four found none that was idle is a matter of time. The second four come one by one.
    made = 8 - log.count(HANDED_ON)
    assert 1 <= made <= 4, log
    assert log.count(MERGED) >= 4 * (made - 1), log
    assert ONE_BUILDER not in log, "at once, each has its own"
    assert "cannot merge" not in log and "does not take the timing cache of earlier builds" not in log, log


def test_builds_at_once_do_not_share_what_they_are_not_asked_to(tmp_path):
    models = [layer(tmp_path, f"model_{i}", i + 1) for i in range(3)]
    answers, log = logged_all(models, "--together")
    assert [answer["ok"] for answer in answers] == [True] * 3
    assert HANDED_ON not in log and MERGED not in log and "Global timing cache in use" not in log, log


def test_default_profile_of_an_open_batch(tmp_path):
    built(one(layer(tmp_path, "default", None), dims=7))


def test_shape_values(tmp_path):
    """An input that is itself a shape: its values have bounds, and without them the profile is refused."""
    nodes = [helper.make_node("Reshape", ["x", "s"], ["z"], name="reshape"), helper.make_node("Relu", ["z"], ["y"], name="rectify")]
    inputs = [("x", TensorProto.FLOAT, ["n", 4]), ("s", TensorProto.INT64, [2])]
    model = save(tmp_path, "reshape", nodes, inputs, [("y", TensorProto.FLOAT, ["a", "b"])])
    x = bounds([1, 4], [4, 4], [8, 4])
    s = {**bounds([2], [2], [2]), "values": bounds([1, 1], [4, 4], [32, 32])}
    built(one(model, [{"x": x, "s": s}]))
    s["values"] = bounds([1, 9], [4, 4], [32, 32])
    assert "input s" in error(one(model, [{"x": x, "s": s}]))


def test_an_unknown_op_is_a_parse_error_that_names_the_node(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["z"], name="rectify"),
        helper.make_node("Frobnicate", ["z"], ["y"], name="stranger"),
    ]
    ends = [("x", TensorProto.FLOAT, [2, 4])], [("y", TensorProto.FLOAT, [2, 4])]
    text = error(one(save(tmp_path, "unknown", nodes, *ends)))
    assert "node unknown: the ONNX parser of TensorRT-RTX 1.7.1 does not take the model" in text
    assert 'at node 1 "stranger" (Frobnicate)' in text
    assert "(code 6)" in text


def test_a_truncated_model(tmp_path):
    whole = layer(tmp_path, "whole", 2).read_bytes()
    model = tmp_path / "truncated.onnx"
    model.write_bytes(whole[:-40])
    text = error(one(model))
    assert text.startswith("node truncated: the ONNX parser") and "model cannot be read (code 3)" in text


@pytest.mark.parametrize("content", [b"", b"neither protobuf nor anything else" * 9])
def test_no_model_at_all(tmp_path, content):
    model = tmp_path / "nothing.onnx"
    model.write_bytes(content)
    assert error(one(model)).startswith("node nothing: ")


@pytest.mark.parametrize(
    "x, why",
    [
        (bounds([8, 4], [4, 4], [2, 4]), "min <= opt <= max"),
        (bounds([1, 4], [9, 4], [8, 4]), "min <= opt <= max"),
        (bounds([-1, 4], [4, 4], [8, 4]), "min <= opt <= max"),
        (bounds([1, 4], [4, 5], [8, 5]), "axis 1 is 4"),
        (bounds([1], [4], [8]), "rank 2"),
    ],
)
def test_an_invalid_profile_is_named(tmp_path, x, why):
    good = {"x": bounds([1, 4], [4, 4], [8, 4])}
    text = error(one(layer(tmp_path, "profiled", "n"), [good, {"x": x}]))
    assert text.startswith("node profiled: profile 1, input x: ") and why in text


def test_an_open_shape_without_a_profile(tmp_path):
    assert "input x has the open shape [-1, 4], and there is no profile" in error(one(layer(tmp_path, "open", "n"), []))


def test_many_models_in_one_process(tmp_path):
    """Answers come in order, and a refused model leaves the next as good as the first."""
    good, bad = layer(tmp_path, "good", "n"), tmp_path / "bad.onnx"
    bad.write_bytes(b"\xff" * 100)
    absent = tmp_path / "absent.onnx"
    answers = tensorrt_rtx.check([good, bad, good, absent, good])
    assert [answer["ok"] for answer in answers] == [True, False, True, False, True]
    assert "absent.onnx" in error(answers[3])


def test_a_process_that_dies_costs_one_answer(tmp_path, monkeypatch):
    """The real program under a wrapper that kills itself when it comes to one model."""
    good, fatal = layer(tmp_path, "good", 2), layer(tmp_path, "fatal", 2)
    wrapper = tmp_path / "wrapper.sh"
    wrapper.write_text(
        "#!/bin/bash\noptions=(); for word; do\n"
        'case "$word" in *fatal.onnx) kill -SEGV $$;; *.onnx) %s "${options[@]}" "$word";; *) options+=("$word");; esac; done\n'
        % tensorrt_rtx.program()
    )
    wrapper.chmod(0o755)
    monkeypatch.setattr(tensorrt_rtx, "program", lambda: wrapper)
    answers = tensorrt_rtx.check([good, fatal, good])
    assert [answer["ok"] for answer in answers] == [True, False, True]
    assert "killed by signal 11" in error(answers[1])


def test_no_library(tmp_path):
    """A folder without TensorRT: what was looked for, where, and what to do."""
    model = layer(tmp_path, "any", 2)
    run = subprocess.run([tensorrt_rtx.program(), "--lib", tmp_path, model], capture_output=True, text=True)
    assert run.returncode == 2 and run.stdout == ""
    for part in ("libnvinfer.so.10", "libtensorrt_rtx.so.1", str(tmp_path), "TFTRT_TENSORRT_LIB"):
        assert part in run.stderr


def test_the_environment_names_the_library(tmp_path):
    """Without --lib: TFTRT_TENSORRT_LIB, a file or a folder."""
    model = layer(tmp_path, "any", 2)
    for path in (tensorrt_rtx.locate(), tensorrt_rtx.locate() / "libtensorrt_rtx.so.1"):
        environment = {**os.environ, "TFTRT_TENSORRT_LIB": str(path)}
        run = subprocess.run([tensorrt_rtx.program(), model], capture_output=True, text=True, env=environment)
        assert run.returncode == 0 and "TensorRT-RTX 1.7.1" in run.stderr, run.stderr


def test_no_library_by_name(tmp_path):
    """Without any path: every name that was tried, each with the dynamic linker's word."""
    names = ["libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so.8", "libtensorrt_rtx.so.1"]
    for name in names:
        with contextlib.suppress(OSError):
            ctypes.CDLL(name)
            pytest.skip(f"this machine has {name}")
    environment = {name: value for name, value in os.environ.items() if name != "TFTRT_TENSORRT_LIB"}
    run = subprocess.run([tensorrt_rtx.program(), layer(tmp_path, "any", 2)], capture_output=True, text=True, env=environment)
    assert run.returncode == 2
    for name in names:
        assert f"{name}: cannot open shared object file" in run.stderr


def test_no_parser(tmp_path):
    """The library alone, as on a machine that only runs engines."""
    library = tensorrt_rtx.locate() / "libtensorrt_rtx.so.1"
    (tmp_path / library.name).symlink_to(library.resolve())
    run = subprocess.run([tensorrt_rtx.program(), "--lib", tmp_path, layer(tmp_path, "any", 2)], capture_output=True, text=True)
    assert run.returncode == 1
    assert "cannot parse ONNX: its parser libtensorrt_onnxparser_rtx.so.1 is not usable" in run.stdout


def test_locate_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TFTRT_RTX_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="prepare"):
        tensorrt_rtx.locate()


def test_the_wheel_is_unpacked_to_what_is_located(tmp_path, monkeypatch):
    """`prepare` with the wheel's own layout, but small: links, nothing else unpacked, nothing left over."""
    wheel = tmp_path / "small.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("libtensorrt_rtx.so.1.7.1", "libtensorrt_onnxparser_rtx.so.1.7.1", "libtensorrt_plugins.so"):
            archive.writestr(f"package/{name}", name)
    target = tmp_path / "cache" / "1.7.1"
    monkeypatch.delenv("TFTRT_RTX_DIR", raising=False)
    monkeypatch.setattr(tensorrt_rtx, "_cache", lambda: target)
    monkeypatch.setattr(tensorrt_rtx, "_download", lambda scratch: wheel)
    assert tensorrt_rtx.prepare() == target == tensorrt_rtx.locate()
    assert (target / "libtensorrt_rtx.so.1").read_text() == "libtensorrt_rtx.so.1.7.1"
    assert len(list(target.iterdir())) == 4
    assert sorted(path.name for path in target.parent.iterdir()) == [".lock", "1.7.1"]
    # A second call finds it and downloads nothing.
    monkeypatch.setattr(tensorrt_rtx, "_download", lambda scratch: pytest.fail("downloaded again"))
    assert tensorrt_rtx.prepare() == target


def test_a_wheel_that_is_not_the_pinned_one(tmp_path, monkeypatch):
    """What pip brings is used only if it is the very wheel."""
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: (tmp_path / "other.whl").write_bytes(b"other"))
    with pytest.raises(RuntimeError, match="nothing of it was used"):
        tensorrt_rtx._download(tmp_path)
