"""What `python -m tftrt report` tells, as one dictionary.

The reasons why ops stayed native are read from the model: the library leaves them in the first engine of each graph that it
converts (the attribute `_tftrt_report`). A model without engines is converted here and now, in memory, to learn the reasons. One that
an older TF-TRT converted has none, and the report says so.
"""

import contextlib
import os
import pathlib
import sys

from tftrt.cli import model, summary
from tftrt.cli.progress import step

ATTRIBUTE = "_tftrt_report"
_PREFIX = "trt-serialized-engine."


def gather(directory: str, tags: list[str], signature: str) -> dict:
    """The report on the SavedModel in `directory`.

    Returns {"model", "inputs", "outputs", "converted": whether it holds engines, "reasons_from": "the model" | "a trial" | None,
    "share": {"inside", "total", "percent"}, "asked": settings of the conversion or None, "engines": [...], "native": [...]}.
    An engine is {"name", "precision", "device", "nodes", "ops", "inputs", "outputs", "workspace_bytes", "max_cached_engines",
    "dynamic_shape", "profile_strategy", "stored"}; "stored" is None where it has no file, else {"file", "bytes", "engines"}, with
    what `inspect` tells of each. An entry of "native" is {"op", "count", "reason", "advice", "nodes"}; its reason is None where
    none is known.

    Raises CommandError where the folder holds no such model.
    """
    import tftrt

    graph = model.meta_graph(directory, tags)
    given, made = model.signature(graph, directory, signature)
    found = summary.read(graph)
    told = {
        "model": directory,
        "tftrt": tftrt.__version__,
        "inputs": [str(tensor) for tensor in given],
        "outputs": [str(tensor) for tensor in made],
        "converted": bool(found.engines),
    }
    records = _records(graph.graph_def)
    source = "the model" if records else None
    if not found.engines:
        graph, records = _trial(directory, tags, signature)
        found = summary.read(graph)
        source = "a trial"
    told["reasons_from"] = source
    inside = sum(engine.ops.total() for engine in found.engines if engine.ops is not None)
    outside = found.outside.total()
    if not found.engines:
        outside = sum(entry["count"] for record in records for entry in record["native"])
    total = inside + outside
    told["share"] = {"inside": inside, "total": total, "percent": round(100 * inside / total, 2) if total else None}
    told["asked"] = records[0]["asked"] if records else None
    nodes = _engine_nodes(graph.graph_def)
    told["engines"] = [_engine(engine, nodes[engine.name], directory if told["converted"] else None) for engine in found.engines]
    told["native"] = _native(records, found.outside)
    return told


def _engine_nodes(graph_def) -> dict:
    """The TRTEngineOp nodes by name, wherever they are."""
    bodies = [graph_def.node] + [function.node_def for function in graph_def.library.function]
    return {node.name.split("/")[-1]: node for body in bodies for node in body if node.op == "TRTEngineOp"}


def _records(graph_def) -> list[dict]:
    """The records that the library left in the engines of this graph, each graph's once."""
    import json

    found = {}
    for name, node in sorted(_engine_nodes(graph_def).items()):
        text = node.attr[ATTRIBUTE].s if ATTRIBUTE in node.attr else b""
        if text:
            try:
                found[name] = json.loads(text)
            except ValueError:
                continue  # A model may hold anything; a report without reasons is better than none.
    return list(found.values())


@contextlib.contextmanager
def _stdout_to_stderr():
    """The library prints its report on the process's stdout, where ours has to be alone."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _trial(directory: str, tags: list[str], signature: str):
    """Converts the model in memory, with dynamic shapes and no engine built: its MetaGraphDef, and the records of that."""
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow.python.compiler.tensorrt import trt_convert as trt

    from tftrt import _api

    library = _api._library_in_use()
    before = max((record["number"] for record in library.request("reports")["reports"]), default=0)
    with step(f"{directory} holds no engines; a trial conversion"), _stdout_to_stderr():
        converter = trt.TrtGraphConverterV2(
            input_saved_model_dir=directory,
            input_saved_model_tags=tags,
            input_saved_model_signature_key=signature,
            use_dynamic_shape=True,
            dynamic_shape_profile_strategy="Range",
        )
        function = converter.convert()
    graph_def = function.graph.as_graph_def()
    records = [record for record in library.request("reports")["reports"] if record["number"] > before]
    return meta_graph_pb2.MetaGraphDef(graph_def=graph_def), records


def _attribute(node, name: str, kind: str, default):
    return getattr(node.attr[name], kind) if name in node.attr else default


def _engine(engine, node, directory: str | None) -> dict:
    implicit = _attribute(node, "_use_implicit_batch", "b", True)
    return {
        "name": engine.name,
        "precision": engine.precision,
        "device": node.device,
        "nodes": None if engine.ops is None else engine.ops.total(),
        "ops": None if engine.ops is None else dict(sorted(engine.ops.items())),
        "inputs": engine.inputs,
        "outputs": engine.outputs,
        "workspace_bytes": _attribute(node, "workspace_size_bytes", "i", 0),
        "max_cached_engines": _attribute(node, "max_cached_engines_count", "i", 0),
        "dynamic_shape": not implicit,
        "profile_strategy": None if implicit else _attribute(node, "profile_strategy", "s", b"").decode("utf-8", "replace"),
        "stored": None if directory is None else _stored(engine.name, directory),
    }


def _stored(name: str, directory: str) -> dict | None:
    """What the engine's file holds, by the library's `inspect`; an "error" where it cannot be read."""
    from tftrt import _api

    # The name is the model's own word: it names a file in that folder, or none.
    file = pathlib.Path(directory, "assets", _PREFIX + name.rsplit("/", 1)[-1])
    if not file.is_file():
        return None
    told = {"file": str(file), "bytes": file.stat().st_size, "engines": []}
    if told["bytes"] == 0:
        return told
    try:
        told["engines"] = _api._library_in_use().request("inspect", file=str(file))["engines"]
    except RuntimeError as cause:
        told["error"] = str(cause)
    return told


def _native(records: list[dict], outside) -> list[dict]:
    """Ops outside the engines, the most frequent first: by reason where one was recorded, else by op type alone."""
    told = [dict(entry) for record in records for entry in record["native"]]
    if not records:
        told = [{"op": op, "count": count, "reason": None, "advice": None, "nodes": []} for op, count in outside.items()]
    return sorted(told, key=lambda entry: (-entry["count"], entry["op"], entry["reason"] or ""))
