"""Plans as TF-TRT 2.x stored them, TensorRT's own bytes without a container: used by the model that they are part of, if the loaded TensorRT
takes them.

The plans are built here, by this library, and stored bare. In a rehearsal they are ONNX models: ONNX Runtime takes none that is bare, so
what is held then is that each is refused with a word, and that the answers are right all the same.
"""

import pathlib
import shutil

import numpy as np
import plan_files
import pytest
import tensorflow as tf
from gpu_support import REHEARSAL, TOLERANCE, device_name, isolated
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.compiler.tensorrt import trt_convert as trt

pytestmark = pytest.mark.gpu

HALF_TOLERANCE = 1e-2
BUILT = (2, 6)


def build(native: str, to: pathlib.Path, *, dynamic: bool = True, strategy: str = "Range", precision: str = "FP32", rows=BUILT) -> pathlib.Path:
    device_name()
    converter = trt.TrtGraphConverterV2(
        input_saved_model_dir=native, use_dynamic_shape=dynamic, dynamic_shape_profile_strategy=strategy, precision_mode=precision
    )
    converter.convert()
    converter.build(lambda: iter([[np.ones([n, 8], np.float32)] for n in rows]))
    converter.save(str(to))
    return to


def change_nodes(model: pathlib.Path, change) -> None:
    path = model / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    nodes = [node for graph in saved.meta_graphs for function in graph.graph_def.library.function for node in function.node_def]
    engines = [node for node in nodes if node.op == "TRTEngineOp"]
    assert engines
    for node in engines:
        change(node)
    path.write_bytes(saved.SerializeToString())


def make_bare(model: pathlib.Path, change=lambda payload: payload) -> pathlib.Path:
    """As TF-TRT stored it: the plan alone, and no hash on the node."""
    (asset,) = plan_files.assets(model)
    plan_files.replace_plans(asset, lambda content: change(plan_files.Plan.decode(content).payload))
    change_nodes(model, lambda node: node.attr.pop("_tftrt_segment_hash"))
    return model


@pytest.fixture(scope="module")
def model(dense_model, tmp_path_factory) -> pathlib.Path:
    return make_bare(build(dense_model, tmp_path_factory.mktemp("bare") / "model"))


def served(run_isolated, model, native, rows=(2, 3, 6), **env):
    """Both models on batches of so many rows, in a fresh process with a cache of its own."""
    code = f"""
        loaded = [tf.saved_model.load(folder) for folder in ({str(model)!r}, {native!r})]
        model, native = (one.signatures["serving_default"] for one in loaded)
        worst = []
        for n in {rows!r}:
            x = tf.constant(gpu_support.batch(n))
            y, expected = model(x=x)["y"].numpy(), native(x=x)["y"].numpy()
            assert y.shape == expected.shape and y.dtype == expected.dtype
            worst.append(float(np.abs(y - expected).max() / np.abs(expected).max()))
        resources = tftrt.stats()["resources"]
        tell(worst=worst, totals=tftrt.stats()["totals"], rejected=[text for r in resources for text in r["rejected"]])
    """
    told, _ = isolated(run_isolated, code, TFTRT_CACHE_DIR="none", **env)
    return told["worst"], told["totals"], told["rejected"]


def used(totals: dict, rejected: list, calls: int) -> None:
    """The plan served so many calls, and nothing was built. In a rehearsal it was refused instead, and the segment ran."""
    if REHEARSAL:
        assert len(rejected) == 1 and "a bare TensorRT plan" in rejected[0] and "onnxruntime does not try it" in rejected[0]
        assert totals["loads"] == 0 and totals["native_no_engine"] == calls
        return
    assert rejected == [] and totals["rejected_plans"] == 0
    assert totals["loads"] == 1 and totals["engine_calls"] == calls and totals["native_fallbacks"] == 0
    assert totals["builds"] == 0


