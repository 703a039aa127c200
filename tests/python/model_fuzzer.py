"""Changed SavedModels, each loaded and called twice in a forked child with limits on memory and time.

    python model_fuzzer.py SEEDS FIRST COUNT        SEEDS is a folder that model_seeds.py wrote
    python model_fuzzer.py SEEDS --show NUMBER      says what input NUMBER changes, and runs it in this process

Prints a JSON object: how the children ended, by kind, and each input that ended by a signal, hung, or gave a wrong answer
where no answer but the seed's is right. Exit code 1 if there is one.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import collections
import json
import pathlib
import random
import resource
import shutil
import signal
import tempfile

import numpy as np
import tensorflow as tf

import tftrt

import model_mutations

SECONDS = int(os.environ.get("TFTRT_FUZZ_SECONDS", "10"))
# Beyond what the process has mapped before the model is loaded.
MEMORY = 6 << 30


def call_twice(folder: pathlib.Path, x: np.ndarray) -> list:
    """Loads the model as TensorFlow Serving does and calls it twice."""
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=2, allow_soft_placement=True)
    with tf.compat.v1.Session(graph=tf.Graph(), config=config) as session:
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(folder))
        signature = meta.signature_def["serving_default"]
        (out,) = [tensor.name for tensor in signature.outputs.values()]
        return [session.run(out, {signature.inputs["x"].name: x}) for _ in range(2)]


def outcome(folder: pathlib.Path, mutation: "model_mutations.Mutation") -> str:
    """What came of the model: `same`, `other` (numbers), `error`, or `wrong`: other numbers where only the seed's are right."""
    x, expected = np.load(folder / "input.npy"), np.load(folder / "expected.npy")
    try:
        answers = call_twice(folder, x)
    except Exception as error:  # Any error of TensorFlow's in words is an answer.
        if os.environ.get("TFTRT_FUZZ_SHOW"):
            print(type(error).__name__, str(error)[:2000])
        return "error"
    if all(answer.shape == expected.shape and np.allclose(answer, expected, rtol=1e-4, atol=1e-5) for answer in answers):
        totals = tftrt.stats()["totals"]
        return "same by the engine" if totals["engine_calls"] else "same natively"
    if os.environ.get("TFTRT_FUZZ_SHOW"):
        print("expected", expected.ravel()[:8], "got", [answer.ravel()[:8] for answer in answers])
    return "other" if mutation.may_change_numbers else "wrong"


def child(seeds: pathlib.Path, number: int, write) -> None:
    """Runs one input in this process, and ends it."""
    signal.alarm(SECONDS)
    mapped = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tftrt-fuzz-"))
    os.write(write, f"{folder}\n".encode())
    mutation = model_mutations.make(seeds, folder / "model", random.Random(number))
    os.write(write, (outcome(folder / "model", mutation) + "\n").encode())
    os._exit(0)


def run_one(seeds: pathlib.Path, number: int) -> str:
    """How the child of input `number` ended."""
    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, f"{len(threads)} threads before a fork: TensorFlow's own ops wait forever in the child for those it lacks"
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        try:
            child(seeds, number, write)
        except BaseException as error:  # The generator's own mistake: it has to be seen.
            os.write(write, f"generator: {type(error).__name__}: {error}".replace("\n", " ").encode() + b"\n")
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read().splitlines()
    _, status = os.waitpid(pid, 0)
    if said:
        shutil.rmtree(said[0], ignore_errors=True)
    if os.WIFSIGNALED(status):
        ended = signal.Signals(os.WTERMSIG(status)).name
        return "hang" if ended == "SIGALRM" else f"signal {ended}"
    return said[1] if len(said) > 1 else f"exit {os.waitstatus_to_exitcode(status)} without a word"


GOOD = {"same by the engine", "same natively", "other", "error", "endless loop"}


def main(seeds: pathlib.Path, first: int, count: int) -> int:
    ended = collections.Counter()
    bad = []
    for number in range(first, first + count):
        result = run_one(seeds, number)
        mutation = model_mutations.describe(seeds, random.Random(number))
        if result == "hang" and mutation.may_not_end():
            result = "endless loop"
        if result == "hang":
            # A busy machine can be slow once. What hangs again is a hang.
            result = run_one(seeds, number)
        ended[result] += 1
        if result not in GOOD:
            bad.append({"number": number, "ended": result, "seed": mutation.seed, "changes": mutation.changes})
            print(json.dumps(bad[-1]), file=sys.stderr, flush=True)
    print(json.dumps({"ended": ended, "bad": bad}))
    return bool(bad)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    place = pathlib.Path(sys.argv[1])
    if sys.argv[2] == "--show":
        os.environ["TFTRT_FUZZ_SHOW"] = "1"
        target = pathlib.Path(tempfile.mkdtemp(prefix="tftrt-fuzz-")) / "model"
        mutation = model_mutations.make(place, target, random.Random(int(sys.argv[3])))
        print(target, mutation)
        print(outcome(target, mutation))
    else:
        sys.exit(main(place, int(sys.argv[2]), int(sys.argv[3])))
