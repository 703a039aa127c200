"""`python -m tftrt summary`: read from the SavedModel's own files; neither the plugin nor a GPU is needed."""

import collections
import dataclasses
import pathlib
import struct

from tftrt.cli import model

_ASSET = "trt-serialized-engine."


@dataclasses.dataclass
class Engine:
    """One TRTEngineOp node. `ops` counts the op types of its native segment, and is None where that was removed."""

    name: str
    precision: str
    ops: collections.Counter | None
    inputs: list[str]
    outputs: list[str]


@dataclasses.dataclass
class Converted:
    """The engines of a model, and the ops around them, counted as `converter.summary()` counts: placeholders included."""

    engines: list[Engine]
    outside: collections.Counter


def _tensors(types, dims) -> list[str]:
    from tensorflow.python.framework import dtypes

    shown = []
    for at, kind in enumerate(types):
        shape = ""
        if at < len(dims) and not dims[at].unknown_rank:
            shape = "[" + ",".join("?" if d.size < 0 else str(d.size) for d in dims[at].dim) + "]"
        shown.append(dtypes.as_dtype(kind).name + shape)
    return shown


def _engine(node, functions: dict) -> Engine:
    name = node.name.split("/")[-1]
    segment = functions.get(node.attr["segment_func"].func.name) or functions.get(f"{name}_native_segment")
    return Engine(
        name=name,
        precision=node.attr["precision_mode"].s.decode(),
        ops=None if segment is None else collections.Counter(n.op for n in segment.node_def),
        inputs=_tensors(node.attr["InT"].list.type, node.attr["input_shapes"].list.shape),
        outputs=_tensors(node.attr["OutT"].list.type, node.attr["output_shapes"].list.shape),
    )


def read(graph) -> Converted:
    """The engines in a MetaGraphDef, wherever they are: in the main graph (TF 1) or in a function (TF 2).

    A function that appears twice, as a signature and as an attribute of the model, is counted once: engine names are
    unique in a model.
    """
    library = graph.graph_def.library
    functions = {f.signature.name: f for f in library.function}
    bodies = [(graph.graph_def.node, 0)] + [(f.node_def, len(f.signature.input_arg)) for f in library.function]
    engines: dict[str, Engine] = {}
    outside: collections.Counter = collections.Counter()
    for nodes, arguments in bodies:
        found = [node for node in nodes if node.op == "TRTEngineOp"]
        new = [node for node in found if node.name.split("/")[-1] not in engines]
        if not new:
            continue
        for node in new:
            engine = _engine(node, functions)
            engines[engine.name] = engine
        outside.update(node.op for node in nodes if node.op != "TRTEngineOp")
        if arguments:
            outside["Placeholder"] += arguments
    return Converted(sorted(engines.values(), key=lambda e: e.name), outside)


def stored_engines(file: pathlib.Path) -> str:
    """What the asset file holds, in words: the number of records in it (TFRecord framing) and its size."""
    if not file.is_file():
        return "none"
    size = file.stat().st_size
    count = at = 0
    with open(file, "rb") as content:
        while at < size:
            content.seek(at)
            head = content.read(8)
            # A record: length (8 bytes), its checksum (4), the data, its checksum (4).
            at += 16 + (struct.unpack("<Q", head)[0] if len(head) == 8 else size)
            count += 1
    if at > size:
        return f"damaged file, {_bytes(size)}"
    return f"{count}, {_bytes(size)}" if count else "none"


def _bytes(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _counts(ops: collections.Counter) -> str:
    return ", ".join(f"{op} {count}" for op, count in sorted(ops.items()))


def run(args) -> None:
    """Prints the model's inputs and outputs, a table of its engines, their ops, and the share of ops converted."""
    tags = args.tag or ["serve"]
    model.start(args.verbose, plugin=False)
    graph = model.meta_graph(args.directory, tags)
    given, made = model.signature(graph, args.directory, args.signature)
    for label, tensors in (("inputs", given), ("outputs", made)):
        for at, tensor in enumerate(tensors):
            print(f"{label if at == 0 else '':<8} {tensor}")
    converted = read(graph)
    print()
    if converted.engines:
        assets = pathlib.Path(args.directory, "assets")
        rows = [["engine", "precision", "ops", "inputs", "outputs", "stored engines"]]
        for engine in converted.engines:
            ops = "removed" if engine.ops is None else str(engine.ops.total())
            stored = stored_engines(assets / f"{_ASSET}{engine.name}")
            rows.append([engine.name, engine.precision, ops, " ".join(engine.inputs), " ".join(engine.outputs), stored])
        print("\n".join(_table(rows)))
        print()
        for engine in converted.engines:
            if engine.ops is not None:
                print(f"{engine.name}: {_counts(engine.ops)}")
        print(f"not converted: {_counts(converted.outside) or 'nothing'}")
    else:
        print("no engines: the model has not been converted, or nothing in it could be")
    inside = sum(engine.ops.total() for engine in converted.engines if engine.ops is not None)
    total = inside + converted.outside.total()
    count = len(converted.engines)
    share = f", {inside / total * 100:.2f} % of the ops converted ({inside} of {total})" if total else ""
    print(f"\n{count} engine{'' if count == 1 else 's'}{share}")
