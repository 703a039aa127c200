"""Random graphs of loops, from a seed: in and around each other, native or not, with tensor lists, accumulators and masks.

Values are rows of four floats for each element of the batch, and stay small. A loop takes some of them as its variables and hands
them on from variable to variable, so that what it gives may depend on what goes in by way of later rounds only. It reads a sequence
by its index or from a TensorArray, may write TensorArrays, and may hold another loop. One op that no engine takes (Lgamma) in the
body, the condition or nowhere makes it a loop that stays, in part or in whole, or one that goes into an engine; every other graph
has none of these.

    python tests/python/random_loops.py SEED...

runs these and shows what differs.
"""

import dataclasses

import numpy as np
import tensorflow as tf

import tftrt

WIDTH = 4


def native(x):
    """Small again, by an op that no engine takes."""
    return tf.tanh(tf.math.lgamma(tf.abs(x) + 1.5))


@dataclasses.dataclass
class Draft:
    """A graph while it is traced: its random choices, what there is, and the inputs that all parts may read."""

    rng: np.random.Generator
    batch: int | None
    sequence: tf.Tensor
    steps: tf.Tensor
    # Without ops that no engine takes.
    plain: bool

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def number(self, low: int, high: int) -> int:
        """From `low` to `high`, both included."""
        return int(self.rng.integers(low, high + 1))

    def pick(self, values):
        return values[self.number(0, len(values) - 1)]

    def weights(self, shape):
        return tf.constant(self.rng.uniform(-0.5, 0.5, shape).astype(np.float32))

    def mix(self, values):
        """A new value of one or two that there are."""
        a, b = self.pick(values), self.pick(values)
        match self.number(0, 6):
            case 0:
                return tf.tanh(a @ self.weights([WIDTH, WIDTH]) + b)
            case 1:
                return a * 0.5 + b * 0.25
            case 2:
                return tf.where(a > b, a, b * 0.5)
            case 3:
                return tf.sigmoid(a) - self.weights([WIDTH])
            case 4:
                return tf.concat([a[:, :1], b[:, 1:]], -1)
            case 5:
                return tf.nn.relu(a) - tf.reduce_mean(b, axis=0) * 0.5
            case _:
                return tf.nn.softmax(a) * b

    def count(self, outer):
        """How many rounds: known, the length of the sequence, of the data, or of a round of the loop around."""
        kinds = [tf.constant(self.number(1, 5)), tf.shape(self.sequence)[1], tf.reduce_max(self.steps), tf.reduce_max(self.steps) - 1]
        if outer is not None:
            kinds = [tf.constant(self.number(1, 2)), tf.constant(self.number(1, 3)), tf.minimum(outer + 1, 2)]
        return self.pick(kinds)

    def loop(self, values, outer=None):
        """What a loop over some of `values` gives; `outer` is the round of the loop around."""
        rounds = self.count(outer)
        where = self.pick(["nowhere"] if self.plain else ["body", "condition", "nowhere", "nowhere"])
        first = [self.pick(values) for _ in range(self.number(1, 3))]
        invariant = self.pick(values)
        reads = outer is None and self.chance(0.7)
        last = tf.shape(self.sequence)[1] - 1
        listed = tf.TensorArray(tf.float32, size=last + 1, element_shape=[self.batch, WIDTH]) if reads and self.chance(0.4) else None
        if listed is not None:
            listed = listed.unstack(tf.transpose(self.sequence, [1, 0, 2]))
        backwards, masked, holds = self.chance(0.4), self.chance(0.4), outer is None and self.chance(0.25)
        widths = [self.pick([WIDTH, WIDTH, 2]) for _ in range(self.number(0, 2) if outer is None else 0)]
        if widths:  # Native TensorFlow stacks no list to which nothing was written.
            rounds = tf.maximum(rounds, 1)
        size = rounds if self.chance(0.7) else rounds + 1
        arrays = [tf.TensorArray(tf.float32, size=size, element_shape=[self.batch, w] if self.chance(0.8) else None) for w in widths]
        uneven, seed = self.chance(0.3), self.number(0, 1 << 30)

        def goes_on(i, total, *_):
            more = i < rounds
            # True whatever the variable is; but the loop's end waits for it, and for an op that stays.
            return tf.logical_and(more, tf.reduce_max(native(total)) < 2.0) if where == "condition" else more

        def body(i, total, *rest):
            inner = dataclasses.replace(self, rng=np.random.default_rng(seed))
            rest, lists = list(rest[: len(first)]), list(rest[len(first) :])
            there = [*rest, invariant, total]
            if reads:
                at = tf.clip_by_value(rounds - 1 - i if backwards else i, 0, last)
                there.append(listed.read(at) if listed is not None else self.sequence[:, at])
            if holds:
                there += inner.loop(there, i)
            new = [inner.mix(there) for _ in range(inner.number(1, 3))]
            if where == "body":
                new.append(native(inner.pick(new)))
            if masked:
                new = [tf.where((self.steps > i)[:, None], n, rest[0]) for n in new]
            lists = [one.write(i, inner.pick([*new, *there])[:, :width]) for one, width in zip(lists, widths)]
            # Each is handed to the next, so that a change needs rounds to come through.
            state = [inner.pick(new), *rest[:-1]] if inner.chance(0.6) else [inner.pick([*new, *rest]) for _ in rest]
            total = tf.tanh(total * 0.5 + inner.pick([*rest, *new] if uneven else new))
            return [i + 1, total, *state, *lists]

        start = [tf.constant(0), tf.zeros_like(first[0]), *first, *arrays]
        shapes = [tf.TensorShape([]), *[tf.TensorShape([self.batch, WIDTH])] * (1 + len(first)), *[tf.TensorShape(None)] * len(arrays)]
        _, total, *ends = tf.while_loop(goes_on, body, start, shape_invariants=shapes)
        found = [total, *ends[: len(first)]]
        for one, width in zip(ends[len(first) :], widths):
            summed = tf.reduce_sum(one.stack(), axis=0) * 0.1
            found.append(tf.reshape(summed if width == WIDTH else tf.concat([summed, summed], -1), [self.batch or -1, WIDTH]))
        # Not all of what a loop gives is taken.
        return [found[i] for i in sorted(self.rng.permutation(len(found))[: self.number(1, len(found))])]


