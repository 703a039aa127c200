"""What the GPU tests share: fresh processes with a watchdog, memory hogs, and a call from many threads while engines are evicted.

With TFTRT_REHEARSE=1 the tests run where there is no GPU, on the CPU backend: the same way through the op, the cache and the files. Tests
of what only TensorRT has are skipped then. A rehearsal shows that a test is sound, and nothing about a GPU.
"""

import atexit
import ctypes
import json
import os
import random
import shutil
import tempfile
import textwrap
import threading
import time

import numpy as np
import pytest
from isolated import python_path

REHEARSAL = os.environ.get("TFTRT_REHEARSE", "") in ("1", "true")

# Builds in seconds: what the tests hold is not the speed of the engines. Set before the library builds its first engine.
os.environ.setdefault("TFTRT_BUILDER_OPTIMIZATION_LEVEL", "0")
# Several processes share the GPU: none may take all of its memory. Read when TensorFlow first uses the device.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
if "TFTRT_CACHE_DIR" not in os.environ:
    # The tests leave the user's cache alone; processes that they start share this one unless they are given another.
    os.environ["TFTRT_CACHE_DIR"] = tempfile.mkdtemp(prefix="tftrt-test-cache-")
    atexit.register(shutil.rmtree, os.environ["TFTRT_CACHE_DIR"], ignore_errors=True)

only_tensorrt = pytest.mark.skipif(REHEARSAL, reason="a rehearsal has no TensorRT")


def device_name() -> str:
    """What the device of an engine's node ends in here. Fails where a GPU is missing and this is no rehearsal."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return "GPU:0"
    assert REHEARSAL, "these tests need a GPU that TensorFlow sees (or TFTRT_REHEARSE=1, to try the tests themselves)"
    return "CPU:0"


def close(found, expected, tolerance: float) -> None:
    """The same shape and dtype, and every value within `tolerance` of the largest; what is not a float has to be equal."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    if not np.issubdtype(expected.dtype, np.floating):
        np.testing.assert_array_equal(found, expected)
    elif expected.size:
        assert np.isfinite(found).all()
        assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def environment(**values) -> dict:
    """For `run_isolated`: the folder of the tests on Python's path in front of what is there, and `values`."""
    return {"PYTHONPATH": python_path(), "TF_CPP_MIN_LOG_LEVEL": "1", **values}


PRELUDE = """
import faulthandler; faulthandler.dump_traceback_later({watchdog}, exit=True)
import json
import numpy as np
import tensorflow as tf
import gpu_support, conftest, tftrt
from gpu_support import tell
"""


def isolated(run_isolated, code: str, *, watchdog: int = 150, check: bool = True, **env):
    """Runs `code` in a fresh process: what it told by `tell`, as one dict, and what it logged.

    A process that hangs is ended after `watchdog` seconds, with the stacks of its threads in the log.
    """
    code = PRELUDE.format(watchdog=watchdog) + textwrap.dedent(code)
    done = run_isolated(code, env=environment(**env), check=check, timeout=watchdog + 60)
    told = {}
    for line in done.stdout.splitlines():
        if line.startswith("TOLD "):
            told |= json.loads(line[5:])
    told["exit code"] = done.returncode
    return told, done.stderr


def tell(**what) -> None:
    print("TOLD " + json.dumps(what, default=float), flush=True)


# ---- a small network ----------------------------------------------------------------------------------------------------


def dense(x):
    """[batch, 8] to [batch, 4]."""
    import tensorflow as tf

    w = tf.constant(np.random.default_rng(1).standard_normal((8, 4)).astype(np.float32))
    return tf.nn.relu(tf.matmul(x, w) + 1.0)


def dense_specs() -> list:
    import tensorflow as tf

    return [tf.TensorSpec([None, 8])]


