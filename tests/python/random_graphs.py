"""Random TensorFlow graphs that are valid by construction, from a seed.

A graph grows step by step. Each step takes values that are there, and is carried out at once: in a graph with the open dimensions
of the inputs, and eagerly on the inputs of two shape sets. A step that TensorFlow refuses, or whose values are of no use, is left
out, so that what is left is valid and says something.

Results of two correct programs differ by rounding, and how much depends on what is computed. So each step is also carried out on
disturbed values: every inexact step moves each element by a few units in the last place, up or down at random. A step whose
integers or booleans change by that, or whose numbers change much, is left out: nothing in the graph hangs on rounding. What
the disturbance has done to an output is the measure of its tolerance. Exact ties are exact on both sides: nothing moves a zero.

    python tests/python/random_graphs.py SEED...

shows each graph, runs it, and shows the shortest part of it that fails.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

import tftrt

f32, f16, f64, i32, i64, b = tf.float32, tf.float16, tf.float64, tf.int32, tf.int64, tf.bool

# How far an inexact step moves an element, relative to it: some 16 units in the last place.
NOISE = {f32: 2e-6, f16: 4e-3, f64: 2e-6}
VARIANTS = 3  # Of each value: as it is, and two disturbed ones.
SETS = 2  # Of shapes.
LARGEST = {f32: 1e4, f64: 1e4, f16: 500, i32: 10**6, i64: 10**6}
MOST_ELEMENTS, MOST_RANK = 4000, 6


@dataclasses.dataclass
class Value:
    id: int
    tensor: tf.Tensor  # in the graph: its shape is what TensorFlow infers
    runs: list  # runs[set][variant]: eager tensors
    host: bool = False  # computed from shapes alone: it may be a shape itself

    @property
    def dtype(self):
        return self.tensor.dtype

    @property
    def rank(self) -> int:
        return len(self.runs[0][0].shape)

    @property
    def known(self) -> list:
        """The dimensions as TensorFlow infers them; None where open."""
        return list(self.tensor.shape) if self.tensor.shape.rank is not None else [None] * self.rank

    def sizes(self, axis) -> list[int]:
        """The dimension in each shape set."""
        return [run[0].shape[axis] for run in self.runs]

    def least(self, axis) -> int:
        return min(self.sizes(axis))

    def empty(self) -> bool:
        return any(tf.size(run[0]) == 0 for run in self.runs)


@dataclasses.dataclass
class Step:
    name: str
    fn: Callable  # from tensors to a tensor or a tuple of them
    inputs: list[int]
    outputs: list[int]


@dataclasses.dataclass
class Program:
    """A grown graph: what it takes, what it does, what it gives. Calling it traces it."""

    seed: int
    specs: list
    steps: list[Step]
    outputs: list[int]
    values: list[Value]
    options: dict  # how it is converted

    @tf.autograph.experimental.do_not_convert
    def __call__(self, *arguments):
        values = dict(enumerate(arguments))
        for step in self.steps:
            results = step.fn(*(values[i] for i in step.inputs))
            values.update(zip(step.outputs, results if isinstance(results, (tuple, list)) else [results]))
        return tuple(values[i] for i in self.outputs)

    def inputs(self, at: int) -> list:
        """The arguments of shape set `at`."""
        return [value.runs[at][0] for value in self.values[: len(self.specs)]]

    def tolerance(self, output: int, at: int) -> float:
        """The absolute error that values of shape set `at` may have: ten times what the disturbance did."""
        true, *moved = [np.asarray(v, np.float64) for v in self.values[output].runs[at]]
        if true.size == 0:
            return 0.0
        return 10 * max(np.abs(m - true).max() for m in moved) + 1e-6 * np.abs(true).max() + 1e-9

    def part(self, outputs) -> "Program":
        """What of it leads to `outputs`."""
        needed, steps = set(outputs), []
        for step in reversed(self.steps):
            if needed & set(step.outputs):
                steps.insert(0, step)
                needed.update(step.inputs)
        return dataclasses.replace(self, steps=steps, outputs=list(outputs))

    def __str__(self):
        show = lambda i: f"%{i}: {self.values[i].dtype.name}{self.values[i].known} {[list(r[0].shape) for r in self.values[i].runs]}"
        lines = [f"seed {self.seed} {self.options or ''}", *(f"  {show(i)} = input" for i in range(len(self.specs)))]
        for step in self.steps:
            lines.append(f"  {', '.join(map(show, step.outputs))} = {step.name}({', '.join(f'%{i}' for i in step.inputs)})")
        return "\n".join([*lines, f"  outputs {self.outputs}"])


class Growth:
    """A graph on its way, as the table in random_ops.py sees it: values to pick from, and random choices."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.graph = tf.Graph()
        self.values: list[Value] = []
        self.steps: list[Step] = []
        self.specs = []

    def choice(self, items):
        return items[int(self.rng.integers(len(items)))]

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def number(self, low: int, high: int) -> int:
        """From `low` to `high`, both included."""
        return int(self.rng.integers(low, high + 1))

    def constant(self, shape, dtype=f32, scale=1.0):
        if dtype == b:
            return self.rng.integers(0, 2, shape).astype(bool)
        if dtype.is_integer:
            return self.rng.integers(-5, 6, shape).astype(dtype.as_numpy_dtype)
        return (self.rng.standard_normal(shape) * scale).astype(dtype.as_numpy_dtype)

    def pick(self, dtypes=(f32,), ranks=range(MOST_RANK + 1), where=lambda value: True):
        """A value of one of `dtypes` and `ranks`, later ones with preference; None where there is none."""
        fitting = [v for v in self.values if v.dtype in dtypes and v.rank in ranks and where(v)]
        if not fitting:
            return None
        return fitting[min(self.number(0, len(fitting) - 1), len(fitting) - 1) if self.chance(0.4) else -1 - self.number(0, min(4, len(fitting) - 1))]

    def input(self, dtype, dims, symbols):
        """An argument. `dims`: a number, or a letter of `symbols`, which gives its size in each shape set."""
        spec = tf.TensorSpec([d if isinstance(d, int) else None for d in dims], dtype)
        runs = []
        for at in range(SETS):
            shape = [d if isinstance(d, int) else symbols[d][at] for d in dims]
            array = self.constant(shape, dtype) if dtype != f32 else self.rng.uniform(-2, 2, shape).astype(np.float32)
            runs.append([tf.constant(array)] * VARIANTS)
        with self.graph.as_default():
            tensor = tf.compat.v1.placeholder(dtype, spec.shape)
        self.specs.append(spec)
        self.values.append(Value(len(self.values), tensor, runs))

    def step(self, name, fn, inputs, exact: bool, shape: bool) -> bool:
        """Carries out one step; False where it is left out. `shape`: whether it reads nothing but its input's shape."""
        many = lambda results: list(results) if isinstance(results, (tuple, list)) else [results]
        try:
            runs = [[many(fn(*(i.runs[at][v] for i in inputs))) for v in range(VARIANTS)] for at in range(SETS)]
            with self.graph.as_default():
                tensors = many(fn(*(i.tensor for i in inputs)))
        except (tf.errors.OpError, ValueError):
            return False
        made = []
        for i, tensor in enumerate(tensors):
            if not all(tensor.shape.is_compatible_with(variant[i].shape) for run in runs for variant in run):
                return False  # Eager convolutions of no images: TensorFlow gives the input's size, and says another.
            value = Value(len(self.values) + i, tensor, [[variant[i] for variant in run] for run in runs])
            value.host = (shape or bool(inputs) and all(i.host for i in inputs)) and value.dtype in (i32, i64)
            if not exact and value.dtype.is_floating:
                value.runs = [[run[0], *(self.disturbed(v) for v in run[1:])] for run in value.runs]
            if not useful(value):
                return False
            made.append(value)
        self.steps.append(Step(name, fn, [i.id for i in inputs], [v.id for v in made]))
        self.values += made
        return True

    def disturbed(self, tensor):
        signs = self.rng.integers(0, 2, tensor.shape) * 2.0 - 1.0
        noise = (1 + NOISE[tensor.dtype] * signs).astype(tensor.dtype.as_numpy_dtype)
        return tf.constant(tensor.numpy() * noise, tensor.dtype)

    def nodes(self) -> int:
        return sum(op.type not in ("Const", "Placeholder") for op in self.graph.get_operations())

    def program(self, seed: int) -> Program:
        used = {i for step in self.steps for i in step.inputs}
        outputs = [i for step in self.steps for i in step.outputs if i not in used][-10:]
        if self.chance(0.2):
            outputs.append(self.choice(self.values).id)
        options = self.choice([{}, {}, {}, {"minimum_segment_size": 3}, {"dynamic": False, "maximum_cached_engines": 2}])
        return Program(seed, self.specs, self.steps, list(dict.fromkeys(outputs)), self.values, options)


