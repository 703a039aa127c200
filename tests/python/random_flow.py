"""Random programs of conditionals, loops and calls, from a seed.

Values are computed outside and used in one branch, in both, in none, or in a loop; several have one type, and branches take and return
them in any order. All matrices of a program have one shape, so that results of both branches fit. A program is a tree that is drawn first:
it is the same whenever it is traced.

    python tests/python/random_flow.py SEED...

shows each program and runs it.
"""

import dataclasses
import tempfile

import numpy as np
import tensorflow as tf
from conftest import assert_close
from tensorflow.python.compiler.tensorrt import trt_convert

import tftrt

f32, i32 = tf.float32, tf.int32
SIZE = 4
RUNS = 4


@dataclasses.dataclass
class Block:
    """Statements, and which values it returns. Each statement is a name, the values that it takes, and what else it needs."""

    statements: list
    results: list

    def lines(self, indent=1):
        for name, inputs, more in self.statements:
            blocks = [part for part in more if isinstance(part, Block)]
            others = [part for part in more if not isinstance(part, (Block, np.ndarray))]
            yield "  " * indent + f"{name} {inputs} {others}"
            for block in blocks:
                yield from block.lines(indent + 1)
        yield "  " * indent + f"returns {self.results}"


class Drawn:
    """Draws a program. `scope` holds the types of the values that are there, which are known by their place."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.seed = seed
        self.open = self.rng.random() < 0.6
        self.scope = [f32, f32, i32, i32]  # Two matrices, a matrix of integers, and how many rounds.
        self.block = self.draw(self.scope, 0, results=None)
        self.dynamic = not self.open or self.rng.random() < 0.85

    def number(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def of(self, scope, dtype):
        """A value, later ones with preference."""
        places = [at for at, found in enumerate(scope) if found == dtype and at != 3]
        return places[-1 - min(self.number(0, len(places) - 1), self.number(0, len(places) - 1))]

    def weight(self):
        return (self.rng.standard_normal((SIZE, SIZE)) * 0.5).astype(np.float32)

    def simple(self, scope):
        kind = self.number(0, 9)
        a, b = self.of(scope, f32), self.of(scope, f32)
        if kind < 2:
            scope.append(f32)
            return "matmul", [a], [self.weight()]
        if kind < 4:
            scope.append(f32)
            return str(self.rng.choice(["sin", "tanh", "sigmoid", "halved"])), [a], []
        if kind < 8:
            scope.append(f32)
            return str(self.rng.choice(["sub", "mul", "product", "max"])), [a, b], []
        integers = [self.of(scope, i32) for _ in range(2)] if kind == 8 and i32 in scope[:3] else None
        scope.append(i32)
        return ("integers", integers, []) if integers else ("rounded", [a], [])

    def predicate(self, scope):
        """What a conditional hangs on: how a sum compares, or the number of rounds. None of the inputs comes near a tie."""
        if self.rng.random() < 0.5:
            return "rounds", 3, self.number(0, 2)
        return "sum", self.of(scope, f32), float(self.rng.uniform(-1, 1))

    def choice(self, scope, depth):
        wanted = [f32] * self.number(1, 3) + [i32] * (self.rng.random() < 0.25)
        self.rng.shuffle(wanted)
        by = self.predicate(scope)
        branches = [self.draw(list(scope), depth + 1, wanted) for _ in range(2)]
        scope += wanted
        return "if", [], [by, *branches]

    def loop(self, scope, depth):
        variables = [self.of(scope, f32) for _ in range(self.number(1, 3))]
        inside = [*scope, i32, *[f32] * len(variables)]
        inside[len(scope)] = None  # The number of the round is no matrix.
        body = self.draw(inside, depth + 1, [f32] * len(variables), before=len(scope) + 1)
        limit = self.number(0, 1)
        scope += [f32] * len(variables)
        return "while", variables, [limit, body]

    def call(self, scope):
        inputs = [self.of(scope, f32) for _ in range(self.number(1, 3))]
        body = self.draw([f32] * 3 + [i32] + [f32] * len(inputs), 9, [f32] * self.number(1, 2), before=4)
        constant = self.weight() if self.rng.random() < 0.5 else None
        scope += [f32] * len(body.results)
        return "call", inputs, [body, *([] if constant is None else [constant])]

    def draw(self, scope, depth, results, before=None):
        """A block. `before`: where its own values begin that a result has to come from."""
        statements, start = [], len(scope)
        for _ in range(self.number(1, 4 if depth else 6)):
            kind = self.rng.random()
            if depth < 3 and kind < (0.35 if depth == 0 else 0.25):
                statements.append(self.choice(scope, depth))
            elif depth < 2 and kind < (0.5 if depth == 0 else 0.32):
                statements.append(self.loop(scope, depth))
            elif depth < 2 and kind < 0.55:
                statements.append(self.call(scope))
            else:
                statements.append(self.simple(scope))
        if results is None:
            if not any(name in ("if", "while") for name, *_ in statements):
                statements.append(self.choice(scope, 0))
            own = [at for at in range(start, len(scope)) if scope[at] in (f32, i32)]
            return Block(statements, own[-self.number(1, 4) :])
        first = before if before is not None else 0
        if not any(found == f32 for found in scope[first:]):
            first = 0
        found = []
        for dtype in results:
            at = self.of(scope, dtype)
            if dtype == f32 and at < first:
                at = max(at for at, found in enumerate(scope) if found == f32)
            found.append(at)
        return Block(statements, found)


SIMPLE = {
    "matmul": lambda a, w: tf.tanh(a @ w),
    "sin": tf.sin,
    "tanh": tf.tanh,
    "sigmoid": tf.sigmoid,
    "halved": lambda a: a * 0.5,
    "sub": lambda a, b: a - b * 0.7,
    "mul": lambda a, b: tf.tanh(a) * b,
    "product": lambda a, b: a @ (tf.linalg.matmul(b, b, transpose_a=True) * 0.05),
    "max": tf.maximum,
    "integers": lambda a, b: tf.minimum(a + b * 2, 50),
    "rounded": lambda a: tf.cast(tf.shape(a)[1], i32) + tf.zeros_like(a, i32),
}


def not_inlined(body):
    """A function that stays a call."""

    @tf.function(experimental_attributes={"_noinline": True}, autograph=False)
    def called(*arguments):
        return run_block(body, [*[arguments[0]] * 3, tf.constant(1), *arguments])

    return called


def run_block(block, values):
    values = list(values)
    for name, inputs, more in block.statements:
        taken = [values[at] for at in inputs]
        if name == "if":
            (kind, at, limit), *branches = more
            holds = values[at] > limit if kind == "rounds" else tf.reduce_sum(values[at]) > limit
            sides = [lambda branch=branch, values=values[:]: run_block(branch, values) for branch in branches]
            results = tf.cond(holds, *sides)
        elif name == "while":
            limit, body = more

            def step(i, *variables, body=body, values=values[:]):
                return (i + 1, *[tf.tanh(v) for v in run_block(body, [*values, i, *variables])])

            goes_on = lambda i, *variables, limit=limit, rounds=values[3]: i < rounds + limit
            shapes = [tf.TensorShape([]), *[v.shape for v in taken]]
            results = tf.while_loop(goes_on, step, [tf.constant(0), *taken], shape_invariants=shapes)[1:]
        elif name == "call":
            body, *constant = more

            results = not_inlined(body)(*(taken[:-1] + [taken[-1] @ constant[0]] if constant else taken))
        else:
            results = SIMPLE[name](*taken, *more)
        values += list(results) if isinstance(results, (list, tuple)) else [results]
    return [tf.identity(values[at]) for at in block.results]


class Program:
    """A drawn program, as a function of tensors."""

    def __init__(self, seed):
        drawn = Drawn(seed)
        self.seed, self.block, self.dynamic = seed, drawn.block, drawn.dynamic
        rows = None if drawn.open else SIZE
        self.specs = [
            tf.TensorSpec([rows, SIZE], f32, name="a"),
            tf.TensorSpec([rows, SIZE], f32, name="b"),
            tf.TensorSpec([rows, SIZE], i32, name="k"),
            tf.TensorSpec([], i32, name="rounds"),
        ]
        rng = np.random.default_rng([seed, 1])
        sizes = [int(n) for n in rng.integers(1, 6, RUNS)] if drawn.open else [SIZE] * RUNS
        self.runs = [
            [
                tf.constant(rng.standard_normal((n, SIZE)).astype(np.float32) * (1 if at % 2 else 1.5)),
                tf.constant(rng.standard_normal((n, SIZE)).astype(np.float32)),
                tf.constant(rng.integers(0, 5, (n, SIZE)).astype(np.int32)),
                tf.constant(at, i32),
            ]
            for at, n in enumerate(sizes)
        ]

    @tf.autograph.experimental.do_not_convert
    def __call__(self, a, b, k, rounds):
        return {f"out_{at}": value for at, value in enumerate(run_block(self.block, [a, b, k, rounds]))}

    def __str__(self):
        return "\n".join([f"seed {self.seed}, {[spec.shape for spec in self.specs]}", *self.block.lines()])


def same(results, expected) -> str | None:
    """What is wrong with `results`."""
    try:
        assert_close(results, expected, 2e-4)
    except AssertionError as error:
        return " ".join(str(error).split())[:400]
    return None


def run(seed):
    """Saves, converts, builds, saves again, loads and calls the program, each way beside native: what is wrong, and what ran."""
    program = Program(seed)
    module = tf.Module()
    module.f = tf.function(program, input_signature=program.specs)
    with tempfile.TemporaryDirectory() as native_dir, tempfile.TemporaryDirectory() as converted_dir:
        tf.saved_model.save(module, native_dir, signatures=module.f.get_concrete_function())
        native = tf.saved_model.load(native_dir).signatures["serving_default"]
        names = [spec.name for spec in program.specs]
        runs = [dict(zip(names, arguments)) for arguments in program.runs]
        expected = [native(**arguments) for arguments in runs]
        converter = trt_convert.TrtGraphConverterV2(
            input_saved_model_dir=native_dir,
            use_dynamic_shape=True,
            dynamic_shape_profile_strategy="Range",
            minimum_segment_size=1,
        )
        converted = converter.convert()
        engines = sum(op.type == "TRTEngineOp" for op in converted.graph.get_operations())
        converter.build(lambda: iter(runs))
        wrong, before = [], dict(tftrt.stats()["totals"])
        for at, arguments in enumerate(runs):
            found = same(converted(**arguments), expected[at])
            wrong += [f"converted, run {at}: {found}"] if found else []
        converter.save(converted_dir)
        middle = dict(tftrt.stats()["totals"])
        model = tf.saved_model.load(converted_dir)  # It holds the plans as long as it lives.
        loaded = model.signatures["serving_default"]
        outer = tf.function(lambda **arguments: loaded(**{name: tf.identity(value) for name, value in arguments.items()}))
        for at, arguments in enumerate(runs):
            for way, call in (("loaded", loaded), ("inside another function", outer)):
                found = same(call(**arguments), expected[at])
                wrong += [f"{way}, run {at}: {found}"] if found else []
        after = tftrt.stats()["totals"]
        if after["native_fallbacks"] != before["native_fallbacks"]:
            wrong.append("ran natively: " + str({r["name"]: r["native_reasons"] for r in tftrt.stats()["resources"] if r["native_reasons"]}))
        if after["builds"] != middle["builds"]:
            wrong.append("built anew after it was loaded, though its plans were saved")
        calls = after["engine_calls"] - before["engine_calls"]
        del model, loaded, outer, converted, converter
    return wrong, engines, calls, program


if __name__ == "__main__":
    import sys

    for text in sys.argv[1:]:
        wrong, engines, calls, program = run(int(text))
        print(program, f"engines: {engines}, calls of engines: {calls}", *wrong, sep="\n")
