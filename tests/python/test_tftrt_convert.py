"""Conversion without Python: the program tftrt-convert, and from C++ by tftrt/convert_api.h. What comes out gives what native TensorFlow gives."""

import pathlib

import cpp_programs
import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow.python.framework import convert_to_constants
from tensorflow.python.training import saver

ROWS = np.random.default_rng(11).standard_normal((6, 8)).astype(np.float32)


class Whole(tf.Module):
    """What has to be frozen, and what must not be: variables that are read, gathered and taken into a loop, and a table from a file."""

    def __init__(self, words: str):
        super().__init__()
        random = np.random.default_rng(5)
        self.dense = tf.Variable(random.standard_normal((8, 6)).astype(np.float32))
        self.rows = tf.Variable(random.standard_normal((4, 6)).astype(np.float32))
        self.step = tf.Variable(random.standard_normal((6, 6)).astype(np.float32) / 4)
        index = tf.lookup.TextFileIndex
        numbers = tf.lookup.TextFileInitializer(words, tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER)
        self.table = tf.lookup.StaticHashTable(numbers, 3)

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="x"), tf.TensorSpec([None], tf.string, name="word")])
    def __call__(self, x, word):
        start = tf.nn.relu(tf.matmul(x, self.dense)) + tf.gather(self.rows, self.table.lookup(word))
        rounds = tf.cast(tf.reduce_max(tf.strings.length(word)), tf.int32)
        _, end = tf.while_loop(lambda i, _: i < rounds, lambda i, y: (i + 1, tf.tanh(tf.matmul(y, self.step)) + 0.5), [0, start])
        return {"y": end, "start": start}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    (folder / "words.txt").write_text("red\ngreen\nblue\n")
    tf.saved_model.save(Whole(str(folder / "words.txt")), str(folder / "native"))
    # Where the model was saved from, there is no file now: the converted model has to bring its own.
    (folder / "words.txt").unlink()
    return folder / "native"


@pytest.fixture(scope="module")
def words():
    return np.array([b"green", b"no", b"blue", b"red", b"red", b"green"])


def convert(*arguments, device: str = "CPU", check: bool = True):
    return cpp_programs.run(cpp_programs.rust_program("tftrt-convert", "bin"), *arguments, device=device, check=check)


def engines(folder) -> list[str]:
    model = saved_model_pb2.SavedModel.FromString((pathlib.Path(folder) / "saved_model.pb").read_bytes())
    return [node.name for node in model.meta_graphs[0].graph_def.node if node.op == "TRTEngineOp"]


@pytest.mark.parametrize("device", cpp_programs.DEVICES)
@pytest.mark.parametrize("options", [[], ["--dynamic"], ["--dynamic", "--profile-strategy=Optimal", "--max-cached-engines=2"]], ids=" ".join)
def test_a_dense_model_in_python_and_in_cpp(options, device, dense_model, tmp_path, stats):
    out = tmp_path / "converted"
    done = convert(dense_model, out, *options, device=device)
    assert "1 engines" in done.stdout and "3 variables frozen" in done.stdout
    assert len(engines(out)) == 1 and not (out / "variables").exists()
    # TF32 in products, on a GPU.
    tolerance = {"CPU": 1e-5, "GPU": 2e-3}[device]
    expected = tf.saved_model.load(dense_model).signatures["serving_default"](tf.constant(ROWS))["y"].numpy()
    found = tf.saved_model.load(str(out)).signatures["serving_default"](tf.constant(ROWS))["y"].numpy()
    assert_close(found, expected, tolerance)
    assert stats["engine_calls"] == 1 and stats["native_fallbacks"] == 0

    (tmp_path / "out").mkdir()
    folders = [f"--inputs={cpp_programs.write_tensors(tmp_path / 'in', {'x': ROWS})}", f"--outputs={tmp_path / 'out'}"]
    session = [cpp_programs.cpp_folder() / "session_linked", f"--model_path={out}", "--iterations=2"]
    done = cpp_programs.run(*session, *folders, device=device)
    assert_close(cpp_programs.read_tensors(tmp_path / "out")["y"], expected, tolerance)
    assert cpp_programs.totals(done)["engine_calls"] == 2


def test_variables_in_a_loop_and_a_table_from_a_file(whole, words, tmp_path, stats):
    out = tmp_path / "converted"
    done = convert(whole, out, "--dynamic", "--minimum-segment-size", "1")
    assert "3 variables frozen" in done.stdout
    native = tf.saved_model.load(str(whole)).signatures["serving_default"](x=tf.constant(ROWS), word=tf.constant(words))
    loaded = tf.saved_model.load(str(out))
    found = loaded.signatures["serving_default"](x=tf.constant(ROWS), word=tf.constant(words))
    assert set(found) == set(native)
    for name in native:
        assert_close(found[name], native[name], 1e-5)
    assert stats["engine_calls"] > 0 and stats["native_fallbacks"] == 0


def test_a_model_that_writes_a_variable_is_refused(tmp_path):
    class Counter(tf.Module):
        def __init__(self):
            super().__init__()
            self.n = tf.Variable(0.0, name="calls")

        @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="x")])
        def __call__(self, x):
            return {"y": x + self.n.assign_add(1.0)}

    tf.saved_model.save(Counter(), str(tmp_path / "native"))
    done = convert(tmp_path / "native", tmp_path / "converted", check=False)
    assert done.returncode == 1 and not (tmp_path / "converted").exists()
    assert "variable 'calls' cannot become a constant" in done.stderr and "AssignAddVariableOp" in done.stderr


