"""Writes docs/reference/supported_ops.md: every op that has a converter, and what is known of it from running it.

    python tests/python/make_supported_ops.py            # writes the file
    python tests/python/make_supported_ops.py --check    # fails where the file is not what it would write

Nothing in the table is written by hand but the notes, in docs/reference/op_notes.txt. The types are those that the op's support predicate takes
(and TensorFlow has) when it is shown the op's cases with other types; the conditions, what the predicate says when a constant of a
case comes in at run time instead, when a known size is open, and in the cases that stays_native.txt lists; the ONNX ops, those of the
models of all its cases. "Tested" counts cases: converted and compared with native TensorFlow on the CPU, taken by TensorRT-RTX's parser
and builder, and passed on a GPU by TensorRT 8.6 where gpu_ops_results.txt has results, lines of "case: passed" or "case: failed ...".

Needs `cargo build --release --example segment_to_onnx` first.
"""

import collections
import pathlib
import re
import subprocess
import sys
import tempfile

import onnx
from op_cases import CASES, reasons
from op_cases_recur import CUDNN
from tensorflow.core.framework import graph_pb2
from tensorflow.python.framework import dtypes, op_def_registry
from test_convert_direct import PROGRAM, ROOT, STAYS_NATIVE, all_segments, to_onnx

TARGET, NOTES, GPU_RESULTS = ROOT / "docs/reference/supported_ops.md", ROOT / "docs/reference/op_notes.txt", ROOT / "tests/python/gpu_ops_results.txt"
# Types of tensors inside an engine, in the order of the table.
TYPES = [dtypes.float32, dtypes.float16, dtypes.int32, dtypes.int64, dtypes.bool,
         dtypes.int8, dtypes.uint8, dtypes.int16, dtypes.uint16, dtypes.bfloat16, dtypes.float64]
SHORT = {t.name: t.name for t in TYPES} | {"float32": "float", "float16": "half"}
# Cases of each op that are shown to the predicate in other forms; the next ones add nothing but time.
PROBED = 2

HEAD = """# Ops that go into an engine

`python tests/python/make_supported_ops.py` makes this page from the converters and their cases, and a test fails if it is not up to
date. To change it, change the converters (`src/convert/ops/<family>.rs`), the cases (`tests/python/op_cases*.py`) or the notes
(`docs/reference/op_notes.txt`), and run the command again. [Adding an op](../contribute/add-an-op.md) explains each step.

- **Types**: of the tensors that the op computes with. Inside an engine int8, uint8, int16 and uint16 are emulated in int32, and
  bfloat16 and float64 in float32 ([types](../design/types-and-precision.md#types-that-engines-do-not-have)). None of them crosses
  an engine's boundary, and int64 does not either. Other types stay in TensorFlow.
- **Conditions**: what its support predicate refuses otherwise, in its own words. A refused node stays in TensorFlow, with these
  words in the conversion report. Every op needs inputs of known rank, at most 8.
- **ONNX ops**: what the cases' models are made of.
- **CPU**: the number of cases that were converted, run by ONNX Runtime and compared with native TensorFlow.
- **RTX**: the number of cases that the parser and the builder of TensorRT-RTX 1.7 take.
- **H200**: the number of cases that TensorRT 8.6 ran on a GPU; a dash if there are no results.

Loops and conditionals are not in the table: a converter never sees a model's own `While` or `If`
([control flow](../design/control-flow.md)). cuDNN's recurrent layers, `CudnnRNN`, `CudnnRNNV2` and `CudnnRNNV3`, are not in it either,
because TensorFlow has no kernel of theirs for a CPU. With floats, one layer, one direction and constant parameters they become
ONNX's LSTM, GRU or RNN. `tests/python/test_cudnn.py` compares them with NumPy and with Keras' own layers.

"""


def family(op):
    """The file with the op's record: its name in quotes is the field `op`, or the first thing that a macro or a function is given."""
    record = re.compile(rf'(op: |\w!?\(\s*)"{op}"')
    for path in sorted((ROOT / "src/convert/ops").glob("*.rs")):
        _, _, lists = path.read_text().partition("pub const CONVERTERS")
        if record.search(lists):
            return path.stem
    return "-"


