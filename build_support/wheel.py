"""Packs the library and the Python package into a wheel for one TensorFlow.

Usage: python wheel.py LIBRARY OUT_DIR

Prints the path of the wheel. All that differs between two wheels comes from LIBRARY itself: which TensorFlow it was built
for, and which system it needs. One wheel serves every Python 3 that the package takes, for the library knows nothing of
Python: TensorFlow loads it, and ctypes calls it.
"""
import base64
import hashlib
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile

import elf

ROOT = pathlib.Path(__file__).resolve().parents[1]
MARKER = re.compile(rb"TFTRT_BUILT_FOR_TENSORFLOW=([0-9]+)\.([0-9]+)\.[0-9A-Za-z.+-]*;")
# Beside the package in site-packages lies TensorFlow's folder. Where Python has loaded TensorFlow, the path is not asked for:
# the loader knows the library by its name. It serves a C++ program that preloads this one.
RUNPATH = "$ORIGIN/../tensorflow"
# A time that zip can hold, the same for every build: equal contents make equal files.
DATE = (2020, 1, 1, 0, 0, 0)


def built_for(library: pathlib.Path) -> tuple[int, int]:
    """The line of TensorFlow releases that the library was built for: (2, 20)."""
    found = MARKER.search(library.read_bytes())
    if found is None:
        sys.exit(f"{library} does not say which TensorFlow it was built for")
    return int(found[1]), int(found[2])


def metadata(project: dict, version: str, major: int, minor: int) -> str:
    """The core metadata (version 2.4 of the specification) of the wheel for TensorFlow `major`.`minor`."""
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {version}",
        f"Summary: {project['description']}",
        f"License-Expression: {project['license']}",
        "License-File: LICENSE",
        "Classifier: Operating System :: POSIX :: Linux",
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {one}" for one in project["dependencies"]),
        f"Requires-Dist: tensorflow>={major}.{minor},<{major}.{minor + 1}",
    ]
    for extra, needed in project["optional-dependencies"].items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f'Requires-Dist: {one}; extra == "{extra}"' for one in needed]
    return "\n".join(lines) + "\n\n" + (ROOT / "README.md").read_text()


def prepare(library: pathlib.Path, to: pathlib.Path) -> None:
    """Copies the library without debug information and without the paths of this machine."""
    shutil.copy(library, to)
    subprocess.run(["strip", "--strip-debug", to], check=True)
    elf.set_runpath(to, RUNPATH)


def record(name: str, content: bytes) -> str:
    """A line of RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"


def main() -> None:
    library, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    pyproject = tomllib.loads((ROOT / "python/pyproject.toml").read_text())
    project = pyproject["project"]
    major, minor = built_for(library)
    # A local version: all these wheels are the same release of tftrt.
    version = f"{project['version']}+tf{major}.{minor}"
    with tempfile.TemporaryDirectory() as folder:
        packed = pathlib.Path(folder, "libtftrt.so")
        prepare(library, packed)
        platform = elf.manylinux(packed)
        shared = packed.read_bytes()
    files: dict[str, bytes] = {}
    for package in pyproject["tool"]["setuptools"]["packages"]:
        path = package.replace(".", "/")
        for source in sorted((ROOT / "python" / path).glob("*.py")):
            files[f"{path}/{source.name}"] = source.read_bytes()
    files["tftrt/libtftrt.so"] = shared
    info = f"tftrt-{version}.dist-info"
    files[f"{info}/METADATA"] = metadata(project, version, major, minor).encode()
    wheel = f"Wheel-Version: 1.0\nGenerator: tftrt build_support/wheel.py\nRoot-Is-Purelib: false\nTag: py3-none-{platform}\n"
    files[f"{info}/WHEEL"] = wheel.encode()
    files[f"{info}/licenses/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    listed = "".join(record(name, content) for name, content in files.items())
    files[f"{info}/RECORD"] = (listed + f"{info}/RECORD,,\n").encode()
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"tftrt-{version}-py3-none-{platform}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if name.endswith(".so") else 0o100644) << 16
            archive.writestr(entry, content)
    print(path)


main()