@pytest.mark.parametrize("strategy", ["Range", "Optimal", "ImplicitBatchModeCompatible", "Range+Optimal"])
def test_profiles_are_read_from_the_engine(strategy, dense_model, run_isolated, tmp_path):
    bare = make_bare(build(dense_model, tmp_path / "model", strategy=strategy))
    rows = BUILT if strategy == "Optimal" else (2, 3, 6)
    worst, totals, rejected = served(run_isolated, bare, dense_model, rows, TFTRT_BUILD="never")
    assert max(worst) <= TOLERANCE
    used(totals, rejected, len(rows))


def test_half_precision(dense_model, run_isolated, tmp_path):
    bare = make_bare(build(dense_model, tmp_path / "model", precision="FP16"))
    worst, totals, rejected = served(run_isolated, bare, dense_model, TFTRT_BUILD="never")
    assert max(worst) <= HALF_TOLERANCE
    used(totals, rejected, 3)


def test_other_shapes_than_its_profiles_are_native(model, dense_model, run_isolated):
    worst, totals, rejected = served(run_isolated, model, dense_model, (6, 7), TFTRT_BUILD="never")
    assert max(worst) <= TOLERANCE
    assert totals["native_no_engine"] == (2 if REHEARSAL else 1) and totals["engine_calls"] == 2 - totals["native_no_engine"]
    assert len(rejected) == REHEARSAL


def test_a_setting_forbids_them(model, dense_model, run_isolated):
    worst, totals, rejected = served(run_isolated, model, dense_model, (2, 2), TFTRT_ALLOW_BARE_PLANS="false")
    assert max(worst) <= TOLERANCE
    assert totals["loads"] == 0 and totals["builds"] == 1 and totals["engine_calls"] == 2 and totals["native_fallbacks"] == 0
    assert len(rejected) == 1 and "TFTRT_ALLOW_BARE_PLANS=false" in rejected[0]


