"""Section 6 of the guide end to end: segment size, workspace, summary, the report on what was not converted, op lists, features."""

import csv
import re

import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close
from tensorflow.python.compiler.tensorrt import trt_convert as trt

SPECS = [tf.TensorSpec([None, 4])]
X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


class Parts(tf.Module):
    """Segments of 2, 6 and 5 nodes, constants counted as TF-TRT did, parted by ops without a converter; from `x` to `y`."""

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def __call__(self, x):
        x = tf.abs(tf.nn.relu(x))
        x = tf.math.bessel_i0e(x)
        x = tf.tanh(tf.exp(x * 0.5) - 1.0)
        x = tf.math.bessel_i1e(x)
        return {"y": tf.sigmoid(x * 3.0 + 1.25)}


@pytest.fixture(scope="module")
def parts_model(tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("models") / "parts")
    tf.saved_model.save(Parts(), folder)
    return folder


def converter(model: str, **options):
    made = trt.TrtGraphConverterV2(input_saved_model_dir=model, **options)
    made.convert()
    return made


def engines(made) -> list:
    return [node for node in made._converted_graph_def.node if node.op == "TRTEngineOp"]


# ---- 6.1 and 6.2 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "expected"), [(1, 3), (2, 3), (3, 2), (5, 2), (6, 1), (7, 0)])
def test_minimum_segment_size(parts_model, size, expected):
    made = converter(parts_model, minimum_segment_size=size)
    assert len(engines(made)) == expected
    assert_close(made._converted_func(tf.constant(X)), [Parts()(tf.constant(X))["y"]])


def test_the_default_is_three(parts_model):
    assert len(engines(converter(parts_model))) == 2


def test_a_workspace_reaches_node_and_builder(run_isolated, dense_model):
    done = run_isolated(
        f"""
        import numpy as np, tensorflow as tf, tftrt
        from tensorflow.python.compiler.tensorrt import trt_convert as trt
        made = trt.TrtGraphConverterV2(input_saved_model_dir={dense_model!r}, max_workspace_size_bytes=7654321)
        made.convert()
        (node,) = [n for n in made._converted_graph_def.node if n.op == "TRTEngineOp"]
        assert node.attr["workspace_size_bytes"].i == 7654321
        made.build(input_fn=lambda: iter([[np.ones([2, 8], np.float32)]]))
        assert tftrt.stats()["totals"]["builds"] == 1
        """,
        env={"TF_CPP_VMODULE": "trt_engine_op=1", "TF_CPP_MIN_LOG_LEVEL": "0"},
    )
    assert re.search(r"the engine was built in [\d.]+ s, with 7654321 bytes of workspace at most", done.stderr)


# ---- 6.3.1 ---------------------------------------------------------------------------------------------------------------

COLUMNS = ["TRTEngineOP Name", "Device", "# Nodes", "# Inputs", "# Outputs", "Input DTypes", "Output Dtypes", "Input Shapes", "Output Shapes"]
# Of the width, in percent, in which each begins.
STARTS = [0, 20, 29, 34, 43, 52, 64, 76, 88]


@pytest.mark.parametrize("width", [160, 200])
def test_summary_prints_the_guides_table(parts_model, width):
    lines: list[str] = []
    made = converter(parts_model)
    made.summary(line_length=width, print_fn=lambda line="": lines.extend(line.split("\n")))

    def cells(line: str) -> list[str]:
        starts = [sum(int(width * (b - a) / 100) for a, b in zip(STARTS[:at], STARTS[1 : at + 1])) for at in range(len(STARTS))]
        return [line[a:b].strip() for a, b in zip(starts, [*starts[1:], width])]

    assert cells(lines[0]) == COLUMNS
    assert lines[1] == "=" * width
    rows = [cells(line) for line in lines if line.startswith("TRTEngineOp_")]
    assert [row[0] for row in rows] == sorted(node.name for node in engines(made))
    for row in rows:
        assert row[3:] == ["1", "1", "['float32']", "['float32']", "[[-1, 4]]", "[[-1, 4]]"]
    ops = [line.strip("\t- ") for line in lines if line.startswith("\t- ")]
    assert "Sigmoid: 1x" in ops and "Tanh: 1x" in ops
    # A row's nodes are those listed below it.
    assert sum(int(row[2]) for row in rows) == sum(int(op.split(": ")[1].rstrip("x")) for op in ops)
    assert "[*] Total number of TensorRT engines: 2" in lines
    assert any(re.fullmatch(r"\[\*\] % of OPs Converted: \d+\.\d\d% \[\d+/\d+\]", line) for line in lines)


