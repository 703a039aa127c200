"""Bad input: each gets an error, or a word in the log and the native segment, that names what is wrong; the process lives and
the next call is right. One test a row of docs/reference/errors.md.
"""

import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from isolated import python_path
from tensorflow.compiler.tf2tensorrt.ops import gen_trt_ops
from tensorflow.core.framework import attr_value_pb2
from tensorflow.python.compiler.tensorrt import trt_convert as trt

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)


def dense(x):
    w = tf.constant(np.random.default_rng(1).standard_normal((8, 4)).astype(np.float32))
    return tf.nn.relu(tf.matmul(x, w) + 1.0)


SPECS = [tf.TensorSpec([None, 8])]


def rebuilt(converted, change):
    """The converted function after `change(node)` on its engine nodes."""
    for node in converted.engines:
        change(node)
    function = trt._construct_function_from_graph_def(converted.function, converted.graph_def)
    return lambda *inputs: tf.nest.flatten(function(*map(tf.convert_to_tensor, inputs)))[0]


def native(converted, *inputs):
    return tf.nest.flatten(converted.native(*map(tf.convert_to_tensor, inputs)))[0]


@pytest.fixture
def converted(convert_function):
    return convert_function(dense, SPECS)


@pytest.mark.parametrize(
    "attribute, value, word",
    [
        ("precision_mode", attr_value_pb2.AttrValue(s=b"FP8"), "precision_mode|FP32"),
        ("profile_strategy", attr_value_pb2.AttrValue(s=b"Widest"), "profile_strategy.*Widest.*range"),
        ("profile_strategy", attr_value_pb2.AttrValue(s=b""), "profile_strategy"),
        ("input_shapes", attr_value_pb2.AttrValue(list=attr_value_pb2.AttrValue.ListValue()), "input_shapes"),
        ("_allow_build_at_runtime", attr_value_pb2.AttrValue(i=1), "_allow_build_at_runtime has to be a bool"),
    ],
)
def test_bad_attributes_name_the_node(attribute, value, word, converted, convert_function):
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=word):
        rebuilt(converted, lambda node: node.attr[attribute].CopyFrom(value))(X)
    # The process goes on.
    again = convert_function(dense, SPECS)
    np.testing.assert_allclose(tf.nest.flatten(again(tf.constant(X)))[0], native(again, X), rtol=1e-4)


def test_missing_segment_function(converted):
    """Without a native segment there is nothing to build from and nothing to fall back to."""
    call = rebuilt(converted, lambda node: node.attr["segment_func"].func.Clear())
    with pytest.raises(tf.errors.AbortedError, match=f"'{converted.engines[0].name}' has no native segment to fall back to"):
        call(X)


def test_inputs_that_do_not_fit_run_natively(converted, stats, capfd):
    """The graph allows more than the node says it was made for."""

    def narrow(node):
        node.attr["input_shapes"].list.shape[0].dim[0].size = 5

    call = rebuilt(converted, narrow)
    for _ in range(3):
        np.testing.assert_allclose(call(X), native(converted, X), rtol=1e-5)
    assert stats["native_input_mismatch"] == 3 and stats["builds"] == 0
    assert capfd.readouterr().err.count("input 0 has the shape [3, 8], the node was made for [5,8]") == 1


def test_rank_and_batch_in_implicit_mode(convert_function, stats):
    converted = convert_function(lambda x, y: tf.nn.relu(x + 1.0) * y, [tf.TensorSpec([None, 8]), tf.TensorSpec([None, 8])], dynamic=False)
    one = np.ones([1, 8], np.float32)
    np.testing.assert_allclose(tf.nest.flatten(converted(tf.constant(X), tf.constant(one)))[0], native(converted, X, one), rtol=1e-5)
    empty = np.zeros([0, 8], np.float32)
    assert tf.nest.flatten(converted(tf.constant(empty), tf.constant(empty)))[0].shape == [0, 8]
    assert stats["native_input_mismatch"] == 2


def test_dtype_is_refused_by_tensorflow(converted):
    with pytest.raises((TypeError, ValueError, tf.errors.InvalidArgumentError)):
        converted.function(tf.constant(X, tf.float64))


def test_unseen_shape_runs_natively_and_is_said_once(converted, stats, capfd):
    converted.build([X])
    wide = np.ones([9, 8], np.float32)
    for _ in range(4):
        np.testing.assert_allclose(tf.nest.flatten(converted(tf.constant(wide)))[0], native(converted, wide), rtol=1e-5)
    assert stats["native_no_engine"] == 4 and stats["native_fallbacks"] == 4
    assert capfd.readouterr().err.count("no profile of the engine holds the input shapes") == 1


