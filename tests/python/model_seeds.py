"""Small converted models of every form that a SavedModel of this library has: what `model_fuzzer.py` changes.

    python model_seeds.py FOLDER        writes each seed into FOLDER/<name>, with `expected.npy` and `input.npy` beside it

Each seed takes one float32 input `x` of [rows, 8] and gives `y`.
"""

import os
import pathlib
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

import tftrt  # noqa: F401 (before TensorRT's front end is imported)
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.compiler.tensorrt import trt_convert as trt

import plan_files

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)
W = np.linspace(-0.5, 0.5, 64, dtype=np.float32).reshape(8, 8)


def dense(x):
    return tf.nn.relu(tf.matmul(x, W) + 0.25) * 2.0


def branches(x):
    t = tf.sin(x)
    return tf.cond(tf.reduce_sum(x) > 0.5, lambda: tf.matmul(t, W), lambda: tf.matmul(x, W) - t)


def loop(x):
    return tf.while_loop(lambda i, v: tf.reduce_sum(v) < 40.0 + tf.cast(i, tf.float32), lambda i, v: (i + 1, tf.abs(v) * 1.5 + 0.1), [tf.constant(0), x])[1]


def two_engines(x):
    y = tf.nn.relu(tf.matmul(x, W) + 1.0)
    y = tf.strings.to_number(tf.strings.as_string(y))
    return tf.nn.softmax(tf.matmul(y, W) * 0.5 + y)


def embedding(x):
    rows = tf.cast(tf.abs(x) * 7.0, tf.int32)
    return tf.reduce_sum(tf.gather(tf.constant(W), rows), 2) + x


# Name: function, dynamic shapes, whether the plan lies in the node (a static engine).
SEEDS = {
    "dense": (dense, True, False),
    "implicit": (dense, False, False),
    "static": (dense, True, True),
    "branches": (branches, True, False),
    "loop": (loop, True, False),
    "two_engines": (two_engines, True, False),
    "embedding": (embedding, True, False),
}


def functions(model: saved_model_pb2.SavedModel):
    """All functions of a SavedModel's libraries."""
    return [function for meta in model.meta_graphs for function in meta.graph_def.library.function]


def engine_nodes(model: saved_model_pb2.SavedModel) -> list:
    """All TRTEngineOp nodes of a SavedModel, in its graphs and functions."""
    graphs = [meta.graph_def.node for meta in model.meta_graphs] + [function.node_def for function in functions(model)]
    return [node for nodes in graphs for node in nodes if node.op == "TRTEngineOp"]


def _make_static(folder: pathlib.Path) -> None:
    """Puts the plan of each engine into its node, as TF-TRT's static engines have it, and leaves the asset empty."""
    model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    plans = {asset.name.removeprefix("trt-serialized-engine."): plan_files.read_asset(asset)[0].plan for asset in plan_files.assets(folder)}
    for node in engine_nodes(model):
        node.attr["static_engine"].b = True
        node.attr["serialized_segment"].s = plans[node.name]
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    for asset in plan_files.assets(folder):
        asset.write_bytes(b"")


def _module(function) -> tf.Module:
    module = tf.Module()
    module.f = tf.function(lambda x: {"y": function(x)}, input_signature=[tf.TensorSpec([None, 8], tf.float32, name="x")])
    return module


def make(folder: pathlib.Path) -> None:
    for name, (function, dynamic, static) in SEEDS.items():
        out = folder / name
        native = folder / f"{name}.native"
        module = _module(function)
        tf.saved_model.save(module, str(native), signatures=module.f.get_concrete_function())
        converter = trt.TrtGraphConverterV2(input_saved_model_dir=str(native), use_dynamic_shape=dynamic, minimum_segment_size=1)
        converter.convert()
        converter.build(input_fn=lambda: iter([[X]]))
        converter.save(str(out))
        if static:
            _make_static(out)
        np.save(out / "expected.npy", tf.saved_model.load(str(native)).signatures["serving_default"](x=tf.constant(X))["y"].numpy())
        np.save(out / "input.npy", X)
        shutil.rmtree(native)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    make(pathlib.Path(sys.argv[1]))
