"""SavedModels as TF-TRT of TensorFlow 2.10 to 2.17 left them, written from parts: none of those TensorFlows is here, and no pass of this
library makes any part of a model.

    python old_models.py OUT [NAME...]        writes the models of `ALL`, each into OUT/NAME

Where each part is known from:

- The OpDefs, the node and function names, what static and dynamic engines, assets and TRTEngineInstance hold, calibration mode: the contract
  (TF-TRT of 2.17.1).
- How a converted function becomes a SavedModel, `_TRTEngineResource`, and what `TrtGraphConverter` (TF 1's) writes: trt_convert.py, which is
  the same in 2.17.1 and in the TensorFlow here, and does that part here, too.
- The attributes that the C++ set on a node (`_node`), and that `input_shapes` of a saved engine is the key of TF-TRT's cache: TensorFlow's public
  sources of that time. Those of 2.10 to 2.17 are alike in this; which patch release set what has not been compared.
- `experimental_ints_on_device` on native segments: the same sources. TF-TRT before soft placement set it, those after it still run such models.
- From memory alone: the first bytes of a TensorRT plan, the producer numbers of `_PRODUCER`, that `fingerprint.pb` came with 2.12, and the heading
  of a calibration table. Nothing in the library rests on them but what the log says.

What cannot be had this way: the rest of a SavedModel (object graph, function specs) is as TensorFlow 2.21 writes it, and a plan is bytes that begin
like TensorRT's.
"""

import dataclasses
import pathlib
import sys
import tempfile
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, function_pb2, graph_pb2, node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.compiler.tensorrt import trt_convert
from tensorflow.python.framework import graph_to_function_def

import tftrt  # noqa: F401 (TensorFlow has to know the ops to write them)

_PRODUCER = {"2.10": 1205, "2.11": 1286, "2.12": 1395, "2.13": 1482, "2.14": 1572, "2.15": 1645, "2.16": 1766, "2.17": 1882}

# What a plan of TensorRT 8 begins with, and then nothing that any TensorRT would take.
BARE_PLAN = b"ftrt" + bytes(8) + b"a plan of TensorRT 8.6.1 for compute capability 7.5, which is not there" * 9
CALIBRATION_TABLE = b"TRT-8601-EntropyCalibration2\nTensorRTInputPH_0: 3c010a14\n(Unnamed Layer* 3) [Activation]_output: 3d0b2c41\n"

_RANDOM = np.random.default_rng(11)


def _weights(*shape: int) -> np.ndarray:
    return (_RANDOM.standard_normal(shape) / np.sqrt(shape[-2])).astype(np.float32)


_W1, _W2, _B = _weights(8, 16), _weights(16, 4), _RANDOM.standard_normal(16).astype(np.float32)
_KERNEL, _TABLE = _weights(3, 3, 3, 5), _weights(10, 4)


def _dense(x):
    return [tf.matmul(tf.nn.relu(tf.nn.bias_add(tf.matmul(x, _W1), _B)), _W2)]


def _more_dense(y):
    return [tf.nn.sigmoid(tf.matmul(y, _W2, transpose_b=True) + 0.5)]


def _conv(image):
    return [tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(image, _KERNEL, 1, "SAME"), _B[:5]))]


def _embed(x, ids):
    return [tf.matmul(tf.nn.relu(tf.matmul(x, _W1)), _W2) + tf.reduce_sum(tf.gather(_TABLE, ids), 1), ids * 2 + 1]


@dataclasses.dataclass(frozen=True)
class Engine:
    """A segment, and the types and shapes of its inputs; None is an open size."""

    segment: Callable
    inputs: tuple


_X = ((tf.float32, (None, 8)),)
# A model is its engines in a row; between two stands an op that TF-TRT had no converter for.
BODIES = {
    "dense": (Engine(_dense, _X),),
    "conv": (Engine(_conv, ((tf.float32, (None, 6, 6, 3)),)),),
    "open_conv": (Engine(_conv, ((tf.float32, (None, None, None, 3)),)),),
    "embed": (Engine(_embed, (*_X, (tf.int32, (None, 3)))),),
    "two": (Engine(_dense, _X), Engine(_more_dense, ((tf.float32, (None, 4)),))),
}


