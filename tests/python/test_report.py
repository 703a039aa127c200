"""`python -m tftrt report`: engines, native ops with reasons and advice, as text, JSON and HTML."""

import html.parser
import json
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.compiler.tensorrt import trt_convert as trt

from tftrt.cli import model, summary
from tftrt.cli.main import main
from tftrt.cli.report_model import ATTRIBUTE

EVIL = 'a_<script>alert("1")</script>&'


class Mixed(tf.Module):
    """Two convertible parts, one too small, and ops without a converter; saved with the inputs `x` and the output `y`."""

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def __call__(self, x):
        x = tf.nn.relu(tf.exp(x * 2.0) + 1.0)
        x = tf.math.bessel_i0e(x, name="outside")
        x = tf.tanh(x)
        x = tf.math.bessel_i0e(x)
        return {"y": x + tf.cast(tf.strings.length(tf.strings.as_string(x)), tf.float32)}


@pytest.fixture(scope="module")
def native(tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("models") / "mixed")
    tf.saved_model.save(Mixed(), folder)
    return folder


@pytest.fixture(scope="module")
def converted(native, tmp_path_factory) -> str:
    """Converted with Tanh denied, built for 1 to 4 rows, and saved."""
    folder = str(tmp_path_factory.mktemp("models") / "converted")
    made = trt.TrtGraphConverterV2(input_saved_model_dir=native, use_dynamic_shape=True, minimum_segment_size=4, max_workspace_size_bytes=1 << 25)
    os.environ["TF_TRT_OP_DENYLIST"] = "Tanh"
    try:
        made.convert()
    finally:
        del os.environ["TF_TRT_OP_DENYLIST"]
    made.build(input_fn=lambda: iter([[np.ones([1, 4], np.float32)], [np.ones([4, 4], np.float32)]]))
    made.save(folder)
    return folder


