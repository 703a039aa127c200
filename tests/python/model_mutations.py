"""Changes of converted SavedModels that know the format: attributes, functions, assets. The same random numbers make the same change."""

import dataclasses
import functools
import os
import pathlib
import random
import shutil

from tensorflow.core.framework import attr_value_pb2, graph_pb2, types_pb2
from tensorflow.core.protobuf import saved_model_pb2

import model_seeds
import plan_files

INTS = [-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 7, 255, 2**31 - 1, 2**31, 2**40, 2**63 - 1]
TEXTS = [b"", b"FP16", b"INT8", b"FP32", b"Range", b"Optimal", b"ImplicitBatchModeCompatible", b"x" * 70000, b"\xff\xfe", b"a/b/../c", b"TFTRTpln"]
TYPES = [types_pb2.DT_FLOAT, types_pb2.DT_BOOL, types_pb2.DT_INT32, types_pb2.DT_HALF, types_pb2.DT_INT8, types_pb2.DT_INT64, types_pb2.DT_STRING,
         types_pb2.DT_RESOURCE, types_pb2.DT_DOUBLE, types_pb2.DT_INVALID]  # fmt: skip
HINTS = ["_use_implicit_batch", "_allow_build_at_runtime", "_allow_soft_placement", "_profile_generation_mode"]


@dataclasses.dataclass
class Mutation:
    seed: str
    changes: list[str] = dataclasses.field(default_factory=list)
    # Whether another answer than the seed's can be right.
    may_change_numbers: bool = False

    def may_not_end(self) -> bool:
        """Whether a loop was changed, which may then go on for ever, natively too."""
        return self.seed == "loop" and any(change.startswith("segment_") for change in self.changes)


@functools.cache
def _model(folder: pathlib.Path) -> bytes:
    return (folder / "saved_model.pb").read_bytes()


def describe(seeds: pathlib.Path, rng: random.Random) -> Mutation:
    """What `make` changes with the same numbers."""
    return _change(seeds, rng)[0]


def make(seeds: pathlib.Path, out: pathlib.Path, rng: random.Random) -> Mutation:
    """Writes a changed copy of one of the seeds to `out`."""
    mutation, model, assets = _change(seeds, rng)
    source = seeds / mutation.seed
    (out / "assets").mkdir(parents=True)
    if (source / "variables").is_dir():
        shutil.copytree(source / "variables", out / "variables")
    for name in ("input.npy", "expected.npy"):
        shutil.copy(source / name, out / name)
    (out / "saved_model.pb").write_bytes(model.SerializeToString())
    for name, content in assets.items():
        path = out / "assets" / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            content(path)
    return mutation


