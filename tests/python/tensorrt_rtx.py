"""TensorRT-RTX for the tests: its parser and builder need no GPU, so every machine can ask them about a model.

    python tests/python/tensorrt_rtx.py prepare     # brings the libraries (170 MB, once); prints their folder
    python tests/python/tensorrt_rtx.py locate      # prints the folder, or fails where there is none

In tests: ``check([path, ...])``, one answer a model, in order.
"""

import fcntl
import functools
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

# The wheel that brings the libraries, and its SHA-256: the build that the results in the tests are of.
WHEEL = "onnxruntime-ep-nv-tensorrt-rtx-cu12==0.5.0"
WHEEL_SHA256 = "d71fcbaf4adc627d82fffa6bbac9300a4bfc58fbfa604929b601d22211083d47"
LIBRARIES = ("libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1")
RELEASE = "1.7.1"


def _cache() -> pathlib.Path:
    return ROOT / "target" / "tensorrt-rtx" / RELEASE


def _complete(folder: pathlib.Path) -> bool:
    return all((folder / name).is_file() for name in LIBRARIES)


def locate() -> pathlib.Path:
    """The folder of the libraries: TFTRT_RTX_DIR, else what :func:`prepare` left in ``target/tensorrt-rtx``.

    Raises FileNotFoundError, saying what to run, where neither has them.
    """
    given = os.environ.get("TFTRT_RTX_DIR")
    folder = pathlib.Path(given) if given else _cache()
    if _complete(folder):
        return folder
    whence = "TFTRT_RTX_DIR" if given else "the cache"
    raise FileNotFoundError(
        f"TensorRT-RTX: {' and '.join(LIBRARIES)} are not in {folder} ({whence}); "
        f"run `python {pathlib.Path(__file__).relative_to(ROOT)} prepare`, or set TFTRT_RTX_DIR to a folder that has them"
    )


def prepare() -> pathlib.Path:
    """Brings the libraries into ``target/tensorrt-rtx`` where they are not to be found, and returns their folder.

    The folder appears whole or not at all; of several processes at once, one downloads.
    """
    try:
        return locate()
    except FileNotFoundError:
        if os.environ.get("TFTRT_RTX_DIR"):
            raise
    folder = _cache()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _complete(folder):
            return folder
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as scratch:
            scratch = pathlib.Path(scratch)
            whole = scratch / "libraries"
            whole.mkdir()
            _unpack(_download(scratch), whole)
            if folder.exists():
                shutil.rmtree(folder)
            whole.rename(folder)
    return folder


def _download(scratch: pathlib.Path) -> pathlib.Path:
    """The wheel; pip takes it from its own cache where it has been there before."""
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        + ["--only-binary=:all:", "--dest", str(scratch), WHEEL],
        check=True,
        stdout=sys.stderr,
    )
    (wheel,) = scratch.glob("*.whl")
    with open(wheel, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WHEEL_SHA256:
        raise RuntimeError(f"{wheel.name} has SHA-256 {found}, expected {WHEEL_SHA256}; nothing of it was used")
    return wheel


def _unpack(wheel: pathlib.Path, folder: pathlib.Path) -> None:
    """The libraries of the wheel, and the short names under which they look for each other."""
    with zipfile.ZipFile(wheel) as archive:
        for name in LIBRARIES:
            (member,) = [m for m in archive.namelist() if pathlib.PurePosixPath(m).name.startswith(name + ".")]
            long_name = pathlib.PurePosixPath(member).name
            with archive.open(member) as source, open(folder / long_name, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            (folder / name).symlink_to(long_name)


@functools.cache
def program() -> pathlib.Path:
    """The example ``trt_check``: TFTRT_TRT_CHECK, that of TFTRT_EXAMPLES, or as cargo builds it (nothing happens where it is up to date)."""
    given, examples = os.environ.get("TFTRT_TRT_CHECK"), os.environ.get("TFTRT_EXAMPLES")
    if given or examples:
        return pathlib.Path(given or f"{examples}/trt_check")
    build = subprocess.run(
        ["cargo", "build", "--release", "--quiet", "--example", "trt_check", "--message-format=json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    for line in build.stdout.splitlines():
        message = json.loads(line)
        if message.get("target", {}).get("name") == "trt_check" and message.get("executable"):
            return pathlib.Path(message["executable"])
    raise RuntimeError("cargo built no trt_check")


def check(models, profiles=None, *, dims=2, arguments=(), seconds_per_model=60):
    """What TensorRT-RTX says of each of ``models`` (paths of ONNX files).

    ``profiles``: one entry a model, in order; each a list of profiles ``{input: {"min": [..], "opt": [..], "max": [..]}}``
    (with ``"values"`` of the same form where an input's values are shapes), or None for one profile from 1 to ``dims`` on
    every open axis (none where all is static).

    Returns one dict a model, in order: ``{"model", "ok": True, "plan_bytes"}`` or ``{"model", "ok": False, "error"}``. A model
    that takes TensorRT's process down, or longer than ``seconds_per_model``, is answered so, and the rest go on in a new process.
    """
    models = [str(model) for model in models]
    profiles = list(profiles) if profiles is not None else [None] * len(models)
    if len(profiles) != len(models):
        raise ValueError(f"{len(profiles)} entries in profiles for {len(models)} models")
    for model, given in zip(models, profiles):
        if given is not None:
            pathlib.Path(model + ".json").write_text(json.dumps({"profiles": given}))
    command = [str(program()), "--lib", str(locate()), "--dims", str(dims), *arguments]
    answers = []
    while len(answers) < len(models):
        rest = models[len(answers) :]
        try:
            run = subprocess.run([*command, *rest], capture_output=True, timeout=seconds_per_model * len(rest))
            out, err, end = run.stdout, run.stderr, _how_it_ended(run.returncode)
        except subprocess.TimeoutExpired as late:
            out, err, end = late.stdout or b"", late.stderr or b"", f"gave no answer in {late.timeout:g} s"
        whole_lines = out.decode().rpartition("\n")[0].splitlines()
        answers += [json.loads(line) for line in whole_lines]
        if len(whole_lines) < len(rest):
            words = err.decode(errors="replace").strip()
            if not whole_lines and end == "exit code 2":
                raise RuntimeError(f"trt_check: {words}")
            answers.append({"model": models[len(answers)], "ok": False, "error": f"TensorRT's process: {end}: {words[-2000:]}"})
    return answers


def _how_it_ended(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


if __name__ == "__main__":
    actions = {"prepare": prepare, "locate": locate}
    if len(sys.argv) != 2 or sys.argv[1] not in actions:
        sys.exit(__doc__)
    try:
        print(actions[sys.argv[1]]())
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        sys.exit(f"tensorrt_rtx.py: {error}")
