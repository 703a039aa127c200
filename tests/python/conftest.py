"""What the Python tests share: converting a function, counting what its engines did, and fresh processes."""

import dataclasses
import functools
import gc
import os
import subprocess
import textwrap
from collections.abc import Callable, Sequence

# Before TensorFlow is imported: its log level is read once. Warnings stay, and pytest shows them with a failed test.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")

import isolated
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.compiler.tensorrt import trt_convert
from tensorflow.python.framework import convert_to_constants
from tensorflow.python.grappler import tf_optimizer
from tensorflow.python.training import saver

import tftrt

# Options of pytest's: --shard, --results.
pytest_plugins = ["shards", "results", "known_differences"]


def assert_close(actual, expected, tolerance: float = 1e-4) -> None:
    """Compares nested outputs, in order: each value within `tolerance`, relative to the largest in its tensor.

    Shapes and dtypes have to be equal; integers and booleans have to be equal in every value.
    """
    actual, expected = tf.nest.flatten(actual), tf.nest.flatten(expected)
    assert len(actual) == len(expected)
    for got, wanted in zip(actual, expected):
        got, wanted = np.asarray(got), np.asarray(wanted)
        assert got.dtype == wanted.dtype
        assert got.shape == wanted.shape
        if not np.issubdtype(wanted.dtype, np.floating):
            np.testing.assert_array_equal(got, wanted)
            continue
        finite = np.abs(wanted[np.isfinite(wanted)]).astype(np.float64)
        scale = finite.max() if finite.size else 0.0
        np.testing.assert_allclose(got.astype(np.float64), wanted.astype(np.float64), rtol=tolerance, atol=tolerance * scale)


@dataclasses.dataclass
class Converted:
    """A converted function, beside the native one that it was made from.

    `function` and `native` are ConcreteFunctions with the same inputs and outputs; calling this object calls `function`.
    """

    function: object
    graph_def: object
    native: object
    dynamic: bool

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs)

    @property
    def engines(self) -> list:
        """The TRTEngineOp nodes, in the order of the graph."""
        return [node for node in self.graph_def.node if node.op == "TRTEngineOp"]

    @property
    def outside(self) -> list[str]:
        """Op types of the nodes that stayed outside the engines, in the order of the graph."""
        return [node.op for node in self.graph_def.node if node.op != "TRTEngineOp"]

    def segment(self, engine) -> list[str]:
        """Op types of the nodes in the native segment of a node out of `engines`."""
        for function in self.graph_def.library.function:
            if function.signature.name == f"{engine.name}_native_segment":
                return [node.op for node in function.node_def]
        raise AssertionError(f"{engine.name} has no native segment in the graph's library")

    def called(self, engine) -> list[str]:
        """Op types of the nodes in the functions that an engine's native segment calls, at all depths."""
        library = {function.signature.name: function for function in self.graph_def.library.function}
        waiting, seen, ops = [f"{engine.name}_native_segment"], set(), []
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            if seen:
                ops += [node.op for node in library[name].node_def]
            seen.add(name)
            for attr in (attr for node in library[name].node_def for attr in node.attr.values()):
                waiting += [one.name for one in (attr.func, *attr.list.func) if one.name]
        return ops

    def build(self, *input_sets: Sequence) -> None:
        """What TrtGraphConverterV2.build() does: with dynamic shapes every set in profile mode, then one call that builds."""
        if self.dynamic:
            self._set_profile_mode(True)
            recording = trt_convert._construct_function_from_graph_def(self.function, self.graph_def)
            for inputs in input_sets:
                recording(*map(tf.convert_to_tensor, inputs))
            self._set_profile_mode(False)
            self.function(*map(tf.convert_to_tensor, input_sets[0]))
        else:
            for inputs in input_sets:
                self.function(*map(tf.convert_to_tensor, inputs))

    def _set_profile_mode(self, on: bool) -> None:
        for node in self.engines:
            node.attr["_profile_generation_mode"].b = on


def _convert_function(
    fn: Callable,
    specs: Sequence[tf.TensorSpec],
    *,
    dynamic: bool = True,
    minimum_segment_size: int = 1,
    profile_strategy: str = "Range",
    precision: str = "FP32",
    maximum_cached_engines: int = 1,
    use_calibration: bool = False,
    max_workspace_size_bytes: int = 1 << 30,
) -> Converted:
    """Converts `fn`, a Python or tf.function over tensors of `specs`, as TrtGraphConverterV2 does, without a SavedModel."""
    concrete = tf.function(fn).get_concrete_function(*specs)
    frozen = convert_to_constants.convert_variables_to_constants_v2(concrete)
    frozen_graph_def = frozen.graph.as_graph_def()
    for node in frozen_graph_def.node:
        node.device = ""
    meta_graph = saver.export_meta_graph(graph_def=frozen_graph_def, graph=frozen.graph)
    fetches = meta_graph_pb2.CollectionDef()
    fetches.node_list.value.extend(tensor.name for tensor in frozen.inputs + frozen.outputs)
    meta_graph.collection_def["train_op"].CopyFrom(fetches)

    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.CopyFrom(
        trt_convert._get_tensorrt_rewriter_config(
            conversion_params=trt_convert.TrtConversionParams(
                max_workspace_size_bytes=max_workspace_size_bytes,
                precision_mode=precision,
                minimum_segment_size=minimum_segment_size,
                maximum_cached_engines=maximum_cached_engines,
                use_calibration=use_calibration,
                allow_build_at_runtime=True,
            ),
            is_dynamic_op=True,
            use_implicit_batch=not dynamic,
            profile_strategy=profile_strategy,
        )
    )
    # Grappler leaves graphs of fewer than four nodes alone; a test of one op has three.
    config.graph_options.rewrite_options.min_graph_nodes = -1
    graph_def = tf_optimizer.OptimizeGraph(config, meta_graph, graph_id=b"tf_graph")
    function = trt_convert._construct_function_from_graph_def(concrete, graph_def, frozen)
    return Converted(function=function, graph_def=graph_def, native=concrete, dynamic=dynamic)


