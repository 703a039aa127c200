"""Every converter at the edges of its input: not numbers, infinities, zeros of either sign, no elements, one element, ranks 0 to 6,
axes from either end; without the plugin, as in test_convert_direct.py, and against native TensorFlow.

The values' edges are put into the cases of op_cases.py, so that an op which gets its first case there has its edges too. Where an
engine's answer is another than TensorFlow's, edge_differences.txt says why.

Needs `cargo build --release --example segment_to_onnx` first.
"""

import collections
import dataclasses
import fnmatch
import re

import numpy as np
import pytest
import tensorflow as tf
from op_cases import CASES, Case, b, f32, i32, reasons, spec
from test_convert_direct import STAYS_NATIVE, all_segments, segment, session, to_onnx

raw = tf.raw_ops
DIFFERENCES = reasons("edge_differences.txt")
MET = set()  # lines of it that a difference has met in this run

# What is strewn over the floats of a case.
VALUES = {
    "nan": [float("nan")],
    "infinite": [float("inf"), float("-inf")],
    "zero": [0.0, -0.0],
    "tiny": [1e-20, -1e-20],
    "half": [0.5, -0.5, 1.5, 2.5, -2.5],
}


@dataclasses.dataclass(frozen=True)
class Edge:
    case: Case
    name: str
    inputs: tuple


def undefined(case, values):
    """Whether a case of Cast takes `values` to a narrow integer that does not have them.

    C++ leaves that open, and TensorFlow's releases answer differently: 2.20 gives 0 and 254 where 2.21 gives -128 and 0.
    """
    narrow = re.fullmatch(r"Cast_.*float\d*_(u?)int(8|16)_int32", case.name)
    return narrow is not None and not all(np.isfinite(v) and (v > -1 or not narrow[1]) for v in values)


def strewn(case, values, rng):
    """The case's first inputs with a third of its floats replaced; None where it has none."""
    if not any(s.dtype.is_floating for s in case.specs) or undefined(case, values):
        return None
    inputs = []
    for x, s in zip(case.runs()[0], case.specs):
        if s.dtype.is_floating and x.size:
            where = rng.random(x.shape) < 0.34
            where.flat[int(rng.integers(x.size))] = True
            x = np.where(where, rng.choice(np.asarray(values, x.dtype), x.shape), x)
        inputs.append(x)
    return tuple(inputs)


def resized(case, size, every):
    """Inputs whose open dimensions, all or the first of each, have `size`; None where there are none, or the case fixes its inputs."""
    if case.values or not case.shapes:
        return None
    shapes = []
    for s, shape in zip(case.specs, case.shapes[0]):
        openings = [i for i, d in enumerate(s.shape) if d is None]
        shapes.append([size if i in (openings if every else openings[:1]) else d for i, d in enumerate(shape)])
    if shapes == case.shapes[0]:
        return None
    return tuple(dataclasses.replace(case, shapes=[shapes]).runs()[0])


def edges(case):
    rng = np.random.default_rng(sum(map(ord, case.name)))
    for name, values in VALUES.items():
        yield Edge(case, name, strewn(case, values, rng))
    for name, size, every in [("empty", 0, False), ("nothing", 0, True), ("single", 1, True)]:
        yield Edge(case, name, resized(case, size, every))


def chosen():
    """Of the cases of each op two of each kind: types, ranks, open dimensions."""
    seen = collections.Counter()
    for case in CASES:
        if case.name in STAYS_NATIVE:
            continue
        kind = case.op, *((s.dtype, *map(bool, s.shape)) for s in case.specs)
        seen[kind] += 1
        if seen[kind] <= 2:
            yield case


