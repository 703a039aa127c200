"""How much the log says: few lines for any bad input, and no more than native TensorFlow on a machine without a GPU."""

import gc
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from isolated import python_path
from tensorflow.compiler.tf2tensorrt.ops import gen_trt_ops
from tensorflow.python.compiler.tensorrt import trt_convert as trt
from tensorflow.python.saved_model import loader_impl

import plan_files
import tftrt
from conftest import _run_isolated
from tftrt import _api

MOST = 10
X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)
QUIET = {"PYTHONPATH": python_path(), "TF_CPP_MIN_LOG_LEVEL": "1", "CUDA_VISIBLE_DEVICES": ""}


def convert(source, folder, build=True):
    converter = trt.TrtGraphConverterV2(input_saved_model_dir=source, use_dynamic_shape=True)
    converter.convert()
    if build:
        converter.build(input_fn=lambda: iter([[X]]))
    converter.save(str(folder))


@pytest.fixture(scope="module")
def saved(tmp_path_factory, dense_model):
    folder = tmp_path_factory.mktemp("budget") / "model"
    convert(dense_model, folder)
    return folder


def call(model, rows=3):
    return model.signatures["serving_default"](x=tf.ones([rows, 8]))["y"]


def mark(name: str) -> None:
    os.write(2, f"MARK {name}\n".encode())


def start() -> None:
    """TensorFlow's own words of its start come before the first mark."""
    tf.constant(1) + 1


def sections(stderr: str) -> dict[str, list[str]]:
    """The lines after each mark, whoever wrote them."""
    found, name = {}, ""
    for line in stderr.splitlines():
        if line.startswith("MARK "):
            found.setdefault(name := line.removeprefix("MARK "), [])
        else:
            found.setdefault(name, []).append(line)
    return found


def mixed(plan: bytes, n: int) -> bytes:
    """Plans that are wrong in different ways, one after another."""
    header = plan_files.Plan.decode(plan)
    header.header["backend_version" if n % 2 else "backend"] = str(n)
    return [b"x" * (n % 90), plan[: n % len(plan)], header.encode(), b"TFTRTpln" + bytes([n % 256] * 60)][n % 4]


def other_payload(plan: bytes, payload: bytes) -> bytes:
    """A plan that is sound but for what the backend gets."""
    changed = plan_files.Plan.decode(plan)
    changed.payload = payload
    return changed.encode()


def other_version(plan: bytes, version: str) -> bytes:
    changed = plan_files.Plan.decode(plan)
    changed.header["backend_version"] = version
    return changed.encode()


def _records(plans):
    return lambda instance: [plan_files.Instance(instance.fields, plan) for plan in plans(instance.plan)]


# What an engine file is made of, by the engine that was in it.
FILES = {
    "3,000 plans that are none": _records(lambda plan: [b"x"] * 3000),
    "400 plans, each wrong in its own way": _records(lambda plan: [mixed(plan, n) for n in range(400)]),
    "300 plans whose payload is no model": _records(lambda plan: [other_payload(plan, b"x" * n) for n in range(300)]),
    "a version of 5,000 lines": _records(lambda plan: [other_version(plan, "1\n" * 5000)]),
    "a version of 3 MB": _records(lambda plan: [other_version(plan, "1" * 3_000_000)]),
    "a version that a terminal obeys": _records(lambda plan: [other_version(plan, "\x1b[2J\r1")]),
    "a sound plan among them": _records(lambda plan: [b"x"] * 100 + [plan] + [b"y" * 100] * 100),
}
# Bytes of a file that holds no records.
BYTES = {"noise": lambda content: os.urandom(5000), "half": lambda content: content[: len(content) // 2], "text": lambda content: b"a\n" * 9999}


def load_all() -> None:
    """In a fresh process: each bad model is loaded three times and called."""
    start()
    rejected = set()
    for name, folder in json.loads(os.environ["MODELS"]):
        mark(name)
        for _ in range(3):
            model = tf.saved_model.load(folder)
            assert call(model).shape[0] == 3
            rejected |= {text for one in tftrt.stats()["resources"] for text in one["rejected"]}
            del model
            gc.collect()
    print(json.dumps(sorted(rejected)))


def test_bad_engine_files(saved, tmp_path, run_isolated):
    models = []
    for at, (name, change) in enumerate([*FILES.items(), *BYTES.items()]):
        shutil.copytree(saved, folder := tmp_path / str(at))
        (asset,) = plan_files.assets(folder)
        if name in FILES:
            plan_files.write_asset(asset, change(plan_files.read_asset(asset)[0]))
        else:
            asset.write_bytes(change(asset.read_bytes()))
        models.append((name, str(folder)))
    done = run_isolated("import test_log_budget; test_log_budget.load_all()", {**QUIET, "MODELS": json.dumps(models)})
    said = sections(done.stderr)
    for name, folder in models:
        # The first is always said; it names the file.
        assert 1 <= len(said[name]) <= MOST and folder in said[name][0], (name, len(said[name]), said[name][-1:])
        # What a file says is text, and not lines or commands of its own.
        assert all(len(line) < 10_000 and line.isprintable() for line in said[name]), name
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("[")))
    assert told and all(len(text) < 10_000 and text.isprintable() for text in told)


ODD = ["a\nb\n" * 1000, "x" * 3_000_000, "\x1b[2J", "a\0b", b"\xff\xfe", "", "/" * 5000, "\u2028\u2029"]


