"""What test_kills.py runs: processes that save models and are killed with SIGKILL at random points; then everything loads.

`python kill_save.py NATIVE_MODEL FOLDER KILLS` prints a JSON object of what was found. TensorFlow is imported once: each round is a fork of that
process, made before any op has run. A round looks at what the last one left, then converts and saves until it is killed: to a new folder (`new`), over an older
model (`over`), and as `python -m tftrt convert` does it (`command`).
"""

import collections
import contextlib
import json
import os
import pathlib
import random
import select
import shutil
import signal
import sys
import time

import numpy as np
import tensorflow as tf

import tftrt  # noqa: F401 (before TensorRT's front end is imported)
from tensorflow.python.compiler.tensorrt import trt_convert as trt

import plan_files
from tftrt.cli import place

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)
KINDS = ("new", "over", "command")
# A save takes a third of that on an idle machine, and all of it on a busy one.
SECONDS = 1.0


def call(folder) -> np.ndarray:
    model = tf.saved_model.load(str(folder))  # Its engines go with it, so it has to stay for the call.
    return model.signatures["serving_default"](x=tf.constant(X))["y"].numpy()


def look(native: str, folder: pathlib.Path, number: int) -> dict[str, str]:
    """What each model is that the last round left; an AssertionError where one is not as it has to be.

    The first model that loads lends its engine to the others, whose segment is the same: so each is the first one in turn.
    """
    expected, found, alone = call(native), {}, True
    for kind in KINDS[number % 3 :] + KINDS[: number % 3]:
        model = folder / kind
        if not model.exists():
            found[kind] = "not begun"
            continue
        before = dict(tftrt.stats()["totals"])
        try:
            result = call(model)
        except tf.errors.OpError as error:
            # TensorFlow writes its variables over the older ones, data first and index last: between them it finds that they differ.
            # Nothing of ours is in these files. Which is why the command saves beside and renames.
            assert kind == "over" and ("/over/variables/" in str(error) or "sstable" in str(error)), error
            found[kind] = "TensorFlow's variables half written, which TensorFlow says"
            continue
        except OSError as error:
            # TensorFlow writes its own file last: without it there is no model, and TensorFlow says so.
            assert kind == "new" and "saved_model.pb" in str(error), error
            found[kind] = "no model yet, which TensorFlow says"
            continue
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
        changed = {name: tftrt.stats()["totals"][name] - before[name] for name in ("loads", "builds", "rejected_plans", "native_fallbacks")}
        assert changed["native_fallbacks"] == 0, (kind, changed)
        # Rebuilt with a word, or loaded.
        engines = (changed["loads"], changed["builds"])
        assert engines in ((1, 0), (0, 1)) or (engines == (0, 0) and not alone), (kind, changed)
        assert changed["builds"] == 0 or not alone or changed["rejected_plans"] or not plan_files.assets(model), (kind, changed)
        alone = False
        if kind == "command":
            # The command's model is never in between.
            (asset,) = plan_files.assets(model)
            (instance,) = plan_files.read_asset(asset)
            plan_files.Plan.decode(instance.plan)
            assert changed["rejected_plans"] == 0, changed
        found[kind] = "loads" if not changed["rejected_plans"] else "loads, its engine is rejected with a word"
    return found


def converted(native: str):
    converter = trt.TrtGraphConverterV2(input_saved_model_dir=native, use_dynamic_shape=True)
    converter.convert()
    converter.build(input_fn=lambda: iter([[X]]))
    return converter


def round_(native: str, folder: pathlib.Path, number: int, tell) -> None:
    tell({"found": look(native, folder, number)})
    if number == 0:
        for kind in ("over", "command"):
            converted(native).save(str(folder / kind))
    shutil.rmtree(folder / "new", ignore_errors=True)
    # save() ends the converter's engines: one conversion for each.
    for kind in KINDS[number % 3 :] + KINDS[: number % 3]:
        converter = converted(native)
        tell({"saves": kind})
        with place.whole(str(folder / kind)) if kind == "command" else contextlib.nullcontext(str(folder / kind)) as target:
            converter.save(target)
    tell({"saves": "no more"})
    time.sleep(60)


def fork(native: str, folder: pathlib.Path, number: int, only_look: bool) -> tuple[int, int]:
    """The process of a round, and the pipe that it tells through."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    try:

        def tell(what):
            os.write(writing, (json.dumps(what) + "\n").encode())

        if only_look:
            tell({"found": look(native, folder, number)})
            os._exit(0)
        round_(native, folder, number, tell)
    except BaseException as error:
        os.write(writing, (json.dumps({"error": f"{type(error).__name__}: {error}"[:2000]}) + "\n").encode())
    os._exit(1)


def hear(pipe: int, seconds: float = 300) -> dict:
    line = b""
    end = time.monotonic() + seconds
    while not line.endswith(b"\n"):
        assert select.select([pipe], [], [], max(0, end - time.monotonic()))[0], "the round says nothing"
        byte = os.read(pipe, 1)
        assert byte, "the round ended without a word"
        line += byte
    told = json.loads(line)
    assert "error" not in told, told["error"]
    return told


def main(native: str, folder: pathlib.Path, kills: int) -> None:
    chance = random.Random(5)
    # "killed from": the save that had begun before the pause that ends in a kill; it may be over by then.
    counts = collections.defaultdict(collections.Counter)
    for number in range(kills + 1):
        child, pipe = fork(native, folder, number, only_look=number == kills)
        for kind, what in hear(pipe)["found"].items():
            counts[kind][what] += 1
        if number < kills:
            # Most kills are in the first save; every third one is somewhere later.
            for _ in range(1 + (chance.randrange(3) == 0)):
                saves = hear(pipe)["saves"]
            counts["killed from"][saves] += 1
            time.sleep(chance.uniform(0, SECONDS))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert number == kills or os.WTERMSIG(status) == signal.SIGKILL
        os.close(pipe)
    left = len(list(folder.glob(".command.*.tmp")))
    print(json.dumps({"kills": kills, "found": counts, "folders left beside": left}))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]))
