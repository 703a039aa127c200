"""`import tftrt`: which library it takes, what it refuses, and what it changes in TensorFlow."""

import pathlib
import re
import textwrap

import pytest
import tensorflow as tf

import tftrt
from tftrt import _frontend, _library, _tensorflow

IMPORT = """
    try:
        import tftrt
    except ImportError as error:
        print("refused:", error)
    else:
        print("loaded")
"""


def _refused(run_isolated, path) -> str:
    """The message with which `import tftrt` refuses the library at `path`, in a process that lives on; it is one line."""
    out = run_isolated(IMPORT, {"TFTRT_LIBRARY": str(path)}).stdout.strip().splitlines()
    assert len(out) == 1
    assert out[0].startswith("refused: ")
    return out[0].removeprefix("refused: ")


def _copy_built_for(version: bytes, folder: pathlib.Path) -> pathlib.Path:
    """A copy of the library that says it was built for another TensorFlow."""
    library = pathlib.Path(tftrt.versions()["library"]).read_bytes()
    marker = f"TFTRT_BUILT_FOR_TENSORFLOW={tf.__version__};".encode()
    assert marker in library
    copy = folder / "libtftrt.so"
    copy.write_bytes(library.replace(marker, b"TFTRT_BUILT_FOR_TENSORFLOW=" + version + b";"))
    return copy


def test_a_missing_library_is_named(run_isolated, tmp_path):
    assert _refused(run_isolated, tmp_path / "none.so") == f"TFTRT_LIBRARY names {tmp_path}/none.so, which is not a file"


@pytest.mark.parametrize("content", [b"", b"not a library at all"])
def test_a_file_that_is_no_library(run_isolated, tmp_path, content):
    path = tmp_path / "libtftrt.so"
    path.write_bytes(content)
    assert str(path) in _refused(run_isolated, path)


def test_a_library_for_another_tensorflow(run_isolated, tmp_path):
    # Of the same length: the bytes behind it keep their places.
    other = "2.19.1" if tf.__version__.startswith("2.18.") else "2.18.1"
    message = _refused(run_isolated, _copy_built_for(other.encode(), tmp_path))
    assert f"was built for TensorFlow {other}" in message
    assert f"TensorFlow {tf.__version__} is installed" in message
    assert f"install tensorflow=={other}" in message


@pytest.mark.parametrize(
    ("built", "running", "fits"),
    [
        ("2.20.0", "2.20.0", True),
        ("2.18.1", "2.18.0", True),
        ("2.21.0-rc1", "2.21.0-rc1", True),
        ("2.20.0", "2.21.0", False),
        ("2.21.0", "2.21.0-rc1", False),
        ("2.21.0-rc1", "2.21.0", False),
        ("2.21.0", "2.22.0-dev20261101", False),
    ],
)
def test_which_tensorflow_a_library_fits(built, running, fits):
    """The same table is in src/tf/versions.rs."""
    problem = _tensorflow.mismatch("lib.so", built, running)
    assert (problem is None) == fits
    if problem:
        assert f"built for TensorFlow {built}, but TensorFlow {running} is installed" in problem
        assert ("newer than any" in problem) == running.startswith("2.22")


def test_a_tensorflow_with_its_own_is_sent_there(run_isolated):
    code = "import tensorflow as tf\ntf.__version__ = '2.17.1'\n" + textwrap.dedent(IMPORT)
    # No library is looked for: none would do.
    out = run_isolated(code, {"TFTRT_LIBRARY": "/nowhere.so"}).stdout
    assert out.startswith("refused: TensorFlow 2.17.1 is installed, which has TF-TRT built in: use it without tftrt")
    assert _tensorflow.has_its_own("2.18.0") is None and _tensorflow.has_its_own("1.15.5")


def test_a_truncated_library(run_isolated, tmp_path):
    """The dynamic loader would let the process die of a bus error."""
    copy = tmp_path / "libtftrt.so"
    copy.write_bytes(pathlib.Path(tftrt.versions()["library"]).read_bytes()[:-1000])
    assert _refused(run_isolated, copy) == f"{copy} is cut short: 1000 bytes are missing at its end"


def test_where_the_library_is_looked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("TFTRT_LIBRARY", str(tmp_path / "mine.so"))
    assert _library.candidates() == [tmp_path / "mine.so"]
    monkeypatch.delenv("TFTRT_LIBRARY")
    package = pathlib.Path(tftrt.__file__).parent
    root = pathlib.Path(__file__).resolve().parents[2]
    assert _library.candidates() == [package / "libtftrt.so", root / "target/release/libtftrt.so"]


def test_loading_twice_changes_nothing():
    from tensorflow.compiler.tf2tensorrt.ops import gen_trt_ops
    from tensorflow.python.compiler.tensorrt import trt_convert

    before = (trt_convert.array_ops, trt_convert._get_tensorrt_rewriter_config, gen_trt_ops.trt_engine_op)
    tftrt.load()
    _frontend.revive(tftrt._api._library_in_use())
    after = (trt_convert.array_ops, trt_convert._get_tensorrt_rewriter_config, gen_trt_ops.trt_engine_op)
    assert all(one is other for one, other in zip(before, after))


