"""Engines of the CPU's backend that give or take other tensors than their node says: the ONNX model in a plan, changed."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, DOUBLE, BOOL, INT32 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.BOOL, TensorProto.INT32


def _output_type(dtype):
    def change(graph):
        graph.node.append(helper.make_node("Cast", [_behind(graph)], [graph.output[0].name], to=dtype))
        graph.output[0].type.tensor_type.elem_type = dtype

    return change


def _behind(graph) -> str:
    """Frees the name of the output for another node; the name by which that node finds what was given."""
    given = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["given" if name == given else name for name in node.output]
        node.input[:] = ["given" if name == given else name for name in node.input]
    return "given"


def _output_shape(dims):
    def change(graph):
        graph.initializer.append(numpy_helper.from_array(np.array(dims, np.int64), "dims"))
        graph.node.append(helper.make_node("Reshape", [_behind(graph), "dims"], [graph.output[0].name]))
        graph.output[0].type.tensor_type.ClearField("shape")

    return change


def _less(graph):
    for name, value in (("begin", [0]), ("end", [3]), ("axis", [1])):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
    graph.node.append(helper.make_node("Slice", [_behind(graph), "begin", "end", "axis"], [graph.output[0].name]))
    graph.output[0].type.tensor_type.ClearField("shape")


def _more_outputs(graph):
    graph.node.append(helper.make_node("Neg", [graph.output[0].name], ["TensorRTOutputPH_1"]))
    graph.output.append(helper.make_tensor_value_info("TensorRTOutputPH_1", FLOAT, None))


def _more_inputs(graph):
    graph.input.append(helper.make_tensor_value_info("TensorRTInputPH_1", FLOAT, [None, 8]))


def _input_type(graph):
    taken = graph.input[0].name
    for node in graph.node:
        node.input[:] = ["taken" if name == taken else name for name in node.input]
    graph.node.insert(0, helper.make_node("Cast", [taken], ["taken"], to=FLOAT))
    graph.input[0].type.tensor_type.elem_type = INT32


def _input_rank(graph):
    taken = graph.input[0].name
    for node in graph.node:
        node.input[:] = ["taken" if name == taken else name for name in node.input]
    graph.initializer.append(numpy_helper.from_array(np.array([2], np.int64), "axes"))
    graph.node.insert(0, helper.make_node("Squeeze", [taken, "axes"], ["taken"]))
    graph.input[0].type.tensor_type.shape.dim.add().dim_value = 1


# By name: the change, and words of the reason why such an engine is not used.
CHANGES = {
    "output of float64": (_output_type(DOUBLE), "gives output 0 as float64, the node as float32"),
    "output of bool": (_output_type(BOOL), "gives output 0 as bool, the node as float32"),
    "output of another rank": (_output_shape([-1]), "gives output 0 the shape [8], the node was made for [?,4]"),
    "output of another size": (_less, "gives output 0 the shape [2, 3], the node was made for [?,4]"),
    "two outputs": (_more_outputs, "gives 2 outputs, the node has 1"),
    "two inputs": (_more_inputs, "takes 2 inputs, the node has 1"),
    "input of int32": (_input_type, "input 0 is float32, the engine takes int32"),
    "input of another rank": (_input_rank, "input 0 has the shape [2, 8], the engine takes"),
}


def change(plan, how) -> None:
    """Changes the model in a `plan_files.Plan`."""
    model = onnx.load_model_from_string(plan.payload)
    how(model.graph)
    plan.payload = model.SerializeToString()