@dataclasses.dataclass(frozen=True)
class Old:
    """One model. `plans`: "bare" (saved engines), "empty" (save_gpu_specific_engines=False), "missing" (the file was lost on the way), None (build() was
    never called: no resource, no file). `built` are the input shapes of each saved engine. `strategy` None is implicit batch."""

    tensorflow: str = "2.17"
    body: str = "dense"
    strategy: str | None = None
    precision: str = "FP32"
    use_calibration: bool = False
    calibration_data: bytes = b""
    plans: str | None = None
    built: tuple = (((32, 8),),)
    static: bool = False
    v1: bool = False
    max_batch_size: int = -1
    allow_build: bool = True
    native_segment: bool = True
    device: str = ""
    prefix: str = ""
    attributes: tuple = ()
    ints_on_device: bool = False
    # TF-TRT counted the graphs that a process converted. Weights differ with it, too: no two models here share an engine.
    number: int = 0

    @property
    def engines(self) -> tuple:
        return BODIES[self.body]

    def engine_names(self) -> list[str]:
        # Numbers that no conversion in a process of tests comes to: engines of one name share a resource.
        return [f"TRTEngineOp_{9000 + self.number:03d}_{segment:03d}" for segment in range(len(self.engines))]


def _compute(old: Old, engine: Engine, inputs) -> list:
    first, *rest = engine.segment(*inputs)
    return [first + 0.01 * old.number, *rest]


def native(old: Old) -> Callable:
    """The model as a Python function, without any engine."""

    def call(*inputs):
        for segment, engine in enumerate(old.engines):
            if segment:
                inputs = [tf.math.lgamma(value) for value in inputs]
            inputs = _compute(old, engine, inputs)
        return {f"y{i}": tf.identity(value) for i, value in enumerate(inputs)}

    return call


def _attr(value) -> attr_value_pb2.AttrValue:
    kinds = {bool: "b", int: "i", bytes: "s"}
    return attr_value_pb2.AttrValue(**{kinds[type(value)]: value})


def _segment(old: Old, engine: Engine, name: str) -> tuple[function_pb2.FunctionDef, list]:
    """The native segment's function: inputs and outputs are called as TF-TRT called them, in the lower case that FunctionDefs have."""
    with tf.Graph().as_default() as graph:
        inputs = [tf.compat.v1.placeholder(dtype, shape, name=f"tensorrtinputph_{i}") for i, (dtype, shape) in enumerate(engine.inputs)]
        outputs = _compute(old, engine, inputs)
        body = [op for op in graph.get_operations() if op.type != "Placeholder"]
        names = [f"tensorrtoutputph_{i}" for i in range(len(outputs))]
        function = graph_to_function_def.graph_to_function_def(graph, body, inputs, outputs, names)
    function.signature.name = name
    if old.ints_on_device:
        function.attr["experimental_ints_on_device"].b = True
    return function, outputs


def _shapes(shapes) -> attr_value_pb2.AttrValue:
    value = attr_value_pb2.AttrValue(list=attr_value_pb2.AttrValue.ListValue())
    value.list.shape.extend(tf.TensorShape(shape).as_proto() for shape in shapes)
    return value


def _types(types) -> attr_value_pb2.AttrValue:
    return attr_value_pb2.AttrValue(list=attr_value_pb2.AttrValue.ListValue(type=[dtype.as_datatype_enum for dtype in types]))


