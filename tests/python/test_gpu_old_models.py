"""The models of TF-TRT 2.10 to 2.17 on a GPU: what test_old_models.py holds on the CPU, with TensorRT's engines."""

import gpu_support
import old_models
import pytest
from old_models_calls import CALLS, as_native, feeds, letters, of, run_alone, write_all

pytestmark = pytest.mark.gpu

BACKEND = "onnxruntime" if gpu_support.REHEARSAL else "tensorrt"
# An engine of what was asked for in INT8 computes in FP16.
TOLERANCE = {"FP32": gpu_support.TOLERANCE, "FP16": 1e-2, "INT8": 1e-2}


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> dict[str, dict]:
    """All models, one after the other in one process."""
    gpu_support.device_name()
    models = write_all(tmp_path_factory.mktemp("old"))
    # What stands between two engines (Lgamma) makes of TF32's error several times as much: without TF32, only its own is left.
    env = {"timeout": 500, "NVIDIA_TF32_OVERRIDE": "0"}
    return run_alone({name: models / name for name in old_models.ALL}, tmp_path_factory.mktemp("calls"), **env)


@pytest.mark.parametrize("name", [name for name, calls in CALLS.items() if calls])
def test_a_model(name, served):
    """It answers right, by an engine where it should, and what became of its plans is told."""
    old, told, mine = old_models.ALL[name], served[name], of(name, served[name])
    assert "error" not in told
    as_native(name, told, TOLERANCE[old.precision])
    assert letters(told, len(old.engines)) == CALLS[name], mine
    assert len(mine["rejected"]) == (0 if old.plans != "bare" else 1 if old.static else len(old.built))
    for text in mine["rejected"]:
        assert "a bare TensorRT plan" in text
        # The plans of these models are nobody's: TensorRT is shown those of dynamic shapes, and refuses them.
        assert gpu_support.REHEARSAL == (f"{BACKEND} does not try it" in text)
    # The log says the first of each kind; all are in tftrt.stats().
    assert all(text in told["log"] for text in mine["rejected"][:1])
    notes = "\n".join(mine["notes"])
    assert (f"{BACKEND} built an engine anew, for a saved one cannot be used here" in notes) == (old.plans == "bare" and "B" in CALLS[name])


def test_models_that_cannot_run_say_why(served):
    assert "FileNotFoundError" in served["missing_file"]["error"]
    error = served["no_segment"]["error"]
    assert "has no native segment to fall back to" in error and "a bare TensorRT plan" in error


def test_every_call_was_looked_at(served):
    assert sum(len(told["calls"]) for told in served.values()) == sum(len(feeds(name)) for name, calls in CALLS.items() if calls)
