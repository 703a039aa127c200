"""Every converter through the plugin: native TensorFlow against TRTEngineOp on the CPU backend, and the same engines' ONNX
against TensorRT-RTX's own parser and builder.
"""

import json

import op_check
import pytest
import tensorrt_rtx
from conftest import _convert_function as convert
from op_cases import CASES, reasons

STAYS_NATIVE = reasons("stays_native.txt")
RTX_REFUSES = reasons("rtx_refuses.txt")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Where each case leaves its engine's ONNX model: `{case: [path]}`."""
    return tmp_path_factory.mktemp("engines"), {}


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_op(case, exported, monkeypatch):
    folder, models = exported
    monkeypatch.setenv("TF_TRT_EXPORT_TRT_ENGINES_PATH", str(folder))
    converted = convert(case.fn, case.specs)
    ops = op_check.inside(converted)
    if case.name in STAYS_NATIVE:
        assert case.op not in ops, f"{case.name} is converted now: take it out of stays_native.txt"
        return
    assert case.op in ops, f"outside the engines: {converted.outside}"
    counted = op_check.run(case, converted)
    assert counted["engine_calls"] == counted["calls"] and counted["native_fallbacks"] == 0
    models[case.name] = [folder / engine.name for engine in converted.engines]


def test_tensorrt_takes_the_same_models(exported):
    """TensorRT-RTX's parser and builder, on the engines' own profiles; the cases that it refuses are listed with reasons."""
    _, models = exported
    paths = [path for name in models for path in models[name]]
    assert paths, "test_op has to run first"
    profiles = [json.loads((path.parent / f"dims-{path.name}").read_text())["profiles"] for path in paths]
    answers = {answer["model"]: answer for answer in tensorrt_rtx.check(paths, profiles)}
    refused = {name: answers[str(path)]["error"] for name in models for path in models[name] if not answers[str(path)]["ok"]}
    new = {name: error for name, error in refused.items() if name not in RTX_REFUSES}
    assert new == {}, "\n" + "\n".join(f"{name}: {error}" for name, error in new.items())
    assert set(RTX_REFUSES) & set(models) == set(refused), "TensorRT takes these now: take them out of rtx_refuses.txt"
