"""Every converter through TensorRT: the table of `op_cases` on a GPU, its numbers beside those of native TensorFlow on the CPU.

Two lists have what TensorRT 8.6 does otherwise, each case with the reason. Those of `tensorrt_8_refuses.txt` have to run natively, in part at
least, and right; those of `tensorrt_8_differs.txt` have to give other numbers. A case that needs its list no more has to leave it.
"""

import gpu_support
import op_check
import pytest
from conftest import _convert_function as convert
from op_cases import CASES, reasons

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("float32_products")]

STAYS_NATIVE = reasons("stays_native.txt")
REFUSED = reasons("tensorrt_8_refuses.txt")
DIFFERS = reasons("tensorrt_8_differs.txt")
# TensorFlow's own kernel does not run on a GPU, nor can it record shapes there.
NATIVE_FAILS = reasons("gpu_native_fails.txt")
# TensorRT's functions of one element are a few units less exact than those of a CPU.
RTOL = 1e-5


@pytest.mark.parametrize("case", [c for c in CASES if c.name not in STAYS_NATIVE], ids=lambda c: c.name)
def test_op(case):
    device = gpu_support.device_name()
    if case.name in NATIVE_FAILS and not gpu_support.REHEARSAL:
        pytest.skip(f"TensorFlow itself cannot: {NATIVE_FAILS[case.name]}")
    converted = convert(case.fn, case.specs)
    assert case.op in op_check.inside(converted), f"outside the engines: {converted.outside}"
    if case.name in DIFFERS and not gpu_support.REHEARSAL:
        with pytest.raises(AssertionError, match="Not equal to tolerance|Arrays are not equal|Another type or shape"):
            op_check.run(case, converted, RTOL)
        return
    counted = op_check.run(case, converted, RTOL)
    if case.name in REFUSED and not gpu_support.REHEARSAL:
        assert counted["native_fallbacks"] > 0, f"TensorRT takes {case.name} now: take it out of tensorrt_8_refuses.txt"
        return
    assert counted["engine_calls"] == counted["calls"] and counted["native_fallbacks"] == 0
    assert gpu_support.REHEARSAL or all(engine.device.endswith(device) for engine in converted.engines)
