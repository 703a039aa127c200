"""Converted models in C++ sessions, and through TensorFlow's C API: the outputs are those of native TensorFlow, and engines computed them."""

import cpp_programs
import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.compiler.tensorrt import trt_convert as trt

DEVICES = cpp_programs.DEVICES
# TF32 in products, on a GPU.
TOLERANCE = {"CPU": 1e-5, "GPU": 2e-3}


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((5, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def converted(dense_model, inputs, tmp_path_factory):
    """The folder of a converted model, made where the test runs: with a GPU, its saved engines are TensorRT's."""
    folder = str(tmp_path_factory.mktemp("cpp") / "converted")
    converter = trt.TrtGraphConverterV2(input_saved_model_dir=dense_model, use_dynamic_shape=True)
    converter.convert()
    converter.build(lambda: iter([(tf.constant(inputs),), (tf.constant(inputs[:1]),)]))
    converter.save(folder)
    return folder


@pytest.fixture(scope="module")
def expected(dense_model, inputs) -> np.ndarray:
    return tf.saved_model.load(dense_model).signatures["serving_default"](tf.constant(inputs))["y"].numpy()


@pytest.fixture
def folders(tmp_path, inputs) -> list[str]:
    (tmp_path / "out").mkdir()
    return [f"--inputs={cpp_programs.write_tensors(tmp_path / 'in', {'x': inputs})}", f"--outputs={tmp_path / 'out'}"]


def check(done, tmp_path, expected, device, calls: int) -> None:
    """The output is native's, and all calls ran on the engine that the model brought."""
    found = cpp_programs.read_tensors(tmp_path / "out")
    assert list(found) == ["y"]
    assert_close(found["y"], expected, TOLERANCE[device])
    totals = cpp_programs.totals(done)
    assert totals["engine_calls"] == calls and totals["native_fallbacks"] == 0
    if device == "CPU":
        assert totals["loads"] == 1 and totals["builds"] == 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("way", ["loaded", "linked", "preloaded"])
def test_session(way, device, converted, expected, folders, tmp_path):
    programs, library = cpp_programs.cpp_folder(), str(cpp_programs.library())
    arguments = [f"--model_path={converted}", "--iterations=3", *folders]
    if way == "loaded":
        done = cpp_programs.run(programs / "session", *arguments, f"--plugin={library}", device=device)
    elif way == "linked":
        done = cpp_programs.run(programs / "session_linked", *arguments, device=device)
    else:
        done = cpp_programs.run(programs / "session", *arguments, device=device, LD_PRELOAD=library)
    check(done, tmp_path, expected, device, calls=3)


@pytest.mark.parametrize("device", DEVICES)
def test_inputs_that_are_on_the_device(device, converted, expected, folders, tmp_path):
    done = cpp_programs.run(
        cpp_programs.cpp_folder() / "session_linked", f"--model_path={converted}", "--iterations=3", "--on_device", *folders, device=device
    )
    assert f"device:{device}:0" in next(line for line in done.stdout.splitlines() if line.startswith("inputs on "))
    check(done, tmp_path, expected, device, calls=3)


@pytest.mark.parametrize("device", DEVICES)
def test_a_model_on_another_file_system(device, converted, expected, folders, tmp_path):
    """From ram:// into a session, its engines saved there by the op, and these in a second session."""
    programs, library = cpp_programs.cpp_folder(), str(cpp_programs.library())
    done = cpp_programs.run(programs / "remote", f"--model_path={converted}", f"--plugin={library}", *folders, device=device)
    for name in ("first", "second"):
        found = cpp_programs.read_tensors(tmp_path / "out" / name)
        assert list(found) == ["y"]
        assert_close(found["y"], expected, TOLERANCE[device])
    totals = cpp_programs.totals(done)
    assert (totals["engine_calls"], totals["loads"], totals["builds"], totals["rejected_plans"]) == (6, 2, 0, 0), totals
    assert not any(count for name, count in totals.items() if name.startswith("native_")), totals
    # Each engine's own file, and none that was written beside it.
    names = [line.removeprefix("asset ") for line in done.stdout.splitlines() if line.startswith("asset ")]
    assert len(names) == 1 and names[0].startswith("trt-serialized-engine.TRTEngineOp_") and not names[0].endswith(".tmp")


def test_inputs_that_the_program_makes_up(converted):
    """As the guide's program is called; the batch is beyond the model's profile, so the native segment runs, and says so."""
    done = cpp_programs.run(cpp_programs.cpp_folder() / "session_linked", f"--model_path={converted}", "--batch_size=64", "--iterations=2")
    assert "shape: [64,4]" in done.stdout
    assert cpp_programs.totals(done)["native_fallbacks"] == 2
    assert "no profile of the engine holds the input shapes" in done.stderr


def test_a_session_without_the_plugin_says_what_is_missing(converted):
    done = cpp_programs.run(cpp_programs.cpp_folder() / "session", f"--model_path={converted}", check=False)
    assert done.returncode == 1
    assert "no op TRTEngineOp is registered: give --plugin" in done.stderr


def test_a_model_that_is_not_there(tmp_path):
    done = cpp_programs.run(cpp_programs.cpp_folder() / "session_linked", f"--model_path={tmp_path}/none", check=False)
    assert done.returncode == 1 and f"{tmp_path}/none" in done.stderr


def c_api(device, converted, inputs, tmp_path, *more: str, check: bool = True):
    """Runs the example c_api: the model through TF_LoadLibrary, TF_LoadSessionFromSavedModel and TF_SessionRun."""
    (tmp_path / "x").write_bytes(inputs.tobytes())
    with open(f"{converted}/saved_model.pb", "rb") as file:
        signature = saved_model_pb2.SavedModel.FromString(file.read()).meta_graphs[0].signature_def["serving_default"]
    program = cpp_programs.rust_program("c_api", "example")
    dims = "x".join(map(str, inputs.shape))
    feed = f"--input={signature.inputs['x'].name}=float:{dims}:{tmp_path / 'x'}"
    fetch = f"--output={signature.outputs['y'].name}={tmp_path / 'y'}"
    return cpp_programs.run(program, *more, converted, *(a for b in (feed, fetch) for a in b.split("=", 1)), device=device, check=check)


@pytest.mark.parametrize("device", DEVICES)
def test_c_api(device, converted, inputs, expected, tmp_path):
    done = c_api(device, converted, inputs, tmp_path, "--plugin", str(cpp_programs.library()), "--steps", "3")
    assert f"TensorFlow {tf.__version__}" in done.stdout
    found = np.frombuffer((tmp_path / "y").read_bytes(), np.float32).reshape(expected.shape)
    assert_close(found, expected, TOLERANCE[device])
    totals = cpp_programs.totals(done)
    assert totals["engine_calls"] == 3 and totals["native_fallbacks"] == 0


def test_c_api_without_the_plugin(converted, inputs, tmp_path):
    done = c_api("CPU", converted, inputs, tmp_path, check=False)
    assert done.returncode == 1
    assert "Op type not registered" in done.stderr


def test_c_api_with_something_that_is_no_plugin(converted, inputs, tmp_path):
    (tmp_path / "no.so").write_bytes(b"no library")
    done = c_api("CPU", converted, inputs, tmp_path, "--plugin", str(tmp_path / "no.so"), check=False)
    assert done.returncode == 1 and "no.so" in done.stderr
