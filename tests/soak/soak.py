"""Soak: many threads, models, shapes, evictions, reloads and background builds at once, for a long time.

    python tests/soak/soak.py --seconds 1800 --out target/soak

Every answer is held against native TensorFlow's, computed before. At the end: nothing wrong, no error, no thread without progress for
`--patience` seconds, every native call for a reason that is listed in EXPECTED, nothing left when the models are gone, and memory that does
not grow. Writes soak.json (what is said here) and soak.csv (a sample a line, of which docs/results/data/draw_soak_curve.py makes the picture) into
`--out`. The exit code is 0 where all held.

Runs on what TensorFlow has: engines on its GPU, or the CPU backend. `--native` runs the same on native models: what grows there, too,
is TensorFlow's.
"""

import argparse
import csv
import gc
import json
import os
import pathlib
import random
import sys
import tempfile
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
# The engines are small; on a GPU building them well would take most of the time.
os.environ.setdefault("TFTRT_BUILDER_OPTIMIZATION_LEVEL", "0")

import numpy as np
import tensorflow as tf

import tftrt

import memory
import soak_models
from watchdog import Watchdog

# The reasons for which a call may run natively here, and why that is right. Any other one that is counted fails the run.
EXPECTED = {
    "native_building": "its engine was being built in the background (TFTRT_BUILD=background)",
    "native_no_engine": "the request lay outside the profiles of the model 'words', on purpose: as often as such requests were made",
}
# Growth that is none, in KiB and with three standard errors: what a version of a model leaves if it stays is a thousand a reload, what an
# engine leaves a hundred a build. (TensorFlow's own loader leaves some KiB a reload, with native models, too.)
FLAT = {"reload": 64.0, "build": 1.0}
# A shorter run says nothing about memory: pools still fill.
JUDGED_FROM = 600.0
COLUMNS = ["seconds", "resident_bytes", "allocated_bytes", "device_bytes", "threads", "requests", "reloads", "engines", "builds", "evictions"]


class Slot:
    """The version of a model that serves now. A request holds the one that it began with."""

    def __init__(self, kind: soak_models.Kind, folder: str):
        self.kind, self.folder = kind, folder
        self.model = tf.saved_model.load(folder)
        self.requests, self.outside = 0, 0

    def reload(self) -> None:
        self.model = tf.saved_model.load(self.folder)