def test_forbidden_native_execution(converted, monkeypatch):
    converted.build([X])
    monkeypatch.setenv("TF_TRT_ALLOW_ENGINE_NATIVE_SEGMENT_EXECUTION", "false")
    with pytest.raises(tf.errors.AbortedError, match="User disallowed engine native segment execution.*TRTEngineOp_.*no profile"):
        converted(tf.ones([9, 8]))
    np.testing.assert_allclose(tf.nest.flatten(converted(tf.constant(X)))[0], native(converted, X), rtol=1e-4)


def test_abort_cuda_engine_build(converted, stats, monkeypatch, capfd):
    monkeypatch.setenv("TF_TRT_ABORT_CUDA_ENGINE_BUILD", "true")
    for _ in range(2):
        np.testing.assert_allclose(tf.nest.flatten(converted(tf.constant(X)))[0], native(converted, X), rtol=1e-5)
    # The failure is remembered: no second try.
    assert stats["failures"] == 1 and stats["native_no_engine"] == 2 and stats["builds"] == 0
    assert "TF_TRT_ABORT_CUDA_ENGINE_BUILD" in capfd.readouterr().err


def test_no_building_at_run_time(converted, stats):
    call = rebuilt(converted, lambda node: node.attr["_allow_build_at_runtime"].CopyFrom(attr_value_pb2.AttrValue(b=False)))
    np.testing.assert_allclose(call(X), native(converted, X), rtol=1e-5)
    assert stats["builds"] == 0 and stats["native_no_engine"] == 1


def test_an_op_whose_converter_fails(convert_function, stats, monkeypatch, capfd):
    """TF_TRT_OP_FAKELIST lets an op in that has no converter: the build fails, names node and op, and the segment runs."""
    monkeypatch.setenv("TF_TRT_OP_FAKELIST", "BesselI0e")
    converted = convert_function(lambda x: tf.math.bessel_i0e(x * 2.0) + 1.0, SPECS)
    assert "BesselI0e" in converted.segment(converted.engines[0])
    np.testing.assert_allclose(tf.nest.flatten(converted(tf.constant(X)))[0], native(converted, X), rtol=1e-5)
    assert stats["failures"] == 1 and stats["native_no_engine"] == 1
    assert "(BesselI0e) cannot be converted" in capfd.readouterr().err


def test_int8_without_a_table_says_what_runs(convert_function, stats, capfd):
    converted = convert_function(dense, SPECS, precision="INT8", use_calibration=True)
    np.testing.assert_allclose(tf.nest.flatten(converted(tf.constant(X)))[0], native(converted, X), rtol=1e-5)
    assert stats["native_calibration"] == 1
    assert "the native segment runs: INT8 calibration is not part of this version" in capfd.readouterr().err


def test_fp16_says_what_runs(convert_function, stats, capfd):
    converted = convert_function(dense, SPECS, precision="FP16")
    np.testing.assert_allclose(tf.nest.flatten(converted(tf.constant(X)))[0], native(converted, X), rtol=1e-4)
    assert stats["engine_calls"] == 1
    assert "precision_mode FP16: onnxruntime computes in FP32" in capfd.readouterr().err


@pytest.mark.parametrize("library, word", [("/nonexistent/libonnxruntime.so", "ORT_DYLIB_PATH"), (None, "OrtGetApiBase")], ids=["missing", "not_onnx_runtime"])
def test_without_onnx_runtime_the_segment_runs_and_it_is_said_once(library, word, run_isolated):
    library = library or tf.sysconfig.get_lib() + "/libtensorflow_framework.so.2"
    here = pathlib.Path(__file__).parent
    done = run_isolated(
        f"""
        import sys; sys.path.insert(0, {str(here)!r})
        import numpy as np, tensorflow as tf, conftest, test_errors, tftrt
        converted = conftest._convert_function(test_errors.dense, test_errors.SPECS)
        for _ in range(3):
            np.testing.assert_allclose(tf.nest.flatten(converted(tf.constant(test_errors.X)))[0], test_errors.native(converted, test_errors.X), rtol=1e-5)
        print(tftrt.stats()["totals"]["native_no_backend"])
        """,
        env={"ORT_DYLIB_PATH": library},
    )
    assert done.stdout.splitlines()[-1] == "3"
    assert done.stderr.count("ONNX Runtime cannot be used") == 1 and word in done.stderr