def _node(old: Old, engine: Engine, name: str, inputs: list[str], outputs: list) -> node_def_pb2.NodeDef:
    """The TRTEngineOp: the attributes that TF-TRT's CreateTRTNode gave it. The OpDef's other ones (`segment_funcdef_name`, `cached_engine_batches`,
    `fixed_input_size`) are TF 1's, were never set by these versions, and so had their defaults."""
    node = node_def_pb2.NodeDef(name=old.prefix + name, op="TRTEngineOp", input=inputs, device=old.device)
    attrs = node.attr
    attrs["InT"].CopyFrom(_types(dtype for dtype, _ in engine.inputs))
    attrs["OutT"].CopyFrom(_types(output.dtype for output in outputs))
    attrs["input_shapes"].CopyFrom(_shapes(shape for _, shape in engine.inputs))
    attrs["output_shapes"].CopyFrom(_shapes(output.shape for output in outputs))
    attrs["static_engine"].CopyFrom(_attr(old.static))
    if old.native_segment:
        attrs["segment_func"].func.name = f"{name}_native_segment"
    attrs["serialized_segment"].CopyFrom(_attr(BARE_PLAN if old.static and old.plans == "bare" else b""))
    attrs["calibration_data"].CopyFrom(_attr(old.calibration_data))
    attrs["max_cached_engines_count"].CopyFrom(_attr(max(1, len(old.built))))
    attrs["workspace_size_bytes"].CopyFrom(_attr(1 << 30))
    attrs["max_batch_size"].CopyFrom(_attr(old.max_batch_size))
    attrs["precision_mode"].CopyFrom(_attr(old.precision.encode()))
    attrs["use_calibration"].CopyFrom(_attr(old.use_calibration))
    attrs["use_explicit_precision"].CopyFrom(_attr(False))
    attrs["_use_implicit_batch"].CopyFrom(_attr(old.strategy is None))
    attrs["_allow_build_at_runtime"].CopyFrom(_attr(old.allow_build))
    if old.strategy is not None:
        # In the C++'s own spelling; the front end sends it in lower case.
        attrs["profile_strategy"].CopyFrom(_attr(old.strategy.encode()))
        # The front end sets it to True for build(), and back.
        if old.plans is not None:
            attrs["_profile_generation_mode"].CopyFrom(_attr(False))
    for attribute, value in old.attributes:
        attrs[attribute].CopyFrom(_attr(value))
    return node


def _graph(old: Old, inputs: list, outputs: list[str]) -> graph_pb2.GraphDef:
    """The converted graph: placeholders and results are called `inputs` (name, dtype, shape) and `outputs`."""
    graph = graph_pb2.GraphDef()
    graph.versions.producer = _PRODUCER[old.tensorflow]
    for name, dtype, shape in inputs:
        placeholder = graph.node.add(name=name, op="Placeholder")
        placeholder.attr["dtype"].type = dtype.as_datatype_enum
        placeholder.attr["shape"].shape.CopyFrom(tf.TensorShape(shape).as_proto())
    flowing = [name for name, _, _ in inputs]
    for number, (engine, name) in enumerate(zip(old.engines, old.engine_names())):
        if number:
            for i, source in enumerate(flowing):
                between = graph.node.add(name=f"Lgamma_{i}", op="Lgamma", input=[source])
                between.attr["T"].type = tf.float32.as_datatype_enum
            flowing = [f"Lgamma_{i}" for i in range(len(flowing))]
        function, made = _segment(old, engine, f"{name}_native_segment")
        if old.native_segment:
            graph.library.function.append(function)
        graph.node.append(_node(old, engine, name, flowing, made))
        flowing = [old.prefix + name + (f":{i}" if i else "") for i in range(len(made))]
    for name, source, value in zip(outputs, flowing, made):
        result = graph.node.add(name=name, op="Identity", input=[source])
        result.attr["T"].type = value.dtype.as_datatype_enum
    return graph


def _asset(old: Old, engine: Engine, file: pathlib.Path) -> None:
    """The records of one engine's file; `input_shapes` is what the engine was cached under."""
    if old.plans != "bare" or old.static:
        file.write_bytes(b"")
        return
    with tf.io.TFRecordWriter(str(file)) as writer:
        for shapes in old.built:
            message = b""
            for at, (_, own) in enumerate(engine.inputs):
                # An engine that takes another's output has its batch, and its own sizes.
                shape = shapes[at] if engine is old.engines[0] else own
                shape = [shapes[0][0] if size is None else size for size in shape]
                message += _field(1, tf.TensorShape(shape).as_proto().SerializeToString())
            writer.write(message + _field(2, BARE_PLAN))