class Soak:
    def __init__(self, options, folder: str):
        self.options = options
        self.tolerance = 1e-3 if tf.config.list_physical_devices("GPU") else 1e-4
        kinds = [soak_models.images(), soak_models.attention(), soak_models.words()]
        saved = {kind.name: soak_models.prepare(kind, folder) for kind in kinds}
        os.environ["TFTRT_BUILD"] = options.build
        self.slots = [Slot(kind, saved[kind.name][0 if options.native else 1]) for kind in kinds]
        self.stop = threading.Event()
        self.lock = threading.Lock()  # Of what follows.
        self.wrong: list[str] = []
        self.errors: list[str] = []
        self.reloads = 0
        self.finished: dict[str, float] = {}
        self.samples: list[list[float]] = []
        self.before = self.totals()

    @staticmethod
    def totals() -> dict[str, int]:
        return {name: value for name, value in tftrt.stats()["totals"].items() if isinstance(value, int)}

    def note(self, where: list[str], text: str) -> None:
        with self.lock:
            if len(where) < 20:
                where.append(text[:1000])

    def works(self, name: str, step) -> None:
        """Calls `step` until the time is over; what it raises is noted."""
        while not self.stop.is_set():
            try:
                step()
            except Exception as error:
                self.note(self.errors, f"{name}: {type(error).__name__}: {error}")
                if len(self.errors) >= 20:
                    break
            self.finished[name] = time.monotonic()
        self.finished.pop(name, None)

    def request(self, chance: random.Random) -> None:
        slot = chance.choice(self.slots)
        common = int((time.monotonic() - self.begun) / self.options.shift)
        request, outside = slot.kind.choose(chance, common)
        found = slot.model.signatures["serving_default"](**request.inputs)["y"].numpy()
        with self.lock:
            slot.requests += 1
            slot.outside += outside
        expected = request.expected
        if found.shape != expected.shape or found.dtype != expected.dtype:
            self.note(self.wrong, f"{slot.kind.name}: {found.dtype}{list(found.shape)} for {expected.dtype}{list(expected.shape)}")
        elif not np.abs(found - expected).max() <= self.tolerance * np.abs(expected).max():
            shapes = [list(value.shape) for value in request.inputs.values()]
            self.note(self.wrong, f"{slot.kind.name} {shapes}: off by {np.abs(found - expected).max()} of {np.abs(expected).max()}")

    def reload(self, chance: random.Random) -> None:
        chance.choice(self.slots).reload()
        gc.collect()  # The old version goes now, as soon as its last request has ended, and not at some time.
        self.reloads += 1
        self.finished["reload"] = float("inf")  # Waiting is no work.
        self.stop.wait(self.options.reload_every)

    def sample(self) -> None:
        now = self.totals()
        done = {name: now[name] - self.before.get(name, 0) for name in ("builds", "evictions")}
        requests = sum(slot.requests for slot in self.slots)
        values = [round(time.monotonic() - self.begun, 2), memory.resident(), memory.allocated(), memory.device(), memory.threads(), requests]
        self.samples.append([*values, self.reloads, now["engines"], done["builds"], done["evictions"]])

    def run(self) -> None:
        options = self.options
        dog = Watchdog(options.patience)
        self.begun = time.monotonic()
        works = {f"request-{n}": self.request for n in range(options.threads)} | {"reload": self.reload}
        pool = []
        for name, step in works.items():
            chance = random.Random(f"{options.seed} {name}")
            self.finished[name] = self.begun
            pool.append(threading.Thread(target=self.works, args=[name, lambda step=step, chance=chance: step(chance)], name=name, daemon=True))
        for thread in pool:
            thread.start()
        requests, said = 0, self.begun
        while time.monotonic() - self.begun < options.seconds and not self.errors:
            time.sleep(options.sample_every)
            self.sample()
            if self.samples[-1][COLUMNS.index("requests")] > requests:
                dog.alive()
            requests = self.samples[-1][COLUMNS.index("requests")]
            dog.check(dict(self.finished))
            if time.monotonic() - said > 60:
                said = time.monotonic()
                print("soak: " + ", ".join(f"{name} {value}" for name, value in zip(COLUMNS, self.samples[-1])), file=sys.stderr, flush=True)
        self.stop.set()
        while any(thread.is_alive() for thread in pool):
            time.sleep(0.1)
            dog.check(dict(self.finished))
        self.seconds = time.monotonic() - self.begun
        dog.alive()
        self.counters = {name: value - self.before.get(name, 0) for name, value in self.totals().items()}
        # Builds in the background that are under way hold their cache; they end by themselves.
        end = time.monotonic() + options.patience
        for slot in self.slots:
            slot.model = None
        while time.monotonic() < end:
            gc.collect()
            if not self.left():
                break
            time.sleep(0.2)
        dog.done()

    def left(self) -> list[str]:
        """Names of the engine caches that are there."""
        return [resource["name"] for resource in tftrt.stats()["resources"]]

    def memory(self) -> dict:
        """Growth of each kind of memory, in KiB a minute; with its standard error."""
        done = {"reload": self.reloads, "build": self.counters["builds"]}
        told: dict = {"flat_kib": FLAT, "judged": self.seconds >= JUDGED_FROM}
        minutes = [sample[0] / 60 for sample in self.samples]
        for name in ("resident_bytes", "allocated_bytes", "device_bytes"):
            values = [sample[COLUMNS.index(name)] for sample in self.samples]
            try:
                slope, error, *_ = memory.growth(minutes, [value / 1024 for value in values])
            except ValueError as few:
                told[name] = {"last": values[-1] if values else None, "not_fitted": str(few)}
                continue
            told[name] = {"last": values[-1], "kib_a_minute": round(slope, 2), "error": round(error, 2)}
            for what, count in done.items():
                if count:
                    of_one = self.seconds / 60 / count
                    told[name][f"kib_a_{what}"] = [round(slope * of_one, 3), round(error * of_one, 3)]
        return told

    def report(self) -> dict:
        counters, options = self.counters, self.options
        requests = {slot.kind.name: slot.requests for slot in self.slots}
        outside = sum(slot.outside for slot in self.slots)
        native = {name: value for name, value in counters.items() if name.startswith("native_") and name != "native_fallbacks" and value}
        grown, left = self.memory(), self.left()
        failed = []

        def hold(what: bool, text: str) -> None:
            if not what:
                failed.append(text)

        hold(not self.wrong, f"wrong answers: {self.wrong}")
        hold(not self.errors, f"errors: {self.errors}")
        hold(min(requests.values()) > 0 and self.reloads > 0, f"requests {requests}, reloads {self.reloads}: each has to be more than none")
        if not options.native:
            for reason in native:
                hold(reason in EXPECTED, f"{native[reason]} calls for the reason {reason}, which is not to be expected")
            hold(native.get("native_no_engine", 0) == outside, f"{native.get('native_no_engine', 0)} calls had no engine, {outside} lay outside")
            hold(counters["failures"] == 0 and counters["rejected_plans"] == 0, "engines failed to build, or to load")
            hold(counters["evictions"] > 0 and counters["builds"] > 0, "no engine was built or evicted: nothing was tried")
            hold(not left, f"engine caches that outlived their models: {left}")
        if grown["judged"]:
            for name in ("resident_bytes", "device_bytes"):
                for what, limit in FLAT.items():
                    slope, error = grown[name].get(f"kib_a_{what}", (0.0, 0.0))
                    # A slope that is too uncertain to be called flat is not flat.
                    hold(slope + 3 * error < limit, f"{name} grows by {slope} ± {error} KiB a {what}")
        return {
            "command": " ".join(["python", *sys.argv]),
            "seconds": round(self.seconds, 1),
            "versions": tftrt.versions() | {"backend": tftrt.backend()},
            "cores": len(os.sched_getaffinity(0)),
            "load": os.getloadavg(),
            "threads": options.threads,
            "models": "native" if options.native else "converted",
            "build": options.build,
            "requests": requests,
            "requests_a_second": round(sum(requests.values()) / self.seconds, 1),
            "checked": sum(requests.values()),
            "reloads": self.reloads,
            "counters": counters,
            "native_calls": {name: {"calls": count, "why": EXPECTED.get(name, "not to be expected")} for name, count in native.items()},
            "outside_profiles": outside,
            "memory": grown,
            "most_threads": max((sample[COLUMNS.index("threads")] for sample in self.samples), default=0),
            "failed": failed,
        }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Many threads, models, evictions, reloads and background builds at once.")
    parser.add_argument("--seconds", type=float, default=1800, help="how long requests are made (1800)")
    parser.add_argument("--threads", type=int, default=16, help="threads that make them (16)")
    parser.add_argument("--build", choices=["background", "inline"], default="background", help="who builds missing engines (background)")
    parser.add_argument("--native", action="store_true", help="native models instead: what TensorFlow does alone")
    parser.add_argument("--reload-every", type=float, default=2.0, help="seconds between reloads of a model (2)")
    parser.add_argument("--shift", type=float, default=5.0, help="seconds after which other shapes are common (5)")
    parser.add_argument("--sample-every", type=float, default=1.0, help="seconds between samples of memory (1)")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds without progress that end the run (60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("target/soak"), help="folder for what is written (target/soak)")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tftrt-soak-") as folder:
        os.environ.setdefault("TFTRT_CACHE_DIR", f"{folder}/cache")
        soak = Soak(options, folder)
        soak.run()
    report = soak.report()
    with open(options.out / "soak.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, *soak.samples])
    (options.out / "soak.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))
    sys.stdout.flush()
    return 1 if report["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