# Ranks and axes: small functions, each for a tensor of any rank.
def ranked():
    """Cases of every rank and every axis, from the front and from the back."""
    made = []

    def add(op, name, fn, specs, shapes, **options):
        # Not the name of one in the table.
        made.append(Case(op, f"{op}_each_{name}", fn, specs, [shapes], **options))

    dims = [2, 3, 1, 4, 2, 3]
    for rank in range(7):
        shape = dims[:rank]
        x, open_x, whole = spec(shape), spec([None] * rank), spec([None] * rank, i32)
        for op, fn in [("Relu", tf.nn.relu), ("Neg", tf.negative), ("Cast", lambda x: tf.cast(x, i32)), ("Shape", tf.shape), ("Size", tf.size),
                       ("Rank", lambda x: raw.Rank(input=x) + 1), ("Identity", lambda x: tf.identity(x) + 1.0),
                       ("ZerosLike", lambda x: raw.ZerosLike(x=x) + x)]:
            add(op, f"rank{rank}", fn, [open_x], [shape])
        add("Reshape", f"rank{rank}", lambda x: tf.reshape(x, [-1]), [open_x], [shape])
        add("Fill", f"rank{rank}", lambda x: tf.fill(tf.shape(x), 2.5), [open_x], [shape])
        for other in range(rank + 1):
            y = shape[rank - other :]
            y = [1 if i % 2 else d for i, d in enumerate(y)]
            for op, fn in [("AddV2", tf.add), ("Less", tf.less), ("Maximum", tf.maximum), ("SquaredDifference", tf.math.squared_difference)]:
                add(op, f"rank{rank}_{other}", fn, [open_x, spec([None] * other)], [shape, y])
            add("FloorMod", f"rank{rank}_{other}", lambda x, y: tf.math.floormod(x, y * 2 + 1), [whole, spec([None] * other, i32)], [shape, y],
                low=-9, high=9)
            add("SelectV2", f"rank{rank}_{other}", lambda c, x: tf.where(c, x, -1.0), [spec([None] * other, b), open_x], [y, shape])
            add("BroadcastTo", f"rank{rank}_{other}", lambda y, x: tf.broadcast_to(y, tf.shape(x)), [spec([None] * other), open_x], [y, shape])
        for axis in range(-rank - 1, rank + 1):
            add("ExpandDims", f"rank{rank}_{axis}", lambda x, a=axis: tf.expand_dims(x, a), [open_x], [shape])
            add("Pack", f"rank{rank}_{axis}", lambda x, a=axis: tf.stack([x, x * 2.0], a), [open_x], [shape])
            add("OneHot", f"rank{rank}_{axis}", lambda x, a=axis: tf.one_hot(x, 3, axis=a if a >= -1 else -1), [whole], [shape], low=-1, high=3)
        for axis in range(-rank, rank):
            name = f"rank{rank}_{axis}"
            for keep in (False, True):
                for op, fn in [("Sum", tf.reduce_sum), ("Max", tf.reduce_max), ("Mean", tf.reduce_mean), ("Prod", tf.reduce_prod)]:
                    add(op, f"{name}_{keep}", lambda x, f=fn, a=axis, k=keep: f(x, a, keepdims=k), [open_x], [shape])
                add("All", f"{name}_{keep}", lambda x, a=axis, k=keep: tf.reduce_all(x, a, keepdims=k), [spec([None] * rank, b)], [shape])
            for op, fn in [("ConcatV2", lambda x, a: tf.concat([x, -x], a)), ("ReverseV2", lambda x, a: tf.reverse(x, [a])),
                           ("Roll", lambda x, a: tf.roll(x, 1, a)),
                           ("Cumsum", tf.cumsum), ("GatherV2", lambda x, a: tf.gather(x, [0, 0], axis=a)),
                           ("Unpack", lambda x, a: tf.unstack(x, axis=a)[0]),
                           ("Split", lambda x, a: tf.split(x, 1 if x.shape[a] % 2 else 2, a)[0] + 0.0),
                           ("SplitV", lambda x, a: tf.split(x, [1, -1], a)[1]),
                           ("ArgMax", lambda x, a: tf.argmax(x, a, output_type=i32)), ("ArgMin", lambda x, a: tf.argmin(x, a, output_type=i32))]:
                add(op, name, lambda x, f=fn, a=axis: f(x, a), [x], [shape])
            if dims[axis % rank] == 1:
                add("Squeeze", name, lambda x, a=axis: tf.squeeze(x, [a]), [open_x], [shape])
        if rank:
            add("Softmax", f"rank{rank}", tf.nn.softmax, [open_x], [shape])
            add("Transpose", f"rank{rank}", tf.transpose, [open_x], [shape])
            add("Pad", f"rank{rank}", lambda x, r=rank: tf.pad(x, [[1, 2]] * r), [open_x], [shape])
            add("Tile", f"rank{rank}", lambda x, r=rank: tf.tile(x, [2, 1, 3][:r] + [1] * (r - 3)), [open_x], [shape])
            add("StridedSlice", f"rank{rank}", lambda x: x[..., ::-1], [open_x], [shape])
            add("Slice", f"rank{rank}", lambda x, r=rank: tf.slice(x, [0] * r, [1] * r), [open_x], [shape])
        if rank >= 2:
            add("BiasAdd", f"rank{rank}", lambda x: tf.nn.bias_add(x, tf.ones([x.shape[-1]])), [x], [shape])
            add("BatchMatMulV2", f"rank{rank}", lambda x: raw.BatchMatMulV2(x=x, y=x, adj_y=True), [open_x], [shape])
            add("MatrixBandPart", f"rank{rank}", lambda x: tf.linalg.band_part(x, 0, 1), [open_x], [shape])
    return made


