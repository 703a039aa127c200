"""Every converter through TensorRT: the table of `op_cases` on a GPU, its numbers beside those of native TensorFlow on the CPU.

`tensorrt_8_refuses.txt` has the cases of which TensorRT 8.6 builds no engine, each with the reason. These have to run natively, with a
word; a case that is built after all has to leave the list.
"""

import gpu_support
import op_check
import pytest
import tensorflow as tf
from conftest import _convert_function as convert
from op_cases import CASES, reasons

pytestmark = pytest.mark.gpu

STAYS_NATIVE = reasons("stays_native.txt")
REFUSED = reasons("tensorrt_8_refuses.txt")


@pytest.fixture(autouse=True)
def float32_products():
    """No TensorFloat-32: the cases' tolerances are float32's. Engines follow TensorFlow's setting."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    yield
    tf.config.experimental.enable_tensor_float_32_execution(before)


@pytest.mark.parametrize("case", [c for c in CASES if c.name not in STAYS_NATIVE], ids=lambda c: c.name)
def test_op(case):
    device = gpu_support.device_name()
    converted = convert(case.fn, case.specs)
    assert case.op in op_check.inside(converted), f"outside the engines: {converted.outside}"
    counted = op_check.run(case, converted)
    if gpu_support.REHEARSAL or case.name not in REFUSED:
        assert counted["engine_calls"] == counted["calls"] and counted["native_fallbacks"] == 0
        assert all(engine.device.endswith(device) for engine in converted.engines) or gpu_support.REHEARSAL
    else:
        assert counted["native_fallbacks"] > 0, f"TensorRT takes {case.name} now: take it out of tensorrt_8_refuses.txt"
