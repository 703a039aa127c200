"""FP16 and BF16 as rewrites of the ONNX model: the table against ONNX's schemas, each op and whole models against float32.

Graph -> `segment_to_onnx` -> `onnx_to_half`, then onnx.checker, ONNX Runtime on the CPU (FP16; it has next to no BF16 kernels), and
TensorRT-RTX's parser and builder, whose networks are strongly typed (both). Needs
`cargo build --release --example segment_to_onnx --example onnx_to_half --example trt_check` first.
"""

import json
import os
import pathlib
import subprocess

import ml_dtypes
import models
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorrt_rtx
from onnx import TensorProto, helper, numpy_helper
from op_cases import CASES
from test_convert_direct import WRONG_OPTIMIZERS, segment, session, to_onnx

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("TFTRT_EXAMPLES", ROOT / "target/release/examples")) / "onnx_to_half"
KINDS = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
# Ops on truth values alone, which no precision touches.
LOGICAL = {"And", "Not", "Or", "Xor"}


def to_half(pairs, kind="float16"):
    """Rewrites each (source, target); gives the summaries by target."""
    arguments = [path for pair in pairs for path in pair]
    flags = ["--bf16"] if kind == "bfloat16" else []
    run = subprocess.run([PROGRAM, *flags, *arguments], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    summaries = map(json.loads, run.stdout.splitlines())
    return {summary["model"]: summary for summary in summaries}


def element_types(model):
    """Element type by tensor, from ONNX's own strict inference; the full check has to pass as well."""
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, check_type=True).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {weight.name: weight.data_type for weight in inferred.initializer}


def borders(model):
    return [value.SerializeToString() for value in [*model.graph.input, *model.graph.output]]


def audit(before, after, kind, summary):
    """What has to hold for every rewritten model."""
    half, types = KINDS[kind], element_types(after)
    assert borders(before) == borders(after)
    casts = {node.output[0]: node for node in after.graph.node if node.op_type == "Cast"}
    original = {node.output[0]: node.attribute[0].i for node in before.graph.node if node.op_type == "Cast"}
    rounds = TensorProto.BFLOAT16 in original.values()
    # For one of the model's own, one of ours may stand.
    assert len(casts.keys() - original.keys()) == summary["casts"]
    for node in casts.values():
        earlier = casts.get(node.input[0])
        # A model that rounds to bfloat16 means both Casts.
        # Between integers the model casts by itself: int64 that goes through int32 wraps around.
        integers = earlier is not None and {types[name] for name in (earlier.input[0], node.input[0], node.output[0])} <= {
            TensorProto.INT32,
            TensorProto.INT64,
        }
        if earlier is not None and not integers and not (rounds and types[node.input[0]] == TensorProto.BFLOAT16):
            there_and_back = {types[earlier.input[0]], types[node.output[0]]} == {TensorProto.FLOAT} or types[node.output[0]] == types[earlier.input[0]]
            assert not there_and_back, f"{node.name} undoes {earlier.name}"
    taken = [(node.input[0], types[node.output[0]]) for node in casts.values()]
    assert len(taken) == len(set(taken)), "a tensor is cast twice"
    in_half = [n for n in after.graph.node if n.op_type not in ("Cast", "Shape", "Size") and any(types.get(name) == half for name in n.input)]
    assert len(in_half) >= summary["half"]
    # Every float32 initializer that is left has a taker.
    names = {name for node in after.graph.node for name in node.input} | {output.name for output in after.graph.output}
    assert [weight.name for weight in after.graph.initializer if weight.name not in names] == []