@pytest.mark.parametrize(
    ["options", "code", "words_"],
    [
        (["--precision", "INT8"], 2, "needs calibration"),
        (["--profile-strategy", "Range"], 2, "--profile-strategy needs --dynamic"),
        (["--minimum-segment-size", "0"], 2, "--minimum-segment-size 0 is neither"),
        (["--minimum-segment-size", "few"], 2, "takes a number, not 'few'"),
        (["--signature", "other"], 1, "has no signature 'other'; it has: serving_default"),
        (["--tag", "gpu"], 1, "Could not find meta graph def matching supplied tags: { gpu }"),
        (["--overwrit"], 2, "there is no option --overwrit"),
        (["--tensorflow", "/none/libtensorflow_cc.so.2"], 1, "/none/libtensorflow_cc.so.2"),
    ],
)
def test_what_it_refuses(options, code, words_, dense_model, tmp_path):
    done = convert(dense_model, tmp_path / "converted", *options, check=False)
    assert done.returncode == code and words_ in done.stderr
    assert not (tmp_path / "converted").exists()


def test_folders(dense_model, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("mine")
    for arguments, why in [
        ([dense_model, tmp_path / "full"], "is not empty; choose another folder, or add --overwrite"),
        ([dense_model, dense_model], "OUT is the same folder as IN"),
        ([tmp_path / "none", tmp_path / "out"], "none is not a folder"),
        ([dense_model], "two folders are wanted"),
    ]:
        done = convert(*arguments, check=False)
        assert done.returncode == 2 and why in done.stderr
    convert(dense_model, tmp_path / "full", "--overwrite")
    assert len(engines(tmp_path / "full")) == 1 and (tmp_path / "full/file").read_text() == "mine"


def frozen(fn, specs) -> tuple[meta_graph_pb2.MetaGraphDef, object]:
    """A function's frozen graph, with a signature, and the function."""
    concrete = tf.function(fn).get_concrete_function(*specs)
    constant = convert_to_constants.convert_variables_to_constants_v2(concrete)
    meta = saver.export_meta_graph(graph_def=constant.graph.as_graph_def(), graph=constant.graph)
    signature = meta.signature_def["serving_default"]
    for i, tensor in enumerate(constant.inputs):
        signature.inputs[f"in{i}"].name = tensor.name
    for i, tensor in enumerate(constant.outputs):
        signature.outputs[f"out{i}"].name = tensor.name
    return meta, constant


def run_graph(graph_def, constant, inputs):
    """The outputs of a GraphDef that has the inputs and outputs of `constant`."""
    # A session of its own: all functions of eager TensorFlow share one namespace, and each test has its TRTEngineOp_000_000_native_segment.
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            return session.run([t.name for t in constant.outputs], {t.name: x for t, x in zip(constant.inputs, inputs)})


def test_a_graph_from_cpp(tmp_path, stats):
    weights = tf.constant(np.random.default_rng(2).standard_normal((8, 8)).astype(np.float32))
    meta, constant = frozen(lambda x: tf.nn.relu(tf.matmul(x, weights) + 1.0) * 0.5, [tf.TensorSpec([None, 8])])
    (tmp_path / "frozen.pb").write_bytes(meta.SerializeToString())
    program = cpp_programs.cpp_folder() / "convert"
    cpp_programs.run(program, "graph", tmp_path / "frozen.pb", tmp_path / "converted.pb", "dynamic")
    converted = graph_pb2.GraphDef.FromString((tmp_path / "converted.pb").read_bytes())
    assert [node.name for node in converted.node if node.op == "TRTEngineOp"] == ["TRTEngineOp_000_000"]
    assert_close(run_graph(converted, constant, [ROWS]), constant(tf.constant(ROWS)), 1e-5)
    assert stats["engine_calls"] == 1

    meta.signature_def.clear()
    meta.collection_def.clear()
    (tmp_path / "frozen.pb").write_bytes(meta.SerializeToString())
    done = cpp_programs.run(program, "graph", tmp_path / "frozen.pb", tmp_path / "none.pb", check=False)
    assert done.returncode == 1 and "has neither a signature 'serving_default' nor a collection train_op" in done.stderr


def test_a_graph_that_is_wrong_is_an_error_in_cpp(tmp_path):
    meta, _ = frozen(lambda x: tf.nn.relu(x), [tf.TensorSpec([None, 8])])
    meta.graph_def.node[-1].input[:] = ["nobody"]
    (tmp_path / "frozen.pb").write_bytes(meta.SerializeToString())
    done = cpp_programs.run(cpp_programs.cpp_folder() / "convert", "graph", tmp_path / "frozen.pb", tmp_path / "none.pb", check=False)
    assert done.returncode == 1 and "nobody" in done.stderr


def test_a_saved_model_from_cpp(dense_model, tmp_path):
    program, out = cpp_programs.cpp_folder() / "convert", tmp_path / 'a "folder"'
    cpp_programs.run(program, "model", dense_model, out, "dynamic")
    assert len(engines(out)) == 1
    done = cpp_programs.run(program, "model", dense_model, out, check=False)
    assert done.returncode == 1 and "is not empty" in done.stderr
