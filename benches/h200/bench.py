"""The benchmark on an H200: each command is one process, measures one thing, and writes one JSON file into --out.

    python bench.py model   --model resnet50 --folder DIR --out OUT
    python bench.py convert --native DIR --converted DIR --precision FP16 --out OUT [--tag cold|warm|...]
    python bench.py rebuild --native DIR --precision FP16 --out OUT
    python bench.py load    --folder DIR --out OUT
    python bench.py speed   --native DIR --converted DIR --batches 1,64 --out OUT
    python bench.py threads --folder DIR --out OUT
    python bench.py memory  --folder DIR --out OUT
    python bench.py raw     --converted DIR --binary target/release/examples/trt_loop --lib DIR --out OUT
    python bench.py report  --out OUT

A folder's name begins with the model's (see models.py). The environment decides the rest, as in production: TFTRT_CACHE_DIR,
TFTRT_CUDA_GRAPHS, TFTRT_FP16_METHOD and so on; all TFTRT_ and TF_TRT_ variables are kept in the JSON. A part that fails leaves its
error in the JSON, and the next part runs. The exit code is 0 only if every part succeeded.
"""

import argparse
import contextlib
import gc
import importlib.util
import json
import os
import pathlib
import resource
import subprocess
import sys
import time
import traceback

STARTED = time.perf_counter()
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
THREADS = (1, 2, 4, 8, 16)


class Record:
    """One JSON file, written anew after each part: what a killed process had measured is kept."""

    def __init__(self, command: str, options: argparse.Namespace):
        out = pathlib.Path(options.out)
        out.mkdir(parents=True, exist_ok=True)
        folder = getattr(options, "converted", None) or getattr(options, "folder", None) or getattr(options, "native", None)
        name = "-".join(filter(None, [command, pathlib.Path(folder).name, options.tag]))
        self.file = out / f"{name}.json"
        self.failed = False
        self.data = {
            "command": command,
            "tag": options.tag,
            "folder": pathlib.Path(folder).name,
            "options": {k: str(v) for k, v in vars(options).items() if k != "run"},
            "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith(("TFTRT_", "TF_TRT_", "TF_GPU_", "TF_FORCE"))},
        }
        self.write()

    def write(self) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(self.data, indent=1, default=str))
        new.replace(self.file)

    @contextlib.contextmanager
    def part(self, name: str):
        """A dict for the part's figures; its time is added, and its error if it fails."""
        part = self.data[name] = {"state": "running"}
        self.write()
        begun = time.perf_counter()
        print(f"{self.file.stem}: {name}", file=sys.stderr, flush=True)
        try:
            yield part
            part["state"] = "done"
        except Exception as error:
            self.failed = True
            part["state"] = "failed"
            part["error"] = f"{type(error).__name__}: {error}"[:4000]
            traceback.print_exc()
        finally:
            part["wall_s"] = round(time.perf_counter() - begun, 4)
            self.write()


def start(record: Record):
    """TensorFlow and tftrt, with memory growth on; the time that this takes is no part of any figure but its own."""
    with record.part("start") as part:
        import tensorflow as tf

        import tftrt

        part["import_s"] = time.perf_counter() - STARTED
        gpus = tf.config.list_physical_devices("GPU")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        begun = time.perf_counter()
        (tf.constant([1.0]) + 1.0).numpy()
        part["device_s"] = time.perf_counter() - begun
        part["gpu"] = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        part["versions"] = tftrt.versions()
        part["backend"] = tftrt.backend()
    return tf, tftrt


def device_memory(tf) -> dict:
    """In MB: TensorFlow's own count (now and peak), what the device has in use by all processes, and this process's host memory."""
    found = {"host_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    if tf.config.list_physical_devices("GPU"):
        info = tf.config.experimental.get_memory_info("GPU:0")
        found |= {"tensorflow_mb": info["current"] / 1e6, "tensorflow_peak_mb": info["peak"] / 1e6}
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError, IndexError):
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        found["device_used_mb"] = float(subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.split()[0])
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        if ctypes.CDLL("libcudart.so.12").cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total)) == 0:
            found["device_used_mb_cuda"] = (total.value - free.value) / 1e6
    return found


