"""What stays in the host's memory of engines that are evicted and loaded again.

    python tests/soak/loads.py MODEL [--cycles 80] [--calls 1] [--threads 0]

One node with room for one engine is called with two shapes by turns, so that each call but the first few loads an engine from the cache on
disk (on the CPU backend, which has none, it is built anew). MODEL is `dense`, or `images` or `attention` of the soak. Prints one line of JSON;
`kib_a_load` is what malloc has given out and not got back, for each load.
"""

import argparse
import gc
import json
import os
import pathlib
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "python")]

os.environ.setdefault("TFTRT_BUILDER_OPTIMIZATION_LEVEL", "0")

import numpy as np
import tensorflow as tf

import tftrt

import conftest
import memory
import soak_models


def dense():
    """Three layers, and two inputs of different shapes."""
    random = np.random.default_rng(1)
    weights = [(random.standard_normal((32, 32)) / 6).astype(np.float32) for _ in range(3)]

    def network(x):
        for weight in weights:
            x = tf.nn.relu(tf.matmul(x, weight)) + 0.1
        return x

    return network, tf.TensorSpec([None, None, 32]), [random.standard_normal((2, n, 32)).astype(np.float32) for n in (3, 5)]


def of_the_soak(kind: soak_models.Kind, spec: tf.TensorSpec):
    module = kind.module()
    return (lambda x: module(x)["y"]), spec, [kind.shapes[n][0].inputs["x"] for n in (2, 3)]


MODELS = {
    "dense": dense,
    "images": lambda: of_the_soak(soak_models.images(), tf.TensorSpec([None, None, None, 3])),
    "attention": lambda: of_the_soak(soak_models.attention(), tf.TensorSpec([None, None, 32])),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="What stays in memory of engines that are evicted and loaded again.")
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--cycles", type=int, default=80, help="how often each of the two shapes comes (80)")
    parser.add_argument("--calls", type=int, default=1, help="calls of a shape in a row (1); the third captures a CUDA graph")
    parser.add_argument("--threads", type=int, default=0, help="threads that make these calls at once (0: the main one)")
    options = parser.parse_args()
    network, spec, arrays = MODELS[options.model]()
    converted = conftest._convert_function(network, [spec], dynamic=False, max_workspace_size_bytes=64 << 20)
    assert len(converted.engines) == 1, converted.outside
    inputs = [tf.constant(x) for x in arrays]

    def calls() -> None:
        for x in inputs:
            for _ in range(options.calls):
                result = converted(x)
            tf.nest.flatten(result)[0].numpy()

    def cycle() -> None:
        pool = [threading.Thread(target=calls) for _ in range(options.threads)]
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join()
        if not pool:
            calls()

    # What is made once: builds, thread pools, the caches of all.
    for _ in range(12):
        cycle()
    gc.collect()
    before, allocated = dict(tftrt.stats()["totals"]), memory.allocated()
    for _ in range(options.cycles):
        cycle()
    gc.collect()
    after = tftrt.stats()["totals"]
    done = {name: after[name] - before[name] for name in ("builds", "disk_engine_hits", "engine_calls", "native_fallbacks", "graph_launches")}
    grown = (memory.allocated() - allocated) / 1024 / max(done["builds"], 1)
    print(json.dumps({"model": options.model, "backend": tftrt.backend(), **done, "kib_a_load": round(grown, 2)}))


if __name__ == "__main__":
    main()
