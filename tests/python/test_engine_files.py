"""Which files are read as engines, and through which file system: docs/deploy/security.md, and models at gs://, s3:// or hdfs://.

ram:// stands for these: a file system of TensorFlow's own, which no other library can open.
"""

import json
import os
import pathlib
import shutil
import uuid

import numpy as np
import pytest
import tensorflow as tf
from isolated import python_path
from tensorflow.compiler.tf2tensorrt.ops import gen_trt_ops
from tensorflow.python.compiler.tensorrt import trt_convert as trt

import plan_files
import tftrt
from tftrt import _api
from tftrt.cli.main import main

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)


def _built(source):
    converter = trt.TrtGraphConverterV2(input_saved_model_dir=source, use_dynamic_shape=True)
    converter.convert()
    converter.build(input_fn=lambda: iter([[X]]))
    return converter


@pytest.fixture(scope="module")
def saved(tmp_path_factory, dense_model):
    folder = tmp_path_factory.mktemp("saved") / "model"
    _built(dense_model).save(str(folder))
    return folder


def result(model):
    return model.signatures["serving_default"](x=tf.constant(X))["y"].numpy()


def initialize(file, name):
    """Hands the engine `name` a file, as a graph with that path in a constant does.

    Returns (engines that a backend was given, rejected plans, the last reason). The process was started with TFTRT_FAULT=count.
    """
    reached = lambda: _api._library_in_use().request("faults")["reached"].get("deserialize", 0)
    before, rejected = reached(), tftrt.stats()["totals"]["rejected_plans"]
    handle = gen_trt_ops.create_trt_resource_handle(resource_name=name)
    gen_trt_ops.initialize_trt_resource(resource_handle=handle, filename=file if isinstance(file, bytes) else str(file), max_cached_engines_count=1)
    told = [text for one in tftrt.stats()["resources"] if one["name"] == name for text in one["rejected"]]
    rejected = tftrt.stats()["totals"]["rejected_plans"] - rejected
    tf.raw_ops.DestroyResourceOp(resource=handle, ignore_lookup_error=True)
    return reached() - before, rejected, told[-1] if told else ""


def own_ways(saved, tmp_path):
    """Paths by which a model's own file is read."""
    (asset,) = plan_files.assets(saved)
    (tmp_path / "link").symlink_to(saved)
    os.chdir(saved.parent)
    # A folder whose name is no UTF-8, as file systems of other days have them.
    shutil.copytree(os.fsencode(saved), latin := os.fsencode(tmp_path) + b"/mod\xe8le")
    local = (asset, f"file://{asset}", tmp_path / "link" / "assets" / asset.name, asset.relative_to(saved.parent))
    for way in (*local, latin + b"/assets/" + asset.name.encode(), b"file://" + latin + b"/assets/" + asset.name.encode()):
        yield way, asset.name.removeprefix("trt-serialized-engine."), ""


def elsewhere(saved, tmp_path):
    """Paths of sound engine files, none of which is the engine's own file in a model; and what is said of each."""
    (asset,) = plan_files.assets(saved)
    name = asset.name.removeprefix("trt-serialized-engine.")
    content = asset.read_bytes()

    def put(*parts):
        file = tmp_path.joinpath(*parts)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def link(file, target):
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent.parent / "saved_model.pb").touch()
        file.symlink_to(target)
        return file

    private = put("private", "file")
    yield private, name, "its name is not"
    yield asset, "another", "its name is not"
    yield f"file://{private}", name, "its name is not"
    yield put("bare", asset.name), name, "in no folder of the name assets"
    yield put("nothing", "assets", asset.name), name, "there is no saved_model.pb"
    yield f"{asset.parent}/../assets/{asset.name}", name, "climbs by '..'"
    yield link(tmp_path / "out" / "assets" / asset.name, private), name, "leads out of the model's folder"
    yield link(tmp_path / "relative" / "assets" / asset.name, "../../private/file"), name, "leads out of the model's folder"
    opened = os.open(private, os.O_RDONLY)
    yield link(tmp_path / "magic" / "assets" / asset.name, f"/proc/self/fd/{opened}"), name, "leads out of the model's folder"
    os.close(opened)
    put("other", "assets", asset.name)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "saved_model.pb").touch()
    (tmp_path / "folder" / "assets").symlink_to(tmp_path / "other" / "assets")
    yield tmp_path / "folder" / "assets" / asset.name, name, "leads out of the model's folder"
    loop = tmp_path / "loop" / "assets" / asset.name
    yield link(loop, loop.name), name, "lead nowhere"
    remote = f"ram://{uuid.uuid4().hex}"
    tf.io.gfile.copy(str(asset), f"{remote}/file")
    yield f"{remote}/file", name, "its name is not"
    tf.io.gfile.copy(str(asset), f"{remote}/m/assets/{asset.name}")
    yield f"{remote}/m/assets/{asset.name}", name, "there is no saved_model.pb"
    yield f"{remote}/m/x/../assets/{asset.name}", name, "climbs by '..'"