def batch(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((n, seed)).standard_normal((n, 8)).astype(np.float32)


def dense_by_hand(x: np.ndarray) -> np.ndarray:
    """`dense` in numpy: held against where TensorFlow's own result would need the memory that a test took."""
    w = np.random.default_rng(1).standard_normal((8, 4)).astype(np.float32)
    return np.maximum(x @ w + 1.0, 0.0).astype(np.float32)


def result(converted, *inputs):
    """The one output of a converted or native function, as an array."""
    import tensorflow as tf

    return np.asarray(tf.nest.flatten(converted(*map(tf.convert_to_tensor, inputs)))[0])


# TF32 in one of two matrix products: ten bits of mantissa.
TOLERANCE = 2e-3


# ---- memory --------------------------------------------------------------------------------------------------------------


def limit_pool(megabytes: int) -> None:
    """Gives TensorFlow a pool of this size on the GPU and no more, all of it at once. To be called before TensorFlow uses the device."""
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2
    from tensorflow.python.eager import context

    options = config_pb2.GPUOptions()
    # A full pool would else be waited for, ten seconds a time.
    options.experimental.disallow_retry_on_allocation_failure = True
    context.context()._config = config_pb2.ConfigProto(gpu_options=options)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.set_logical_device_configuration(gpu, [tf.config.LogicalDeviceConfiguration(memory_limit=megabytes)])
    assert context.context().config.gpu_options.experimental.disallow_retry_on_allocation_failure


def tensorflow_hog(limit_mb: int, leave_mb: int = 8) -> list:
    """Tensors that fill TensorFlow's pool of `limit_mb` MB to about `leave_mb` MB. Drop the list's items to free it. Without a GPU: nothing."""
    import tensorflow as tf

    held: list = []
    if not tf.config.list_logical_devices("GPU"):
        return held
    most = limit_mb << 20
    with tf.device("GPU:0"):
        # The pool is in pieces: what is left may fit into no one of them.
        while most > 1 << 20:
            left = (limit_mb << 20) - tf.config.experimental.get_memory_info("GPU:0")["current"] - (leave_mb << 20)
            size = min(most, left)
            if size < 1 << 20:
                break
            try:
                held.append(tf.zeros([size], tf.uint8))
                held[-1][0].numpy()
            except (tf.errors.ResourceExhaustedError, tf.errors.InternalError):
                most = size // 2
    return held


class DeviceHog:
    """Takes the device's memory past TensorFlow, all but about `leave_mb` MB, until `free()`. Without a GPU: nothing."""

    def __init__(self, leave_mb: int = 64):
        import tensorflow as tf

        self.held: list[ctypes.c_void_p] = []
        self.cuda = ctypes.CDLL("libcudart.so.12") if tf.config.list_logical_devices("GPU") else None
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        while self.cuda:
            assert self.cuda.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total)) == 0
            wanted = free.value - (leave_mb << 20)
            while wanted > 8 << 20:
                pointer = ctypes.c_void_p()
                if self.cuda.cudaMalloc(ctypes.byref(pointer), ctypes.c_size_t(wanted)) == 0:
                    self.held.append(pointer)
                    break
                self.cuda.cudaGetLastError()  # Not sticky, but remembered: it must not be taken for another call's.
                wanted //= 2
            else:
                return

    def free(self) -> None:
        for pointer in self.held:
            assert self.cuda.cudaFree(pointer) == 0
        self.held = []


# ---- many threads --------------------------------------------------------------------------------------------------------


def stress(seconds: float, threads: int = 16, shapes: int = 8, engines: int = 2) -> dict:
    """One engine op with room for fewer engines than there are shapes, called from many threads; every output is checked.

    Two of the shapes are common at a time and change every second, the others come now and then: engines are built, evicted while
    they run, and built again. Returns the counters' differences and what went wrong: `wrong` (outputs), `errors`, `stuck` (threads).
    """
    import tensorflow as tf

    import conftest
    import tftrt

    w1 = np.random.default_rng(5).standard_normal((8, 16)).astype(np.float32)
    w2 = np.random.default_rng(6).standard_normal((16, 4)).astype(np.float32)

    def network(x):
        return tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(x, w1) + 1.0), w2)) - 0.5 * tf.reduce_mean(x, axis=2, keepdims=True)

    converted = conftest._convert_function(
        network, [tf.TensorSpec([None, None, 8])], dynamic=False, maximum_cached_engines=engines, max_workspace_size_bytes=64 << 20
    )
    assert len(converted.engines) == 1, converted.outside
    inputs, expected = [], []
    for shape in range(shapes):
        for seed in range(3):
            # Batch 1 to 3: the smaller batches ride on the engine of a larger one.
            x = np.random.default_rng((shape, seed)).standard_normal((1 + seed, 3 + 5 * shape, 8)).astype(np.float32)
            inputs.append(tf.constant(x))
            expected.append(result(converted.native, inputs[-1]))
    before = dict(tftrt.stats()["totals"])
    begun, end = time.monotonic(), time.monotonic() + seconds
    wrong, errors, calls = [], [], [0] * threads

    def work(me):
        chance = random.Random(me)
        try:
            while time.monotonic() < end:
                common = 2 * int(time.monotonic() - begun)
                shape = (common + chance.randrange(2)) % shapes if chance.random() < 0.95 else chance.randrange(shapes)
                which = 3 * shape + chance.randrange(3)
                found = result(converted, inputs[which])
                calls[me] += 1
                worst = float(np.abs(found - expected[which]).max()) if found.shape == expected[which].shape else float("inf")
                if not worst <= TOLERANCE * float(np.abs(expected[which]).max()):
                    wrong.append((which, worst))
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}"[:1000])

    pool = [threading.Thread(target=work, args=[n], daemon=True) for n in range(threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        # A thread may be in a build, or wait for one, when the time is up.
        thread.join(max(0.0, end - time.monotonic()) + 90)
    after = tftrt.stats()["totals"]
    changed = {k: v - before.get(k, 0) for k, v in after.items() if isinstance(v, int)}
    stuck = sum(thread.is_alive() for thread in pool)
    return {"calls": calls, "wrong": wrong[:20], "errors": errors[:20], "stuck": stuck, "counters": changed}