def files_of(folder) -> dict:
    """Sizes in bytes of the files under a folder, by their paths in it."""
    if not folder or not pathlib.Path(folder).is_dir():
        return {}
    return {str(p.relative_to(folder)): p.stat().st_size for p in sorted(pathlib.Path(folder).rglob("*")) if p.is_file()}


def constants(tf, name: str, batch: int) -> dict:
    import models

    return {key: tf.constant(value) for key, value in models.inputs(name, batch).items()}


def engines_only(totals: dict, *unwanted: str) -> None:
    """A figure of a model that ran natively, or was built where it should have been read, is no figure: RuntimeError."""
    found = {name: totals[name] for name in ("native_fallbacks", "failures", "rejected_plans", *unwanted) if totals.get(name)}
    if found:
        raise RuntimeError(f"not what was to be measured: {found}")


def model(record, options):
    start(record)
    import models

    with record.part("save"):
        models.save(options.model, options.folder)


def converter_of(options):
    """The native model, converted."""
    from tensorflow.python.compiler.tensorrt import trt_convert as trt

    converter = trt.TrtGraphConverterV2(
        input_saved_model_dir=options.native,
        precision_mode=options.precision,
        use_dynamic_shape=True,
        dynamic_shape_profile_strategy="Optimal",
    )
    converter.convert()
    return converter


def build(tf, converter, options) -> None:
    """Builds the engines for all batch sizes."""
    import models

    name = models.name_of(options.native)
    batches = [int(b) for b in options.batches.split(",")]
    converter.build(input_fn=lambda: (constants(tf, name, batch) for batch in batches))


def convert(record, options):
    tf, tftrt = start(record)
    cache = os.environ.get("TFTRT_CACHE_DIR")
    record.data["cache_before"] = files_of(cache)
    with record.part("convert"):
        converter = converter_of(options)
    with record.part("graph") as part:
        nodes = converter._converted_graph_def.node
        part["engines"] = [node.name for node in nodes if node.op == "TRTEngineOp"]
        part["outside"] = sorted({node.op for node in nodes if node.op != "TRTEngineOp"})
    with record.part("build") as part:
        build(tf, converter, options)
        part["stats"] = tftrt.stats()
        engines_only(part["stats"]["totals"])
    with record.part("save"):
        converter.save(options.converted)
    with record.part("after") as part:
        part["assets"] = files_of(pathlib.Path(options.converted) / "assets")
        part["cache"] = files_of(cache)
        part["memory"] = device_memory(tf)


def rebuild(record, options):
    """One model converted and built twice in one process, nothing kept on disk: what is quicker the second time is what builds hand on."""
    os.environ["TFTRT_CACHE_DIR"] = "none"
    record.data["environment"]["TFTRT_CACHE_DIR"] = "none"
    tf, tftrt = start(record)
    builds = []
    for name in ("first", "second"):
        with record.part(f"{name}_convert"):
            converter = converter_of(options)
        with record.part(f"{name}_build") as part:
            build(tf, converter, options)
            part["stats"] = tftrt.stats()["totals"]
            engines_only(part["stats"])
            builds.append(part["stats"]["builds"])
            if builds[-1] != len(builds) * builds[0]:
                raise RuntimeError(f"{builds[-1]} builds in all, and {builds[0]} by the first")
        # Its engines go, and their memory: the second build finds the device as the first one did.
        del converter
        gc.collect()


def load(record, options):
    """What a server waits for: load, then the first call at batch 1, in a fresh process with TensorFlow and the device started."""
    tf, tftrt = start(record)
    import measure
    import models

    x = constants(tf, models.name_of(options.folder), 1)
    with record.part("load") as part:
        begun = time.perf_counter()
        call = models.signature(options.folder)
        part["load_s"] = time.perf_counter() - begun
        begun = time.perf_counter()
        measure.read_one(call(**x))
        part["first_call_s"] = time.perf_counter() - begun
        begun = time.perf_counter()
        measure.read_one(call(**x))
        part["second_call_s"] = time.perf_counter() - begun
        part["load_and_first_call_s"] = part["load_s"] + part["first_call_s"]
        part["stats"] = tftrt.stats()["totals"]
        engines_only(part["stats"], "builds")