def odd_names() -> None:
    """In a fresh process: the ops of an engine's resource, with odd names of engines and files."""
    start()
    for name in ODD:
        for file in ODD:
            mark("load")
            handle = gen_trt_ops.create_trt_resource_handle(resource_name=name)
            try:
                gen_trt_ops.initialize_trt_resource(resource_handle=handle, filename=file, max_cached_engines_count=1)
            except tf.errors.OpError as error:
                assert str(error).splitlines() == [str(error)] and len(str(error)) < 10_000
        for ask in (
            lambda name=name: gen_trt_ops.serialize_trt_resource(resource_name=name, filename="no/such/folder\n/file"),
            lambda name=name: gen_trt_ops.get_calibration_data_op(resource_name=name),
        ):
            mark("ask")
            try:
                ask()
                raise AssertionError("no error")
            except tf.errors.OpError as error:
                assert str(error).splitlines() == [str(error)] and len(str(error)) < 10_000


def test_odd_names_of_engines_and_files(run_isolated):
    done = run_isolated("import test_log_budget; test_log_budget.odd_names()", QUIET)
    marks = done.stderr.split("MARK ")[1:]
    assert len(marks) == len(ODD) ** 2 + 2 * len(ODD)
    for text in marks:
        # TensorFlow's own word of a failed op, and the library's.
        lines = text.splitlines()[1:]
        assert len(lines) <= 2 and all(len(line) < 10_000 for line in lines), text[:2000]


def flood_calls() -> None:
    """In a fresh process: many damaged files of a model; calls that fall back, over reloads; and one that fails in another way."""
    start()
    for folder in ("one", "other"):
        mark(folder)
        for n in range(200):
            handle = gen_trt_ops.create_trt_resource_handle(resource_name=f"e_{n}")
            file = f"{os.environ['MANY']}/{folder}/assets/trt-serialized-engine.e_{n}"
            gen_trt_ops.initialize_trt_resource(resource_handle=handle, filename=file, max_cached_engines_count=1)
    assert tftrt.stats()["totals"]["rejected_plans"] == 400
    folder = os.environ["MODEL"]
    mark("shapes")
    for _ in range(3):
        model = tf.saved_model.load(folder)
        for rows in range(4, 304):
            call(model, rows)
    totals = tftrt.stats()["totals"]
    assert totals["native_no_engine"] == 900, totals
    mark("failure")
    _api._library_in_use().request("faults", ask="enqueue:1")
    call(model)
    assert tftrt.stats()["totals"]["native_engine_failed"] == 1


@pytest.fixture(scope="module")
def flooded(saved, tmp_path_factory):
    """What `flood_calls` says. Two models have 200 engines each, whose files are all damaged."""
    many = tmp_path_factory.mktemp("many")
    (asset,) = plan_files.assets(saved)
    for folder in ("one", "other"):
        (many / folder / "assets").mkdir(parents=True)
        (many / folder / "saved_model.pb").touch()
        for n in range(200):
            (many / folder / "assets" / f"trt-serialized-engine.e_{n}").write_bytes(asset.read_bytes()[:-1])
    env = {**QUIET, "MODEL": saved, "MANY": many, "TFTRT_FAULT": "count"}
    return sections(_run_isolated("import test_log_budget; test_log_budget.flood_calls()", env).stderr)


def test_fallbacks_over_reloads_and_a_new_kind_after_them(flooded):
    shapes = flooded["shapes"]
    assert 2 <= len(shapes) <= MOST and all("no profile" in line for line in shapes), shapes
    assert "[[4, 8]]" in shapes[0] and "number 100 of this kind" in shapes[3] and "[[103, 8]]" in shapes[3]
    assert len(flooded["failure"]) == 1 and "a fault was asked for" in flooded["failure"][0]


def test_many_engines_of_one_model_say_few_lines_and_another_model_its_own(flooded):
    for folder in ("one", "other"):
        assert 2 <= len(flooded[folder]) <= MOST, flooded[folder]


def on_a_gpu(source, folder):
    """A converted model whose engines ask for a GPU, as a machine that has one writes it."""
    shutil.copytree(source, folder)
    saved = loader_impl.parse_saved_model(str(folder))
    for graph in saved.meta_graphs:
        nodes = [node for function in graph.graph_def.library.function for node in function.node_def] + list(graph.graph_def.node)
        for node in nodes:
            if node.op in ("TRTEngineOp", "InitializeTRTResource", "CreateTRTResourceHandle"):
                node.device = "/job:localhost/replica:0/task:0/device:GPU:0"
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    return folder


LOAD = """
    import gc, os, tensorflow as tf, tftrt
    folders = os.environ["MODELS"].split(os.pathsep)
    for at, folder in enumerate(folders + folders[1:]):
        tf.config.set_soft_device_placement(at < len(folders))
        os.write(2, f"MARK {folder}\\n".encode())
        model = tf.saved_model.load(folder)
        y = model.signatures["serving_default"](x=tf.ones([3, 8]))["y"]
        assert y.shape[0] == 3
        del model
        gc.collect()
    os.write(2, b"MARK end\\n")
    totals = tftrt.stats()["totals"]
    assert (totals["loads"], totals["builds"], totals["engine_calls"], totals["native_fallbacks"]) == (4, 1, 6, 0), totals
"""


def test_a_converted_model_is_as_quiet_as_the_native_one_without_a_gpu(saved, dense_model, tmp_path, run_isolated):
    """At TensorFlow's own log level, with soft placement and then without: every line between the marks is one too many."""
    convert(dense_model, tmp_path / "unbuilt", build=False)
    models = [str(dense_model), str(saved), str(tmp_path / "unbuilt"), str(on_a_gpu(saved, tmp_path / "gpu"))]
    env = {**QUIET, "TF_CPP_MIN_LOG_LEVEL": None, "MODELS": os.pathsep.join(models)}
    lines = run_isolated(LOAD, env).stderr.splitlines()
    begin, end = lines.index(f"MARK {models[1]}"), lines.index("MARK end")
    assert [line for line in lines[begin:end] if not line.startswith("MARK ")] == []
