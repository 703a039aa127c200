"""The contract of TRTEngineOp and of the ops of its resource, cell by cell: what a graph can say that no converter would.

    python contract_matrix.py FIRST        runs the cells from number FIRST on; prints "BEGIN number name" and "END number result" for each

A cell ends in the right value or in an error of TensorFlow's. One that ends the process is found by its BEGIN without an END.
"""

import itertools
import sys

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, function_pb2
from tensorflow.compiler.tf2tensorrt.ops import gen_trt_ops

import tftrt

tf1 = tf.compat.v1
X = np.arange(16, dtype=np.float32).reshape(2, 8)
INPUTS = {"float": [tf.float32], "int32": [tf.int32], "two": [tf.float32, tf.float32], "half": [tf.float16]}
OUTPUTS = {
    **{"float": [tf.float32], "bool": [tf.bool], "int32": [tf.int32], "half": [tf.float16]},
    **{"two": [tf.float32, tf.float32], "three": [tf.float32] * 3},
}
SPEC = {dtype: tf.TensorSpec([None, 8], dtype) for dtype in (tf.float32, tf.int32, tf.float16)}


def _function(body, *types) -> function_pb2.FunctionDef:
    concrete = tf.function(body, input_signature=[SPEC[dtype] for dtype in types], autograph=False).get_concrete_function()
    return concrete.function_def


def _calling(own: str, callee: str, op: str) -> function_pb2.FunctionDef:
    """A function of one float that hands it to `callee`, by a node of that type."""
    with tf.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 8])
        if op == "TRTEngineOp":
            y = _engine([x], callee, [tf.float32], f"TRTEngineOp_{own}")[0]
        else:
            named = attr_value_pb2.NameAttrList(name=callee)
            (y,) = tf.raw_ops.PartitionedCall(args=[x], Tout=[tf.float32], f=named)
        y = tf.identity(y * 2.0)
    from tensorflow.python.framework import graph_to_function_def

    definition = graph_to_function_def.graph_to_function_def(graph, graph.get_operations(), [x], [y])
    definition.signature.name = own
    return definition


def _functions() -> dict:
    """By name: the definitions, what the first of them takes and gives, and how it is computed; None where it cannot be run."""
    one, two, both = [tf.float32], [tf.float32, tf.float32], [tf.float32]
    made = {
        "one": ([_function(lambda x: x * 2.0 + 1.0, tf.float32)], one, [tf.float32], lambda x: [x * 2 + 1]),
        "two results": ([_function(lambda x: (x * 2.0, x - 1.0), tf.float32)], one, two, lambda x: [x * 2, x - 1]),
        "two arguments": ([_function(lambda x, y: x * y + 1.0, *two)], two, both, lambda x, y: [x * y + 1]),
        "bool": ([_function(lambda x: x * 2.0 > 5.0, tf.float32)], one, [tf.bool], lambda x: [x * 2 > 5]),
        "integers": ([_function(lambda x: x * 2 + 1, tf.int32)], [tf.int32], [tf.int32], lambda x: [x * 2 + 1]),
        "missing": ([], one, one, None),
        "itself": ([_calling("itself", "itself", "TRTEngineOp")], one, one, None),
        "itself, called": ([_calling("again", "again", "PartitionedCall")], one, one, None),
        "in turns": ([_calling("ping", "pong", "TRTEngineOp"), _calling("pong", "ping", "TRTEngineOp")], one, one, None),
        "none": ([], one, one, None),
    }
    return made


def _engine(inputs, function: str, outputs, name: str, soft: bool = True):
    made = gen_trt_ops.trt_engine_op(
        in_tensor=inputs,
        serialized_segment=b"",
        segment_func=attr_value_pb2.NameAttrList(name=function),
        OutT=outputs,
        workspace_size_bytes=1 << 20,
        precision_mode="FP32",
        static_engine=False,
        max_cached_engines_count=1,
        input_shapes=[[None, 8]] * len(inputs),
        output_shapes=[[None, 8]] * len(outputs),
        profile_strategy="Range",
        use_calibration=False,
        name=name,
    )
    made[0].op._set_attr("_use_implicit_batch", attr_value_pb2.AttrValue(b=False))
    made[0].op._set_attr("_allow_soft_placement", attr_value_pb2.AttrValue(b=soft))
    return made


def _node_cell(number, definitions, function, inputs, outputs, soft):
    with tf.Graph().as_default() as graph:
        fed = [tf1.placeholder(dtype, [None, 8]) for dtype in inputs]
        results = [tf.identity(y).name for y in _engine(fed, function, outputs, f"TRTEngineOp_7{number:04d}", soft)]
        names = [tensor.name for tensor in fed]
    graph_def = graph.as_graph_def()
    graph_def.library.function.extend(definitions)
    config = tf1.ConfigProto()
    # TensorFlow's own Grappler does not survive a function that calls itself, with or without an engine.
    config.graph_options.rewrite_options.disable_meta_optimizer = function == "again"
    values = [X.astype(dtype.as_numpy_dtype) + at for at, dtype in enumerate(inputs)]
    with tf.Graph().as_default(), tf1.Session(config=config) as session:
        tf.import_graph_def(graph_def, name="")
        # The second call runs on the shapes that the first one taught.
        for _ in range(2):
            found = session.run(results, dict(zip(names, values)))
    return values, found