def speed(record, options):
    tf, tftrt = start(record)
    import functools

    import measure
    import models
    import numpy as np

    name = models.name_of(options.converted)
    with record.part("load"):
        native, converted = models.signature(options.native), models.signature(options.converted)
    batches = {}
    with record.part("inputs"):
        batches = {int(b): constants(tf, name, int(b)) for b in options.batches.split(",")}
    for batch, x in batches.items():
        with record.part(f"numerics_{batch}") as part:
            # The yardstick is FP32 in earnest: TF32 off.
            tf.config.experimental.enable_tensor_float_32_execution(False)
            try:
                wanted = native(**x).numpy().astype(np.float64)
            finally:
                tf.config.experimental.enable_tensor_float_32_execution(True)
            for key, call in (("native_error", native), ("relative_error", converted)):
                found = call(**x).numpy().astype(np.float64)
                part[key] = float(np.abs(found - wanted).max() / np.abs(wanted).max())
                part[f"{key}_mean"] = float(np.abs(found - wanted).mean() / np.abs(wanted).mean())
                part[f"{key}_finite"] = bool(np.isfinite(found).all())
            part["largest"] = float(np.abs(wanted).max())
        with record.part(f"speed_{batch}") as part:
            before = tftrt.stats()
            calls = {"native": functools.partial(native, **x), "converted": functools.partial(converted, **x)}
            part.update(measure.compare(calls, options.rounds, options.calls))
            after = tftrt.stats()
            part["stats_before"], part["stats_after"] = before["totals"], after["totals"]
            changed = {k: after["totals"].get(k, 0) - before["totals"].get(k, 0) for k, v in after["totals"].items() if isinstance(v, int)}
            part["changed"] = {k: v for k, v in changed.items() if v}
            if changed.get("native_fallbacks", 0) or not changed.get("engine_calls", 0):
                raise RuntimeError(f"the converted model did not run on its engines alone: {part['changed']}")
    with record.part("end") as part:
        part["stats"] = tftrt.stats()
        part["memory"] = device_memory(tf)


def threads(record, options):
    tf, tftrt = start(record)
    import measure
    import models

    name = models.name_of(options.folder)
    with record.part("load"):
        call = models.signature(options.folder)
        inputs = [constants(tf, name, 1) for _ in range(max(THREADS))]
        measure.warm_up(lambda: call(**inputs[0]))
    for count in THREADS:
        with record.part(f"threads_{count}") as part:
            before = tftrt.stats()["totals"]
            part.update(measure.throughput(lambda x: call(**x).numpy(), inputs[:count], options.seconds))
            part["native_fallbacks"] = tftrt.stats()["totals"].get("native_fallbacks", 0) - before.get("native_fallbacks", 0)
            if part["errors"]:
                raise RuntimeError("; ".join(part["errors"][:3]))
            engines_only(part)
    with record.part("end") as part:
        part["stats"] = tftrt.stats()
        part["memory"] = device_memory(tf)


def memory(record, options):
    tf, tftrt = start(record)
    import measure
    import models

    name = models.name_of(options.folder)
    with record.part("before") as part:
        part.update(device_memory(tf))
    with record.part("load") as part:
        call = models.signature(options.folder)
        part.update(device_memory(tf))
    for batch in (int(b) for b in options.batches.split(",")):
        with record.part(f"batch_{batch}") as part:
            x = constants(tf, name, batch)
            for _ in range(10):
                measure.read_one(call(**x))
            part.update(device_memory(tf))
    with record.part("end") as part:
        part["stats"] = tftrt.stats()["totals"]
        engines_only(part["stats"], "builds")


def beside_tensorflow() -> dict:
    """The environment for a program that holds this crate: its library refers to TensorFlow's, though the program calls none of it."""
    folder = pathlib.Path(importlib.util.find_spec("tensorflow").origin).parent
    known = os.environ.get("LD_LIBRARY_PATH")
    return os.environ | {"LD_LIBRARY_PATH": os.pathsep.join([str(folder), *filter(None, [known])])}


