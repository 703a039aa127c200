"""What a wheel says of itself: the platform that its library needs, the TensorFlow that it is for, and every file's hash."""

import base64
import hashlib
import importlib
import pathlib
import subprocess
import sys
import zipfile

import pytest
import tensorflow as tf

import tftrt

SUPPORT = pathlib.Path(__file__).resolve().parents[2] / "build_support"


@pytest.fixture
def elf(monkeypatch):
    monkeypatch.syspath_prepend(str(SUPPORT))
    return importlib.import_module("elf")


def _library(path: pathlib.Path, source: str, *flags: str) -> pathlib.Path:
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", path, "-", "-x", "none", *flags], input=source, text=True, check=True)
    return path


def test_the_tag_follows_the_newest_symbol(elf, tmp_path):
    plain = _library(tmp_path / "plain.so", "int one(void) { return 1; }")
    assert elf.manylinux(plain) == "manylinux_2_17_x86_64"
    # In glibc 2.34 pthread_create moved into libc under a new version; a linker there asks for that one.
    newer = _library(tmp_path / "newer.so", "#include <pthread.h>\nint start(pthread_t* t, void* (*f)(void*)) { return pthread_create(t, 0, f, 0); }")
    if elf.needed_versions(newer)["GLIBC"] == (2, 34):
        assert elf.manylinux(newer) == "manylinux_2_34_x86_64"
    else:
        assert elf.manylinux(newer) == "manylinux_2_17_x86_64"


def test_a_foreign_library_has_no_tag(elf, tmp_path):
    _library(tmp_path / "libours.so", "int ours(void) { return 1; }", "-Wl,-soname,libours.so.3")
    user = _library(tmp_path / "user.so", "int ours(void); int use(void) { return ours(); }", str(tmp_path / "libours.so"))
    with pytest.raises(SystemExit, match="needs libours.so.3"):
        elf.manylinux(user)


def test_the_runpath_is_replaced(elf, tmp_path):
    library = _library(tmp_path / "a.so", "int one(void) { return 1; }", f"-Wl,-rpath,{tmp_path}/a/folder/of/this/machine")
    elf.set_runpath(library, "$ORIGIN/../tensorflow")
    shown = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    assert "[$ORIGIN/../tensorflow]" in shown
    assert b"this/machine" not in library.read_bytes()
    with pytest.raises(SystemExit, match="no room"):
        elf.set_runpath(library, "/a/longer/path/than/that")


def test_a_wheel(tmp_path):
    library = tftrt.versions()["library"]
    done = subprocess.run(
        [sys.executable, SUPPORT / "wheel.py", library, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    path = pathlib.Path(done.stdout.strip())
    major, minor = tf.__version__.split(".")[:2]
    version = f"{tftrt.__version__}+tf{major}.{minor}"
    assert path.name.startswith(f"tftrt-{version}-py3-none-manylinux_2_")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        info = f"tftrt-{version}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode().partition("\n\n")[0].splitlines()
        assert f"Requires-Dist: tensorflow>={major}.{minor},<{major}.{int(minor) + 1}" in metadata
        assert f"Version: {version}" in metadata
        tag = path.name.removesuffix(".whl").removeprefix(f"tftrt-{version}-")
        assert f"Tag: {tag}\n" in archive.read(f"{info}/WHEEL").decode()
        # Every file is listed with its hash, and nothing of the checkout's environment is in it.
        listed = dict(line.split(",", 1) for line in archive.read(f"{info}/RECORD").decode().splitlines())
        assert set(listed) == names
        for name in names - {f"{info}/RECORD"}:
            content = archive.read(name)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            assert listed[name] == f"sha256={digest},{len(content)}"
        assert {"tftrt/__init__.py", "tftrt/libtftrt.so", "tftrt/cli/main.py"} <= names
        shared = archive.read("tftrt/libtftrt.so")
        assert str(pathlib.Path(tf.__file__).parent).encode() not in shared
        assert f"TFTRT_BUILT_FOR_TENSORFLOW={tf.__version__};".encode() in shared