def relative_error(found, expected):
    """The largest difference over the largest magnitude."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    scale = np.abs(expected).max(initial=0.0)
    return float(np.abs(found.astype(np.float64) - expected).max(initial=0.0) / (scale or 1.0))


def table():
    lines = subprocess.run([PROGRAM, "--table"], capture_output=True, text=True, check=True).stdout.splitlines()
    return {row["op"]: row for row in map(json.loads, lines)}


@pytest.mark.parametrize("row", table().values(), ids=lambda row: row["op"])
def test_the_table_is_what_onnx_says(row):
    """Which inputs and outputs have the op's type, and which halves that type may be, in opset 17."""
    schema = onnx.defs.get_schema(row["op"], 17, "")
    if row["gives"] == "Declared":
        # A loop or conditional: the types are those that the graphs inside say.
        assert any(attribute.type == onnx.defs.OpSchema.AttrType.GRAPH for attribute in schema.attributes.values())
        assert (row["takes"], row["admits"]) == ([], [])
        return
    takes = range(len(schema.inputs)) if row["takes"] is None else row["takes"]
    variables = {schema.inputs[i].type_str for i in takes}
    assert len(variables) == 1
    (variable,) = variables
    assert [i for i, other in enumerate(schema.inputs) if other.type_str == variable] == list(takes)
    allowed = next((set(c.allowed_type_strs) for c in schema.type_constraints if c.type_param_str == variable), {variable})
    assert "tensor(float)" in allowed
    assert {half for half in KINDS if f"tensor({half})" in allowed} == set(row["admits"])
    outputs = [output.type_str for output in schema.outputs]

    def may_be(output, kind):
        constraint = [c.allowed_type_strs for c in schema.type_constraints if c.type_param_str == output]
        return output == kind or any(kind in allowed for allowed in constraint)

    match row["gives"]:
        case "Same":
            assert set(outputs) == {variable}
        case "SameThenInt64":
            assert outputs[0] == variable and all(may_be(o, "tensor(int64)") and o != variable for o in outputs[1:])
        case "SameThenFloat":
            assert outputs[0] == variable and all(may_be(o, "tensor(float)") and o != variable for o in outputs[1:])
        case "Int64":
            assert all(may_be(o, "tensor(int64)") for o in outputs)
        case "Int8":
            assert all(may_be(o, "tensor(int8)") for o in outputs)
        case "Bool":
            assert all(may_be(o, "tensor(bool)") for o in outputs)
        case "To":
            assert row["op"] == "Cast"
        case other:
            pytest.fail(f"the table says {other}, which this test does not know")


def behind_a_product(model):
    """Puts a product with the identity behind each float32 input with a fixed last dimension, so that the ops meet half.

    Gives the model, or None where no input is so.
    """
    graph, found = model.graph, False
    for value in graph.input:
        tensor = value.type.tensor_type
        dims = tensor.shape.dim
        if tensor.elem_type != TensorProto.FLOAT or not dims or not dims[-1].dim_value:
            continue
        found = True
        product = f"{value.name}/product"
        for node in graph.node:
            for i, name in enumerate(node.input):
                if name == value.name:
                    node.input[i] = product
        identity = numpy_helper.from_array(np.eye(dims[-1].dim_value, dtype=np.float32), f"{value.name}/identity")
        graph.initializer.append(identity)
        graph.node.insert(0, helper.make_node("MatMul", [value.name, identity.name], [product], name=product))
    return model if found else None


@pytest.fixture(scope="session")
def op_models(tmp_path_factory):
    """`{name: (float32 path, {kind: (path, summary)})}` of the converters' cases, and the ops in the converters' models."""
    folder = tmp_path_factory.mktemp("ops")
    paths, _ = to_onnx(folder, {case.name: segment(case.fn, case.specs, case.fold)[0] for case in CASES})
    ops, sources = set(), {}
    for name, path in paths.items():
        model = onnx.load(path)
        ops |= {node.op_type for node in model.graph.node}
        if behind_a_product(model):
            sources[name] = folder / f"{name}.product.onnx"
            onnx.save(model, sources[name])
    results = {name: (source, {}) for name, source in sources.items()}
    for kind in KINDS:
        targets = {name: folder / f"{name}.{kind}.onnx" for name in sources}
        summaries = to_half([(sources[name], targets[name]) for name in sources], kind)
        for name, target in targets.items():
            results[name][1][kind] = (target, summaries[str(target)])
    return results, ops


