"""What test_memory_limits.py runs in a process of its own: ways through the library during which each large allocation fails once.

`LD_PRELOAD=failing_malloc.so python memory_steps.py FOLDER LIBRARY SIZE WAY...` (Convert, Load or Call) prints a JSON object for each way: how
many allocations of at least SIZE bytes the library whose path holds LIBRARY made, and what came of the failure of each.
TFTRT_TELL_ALLOCATION=1 also writes the calls that led to each.
"""

import collections
import ctypes
import json
import os
import pathlib
import re
import shutil
import sys

import numpy as np
import tensorflow as tf

import tftrt
from tftrt import _library
from tensorflow.python.compiler.tensorrt import trt_convert as trt

WIDE = 512
SMALL, LARGE = (np.linspace(-1, 1, WIDE * n, dtype=np.float32).reshape(n, WIDE) for n in (64, 96))
# The reasons that are lack of memory, in the words of this library, of TensorFlow, of ONNX Runtime and of C++.
WORDS = re.compile(r"no memory|allocate|bad_alloc|out of memory|ResourceExhausted|OOM", re.IGNORECASE)
# The counters that say whether all went as if there were memory.
TOLD = ("builds", "loads", "engine_calls", "native_no_engine", "native_no_backend", "native_engine_failed", "rejected_plans")


class Wide(tf.Module):
    """Each weight and each result has more than 64 KiB: matrices, a kernel of a convolution, a constant of one repeated value."""

    def __init__(self):
        random = np.random.default_rng(7)
        self.first = tf.Variable(random.normal(0, 0.05, (WIDE, WIDE)).astype(np.float32))
        self.second = tf.Variable(random.normal(0, 0.05, (WIDE, WIDE)).astype(np.float32))
        self.kernel = tf.Variable(random.normal(0, 0.05, (3, 3, 32, 64)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, WIDE], tf.float32, name="x")])
    def serve(self, x):
        x = tf.nn.relu(x @ self.first) @ self.second + x @ tf.fill((WIDE, WIDE), 0.001)
        x = tf.nn.conv2d(tf.reshape(x, (-1, 4, 4, 32)), self.kernel, 1, "SAME")
        return {"y": tf.reduce_mean(x, [1, 2])}


class Allocator:
    """The functions of failing_malloc.cc, which this process was started with."""

    def __init__(self, library: str, size: int):
        self.functions, self.library, self.size = ctypes.CDLL(None), library, size
        self.functions.failing_malloc_reached.restype = self.functions.failing_malloc_failed.restype = ctypes.c_long

    def ask(self, number: int) -> None:
        """Counts from nothing, and makes allocation `number` fail; 0 is none."""
        told = bool(os.environ.get("TFTRT_TELL_ALLOCATION"))
        found = self.functions.failing_malloc_ask(self.library.encode(), ctypes.c_size_t(self.size), ctypes.c_long(number), told)
        assert found, f"no library {self.library} is loaded"

    def stop(self) -> tuple[int, bool]:
        """How many were made since `ask`, and whether the one that was asked for has failed."""
        self.functions.failing_malloc_stop()
        return self.functions.failing_malloc_reached(), bool(self.functions.failing_malloc_failed())


def counters() -> collections.Counter:
    totals = tftrt.stats()["totals"]
    return collections.Counter({name: totals[name] for name in TOLD})