def try_all():
    """In a fresh process: what comes of every path, one line of JSON each."""
    saved, folder = pathlib.Path(os.environ["SAVED"]), pathlib.Path(os.environ["FOLDER"])
    for table in (own_ways, elsewhere):
        for path, name, word in table(saved, folder):
            print("@" + json.dumps([os.fsdecode(path), word, *initialize(path, name)]), flush=True)


def test_only_a_models_own_file_is_read(saved, tmp_path, run_isolated):
    env = {"SAVED": saved, "FOLDER": tmp_path, "TFTRT_FAULT": "count", "PYTHONPATH": python_path()}
    done = run_isolated("import test_engine_files; test_engine_files.try_all()", env)
    found = [json.loads(line[1:]) for line in done.stdout.splitlines() if line.startswith("@")]
    own, other = found[:6], found[6:]
    assert [each[2:4] for each in own] == [[1, 0]] * 6, own
    assert len(other) == 14
    for path, word, deserialized, rejected, told in other:
        assert (deserialized, rejected) == (0, 1) and word in told and path in told, (path, told)


def test_pipes_folders_and_missing_files_are_errors_and_nobody_waits(tmp_path):
    def place(folder):
        (tmp_path / folder / "assets").mkdir(parents=True)
        (tmp_path / folder / "saved_model.pb").touch()
        return tmp_path / folder / "assets" / "trt-serialized-engine.e"

    def initialize(file):
        handle = gen_trt_ops.create_trt_resource_handle(resource_name="e")
        gen_trt_ops.initialize_trt_resource(resource_handle=handle, filename=str(file), max_cached_engines_count=1)

    os.mkfifo(pipe := place("pipe"))
    (directory := place("directory")).mkdir()
    for file, word in ((pipe, "not a regular file"), (directory, "not a regular file"), (place("missing"), "No such file")):
        with pytest.raises(tf.errors.OpError, match=word):
            initialize(file)
    with tf.io.gfile.GFile("ram://missing/m/saved_model.pb", "w") as file:
        file.write("x")
    with pytest.raises(tf.errors.NotFoundError, match="trt-serialized-engine.e"):
        initialize("ram://missing/m/assets/trt-serialized-engine.e")
    # A file system that nobody has registered.
    initialize("nosuch://m/assets/trt-serialized-engine.e")
    (one,) = [one for one in tftrt.stats()["resources"] if one["name"] == "e"]
    assert "nosuch" in one["rejected"][-1] and "cannot be opened" in one["rejected"][-1]


def test_a_model_is_converted_saved_and_loaded_on_another_file_system(dense_model, stats):
    remote = f"ram://{uuid.uuid4().hex}"
    native = tf.saved_model.load(dense_model)
    tf.saved_model.save(native, f"{remote}/native", signatures=native.signatures)
    converter = _built(f"{remote}/native")
    converter.save(f"{remote}/converted")
    (asset,) = tf.io.gfile.glob(f"{remote}/converted/assets/trt-serialized-engine.*")
    assert tf.io.gfile.stat(asset).length > 100
    before = stats()
    model = tf.saved_model.load(f"{remote}/converted")
    np.testing.assert_allclose(result(model), result(native), rtol=1e-4, atol=1e-5)
    now = {name: count - before.get(name, 0) for name, count in stats().items()}
    assert (now["loads"], now["builds"], now["rejected_plans"], now["native_fallbacks"], now["engine_calls"]) == (1, 0, 0, 0, 1)