def test_every_op_of_the_converters_is_in_the_table(op_models):
    _, ops = op_models
    assert ops - set(table()) == LOGICAL & ops
    assert len(ops) > 60


def rounded(value):
    """Floats that FP16 holds, so that the product hands them on as they are."""
    return value.astype(np.float16).astype(np.float32) if value.dtype == np.float32 else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_op(case, op_models):
    """An op behind a product: sound in both halves, and in FP16 near float32.

    The inputs are numbers that FP16 holds, so truths and places have to be the same.
    """
    models_, _ = op_models
    if case.name not in models_:
        pytest.skip("it has no float32 input with a fixed last dimension")
    source, halves = models_[case.name]
    before = onnx.load(source)
    for kind, (path, summary) in halves.items():
        audit(before, onnx.load(path), kind, summary)
        assert summary["half"] >= 1
    expected, found = session(source), session(halves["float16"][0])
    for inputs in case.runs():
        feeds = {f"TensorRTInputPH_{i}": rounded(value) for i, value in enumerate(inputs)}
        for e, f in zip(expected.run(None, feeds), found.run(None, feeds)):
            if e.dtype.kind != "f":
                np.testing.assert_array_equal(f, e)
                continue
            assert (f.dtype, f.shape) == (e.dtype, e.shape)
            finite = np.isfinite(e)
            np.testing.assert_array_equal(f[~finite], e[~finite])
            # A value between two steps of a quantisation, or two numbers of bfloat16's, may go to the other one, of some hundred.
            steps = "Quant" in case.op or "bfloat16" in case.name
            assert relative_error(f[finite], e[finite]) < (1e-2 if steps else 4e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_ops_in_tensorrt(op_models, kind):
    """TensorRT's strongly typed networks take every op in half that they take in float32."""
    models_, _ = op_models
    sources = {name: source for name, (source, _) in models_.items()}
    halves = {name: paths[kind][0] for name, (_, paths) in models_.items()}
    answers = dict(zip(halves, tensorrt_rtx.check(halves.values(), seconds_per_model=10)))
    refused = {name: answer["error"] for name, answer in answers.items() if not answer["ok"]}
    in_float = tensorrt_rtx.check([sources[name] for name in refused])
    assert {name: refused[name] for name, answer in zip(refused, in_float) if answer["ok"]} == {}


def images(*shape):
    return lambda rng: [rng.random(shape, np.float32)]


def tokens(rows, length, vocabulary):
    def inputs(rng):
        mask = np.ones((rows, length), np.int32)
        mask[-1, length // 2 :] = 0
        ids = rng.integers(0, vocabulary, (rows, length)).astype(np.int32)
        return [ids, mask, rng.integers(0, 2, (rows, length)).astype(np.int32)]

    return inputs


# Model, inputs, bound of the relative error in FP16, most Casts.
MODELS = {
    "mlp": (models.mlp, images(7, 28, 28), 1e-3, 2),
    "digits_cnn": (models.digits_cnn, images(7, 8, 8, 1), 1e-3, 2),
    "resnet50": (models.resnet50, images(1, 224, 224, 3), 1e-3, 4),
    # In at the embeddings and at the mask; two norms a layer and a softmax, each in and out.
    "bert": (lambda: models.bert(layers=2), tokens(2, 64, 30522), 3e-3, 3 + 2 * 6),
}


@pytest.fixture(scope="session", params=MODELS)
def whole_model(request, tmp_path_factory):
    """(name, float32 path, {kind: (path, summary)})"""
    folder = tmp_path_factory.mktemp("model")
    fn, specs = MODELS[request.param][0]()
    paths, said = to_onnx(folder, {request.param: segment(fn, specs, fold=True)[0]})
    assert request.param in paths, said
    source, halves = paths[request.param], {}
    for kind in KINDS:
        target = folder / f"{request.param}.{kind}.onnx"
        halves[kind] = target, to_half([(source, target)], kind)[str(target)]
    return request.param, source, halves


def rounding_session(path):
    """A session in which every half tensor is an output: ONNX Runtime, which computes most FP16 nodes in float32, has to round each."""
    model = onnx.load(path)
    made = {name for node in model.graph.node for name in node.output} - {output.name for output in model.graph.output}
    types = element_types(model)
    halves = [name for name in made if types.get(name) == TensorProto.FLOAT16]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT16, None) for name in halves)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("optimization.disable_specified_optimizers", WRONG_OPTIMIZERS)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]), len(halves)