def useful(value: Value) -> bool:
    """Whether a value is small, finite and stands on more than rounding."""
    for true, *moved in value.runs:
        if len(true.shape) > MOST_RANK or true.shape.num_elements() > MOST_ELEMENTS:
            return False
        true, moved = true.numpy(), [m.numpy() for m in moved]
        if true.dtype.kind == "b" or true.size == 0:
            if any((m != true).any() for m in moved):
                return False
            continue
        if not np.isfinite(true).all() or np.abs(true).max() > LARGEST[value.dtype]:
            return False
        error = max(np.abs(m - true).max() for m in moved)
        if not error <= (5e-2 if value.dtype == f16 else 1e-2) * np.abs(true).max() * value.dtype.is_floating:
            return False
    return True


def grow(seed: int) -> Program:
    """The graph of `seed`, of 5 to 60 nodes besides constants."""
    import random_ops

    g = Growth(seed)
    empty = g.chance(0.05)
    symbols = {"n": (g.number(1, 3), 0 if empty else g.number(4, 5)), "m": (g.number(3, 6), g.number(1, 7)), "k": (g.number(5, 8), g.number(4, 9))}
    fixed = {d: int(symbols[d][0]) for d in symbols}
    dims = lambda letters: [d if isinstance(d, int) or g.chance(0.6) else fixed[d] for d in letters]
    kinds = [["n", 4], ["n", "m", 4], ["n", "m", "k", 3], ["n", "m"], ["m", 6], ["n", 8, 8, 4], ["n", "k", "k", 2], ["k"], ["n", 2, "m", 4], [],
             ["n", "m", 2, 3, 2]]
    for _ in range(g.number(1, 2)):
        g.input(f32, dims(g.choice(kinds)), symbols)
    if g.chance(0.5):
        g.input(i32, dims(g.choice(kinds)), symbols)
    if g.chance(0.15):
        g.input(b, dims(g.choice(kinds)), symbols)
    if g.chance(0.1):
        g.input(f16, dims(g.choice(kinds)), symbols)
    if g.chance(0.1):
        g.input(i64, dims(g.choice(kinds)), symbols)
    target = g.number(5, 60)
    weights = np.array([op.weight for op in random_ops.OPS], float)
    tries = 0
    while g.nodes() < target and tries < 300:
        tries += 1
        op = random_ops.OPS[int(g.rng.choice(len(weights), p=weights / weights.sum()))]
        proposal = op.propose(g)
        if proposal is not None:
            inputs, fn, *name = proposal
            g.step(" ".join([op.name, *name]), fn, inputs, op.exact, op.shape)
    if not g.steps:
        g.step("relu", tf.nn.relu, [g.values[0]], True, False)
    return g.program(seed)


