"""What test_memory_limits.py runs in a process of its own: a native and a converted model under limits on memory and on open files.

    python limit_steps.py make FOLDER       writes both models, an input and its answer
    python limit_steps.py memory FOLDER     both under each limit on memory beyond what the process has after its imports
    python limit_steps.py files FOLDER      both under each limit on open files, and what is saved then

Each try is a forked child: it loads the model, calls it twice, and then once more without the limit. The last line is a JSON object of what
came of each.
"""

import os
import sys

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import json
import pathlib
import resource
import shutil
import signal
import tempfile

import numpy as np
import tensorflow as tf

import tftrt
from tensorflow.compiler.tf2tensorrt.ops import gen_trt_ops
from tensorflow.python.compiler.tensorrt import trt_convert as trt

SECONDS = 60
# "native" is the converted model without its engine, so that native TensorFlow runs the same graph.
MODELS = ("native", "converted")
# 20 MB of weights: five matrices of 1024 x 1024.
WIDE, LAYERS = 1024, 5
# From 32 MB, which nothing is loaded in, to more than both models need; half of the steps are where one of them has enough.
MEMORY = [mib << 20 for mib in (32, 320, 640, 720, 790, 860, 950, 3000)]
FILES = (0, 1, 2, 3, 12)


class Wide(tf.Module):
    def __init__(self):
        random = np.random.default_rng(11)
        self.weights = [tf.Variable(random.normal(0, 0.04, (WIDE, WIDE)).astype(np.float32)) for _ in range(LAYERS)]

    @tf.function(input_signature=[tf.TensorSpec([None, WIDE], tf.float32, name="x")])
    def serve(self, x):
        for weights in self.weights:
            x = tf.nn.relu(x @ weights) + 0.1
        return {"y": x}


def make(folder: pathlib.Path) -> None:
    model = Wide()
    x = np.linspace(-1, 1, 64 * WIDE, dtype=np.float32).reshape(64, WIDE)
    np.save(folder / "input.npy", x)
    np.save(folder / "expected.npy", model.serve(tf.constant(x))["y"].numpy())
    tf.saved_model.save(model, str(folder / "variables"))
    converter = trt.TrtGraphConverterV2(input_saved_model_dir=str(folder / "variables"))
    converter.convert()
    converter.build(input_fn=lambda: iter([[x]]))
    converter.save(str(folder / "converted"))
    shutil.copytree(folder / "converted", folder / "native")
    (asset,) = (folder / "native" / "assets").glob("trt-serialized-engine.*")
    asset.write_bytes(b"")


class Session:
    """A model as TensorFlow Serving loads it, with as few threads as it can do with."""

    def __init__(self, folder: pathlib.Path, model: str):
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=2, allow_soft_placement=True)
        self.session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        meta = tf.compat.v1.saved_model.loader.load(self.session, ["serve"], str(folder / model))
        signature = meta.signature_def["serving_default"]
        self.x, self.y = signature.inputs["x"].name, signature.outputs["y"].name
        with self.session.graph.as_default():
            self.save = self.save_op(folder, model)

    def save_op(self, folder: pathlib.Path, model: str):
        target = pathlib.Path(tempfile.gettempdir()) / f"tftrt-limits-{os.getpid()}"
        (asset,) = (folder / model / "assets").glob("trt-serialized-engine.*")
        return gen_trt_ops.serialize_trt_resource(resource_name=asset.name.removeprefix("trt-serialized-engine."), filename=str(target))

    def call(self, folder: pathlib.Path) -> bool:
        """Whether the numbers are right."""
        found = self.session.run(self.y, {self.x: np.load(folder / "input.npy")})
        return np.allclose(found, np.load(folder / "expected.npy"), rtol=1e-3, atol=1e-4)


def ran_by() -> str:
    totals = tftrt.stats()["totals"]
    told = [name for name in ("engine_calls", "native_no_engine", "native_engine_failed", "native_no_backend", "rejected_plans") if totals[name]]
    return ", ".join(f"{name} {totals[name]}" for name in told) or "no engine"


def limit(kind: int, more: int) -> int:
    """The limit that leaves this process `more` bytes, or files."""
    if kind == resource.RLIMIT_AS:
        return int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + more
    # A file gets the smallest number that is free, and the limit is on numbers. (The folder that is listed is closed by then.)
    taken = {int(number) for number in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{number}")}
    return [number for number in range(len(taken) + more + 1) if number not in taken][more]


def under(kind: int, more: int, folder: pathlib.Path, model: str) -> str:
    """What came of a load and two calls with that much left, and of a call without the limit."""
    _, hard = resource.getrlimit(kind)
    session = None
    resource.setrlimit(kind, (limit(kind, more), hard))
    try:
        session = Session(folder, model)
        right = session.call(folder) and session.call(folder)
        if kind == resource.RLIMIT_NOFILE:
            session.session.run(session.save)
        came = f"right: {ran_by()}" if right else "wrong"
    except Exception as error:  # Any error in words is an answer.
        came = f"error: {type(error).__name__}: {error}".replace("\n", " ")[:300]
    resource.setrlimit(kind, (hard, hard))
    if came.startswith("error"):
        session = Session(folder, model)  # An exception leaves a session of TensorFlow's locked.
    if not session.call(folder):
        return f"wrong without the limit, after {came}"
    return came


def start(kind: int, more: int, folder: pathlib.Path, model: str) -> tuple[int, int]:
    """A child that tries the model: its id, and where it writes what came of it."""
    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, f"{len(threads)} threads before a fork: TensorFlow's own ops wait forever in the child for those it lacks"
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            signal.alarm(SECONDS)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if model == "native":
                os.environ["TFTRT_BUILD"] = "never"
            os.write(write, under(kind, more, folder, model).encode())
        except BaseException as error:
            os.write(write, f"after the limit: {type(error).__name__}: {error}"[:1000].encode())
        finally:
            os._exit(0)
    os.close(write)
    return pid, read


def ended(pid: int, read: int) -> str:
    """What came of a child."""
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return "hang" if name == "SIGALRM" else f"signal {name}"
    return said or f"exit {os.waitstatus_to_exitcode(status)} without a word"


def sweep(kind: int, steps: list[int], folder: pathlib.Path) -> dict:
    came = {model: [] for model in MODELS}
    for more in steps:
        for model, child in [(model, start(kind, more, folder, model)) for model in MODELS]:
            came[model].append(ended(*child))
            print(more, model, came[model][-1], file=sys.stderr, flush=True)
    return came


def main(what: str, folder: pathlib.Path) -> None:
    came = {}
    if what == "make":
        make(folder)
    elif what == "memory":
        came = sweep(resource.RLIMIT_AS, MEMORY, folder)
    else:
        came = sweep(resource.RLIMIT_NOFILE, list(FILES), folder)
    print(json.dumps(came))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
