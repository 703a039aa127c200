"""SavedModels of TF-TRT 2.10 to 2.17 (old_models.py): they load with `import tftrt` alone, compute what native TensorFlow does, and it is told which engines
were built anew, which calls ran natively, and why. docs/guide/old-models.md has the table of these.
"""

import gc
import json
import pathlib

import cpp_programs
import old_models
import pytest
import tensorflow as tf
from conftest import assert_close
from old_models_calls import CALLS, as_native, feeds, letters, of, run_alone, write_all

import tftrt
from tftrt.cli.main import main


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> pathlib.Path:
    """The folder of all models."""
    return write_all(tmp_path_factory.mktemp("old"))


@pytest.fixture(scope="module")
def served(models, tmp_path_factory) -> dict[str, dict]:
    """All models, one after the other in one process."""
    return run_alone({name: models / name for name in old_models.ALL}, tmp_path_factory.mktemp("calls"))


def test_every_model_has_its_line():
    assert set(CALLS) == set(old_models.ALL)


def test_the_fixtures_are_dated_back(models):
    from tensorflow.core.protobuf import saved_model_pb2

    for name, old in old_models.ALL.items():
        model = saved_model_pb2.SavedModel.FromString((models / name / "saved_model.pb").read_bytes())
        assert model.meta_graphs[0].meta_info_def.tensorflow_version == f"{old.tensorflow}.0"
        assert model.meta_graphs[0].graph_def.versions.producer < 1900
        assert (models / name / "fingerprint.pb").exists() == (not old.v1 and old.tensorflow not in ("2.10", "2.11"))


@pytest.mark.parametrize("name", [name for name, calls in CALLS.items() if calls])
def test_a_model_runs_right_where_it_should(name, served):
    told = served[name]
    assert "error" not in told
    as_native(name, told)
    assert letters(told, len(old_models.ALL[name].engines)) == CALLS[name]


@pytest.mark.parametrize("name", [name for name, calls in CALLS.items() if calls])
def test_what_became_of_its_engines_is_told(name, served, models):
    old, told, mine = old_models.ALL[name], served[name], of(name, served[name])
    rejected, notes, native = mine["rejected"], "\n".join(mine["notes"]), "\n".join(mine["native_reasons"])
    if old.plans == "bare":
        assert mine["rejected_plans"] == len(rejected) == (1 if old.static else len(old.built))
        where = "serialized_segment" if old.static else str(models / name / "assets" / f"trt-serialized-engine.{old.engine_names()[0]}")
        for text in rejected:
            assert where in text and "a bare TensorRT plan" in text and "onnxruntime does not try it" in text
            assert "built anew" in text and "else the native segment runs" in text
        assert rejected[0] in told["log"]
        if not old.static:
            assert f"engine 0 for {[list(shape) for shape in old.built[0]]}" in rejected[0]
    else:
        assert rejected == [] and mine["rejected_plans"] == 0
    assert ("onnxruntime built an engine anew, for a saved one cannot be used here" in notes) == (old.plans == "bare" and "B" in CALLS[name])
    assert ("precision_mode FP16: onnxruntime computes in FP32" in notes) == (old.precision == "FP16")
    if old.precision == "INT8" and "B" in CALLS[name]:
        assert "precision_mode INT8: onnxruntime computes in FP32" in notes
    assert ("calibration data" in notes) == bool(old.calibration_data)
    # The log says the first of each kind; all are in tftrt.stats().
    assert all(text in told["log"] for text in mine["notes"] + mine["native_reasons"][:1])
    if not old.allow_build:
        assert "allow_build_at_runtime=false" in native
        assert ("1 saved plan cannot be used here" in native) == (old.plans == "bare")
    elif "N" in CALLS[name]:
        assert "no profile of the engine holds the input shapes" in native
        assert (f"for batches of at most {old.max_batch_size} (max_batch_size)" if old.static else "convert and build the original model anew") in native
    else:
        assert native == "" or "C" in CALLS[name]
    if "C" in CALLS[name]:
        assert "INT8 calibration is not part of this version of tftrt; the native segment runs" in native


def test_a_calibration_table_is_named(served):
    for name in ("int8_table", "int8_table_explicit", "v1_int8_table"):
        assert "(a table of TensorRT 8601, EntropyCalibration2, 2 ranges) are not used" in "\n".join(of(name, served[name])["notes"])
    assert "(11 bytes that do not begin as a table of TensorRT's)" in "\n".join(of("int8_garbage_table", served["int8_garbage_table"])["notes"])


def test_a_model_whose_file_was_lost_says_which_and_what_to_do(served, models):
    told = served["missing_file"]
    assert "FileNotFoundError" in told["error"] and "trt-serialized-engine" in told["error"] and "an empty file in its place" in told["error"]