def difference(program: Program, i: int, got, wanted, at: int) -> str | None:
    """How `got`, the value `i` for shape set `at`, differs from `wanted` by more than rounding."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    if (got.dtype, got.shape) != (wanted.dtype, wanted.shape):
        return f"%{i} is {got.dtype}{list(got.shape)} and not {wanted.dtype}{list(wanted.shape)}"
    if wanted.dtype.kind == "f" and wanted.size:
        tolerance = program.tolerance(i, at)
        error = np.abs(got.astype(np.float64) - wanted.astype(np.float64)).max()
        return None if error <= tolerance else f"%{i} is off by {error:.3g} of {np.abs(wanted).max():.3g} (allowed: {tolerance:.3g})"
    return f"%{i}: {(got != wanted).sum()} of {got.size} values differ" if (got != wanted).any() else None


def differences(program: Program, results, expected, at: int) -> list[str]:
    """What is wrong with `results`, the outputs for shape set `at`, beside native TensorFlow's; a line for each output.

    A graph's own optimizers are at work in `expected`, and change what some graphs compute: where it is not what the same steps gave one
    by one, these are right, too.
    """
    wrong = []
    for i, got, wanted in zip(program.outputs, results, expected, strict=True):
        found = difference(program, i, got, wanted, at)
        if found and difference(program, i, got, program.values[i].runs[at][0], at):
            wrong.append(found)
    return wrong


# What makes a call run natively by design, and what ONNX Runtime is never asked: an Einsum in an engine that was given nothing.
EXPECTED = {"shapes are recorded for the profiles", "the engine failed to run: ONNX Runtime's Einsum takes no tensors without elements"}


def as_expected(engines: list[str]) -> bool:
    """Whether the engines of these names ran natively for such reasons only."""
    return all(EXPECTED.issuperset(one["native_reasons"]) for one in tftrt.stats()["resources"] if one["name"] in engines)


def run(program: Program, convert) -> tuple[list[str], object]:
    """Converts and runs the program with both shape sets; what is wrong, and what it was converted to."""
    converted = convert(program, program.specs, **program.options)
    sets = [program.inputs(at) for at in range(SETS)]
    converted.build(*sets)
    before = dict(tftrt.stats()["totals"])
    wrong = []
    for at, arguments in enumerate(sets):
        wrong += [f"set {at}: {line}" for line in differences(program, converted(*arguments), converted.native(*arguments), at)]
    after = tftrt.stats()["totals"]
    # An implicit batch has rules of its own: a call whose inputs do not agree on it runs natively, and is right.
    called_natively = after["native_fallbacks"] != before["native_fallbacks"]
    if program.options.get("dynamic", True) and called_natively and not as_expected([engine.name for engine in converted.engines]):
        wrong.append("an engine's call ran natively: " + str({k: v - before[k] for k, v in after.items() if "native" in k and v != before[k]}))
    return wrong, converted


def shortest(program: Program, fails) -> Program:
    """The shortest part of the program, by one output, that still fails."""
    for step in program.steps:
        for output in step.outputs:
            part = program.part([output])
            if fails(part):
                return part
    return program


if __name__ == "__main__":
    import sys
    import time

    from conftest import _convert_function

    for text in sys.argv[1:]:
        start = time.time()
        program = grow(int(text))
        print(program, f"({time.time() - start:.2f} s)", flush=True)
        wrong, converted = run(program, _convert_function)
        print(f"engines: {len(converted.engines)}, outside: {sorted(set(converted.outside))}", f"({time.time() - start:.2f} s)")
        if wrong:
            print("WRONG", *wrong, sep="\n  ")
            print(shortest(program, lambda part: run(part, _convert_function)[0]))