RANKED = ranked()


def exact():
    """Answers that leave no room: halves, ties, signs, the ends of int32."""
    made = []

    def add(op, name, fn, specs, values, **options):
        made.append(Case(op, f"{op}_exactly_{name}", fn, specs, [], values=(values,), **options))

    halves = np.arange(-4.5, 5.0, 0.5)
    for op in ["Round", "Rint", "Floor", "Ceil"]:
        add(op, "halves", lambda x, f=getattr(raw, op): f(x=x), [spec([None])], (halves,), rtol=0, atol=0)
    add("Cast", "halves", lambda x: tf.cast(x, i32), [spec([None])], (halves,))
    add("Cast", "float_to_bool", lambda x: tf.cast(x, b), [spec([None])], ([0.0, -0.0, 0.5, float("nan"), float("inf"), 1e-30],))
    ties = np.array([[1, 1, 0], [0, 2, 2], [3, 3, 3], [-1, -2, -1], [0, 0, 0]])
    for op in ["ArgMax", "ArgMin"]:
        for dtype in (f32, i32):
            for axis in (0, 1):
                add(op, f"ties_{dtype.name}_{axis}", lambda x, f=getattr(raw, op), a=axis: f(input=x, dimension=a, output_type=i32),
                    [spec([None, 3], dtype)], (ties,))
    ends = np.array([2**31 - 1, -(2**31), -(2**31) + 1, 0, 1, -1, 7, -7])
    left, right = (np.ravel(side) for side in np.meshgrid(ends, ends))
    for op in ["Add", "AddV2", "Sub", "Mul", "Maximum", "Minimum", "Less", "LessEqual", "Greater", "GreaterEqual", "Equal", "NotEqual",
               "SquaredDifference"]:
        add(op, "ends_of_int32", lambda x, y, f=getattr(raw, op): f(x=x, y=y), [spec([None], i32)] * 2, (left, right))
    divided = right != 0
    for op in ["FloorDiv", "FloorMod", "TruncateDiv", "TruncateMod", "Div", "Mod"]:
        add(op, "ends_of_int32", lambda x, y, f=getattr(raw, op): f(x=x, y=y), [spec([None], i32)] * 2, (left[divided], right[divided]))
    for op in ["Abs", "Neg", "Sign", "Square"]:
        add(op, "ends_of_int32", lambda x, f=getattr(raw, op): f(x=x), [spec([None], i32)], (ends,))
    for op in ["Sum", "Prod", "Max", "Min"]:
        # A product of integers is made of pairs, so its size is known.
        size = 5 if op == "Prod" else None
        add(op, "ends_of_int32", lambda x, f=getattr(raw, op): f(input=x, axis=[0]), [spec([size], i32)], (ends[:5],))
    add("Prod", "beyond_int32", lambda x: tf.reduce_prod(x, 0), [spec([4], i32)], ([1000, 2000, 3000, 4000],))
    add("Cumsum", "ends_of_int32", lambda x: tf.cumsum(x), [spec([None], i32)], (ends,))
    add("Cast", "int32_to_float32", lambda x: tf.cast(x, f32), [spec([None], i32)], (ends,), rtol=0, atol=0)
    add("Cast", "through_int64", lambda x: tf.cast(tf.cast(x, tf.int64) * 2 // 2, i32), [spec([None], i32)], (ends,))
    return made


EXACT = exact()


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """`({case: ONNX model}, {case: native function}, what the converter said)` of all cases of this file, converted by one process."""
    made = {case.name: all_segments()[case.name] for case in chosen()}
    made |= {case.name: segment(case.fn, case.specs, case.fold) for case in [*RANKED, *EXACT]}
    paths, said = to_onnx(tmp_path_factory.mktemp("edges"), {name: definition for name, (definition, _) in made.items()})
    return paths, {name: native for name, (_, native) in made.items()}, said


def difference(case, expected, found):
    """In words, or None: types and shapes, what is not a number or infinite, integers exactly, floats within the case's tolerance."""
    for e, f in zip(expected, found, strict=True):
        if (e.dtype, e.shape) != (f.dtype, f.shape):
            return f"{f.dtype}{list(f.shape)} for {e.dtype}{list(e.shape)}"
        if e.dtype.kind != "f":
            same = e == f
        else:
            with np.errstate(invalid="ignore"):
                close = np.abs(e - f) <= case.atol + case.rtol * np.abs(e)
                same = (e == f) | (np.isnan(e) & np.isnan(f)) | (np.isfinite(e) & np.isfinite(f) & close)
                same &= (np.signbit(e) == np.signbit(f)) | (e != 0) | (f != 0) | np.isnan(e)
        if not same.all():
            at = np.argwhere(~same)[0]
            return f"{(~same).sum()} of {same.size} values differ: {f[tuple(at)]!r} for {e[tuple(at)]!r} at {at.tolist()}"
    return None


def check(case, edge, inputs, native, model):
    """What is wrong at an edge: None, too, where TensorFlow itself refuses it, or contradicts itself.

    Its convolutions of no images on the CPU give them the shape of the input, whatever its own shape inference says.
    """
    try:
        expected = [e.numpy() for e in tf.nest.flatten(native(*[tf.constant(x) for x in inputs]))]
    except tf.errors.OpError:
        return None
    if not all(s.shape.is_compatible_with(e.shape) for s, e in zip(tf.nest.flatten(native.outputs), expected)):
        return None
    if case.op == "Einsum" and any(0 in x.shape for x in inputs):
        # ONNX Runtime divides by the size, which ends the process; the CPU backend does not let it (test_single_ops.py).
        return None
    try:
        found = model.run(None, {f"TensorRTInputPH_{i}": x for i, x in enumerate(inputs)})
    except Exception as error:  # noqa: BLE001 - ONNX Runtime has no common class for what a run refuses
        return f"the engine fails: {str(error).splitlines()[0][:200]}"
    return difference(case, expected, found)


def judge(cases, converted, edges):
    """Runs the edges of each case; fails on a difference that edge_differences.txt has no line for."""
    paths, natives, said = converted
    wrong = []
    for case in cases:
        if case.name not in paths:
            wrong.append(f"{case.name}: " + " ".join(line for line in said.splitlines() if f"/{case.name}.pb" in line))
            continue
        model = session(paths[case.name])
        for edge, inputs in edges(case):
            key = f"{case.name}/{edge}"
            lines = {line for line in DIFFERENCES if fnmatch.fnmatchcase(key, line)}
            found = check(case, edge, inputs, natives[case.name], model)
            if found:
                MET.update(lines)
                if not lines:
                    wrong.append(f"{key}: {found}")
    assert wrong == [], "\n".join(["", *wrong])


BY_OP = collections.defaultdict(list)
for _case in chosen():
    BY_OP[_case.op].append(_case)


@pytest.mark.parametrize("op", BY_OP)
def test_values_and_sizes(op, converted):
    judge(BY_OP[op], converted, lambda case: [(e.name, e.inputs) for e in edges(case) if e.inputs is not None])


@pytest.mark.parametrize("op", sorted({case.op for case in RANKED}))
def test_ranks_and_axes(op, converted):
    judge([case for case in RANKED if case.op == op], converted, lambda case: [("as it is", case.runs()[0])])


@pytest.mark.parametrize("case", EXACT, ids=lambda case: case.name)
def test_exact(case, converted):
    judge([case], converted, lambda case: [("as it is", case.runs()[0])])


@pytest.mark.skipif(not tf.__version__.startswith("2.21."), reason="the list is of TensorFlow 2.21's differences")
def test_every_listed_difference_is_one(request):
    ran = sum(item.fspath == request.node.fspath for item in request.session.items)
    if ran < len(BY_OP) + len(EXACT):
        pytest.skip("only some of the edges ran")
    # TensorFlow flushes numbers below the normal ones in threads of its pools only: which thread computes is open.
    always = {line for line, why in DIFFERENCES.items() if not why.startswith("at times: ")}
    assert always - MET == set(), "these are as TensorFlow's now: take them out of edge_differences.txt"