def test_a_model_without_native_segments_says_what_it_lacks(served):
    error = served["no_segment"]["error"]
    for word in ("has no native segment to fall back to", "1 of its saved plans cannot be used here", "a bare TensorRT plan"):
        assert word in error


def test_a_model_that_is_deleted_frees_its_resource(served):
    """One that was saved without a resource (never built, or TF 1's) has nothing that could: as in TF-TRT, the process keeps it."""
    for name, old in old_models.ALL.items():
        has_one = old.plans is not None and not old.v1
        for engine in old.engine_names():
            assert (engine in served[name]["left"]) == (not has_one), name


def test_an_empty_file_heals_a_model_whose_file_was_lost(models, tmp_path):
    import shutil

    shutil.copytree(models / "missing_file", tmp_path / "healed")
    (name,) = old_models.ALL["missing_file"].engine_names()
    (tmp_path / "healed/assets").mkdir(exist_ok=True)
    (tmp_path / "healed/assets" / f"trt-serialized-engine.{name}").touch()
    model = tf.saved_model.load(str(tmp_path / "healed"))
    feed = feeds("missing_file")[0]
    expected = old_models.native(old_models.ALL["missing_file"])(*map(tf.constant, feed.values()))
    assert_close(model.signatures["serving_default"](**{k: tf.constant(v) for k, v in feed.items()})["y0"], expected["y0"])


# ---- saved again -----------------------------------------------------------------------------------------------------------------------------------


class Around(tf.Module):
    """A model of today's that calls an old one."""

    def __init__(self, old):
        super().__init__()
        self.old = old

    @tf.function
    def __call__(self, **inputs):
        return self.old.signatures["serving_default"](**inputs)


AGAIN = ["2.17_implicit", "bare_Range", "2.15_explicit", "int32_input_implicit", "no_build_bare", "v1_static"]


@pytest.fixture(scope="module")
def again(models, tmp_path_factory) -> dict[str, dict]:
    """Old models that were loaded, called, and saved by TensorFlow 2.21: as they are, and called by another model; then run alone."""
    folder = tmp_path_factory.mktemp("again")
    told = {}
    for way in ("same", "around"):
        for name in AGAIN:
            model = tf.saved_model.load(str(models / name))
            function = model.signatures["serving_default"]
            feed = feeds(name)[0]
            function(**{label: tf.constant(value) for label, value in feed.items()})
            if way == "same":
                tf.saved_model.save(model, str(folder / f"{way}_{name}"), signatures=model.signatures)
            else:
                specs = {label: tf.TensorSpec([None, *value.shape[1:]], value.dtype, name=label) for label, value in feed.items()}
                outer = Around(model)
                concrete = outer.__call__.get_concrete_function(**specs)
                # The concrete function is called, and called again, before it is saved.
                first, second = (concrete(**{label: tf.constant(value) for label, value in feed.items()}) for _ in range(2))
                assert_close(first, second)
                tf.saved_model.save(outer, str(folder / f"{way}_{name}"), signatures=concrete)
            del model, function
        gc.collect()
        told[way] = run_alone({name: folder / f"{way}_{name}" for name in AGAIN}, tmp_path_factory.mktemp("calls"))
    return told


@pytest.mark.parametrize("name", AGAIN)
@pytest.mark.parametrize("way", ["same", "around"])
def test_saved_again_it_does_the_same(way, name, again, models):
    told = again[way][name]
    as_native(name, told)
    assert letters(told, len(old_models.ALL[name].engines)) == CALLS[name]
    # The file of the old plans goes along, as it is.
    for file in (models / name / "assets").glob("trt-serialized-engine.*"):
        assert (pathlib.Path(told["folder"]) / "assets" / file.name).read_bytes() == file.read_bytes()
    rejected = of(name, told)["rejected"]
    assert len(rejected) == (1 if old_models.ALL[name].plans == "bare" else 0)


def test_the_resource_goes_with_the_model(models):
    (engine,) = old_models.ALL["bare_Optimal"].engine_names()

    def there() -> bool:
        gc.collect()
        return engine in [one["name"] for one in tftrt.stats()["resources"]]

    model = tf.saved_model.load(str(models / "bare_Optimal"))
    model.signatures["serving_default"](x=tf.constant(feeds("bare_Optimal")[0]["x"]))
    assert there()
    del model
    assert not there()