class Way:
    """One way through the library: `ready` comes before it, `go` survives a failure anywhere, `check` runs after it, without one."""

    def __init__(self, folder: pathlib.Path):
        self.folder, self.errors = folder, []
        self.native = str(folder / "native")
        serve = tf.saved_model.load(self.native).signatures["serving_default"]
        self.expected = {id(x): serve(x=tf.constant(x))["y"].numpy() for x in (SMALL, LARGE)}

    def ready(self) -> None:
        pass

    def attempt(self, what):
        """`what()`; an error has to say in words that there is no memory."""
        try:
            return what()
        except Exception as error:
            assert WORDS.search(str(error)), f"the error does not say that memory is lacking: {type(error).__name__}: {error}"
            self.errors.append(f"{type(error).__name__}: {error}")
            return None

    def call(self, model, x) -> None:
        found = self.attempt(lambda: model.signatures["serving_default"](x=tf.constant(x))["y"].numpy())
        if found is not None:
            np.testing.assert_allclose(found, self.expected[id(x)], rtol=1e-3, atol=1e-4)

    def right(self, model) -> None:
        before = len(self.errors)
        for x in (SMALL, LARGE, SMALL):
            self.call(model, x)
        assert len(self.errors) == before, self.errors

    def converter(self):
        return trt.TrtGraphConverterV2(input_saved_model_dir=self.native, maximum_cached_engines=1)


class Convert(Way):
    """Convert, build, save."""

    def ready(self):
        self.out = self.folder / "converted"
        shutil.rmtree(self.out, ignore_errors=True)

    def go(self):
        converter = self.converter()
        self.attempt(converter.convert)
        if converter._converted:
            self.attempt(lambda: converter.build(input_fn=lambda: iter([[SMALL], [LARGE]])))
            self.attempt(lambda: converter.save(str(self.out)))

    def check(self):
        if (self.out / "saved_model.pb").exists():
            self.right(tf.saved_model.load(str(self.out)))
        else:
            assert self.errors


class Load(Way):
    """Load a model with its engine, and call it."""

    def __init__(self, folder):
        super().__init__(folder)
        self.saved = str(folder / "saved")
        converter = self.converter()
        converter.convert()
        converter.build(input_fn=lambda: iter([[SMALL], [LARGE]]))
        converter.save(self.saved)

    def go(self):
        self.model = self.attempt(lambda: tf.saved_model.load(self.saved))
        if self.model is not None:
            self.call(self.model, SMALL)

    def check(self):
        self.right(self.model or tf.saved_model.load(self.saved))
        self.model = None


class Call(Load):
    """Calls of a loaded model: the first of each shape, and another one."""

    def ready(self):
        self.model = tf.saved_model.load(self.saved)

    def go(self):
        for x in (SMALL, LARGE, SMALL):
            self.call(self.model, x)


def outcome(way: Way, told: collections.Counter, usual: collections.Counter) -> str:
    if way.errors:
        return f"an error: {way.errors[0]}"
    other = [f"{name} {told[name]}, not {usual[name]}" for name in TOLD if told[name] != usual[name]]
    return f"native's answer: {'; '.join(other)}" if other else "the engine's answer"


def steps(way: Way, allocator: Allocator) -> dict:
    """How many allocations the way made, and what came of the failure of each."""
    way.ready()
    way.go()  # What happens once in a process is no part of a way that is gone often.
    way.check()
    way.ready()
    before = counters()
    allocator.ask(0)
    way.go()
    reached, _ = allocator.stop()
    usual = counters() - before
    way.check()
    assert way.errors == []
    outcomes = {}
    for number in range(1, reached + 1):
        way.errors.clear()
        way.ready()
        before = counters()
        print(f"{type(way).__name__} {number} of {reached}", file=sys.stderr, flush=True)
        allocator.ask(number)
        way.go()
        _, failed = allocator.stop()
        outcomes[number] = outcome(way, counters() - before, usual) if failed else "not reached"
        print(f"  {outcomes[number]}"[:600], file=sys.stderr, flush=True)
        try:
            way.check()
        except BaseException as error:
            raise AssertionError(f"{type(way).__name__}, after allocation {number}: {error}") from error
    return {"reached": reached, "outcomes": outcomes}


def main(folder: pathlib.Path, library: str, size: int, ways: list[str]) -> None:
    tf.saved_model.save(Wide(), str(folder / "native"))
    # The library of this package may have any name (TFTRT_LIBRARY).
    allocator = Allocator(_library.find_library().name if library == "libtftrt" else library, size)
    kinds = {kind.__name__: kind for kind in (Convert, Load, Call)}
    print(json.dumps({name: steps(kinds[name](folder), allocator) for name in ways}))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:])
