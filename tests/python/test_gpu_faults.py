"""Faults on a GPU: plans and files that are not what they should be, libraries that are not TensorRT, native segments that fail too.

Each time: the result is native TensorFlow's, or there is an error that says what is wrong; the process lives; the next call is right.
Memory that runs out is in test_gpu_memory.py, files of the cache on disk in test_gpu_cache.py.
"""

import gc
import json
import shutil
import subprocess
import threading

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.compiler.tensorrt import trt_convert as trt

import gpu_support
import plan_files
from gpu_support import TOLERANCE, close, only_tensorrt, result

pytestmark = pytest.mark.gpu
X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)


@pytest.fixture(autouse=True)
def device():
    return gpu_support.device_name()


@pytest.fixture(scope="module")
def expected(dense_model):
    return tf.saved_model.load(dense_model).signatures["serving_default"](x=tf.constant(X))["y"].numpy()


@pytest.fixture(scope="module")
def saved(tmp_path_factory, dense_model):
    """A converted, built and saved model. Its engine is gone from this process, so that a load reads the file."""
    gpu_support.device_name()
    folder = tmp_path_factory.mktemp("saved") / "model"
    converter = trt.TrtGraphConverterV2(input_saved_model_dir=dense_model, use_dynamic_shape=True)
    converter.convert()
    converter.build(input_fn=lambda: iter([[X]]))
    converter.save(str(folder))
    del converter
    gc.collect()
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of `saved` to damage: its folder and its asset file."""
    shutil.copytree(saved, tmp_path / "model")
    (asset,) = plan_files.assets(tmp_path / "model")
    return tmp_path / "model", asset


def load_and_call(folder, times: int = 1):
    model = tf.saved_model.load(str(folder))
    results = [model.signatures["serving_default"](x=tf.constant(X))["y"].numpy() for _ in range(times)]
    return results[-1], model


def test_the_file_as_it_was_saved_is_used(copy, expected, stats):
    """What the tests below change is what would have been used."""
    folder, _ = copy
    found, _model = load_and_call(folder)
    close(found, expected, TOLERANCE)
    assert stats["loads"] == 1 and stats["builds"] == 0 and stats["rejected_plans"] == 0 and stats["engine_calls"] == 1


def flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def in_the_payload(plan: bytes) -> bytes:
    return flip(plan, len(plan) - len(plan_files.Plan.decode(plan).payload) // 2)


def header(**values):
    return lambda asset: plan_files.change_plans(asset, lambda plan: plan.header.update(values))


def plans(change):
    return lambda asset: plan_files.replace_plans(asset, change)


def contents(change):
    def damage(asset):
        asset.write_bytes(change(asset.read_bytes()))

    return damage


DAMAGES = {
    "another_compute_capability": (header(compute_capability=[1, 7]), "built for compute capability 1.7"),
    "another_version": (header(backend_version="0.0.1"), "0.0.1"),
    "another_backend": (header(backend="vulkan"), "vulkan"),
    "unsound_header": (header(profiles=[{"shapes": 7}]), "header cannot be read"),
    "newer_format": (lambda asset: plan_files.change_plans(asset, lambda plan: setattr(plan, "format", 99)), "format 99"),
    "plan_truncated": (plans(lambda plan: plan[: len(plan) // 2]), "truncated"),
    "plan_cut_in_its_header": (plans(lambda plan: plan[:40]), "truncated"),
    "bit_flipped_in_the_payload": (plans(in_the_payload), "SHA-256"),
    "bit_flipped_in_the_header": (plans(lambda plan: flip(plan, 80)), "SHA-256"),
    "bit_flipped_in_the_magic": (plans(lambda plan: flip(plan, 3)), "damaged"),
    "bare_garbage": (plans(lambda plan: b"\x00ptrt" + b"no plan of anyone's " * 50), "bare|cannot be|refus|deserial"),
    "file_truncated": (contents(lambda content: content[:-7]), "record 0"),
    "file_bit_flipped": (contents(lambda content: flip(content, len(content) // 2)), "record 0"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_plan_that_does_not_fit_is_rejected_with_a_word_and_rebuilt(damage, copy, expected, stats, capfd, monkeypatch):
    change, word = DAMAGES[damage]
    folder, asset = copy
    # The cache on disk has a sound copy of the engine.
    monkeypatch.setenv("TFTRT_CACHE_DIR", "none")
    change(asset)
    kept = asset.read_bytes()
    gc.collect()
    stats.reset()
    capfd.readouterr()
    found, _model = load_and_call(folder, times=2)
    close(found, expected, TOLERANCE)
    counted = {name: stats[name] for name in ("loads", "engine_calls", "native_fallbacks", "rejected_plans")}
    assert counted == {"loads": 0, "engine_calls": 2, "native_fallbacks": 0, "rejected_plans": 1}
    assert stats["builds"] == 1
    log = capfd.readouterr().err
    assert asset.name in log
    assert any(each in log for each in word.split("|")), log[-3000:]
    assert asset.read_bytes() == kept


@pytest.mark.parametrize("payload", ["garbage", "truncated", "empty"])
def test_a_payload_that_the_backend_refuses(payload, saved, expected, tmp_path, run_isolated):
    """The container is sound and says what it should, and only TensorRT can tell: what was written by a broken disk before it was hashed."""
    changes = {"garbage": lambda p: b"\x00garbage" * 300, "truncated": lambda p: p[: len(p) // 2], "empty": lambda p: b""}
    shutil.copytree(saved, tmp_path / "model")
    (asset,) = plan_files.assets(tmp_path / "model")
    plan_files.change_plans(asset, lambda plan: setattr(plan, "payload", changes[payload](plan.payload)))
    told, log = gpu_support.isolated(
        run_isolated,
        f"""
        import test_gpu_faults
        y, model = test_gpu_faults.load_and_call({str(tmp_path / "model")!r}, times=2)
        tell(y=y.tolist(), **tftrt.stats()["totals"])
        """,
        TFTRT_CACHE_DIR=str(tmp_path / "cache"),
    )
    close(np.asarray(told["y"], np.float32), expected, TOLERANCE)
    assert told["rejected_plans"] == 1 and told["loads"] == 0
    assert asset.name in log


@pytest.mark.parametrize("how", ["replaced", "in_place"])
def test_a_file_that_changes_while_it_is_loaded(how, copy, expected, stats):
    """Sound, of another version, and truncated files follow one another while the model is loaded twenty times: a load finds one of them, or
    half of one, and the result is right."""
    folder, asset = copy
    sound = asset.read_bytes()
    header(backend_version="0.0.1")(asset)
    forms = [sound, asset.read_bytes(), sound[: len(sound) // 2]]
    done = threading.Event()
    rounds = [0]

    def change():
        while not done.is_set():
            content = forms[rounds[0] % len(forms)]
            if how == "replaced":
                new = asset.with_name(".new")
                new.write_bytes(content)
                new.replace(asset)
            else:
                # As a copy over the file does it: cut to nothing, then filled.
                asset.write_bytes(content)
            rounds[0] += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(20):
            found, model = load_and_call(folder)
            close(found, expected, TOLERANCE)
            del model
            gc.collect()
    finally:
        done.set()
        thread.join()
    assert rounds[0] > 20
    # The last word: the sound file loads, and nothing of the others has stuck.
    asset.write_bytes(sound)
    gc.collect()
    stats.reset()
    found, _model = load_and_call(folder)
    close(found, expected, TOLERANCE)
    assert stats["loads"] == 1 and stats["rejected_plans"] == 0


def reshaped(x):
    """[batch, 8] as rows of three: sizes that are no multiple of three fail, in an engine and natively."""
    w = tf.constant(np.random.default_rng(2).standard_normal((3, 4)).astype(np.float32))
    return tf.nn.relu(tf.matmul(tf.reshape(x, [-1, 3]), w)) * 2.0


@pytest.mark.parametrize("built", [True, False], ids=["the_engine_fails", "no_engine"])
def test_the_native_segment_fails_as_well(built, convert_function, stats):
    """The error is TensorFlow's own, and says why no engine ran."""
    converted = convert_function(reshaped, [tf.TensorSpec([None, 8])])
    sets = [np.ones([n, 8], np.float32) for n in ((3, 9) if built else (3,))]
    converted.build(*[[x] for x in sets])
    with pytest.raises(tf.errors.InvalidArgumentError) as failure:
        result(converted, np.ones([4, 8], np.float32))
    message = str(failure.value)
    assert converted.engines[0].name in message
    assert "the native segment" in message and " failed, after: " in message
    assert "Input to reshape is a tensor with 32 values" in message
    assert ("the engine failed" if built else "no profile") in message
    # Both are as before.
    stats.reset()
    for _ in range(3):
        close(result(converted, sets[0]), result(converted.native, sets[0]), TOLERANCE)
    assert stats["engine_calls"] == 3 and stats["native_fallbacks"] == 0


