"""Every converter against native TensorFlow, without the plugin: graph -> `segment_to_onnx` -> ONNX Runtime.

Needs `cargo build --release --example segment_to_onnx` first.
"""

import collections
import functools
import os
import pathlib
import subprocess

import models
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from op_cases import CASES, Case, reasons, spec
from op_cases_recur import BY_HAND, CUDNN
from tensorflow.core.framework import attr_value_pb2, graph_pb2
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflow.python.grappler import tf_optimizer
from tensorflow.python.training import saver

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("TFTRT_EXAMPLES", ROOT / "target/release/examples")) / "segment_to_onnx"
STAYS_NATIVE = reasons("stays_native.txt")


def fold_constants(frozen):
    """The function's graph after Grappler's constant folding, which the stock front end runs before TensorRTOptimizer."""
    borders = [t.op.name for t in frozen.inputs] + [t.op.name for t in frozen.outputs]
    meta = saver.export_meta_graph(graph_def=frozen.graph.as_graph_def(), graph=frozen.graph)
    meta.collection_def["train_op"].node_list.value.extend(borders)
    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.optimizers.append("constfold")
    config.graph_options.rewrite_options.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(tf_optimizer.OptimizeGraph(config, meta), name="")
    return graph


def segment(fn, specs, fold):
    """`fn` as a segment: frozen, its placeholders `_Arg`s, its outputs `_Retval`s, types and shapes written on every node."""
    concrete = (fn if isinstance(fn, tf.types.experimental.GenericFunction) else tf.function(fn)).get_concrete_function(*specs)
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False, aggressive_inlining=True)
    graph = fold_constants(frozen) if fold else frozen.graph
    source = graph.as_graph_def(add_shapes=True)
    arguments = [t.op.name for t in frozen.inputs]
    renamed = {name: f"TensorRTInputPH_{i}" for i, name in enumerate(arguments)}

    def rename(text):
        control, text = ("^", text[1:]) if text.startswith("^") else ("", text)
        name, _, port = text.partition(":")
        return control + renamed.get(name, name) + (":" + port if port else "")

    result = graph_pb2.GraphDef(versions=source.versions)
    for node in source.node:
        operation = graph.get_operation_by_name(node.name)
        if node.op == "NoOp":
            continue
        copy = result.node.add()
        copy.CopyFrom(node)
        copy.name = rename(node.name)
        del copy.input[:]
        copy.input.extend(rename(i) for i in node.input if not i.startswith("^"))
        types = [t.dtype.as_datatype_enum for t in operation.outputs]
        copy.attr["_output_types"].CopyFrom(attr_value_pb2.AttrValue(list=attr_value_pb2.AttrValue.ListValue(type=types)))
        if node.name in renamed:
            copy.op = "_Arg"
            copy.attr["T"].type = types[0]
            copy.attr["index"].i = arguments.index(node.name)
    for i, output in enumerate(frozen.outputs):
        node = result.node.add(name=f"TensorRTOutputPH_{i}", op="_Retval", input=[rename(output.name)])
        node.attr["T"].type = output.dtype.as_datatype_enum
        node.attr["index"].i = i
    return result, frozen


def to_onnx(folder, segments):
    """Converts `{name: GraphDef}` in one process; gives `{name: path}` of what was written, and what the program said."""
    arguments, paths = [], {}
    for name, definition in segments.items():
        source, paths[name] = folder / f"{name}.pb", folder / f"{name}.onnx"
        source.write_bytes(definition.SerializeToString())
        arguments += [source, paths[name]]
    said = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True)
    assert said.returncode in (0, 1), said.stderr
    return {name: path for name, path in paths.items() if path.exists()}, said.stderr


# What the library leaves out of ONNX Runtime, too, and why: src/engine/onnxruntime/mod.rs (the last of them only where there is a Resize).
WRONG_OPTIMIZERS = "Pad_Fusion;MatmulTransposeFusion;TransposeOptimizer_CPUExecutionProvider"


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 2
    options.add_session_config_entry("optimization.disable_specified_optimizers", WRONG_OPTIMIZERS)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def compare(case, native, ort):
    for inputs in case.runs():
        expected = native(*[tf.constant(x) for x in inputs])
        found = ort.run(None, {f"TensorRTInputPH_{i}": x for i, x in enumerate(inputs)})
        expected = [e.numpy() for e in tf.nest.flatten(expected)]
        assert len(expected) == len(found)
        for e, f in zip(expected, found):
            assert (e.dtype, e.shape) == (f.dtype, f.shape)
            if e.dtype.kind == "f":
                np.testing.assert_allclose(f, e, rtol=case.rtol, atol=case.atol)
            else:
                np.testing.assert_array_equal(f, e)


