"""Build the C++ programs of the tests against the installed TensorFlow.

    python tests/cpp/build.py [OUT]

Writes them to OUT (target/cpp); what is newer than its sources, the library and the flags is left alone. The flags are those
that build.rs takes: TensorFlow's own words, with its headers as system headers.
"""

import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# Program: its source, and whether it is linked with the plugin.
PROGRAMS = {
    "session": ("session.cc", False),
    "session_linked": ("session.cc", True),
    "convert": ("convert.cc", True),
    "remote": ("remote.cc", False),
    "serving_harness": ("serving_harness.cc", True),
}


def _flags() -> tuple[list[str], pathlib.Path]:
    """The compiler's flags and TensorFlow's folder of libraries."""
    import tensorflow as tf

    # With -O1 inline functions of TensorFlow's headers that no program calls are left out. One of 2.20 refers to an Abseil template,
    # which the wheel's clang has exported under another name than g++ 12 gives it.
    compiler = ["-O1", "-Wall", "-Wextra", "-Wno-unused-parameter", f"-I{ROOT / 'cpp_shim/include'}"]
    for flag in tf.sysconfig.get_compile_flags():
        compiler += ["-isystem", flag[2:]] if flag.startswith("-I") else [flag]
    return compiler, pathlib.Path(tf.sysconfig.get_lib())


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-8000:]}")


def _stale(made: pathlib.Path, sources: list[pathlib.Path]) -> bool:
    return not made.exists() or any(source.stat().st_mtime > made.stat().st_mtime for source in sources)


def build(out: pathlib.Path, plugin: pathlib.Path) -> pathlib.Path:
    """Builds all programs, those that are linked with `plugin` too; gives `out`."""
    out.mkdir(parents=True, exist_ok=True)
    compiler, libraries = _flags()
    cxx = os.environ.get("CXX", "g++")
    told = out / "flags.txt"
    text = "\n".join([cxx, *compiler, str(libraries), str(plugin)])
    if not told.exists() or told.read_text() != text:
        told.write_text(text)
    headers = [told, *HERE.glob("*.h"), *(ROOT / "cpp_shim/include").rglob("*.h")]

    def compile(source: str) -> None:
        made = out / f"{source}.o"
        if _stale(made, [HERE / source, *headers]):
            _run([cxx, *compiler, "-c", str(HERE / source), "-o", str(made)])

    def link(name: str) -> None:
        source, linked = PROGRAMS[name]
        made = out / name
        if not _stale(made, [out / f"{source}.o", *([plugin] if linked else [])]):
            return
        # libtensorflow_cc holds the session factory, which nothing refers to: --as-needed would drop it.
        command = [cxx, str(out / f"{source}.o"), "-o", str(made), "-Wl,--no-as-needed"]
        command += [f"-L{libraries}", "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{libraries}"]
        if shutil.which("ld.gold"):
            command.append("-fuse-ld=gold")  # A quarter of the time that the usual linker needs for TensorFlow's symbols.
        if linked:
            command += [f"-L{plugin.parent}", "-ltftrt", f"-Wl,-rpath,{plugin.parent}"]
        _run([*command, "-ldl", "-lpthread"])

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(compile, sorted({source for source, _ in PROGRAMS.values()})))
        list(pool.map(link, PROGRAMS))
    return out


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print(build(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/cpp"), ROOT / "target/release/libtftrt.so"))
