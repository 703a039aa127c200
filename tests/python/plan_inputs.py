"""What the plans of a converted SavedModel are fed when the model is called, as files: for the benchmark that runs a plan without
TensorFlow. The order of a plan's inputs is that of its TRTEngineOp node's, and it is read off the saved graph.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

import plan_files

# Nodes that hand on their first input as it is.
_HANDS_ON = ("Identity", "Snapshot", "StopGradient", "PreventGradient")


@dataclasses.dataclass
class _Scope:
    """A graph, or a function as one node calls it."""

    name: str
    nodes: dict
    # The signature's arguments by the names of their placeholders; of a function, its parameters by name, as (caller's scope, input).
    placeholders: dict
    parameters: dict

    def source(self, tensor: str) -> str:
        """The argument of the signature that a tensor of this scope is. ValueError if it is none."""
        name = tensor.split(":")[0]
        if name in self.placeholders:
            return self.placeholders[name]
        if name in self.parameters:
            caller, given = self.parameters[name]
            return caller.source(given)
        node = self.nodes.get(name)
        if node is not None and node.op in _HANDS_ON:
            return self.source(node.input[0])
        what = f"an output of {name} ({node.op})" if node is not None else f"{tensor}, which is no node"
        raise ValueError(f"it is {what} in {self.name}, and an argument of the signature was expected")


def _scopes(scope: _Scope, functions: dict) -> Iterator[_Scope]:
    """This scope and those of all functions that are called in it."""
    yield scope
    for node in scope.nodes.values():
        called = functions.get(node.attr["f"].func.name) if node.op in ("PartitionedCall", "StatefulPartitionedCall") else None
        if called is not None:
            given = [(scope, tensor) for tensor in node.input if not tensor.startswith("^")]
            parameters = dict(zip((argument.name for argument in called.signature.input_arg), given, strict=True))
            yield from _scopes(_Scope(called.signature.name, {n.name: n for n in called.node_def}, {}, parameters), functions)


def arguments(folder, engine: str, signature: str = "serving_default") -> list[tuple[str, np.dtype]]:
    """The arguments of a SavedModel's signature that a TRTEngineOp node is fed, in the order of its inputs, with their types.

    ValueError naming the input that is no argument of the signature.
    """
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.framework import dtypes

    file = pathlib.Path(folder) / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    # A converted model has one: the converter keeps the MetaGraph with the tag "serve".
    (meta,) = saved.meta_graphs
    if signature not in meta.signature_def:
        raise ValueError(f"{file}: there is no signature {signature}, only {', '.join(sorted(meta.signature_def))}")
    placeholders = {info.name.split(":")[0]: name for name, info in meta.signature_def[signature].inputs.items()}
    main = _Scope("the main graph", {node.name: node for node in meta.graph_def.node}, placeholders, {})
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    found = [scope for scope in _scopes(main, functions) if engine in scope.nodes and scope.nodes[engine].op == "TRTEngineOp"]
    if len(found) != 1:
        raise ValueError(f"{file}: expected one TRTEngineOp {engine} in the graph and what it calls, found {len(found)}")
    node = found[0].nodes[engine]
    types = [dtypes.as_dtype(number).as_numpy_dtype for number in node.attr["InT"].list.type]
    fed = []
    for i, tensor in enumerate(tensor for tensor in node.input if not tensor.startswith("^")):
        try:
            fed.append((found[0].source(tensor), np.dtype(types[i])))
        except ValueError as e:
            raise ValueError(f"{file}: input {i} of {engine}: {e}") from e
    return fed


def extract(folder, out, inputs: Callable[[int], dict]) -> list[dict]:
    """What plan_files.extract does, and beside each plan the inputs of its profiles; `inputs` gives those of a batch by argument.

    Each plan also has `"arguments": names` in the order of its inputs and `"inputs": [[path, ...], ...]` by profile: the elements of
    each input, little-endian, with the shapes that the profile was made for. ValueError if the batch's are others.
    """
    plans = plan_files.extract(folder, out)
    for plan in plans:
        fed = arguments(folder, plan["engine"])
        plan["arguments"], plan["inputs"] = [name for name, _ in fed], []
        for k, profile in enumerate(plan["header"]["profiles"]):
            shapes = [tuple(bounds["opt"]) for bounds in profile["shapes"]]
            batch = inputs(shapes[0][0])
            files = []
            for i, ((name, dtype), shape) in enumerate(zip(fed, shapes, strict=True)):
                array = batch[name]
                if (array.dtype, array.shape) != (dtype, shape):
                    raise ValueError(
                        f"{plan['engine']}, input {i} ({name}) of profile {k}: it takes {dtype} {shape}, and {array.dtype} {array.shape} was given"
                    )
                file = pathlib.Path(f"{plan['file']}.profile{k}.input{i}")
                file.write_bytes(array.astype(dtype.newbyteorder("<")).tobytes())
                files.append(str(file))
            plan["inputs"].append(files)
    return plans