def test_model(whole_model):
    name, source, halves = whole_model
    _, make_inputs, bound, most_casts = MODELS[name]
    before = onnx.load(source)
    for kind, (path, summary) in halves.items():
        audit(before, onnx.load(path), kind, summary)
        assert summary["casts"] <= most_casts
    path, summary = halves["float16"]
    assert summary["half"] > summary["float"]
    feeds = {f"TensorRTInputPH_{i}": value for i, value in enumerate(make_inputs(np.random.default_rng(3)))}
    outputs = [output.name for output in before.graph.output]
    expected = session(source).run(outputs, feeds)
    rounding, tensors = rounding_session(path)
    assert tensors >= summary["half"]
    for way, found in [("engine", session(path)), ("rounding", rounding)]:
        errors = [relative_error(f, e) for f, e in zip(found.run(outputs, feeds), expected)]
        print(f"{name}: FP16 ({way}) relative error {max(errors):.2e}; {summary}")
        assert 0 < max(errors) < bound


def test_weights_shrink(whole_model):
    """Half of the bytes of the float32 weights, but for the few that are kept: scales, offsets, epsilons, small tables."""
    name, source, halves = whole_model

    def size(path):
        return sum(len(weight.raw_data) for weight in onnx.load(path).graph.initializer)

    assert size(halves["float16"][0]) < 0.52 * size(source)


@pytest.mark.parametrize("kind", KINDS)
def test_model_in_tensorrt(whole_model, kind):
    name, _, halves = whole_model
    (answer,) = tensorrt_rtx.check([halves[kind][0]], dims=2, seconds_per_model=300)
    assert answer["ok"], answer


def test_bfloat16_weights(whole_model):
    """Rounded as ml_dtypes, TensorFlow's own BF16, rounds them."""
    _, source, halves = whole_model
    before = {weight.name: weight for weight in onnx.load(source).graph.initializer}
    after = [weight for weight in onnx.load(halves["bfloat16"][0]).graph.initializer if weight.data_type == TensorProto.BFLOAT16]
    assert after
    for weight in after:
        original = numpy_helper.to_array(before[weight.name.rpartition("/")[0]])
        np.testing.assert_array_equal(np.frombuffer(weight.raw_data, np.uint16), original.astype(ml_dtypes.bfloat16).view(np.uint16).ravel())


def test_float16_weights(whole_model):
    _, source, halves = whole_model
    before = {weight.name: weight for weight in onnx.load(source).graph.initializer}
    after = [weight for weight in onnx.load(halves["float16"][0]).graph.initializer if weight.data_type == TensorProto.FLOAT16]
    assert after
    for weight in after:
        original = numpy_helper.to_array(before[weight.name.rpartition("/")[0]])
        np.testing.assert_array_equal(np.frombuffer(weight.raw_data, np.float16), original.astype(np.float16).ravel())


def test_bad_models_are_named(tmp_path):
    broken, absent = tmp_path / "broken.onnx", tmp_path / "absent.onnx"
    broken.write_bytes(b"\xff\xff\xff")
    target = tmp_path / "out.onnx"
    run = subprocess.run([PROGRAM, broken, target, absent, target], capture_output=True, text=True)
    assert run.returncode == 1 and not target.exists()
    said = [line for line in run.stderr.splitlines() if line.startswith(str(tmp_path))]
    assert [line.split(": ")[0] for line in said] == [str(broken), str(absent)]
