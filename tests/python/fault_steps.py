"""What test_faults.py runs in a process of its own: ways through the library during which each step that can fail fails once.

`TFTRT_FAULT=count python fault_steps.py NATIVE_MODEL FOLDER` prints a JSON object for each way: its points and what came of each.
"""

import gc
import json
import os
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import tensorflow as tf

import tftrt  # noqa: F401 (before TensorRT's front end is imported)
from tensorflow.compiler.tf2tensorrt.ops import gen_trt_ops
from tensorflow.python.compiler.tensorrt import trt_convert as trt

import plan_files
from tftrt import _api

FAULT = "a fault was asked for"
SMALL, LARGE, LARGEST = (np.linspace(-1, 1, 8 * n, dtype=np.float32).reshape(n, 8) for n in (2, 5, 9))


def ask(step: str) -> None:
    _api._library_in_use().request("faults", ask=step)


def counted() -> tuple[dict[str, int], bool]:
    """How often each point was reached since `ask`, and whether the step that was asked for has failed."""
    answer = _api._library_in_use().request("faults")
    return answer["reached"], answer["failed"]


class Way:
    """One way through the library; `go` survives a fault anywhere, and `check` runs after it, without one."""

    def __init__(self, native: str, folder: pathlib.Path):
        self.native, self.folder, self.errors = native, folder, []
        serve = tf.saved_model.load(native).signatures["serving_default"]
        self.expected = {id(x): serve(x=tf.constant(x))["y"].numpy() for x in (SMALL, LARGE, LARGEST)}

    def attempt(self, what):
        """`what()`; an error has to be the fault's own, in words."""
        try:
            return what()
        except Exception as error:
            assert FAULT in str(error), f"not the fault's own error: {type(error).__name__}: {error}"
            self.errors.append(type(error).__name__)
            return None

    def call(self, model, x) -> None:
        found = self.attempt(lambda: model.signatures["serving_default"](x=tf.constant(x))["y"].numpy())
        if found is not None:
            np.testing.assert_allclose(found, self.expected[id(x)], rtol=1e-4, atol=1e-5)

    def converted(self):
        converter = trt.TrtGraphConverterV2(input_saved_model_dir=self.native, maximum_cached_engines=1)
        self.attempt(converter.convert)
        return converter

    def whole(self, folder: pathlib.Path) -> None:
        """No file is left half-written, and none beside those that belong there."""
        for path in folder.rglob("*"):
            assert not path.name.endswith(".tmp"), path
            if path.name.startswith("trt-serialized-engine"):
                for instance in plan_files.read_asset(path):
                    plan_files.Plan.decode(instance.plan)


class Save(Way):
    """Convert, build, save over an older model."""

    def __init__(self, native, folder):
        super().__init__(native, folder)
        self.older = folder / "older"
        converter = self.converted()
        converter.build(input_fn=lambda: iter([[SMALL]]))
        converter.save(str(self.older))

    def go(self):
        self.out = self.folder / "saved"
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.copytree(self.older, self.out)
        converter = self.converted()
        if converter._converted:
            self.attempt(lambda: converter.build(input_fn=lambda: iter([[SMALL]])))
            self.attempt(lambda: converter.save(str(self.out)))

    def check(self):
        self.whole(self.out)
        model = tf.saved_model.load(str(self.out))
        before = len(self.errors)
        self.call(model, SMALL)
        assert len(self.errors) == before


class Serve(Way):
    """Load; calls that find their engine, build one, evict one, and build one in the background; the engines written by themselves."""

    def __init__(self, native, folder):
        super().__init__(native, folder)
        self.saved = folder / "served"
        converter = self.converted()
        converter.build(input_fn=lambda: iter([[SMALL]]))
        converter.save(str(self.saved))
        (asset,) = plan_files.assets(self.saved)
        self.resource = asset.name.removeprefix("trt-serialized-engine.")

    def go(self):
        gc.collect()
        self.model = self.attempt(lambda: tf.saved_model.load(str(self.saved)))
        if self.model is None:
            return
        for x in (SMALL, SMALL, LARGE, LARGE):
            self.call(self.model, x)
        os.environ["TFTRT_BUILD"] = "background"
        self.call(self.model, LARGEST)
        del os.environ["TFTRT_BUILD"]
        # Waits for what is being built.
        self.attempt(lambda: gen_trt_ops.serialize_trt_resource(resource_name=self.resource, filename=str(self.folder / "trt-serialized-engine")))

    def check(self):
        self.whole(self.folder)
        model = self.model or tf.saved_model.load(str(self.saved))
        before = len(self.errors)
        for x in (SMALL, LARGE, LARGEST):
            self.call(model, x)
        assert len(self.errors) == before
        self.model = None


def pass_through(way: Way, caches: pathlib.Path) -> None:
    """`way.go()` with caches of its own: what an earlier pass has put on disk would spare this one a build, and with it the step meant."""
    os.environ["TFTRT_CACHE_DIR"] = tempfile.mkdtemp(dir=caches)
    way.go()


def main(native: str, folder: pathlib.Path) -> None:
    # Beside what `whole` looks at: a cache has its own names for what is not finished, and its own test.
    caches = pathlib.Path(tempfile.mkdtemp(prefix="tftrt-faults-"))
    try:
        steps(native, folder, caches)
    finally:
        shutil.rmtree(caches, ignore_errors=True)


def steps(native: str, folder: pathlib.Path, caches: pathlib.Path) -> None:
    tf.config.experimental.enable_tensor_float_32_execution(False)  # On a GPU, native and engine alike would round products to 10 bits.
    told = {}
    for way in (Save(native, folder), Serve(native, folder)):
        # What happens once in a process (TensorRT's timings are read, a builder is made) is no part of a way that is gone often.
        pass_through(way, caches)
        way.check()
        ask("count")
        pass_through(way, caches)
        reached, _ = counted()
        way.check()
        assert way.errors == []
        outcomes = {}
        for point, times in reached.items():
            for time in range(1, times + 1):
                step = f"{point}:{time}"
                way.errors.clear()
                ask(step)
                pass_through(way, caches)
                _, failed = counted()
                ask("count")
                assert failed, f"{step} was not reached"
                outcomes[step] = "an error" if way.errors else "TensorFlow's answer"
                try:
                    way.check()
                except BaseException as error:
                    raise AssertionError(f"after {step}: {error}") from error
        told[type(way).__name__] = {"reached": reached, "outcomes": outcomes}
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
