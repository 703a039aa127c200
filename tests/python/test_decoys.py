"""Native code comes from where it was installed, never from the current directory (docs/deploy/security.md).

A folder holds a decoy under each name that the library, its Python package or tftrt-convert opens or imports. Each decoy says its own
name when it is loaded. Processes that run in that folder load none. A control shows that the decoys would run.
"""

import os
import shutil
import subprocess
import sys

import pytest
from isolated import python_path

import cpp_programs
import tftrt
from tftrt import _library


def own_path() -> str:
    """PYTHONPATH with this package's folder: an editable install is found behind the current directory, where a folder `tftrt` lies."""
    return os.pathsep.join([python_path(), os.path.dirname(os.path.dirname(tftrt.__file__))])


SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
__attribute__((constructor)) static void loaded(void) {
  Dl_info info;
  if (dladdr((void*)loaded, &info)) fprintf(stderr, "DECOY %s\\n", info.dli_fname);
}
"""
# What is opened by a bare name.
BARE = [
    *(f"libnvinfer.so.{n}" for n in (8, 10, 11)),
    *(f"libnvonnxparser.so.{n}" for n in (8, 10, 11)),
    "libtensorrt_rtx.so.1",
    "libtensorrt_onnxparser_rtx.so.1",
    *(f"lib{name}.so{end}" for name in ("cuda", "nvToolsExt", "nvtx3interop") for end in ("", ".1")),
    "libonnxruntime.so",
    *(f"lib{name}.so.2" for name in ("tensorflow", "tensorflow_cc", "tensorflow_framework")),
    "libtftrt.so",
]
# What is found in a Python package, in the folder that it is in there.
PACKAGED = [
    "tensorrt_libs/libnvinfer.so.10",
    "onnxruntime/capi/libonnxruntime.so.1.99.0",
    "tftrt/libtftrt.so",
    "target/release/libtftrt.so",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder with all decoys."""
    folder = tmp_path_factory.mktemp("decoys")
    first = folder / BARE[0]
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", first, "-"], input=SOURCE, text=True, check=True)
    for name in [*BARE[1:], *PACKAGED]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(first, folder / name)
    return folder


def decoys(command, folder, **env) -> set[str]:
    """The decoys that a process in `folder` loads, by their names there."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": own_path(), **env}
    for name in ("TFTRT_TENSORRT_LIB", "ORT_DYLIB_PATH"):
        environment.pop(name, None) if name not in env else None
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [line.removeprefix("DECOY ") for line in done.stderr.splitlines() if line.startswith("DECOY ")]
    return {os.path.relpath(os.path.join(folder, line), folder) for line in lines}


# Both backends are asked for.
ASK = "import tftrt; print(tftrt.versions()['backends']['onnxruntime']['library'])"
# And an engine is built and called, which asks for NVTX.
BUILD = (
    ASK
    + """
import os, tensorflow as tf
from tensorflow.python.compiler.tensorrt import trt_convert as trt
converter = trt.TrtGraphConverterV2(input_saved_model_dir=os.environ["MODEL"], use_dynamic_shape=True)
converter.convert()
converter.build(input_fn=lambda: iter([[tf.ones([3, 8])]]))
assert tftrt.stats()["totals"]["engine_calls"] == 1
"""
)
# As a program without the Python package: only the dynamic linker looks.
PLAIN = """
import ctypes, sys, tensorflow as tf
tf.load_op_library(sys.argv[1])
c = ctypes.CDLL(sys.argv[1])
c.tftrt_request.restype = ctypes.c_void_p
print(ctypes.string_at(c.tftrt_request(b'{"command": "version"}')).decode())
"""


# An empty entry of PYTHONPATH is the current directory, and a relative one is below it. A variable that names no file falls back to nothing.
WAYS = {
    "-c": (["-c", BUILD], {}),
    "-m": (["-m", "tftrt", "stats"], {}),
    "PYTHONPATH": (["-c", ASK], {"PYTHONPATH": os.pathsep.join(["", ".", own_path()]), "TFTRT_TENSORRT_LIB": "none/libnvinfer.so.10"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_python_in_that_folder_loads_none(folder, dense_model, way):
    # A package in full for one way, and folders alone for the others.
    written = [folder / name / "__init__.py" for name in ("tensorrt_libs", "onnxruntime") if way == "-c"]
    for file in written:
        file.write_text("raise RuntimeError('it is looked up, not imported')")
    try:
        arguments, env = WAYS[way]
        assert decoys([sys.executable, *arguments], folder, MODEL=str(dense_model), **env) == set()
    finally:
        for file in written:
            file.unlink()


def test_a_program_without_the_package_loads_none(folder):
    assert decoys([sys.executable, "-P", "-c", PLAIN, _library.find_library()], folder) == set()


def test_the_decoys_would_run(folder, tmp_path):
    """The control: by LD_LIBRARY_PATH, which is the user's own, a program loads the decoys of both backends."""
    names = [name for name in BARE if name.startswith(("libnvinfer", "libtensorrt_rtx", "libonnxruntime"))]
    for name in names:
        shutil.copy(folder / name, tmp_path / name)
    found = decoys([sys.executable, "-P", "-c", PLAIN, _library.find_library()], tmp_path, LD_LIBRARY_PATH=str(tmp_path))
    assert found == set(names)


def test_tftrt_convert_in_that_folder_loads_none(folder, dense_model):
    program = cpp_programs.rust_program("tftrt-convert", "bin")
    env = {"LD_LIBRARY_PATH": cpp_programs.environment("CPU")["LD_LIBRARY_PATH"]}
    assert decoys([program, dense_model, folder / "converted"], folder, **env) == set()


def test_the_library_is_linked_by_no_relative_path():
    """RUNPATH: where the dynamic linker looks for what it needs, and for what it opens by a bare name."""
    done = subprocess.run(["readelf", "-d", str(_library.find_library())], capture_output=True, text=True, check=True)
    entries = [line.split("[", 1)[1].rstrip("]").split(":") for line in done.stdout.splitlines() if "path" in line.lower() and "[" in line]
    for entry in sum(entries, []):
        assert entry.startswith(("/", "$ORIGIN")), entry