@functools.cache
def all_segments():
    """`{name: (segment, native function)}` of all cases; traced once for every test that asks."""
    return {case.name: segment(case.fn, case.specs, case.fold) for case in CASES}


@pytest.fixture(scope="session")
def converted(tmp_path_factory):
    """All cases, converted in one process: `({name: onnx path}, {name: native function}, stderr)`."""
    paths, said = to_onnx(tmp_path_factory.mktemp("onnx"), {name: definition for name, (definition, _) in all_segments().items()})
    return paths, {name: native for name, (_, native) in all_segments().items()}, said


def test_names_are_unique_and_every_op_has_a_case():
    names = collections.Counter(c.name for c in CASES)
    assert [n for n, count in names.items() if count > 1] == []
    ops = subprocess.run([PROGRAM, "--ops"], capture_output=True, text=True, check=True).stdout.split()
    assert set(ops) - {c.op for c in CASES} - BY_HAND - CUDNN == set()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_op(case, converted):
    paths, natives, said = converted
    mine = [line for line in said.splitlines() if f"/{case.name}.pb" in line]
    if case.name in STAYS_NATIVE and case.name not in paths:
        # (Of an input that no engine takes, by name of the input.)
        assert any(f"({op}) cannot be converted: " in line for line in mine for op in (case.op, "_Arg")), mine
        return
    assert case.name in paths, mine
    assert case.op in {n.op for n in natives[case.name].graph.as_graph_def().node}, "the case does not hold its op"
    compare(case, natives[case.name], session(paths[case.name]))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_no_open_dimension_is_frozen(case, converted):
    """What the specs leave open is open at the engine's borders."""
    paths, _, _ = converted
    if case.name in STAYS_NATIVE and case.name not in paths:
        pytest.skip("its converter refuses it")
    graph = onnx.load(paths[case.name]).graph
    declared = {i.name: [d.dim_value if d.HasField("dim_value") else d.dim_param for d in i.type.tensor_type.shape.dim] for i in graph.input}
    for i, s in enumerate(case.specs):
        dims = declared[f"TensorRTInputPH_{i}"]
        assert [isinstance(d, str) for d in dims] == [d is None for d in s.shape]


# Inputs [rows, sizes]: batch 1 and 7 (64 for the small ones), ResNet-50 1 and 4; BERT at two lengths.
IDS = [(1, 16), (7, 16), (2, 128)]
MODELS = {
    "mlp": (models.mlp, [[[n, 28, 28]] for n in (1, 7, 64)]),
    "digits_cnn": (models.digits_cnn, [[[n, 8, 8, 1]] for n in (1, 7, 64)]),
    "resnet50": (models.resnet50, [[[n, 224, 224, 3]] for n in (1, 4)]),
    "bert": (lambda: models.bert(layers=2, hidden=96, heads=4, ffn=256, vocab=500), [[list(s)] * 3 for s in IDS]),
}


@pytest.fixture(scope="session", params=MODELS)
def model(request, tmp_path_factory):
    build, shapes = MODELS[request.param]
    fn, specs = build()
    definition, native = segment(fn, specs, fold=True)
    paths, said = to_onnx(tmp_path_factory.mktemp("model"), {request.param: definition})
    assert request.param in paths, said
    low, high = (0, 1) if specs[0].dtype == tf.int32 else (-1, 1)
    case = Case(request.param, request.param, fn, specs, shapes, low=low, high=high)
    return case, native, paths[request.param]


def test_model(model):
    case, native, path = model
    compare(case, native, session(path))


def test_transposes_are_at_the_edges_only(model):
    case, _, path = model
    nodes = onnx.load(path).graph.node
    transposes = [n for n in nodes if n.op_type == "Transpose"]
    if case.name == "resnet50":
        # One, where the image comes in: only padding, which does not mind, may stand before it.
        ops = [n.op_type for n in nodes]
        assert len(transposes) <= 1
        assert not transposes or set(ops[: ops.index("Transpose")]) <= {"Pad"}
    if case.name == "digits_cnn":
        # One at the input (8x8x1 to 1x8x8), one before Flatten.
        assert len(transposes) <= 2
    if case.name == "bert":
        # The model's own: three heads and the way back, and the transposed keys, in each layer.
        assert len(transposes) <= 5 * 2
        # From Shape to Reshape sizes stay int64: the only Cast is the mask's.
        assert len([n for n in onnx.load(path).graph.node if n.op_type == "Cast"]) == 1


def test_an_op_that_cannot_be_converted_is_named(tmp_path):
    definition, _ = segment(lambda x: tf.linalg.inv(x, name="inverse") + 1.0, [spec([None, 3, 3])], fold=False)
    paths, said = to_onnx(tmp_path, {"bad": definition})
    assert not paths
    assert "node 'inverse' (MatrixInverse) cannot be converted: TensorRT neither solves equations nor decomposes matrices." in said
