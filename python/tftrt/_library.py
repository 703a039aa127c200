"""Finds libtftrt.so, checks that it fits the TensorFlow in this process, loads it, and speaks its C functions."""

import ctypes
import importlib.machinery
import json
import mmap
import os
import pathlib
import re
import site
import struct
import sys
import sysconfig
import types

from tftrt import _tensorflow

VERSION = "0.1.0"

FILE_NAME = "libtftrt.so"
# The library carries this text, so that its TensorFlow version can be read without loading it: loaded into another
# version it might already fail on a missing symbol, with a message that helps nobody.
_MARKER = re.compile(rb"TFTRT_BUILT_FOR_TENSORFLOW=([0-9][0-9A-Za-z.+-]*);")


class Library:
    """The loaded library: `path`, `ops` (Python wrappers of its TensorFlow ops) and `request`."""

    def __init__(self, path: pathlib.Path, ops: types.ModuleType):
        self.path = path
        self.ops = ops
        self._c = ctypes.CDLL(str(path))
        self._c.tftrt_load_error.restype = ctypes.c_char_p
        self._c.tftrt_load_error.argtypes = []
        self._c.tftrt_request.argtypes = [ctypes.c_char_p]
        # Not c_char_p: ctypes would turn that into bytes and lose the pointer, which has to be given back.
        self._c.tftrt_request.restype = ctypes.c_void_p
        self._c.tftrt_free.argtypes = [ctypes.c_void_p]
        self._c.tftrt_free.restype = None

    def load_error(self) -> str | None:
        """Why the library registered no ops, or None when it did."""
        message = self._c.tftrt_load_error()
        return None if message is None else message.decode("utf-8", "replace")

    def request(self, command: str, **arguments) -> dict:
        """Sends one request and returns its answer. Raises RuntimeError with the library's own words where it fails."""
        text = json.dumps({"command": command, **arguments}).encode("utf-8")
        pointer = self._c.tftrt_request(text)
        if not pointer:
            raise RuntimeError(f"{self.path} gave no answer to the request {command!r}")
        try:
            answer = json.loads(ctypes.string_at(pointer).decode("utf-8"))
        finally:
            self._c.tftrt_free(pointer)
        if "error" in answer:
            raise RuntimeError(f"the request {command!r} to {self.path} failed: {answer['error']}")
        return answer


def candidates() -> list[pathlib.Path]:
    """Where the library is looked for, in this order. TFTRT_LIBRARY, once set, is the only place."""
    given = os.environ.get("TFTRT_LIBRARY")
    if given:
        return [pathlib.Path(given)]
    package = pathlib.Path(__file__).resolve().parent
    # The second one serves the editable install, where this package lies in python/tftrt of the repository.
    return [package / FILE_NAME, package.parent.parent / "target" / "release" / FILE_NAME]


def find_library() -> pathlib.Path:
    """The first of `candidates` that exists. Raises ImportError that names them all."""
    places = candidates()
    for place in places:
        if place.is_file():
            return place.resolve()
    looked = " or ".join(str(place) for place in places)
    if os.environ.get("TFTRT_LIBRARY"):
        raise ImportError(f"TFTRT_LIBRARY names {looked}, which is not a file")
    raise ImportError(f"{FILE_NAME} is not at {looked}: run `cargo build --release` in the repository, or set TFTRT_LIBRARY")


def _missing_bytes(content: mmap.mmap) -> int:
    """How many bytes a 64-bit ELF file lacks at its end: its table of sections, told of in the header, comes last.

    The dynamic loader maps a file that was cut short without a look, and the process dies of a bus error.
    """
    if len(content) < 64 or content[:5] != b"\x7fELF\x02":
        return 0
    (table,) = struct.unpack_from("<Q", content, 40)
    entry, count = struct.unpack_from("<HH", content, 58)
    return max(0, table + entry * count - len(content))


def built_for(path: pathlib.Path) -> str:
    """The TensorFlow version that the library at `path` was built for, read from the file. Raises ImportError."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _MARKER.search(content)
            version = None if found is None else found.group(1).decode("ascii")
            missing = _missing_bytes(content)
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped.
        raise ImportError(f"{path} cannot be read: {error}") from None
    if missing:
        raise ImportError(f"{path} is cut short: {missing} bytes are missing at its end")
    if version is None:
        raise ImportError(f"{path} is not a tftrt library: it does not say which TensorFlow it was built for")
    return version


def _installed_folders(package: str) -> list[str]:
    """The folders of an installed Python package, which is looked up and not imported.

    A folder of that name in the current directory is none: whoever runs Python in a folder of downloads must not load their native
    code. So the current directory is left out, as are relative entries of sys.path, and a folder without an `__init__.py`.
    """
    here = os.path.realpath(os.getcwd())
    own = {os.path.realpath(folder) for folder in _site_folders()}
    path = [entry for entry in sys.path if os.path.isabs(entry) and (os.path.realpath(entry) != here or here in own)]
    try:
        spec = importlib.machinery.PathFinder.find_spec(package, path)
    except (ImportError, ValueError):
        return []
    if spec is None or spec.origin is None or not spec.submodule_search_locations:
        return []
    return list(spec.submodule_search_locations)


def _site_folders() -> list[str]:
    """Where this Python's packages are installed."""
    found = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages(), site.getusersitepackages()]
    return [folder for folder in found if folder]


def _find_onnxruntime() -> None:
    """Sets ORT_DYLIB_PATH to the library in the installed `onnxruntime` package, where the variable is not set, or empty.

    The package is only looked up: importing it would load its own copy of the library and slow this import down.
    """
    # From 1.29 on ONNX Runtime starts a thread for its telemetry when it is loaded, even if nothing is to be sent. At its end a forked
    # child waits for that thread, which it does not have.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    if os.environ.get("ORT_DYLIB_PATH"):
        return
    for folder in _installed_folders("onnxruntime"):
        found = sorted(pathlib.Path(folder, "capi").glob("libonnxruntime.so*"))
        if found:
            os.environ["ORT_DYLIB_PATH"] = str(found[-1])
            return


def _find_tensorrt() -> None:
    """Sets TFTRT_TENSORRT_LIB to the folder of the installed `tensorrt_libs` package, where the variable is not set.

    `pip install tensorrt-cu12` puts the libraries there, where the dynamic linker does not look.
    """
    if os.environ.get("TFTRT_TENSORRT_LIB"):
        return
    for folder in _installed_folders("tensorrt_libs"):
        if any(pathlib.Path(folder).glob("libnvinfer.so.*")):
            os.environ["TFTRT_TENSORRT_LIB"] = str(folder)
            return


def open_library() -> Library:
    """Loads the library into TensorFlow. Raises ImportError, in one sentence, for every way in which that can fail."""
    import tensorflow as tf

    # First: such a TensorFlow needs no library, so none has to be found.
    own = _tensorflow.has_its_own(tf.__version__)
    if own is not None:
        raise ImportError(own)
    path = find_library()
    problem = _tensorflow.mismatch(path, built_for(path), tf.__version__)
    if problem is not None:
        raise ImportError(problem)
    _find_onnxruntime()
    _find_tensorrt()
    try:
        ops = tf.load_op_library(str(path))
        library = Library(path, ops)
        error = library.load_error()
    except (tf.errors.OpError, OSError, AttributeError) as cause:
        raise ImportError(f"{path} cannot be loaded: {cause}") from cause
    if error is not None:
        raise ImportError(f"{path} registered nothing: {error}")
    return library
