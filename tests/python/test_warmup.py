"""`python -m tftrt warmup`: the file is read back by its field numbers, as Serving would, and its requests run."""

import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

import tftrt
from tftrt.cli.main import main

FILE = "assets.extra/tf_serving_warmup_requests"


def _fields(message: bytes) -> dict[int, list[bytes]]:
    """The length-delimited fields of a protobuf message; there are no others in these."""
    found: dict[int, list[bytes]] = {}
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = number()
        assert tag & 7 == 2
        size = number()
        found.setdefault(tag >> 3, []).append(message[at : at + size])
        at += size
    return found


def _requests(path) -> list[tuple[dict, dict]]:
    """(model spec by field number, inputs as arrays) of each record."""
    read = []
    for record in tf.data.TFRecordDataset(str(path)):
        (log,) = _fields(record.numpy())[6]  # PredictionLog.predict_log
        (request,) = _fields(log)[1]  # PredictLog.request
        request = _fields(request)
        (spec,) = request[1]  # PredictRequest.model_spec
        inputs = {}
        for entry in request[2]:  # PredictRequest.inputs, a map
            pair = _fields(entry)
            inputs[pair[1][0].decode()] = tf.make_ndarray(tensor_pb2.TensorProto.FromString(pair[2][0]))
        read.append(({key: values[0].decode() for key, values in _fields(spec).items()}, inputs))
    return read


@pytest.fixture(scope="module")
def converted(dense_model, tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("warmup") / "dense")
    assert main(["convert", dense_model, folder, "--dynamic", "--input-shapes", "2x8;16x8"]) == 0
    return folder


def test_requests_are_the_ends_of_the_profiles(converted, capsys):
    assert main(["warmup", converted]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["request  x=2x8", "request  x=16x8"]
    requests = _requests(f"{converted}/{FILE}")
    assert [inputs["x"].shape for _, inputs in requests] == [(2, 8), (16, 8)]
    # ModelSpec: name is 1, signature_name is 3.
    assert {tuple(spec.items()) for spec, _ in requests} == {((1, "dense"), (3, "serving_default"))}
    loaded = tf.saved_model.load(converted)
    before = tftrt.stats()["totals"]
    for _, inputs in requests:
        loaded.signatures["serving_default"](**{name: tf.constant(value) for name, value in inputs.items()})
    after = tftrt.stats()["totals"]
    assert after["engine_calls"] - before["engine_calls"] == 2
    assert after["native_fallbacks"] == before["native_fallbacks"]


def test_given_shapes_and_name(converted, capsys):
    assert main(["warmup", converted, "--input-shapes", "4x8", "--name", "ranker"]) == 0
    ((spec, inputs),) = _requests(f"{converted}/{FILE}")
    assert spec[1] == "ranker" and inputs["x"].shape == (4, 8)
    # Outside of the profiles: written, for it was asked for, and said.
    assert main(["warmup", converted, "--input-shapes", "64x8"]) == 0
    assert "native fallback" in capsys.readouterr().err


def test_a_model_without_engines_is_an_error(dense_model, capsys):
    assert main(["warmup", dense_model]) == 1
    assert "holds no engine files" in capsys.readouterr().err