def node_cells():
    """(name, cell, whether it gives a value). A cell returns whether its value is right."""
    for (function, parts), (i, inputs), (o, outputs), soft in itertools.product(
        _functions().items(), INPUTS.items(), OUTPUTS.items(), (True, False)
    ):
        definitions, takes, gives, compute = parts
        fits = compute is not None and takes == inputs and gives == outputs
        if not fits and compute is None and (i, o) != ("float", "float"):
            # Of what cannot be run at all, one of each kind.
            continue

        def cell(number, definitions=definitions, inputs=inputs, outputs=outputs, soft=soft, compute=compute, function=function):
            name = definitions[0].signature.name if definitions else {"none": ""}.get(function, "no_such_function")
            values, found = _node_cell(number, definitions, name, inputs, outputs, soft)
            expected = compute(*values)
            return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(found, expected, strict=True))

        yield f"segment {function}, InT {i}, OutT {o}, {'soft' if soft else 'hard'}", cell, fits


def _resource(how: str):
    h = gen_trt_ops.create_trt_resource_handle(resource_name="contract_matrix")
    if how == "none":
        return tf.raw_ops.StridedSlice(input=tf.stack([h, h]), begin=[0], end=[0], strides=[1])
    if how == "gathered none":
        return tf.raw_ops.GatherV2(params=tf.stack([h, h]), indices=tf.zeros([0], tf.int32), axis=0)
    if how == "two":
        return tf.stack([h, h])
    if how == "one of rank 1":
        return tf.stack([h])
    if how == "a variable's":
        return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[], shared_name="contract_matrix_variable")
    if how == "a table's":
        return tf.raw_ops.HashTableV2(key_dtype=tf.int64, value_dtype=tf.int64, shared_name="contract_matrix_table")
    return h


def handle_cells(empty_file: str):
    files = {"file": [empty_file], "no file": [empty_file + ".none"], "two names": [empty_file] * 2, "no name": []}
    for how, (kind, names) in itertools.product(
        ("one", "one of rank 1", "none", "gathered none", "two", "a variable's", "a table's"), files.items()
    ):

        def cell(_, how=how, names=names):
            @tf.function
            def load():
                filename = tf.constant(names, tf.string) if len(names) != 1 else tf.constant(names[0])
                gen_trt_ops.initialize_trt_resource(resource_handle=_resource(how), filename=filename, max_cached_engines_count=1)
                return tf.constant(1)

            return load().numpy() == 1

        # A file outside of a model's folder is rejected with a word, whether it is there or not, and the load goes on.
        yield f"handle {how}, {kind}", cell, how in ("one", "one of rank 1") and kind in ("file", "no file")
    for dtype in (tf.int32, tf.string, tf.variant):

        def wrong(_, dtype=dtype):
            handle = tf.raw_ops.EmptyTensorList(element_shape=[], max_num_elements=1, element_dtype=tf.float32)
            handle = handle if dtype == tf.variant else tf.zeros([], dtype)
            gen_trt_ops.initialize_trt_resource(resource_handle=handle, filename=empty_file, max_cached_engines_count=1)

        yield f"handle of {dtype.name}", wrong, False
    for op, extra in (("serialize_trt_resource", {"filename": empty_file + ".out"}), ("get_calibration_data_op", {})):
        for names in (["contract_matrix"] * 2, [], ["no_such_engine"]):

            def ask(_, op=op, names=names, extra=extra):
                getattr(gen_trt_ops, op)(resource_name=tf.constant(names, tf.string), **extra)

            yield f"{op} of {len(names)} names {names[:1]}", ask, False


def main() -> None:
    first, empty_file = int(sys.argv[1]), sys.argv[2]
    cells = [*handle_cells(empty_file), *node_cells()]
    for number, (name, cell, fits) in enumerate(cells[first:], first):
        print(f"BEGIN {number} {name}", flush=True)
        try:
            result = "right" if cell(number) else "WRONG"
        except (tf.errors.OpError, TypeError, ValueError) as error:
            result = "error " + " ".join(str(error).split())[-600:]
        expected = "right" if fits else "error"
        print(f"END {number} {expected} {result}", flush=True)
    totals = tftrt.stats()["totals"]
    print("DONE", len(cells), totals["engine_calls"], totals["native_engine_failed"], flush=True)


if __name__ == "__main__":
    main()
