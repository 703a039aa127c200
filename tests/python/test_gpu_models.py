"""The whole models of `model_zoo` through TensorRT, converted by the stock front end, beside native TensorFlow on the CPU."""

import gpu_support
import numpy as np
import pytest
import tensorflow as tf
from model_zoo import MODELS
from tensorflow.python.compiler.tensorrt import trt_convert

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("float32_products")]

BATCHES = (1, 3)
# What a hundred layers make of sums in another order, of the largest output.
TOLERANCE = 2e-3


def values(structure) -> list[np.ndarray]:
    return [tensor.numpy() for tensor in tf.nest.flatten(structure)]


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_model(model, tmp_path, stats):
    device = gpu_support.device_name()
    with tf.device("/CPU:0"):
        trackable = model.build()
        calls = [[tf.constant(x) for x in model.inputs(batch, seed=0)] for batch in BATCHES]
        expected = [values(trackable.function(*call)) for call in calls]
    tf.saved_model.save(trackable, str(tmp_path), signatures=trackable.function)
    converter = trt_convert.TrtGraphConverterV2(
        input_saved_model_dir=str(tmp_path), precision_mode="FP32", use_dynamic_shape=True, dynamic_shape_profile_strategy="Range"
    )
    function = converter.convert()
    captured = converter._saved_model.signatures["serving_default"]
    variables = {id(variable.handle) for variable in captured.variables}
    tables = [tensor for tensor in captured.captured_inputs if tensor.dtype == tf.resource and id(tensor) not in variables]
    converter.build(input_fn=lambda: ([*call, *tables] for call in calls))
    stats.reset()
    for call, wanted in zip(calls, expected):
        found = values(function(*call, *tables))
        assert len(found) == len(wanted)
        for f, w in zip(found, wanted):
            gpu_support.close(f, w, TOLERANCE)
    engines = [node for node in converter._converted_graph_def.node if node.op == "TRTEngineOp"]
    print(f"{model.name}: {len(engines)} engines, {stats['engine_calls']} calls of them, {stats['native_fallbacks']} native")
    assert stats["native_fallbacks"] == 0 and stats["builds"] == 0
    assert stats["engine_calls"] >= (len(BATCHES) if engines else 0)
    assert gpu_support.REHEARSAL or all(engine.device.endswith(device) for engine in engines)