def _field(number: int, content: bytes) -> bytes:
    length, size = b"", len(content)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def _signature(old: Old) -> list:
    names = ["x", "ids"] if len(old.engines[0].inputs) > 1 else ["x"]
    return [(name, dtype, shape) for name, (dtype, shape) in zip(names, old.engines[0].inputs)]


def _write_v2(old: Old, folder: pathlib.Path) -> None:
    """As TrtGraphConverterV2.save() wrote it."""
    specs = [tf.TensorSpec(shape, dtype, name=name) for name, dtype, shape in _signature(old)]
    frozen = tf.function(native(old), input_signature=specs).get_concrete_function()
    graph = _graph(
        old, [(tensor.op.name, tensor.dtype, tensor.shape) for tensor in frozen.inputs], [tensor.op.name for tensor in frozen.outputs]
    )
    function = trt_convert._construct_function_from_graph_def(frozen, graph)
    trackable = tf.Module()
    trackable.trt_engine_resources = {}
    with tempfile.TemporaryDirectory() as assets:
        for engine, name in zip(old.engines, old.engine_names()):
            if old.plans is None:
                continue
            file = pathlib.Path(assets, f"trt-serialized-engine.{name}")
            _asset(old, engine, file)
            trackable.trt_engine_resources[name] = trt_convert._TRTEngineResource(name, str(file), max(1, len(old.built)))
        tf.saved_model.save(trackable, str(folder), {"serving_default": function})
    if old.plans == "missing":
        for file in (folder / "assets").glob("trt-serialized-engine.*"):
            file.unlink()


def _write_v1(old: Old, folder: pathlib.Path) -> None:
    """As TrtGraphConverter.save() wrote it: a frozen graph, and no resources."""
    given = [(name, dtype, shape) for name, dtype, shape in _signature(old)]
    outputs = [f"y{i}" for i in range(len(old.engines[-1].segment(*(tf.zeros([1, *shape[1:]], dtype) for dtype, shape in old.engines[-1].inputs))))]
    graph = _graph(old, given, outputs)
    with tf.Graph().as_default() as into, tf.compat.v1.Session(graph=into) as session:
        tf.import_graph_def(graph, name="")
        info = tf.compat.v1.saved_model.build_tensor_info
        signature = tf.compat.v1.saved_model.build_signature_def(
            {name: info(into.get_tensor_by_name(f"{name}:0")) for name, _, _ in given},
            {name: info(into.get_tensor_by_name(f"{name}:0")) for name in outputs},
            tf.saved_model.PREDICT_METHOD_NAME,
        )
        builder = tf.compat.v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()


def write(old: Old, folder: pathlib.Path) -> None:
    """Writes one model into `folder`, which must not be there, and dates it back."""
    (_write_v1 if old.v1 else _write_v2)(old, folder)
    file = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    (graph,) = model.meta_graphs
    graph.meta_info_def.tensorflow_version = f"{old.tensorflow}.0"
    graph.meta_info_def.tensorflow_git_version = f"v{old.tensorflow}.0-0-g0000000"
    graph.graph_def.versions.producer = _PRODUCER[old.tensorflow]
    file.write_bytes(model.SerializeToString(deterministic=True))
    if tuple(map(int, old.tensorflow.split("."))) < (2, 12):
        (folder / "fingerprint.pb").unlink(missing_ok=True)


STRATEGIES = ["Range", "Optimal", "Range+Optimal", "ImplicitBatchModeCompatible"]
GPU = "/job:localhost/replica:0/task:0/device:GPU:0"


