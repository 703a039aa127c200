"""TF_TRT_EXPORT_GRAPH_VIZ_PATH (guide, section 6.12): what is written, and that Graphviz reads it."""

import shutil
import subprocess

import dot_file
import pytest
import tensorflow as tf
from tensorflow.python.compiler.tensorrt import trt_convert as trt

SPECS = [tf.TensorSpec([None, 4])]


def two_parts(x):
    """Two convertible parts around an op that has no converter."""
    first = tf.nn.relu(x * 2.0 + 1.0)
    return tf.sigmoid(tf.math.bessel_i0e(first) * 3.0 - 1.0)


def _dot_agrees(file) -> None:
    """Where Graphviz is installed, its own word on the file."""
    if shutil.which("dot"):
        done = subprocess.run(["dot", "-Tsvg", str(file)], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.fixture
def drawn(convert_function, monkeypatch, tmp_path):
    monkeypatch.setenv("TF_TRT_EXPORT_GRAPH_VIZ_PATH", str(tmp_path / "g.dot"))
    converted = convert_function(two_parts, SPECS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["g.after.dot", "g.before.dot"]
    for file in tmp_path.iterdir():
        _dot_agrees(file)
    return converted, *(dot_file.read((tmp_path / f"g.{when}.dot").read_text()) for when in ("before", "after"))


def test_before_every_node_tells_what_becomes_of_it(drawn):
    converted, before, _ = drawn
    ops = {about["op"]: about for about in before.nodes.values()}
    assert "Const" not in ops and not before.subgraphs
    assert "stays native: Neither ONNX nor TensorRT has this function." in ops["BesselI0e"]["tooltip"]
    names = [engine.name for engine in converted.engines]
    assert len(names) == 2
    assert ops["Relu"]["tooltip"].endswith(f"in {names[0]}") and ops["Sigmoid"]["tooltip"].endswith(f"in {names[1]}")
    assert ops["Relu"]["fillcolor"] == ops["Sigmoid"]["fillcolor"] != ops["BesselI0e"]["fillcolor"]
    assert "[?,4]" in ops["Relu"]["label"]


def test_after_engines_are_clusters_of_their_nodes(drawn):
    converted, before, after = drawn
    assert list(after.subgraphs) == [f"cluster_{engine.name}" for engine in converted.engines]
    for engine, cluster in zip(converted.engines, after.subgraphs.values()):
        inside = {about["op"] for about in cluster.nodes.values()}
        assert inside and inside <= set(converted.segment(engine))
    assert "BesselI0e" in {about["op"] for about in after.nodes.values()}
    # The same nodes and edges, only grouped.
    assert after.all_nodes().keys() == before.nodes.keys()
    assert after.edges == before.edges
    ends = {end for edge in after.edges for end in edge[:2]}
    assert ends <= after.all_nodes().keys()


def test_the_front_ends_own_drawing_is_there_too(dense_model, monkeypatch, tmp_path, capsys):
    target = tmp_path / "dense.dot"
    monkeypatch.setenv("TF_TRT_EXPORT_GRAPH_VIZ_PATH", str(target))
    trt.TrtGraphConverterV2(input_saved_model_dir=dense_model).convert()
    assert f"Graph Visualization Exported to: `{target}`" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dense.after.dot", "dense.before.dot", "dense.dot"]
    for file in tmp_path.iterdir():
        _dot_agrees(file)
    graph = dot_file.read(target.read_text())
    assert any("TRTEngineOp_" in about.get("label", "") for about in graph.all_nodes().values())


def test_a_file_that_cannot_be_written_is_said_and_the_model_is_converted(convert_function, monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("TF_TRT_EXPORT_GRAPH_VIZ_PATH", str(tmp_path / "nowhere" / "g.dot"))
    assert len(convert_function(two_parts, SPECS).engines) == 2
    said = capfd.readouterr().err
    assert "TF_TRT_EXPORT_GRAPH_VIZ_PATH" in said and "nowhere/g.before.dot" in said and "Conversion goes on." in said


@pytest.mark.parametrize("text", ["graph g {}", "digraph g {", "digraph g { a -> ; }", "digraph g { a [label=] }", 'digraph g { a [x="y] }', "digraph g {} }"])
def test_the_reader_is_strict(text):
    with pytest.raises(dot_file.DotError):
        dot_file.read(text)