def test_an_old_onnx_runtime_is_refused(tmp_path, run_isolated):
    """A real shared library with ONNX Runtime's entry point that answers as release 1.10 does."""
    source = tmp_path / "old.c"
    source.write_text(
        """
        static const char* version(void) { return "1.10.0"; }
        static const void* api(unsigned v) { (void)v; return 0; }
        static const struct { const void* (*get)(unsigned); const char* (*version)(void); } base = {api, version};
        const void* OrtGetApiBase(void) { return &base; }
        """
    )
    library = tmp_path / "libonnxruntime.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    done = run_isolated("import tftrt; print(tftrt.versions()['backends']['onnxruntime'])", env={"ORT_DYLIB_PATH": str(library)})
    assert "'available': False" in done.stdout and "1.10.0" in done.stdout and "install the Python package onnxruntime" in done.stdout


# ---- assets -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory, dense_model):
    """A converted, built and saved model, its one asset file, an input, and what native TensorFlow gives for it."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    converter = trt.TrtGraphConverterV2(input_saved_model_dir=dense_model, use_dynamic_shape=True, dynamic_shape_profile_strategy="Range")
    converter.convert()
    converter.build(input_fn=lambda: iter([[np.ones([1, 8], np.float32)], [np.ones([6, 8], np.float32)]]))
    converter.save(str(folder))
    (asset,) = (folder / "assets").glob("trt-serialized-engine.*")
    assert asset.stat().st_size > 0
    return folder, asset.name, tf.saved_model.load(dense_model).signatures["serving_default"](x=tf.constant(X))["y"].numpy()


CALL = """
    import numpy as np, tensorflow as tf, tftrt
    from test_errors import X
    model = tf.saved_model.load({folder!r})
    before = dict(tftrt.stats()["totals"])
    result = model.signatures["serving_default"](x=tf.constant(X))["y"].numpy()
    np.save({result!r}, result)
    for name in ("loads", "builds", "engine_calls", "native_fallbacks", "rejected_plans"):
        print(name, tftrt.stats()["totals"][name])