def program(seed: int):
    """The function of `seed`; it makes the same graph each time that it is traced."""

    @tf.autograph.experimental.do_not_convert
    def function(sequence, row, steps):
        draft = Draft(np.random.default_rng(seed), batch(seed), sequence, steps, plain=seed % 2 == 0)
        values = [row, tf.reduce_mean(sequence, axis=1) + row]
        made = []
        for _ in range(draft.number(1, 3)):
            values += [draft.mix(values) for _ in range(draft.number(0, 2))]
            made = draft.loop(values)
            values += made
            values += [draft.mix([*made, draft.pick(values)]) for _ in range(draft.number(0, 2))]
        # By what was there first, and last: what begins a loop and takes from it would go into one engine, if it could.
        end = tf.concat([draft.pick(values[:4]) * 2.0, *made, values[-1]], -1)
        return (end, *[draft.mix(values) for _ in range(draft.number(0, 2))])

    return function


def batch(seed: int) -> int | None:
    """Known for two in three: of open sizes it is not known that they are equal, and fewer loops go into engines."""
    return 3 if seed % 3 else None


def specs(seed: int):
    n = batch(seed)
    return [tf.TensorSpec([n, None, WIDTH], tf.float32), tf.TensorSpec([n, WIDTH], tf.float32), tf.TensorSpec([n], tf.int32)]


def inputs(seed: int, at: int):
    rng = np.random.default_rng([seed, at])
    n, m = batch(seed) or int(rng.integers(1, 4)), int(rng.integers(2, 6))
    sequence, row = rng.uniform(-1, 1, [n, m, WIDTH]), rng.uniform(-1, 1, [n, WIDTH])
    return tf.constant(sequence, tf.float32), tf.constant(row, tf.float32), tf.constant(rng.integers(1, 5, [n]), tf.int32)


def run(seed: int, convert):
    """What is wrong with the graph of `seed`, converted and called, in words; and what it was converted to."""
    options = [{}, {}, {"minimum_segment_size": 3}, {"dynamic": False}][seed % 4]
    converted = convert(program(seed), specs(seed), **options)
    sets = [inputs(seed, at) for at in range(2)]
    converted.build(*sets)
    before, wrong = dict(tftrt.stats()["totals"]), []
    for at, arguments in enumerate(sets):
        for i, (got, wanted) in enumerate(zip(converted(*arguments), converted.native(*arguments), strict=True)):
            got, wanted = got.numpy(), wanted.numpy()
            if got.shape != wanted.shape:
                wrong.append(f"set {at}, output {i}: {got.shape} and not {wanted.shape}")
            elif not np.allclose(got, wanted, rtol=1e-4, atol=1e-4):
                wrong.append(f"set {at}, output {i}: off by {np.abs(got - wanted).max():.3g}")
    after = tftrt.stats()["totals"]
    called = {name: after[name] - before[name] for name in after if name.startswith("native_") and after[name] != before[name]}
    # An implicit batch has rules of its own: a call whose inputs do not agree on it runs natively, and is right.
    if options.get("dynamic", True) and called.get("native_fallbacks"):
        reasons = [one["native_reasons"] for one in tftrt.stats()["resources"] if one["name"] in {e.name for e in converted.engines}]
        wrong.append(f"an engine's call ran natively: {called} {[reason for reason in reasons if reason]}")
    return wrong, converted


if __name__ == "__main__":
    import sys
    import time

    from conftest import _convert_function

    for text in sys.argv[1:]:
        start = time.time()
        wrong, converted = run(int(text), _convert_function)
        stays = sum(op == "LoopCond" for op in converted.outside)
        inside = sum(converted.called(engine).count("StatelessWhile") for engine in converted.engines)
        print(f"{text}: {len(converted.engines)} engines, {stays} loops stay, {inside} in engines ({time.time() - start:.2f} s)", *wrong, sep="\n  ", flush=True)
