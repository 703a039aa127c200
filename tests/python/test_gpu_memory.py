"""Device memory that runs out, at build, at load and at run: the result is native TensorFlow's or there is an error that says so; the process
lives; with the memory free again the next call is right.

It runs out in two ways: TensorFlow's own pool is full, or the device is, past TensorFlow. Run the latter (-m whole_device) while nothing else
uses the GPU.
"""

import gc

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.compiler.tensorrt import trt_convert as trt

import gpu_support
from gpu_support import TOLERANCE, only_tensorrt

# Together: one process goes through all stages, and each test looks at what it told.
pytestmark = [pytest.mark.gpu, pytest.mark.together]
KINDS = ["pool", pytest.param("device", marks=pytest.mark.whole_device)]
STAGES = ("build", "load", "run")
POOL_MB = 2048
# So many rows make each inner tensor 64 MB.
ROWS = 64 if gpu_support.REHEARSAL else 4096


def wide(x):
    """[batch, 8] to [batch, 4] by way of 4096 columns: 64 MB of weights, and for a batch of 4096 as much for each inner tensor."""
    chance = np.random.default_rng(3)
    w1 = tf.constant(chance.standard_normal((8, 4096)).astype(np.float32))
    w2 = tf.constant((chance.standard_normal((4096, 4096)) / 64).astype(np.float32))
    w3 = tf.constant((chance.standard_normal((4096, 4)) / 64).astype(np.float32))
    return tf.matmul(tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(x, w1)), w2)), w3)


class Wide(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="x")])
    def __call__(self, x):
        return {"y": wide(x)}


# One process goes through the stages; each tells what its call gave, and what the next call gave with the memory free again.
SCENARIO = """
    import gc
    gpu_support.limit_pool({pool_mb})
    import test_gpu_memory
    from gpu_support import batch, dense_specs, result
    from test_gpu_memory import ROWS, wide

    def hog():
        return gpu_support.tensorflow_hog({pool_mb}) if {kind!r} == "pool" else gpu_support.DeviceHog()

    def free(held):
        if isinstance(held, gpu_support.DeviceHog):
            held.free()
        else:
            held.clear()
        gc.collect()

    def attempt(call, x, expected):
        try:
            found = result(call, x)
        except tf.errors.OpError as error:
            return dict(error=type(error).__name__ + ": " + str(error)[-3000:])
        return dict(worst=float(np.abs(found - expected).max() / np.abs(expected).max()))

    def counters():
        return dict(tftrt.stats()["totals"])

    def stage(name, call, x, expected, prepare=lambda: None):
        held = hog()
        try:
            first = prepare() or attempt(call(), x, expected)
        finally:
            free(held)
        again = [attempt(call(), x, expected) for _ in range(2)]
        tell(**{{name: dict(first=first, again=again, counters=counters())}})

    x = tf.constant(batch(ROWS))
    small = tf.constant(batch(2))
    converted = conftest._convert_function(wide, dense_specs(), max_workspace_size_bytes=256 << 20)
    expected, expected_small = result(converted.native, x), result(converted.native, small)

    # Nothing is built yet: the first call would build.
    stage("build", lambda: converted.function, small, expected_small)

    # Built and run in peace, then run without room.
    other = conftest._convert_function(lambda x: wide(x) * 2.0, dense_specs(), max_workspace_size_bytes=256 << 20)
    other.build([batch(ROWS)])
    tell(before_run=counters())
    stage("run", lambda: other.function, x, 2.0 * expected)

    # Loaded without room.
    model = []
    def load():
        try:
            model.append(tf.saved_model.load({folder!r}))
        except tf.errors.OpError as error:
            return dict(error=type(error).__name__ + ": " + str(error)[-3000:])
    def loaded():
        if not model:
            load()
        call = model[0].signatures["serving_default"]
        return lambda x: call(x=x)
    stage("load", loaded, small, expected_small, prepare=load)
    tell(done=True)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    gpu_support.device_name()
    folder = tmp_path_factory.mktemp("wide")
    tf.saved_model.save(Wide(), str(folder / "native"))
    converter = trt.TrtGraphConverterV2(input_saved_model_dir=str(folder / "native"), use_dynamic_shape=True)
    converter.convert()
    converter.build(input_fn=lambda: iter([[gpu_support.batch(2)]]))
    converter.save(str(folder / "converted"))
    del converter
    gc.collect()
    return folder / "converted"


@pytest.fixture(scope="module")
def outcomes(saved, tmp_path_factory):
    """What each kind of hog did: made when first asked for, one process after the other."""
    import conftest

    made = {}

    def outcome(kind):
        if kind not in made:
            made[kind] = gpu_support.isolated(
                conftest._run_isolated,
                SCENARIO.format(kind=kind, folder=str(saved), pool_mb=POOL_MB),
                check=False,
                watchdog=240,
                TF_FORCE_GPU_ALLOW_GROWTH="false",
                # Its kernels would go, and make room, in the middle of a stage.
                TFTRT_BUILDER_IDLE_SECONDS="0",
                TFTRT_CACHE_DIR=str(tmp_path_factory.mktemp(kind) / "cache"),
            )
        return made[kind]

    return outcome


# The last is TensorFlow's own for a copy to the device that found no room there.
MEMORY_WORDS = ("out of memory", "OutOfMemory", "OOM", "exhausted", "memory", "alloc", "Dst tensor is not initialized")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", STAGES)
def test_memory_that_runs_out(kind, stage, outcomes):
    told, log = outcomes(kind)
    assert stage in told, f"the process did not get through {stage!r} (exit code {told['exit code']}):\n{log[-6000:]}"
    first, again = told[stage]["first"], told[stage]["again"]
    if "error" in first:
        assert any(word in first["error"] for word in MEMORY_WORDS), first["error"]
    else:
        assert first["worst"] <= TOLERANCE, first
    for each in again:
        assert each.get("worst", np.inf) <= TOLERANCE, each


@pytest.mark.parametrize("kind", KINDS)
def test_the_process_ends_as_it_should(kind, outcomes):
    told, log = outcomes(kind)
    assert told["exit code"] == 0 and told["done"], log[-6000:]


@only_tensorrt
def test_an_engine_survives_a_call_that_found_the_pool_full(outcomes):
    """With room again it is the engine that serves, not the native segment."""
    told, _ = outcomes("pool")
    grown = told["run"]["counters"]["engine_calls"] - told["before_run"]["engine_calls"]
    assert grown >= 2 and told["run"]["counters"]["builds"] == told["before_run"]["builds"]
