"""The C++ and Rust programs that tests drive: where they are, and how they are run.

TFTRT_CPP_DIR names a folder of programs that were built elsewhere (`tests/cpp/build.py`, `cargo build --release --examples --bins`),
for a machine without compilers. Else they are built here, once a process of pytest, and kept in target/; cargo's are taken from around
TFTRT_EXAMPLES where that is set: they are built for the TensorFlow that is tested.
"""

import functools
import importlib.util
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from tftrt import _library

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# Where nothing hangs, a program is done in seconds.
TIMEOUT = 240

# On the CPU in every run of the tests, on a GPU where these are selected.
DEVICES = [pytest.param("CPU", id="cpu"), pytest.param("GPU", id="gpu", marks=pytest.mark.gpu)]


def library() -> pathlib.Path:
    """The libtftrt.so that this process has loaded."""
    return _library.find_library().resolve()


@functools.cache
def cpp_folder() -> pathlib.Path:
    """The folder of the C++ programs."""
    given = os.environ.get("TFTRT_CPP_DIR")
    if given:
        return pathlib.Path(given).resolve()
    spec = importlib.util.spec_from_file_location("tftrt_cpp_build", ROOT / "tests/cpp/build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    return build.build(ROOT / "target/cpp", library())


@functools.cache
def rust_program(name: str, kind: str) -> pathlib.Path:
    """A program of cargo's; `kind` is "example" or "bin"."""
    given = os.environ.get("TFTRT_CPP_DIR")
    if given:
        return pathlib.Path(given).resolve() / name
    examples = os.environ.get("TFTRT_EXAMPLES")
    if examples:
        folder = pathlib.Path(examples).resolve()
        return (folder if kind == "example" else folder.parent) / name
    done = subprocess.run(["cargo", "build", "--release", "--quiet", f"--{kind}", name], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ROOT / "target/release" / ("examples" if kind == "example" else "") / name


def environment(device: str, **more: str) -> dict[str, str]:
    """This process's environment, with TensorFlow and the plugin where the loader finds them; on "CPU" no GPU is seen.

    `import tftrt` has put the places of ONNX Runtime and TensorRT into it.
    """
    folders = [tf.sysconfig.get_lib(), str(library().parent), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    env = {**os.environ, "LD_LIBRARY_PATH": ":".join(folders), "TF_CPP_MIN_LOG_LEVEL": "1", **more}
    if device == "CPU":
        env["CUDA_VISIBLE_DEVICES"] = ""
    return env


def run(program: pathlib.Path, *arguments: str, device: str = "CPU", check: bool = True, timeout: float = TIMEOUT, **env: str):
    """Runs a program; its CompletedProcess. With `check`, an exit code other than 0 fails the test with all that was written."""
    done = subprocess.run(
        [str(program), *map(str, arguments)], env=environment(device, **env), capture_output=True, text=True, timeout=timeout, check=False
    )
    if check and done.returncode:
        pytest.fail(f"{program.name} exited with {done.returncode}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr[-8000:]}")
    return done


def totals(done) -> dict:
    """The plugin's counters, which a program writes as its last line."""
    return json.loads(done.stdout.splitlines()[-1])["totals"]


def write_tensors(folder: pathlib.Path, tensors: dict) -> str:
    """A TensorProto in `folder` for each tensor, by name; gives the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in tensors.items():
        (folder / f"{name}.pb").write_bytes(tf.make_tensor_proto(value).SerializeToString())
    return str(folder)


def read_tensors(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """What a program wrote into `folder`."""
    out = {}
    for file in sorted(folder.glob("*.pb")):
        proto = tf.make_tensor_proto(0)
        proto.ParseFromString(file.read_bytes())
        out[file.stem] = tf.make_ndarray(proto)
    return out
