"""Several GPUs in one process: each has its own backend, engines, graphs and memory.

The conversion puts a node where its segment's nodes are placed, and on the first GPU where they are not.
"""

import pytest

import gpu_support

pytestmark = pytest.mark.gpu

# A rehearsal has several CPUs instead, which is one after the other as far as TensorFlow's own devices go.
SETUP = """
from concurrent.futures import ThreadPoolExecutor
from gpu_support import REHEARSAL, batch, dense, dense_specs

if REHEARSAL:
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)

def short(device):
    return device.split("/")[-1]

devices = [short(d.name) for d in tf.config.list_logical_devices("CPU" if REHEARSAL else "GPU")]

def on_each(converted):
    # The same node on every device.
    from tensorflow.python.compiler.tensorrt import trt_convert

    functions = {}
    for device in devices:
        graph_def = type(converted.graph_def)()
        graph_def.CopyFrom(converted.graph_def)
        (engine,) = [node for node in graph_def.node if node.op == "TRTEngineOp"]
        engine.device = "/" + device
        functions[device] = trt_convert._construct_function_from_graph_def(converted.function, graph_def)
    return functions

def on(device, functions, native, n, seed):
    # Where it ran, and how far it is from native TensorFlow on the same device.
    with tf.device(device):
        x = tf.constant(batch(n, seed))
        found, expected = tf.nest.flatten(functions[device](x))[0], tf.nest.flatten(native(x))[0]
    assert found.device == expected.device, (found.device, expected.device)
    return short(found.device), float(tf.reduce_max(tf.abs(found - expected)) / tf.reduce_max(tf.abs(expected)))

def by_device():
    resources = [r for r in tftrt.stats()["resources"] if r["engine_calls"]]
    return {short(r["device"]): {k: v for k, v in r.items() if isinstance(v, int)} for r in resources}
"""


@pytest.fixture(autouse=True)
def several():
    import tensorflow as tf

    gpu_support.device_name()
    if not gpu_support.REHEARSAL and len(tf.config.list_physical_devices("GPU")) < 2:
        pytest.skip("there is one GPU")


def test_each_gpu_has_its_own_engine(run_isolated, tmp_path):
    """Both build, or the second takes from the disk what the first has built; a call runs where TensorFlow has put it."""
    told, _ = gpu_support.isolated(
        run_isolated,
        SETUP
        + """
converted = conftest._convert_function(dense, dense_specs())
functions = on_each(converted)
ran = [(device, *on(device, functions, converted.native, 4, seed)) for seed in range(6) for device in devices]
tell(ran=ran, devices=devices, resources=by_device(), totals=tftrt.stats()["totals"])
""",
        TFTRT_CACHE_DIR=str(tmp_path),
    )
    first, second = told["devices"][:2]
    assert {tuple(pair[:2]) for pair in told["ran"]} >= {(first, first), (second, second)}
    assert max(worst for *_, worst in told["ran"]) <= gpu_support.TOLERANCE
    assert set(told["resources"]) >= {first, second}
    for device in (first, second):
        one = told["resources"][device]
        assert one["engine_calls"] == 6 and one["builds"] == 1 and one["engines"] == 1
    if not gpu_support.REHEARSAL:
        # Equal GPUs take equal plans.
        assert told["totals"]["disk_engine_hits"] >= 1
    assert told["totals"]["native_fallbacks"] == 0


def test_many_threads_on_all_gpus_at_once(run_isolated):
    told, _ = gpu_support.isolated(
        run_isolated,
        SETUP
        + """
converted = conftest._convert_function(dense, dense_specs(), dynamic=False, maximum_cached_engines=2)
functions = on_each(converted)
for device in devices:
    on(device, functions, converted.native, 16, 0)

def work(me):
    device = devices[me % len(devices)]
    ran = [on(device, functions, converted.native, 1 + (me + k) % 16, 100 * me + k) for k in range(100)]
    return all(where == device for where, _ in ran), max(worst for _, worst in ran)

with ThreadPoolExecutor(8) as pool:
    done = list(pool.map(work, range(8)))
tell(right=all(right for right, _ in done), worst=max(worst for _, worst in done), devices=devices, resources=by_device(), totals=tftrt.stats()["totals"])
""",
    )
    assert told["right"] and told["worst"] <= gpu_support.TOLERANCE
    for device in told["devices"]:
        assert told["resources"][device]["engine_calls"] == 1 + 800 // len(told["devices"])
    assert told["totals"]["native_fallbacks"] == 0


def test_a_saved_model_is_served_by_each_gpu(dense_model, tmp_path, run_isolated):
    """The engine is where the conversion has put it, whichever GPU asks; TensorFlow brings it the inputs and takes the outputs away."""
    told, _ = gpu_support.isolated(
        run_isolated,
        SETUP
        + f"""
from tensorflow.python.compiler.tensorrt import trt_convert as trt
converter = trt.TrtGraphConverterV2(input_saved_model_dir={dense_model!r}, use_dynamic_shape=True)
converter.convert()
converter.build(input_fn=lambda: iter([[batch(3)]]))
converter.save({str(tmp_path / "out")!r})
native = tf.saved_model.load({dense_model!r}).signatures["serving_default"]
loaded = tf.saved_model.load({str(tmp_path / "out")!r}).signatures["serving_default"]
worst = 0.0
for device in devices * 3:
    with tf.device(device):
        x = tf.constant(batch(3))
        found, expected = loaded(x=x)["y"], native(x=x)["y"]
    worst = max(worst, float(tf.reduce_max(tf.abs(found - expected)) / tf.reduce_max(tf.abs(expected))))
tell(worst=worst, resources=by_device(), totals=tftrt.stats()["totals"], devices=devices)
""",
    )
    assert told["worst"] <= gpu_support.TOLERANCE
    assert told["totals"]["native_fallbacks"] == 0 and told["totals"]["rejected_plans"] == 0
    assert sum(one["engine_calls"] for one in told["resources"].values()) >= 3 * len(told["devices"])
