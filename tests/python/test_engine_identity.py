"""An engine is only ever used for the segment that it was built for, however it came.

Two models of one architecture, of other weights and the same node names; with and without their native segments, with their engine in an
asset file or in the node. They meet in one process at once, one after the other, as a new version of each other, and exchange their files.
"""

import functools
import itertools
import json
import os
import pathlib
import shutil
import subprocess

import numpy as np
import onnx_plans
import plan_files
import pytest
import tensorflow as tf
from isolated import python, python_path
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.compiler.tensorrt import trt_convert as trt

import tftrt

FORMS = list(itertools.product(("segment", "none"), ("dynamic", "static")))
ROWS = 2


def engine_name(number: int) -> str:
    """A name for the engine of two models that meet; no other models have it. As long as those that the converter gives."""
    return f"TRTEngineOp_{number:03d}_800"


class Net(tf.Module):
    """[N, 8] of ones to [N, 4] of 8 * weight + 1."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = weight

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="x")])
    def __call__(self, x):
        return {"y": tf.nn.relu(tf.matmul(x, tf.ones([8, 4]) * self.weight) + 1.0)}


def right(weight: int) -> float:
    return 8.0 * weight + 1.0


def _convert(folder: pathlib.Path, weight: int) -> None:
    """`convert_here` in a process of its own, which counts its engines from 0: the name's length is that of all names here."""
    code = "import tftrt, pathlib, sys, test_engine_identity as t; t.convert_here(pathlib.Path(sys.argv[1]), int(sys.argv[2]))"
    env = {**os.environ, "PYTHONPATH": python_path()}
    done = subprocess.run(
        [*python(), "-c", code, str(folder), str(weight)], env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]


def convert_here(folder: pathlib.Path, weight: int) -> None:
    """A converted and built model whose engine has the name that all models here have."""
    tf.saved_model.save(Net(float(weight)), str(folder / "native"))
    converter = trt.TrtGraphConverterV2(input_saved_model_dir=str(folder / "native"), use_dynamic_shape=True)
    converter.convert()
    converter.build(lambda: iter([[np.ones([ROWS, 8], np.float32)]]))
    converter.save(str(folder / "converted"))


def rename(model: pathlib.Path, old: str, new: str) -> None:
    """Gives the engine another name of the same length: as if another process had counted."""
    assert len(old) == len(new)
    path = model / "saved_model.pb"
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    asset = asset_of(model)
    asset.rename(asset.with_name(f"trt-serialized-engine.{new}"))


def copy(model: pathlib.Path, to: pathlib.Path, name: str) -> pathlib.Path:
    shutil.copytree(model, to)
    rename(to, asset_of(to).name.removeprefix("trt-serialized-engine."), name)
    return to


def change_nodes(model: pathlib.Path, change) -> None:
    path = model / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    nodes = [node for graph in saved.meta_graphs for function in graph.graph_def.library.function for node in function.node_def]
    engines = [node for node in nodes if node.op == "TRTEngineOp"]
    assert engines
    for node in engines:
        change(node)
    path.write_bytes(saved.SerializeToString())


def asset_of(model: pathlib.Path) -> pathlib.Path:
    (asset,) = (model / "assets").iterdir()
    return asset


def plan_of(model: pathlib.Path) -> bytes:
    (instance,) = plan_files.read_asset(asset_of(model))
    return instance.plan


def put_into_form(model: pathlib.Path, segment: str, kind: str) -> None:
    plan = plan_of(model)

    def change(node):
        if segment == "none":
            del node.attr["segment_func"]
        if kind == "static":
            node.attr["static_engine"].b = True
            node.attr["serialized_segment"].s = plan

    change_nodes(model, change)
    if kind == "static":
        asset_of(model).write_bytes(b"")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict:
    """By form and weight, a model's folder; those of one form have an engine of one name."""
    made = {}
    for weight in (1, 2):
        folder = tmp_path_factory.mktemp(f"weight{weight}")
        _convert(folder, weight)
        for number, (segment, kind) in enumerate(FORMS):
            made[segment, kind, weight] = copy(folder / "converted", folder / f"{segment}_{kind}", engine_name(number))
            put_into_form(made[segment, kind, weight], segment, kind)
    return made


CODE = """
import gc, json, pathlib, sys
import tensorflow as tf, tftrt
def load(folder): return tf.saved_model.load(folder)
def call(model):
    try: return float(model.signatures["serving_default"](x=tf.ones([2, 8]))["y"][0, 0])
    except tf.errors.OpError as error: return str(error)
for body, one, two in json.loads(pathlib.Path({file!r}).read_text()):
    before, names = tftrt.stats()["totals"], {{"one": one, "two": two, "load": load, "call": call, "gc": gc}}
    exec(body, names)
    counted = {{name: n - before[name] for name, n in tftrt.stats()["totals"].items()}}
    told = [[r["rejected"], r["native_reasons"]] for r in tftrt.stats()["resources"]]
    print("STEP " + json.dumps([names["got"], counted, sum((r for r, _ in told), []), sum((n for _, n in told), [])]), flush=True)
    del names; gc.collect()
"""

