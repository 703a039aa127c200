"""What TensorFlow Serving does with converted models, by tests/cpp/serving_harness.cc: versions come and go under requests, which
TensorFlow's BatchFunction puts together; nothing is wrong, nothing is left.

`TFTRT_RELOADS` is the number of reloads (32); `TFTRT_RELOAD_CURVE` names a CSV file for memory after each, of which
`docs/results/data/draw_reload_curve.py` makes the picture.
"""

import csv
import json
import os

import cpp_programs
import numpy as np
import pytest
import tensorflow as tf
from conftest import _run_isolated
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

RELOADS = int(os.environ.get("TFTRT_RELOADS", "32"))
ROWS = 16


class Network(tf.Module):
    def __init__(self, seed: int):
        super().__init__()
        random = np.random.default_rng(seed)
        self.w1 = tf.Variable(random.standard_normal((8, 512)).astype(np.float32))
        self.w2 = tf.Variable(random.standard_normal((512, 512)).astype(np.float32) / 20)
        self.w3 = tf.Variable(random.standard_normal((512, 4)).astype(np.float32) / 20)

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="x")])
    def __call__(self, x):
        return {"y": tf.matmul(tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(x, self.w1)), self.w2)), self.w3)}


class Batched(tf.Module):
    """A converted function behind TensorFlow's own batching: up to 8 rows of several requests are one call."""

    def __init__(self, folder: str):
        super().__init__()
        self.model = tf.saved_model.load(folder)
        serve = self.model.signatures["serving_default"]
        batch = tf.nondifferentiable_batch_function(
            num_batch_threads=2, max_batch_size=8, batch_timeout_micros=1000, allowed_batch_sizes=[2, 4, 8], max_enqueued_batches=100
        )
        self.batched = batch(lambda x: serve(x)["y"])

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="x")])
    def __call__(self, x):
        return {"y": tf.ensure_shape(self.batched(x), [None, 4])}


def engines(folder: str) -> list[str]:
    with open(f"{folder}/saved_model.pb", "rb") as file:
        graph: meta_graph_pb2.MetaGraphDef = saved_model_pb2.SavedModel.FromString(file.read()).meta_graphs[0]
    return sorted({node.name for f in graph.graph_def.library.function for node in f.node_def if node.op == "TRTEngineOp"})


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[str]:
    """Two models with engines of the same names, each with rows to ask for and native TensorFlow's answers."""
    folders = []
    for seed in (1, 2):
        folder = tmp_path_factory.mktemp("serving")
        tf.saved_model.save(Network(seed), str(folder / "native"))
        # Each in a process of its own, so that the engines of both have the first name that there is.
        _run_isolated(
            f"""
            import tensorflow as tf, tftrt
            from tensorflow.python.compiler.tensorrt import trt_convert as trt
            converter = trt.TrtGraphConverterV2({str(folder / "native")!r}, use_dynamic_shape=True)
            converter.convert()
            converter.build(lambda: iter([(tf.zeros([1, 8]),), (tf.zeros([8, 8]),)]))
            converter.save({str(folder / "converted")!r})
            """
        )
        assert engines(str(folder / "converted")) == ["TRTEngineOp_000_000"]
        tf.saved_model.save(Batched(str(folder / "converted")), str(folder / "batched"))
        rows = np.random.default_rng(seed + 10).standard_normal((ROWS, 8)).astype(np.float32)
        native = tf.saved_model.load(str(folder / "native")).signatures["serving_default"](tf.constant(rows))["y"]
        cpp_programs.write_tensors(folder / "batched", {"inputs": rows, "expected": native})
        folders.append(str(folder / "batched"))
    return folders


def slope(values) -> tuple[float, float]:
    """Growth a reload over the second half, and its standard error; the first half is for pools and caches to fill."""
    y = np.asarray(values[len(values) // 2 :], float)
    x = np.arange(len(y)) - (len(y) - 1) / 2
    growth = (x * y).sum() / (x * x).sum()
    rest = y - y.mean() - growth * x
    return growth, float(np.sqrt((rest**2).sum() / (len(y) - 2) / (x * x).sum()))


# What a version of a model holds in weights alone.
MODEL_BYTES = 4 * (8 * 512 + 512 * 512 + 512 * 4)


@pytest.mark.parametrize("device", cpp_programs.DEVICES)
def test_versions_come_and_go_under_requests(device, models, tmp_path):
    curve = os.environ.get("TFTRT_RELOAD_CURVE", str(tmp_path / "curve.csv"))
    # CUDA takes host memory for a while: over the first 16 reloads on an H200 it was 3 MB each, over 200 none.
    reloads = RELOADS if device == "CPU" else max(RELOADS, 100)
    done = cpp_programs.run(
        cpp_programs.cpp_folder() / "serving_harness",
        f"--models={','.join(models)}",
        f"--reloads={reloads}",
        f"--curve={curve}",
        f"--tolerance={1e-4 if device == 'CPU' else 1e-2}",
        device=device,
        timeout=120 + 5 * reloads,
        TF_FORCE_GPU_ALLOW_GROWTH="true",
        # What is freed goes back to the system at once, so that memory is what is held: else glibc's pools, one for each of some
        # threads, go up and down by more than a model.
        MALLOC_ARENA_MAX="1",
        MALLOC_MMAP_THRESHOLD_="131072",
    )
    report = json.loads(done.stdout.splitlines()[-1])
    totals, after = report["stats"]["totals"], report["stats_after"]["totals"]
    assert report["requests"] > reloads and report["wrong"] == 0 and report["failed"] == 0, done.stderr[-4000:]
    # Two models of the same engine names: each ran its own, and all on engines.
    assert totals["native_fallbacks"] == 0 and totals["engine_calls"] > 0
    # Requests were put together: fewer calls than requests.
    assert totals["engine_calls"] < report["requests"]
    # What came back, went: no engine and no resource is left, and no thread but TensorFlow's pools.
    assert after["engines"] == 0 and after["contexts"] == 0 and report["stats_after"]["resources"] == []
    with open(curve) as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == reloads
    threads = [int(line["threads"]) for line in lines]
    assert max(threads[reloads // 2 :]) <= max(threads[: reloads // 2]) + 2, threads
    assert report["threads_after"] <= report["threads_serving"]
    for column in ("resident_bytes", "device_bytes"):
        growth, error = slope([int(line[column]) for line in lines])
        print(f"{column}: {growth:.0f} +- {error:.0f} bytes a reload, {reloads} reloads")
        # A version that stayed would be a model's weights a reload, and more.
        assert growth - 3 * error < 0.5 * MODEL_BYTES, (column, growth, error)