def _change(seeds: pathlib.Path, rng: random.Random):
    names = sorted(model_seeds.SEEDS)
    mutation = Mutation(rng.choice(names))
    model = saved_model_pb2.SavedModel.FromString(_model(seeds / mutation.seed))
    folder = seeds / mutation.seed / "assets"
    assets = {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.is_dir() else {}
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        change = rng.choices(CHANGES, weights=[weight for *_, weight in CHANGES])[0]
        work, harmless, _ = change
        said = work(rng, model, assets, seeds)
        if said:
            mutation.changes.append(f"{work.__name__}: {said}")
            mutation.may_change_numbers |= not harmless
    return mutation, model, assets


def _value(rng: random.Random, like: attr_value_pb2.AttrValue, names: list[str]) -> attr_value_pb2.AttrValue:
    """Another value, mostly of the same kind."""
    out = attr_value_pb2.AttrValue()
    kind = like.WhichOneof("value") if rng.random() < 0.8 else rng.choice(["i", "b", "s", "type", "func", "shape", "list", "f"])
    if kind == "i":
        out.i = rng.choice(INTS)
    elif kind == "b":
        out.b = not like.b
    elif kind == "s":
        out.s = rng.choice(TEXTS)
        if like.s and rng.random() < 0.5:
            out.s = _bytes(rng, like.s)
    elif kind == "type":
        out.type = rng.choice(TYPES)
    elif kind == "func":
        out.func.name = rng.choice([*names, "", "no_such_function"])
    elif kind == "f":
        out.f = rng.choice([0.0, -1.0, float("nan"), 3e38])
    elif kind == "shape":
        _shape(rng, out.shape)
    elif kind == "list":
        out.list.CopyFrom(like.list)
        _list(rng, out.list)
    elif kind == "tensor":
        out.tensor.CopyFrom(like.tensor)
        _tensor(rng, out.tensor)
    return out


def _shape(rng: random.Random, shape) -> None:
    if rng.random() < 0.2:
        shape.unknown_rank = True
    for _ in range(rng.choice([0, 1, 2, 2, 3, 9])):
        shape.dim.add(size=rng.choice([-1, -1, 0, 1, 3, 8, 8, 2**31, -7, 2**62]))


def _list(rng: random.Random, values) -> None:
    for field in ("type", "shape", "s", "i", "func"):
        there = getattr(values, field)
        if not len(there):
            continue
        way = rng.choice(["drop", "double", "change", "many"])
        at = rng.randrange(len(there))
        if way == "drop":
            del there[at]
        elif way in ("double", "many"):
            there.extend([there[at]] * (1 if way == "double" else 300))
        elif field == "type":
            there[at] = rng.choice(TYPES)
        elif field == "shape":
            there[at].Clear()
            _shape(rng, there[at])
        elif field == "s":
            there[at] = _bytes(rng, there[at])
        elif field == "i":
            there[at] = rng.choice(INTS)
        elif field == "func":
            there[at].name = rng.choice(["", "no_such_function"])
        return
    values.type.extend([rng.choice(TYPES)])


def _tensor(rng: random.Random, tensor) -> None:
    way = rng.choice(["dtype", "shape", "content", "cut"])
    if way == "dtype":
        tensor.dtype = rng.choice(TYPES)
    elif way == "shape":
        tensor.tensor_shape.Clear()
        _shape(rng, tensor.tensor_shape)
    elif tensor.tensor_content:
        tensor.tensor_content = _bytes(rng, tensor.tensor_content) if way == "content" else tensor.tensor_content[:-3]


def _bytes(rng: random.Random, content: bytes) -> bytes:
    """Bytes that were cut, flipped, doubled, or exchanged."""
    if not content:
        return b""
    way = rng.choice(["cut", "flip", "flips", "double", "grow", "zeros"])
    at = rng.randrange(len(content))
    if way == "cut":
        return content[:at]
    if way in ("flip", "flips"):
        out = bytearray(content)
        for _ in range(1 if way == "flip" else 20):
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
        return bytes(out)
    if way == "double":
        return content + content
    if way == "grow":
        return content[:at] + rng.randbytes(rng.choice([1, 8, 5000])) + content[at:]
    return content[:at] + bytes(min(64, len(content) - at)) + content[at + 64 :]


# Changes of nodes.


def _engine(rng: random.Random, model):
    return rng.choice(model_seeds.engine_nodes(model))


def _names(model) -> list[str]:
    return [function.signature.name for function in model_seeds.functions(model)]


def engine_attr(rng, model, assets, seeds):
    node = _engine(rng, model)
    name = rng.choice(sorted(node.attr))
    value = _value(rng, node.attr[name], _names(model))
    node.attr[name].CopyFrom(value)
    return f"{node.name}.{name} = {str(value)[:60]!r}"


def engine_attr_gone(rng, model, assets, seeds):
    node = _engine(rng, model)
    name = rng.choice(sorted(node.attr))
    del node.attr[name]
    return f"{node.name}.{name}"


def engine_hint(rng, model, assets, seeds):
    node = _engine(rng, model)
    name = rng.choice(HINTS)
    node.attr[name].b = rng.random() < 0.5
    return f"{node.name}.{name} = {node.attr[name].b}"


def engine_plan(rng, model, assets, seeds):
    """A plan of another seed, or damaged bytes, in the node itself."""
    node = _engine(rng, model)
    plans = [i.plan for a in plan_files.assets(seeds / rng.choice(["dense", "implicit", "branches"])) for i in plan_files.read_asset(a)]
    plan = rng.choice(plans)
    node.attr["static_engine"].b = True
    node.attr["serialized_segment"].s = plan if rng.random() < 0.5 else _bytes(rng, plan)
    return node.name


def engine_inputs(rng, model, assets, seeds):
    node = _engine(rng, model)
    if rng.random() < 0.5 or len(node.input) < 2:
        node.input.extend([node.input[0]] if node.input else ["x"])
    else:
        del node.input[rng.randrange(len(node.input))]
    return f"{node.name} has {len(node.input)} inputs"


# Changes of functions.


def _segment(rng: random.Random, model):
    ours = [function for function in model_seeds.functions(model) if "native_segment" in function.signature.name or "TRTEngineOp" in function.signature.name]
    return rng.choice(ours or model_seeds.functions(model))


def segment_attr(rng, model, assets, seeds):
    function = _segment(rng, model)
    nodes = [node for node in function.node_def if node.attr]
    if not nodes:
        return None
    node = rng.choice(nodes)
    name = rng.choice(sorted(node.attr))
    value = _value(rng, node.attr[name], _names(model))
    node.attr[name].CopyFrom(value)
    return f"{function.signature.name}/{node.name}.{name} = {str(value)[:60]!r}"


def segment_op(rng, model, assets, seeds):
    function = _segment(rng, model)
    if not function.node_def:
        return None
    node = rng.choice(function.node_def)
    node.op = rng.choice(["MatMul", "Relu", "Const", "Identity", "Reshape", "NoOp", "StatelessIf", "StatelessWhile", "TRTEngineOp", "GatherV2", "NoSuchOp", ""])
    return f"{function.signature.name}/{node.name} is {node.op}"


def segment_edge(rng, model, assets, seeds):
    function = _segment(rng, model)
    nodes = [node for node in function.node_def if node.input]
    if not nodes:
        return None
    node = rng.choice(nodes)
    way = rng.choice(["drop", "double", "swap", "other", "self", "wait"])
    if way == "drop":
        del node.input[rng.randrange(len(node.input))]
    elif way == "double":
        node.input.append(node.input[0])
    elif way == "swap" and len(node.input) > 1:
        node.input[0], node.input[1] = node.input[1], node.input[0]
    elif way == "other":
        node.input[0] = rng.choice([n.name for n in function.node_def]) + rng.choice([":0", ":y:0", ":output:0", ":product:0", ""])
    elif way == "self":
        node.input[0] = f"{node.name}:y:0"
    else:
        node.input.append(f"^{rng.choice(function.node_def).name}")
    return f"{function.signature.name}/{node.name} takes {list(node.input)}"


def segment_node_gone(rng, model, assets, seeds):
    function = _segment(rng, model)
    if not function.node_def:
        return None
    at = rng.randrange(len(function.node_def))
    name = function.node_def[at].name
    del function.node_def[at]
    return f"{function.signature.name}/{name}"


def segment_signature(rng, model, assets, seeds):
    function = _segment(rng, model)
    way = rng.choice(["type", "drop", "more", "drop result", "more results", "result", "rename"])
    args, results = function.signature.input_arg, function.signature.output_arg
    if way == "type" and args:
        rng.choice([*args, *results]).type = rng.choice(TYPES)
    elif way == "drop" and args:
        del args[rng.randrange(len(args))]
    elif way == "more":
        args.add(name="one_more", type=rng.choice(TYPES))
    elif way == "drop result" and results:
        del results[rng.randrange(len(results))]
    elif way == "more results" and results:
        results.add(name="one_more", type=results[0].type)
        function.ret["one_more"] = function.ret.get(results[0].name, "")
    elif way == "result" and function.ret and function.node_def:
        function.ret[rng.choice(sorted(function.ret))] = rng.choice(function.node_def).name + ":y:0"
    else:
        function.signature.name = rng.choice(["renamed", function.signature.name + "_2"])
    return f"{function.signature.name}: {way}"


def segment_calls_itself(rng, model, assets, seeds):
    """The segment runs the engine that runs it. (TensorFlow's own optimizer ends the process on a function that calls itself by name.)"""
    function, node = _segment(rng, model), _engine(rng, model)
    copy = function.node_def.add()
    copy.CopyFrom(node)
    copy.name = "again"
    del copy.input[:]
    copy.input.extend([arg.name for arg in function.signature.input_arg])
    for at, arg in enumerate(function.signature.output_arg):
        function.ret[arg.name] = f"again:out_tensor:{at}"
    return f"{function.signature.name} runs {node.name}"


def segment_gone(rng, model, assets, seeds):
    library = model.meta_graphs[0].graph_def.library.function
    name = _segment(rng, model).signature.name
    for at, function in enumerate(library):
        if function.signature.name == name:
            del library[at]
            return name
    return None


def graphs_inside(rng, model, assets, seeds):
    """The graphs that a loop or conditional holds besides its functions."""
    nodes = [node for function in model_seeds.functions(model) for node in function.node_def if "_tftrt_graphs" in node.attr]
    if not nodes:
        return None
    node = rng.choice(nodes)
    held = node.attr["_tftrt_graphs"].list.s
    if not held:
        return None
    way = rng.choice(["drop", "swap", "bytes", "node"])
    at = rng.randrange(len(held))
    if way == "drop":
        del held[at]
    elif way == "swap" and len(held) > 1:
        held[0], held[1] = held[1], held[0]
    elif way == "bytes":
        held[at] = _bytes(rng, held[at])
    else:
        graph = graph_pb2.GraphDef.FromString(held[at])
        if graph.node:
            one = rng.choice(graph.node)
            one.op = rng.choice(["Relu", "Neg", "_Arg", "Const", "NoSuchOp"])
            held[at] = graph.SerializeToString()
    return f"{node.name}: {way}"


# Changes of the resource's own ops.


def resource_op(rng, model, assets, seeds):
    graphs = [model.meta_graphs[0].graph_def.node] + [function.node_def for function in model_seeds.functions(model)]
    nodes = [node for nodes in graphs for node in nodes if "TRTResource" in node.op and node.attr]
    if not nodes:
        return None
    node = rng.choice(nodes)
    name = rng.choice(sorted(node.attr))
    value = _value(rng, node.attr[name], _names(model))
    node.attr[name].CopyFrom(value)
    return f"{node.name}.{name} = {str(value)[:60]!r}"


# Changes of asset files. What has no right hash must never change an answer.


def _asset(rng: random.Random, assets) -> str | None:
    names = [name for name, content in assets.items() if isinstance(content, bytes)]
    return rng.choice(names) if names else None


def asset_bytes(rng, model, assets, seeds):
    name = _asset(rng, assets)
    if name is None or not assets[name]:
        return None
    assets[name] = _bytes(rng, assets[name])
    return f"{name} has {len(assets[name])} bytes"


def asset_of_another(rng, model, assets, seeds):
    name = _asset(rng, assets)
    other = plan_files.assets(seeds / rng.choice(["dense", "implicit", "branches", "loop", "embedding"]))
    if name is None or not other:
        return None
    chosen = rng.choice(other)
    assets[name] = chosen.read_bytes() + (assets[name] if rng.random() < 0.5 else b"")
    return f"{name} is {chosen.parent.parent.name}/{chosen.name}"


def asset_no_file(rng, model, assets, seeds):
    name = _asset(rng, assets)
    if name is None:
        return None
    way = rng.choice(["gone", "empty", "folder", "pipe", "link", "device"])
    outside = str(plan_files.assets(seeds / "dense")[0])
    assets[name] = {
        "gone": None,
        "empty": b"",
        "folder": lambda path: path.mkdir(),
        "pipe": lambda path: os.mkfifo(path),
        "link": lambda path: path.symlink_to(outside),
        "device": lambda path: path.symlink_to("/dev/zero"),
    }[way]
    return f"{name}: {way}"


def _rewrite(assets, name: str, work) -> None:
    """Changes an asset's instances by `work`; checksums are right afterwards."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "asset"
        path.write_bytes(assets[name])
        instances = plan_files.read_asset(path)
        work(instances)
        plan_files.write_asset(path, instances)
        assets[name] = path.read_bytes()


def _decodable(assets, name) -> bool:
    return name is not None and assets[name].count(plan_files.MAGIC) > 0


def asset_plan(rng, model, assets, seeds):
    """The plan's bytes are damaged; the file's own checksums are right."""
    name = _asset(rng, assets)
    if not _decodable(assets, name):
        return None

    def work(instances):
        for instance in instances:
            instance.plan = _bytes(rng, instance.plan)

    return _try(assets, name, work)


def asset_records(rng, model, assets, seeds):
    name = _asset(rng, assets)
    if not _decodable(assets, name):
        return None

    def work(instances):
        way = rng.choice(["double", "many", "fields"])
        if way == "fields":
            instances[0].fields = _bytes(rng, instances[0].fields or b"\x0a\x00")
        else:
            instances.extend(instances * (1 if way == "double" else 40))

    return _try(assets, name, work)


def asset_header(rng, model, assets, seeds):
    """The header of the container says something else, under a right hash."""
    name = _asset(rng, assets)
    if not _decodable(assets, name):
        return None

    def work(instances):
        for instance in instances:
            plan = plan_files.Plan.decode(instance.plan)
            key = rng.choice(sorted(plan.header))
            value = plan.header[key]
            if key == "profiles":
                value = _profiles(rng, value)
            elif isinstance(value, str):
                value = rng.choice(["", "tensorrt", "0" * 64, "f" * 63, value[::-1], "é" * 10])
            else:
                value = rng.choice([None, [9, 0], [-1, 5], "x", {}])
            plan.header[key] = value
            if rng.random() < 0.1:
                plan.format = rng.choice([0, 2, 2**32 - 1])
            instance.plan = plan.encode()

    return _try(assets, name, work)


def _profiles(rng: random.Random, profiles):
    way = rng.choice(["none", "many", "rank", "order", "negative", "large", "wrong"])
    if way == "none":
        return []
    if way == "many":
        return profiles * 500
    if way == "wrong":
        return [None, 7]
    for profile in profiles:
        for bounds in profile.get("shapes", []):
            for key in ("min", "opt", "max"):
                if way == "rank":
                    bounds[key] = [*bounds[key], 1]
                elif way == "order" and key == "min":
                    bounds[key] = [10**6 for _ in bounds[key]]
                elif way == "negative":
                    bounds[key] = [-1 for _ in bounds[key]]
                elif way == "large" and key == "max":
                    bounds[key] = [2**62 for _ in bounds[key]]
    return profiles


def asset_payload(rng, model, assets, seeds):
    """Another model's payload under this one's hashes: a plan is a program, so only the process has to live on."""
    name = _asset(rng, assets)
    if not _decodable(assets, name):
        return None
    other = plan_files.assets(seeds / rng.choice(["dense", "branches", "loop", "embedding"]))[0]

    def work(instances):
        payload = plan_files.Plan.decode(plan_files.read_asset(other)[0].plan).payload
        for instance in instances:
            plan = plan_files.Plan.decode(instance.plan)
            plan.payload = rng.choice([payload, payload[: len(payload) // 2], b"", rng.randbytes(300)])
            instance.plan = plan.encode()

    return _try(assets, name, work)


def _try(assets, name, work) -> str | None:
    """An asset that an earlier change has made unreadable stays as it is."""
    try:
        _rewrite(assets, name, work)
    except Exception:
        return None
    return name


# What changes, whether the seed's answer is then the only right one, and how often it is chosen.
CHANGES = [
    (engine_attr, False, 5),
    (engine_attr_gone, False, 2),
    (engine_hint, True, 1),
    (engine_plan, True, 2),
    (engine_inputs, False, 1),
    (segment_attr, False, 4),
    (segment_op, False, 2),
    (segment_edge, False, 3),
    (segment_node_gone, False, 1),
    (segment_signature, False, 3),
    (segment_calls_itself, False, 1),
    (segment_gone, False, 1),
    (graphs_inside, True, 2),
    (resource_op, False, 3),
    (asset_bytes, True, 3),
    (asset_of_another, True, 2),
    (asset_no_file, True, 2),
    (asset_plan, True, 3),
    (asset_records, True, 2),
    (asset_header, True, 3),
    (asset_payload, False, 1),
]
