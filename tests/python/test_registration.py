"""What the library registers, and when it refuses to."""

import ctypes
import pathlib
import shutil

import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.framework import op_def_registry

import tftrt
from tftrt import _library

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPS = ["TRTEngineOp", "CreateTRTResourceHandle", "InitializeTRTResource", "SerializeTRTResource", "GetCalibrationDataOp"]
# The OpDefs as TensorFlow 2.17.1 has them, where the checkout stands beside them.
REFERENCE = ROOT.parent / "shared" / "reference" / "op_defs"


def parse(path):
    return text_format.Parse(path.read_text(), op_def_pb2.OpDef())


@pytest.mark.parametrize("name", OPS)
def test_op_defs_are_tf_trt_s_field_for_field(name):
    ours = parse(ROOT / "op_defs" / f"{name}.pbtxt")
    assert op_def_registry.get(name) == ours
    if REFERENCE.is_dir():
        assert parse(REFERENCE / f"{name}.pbtxt") == ours


@pytest.mark.parametrize("name", OPS)
def test_kernels_are_there_for_cpu_and_gpu(name):
    from tensorflow.python.framework import kernels

    devices = {kernel.device_type for kernel in kernels.get_registered_kernels_for_op(name).kernel}
    assert devices == {"CPU", "GPU"}


def test_another_tensorflow_is_refused_in_one_error(tmp_path, run_isolated):
    """A copy of the library that says it was built for another release, loaded without the package's own check."""
    copy = tmp_path / "libtftrt.so"
    content = pathlib.Path(_library.find_library()).read_bytes()
    ours = f"TFTRT_BUILT_FOR_TENSORFLOW={tf.__version__};".encode()
    assert content.count(ours) == 1
    other = b"TFTRT_BUILT_FOR_TENSORFLOW=" + b"9" + tf.__version__[1:].encode() + b";"
    copy.write_bytes(content.replace(ours, other))
    done = run_isolated(
        f"""
        import ctypes, tensorflow as tf
        module = tf.load_op_library({str(copy)!r})
        assert not hasattr(module, "trt_engine_op")
        library = ctypes.CDLL({str(copy)!r})
        library.tftrt_load_error.restype = ctypes.c_char_p
        print(library.tftrt_load_error().decode())
        """
    )
    assert f"was built for TensorFlow 9{tf.__version__[1:]}, this process runs {tf.__version__}; nothing was registered" in done.stdout
    assert done.stderr.count("was built for TensorFlow") == 1
    done = run_isolated("import tftrt", env={"TFTRT_LIBRARY": str(copy)}, check=False)
    assert done.returncode == 1
    assert "ImportError" in done.stderr.splitlines()[-1] and "TensorFlow 9" in done.stderr.splitlines()[-1]


def test_an_op_that_is_there_already_is_said_and_nothing_aborts(tmp_path, run_isolated):
    """The same library twice, from two files: the second finds its ops taken."""
    copy = tmp_path / "libtftrt_again.so"
    shutil.copy(_library.find_library(), copy)
    done = run_isolated(
        f"""
        import tftrt, tensorflow as tf, ctypes
        tf.load_op_library({str(copy)!r})
        library = ctypes.CDLL({str(copy)!r})
        library.tftrt_load_error.restype = ctypes.c_char_p
        print(library.tftrt_load_error().decode())
        print(tftrt.versions()["backends"]["onnxruntime"]["available"])
        """
    )
    assert "already has an op named TRTEngineOp" in done.stdout
    assert "True" in done.stdout


def test_a_request_that_makes_no_sense_is_answered():
    library = ctypes.CDLL(str(_library.find_library()))
    library.tftrt_request.restype = ctypes.c_void_p
    library.tftrt_free.argtypes = [ctypes.c_void_p]
    for request in (None, b"", b"{", b"[]", b'{"command": "fly"}', b"\xff\xfe"):
        answer = library.tftrt_request(request)
        text = ctypes.string_at(answer)
        library.tftrt_free(answer)
        assert b'"error"' in text, request


def test_counters_are_there_before_anything_ran(run_isolated):
    done = run_isolated("import tftrt; print(tftrt.stats())")
    assert "'engine_calls': 0" in done.stdout and "'native_fallbacks': 0" in done.stdout
    assert tftrt.stats()["totals"].keys() >= {"builds", "evictions", "rejected_plans"}