def test_summary_without_details_and_before_the_conversion(parts_model, capsys):
    made = trt.TrtGraphConverterV2(input_saved_model_dir=parts_model)
    with pytest.raises(RuntimeError, match="before calling"):
        made.summary()
    made.convert()
    capsys.readouterr()
    made.summary(detailed=False)
    out = capsys.readouterr().out
    assert "TRTEngineOp_" in out and "\t- " not in out


# ---- 6.3.2 ---------------------------------------------------------------------------------------------------------------


def reported(convert_function, capfd) -> str:
    """What conversion prints on stdout."""
    capfd.readouterr()
    convert_function(two_reasons, SPECS)
    return capfd.readouterr().out


def two_reasons(x):
    """One op without a converter, and one whose converter refuses it."""
    return tf.math.bessel_i0e(x * 2.0 + 1.0) + tf.cast(tf.strings.length(tf.strings.as_string(x)), tf.float32)


FRAME = "#" * 80


@pytest.mark.parametrize("value", [None, "", "0"])
def test_the_report_off_gives_counts(value, convert_function, capfd, monkeypatch):
    monkeypatch.delenv("TF_TRT_SHOW_DETAILED_REPORT", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_TRT_SHOW_DETAILED_REPORT", value)
    lines = reported(convert_function, capfd).splitlines()
    assert lines[0] == lines[-1] == FRAME and lines[1] == "TensorRT unsupported/non-converted OP Report:"
    assert "\t- BesselI0e -> 1x" in lines and "\t- AsString -> 1x" in lines
    assert not any("[Count:" in line for line in lines)
    (total,) = [int(line.split(": ")[1]) for line in lines if line.startswith("\t- Total nonconverted OPs: ")]
    assert total == sum(int(m) for m in re.findall(r"^\t- \w+ -> (\d+)x$", "\n".join(lines), re.MULTILINE))


def test_the_report_detailed_gives_reasons(convert_function, capfd, monkeypatch):
    monkeypatch.setenv("TF_TRT_SHOW_DETAILED_REPORT", "1")
    out = reported(convert_function, capfd)
    assert "\t- BesselI0e -> 1x\n\t\t- [Count: 1x] Neither ONNX nor TensorRT has this function.\n" in out
    assert re.search(r"\t- Placeholder -> 1x\n\t\t- \[Count: 1x\] excluded by segmenter option\. Most likely an input or output node\.", out)


def test_the_report_as_csv_replaces_the_file_whole(convert_function, capfd, monkeypatch, tmp_path):
    file = tmp_path / "report.csv"
    file.write_text("of an earlier run, and longer than what comes now\n" * 100)
    monkeypatch.setenv("TF_TRT_SHOW_DETAILED_REPORT", str(file))
    out = reported(convert_function, capfd)
    with open(file, newline="") as text:
        rows = list(csv.DictReader(text))
    assert list(rows[0]) == ["OP Name", "Reason", "Count"]
    assert {"OP Name": "BesselI0e", "Reason": "Neither ONNX nor TensorRT has this function.", "Count": "1"} in rows
    # The same as the text says, and nothing is left beside the file.
    assert sum(int(row["Count"]) for row in rows) == int(re.search(r"Total nonconverted OPs: (\d+)", out).group(1))
    assert [p.name for p in tmp_path.iterdir()] == ["report.csv"]


def test_a_csv_that_cannot_be_written_is_said(convert_function, capfd, monkeypatch, tmp_path):
    monkeypatch.setenv("TF_TRT_SHOW_DETAILED_REPORT", str(tmp_path / "nowhere" / "report.csv"))
    assert convert_function(two_reasons, SPECS).engines
    assert "TF_TRT_SHOW_DETAILED_REPORT" in (said := capfd.readouterr().err) and "Conversion goes on" in said


# ---- 6.6, 6.7, 6.11 --------------------------------------------------------------------------------------------------------


def test_denied_ops_stay_native(convert_function, monkeypatch, capfd):
    monkeypatch.setenv("TF_TRT_OP_DENYLIST", "Sub,Exp")
    monkeypatch.setenv("TF_TRT_SHOW_DETAILED_REPORT", "1")
    converted = convert_function(lambda x: tf.tanh(tf.exp(x * 0.5) - 1.0), SPECS)
    assert {"Sub", "Exp"} <= set(converted.outside) and "Tanh" not in converted.outside
    assert "[Count: 1x] Denylisted with the env var TF_TRT_OP_DENYLIST" in capfd.readouterr().out
    assert_close(converted(tf.constant(X)), converted.native(tf.constant(X)))


@pytest.mark.parametrize("variable", ["TF_TRT_OP_DENYLIST", "TF_TRT_OP_FAKELIST"])
def test_an_op_type_that_is_none_is_said(variable, convert_function, monkeypatch, capfd):
    monkeypatch.setenv(variable, "Relu6, relU")
    convert_function(lambda x: tf.nn.relu(x * 2.0), SPECS)
    said = capfd.readouterr().err
    assert f'{variable}: "relU" is no op type of this TensorFlow; there is Relu; it takes op types' in said


def test_casts_between_floats_are_rejected(convert_function, monkeypatch, capfd):
    def fn(x):
        return tf.cast(tf.cast(x * 2.0, tf.float16) * 2, tf.float32) + tf.cast(tf.cast(x, tf.int32), tf.float32)

    assert "Cast" not in convert_function(fn, SPECS).outside
    monkeypatch.setenv("TF_TRT_EXPERIMENTAL_FEATURES", "reject_all_fp_cast_ops")
    monkeypatch.setenv("TF_TRT_SHOW_DETAILED_REPORT", "1")
    converted = convert_function(fn, SPECS)
    # Those from and to integers go in as ever.
    assert converted.outside.count("Cast") == 2
    assert "TF_TRT_EXPERIMENTAL_FEATURES=reject_all_fp_cast_ops" in capfd.readouterr().out
    assert_close(converted(tf.constant(X)), converted.native(tf.constant(X)), tolerance=2e-3)


def test_variables_that_are_not_frozen(dense_model, monkeypatch):
    monkeypatch.setenv("TF_TRT_EXPERIMENTAL_FEATURES", "disable_graph_freezing")
    made = trt.TrtGraphConverterV2(input_saved_model_dir=dense_model, use_dynamic_shape=True)
    assert made.freeze is False
    made.convert()
    assert any(node.op == "Placeholder" and node.attr["dtype"].type == tf.resource.as_datatype_enum for node in made._converted_graph_def.node)


def test_a_model_without_native_segments_runs_on_its_saved_engine(dense_model, monkeypatch, tmp_path, run_isolated):
    folder = str(tmp_path / "out")
    monkeypatch.setenv("TF_TRT_EXPERIMENTAL_FEATURES", "remove_native_segments")
    made = converter(dense_model)
    made.build(input_fn=lambda: iter([[np.ones([4, 8], np.float32)]]))
    made.save(folder)
    run_isolated(f"""
        import tensorflow as tf, tftrt
        from tftrt.cli import model, summary
        (engine,) = summary.read(model.meta_graph({folder!r}, ["serve"])).engines
        assert engine.ops is None or not engine.ops, engine
        loaded = tf.saved_model.load({folder!r})
        loaded.signatures["serving_default"](tf.ones([4, 8]))
        totals = tftrt.stats()["totals"]
        assert totals["engine_calls"] == 1 and totals["native_fallbacks"] == 0, totals
    """)


@pytest.mark.parametrize(("limit", "expected"), [("1", 1), ("2", 2), ("0", 3), ("-1", 3)])
def test_the_largest_segments_are_kept(limit, expected, parts_model, monkeypatch, capfd):
    monkeypatch.setenv("TF_TRT_MAX_ALLOWED_ENGINES", limit)
    monkeypatch.setenv("TF_TRT_SHOW_DETAILED_REPORT", "1")
    made = converter(parts_model, minimum_segment_size=1)
    assert len(engines(made)) == expected
    out = capfd.readouterr().out
    if expected < 3:
        assert f"In a segment that is not among the {expected} largest (TF_TRT_MAX_ALLOWED_ENGINES)." in out
        assert "Tanh" not in [node.op for node in made._converted_graph_def.node]
    else:
        assert "TF_TRT_MAX_ALLOWED_ENGINES" not in out