def raw(record, options):
    """The plans of a converted model, enqueued by a small loop without TensorFlow, with the inputs that `speed` calls the model with."""
    here = pathlib.Path(__file__).resolve()
    tests = here.parents[2] / "tests" / "python"
    plans = []
    with record.part("extract") as part:
        # Files are read and written here, nothing is run: no TensorFlow on the GPU beside what is measured.
        code = (
            "import functools, json, sys, models, plan_inputs; converted, out = sys.argv[1:]; "
            "inputs = functools.partial(models.inputs, models.name_of(converted)); "
            "json.dump(plan_inputs.extract(converted, out, inputs), sys.stdout)"
        )
        folder = pathlib.Path(options.plans or pathlib.Path(options.out) / "plans") / pathlib.Path(options.converted).name
        # This folder first: the tests have a models.py, too.
        path = os.pathsep.join([str(here.parent), str(tests), *filter(None, sys.path)])
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": path}
        command = [sys.executable, *(["-S"] if sys.flags.no_site else []), "-c", code, options.converted, str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        plans = part["plans"] = json.loads(done.stdout.splitlines()[-1])
    for number, plan in enumerate(plans):
        for k, profile in enumerate(plan["header"]["profiles"]):
            with record.part(f"plan_{number}_profile_{k}") as part:
                shapes = [s["opt"] for s in profile["shapes"]]
                part |= {"engine": plan["engine"], "bytes": plan["bytes"], "arguments": plan["arguments"], "shapes": shapes}
                command = [options.binary, *(["--lib", options.lib] if options.lib else []), plan["file"], "--profile", str(k)]
                command += ["--shapes", json.dumps(shapes, separators=(",", ":")), "--calls", str(options.calls)]
                command += [word for file in plan["inputs"][k] for word in ("--input", file)]
                part["command"] = command
                done = subprocess.run(command, env=beside_tensorflow(), capture_output=True, text=True, timeout=90, check=False)
                part["exit_code"], part["stderr"] = done.returncode, done.stderr[-2000:]
                lines = [line for line in done.stdout.splitlines() if line.lstrip().startswith("{")]
                if done.returncode or not lines:
                    raise RuntimeError(f"{options.binary} exited with {done.returncode}: {done.stderr[-500:]} {done.stdout[-500:]}")
                part.update(json.loads(lines[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(function, **arguments):
        own = commands.add_parser(function.__name__)
        own.set_defaults(run=function)
        own.add_argument("--out", required=True, help="the folder of the JSON files")
        own.add_argument("--tag", help="told apart in the file's name: cold, graphs, ...")
        for name, settings in arguments.items():
            own.add_argument(f"--{name}", **settings)
        return own

    needed = {"required": True}
    batches = {"default": "1,64"}
    command(model, model=needed, folder=needed)
    command(convert, native=needed, converted=needed, precision={"default": "FP16"}, batches=batches)
    command(rebuild, native=needed, precision={"default": "FP16"}, batches=batches)
    command(load, folder=needed)
    command(speed, native=needed, converted=needed, batches=batches, rounds={"type": int, "default": 5}, calls={"type": int, "default": 50})
    command(threads, folder=needed, seconds={"type": float, "default": 2.0})
    command(memory, folder=needed, batches=batches)
    command(raw, converted=needed, binary=needed, lib={}, plans={}, calls={"type": int, "default": 50})
    report = commands.add_parser("report")
    report.add_argument("--out", required=True)
    options = parser.parse_args()
    if options.command == "report":
        import report as tables

        print(tables.markdown(pathlib.Path(options.out)))
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    record = Record(options.command, options)
    try:
        options.run(record, options)
    except Exception:
        record.failed = True
        record.data["error"] = traceback.format_exc()[-4000:]
        record.write()
        traceback.print_exc()
    sys.exit(1 if record.failed else 0)


if __name__ == "__main__":
    main()