# What happens to two models, `one` and `two`: the answers of one, two and one again.
EVENTS = {
    "both at once": "a, b = load(one), load(two); got = [call(a), call(b), call(a)]",
    "the other way": "b, a = load(two), load(one); got = [call(a), call(b), call(a)]",
    "one after the other": "a = load(one); got = [call(a)]; b = load(two); got += [call(b), call(a)]",
    "a new version": "a = load(one); got = [call(a)]; b = load(two); del a; gc.collect(); got += [call(b)]; a = load(one); got += [call(a)]",
    "reloaded": "a = load(one); call(a); del a; gc.collect(); a = load(one); b = load(two); got = [call(a), call(b), call(a)]",
}


@pytest.fixture
def steps(run_isolated, tmp_path):
    """Runs `(body, one, two)` one after the other in a fresh process: of each the answers, what was counted, and the texts of what was rejected
    and why calls ran natively, as far as its resources live."""

    def run(of: list) -> list:
        file = tmp_path / "steps.json"
        file.write_text(json.dumps([(body, str(one), str(two)) for body, one, two in of]))
        done = run_isolated(CODE.format(file=str(file)), env={"TF_CPP_MIN_LOG_LEVEL": "3"})
        found = [json.loads(line.removeprefix("STEP ")) for line in done.stdout.splitlines() if line.startswith("STEP ")]
        assert len(found) == len(of)
        return found

    return run


def test_two_models_of_one_name_in_a_new_process(models, steps):
    """Each gets its own engine, from its own file, in every order; nothing is built and nothing runs natively."""
    cells = list(itertools.product(FORMS, EVENTS))
    found = steps([(EVENTS[event], models[(*form, 1)], models[(*form, 2)]) for form, event in cells])
    for cell, (got, counted, rejected, _) in zip(cells, found, strict=True):
        assert got == [right(1), right(2), right(1)], cell
        assert counted["builds"] == counted["native_fallbacks"] == 0 and rejected == [], (cell, counted)
        assert counted["engine_calls"] == 3 + (cell[1] == "reloaded"), (cell, counted)
        assert counted["loads"] >= 2, (cell, counted)


def test_two_models_in_the_process_that_built_them(models, stats):
    """The converters' engines of other names are there, too."""
    for form in FORMS:
        stats.reset()
        loaded = {weight: tf.saved_model.load(str(models[(*form, weight)])) for weight in (1, 2)}
        for weight in (1, 2, 1):
            y = loaded[weight].signatures["serving_default"](x=tf.ones([ROWS, 8]))["y"].numpy()
            assert (y == right(weight)).all() and y.shape == (ROWS, 4)
        assert stats["engine_calls"] == 3 and stats["loads"] == 2 and stats["builds"] == stats["native_fallbacks"] == 0


def test_files_that_were_exchanged(models, tmp_path, steps):
    """A model with the other's engine answers right by a new engine, or fails with a word; the other one keeps its engine."""
    of = []
    for number, (segment, kind) in enumerate(FORMS, 10):
        one, two = (copy(models[segment, kind, weight], tmp_path / f"{number}_{weight}", engine_name(number)) for weight in (1, 2))
        if kind == "static":
            other = plan_of(models["segment", "dynamic", 2])
            change_nodes(one, lambda node: node.attr["serialized_segment"].CopyFrom(tf.compat.v1.AttrValue(s=other)))
        else:
            shutil.copy(asset_of(two), asset_of(one))
        of.append((EVENTS["both at once"], one, two))
    for (segment, kind), (got, counted, rejected, _) in zip(FORMS, steps(of), strict=True):
        form = segment, kind
        assert got[1] == right(2), form
        assert counted["native_engine_failed"] == 0 and counted["loads"] == 1 and counted["rejected_plans"] == (kind == "static"), (form, counted)
        if segment == "segment":
            assert got[0] == got[2] == right(1), (form, got)
            assert counted["builds"] == 1 and counted["native_fallbacks"] == 0 and counted["engine_calls"] == 3, (form, counted)
        else:
            assert all("has no native segment" in got[at] for at in (0, 2)), (form, got)
            assert counted["builds"] == 0 and counted["engine_calls"] == 1, (form, counted)
        if kind == "static":
            assert any(("another segment" if segment == "segment" else "another conversion") in text for text in rejected), (form, rejected)