def test_the_op_writes_another_file_system_whole(dense_model):
    """SerializeTRTResource with a remote name: the same bytes as a local one, and no temporary file is left."""
    converter = _built(dense_model)
    (node,) = [n.name for n in converter._converted_graph_def.node if n.op == "TRTEngineOp"] or [
        n.name for f in converter._converted_graph_def.library.function for n in f.node_def if n.op == "TRTEngineOp"
    ]
    name = node.rsplit("/", 1)[-1]
    folder = f"ram://{uuid.uuid4().hex}/m/assets"
    file = f"{folder}/trt-serialized-engine.{name}"
    for _ in range(2):  # The second one replaces the first.
        gen_trt_ops.serialize_trt_resource(resource_name=name, filename=file)
        assert tf.io.gfile.listdir(folder) == [pathlib.PurePath(file).name]
    assert tf.io.gfile.stat(file).length > 100
    with pytest.raises(tf.errors.OpError, match="nosuch"):
        gen_trt_ops.serialize_trt_resource(resource_name=name, filename="nosuch://m/x")


def test_the_op_writes_into_no_device_or_pipe_and_does_not_take_its_place(dense_model, tmp_path):
    converter = _built(dense_model)
    graph = converter._converted_graph_def
    (name,) = {n.name for n in [*graph.node, *(n for f in graph.library.function for n in f.node_def)] if n.op == "TRTEngineOp"}
    name = name.rsplit("/", 1)[-1]
    os.mkfifo(pipe := tmp_path / "pipe")
    (tmp_path / "link").symlink_to(pipe)
    for file in (pipe, tmp_path / "link"):
        with pytest.raises(tf.errors.OpError, match="there is a device, pipe or socket of this name"):
            gen_trt_ops.serialize_trt_resource(resource_name=name, filename=str(file))
    assert pipe.is_fifo() and sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_a_damaged_remote_file_is_rejected_and_built_anew(saved, stats):
    remote = f"ram://{uuid.uuid4().hex}"
    (asset,) = plan_files.assets(saved)
    for file in saved.rglob("*"):
        if file.is_file():
            tf.io.gfile.copy(str(file), f"{remote}/{file.relative_to(saved)}")
    content = asset.read_bytes()
    with tf.io.gfile.GFile(f"{remote}/assets/{asset.name}", "wb") as file:
        file.write(content[: len(content) // 2])
    before = stats()
    model = tf.saved_model.load(remote)
    wanted = result(tf.saved_model.load(str(saved)))
    np.testing.assert_allclose(result(model), wanted, rtol=1e-4, atol=1e-5)
    assert stats()["rejected_plans"] - before["rejected_plans"] == 1


def test_a_session_loads_a_remote_model(saved):
    """TensorFlow's C++ session, by the loader of TensorFlow 1: no eager code runs an op."""
    remote = f"ram://{uuid.uuid4().hex}"
    for file in saved.rglob("*"):
        if file.is_file():
            tf.io.gfile.copy(str(file), f"{remote}/{file.relative_to(saved)}")
    before = tftrt.stats()["totals"]
    config = tf.compat.v1.ConfigProto(allow_soft_placement=False)
    with tf.Graph().as_default(), tf.compat.v1.Session(config=config) as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], remote)
        signature = graph.signature_def["serving_default"]
        got = session.run(signature.outputs["y"].name, {signature.inputs["x"].name: X})
        after = tftrt.stats()["totals"]
    np.testing.assert_allclose(got, result(tf.saved_model.load(str(saved))), rtol=1e-4, atol=1e-5)
    assert [after[name] - before[name] for name in ("loads", "builds", "engine_calls", "native_fallbacks")] == [1, 0, 1, 0]


def test_the_command_converts_from_and_to_another_file_system(dense_model, stats, capsys):
    remote = f"ram://{uuid.uuid4().hex}"
    native = tf.saved_model.load(dense_model)
    tf.saved_model.save(native, f"{remote}/native", signatures=native.signatures)
    command = ["convert", f"{remote}/native", f"{remote}/out", "--dynamic", "--input-shapes", "3x8"]
    assert main(command) == 0
    assert "is written in place" in capsys.readouterr().err
    before = stats()
    model = tf.saved_model.load(f"{remote}/out")
    np.testing.assert_allclose(result(model), result(native), rtol=1e-4, atol=1e-5)
    assert stats()["loads"] - before["loads"] == 1
    assert not pathlib.Path("ram:").exists()
    # What would lose a model is refused, as with local folders.
    for wrong, word in ((command, "is not empty"), (["convert", *[f"{remote}/native"] * 2], "same folder"), (["convert", f"{remote}/none", "x"], "not a folder")):
        assert main(wrong) != 0
        assert word in capsys.readouterr().err
