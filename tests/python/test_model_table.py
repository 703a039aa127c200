"""Whole models, converted by the stock front end: the numbers of native TensorFlow, and the table of what went into engines.

The table is `model_table.txt`; `model_table.py` says how it is written anew.
"""

import collections
import gc
import os

import model_table
import numpy as np
import onnx
import pytest
import tensorflow as tf
from model_zoo import MODELS
from onnx_transposes import transposes
from tensorflow.python.compiler.tensorrt import trt_convert

BATCHES = (1, 3)
# Nodes that compute nothing, and what stands for the engines themselves.
UNCOUNTED = {"Const", "Placeholder", "Identity", "IdentityN", "NoOp", "StopGradient", "Snapshot", "_Arg", "_Retval", "TRTEngineOp"}


def count(graph_def):
    """Op types in the engines' native segments and what these call, and all others: of the graph and of functions that it calls."""
    functions = {function.signature.name: function.node_def for function in graph_def.library.function}
    within = set()
    waiting = [name for name in functions if name.endswith("_native_segment")]
    while waiting:
        name = waiting.pop()
        if name not in within:
            within.add(name)
            called = (attr.func.name for node in functions[name] for attr in node.attr.values())
            waiting += [name for name in called if name in functions]
    inside, outside = collections.Counter(), collections.Counter(node.op for node in graph_def.node)
    for name, nodes in functions.items():
        (inside if name in within else outside).update(node.op for node in nodes)
    for counter in (inside, outside):
        for op in UNCOUNTED:
            counter.pop(op, None)
    return inside, outside


def convert(trackable, folder):
    """The converter after `convert()` and the function that it gives."""
    tf.saved_model.save(trackable, str(folder), signatures=trackable.function)
    converter = trt_convert.TrtGraphConverterV2(
        input_saved_model_dir=str(folder), precision_mode="FP32", use_dynamic_shape=True, dynamic_shape_profile_strategy="Range"
    )
    return converter, converter.convert()


def captured_tables(converter):
    """Handles of lookup tables: the stock front end makes inputs of the converted function out of them."""
    function = converter._saved_model.signatures["serving_default"]
    variables = {id(variable.handle) for variable in function.variables}
    return [tensor for tensor in function.captured_inputs if tensor.dtype == tf.resource and id(tensor) not in variables]


def assert_alive(outputs):
    """Outputs that do not depend on the input would compare well whatever the engine did."""
    for tensor in outputs:
        if tensor.dtype.kind == "f" and len(tensor) > 1 and np.ptp(tensor):
            assert np.abs(tensor - tensor[:1]).max() > 1e-3 * np.abs(tensor).max(), "the model gives every image the same"


def assert_same(found, expected):
    assert len(found) == len(expected)
    for f, e in zip(found, expected):
        assert (f.dtype, f.shape) == (e.dtype, e.shape)
        if e.dtype.kind == "f":
            np.testing.assert_allclose(f, e, rtol=1e-3, atol=2e-4 * np.abs(e).max())
        else:
            np.testing.assert_array_equal(f, e)


def values(structure):
    return [tensor.numpy() for tensor in tf.nest.flatten(structure)]


def exported(folder):
    """The transposes of all exported engines, summed."""
    sums = collections.Counter()
    for path in folder.iterdir():
        if not path.name.startswith("dims-"):
            found = transposes(onnx.load(path, load_external_data=False).graph)
            sums.update(inside=len(found.inside), entering=len(found.entering), leaving=len(found.leaving))
    return sums


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_model(model, tmp_path, monkeypatch, stats):
    engines_folder = tmp_path / "engines"
    engines_folder.mkdir()
    monkeypatch.setenv("TF_TRT_EXPORT_TRT_ENGINES_PATH", str(engines_folder))
    trackable = model.build()
    converter, function = convert(trackable, tmp_path / "saved")
    graph_def = converter._converted_graph_def
    inside, outside = count(graph_def)
    engines = [node for node in graph_def.node if node.op == "TRTEngineOp"]

    calls = [[tf.constant(x) for x in model.inputs(batch, seed=0)] for batch in BATCHES]
    tables = captured_tables(converter)
    converter.build(input_fn=lambda: ([*call, *tables] for call in calls))
    stats.reset()
    for call in calls:
        expected = values(trackable.function(*call))
        assert_alive(expected)
        assert_same(values(function(*call, *tables)), expected)
    assert stats["native_fallbacks"] == 0
    assert stats["builds"] == 0
    assert stats["engine_calls"] >= (len(BATCHES) if engines else 0)

    sums = exported(engines_folder)
    row = model_table.Row(
        model=model.name,
        ops=inside.total() + outside.total(),
        converted=inside.total(),
        engines=len(engines),
        **{where: sums[where] for where in ("inside", "entering", "leaving")},
        native=", ".join(f"{n} {op}" if n > 1 else op for op, n in sorted(outside.items())),
        why=model.note if outside else "",
    )
    del converter, function, trackable
    gc.collect()
    hold(row)


def hold(row):
    """Holds a row against the table, or writes it there."""
    rows = model_table.read()
    known = rows.get(row.model)
    if os.environ.get(model_table.WRITE):
        model_table.write(rows | {row.model: row}, list(MODELS))
        return
    assert known is not None, f"{row.model} is not in the table; {model_table.WRITE}=1 writes it"
    assert row.worse(known) == [], f"{row.model} has become worse"
    assert not row.differs(known), f"{row.model} has changed for the better: {model_table.WRITE}=1 writes the table anew, look at its diff"


def test_the_page_is_the_table():
    rows = model_table.read()
    assert list(rows) == list(MODELS)
    assert model_table.DOCUMENT.read_text() == model_table.document(rows), "python tests/python/model_table.py writes it anew"


def test_models_without_strings_are_one_engine():
    """The aim of the whole; what does not reach it says why."""
    for row in model_table.read().values():
        if not row.why:
            assert row.engines == 1 and row.converted >= 0.95 * row.ops, row