def strip_hash(model: pathlib.Path) -> None:
    """As a converter wrote the model that left no hash on its nodes."""
    change_nodes(model, lambda node: node.attr.pop("_tftrt_segment_hash"))
    plan_files.change_plans(asset_of(model), lambda plan: plan.header.pop("node_sha256"))


def test_models_of_an_older_converter(models, tmp_path, steps):
    """Those with their segments are told apart. Of those without, one alone runs; of two nothing says whose an engine is: an error, and no answer."""

    def pair(number: int, segment: str, lost: bool = False) -> list:
        made = [copy(models[segment, "dynamic", weight], tmp_path / f"{number}_{weight}", engine_name(number)) for weight in (1, 2)]
        for model in made:
            strip_hash(model)
        if lost:
            asset_of(made[0]).write_bytes(b"")
        return made

    again = "a = load(one); got = [call(a)]; b = load(one); got += [call(b)]; del a, b; gc.collect(); b = load(two); got += [call(b)]"
    late = "b = load(two); got = [call(b)]; a = load(one); got += [call(a), call(b)]"
    both = EVENTS["both at once"]
    bad = copy(models["segment", "dynamic", 1], tmp_path / "bad", engine_name(25))
    change_nodes(bad, lambda node: node.attr["_tftrt_segment_hash"].CopyFrom(tf.compat.v1.AttrValue(s=b"not a hash")))
    with_segment, reloaded, two, lost, first, wrong = steps(
        [
            (both, *pair(20, "segment")),
            (again, *pair(21, "none")),
            (both, *pair(22, "none")),
            (both, *pair(23, "none", lost=True)),
            (late, *pair(24, "none", lost=True)),
            ("a = load(one); got = [call(a)]", bad, bad),
        ]
    )
    assert with_segment[0] == [right(1), right(2), right(1)]
    assert with_segment[1]["builds"] == 0 and with_segment[1]["engine_calls"] == 3
    assert reloaded[0] == [right(1), right(1), right(2)]
    assert reloaded[1]["engine_calls"] == 3 and reloaded[1]["native_fallbacks"] == 0
    for got, counted, *_ in (two, lost):
        assert all("engines of several models have its name" in text for text in got), got
        assert counted["engine_calls"] == 0
    # The one whose kernel was there first goes on with its own engine.
    assert first[0][0] == first[0][2] == right(2) and "engines of several models" in first[0][1], first
    assert first[1]["engine_calls"] == 2
    assert "_tftrt_segment_hash has to be 64 hexadecimal digits" in wrong[0][0] and wrong[1]["engine_calls"] == 0


def test_what_an_engine_gives_is_held_against_the_node(models, tmp_path, steps):
    """A plan under the right hashes, of other types, ranks, sizes and counts than the node's: counted, named, and answered natively."""
    of = []
    for number, (change, _) in enumerate(onnx_plans.CHANGES.values(), 30):
        model = copy(models["segment", "dynamic", 1], tmp_path / str(number), engine_name(number))
        plan_files.change_plans(asset_of(model), functools.partial(onnx_plans.change, how=change))
        of.append(("a = load(one); got = [call(a), call(a)]", model, model))
    for (name, (_, words)), (got, counted, rejected, reasons) in zip(onnx_plans.CHANGES.items(), steps(of), strict=True):
        assert got == [right(1)] * 2 and rejected == [], (name, got, rejected)
        assert counted["native_engine_failed"] == 2 and counted["engine_calls"] == 0 and counted["loads"] == 1, (name, counted)
        assert any(words in text for text in reasons), (name, reasons)


def test_a_bare_plan_is_for_the_segment_that_its_model_has(models, tmp_path):
    """What is read of `saved_model.pb` is the segment's hash as calls take it."""
    for number, weight in enumerate((1, 2), 50):
        model = copy(models["segment", "dynamic", weight], tmp_path / str(weight), engine_name(number))
        (known,) = tftrt._api._library_in_use().request("inspect", file=str(asset_of(model)))["engines"]
        plan_files.replace_plans(asset_of(model), lambda content: b"ftrt" + plan_files.Plan.decode(content).payload)
        (told,) = tftrt._api._library_in_use().request("inspect", file=str(asset_of(model)))["engines"]
        assert told["bare"] is True and len(known["segment_sha256"]) == 64
        assert told["segment_sha256"] == known["segment_sha256"]
        (model / "saved_model.pb").unlink()
        (told,) = tftrt._api._library_in_use().request("inspect", file=str(asset_of(model)))["engines"]
        assert "saved_model.pb" in told["segment_error"] and "segment_sha256" not in told