def _all() -> dict[str, Old]:
    models = {}
    # Every version, once in each mode and each state of its engines.
    for at, version in enumerate(_PRODUCER):
        plans = (None, "bare", "empty")[at % 3]
        models[f"{version}_implicit"] = Old(version, plans=plans, precision=("FP32", "FP16")[at % 2])
        plans = ("bare", "empty", None)[at % 3]
        models[f"{version}_explicit"] = Old(version, strategy=STRATEGIES[at % 4], plans=plans, precision=("FP16", "FP32")[at % 2])
    for strategy in STRATEGIES:
        models[f"bare_{strategy}"] = Old("2.15", strategy=strategy, plans="bare", built=(((16, 8),),))
        models[f"unbuilt_{strategy}"] = Old("2.15", strategy=strategy)
    models |= {
        "on_gpu0": Old("2.13", plans="bare", device=GPU),
        "three_engines_cached": Old("2.12", plans="bare", built=(((4, 8),), ((16, 8),), ((64, 8),))),
        "conv": Old("2.11", "conv", plans="bare", built=(((8, 6, 6, 3),),)),
        "open_conv": Old("2.14", "open_conv", strategy="Range", plans="bare", built=(((4, 9, 9, 3),),)),
        "int32_input": Old("2.16", "embed", strategy="Optimal", plans="bare", built=(((4, 8), (4, 3)),)),
        "int32_input_implicit": Old("2.10", "embed", plans="bare", built=(((4, 8), (4, 3)),)),
        "ints_on_device": Old("2.10", "embed", strategy="Range", plans="bare", built=(((16, 8), (16, 3)),), ints_on_device=True),
        "two_engines": Old("2.17", "two", strategy="Range", plans="bare", built=(((16, 8),),)),
        "in_a_scope": Old("2.10", plans="bare", prefix="StatefulPartitionedCall/model/"),
        "no_build_bare": Old("2.17", plans="bare", allow_build=False),
        "no_build_explicit": Old("2.17", strategy="Range", plans="bare", allow_build=False),
        "no_build_unbuilt": Old("2.12", allow_build=False),
        "no_segment": Old("2.17", strategy="Range", plans="bare", native_segment=False),
        "missing_file": Old("2.17", plans="missing"),
        "int8_table": Old("2.12", precision="INT8", use_calibration=True, calibration_data=CALIBRATION_TABLE, plans="bare"),
        "int8_table_explicit": Old(
            "2.16", strategy="Range", precision="INT8", use_calibration=True, calibration_data=CALIBRATION_TABLE, plans="empty"
        ),
        "int8_no_table": Old("2.14", precision="INT8", use_calibration=True),
        "int8_no_table_bare": Old("2.17", strategy="Optimal", precision="INT8", use_calibration=True, plans="bare"),
        "int8_no_calibration": Old("2.14", precision="INT8", use_calibration=False, plans="bare"),
        "int8_garbage_table": Old("2.14", precision="INT8", use_calibration=True, calibration_data=b"\xff\x00 no table"),
        "v1_static": Old("2.10", v1=True, static=True, plans="bare", max_batch_size=32),
        "v1_static_empty": Old("2.10", v1=True, static=True, plans="empty", max_batch_size=32),
        "v1_dynamic": Old("2.10", v1=True, max_batch_size=1),
        "v1_static_conv": Old("2.11", "conv", v1=True, static=True, plans="bare", max_batch_size=8),
        "v1_int8_table": Old("2.11", v1=True, precision="INT8", use_calibration=True, calibration_data=CALIBRATION_TABLE),
        "v1_two_engines": Old("2.11", "two", v1=True, static=True, plans="bare", max_batch_size=16),
        # What TF 1's pass left on nodes, and functions marked for a conversion at run time, change nothing.
        "leftovers": Old(
            "2.10",
            plans="bare",
            attributes=(("segment_funcdef_name", b""), ("fixed_input_size", True), ("_tftrt_op_max_batch_size", 32), ("_unknown_to_anyone", b"\x01")),
        ),
    }
    return {name: dataclasses.replace(old, number=number) for number, (name, old) in enumerate(models.items())}


ALL = _all()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for chosen in sys.argv[2:] or ALL:
        write(ALL[chosen], pathlib.Path(sys.argv[1], chosen))