"""


def in_a_new_process(run_isolated, folder, tmp_path, check=True):
    """Loads and calls a model: the counters, the result, and what was logged."""
    result = tmp_path / "result.npy"
    done = run_isolated(CALL.format(folder=str(folder), result=str(result)), env={"PYTHONPATH": python_path(), "TF_CPP_MIN_LOG_LEVEL": "1"}, check=check)
    if done.returncode:
        return None, None, done.stderr
    return {k: int(v) for k, v in map(str.split, done.stdout.splitlines()[-5:])}, np.load(result), done.stderr


def test_a_saved_model_runs_in_a_new_process_without_a_build(saved, run_isolated, tmp_path):
    folder, _, expected = saved
    counters, result, _ = in_a_new_process(run_isolated, folder, tmp_path)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
    assert counters == {"loads": 1, "builds": 0, "engine_calls": 1, "native_fallbacks": 0, "rejected_plans": 0}


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def record(plan):
    """A TFRecord file with one TRTEngineInstance that holds `plan`."""

    def varint(n):
        out = b""
        while n > 127:
            out, n = out + bytes([n & 127 | 128]), n >> 7
        return out + bytes([n])

    return lambda path: (lambda w: (w.write(b"\x12" + varint(len(plan)) + plan), w.close()))(tf.io.TFRecordWriter(str(path)))


@pytest.mark.parametrize(
    "damage, word",
    [
        (lambda c: c[:-7], "record 0"),
        (lambda c: c[:5], "record 0"),
        (flip, "record 0"),
        (lambda c: b"garbage" * 100, "record 0"),
        (record(b"\x00ptrt" + b"a plan of TF-TRT 2.x" * 9), "bare TensorRT plan"),
    ],
    ids=["truncated", "header_only", "bit_flipped", "garbage", "foreign"],
)
def test_a_damaged_asset_is_rejected_and_the_engine_rebuilt(damage, word, saved, run_isolated, tmp_path):
    folder, name, expected = saved
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    asset = copy / "assets" / name
    changed = damage(asset.read_bytes()) if word != "bare TensorRT plan" else damage(asset)
    if isinstance(changed, bytes):
        asset.write_bytes(changed)
    kept = asset.read_bytes()
    counters, result, log = in_a_new_process(run_isolated, copy, tmp_path)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
    assert counters == {"loads": 0, "builds": 1, "engine_calls": 1, "native_fallbacks": 0, "rejected_plans": 1}
    assert name in log and word in log and "built anew" in log
    assert asset.read_bytes() == kept


def test_an_empty_asset_is_no_engine(saved, run_isolated, tmp_path):
    """What save(save_gpu_specific_engines=False) writes."""
    folder, name, expected = saved
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    (copy / "assets" / name).write_bytes(b"")
    counters, result, _ = in_a_new_process(run_isolated, copy, tmp_path)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
    assert counters["builds"] == 1 and counters["rejected_plans"] == 0


def test_a_vanished_asset_is_an_error_that_names_it(saved, run_isolated, tmp_path):
    folder, name, _ = saved
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    (copy / "assets" / name).unlink()
    _, _, log = in_a_new_process(run_isolated, copy, tmp_path, check=False)
    assert name in log and "FileNotFoundError" in log


def test_a_full_disk_at_save_loses_nothing(saved, dense_model, tmp_path):
    """A file system of 64 KiB; where none can be mounted, a path that cannot be written."""
    converter = trt.TrtGraphConverterV2(input_saved_model_dir=dense_model, use_dynamic_shape=True)
    converter.convert()
    converter.build(input_fn=lambda: iter([[X]]))
    engine = next(node.name for node in converter._converted_graph_def.node if node.op == "TRTEngineOp")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(small)], capture_output=True).returncode == 0
    target = small / "asset" if mounted else small / "no" / "such" / "asset"
    try:
        if mounted:
            # Takes what room there is.
            (small / "filler").write_bytes(b"x" * 4096)
        with pytest.raises((tf.errors.ResourceExhaustedError, tf.errors.NotFoundError), match="asset"):
            gen_trt_ops.serialize_trt_resource(resource_name=engine, filename=str(target))
        assert not target.exists()
        assert [p.name for p in small.iterdir()] == (["filler"] if mounted else [])
    finally:
        if mounted:
            subprocess.run(["umount", str(small)], check=True)
    # The engine is still there, and can be saved elsewhere.
    gen_trt_ops.serialize_trt_resource(resource_name=engine, filename=str(tmp_path / "asset"))
    assert (tmp_path / "asset").stat().st_size > 1000


@pytest.mark.parametrize(
    "weights",
    [
        "np.random.default_rng(seed).standard_normal((8, 4)) + seed",
        # More than 4 kB: the weights enter the segment's hash by their checksum.
        "np.append(np.random.default_rng(7).standard_normal(8 * 512 - 1), seed).reshape(8, 512)",
    ],
    ids=["small", "one_element_of_many"],
)
def test_two_models_whose_engines_share_a_name(weights, run_isolated, tmp_path, stats):
    """Converted in different processes, both nodes are TRTEngineOp_000_000: each runs its own engine, and builds none anew."""
    folders = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        run_isolated(
            f"""
            import numpy as np, tensorflow as tf, tftrt
            from tensorflow.python.compiler.tensorrt import trt_convert as trt
            seed = {seed}
            class Model(tf.Module):
                @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="x")])
                def __call__(self, x):
                    w = tf.constant(({weights}).astype(np.float32))
                    return {{"y": tf.nn.relu(tf.matmul(x, w) + 1.0)}}
            tf.saved_model.save(Model(), {str(folder) + "/native"!r})
            converter = trt.TrtGraphConverterV2(input_saved_model_dir={str(folder) + "/native"!r}, use_dynamic_shape=True)
            converter.convert()
            converter.build(input_fn=lambda: iter([[np.ones({X.shape}, np.float32)]]))
            converter.save({str(folder) + "/converted"!r})
            """
        )
        folders.append(folder)
    # A model that is gone takes its engines along.
    models = [tf.saved_model.load(str(folder / "converted")) for folder in (*folders, folders[0])]
    for model, folder in zip(models, (*folders, folders[0])):
        native = tf.saved_model.load(str(folder / "native"))
        expected = native.signatures["serving_default"](x=tf.constant(X))["y"]
        np.testing.assert_allclose(model.signatures["serving_default"](x=tf.constant(X))["y"], expected, rtol=1e-4, atol=1e-5)
    assert (stats["builds"], stats["engine_calls"], stats["native_fallbacks"]) == (0, 3, 0)
