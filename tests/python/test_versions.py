"""What the plugin says of the TensorRT that is there, or is not, each in a process with another TFTRT_TENSORRT_LIB."""

import contextlib
import ctypes
import json
import shutil
import subprocess

import pytest
import tensorflow as tf

import tensorrt_rtx

NAMES = ["libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so.8", "libtensorrt_rtx.so.1"]

ASK = """
    import json
    import tftrt
    from tensorflow.compiler.tf2tensorrt import _pywrap_py_utils as utils
    from tensorflow.python.compiler.tensorrt import trt_convert
    told = [utils.get_linked_tensorrt_version(), utils.get_loaded_tensorrt_version()]
    trt_convert._check_trt_version_compatibility()
    state = tftrt.versions()["backends"]["tensorrt"]
    assert state == tftrt.versions()["backends"]["tensorrt"]
    print(json.dumps({"state": state, "told": told, "backend": tftrt.backend()}))
"""


@pytest.fixture
def ask(run_isolated):
    """What a process with this TFTRT_TENSORRT_LIB (None: unset) answers."""

    def run(path, code=ASK, **environment):
        out = run_isolated(code, {"TFTRT_TENSORRT_LIB": None if path is None else str(path), **environment}).stdout
        return json.loads(out.splitlines()[-1])

    return run


def absent(answer) -> str:
    """The error of an answer that there is no TensorRT; the converter works on, at the plugin's own level."""
    assert answer["state"].keys() == {"available", "error"}
    assert answer["state"]["available"] is False
    assert answer["told"] == [[10, 0, 0], [10, 0, 0]]
    assert answer["backend"] == "onnxruntime"
    return answer["state"]["error"]


@pytest.mark.parametrize("a_file", [False, True])
def test_tensorrt_rtx(ask, a_file):
    folder = tensorrt_rtx.locate()
    library = folder / "libtensorrt_rtx.so.1"
    answer = ask(library if a_file else folder)
    assert answer["state"] == {"available": True, "family": "TensorRT-RTX", "version": "1.7.1", "library": str(library)}
    # Not 1.7.1, which the converter would refuse.
    assert answer["told"] == [[10, 0, 0], [10, 0, 0]]
    assert answer["backend"] == ("tensorrt" if tf.config.list_physical_devices("GPU") else "onnxruntime")


def test_a_folder_that_the_linker_looks_in(ask):
    """By name: the answer has the file that was found, not only the name."""
    for name in NAMES[:3]:
        with contextlib.suppress(OSError):
            ctypes.CDLL(name)
            pytest.skip(f"this machine has {name}")
    folder = tensorrt_rtx.locate()
    state = ask(None, LD_LIBRARY_PATH=str(folder))["state"]
    assert state["family"] == "TensorRT-RTX"
    assert state["library"] == str((folder / "libtensorrt_rtx.so.1").resolve())


def test_a_tensorrt_of_each_form_of_version(ask, tmp_path):
    """The converter is told the version that the library says. A library that only says its version is enough for that."""
    for number, version in [(8600, [8, 6, 0]), (101600, [10, 16, 0]), (110400, [11, 4, 0])]:
        library = tmp_path / f"libnvinfer.so.{version[0]}"
        source = f"int getInferLibVersion(void) {{ return {number}; }}"
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", library, "-"], input=source, text=True, check=True)
        answer = ask(library)
        expected = {"available": True, "family": "TensorRT", "version": ".".join(map(str, version)), "library": str(library)}
        assert answer["state"] == expected
        assert answer["told"] == [version, version]


def test_a_folder_without_tensorrt(ask, tmp_path):
    error = absent(ask(tmp_path))
    for part in [*NAMES, str(tmp_path), "TFTRT_TENSORRT_LIB", "pip install"]:
        assert part in error


def test_a_file_that_is_no_library(ask, tmp_path):
    path = tmp_path / "libnvinfer.so.10"
    path.write_bytes(b"not an ELF file")
    assert str(path) in absent(ask(path))


def test_a_file_that_is_not_there(ask, tmp_path):
    assert f"{tmp_path}/none.so" in absent(ask(tmp_path / "none.so"))


def test_a_library_that_is_not_tensorrt(ask):
    error = absent(ask("libc.so.6"))
    assert "libc.so.6 is not a TensorRT library" in error and "getInferLibVersion" in error


def test_a_version_that_is_too_old(ask, tmp_path):
    library = tmp_path / "libnvinfer.so.7"
    source = "int getInferLibVersion(void) { return 7203; }"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", library, "-"], input=source, text=True, check=True)
    error = absent(ask(library))
    assert "TensorRT 7.2.3, which this build does not know" in error and "TensorRT 8.6+" in error


def test_no_variable_and_no_tensorrt(ask, tmp_path):
    for name in NAMES:
        with contextlib.suppress(OSError):
            ctypes.CDLL(name)
            pytest.skip(f"this machine has {name}")
    error = absent(ask(None, LD_LIBRARY_PATH=str(tmp_path)))
    for name in NAMES:
        assert f"{name}: cannot open shared object file" in error
    for part in ("dynamic linker", str(tmp_path), "TFTRT_TENSORRT_LIB", "pip install"):
        assert part in error


def test_tensorrt_as_pip_installs_it_is_found(ask, tmp_path):
    """`pip install tensorrt-cu12` brings a package `tensorrt_libs`, where the dynamic linker does not look."""
    package = tmp_path / "tensorrt_libs"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('it is looked up, not imported')")
    library = package / "libnvinfer.so.10"
    source = "int getInferLibVersion(void) { return 101600; }"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", library, "-"], input=source, text=True, check=True)
    code = f"    import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + ASK
    assert ask(None, code)["state"]["library"] == str(library)
    # What the user sets comes first.
    elsewhere = tmp_path / "other" / "libnvinfer.so.10"
    elsewhere.parent.mkdir()
    shutil.copy(library, elsewhere)
    assert ask(elsewhere, code)["state"]["library"] == str(elsewhere)