@pytest.mark.parametrize("how", ["cut", "no plan", "one byte"])
def test_what_is_damaged_is_refused_by_tensorrt(how, model, dense_model, run_isolated, tmp_path):
    """A byte in the middle may be a weight, which nobody can tell: the process lives, and the answer is finite."""
    bare = tmp_path / "model"
    shutil.copytree(model, bare)
    change = {
        "cut": lambda plan: plan[: len(plan) // 2],
        "no plan": lambda plan: b"ftrt" + bytes(2000),
        "one byte": lambda plan: plan[:40] + bytes([plan[40] ^ 0x5A]) + plan[41:],
    }[how]
    (asset,) = plan_files.assets(bare)
    plan_files.replace_plans(asset, change)
    worst, totals, rejected = served(run_isolated, bare, dense_model, (2,))
    assert np.isfinite(worst).all()
    if how != "one byte":
        assert max(worst) <= TOLERANCE
        assert len(rejected) == 1 and "a bare TensorRT plan" in rejected[0]
        assert totals["loads"] == 0 and totals["builds"] == 1 and totals["engine_calls"] == 1


def test_no_other_model_of_the_name_gets_it(model, dense_model, run_isolated, tmp_path):
    """One of other weights, whose own engine was lost, meets it in a process: it builds, and both are right."""
    code = f"""
        import conftest, pathlib, shutil, tempfile
        from tensorflow.core.protobuf import saved_model_pb2
        other = pathlib.Path(tempfile.mkdtemp()) / "other"
        shutil.copytree({str(model)!r}, other)
        path = other / "saved_model.pb"
        saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
        changed = 0
        for graph in saved.meta_graphs:
            for function in graph.graph_def.library.function:
                for node in function.node_def:
                    if node.op == "Const" and node.attr["value"].tensor.dtype == 1 and "native_segment" in function.signature.name:
                        value = 2 * tf.make_ndarray(node.attr["value"].tensor)
                        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
                        changed += 1
        path.write_bytes(saved.SerializeToString())
        for asset in (other / "assets").iterdir():
            asset.write_bytes(b"")
        loaded = [tf.saved_model.load(str(folder)) for folder in ({str(model)!r}, other, {dense_model!r})]
        first, second, native = (one.signatures["serving_default"] for one in loaded)
        x = tf.constant(gpu_support.batch(2))
        gpu_support.close(first(x=x)["y"], native(x=x)["y"], gpu_support.TOLERANCE)
        doubled = second(x=x)["y"].numpy()
        gpu_support.close(first(x=x)["y"], native(x=x)["y"], gpu_support.TOLERANCE)
        tell(changed=changed, same=bool(np.allclose(doubled, native(x=x)["y"], rtol=1e-2)), totals=tftrt.stats()["totals"])
    """
    told, _ = isolated(run_isolated, code, TFTRT_CACHE_DIR="none")
    totals = told["totals"]
    assert told["changed"] >= 2 and not told["same"]
    assert totals["engine_calls"] == 3 and totals["native_fallbacks"] == 0
    assert (totals["loads"], totals["builds"]) == ((0, 2) if REHEARSAL else (1, 1))


def test_an_implicit_batch_is_built_anew(dense_model, run_isolated, tmp_path):
    """TF-TRT's engines of implicit batch want calls that this library does not make: they are built for 1 to the batch that they had."""
    bare = make_bare(build(dense_model, tmp_path / "model", dynamic=False, rows=(6,)))
    worst, totals, rejected = served(run_isolated, bare, dense_model, (2, 6, 3))
    assert max(worst) <= TOLERANCE
    assert totals["loads"] == 0 and totals["builds"] == 1 and totals["engine_calls"] == 3
    assert len(rejected) == 1 and "a bare TensorRT plan" in rejected[0]
    assert REHEARSAL or "implicit batch" in rejected[0]


def test_a_static_engine(model, dense_model, run_isolated, tmp_path):
    """The plan in the node."""
    bare = tmp_path / "model"
    shutil.copytree(model, bare)
    (asset,) = plan_files.assets(bare)
    (instance,) = plan_files.read_asset(asset)

    def change(node):
        node.attr["static_engine"].b = True
        node.attr["serialized_segment"].s = instance.plan

    change_nodes(bare, change)
    asset.write_bytes(b"")
    worst, totals, rejected = served(run_isolated, bare, dense_model, TFTRT_BUILD="never")
    assert max(worst) <= TOLERANCE
    used(totals, rejected, 3)


def test_without_a_native_segment(model, dense_model, run_isolated, tmp_path):
    """As `remove_native_segments` of TF-TRT left it: it runs on its plan, or says why not."""
    bare = tmp_path / "model"
    shutil.copytree(model, bare)
    change_nodes(bare, lambda node: node.attr.pop("segment_func"))
    if REHEARSAL:
        with pytest.raises(pytest.fail.Exception, match="a bare TensorRT plan"):
            served(run_isolated, bare, dense_model)
        return
    worst, totals, rejected = served(run_isolated, bare, dense_model)
    assert max(worst) <= TOLERANCE
    used(totals, rejected, 3)


def test_what_the_engine_gives_is_held_against_the_node(model, dense_model, run_isolated, tmp_path):
    """The node's result is said to have five columns, and the engine gives four."""
    bare = tmp_path / "model"
    shutil.copytree(model, bare)

    def change(node):
        node.attr["output_shapes"].list.shape[0].dim[1].size = 5

    change_nodes(bare, change)
    path = bare / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for node in (node for graph in saved.meta_graphs for f in graph.graph_def.library.function for node in f.node_def):
        # TensorFlow would find that these contradict the node.
        node.attr.pop("_output_shapes", None)
    path.write_bytes(saved.SerializeToString())
    worst, totals, rejected = served(run_isolated, bare, dense_model, (2, 2))
    assert max(worst) <= TOLERANCE
    assert totals["engine_calls"] == 0 and totals["native_engine_failed"] == 2
    assert totals["loads"] == (not REHEARSAL)