def test_the_stock_converter_is_unmodified():
    import importlib.util
    import inspect

    from tensorflow.python.compiler.tensorrt import trt_convert

    spec = importlib.util.find_spec("tensorflow.python.compiler.tensorrt.trt_convert")
    for name in ("TrtGraphConverterV2", "TrtGraphConverter", "_get_tensorrt_rewriter_config"):
        assert inspect.getsourcefile(inspect.unwrap(getattr(trt_convert, name))) == spec.origin


def test_only_the_converter_sees_another_array_ops():
    from tensorflow.python.compiler.tensorrt import trt_convert
    from tensorflow.python.ops import array_ops

    assert type(array_ops).__name__ == "module"
    assert trt_convert.array_ops is not array_ops
    assert trt_convert.array_ops.placeholder is array_ops.placeholder
    assert type(trt_convert.rewriter_config_pb2).__name__ == "module"
    assert isinstance(array_ops.zeros([]), tf.Tensor)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="this machine has a GPU")
def test_without_a_gpu_the_device_is_told_as_it_is():
    from tensorflow.python.compiler.tensorrt import trt_convert

    device = trt_convert.array_ops.zeros([]).device
    assert "CPU:0" in device
    assert "gpu:0" in device.lower()


@pytest.mark.gpu
@pytest.mark.skipif(not tf.config.list_physical_devices("GPU"), reason="this machine has no GPU")
def test_with_a_gpu_a_conversion_for_the_cpu_is_refused(dense_model):
    from tensorflow.python.compiler.tensorrt import trt_convert

    converter = trt_convert.TrtGraphConverterV2(input_saved_model_dir=dense_model)
    with tf.device("CPU:0"), pytest.raises(ValueError, match="not a GPU"):
        converter.convert()


def test_the_converter_s_bool_for_an_enum_is_taken():
    """With protobuf 7.34 and later the stock code alone raises TypeError here."""
    from tensorflow.core.protobuf import rewriter_config_pb2
    from tensorflow.python.compiler.tensorrt import trt_convert

    config = trt_convert._get_tensorrt_rewriter_config(
        conversion_params=trt_convert.DEFAULT_TRT_CONVERSION_PARAMS, is_dynamic_op=True, is_v2=True
    )
    assert type(config) is rewriter_config_pb2.RewriterConfig
    assert config.remapping == 0
    assert config.experimental_disable_folding_quantization_emulation
    assert config.custom_optimizers[0].name == "TensorRTOptimizer"


def test_versions_tell_the_truth():
    found = tftrt.versions()
    assert found["tftrt"] == tftrt.__version__
    assert found["tensorflow"] == found["built_for_tensorflow"] == tf.__version__
    assert set(found["backends"]) == {"tensorrt", "onnxruntime"}
    assert found["backends"]["onnxruntime"]["available"] is True
    import onnxruntime

    assert found["backends"]["onnxruntime"]["version"] == onnxruntime.__version__


def test_the_backend_of_this_machine():
    expected = "tensorrt" if tf.config.list_physical_devices("GPU") else "onnxruntime"
    assert tftrt.backend() == expected


def test_onnxruntime_is_found_but_not_imported(run_isolated):
    code = """
        import os, sys, tftrt
        print(os.environ["ORT_DYLIB_PATH"])
        print("onnxruntime" in sys.modules)
    """
    path, imported = run_isolated(code, {"ORT_DYLIB_PATH": None}).stdout.split()
    assert re.search(r"onnxruntime/capi/libonnxruntime\.so\.\d", path)
    assert imported == "False"


def test_a_given_onnxruntime_is_kept(run_isolated):
    out = run_isolated("import os, tftrt; print(os.environ['ORT_DYLIB_PATH'])", {"ORT_DYLIB_PATH": "/given.so"}).stdout
    assert out.strip() == "/given.so"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"available": False, "error": "no TensorRT library was found"}, _frontend.API_LEVEL),
        ({"available": True, "family": "TensorRT", "version": "8.6.0"}, (8, 6, 0)),
        ({"available": True, "family": "TensorRT", "version": "10.16.1"}, (10, 16, 1)),
        # The converter would take it for an ancient one.
        ({"available": True, "family": "TensorRT-RTX", "version": "1.7.1"}, _frontend.API_LEVEL),
    ],
)
def test_the_version_that_the_converter_is_told(state, expected):
    assert _frontend.reported_tensorrt_version({"tensorrt": state}) == expected


def test_registered_op_converters():
    from tensorflow.compiler.tf2tensorrt import _pywrap_py_utils

    ops = _pywrap_py_utils.get_registered_op_converters()
    assert {"MatMul", "Conv2D", "Relu", "Softmax"} <= set(ops)
    assert len(ops) == len(set(ops))


def test_a_request_that_is_unknown():
    with pytest.raises(RuntimeError, match="no-such-command"):
        tftrt._api._library_in_use().request("no-such-command")