def test_a_session_frees_what_has_no_resource_in_the_model(models):
    """As sessions of C++ and of servers do: their devices own what is made on them."""
    (engine,) = old_models.ALL["v1_dynamic"].engine_names()
    feed = feeds("v1_dynamic")[0]["x"]
    expected = old_models.native(old_models.ALL["v1_dynamic"])(tf.constant(feed))["y0"].numpy()
    with tf.Graph().as_default() as graph:
        session = tf.compat.v1.Session(graph=graph)
        tf.compat.v1.saved_model.load(session, ["serve"], str(models / "v1_dynamic"))
        assert_close(session.run("y0:0", {"x:0": feed}), expected)
        assert engine in [one["name"] for one in tftrt.stats()["resources"]]
        session.close()
        del session
    del graph
    gc.collect()
    assert engine not in [one["name"] for one in tftrt.stats()["resources"]]


# ---- the command line ------------------------------------------------------------------------------------------------------------------------------


def said(capfd, *arguments: str) -> str:
    capfd.readouterr()
    assert main(list(arguments)) == 0
    return capfd.readouterr().out


def test_report(models, capfd):
    out = said(capfd, "report", str(models / "bare_Range"))
    assert "dynamic shapes, Range" in out and "a bare TensorRT plan" in out and "the first call builds the engine anew" in out
    assert "the reasons are not in the model: another TF-TRT than this one converted it" in out
    out = said(capfd, "report", str(models / "no_build_bare"))
    assert "a bare TensorRT plan, as TF-TRT 2.x wrote them; the native segment runs" in out and "allow_build_at_runtime=false" in out
    out = said(capfd, "report", str(models / "v1_static"))
    assert f"stored: in the graph, {len(old_models.BARE_PLAN)} bytes, a static engine's plan as TF-TRT wrote it; the first call builds" in out
    assert "INT8 without a calibration table: the native segment runs" in said(capfd, "report", str(models / "int8_no_table"))
    assert f"calibration data of {len(old_models.CALIBRATION_TABLE)} bytes, which are not used" in said(capfd, "report", str(models / "int8_table"))
    assert "with its native segment removed, calls fail" in said(capfd, "report", str(models / "no_segment"))
    for name in old_models.ALL:
        told = json.loads(said(capfd, "report", str(models / name), "--json"))
        assert [engine["name"] for engine in told["engines"]] == old_models.ALL[name].engine_names()


def test_inspect(models, capfd):
    told = json.loads(said(capfd, "inspect", str(models / "three_engines_cached"), "--json"))
    (engines,) = told.values()
    assert [engine["input_shapes"] for engine in engines] == [[[4, 8]], [[16, 8]], [[64, 8]]]
    assert all("bare TensorRT plan" in engine["error"] for engine in engines)
    assert "no engine was saved" in said(capfd, "inspect", str(models / "int8_table_explicit"))


def test_run(models, capfd):
    name = old_models.ALL["2.17_implicit"].engine_names()[0]
    out = said(capfd, "run", str(models / "2.17_implicit"), "--batch", "4", "--steps", "2")
    assert "engines  3 calls, 0 native fallbacks" in out
    assert f"{name}: saved plan not used: " in out and f"{name}: onnxruntime built an engine anew" in out
    name = old_models.ALL["int8_no_table"].engine_names()[0]
    out = said(capfd, "run", str(models / "int8_no_table"), "--batch", "4", "--steps", "2")
    assert "engines  0 calls, 0 native fallbacks, 3 native by design" in out and f"{name}: native: INT8 calibration" in out


# ---- C++ -------------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["2.14_implicit", "bare_Range", "int32_input_implicit", "two_engines", "v1_static", "no_build_explicit", "on_gpu0"])
def test_in_a_cpp_session(name, models, tmp_path):
    """What the Python process above did with the first call, a C++ session does."""
    (tmp_path / "out").mkdir()
    feed = feeds(name)[0]
    arguments = [f"--model_path={models / name}", "--iterations=2", f"--inputs={cpp_programs.write_tensors(tmp_path / 'in', feed)}"]
    done = cpp_programs.run(cpp_programs.cpp_folder() / "session_linked", *arguments, f"--outputs={tmp_path / 'out'}")
    expected = old_models.native(old_models.ALL[name])(*map(tf.constant, feed.values()))
    assert_close(cpp_programs.read_tensors(tmp_path / "out"), {label: value.numpy() for label, value in expected.items()}, 1e-5)
    totals, engines = cpp_programs.totals(done), len(old_models.ALL[name].engines)
    native = CALLS[name][0] == "N"
    assert totals["engine_calls"] == (0 if native else 2 * engines) and totals["native_fallbacks"] == (2 if native else 0)
    assert totals["builds"] == (0 if native else engines) and totals["rejected_plans"] == engines
    assert "a bare TensorRT plan" in done.stderr
    assert ("allow_build_at_runtime=false" in done.stderr) == native