# ---- libraries -----------------------------------------------------------------------------------------------------------

THREE_CALLS = """
    from gpu_support import batch, dense, dense_specs, result
    converted = conftest._convert_function(dense, dense_specs())
    worst = 0.0
    for n in (1, 2, 3):
        expected = result(converted.native, batch(n))
        worst = max(worst, float(np.abs(result(converted, batch(n)) - expected).max() / np.abs(expected).max()))
    tell(worst=worst, state=tftrt.versions()["backends"]["tensorrt"], **tftrt.stats()["totals"])
"""


def old_tensorrt(folder):
    """A real shared library that answers as TensorRT 7.0.0 does."""
    source = folder / "old.c"
    source.write_text(
        """
        int getInferLibVersion(void) { return 7000; }
        void* createInferBuilder_INTERNAL(void* logger, int version) { (void)logger; (void)version; return 0; }
        void* createInferRuntime_INTERNAL(void* logger, int version) { (void)logger; (void)version; return 0; }
        """
    )
    library = folder / "libnvinfer.so.7"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


@only_tensorrt
@pytest.mark.parametrize("kind", ["missing", "not_tensorrt", "not_a_library", "wrong_major"])
def test_without_a_fit_tensorrt_the_segment_runs_and_it_is_said_once(kind, tmp_path, run_isolated):
    if kind == "missing":
        library = tmp_path / "no_such" / "libnvinfer.so.8"
    elif kind == "not_tensorrt":
        library = f"{tf.sysconfig.get_lib()}/libtensorflow_framework.so.2"
    elif kind == "not_a_library":
        library = tmp_path / "libnvinfer.so.8"
        library.write_text("not a library")
    else:
        library = old_tensorrt(tmp_path)
    told, log = gpu_support.isolated(run_isolated, THREE_CALLS, TFTRT_TENSORRT_LIB=str(library))
    assert told["worst"] <= TOLERANCE
    assert told["native_no_backend"] == 3 and told["engine_calls"] == 0
    assert not told["state"]["available"] and told["state"]["error"]
    said = [line for line in log.splitlines() if "TRTEngineOp_" in line and ("TensorRT" in line or "libnvinfer" in line)]
    assert len(said) == 1 and str(library) in log, json.dumps(said) + log[-3000:]