def main_type(node):
    """The attribute that names the type which the op computes in; None where that type is fixed."""
    own = [a.name for a in op_def_registry.get(node.op).attr if a.type == "type"]
    return next((name for name in ("T", "SrcT", "Tparams", "dtype", "Ta", *(["Tidx"] if node.op == "Range" else [])) if name in own), None)


def allowed(op, attribute):
    """What TensorFlow itself admits for an attribute of an op."""
    definition = next(a for a in op_def_registry.get(op).attr if a.name == attribute)
    return list(definition.allowed_values.list.type) or [t.as_datatype_enum for t in TYPES]


def of_type(node, arguments, attribute):
    """For each of a node's inputs (or outputs, by the OpDef's `arguments`) whether its type is that attribute's."""
    flags = []
    for argument in arguments:
        count = node.attr[argument.number_attr].i if argument.number_attr else 1
        flags += [argument.type_attr == attribute] * count
    return flags


def producers(definition, node):
    """The nodes that a node takes data from, with the number of their output."""
    by_name = {n.name: n for n in definition.node}
    ports = [i.partition(":") for i in node.input if not i.startswith("^")]
    return [(by_name[name], int(port or 0)) for name, _, port in ports]


def with_type(definition, name, number):
    """The graph with the main type of the node `name` changed, in its inputs, its outputs and its attribute."""
    changed = graph_pb2.GraphDef.FromString(definition.SerializeToString())
    node = next(n for n in changed.node if n.name == name)
    attribute, op = main_type(node), op_def_registry.get(node.op)
    # BatchMatMulV3 has a type for each side.
    attributes = ("Ta", "Tb", "Tout") if attribute == "Ta" else (attribute,)
    for each in attributes:
        node.attr[each].type = number
        ports = zip(producers(changed, node), of_type(node, op.input_arg, each))
        outputs = zip(((node, i) for i in range(len(node.attr["_output_types"].list.type))), of_type(node, op.output_arg, each))
        for (other, port), same in [*ports, *outputs]:
            if same:
                other.attr["_output_types"].list.type[port] = number
    return changed


def with_run_time_input(definition, name, at):
    """The graph with input `at` of the node no constant; None where it is none."""
    changed = graph_pb2.GraphDef.FromString(definition.SerializeToString())
    source, _ = producers(changed, next(n for n in changed.node if n.name == name))[at]
    if source.op != "Const":
        return None
    source.op = "_Arg"
    del source.attr["value"]
    return changed


def with_open_input(definition, name, at):
    """The graph with every dimension of input `at` of the node open; None where all are."""
    changed = graph_pb2.GraphDef.FromString(definition.SerializeToString())
    source, port = producers(changed, next(n for n in changed.node if n.name == name))[at]
    dims = source.attr["_output_shapes"].list.shape[port].dim
    if source.op == "Const" or all(d.size < 0 for d in dims):
        return None
    for d in dims:
        d.size = -1
    return changed


def probes(definition, name, op):
    """Variants of a case's graph: `(kind, detail, graph)`."""
    yield "as it is", None, definition
    node = next(n for n in definition.node if n.name == name)
    attribute = main_type(node)
    if attribute is None:
        fixed = op_def_registry.get(op).input_arg[0].type
        if fixed:
            yield "type", SHORT[dtypes.as_dtype(fixed).name], definition
    else:
        for dtype in TYPES:
            if dtype.as_datatype_enum in allowed(op, attribute):
                yield "type", SHORT[dtype.name], with_type(definition, name, dtype.as_datatype_enum)
    for at in range(len(producers(definition, node))):
        for make in (with_run_time_input, with_open_input):
            changed = make(definition, name, at)
            if changed is not None:
                yield "condition", None, changed


# A predicate's words about types, ranks and what is unknown are told by the table's other columns and its head.
UNTOLD = re.compile(r"Allowed input dtypes|unknown|An engine cannot hold|holds? integers|cannot be converted|has \w+ \[|takes its result|engines carry")