@pytest.fixture
def convert_function():
    """`_convert_function`, as a fixture."""
    return _convert_function


# The counters of `tftrt.stats()["totals"]`; what they mean is in the docstring of `tftrt.stats`.
COUNTERS = {
    *("builds", "failures", "loads", "disk_engine_hits", "rejected_plans", "evictions", "dropped_builds"),
    *("hits", "misses", "waits"),
    *("engine_calls", "graph_launches", "native_fallbacks"),
    *("native_input_mismatch", "native_no_backend", "native_no_engine", "native_engine_failed"),
    "native_refused",
    *("native_profile_generation", "native_calibration", "native_building"),
    # Of what there is now: they fall when engines go.
    *("engines", "remembered_failures", "contexts", "context_waits", "graphs"),
}


class Counters:
    """Differences of the plugin's counters: `counters()` since the fixture was made or `reset()`, `counters["x"]` for one."""

    def __init__(self):
        self.reset()

    def reset(self) -> None:
        gc.collect()  # Functions of earlier tests go now, and not between two looks at the counters.
        self._before = dict(tftrt.stats()["totals"])

    def __call__(self) -> dict[str, int]:
        totals = tftrt.stats()["totals"].items()
        return {name: value - self._before.get(name, 0) for name, value in totals if isinstance(value, int)}

    def __getitem__(self, name: str) -> int:
        # A test must not pass because it misspelt a counter.
        assert name in COUNTERS, f"there is no counter {name!r}"
        return self().get(name, 0)


@pytest.fixture
def stats() -> Counters:
    return Counters()


def _run_isolated(code: str, env: dict[str, str] | None = None, *, check: bool = True, timeout: float = 300):
    """Runs `code` (dedented) in a fresh Python process with `env` added to ours; a value of None removes a variable.

    Returns the CompletedProcess with text in stdout and stderr. With `check`, an exit code other than 0 fails the test
    and shows what the process wrote.
    """
    environment = dict(os.environ)
    for name, value in (env or {}).items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = str(value)
    # Where this process keeps the machine's own packages out (python -S), the new one does too.
    command = [*isolated.python(), "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        pytest.fail(f"the process exited with {done.returncode}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}")
    return done


@pytest.fixture
def run_isolated():
    """`_run_isolated`, as a fixture."""
    return _run_isolated


@functools.cache
def digits_as_mnist():
    """scikit-learn's 1,797 digits in the form of `keras.datasets.mnist.load_data()`: uint8 images of 28x28, int labels.

    Each 8x8 image is drawn three times as large, with a margin of two; the last 640 are the test set.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.kron(digits.images, np.ones((1, 3, 3)))
    images = np.pad(images, ((0, 0), (2, 2), (2, 2))) * (255.0 / 16.0)
    images, labels = images.astype(np.uint8), digits.target.astype(np.uint8)
    return (images[:-640], labels[:-640]), (images[-640:], labels[-640:])


@pytest.fixture
def mnist(monkeypatch):
    """Lets `keras.datasets.mnist.load_data()` return `digits_as_mnist()`: the tests must not download."""
    monkeypatch.setattr(tf.keras.datasets.mnist, "load_data", digits_as_mnist)


class Dense(tf.Module):
    """A multilayer perceptron in raw ops: [batch, 8] to [batch, 4]; saved with the input `x` and the output `y`."""

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(7)
        self.w1 = tf.Variable(random.standard_normal((8, 16)).astype(np.float32))
        self.b1 = tf.Variable(random.standard_normal(16).astype(np.float32))
        self.w2 = tf.Variable(random.standard_normal((16, 4)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="x")])
    def __call__(self, x):
        return {"y": tf.matmul(tf.nn.relu(tf.matmul(x, self.w1) + self.b1), self.w2)}


@pytest.fixture(scope="session")
def dense_model(tmp_path_factory) -> str:
    """The folder of a SavedModel of `Dense`."""
    folder = str(tmp_path_factory.mktemp("models") / "dense")
    tf.saved_model.save(Dense(), folder)
    return folder


@pytest.fixture
def float32_products():
    """No TensorFloat-32: the tolerances of the test are float32's. Engines follow TensorFlow's setting."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    yield
    tf.config.experimental.enable_tensor_float_32_execution(before)
