"""Indices outside of their range on a GPU: what native TensorFlow gives there, engines give. The table of refused_calls.py."""

import gpu_support
import pytest
import tensorflow as tf
from conftest import _convert_function as convert
from refused_calls import INDICES
from test_refused_calls import build, counted, outcome, same

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("float32_products")]

# Ops whose kernels look at each index on the device. The others look on the host, and fail there: docs/design/errors.md lists them.
ON_DEVICE = ("gather", "gather_", "embedding", "scatter_")
NOT_TOLD = ("gather_in_",)
CASES = [c for c in INDICES if c.name.startswith(ON_DEVICE) and not c.name.startswith(NOT_TOLD)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_outside_is_as_natively(case):
    device = gpu_support.device_name()
    converted = convert(case.fn, case.specs)
    build(converted, case)
    for inputs in case.good + case.bad:
        with tf.device(device):
            expected = outcome(converted.native, inputs)
            found, counts = counted(lambda inputs=inputs: outcome(converted, inputs))
        assert same(found, expected), f"{inputs}: {found}, natively {expected}"
        if not isinstance(expected, type):
            assert counts["engine_calls"] == 1 and counts["native_fallbacks"] == 0