def told(folder: str, capfd) -> dict:
    capfd.readouterr()
    assert main(["report", folder, "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def reasons(report: dict) -> dict[str, dict]:
    return {entry["op"]: entry for entry in report["native"]}


def test_the_report_of_a_converted_model(converted, capfd):
    report = told(converted, capfd)
    assert report["converted"] and report["reasons_from"] == "the model"
    assert report["inputs"] == ["x: float32 [?, 4]"] and report["outputs"] == ["y: float32 [?, 4]"]
    found = summary.read(model.meta_graph(converted, ["serve"]))
    assert [engine["name"] for engine in report["engines"]] == [engine.name for engine in found.engines]
    engine = report["engines"][0]
    assert engine["ops"]["Exp"] == engine["ops"]["Relu"] == 1 and engine["nodes"] == sum(engine["ops"].values())
    assert engine["precision"] == "FP32" and engine["workspace_bytes"] == 1 << 25
    assert engine["dynamic_shape"] and engine["profile_strategy"] == "Range"
    assert engine["inputs"] == engine["outputs"] == ["float32[?,4]"]
    (stored,) = engine["stored"]["engines"]
    assert stored["backend"] == "onnxruntime" and stored["profiles"] == ["[1-4, 4]"] and stored["payload_bytes"] > 0
    assert engine["stored"]["bytes"] == os.path.getsize(engine["stored"]["file"])
    share = report["share"]
    assert share["inside"] == engine["nodes"] and share["total"] == share["inside"] + found.outside.total()
    assert share["percent"] == round(100 * share["inside"] / share["total"], 2)
    assert report["asked"]["minimum_segment_size"] == 4 and report["asked"]["TF_TRT_OP_DENYLIST"] == ["Tanh"]


def test_every_native_op_has_a_reason_and_what_helps(converted, capfd):
    report = told(converted, capfd)
    native = reasons(report)
    assert native["BesselI0e"]["count"] == 2 and native["BesselI0e"]["reason"] == "Neither ONNX nor TensorRT has this function."
    assert "Change the model here" in native["BesselI0e"]["advice"] and any("outside" in name for name in native["BesselI0e"]["nodes"])
    # The denylist of that day is in no variable any more.
    assert native["Tanh"]["advice"] == "Take Tanh out of TF_TRT_OP_DENYLIST."
    assert "minimum_segment_size of 4" in native["AddV2"]["reason"] and "lower minimum_segment_size" in native["AddV2"]["advice"]
    assert native["AsString"]["reason"] == "Strings: no engine holds them."
    assert "excluded by segmenter option" in native["Placeholder"]["reason"]
    assert all(entry["reason"] and entry["advice"] and entry["nodes"] for entry in report["native"])
    # They are the ops outside the engines, as far as those were there before the conversion.
    outside = summary.read(model.meta_graph(converted, ["serve"])).outside
    for op in ("BesselI0e", "Tanh", "AsString", "StringLength"):
        assert outside[op] == native[op]["count"]


def test_as_text(converted, capfd):
    report = told(converted, capfd)
    assert main(["report", converted]) == 0
    text = capfd.readouterr().out
    share = report["share"]
    assert f"1 engine, {share['percent']:.2f} % of the ops converted ({share['inside']} of {share['total']})" in text
    for part in ("  profile 0: [1-4, 4]", "recorded when the model was converted", "TF_TRT_OP_DENYLIST=['Tanh']"):
        assert part in text
    for entry in report["native"]:
        assert f"  {entry['op']} {entry['count']}x: {entry['reason']}\n    {entry['advice']}\n    at {entry['nodes'][0]}" in text


class _Page(html.parser.HTMLParser):
    """Tags with their attributes, the text, and a check that what is opened is closed."""

    VOID = {"meta", "link", "img", "br"}

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self._open = [], "", []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_as_a_page(converted, capfd, tmp_path):
    file = tmp_path / "page.html"
    file.write_text("old")
    assert main(["report", converted, "--html", str(file)]) == 0
    said = capfd.readouterr()
    assert said.out == "" and f"{file} is written" in said.err
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    page = _Page(file.read_text())
    # Self-contained: no script, and nothing that a browser would fetch.
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags}
    assert not any(name in {"src", "href", "onload", "onclick"} for _, attributes in page.tags for name in attributes)
    assert not re.search(r"url\(|@import|http", file.read_text())
    report = told(converted, capfd)
    for entry in report["native"]:
        assert entry["reason"] in page.text and entry["advice"] in page.text
    assert report["engines"][0]["name"] in page.text and "profile 0: [1-4, 4]" in page.text


def _change_record(folder: str, change) -> None:
    """Rewrites the record in the model's engines."""
    file = os.path.join(folder, "saved_model.pb")
    saved = saved_model_pb2.SavedModel()
    with open(file, "rb") as content:
        saved.ParseFromString(content.read())
    for function in saved.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if ATTRIBUTE in node.attr:
                change(node.attr)
    with open(file, "wb") as content:
        content.write(saved.SerializeToString())


@pytest.fixture
def changed(converted, tmp_path):
    def make(change) -> str:
        # A name that would do harm in a page that does not escape.
        folder = str(tmp_path / EVIL.replace("/", "_"))
        shutil.copytree(converted, folder)
        _change_record(folder, change)
        return folder

    return make


def test_texts_of_the_model_are_escaped(changed, tmp_path, capfd):
    def rename(attributes):
        record = json.loads(attributes[ATTRIBUTE].s)
        for entry in record["native"]:
            entry.update(op=EVIL, reason=EVIL, advice=EVIL, nodes=[EVIL])
        attributes[ATTRIBUTE].s = json.dumps(record).encode()

    folder = changed(rename)
    assert main(["report", folder, "--html", str(tmp_path / "page.html")]) == 0
    page = _Page((tmp_path / "page.html").read_text())
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(EVIL) >= 4


@pytest.mark.parametrize("what", ["removed", "no JSON"])
def test_a_model_of_another_tf_trt_has_no_reasons(what, changed, capfd):
    def spoil(attributes):
        if what == "removed":
            del attributes[ATTRIBUTE]
        else:
            attributes[ATTRIBUTE].s = b"{"

    folder = changed(spoil)
    report = told(folder, capfd)
    assert report["reasons_from"] is None and len(report["engines"]) == 1
    assert reasons(report)["BesselI0e"] == {"op": "BesselI0e", "count": 2, "reason": None, "advice": None, "nodes": []}
    assert main(["report", folder]) == 0
    assert "the reasons are not in the model" in capfd.readouterr().out


def test_a_model_without_engines_is_tried(native, capfd):
    report = told(native, capfd)  # And stdout holds nothing but the JSON.
    assert not report["converted"] and report["reasons_from"] == "a trial"
    (engine,) = report["engines"]
    assert engine["stored"] is None and engine["ops"]["Exp"] == 1
    assert "minimum_segment_size of 3" in reasons(report)["AddV2"]["reason"]
    assert main(["report", native]) == 0
    assert "1 engine in a trial conversion" in capfd.readouterr().out


def test_a_model_in_which_nothing_can_be_converted(tmp_path, capfd):
    class Hopeless(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def __call__(self, x):
            return {"y": tf.math.bessel_i0e(tf.math.bessel_i1e(x))}

    folder = str(tmp_path / "hopeless")
    tf.saved_model.save(Hopeless(), folder)
    report = told(folder, capfd)
    assert report["engines"] == [] and report["share"]["inside"] == 0 and report["share"]["percent"] == 0.0
    assert {"BesselI0e", "BesselI1e"} <= set(reasons(report))


def test_what_is_no_model_and_a_page_that_cannot_be_written(converted, tmp_path, capfd):
    assert main(["report", str(tmp_path)]) == 1
    assert "holds no SavedModel" in capfd.readouterr().err
    assert main(["report", converted, "--html", str(tmp_path)]) == 2
    assert "is a folder" in capfd.readouterr().err
    assert main(["report", converted, "--html", str(tmp_path / "no" / "page.html")]) == 1
    assert "cannot be written" in capfd.readouterr().err