def asked(folder):
    """What the predicates say: `{op: (types, conditions)}`."""
    chosen = collections.Counter()
    wanted, paths = {}, []
    for case in CASES:
        definition, _ = all_segments()[case.name]
        nodes = [n.name for n in definition.node if n.op == case.op]
        chosen[case.op] += 1
        if not nodes or chosen[case.op] > PROBED and case.name not in STAYS_NATIVE:
            continue
        for i, (kind, detail, graph) in enumerate(probes(definition, nodes[0], case.op)):
            if case.name in STAYS_NATIVE and kind == "condition":
                continue
            path = folder / f"{case.name}.{i}.pb"
            path.write_bytes(graph.SerializeToString())
            wanted[str(path), nodes[0]] = case.op, kind, detail
            paths.append(str(path))
    types, conditions = collections.defaultdict(set), collections.defaultdict(dict)
    for start in range(0, len(paths), 500):
        said = subprocess.run([PROGRAM, "--judge", *paths[start : start + 500]], capture_output=True, text=True, check=True).stdout
        for line in said.splitlines():
            path, node, _, reason = line.split("\t")
            if (path, node) not in wanted:
                continue
            op, kind, detail = wanted[path, node]
            if kind == "type" and not reason:
                types[op].add(detail)
            elif kind != "type" and reason and not UNTOLD.search(reason):
                conditions[op][reason] = None
    return types, conditions


def emitted(folder):
    """The ONNX op types that each op's nodes have become, and the cases that were converted."""
    paths, _ = to_onnx(folder, {case.name: all_segments()[case.name][0] for case in CASES})
    found, done = collections.defaultdict(set), set()
    for case in CASES:
        if case.name not in paths or case.name in STAYS_NATIVE:
            continue
        done.add(case.name)
        nodes = {n.name: n.op for n in all_segments()[case.name][0].node}
        for made in onnx.load(paths[case.name]).graph.node:
            # An ONNX node is named after the node that it comes of.
            if nodes.get(made.name.rpartition("/")[0]) == case.op:
                found[case.op].add(made.op_type)
    return found, done


def words(text):
    return text.replace("|", "\\|").strip()


def table():
    """The whole file."""
    refused = reasons("rtx_refuses.txt")
    gpu = {}
    if GPU_RESULTS.is_file():
        gpu = dict(line.split(": ", 1) for line in GPU_RESULTS.read_text().splitlines() if ": " in line and not line.startswith("#"))
    notes = dict(line.split(": ", 1) for line in NOTES.read_text().splitlines() if line and not line.startswith("#"))
    listed = subprocess.run([PROGRAM, "--ops"], capture_output=True, text=True, check=True).stdout.split()
    ops = [op for op in listed if op not in CUDNN]
    stray = set(notes) - set(ops)
    assert stray == set(), f"docs/reference/op_notes.txt has notes on ops without a converter: {sorted(stray)}"
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        types, conditions = asked(folder)
        models, done = emitted(folder)
    heads = ["Op", "Family", "Types", "Conditions", "ONNX ops", "CPU", "RTX", "H200"]
    lines = [f"{len(ops)} ops, {len(CASES)} cases.", "", f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for op in sorted(ops, key=str.lower):
        mine = [case.name for case in CASES if case.op == op]
        told = [*([notes[op]] if op in notes else []), *conditions[op]]
        passed = sum(gpu.get(case, "").startswith("passed") for case in mine)
        cells = [
            f"`{op}`", family(op), ", ".join(SHORT[t.name] for t in TYPES if SHORT[t.name] in types[op]) or "any",
            " ".join(words(t) for t in told) or "-", ", ".join(sorted(models[op])) or "none",
            str(sum(case in done for case in mine)), str(sum(case in done and case not in refused for case in mine)),
            f"{passed} of {sum(case in gpu for case in mine)}" if any(case in gpu for case in mine) else "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return HEAD + "\n".join(lines) + "\n"


def main(arguments):
    text = table()
    if arguments == ["--check"]:
        if TARGET.read_text() != text:
            sys.exit(f"{TARGET} is not up to date: run python tests/python/make_supported_ops.py")
    elif arguments:
        sys.exit(__doc__)
    else:
        TARGET.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
