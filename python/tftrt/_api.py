"""What `import tftrt` offers to programs."""

import threading

from tftrt import _library

_lock = threading.Lock()
_loaded: _library.Library | None = None


def load() -> None:
    """Loads libtftrt.so into TensorFlow and revives its converter. `import tftrt` has done so; a further call does nothing.

    Raises:
      ImportError: the library is not there, or does not fit the TensorFlow that is installed. The message says what to do.
    """
    global _loaded
    with _lock:
        if _loaded is None:
            library = _library.open_library()
            # Imported late: it imports TensorFlow's converter, which must not happen before the library has been checked.
            from tftrt import _frontend

            _frontend.revive(library)
            _loaded = library


def _library_in_use() -> _library.Library:
    load()
    assert _loaded is not None
    return _loaded


def stats() -> dict:
    """What the engines of this process have done so far.

    Returns {"totals": {counter: int}, "host_time": {...}, "resources": [{"name", "device", "engines", ..., "host_time"}]}. `totals` sums
    over every TRTEngineOp, `resources` has one entry per engine cache with the same counters, and three lists of texts, 32 of each at most:
    `rejected`, the saved plans that are of no use here, and why; `notes`, what an engine does otherwise than was asked (precision,
    calibration data, built anew); `native_reasons`, why calls ran natively.

    `host_time` is what the op itself takes of an engine call, in microseconds: all but the engine's own part (on a GPU TensorRT's
    enqueue, or the launch of the CUDA graph; on the CPU the computation). Calls that build their engine, or wait for another's
    build, are left out. It has `count`, `p50_us`, `p90_us`, `p99_us` (None before the first call) and `histogram`, pairs of upper bound
    (None: no bound) and calls; and the same again as `enqueued` and, for calls that replayed a CUDA graph, `replayed`, where
    `mean_us` is None or has the means of `all` and of its parts: `find` (the engine and its profile), `memory` (of outputs and
    scratch, from TensorFlow) and `other` (shapes, addresses, copies).

    The counters. Calls:
      engine_calls: that ran in an engine.
      graph_launches: of these, that replayed a CUDA graph.
      native_fallbacks: that should have run in an engine, and ran natively; the sum of the next four.
      native_no_engine: no engine serves the shapes, and none was or may be built.
      native_engine_failed: the engine failed.
      native_input_mismatch: the inputs do not fit the node.
      native_no_backend: no library can run engines on the device.
      native_building: that ran natively while their engine is built in the background (TFTRT_BUILD); by design, no fallback.
      native_profile_generation: that recorded shapes for build(); by design.
      native_refused: that native TensorFlow refuses (an index outside of its range, say); it says why. By design.
      native_calibration: INT8 without a calibration table; by design.
      hits: that an engine was there for.
      misses: that none was there for.
      waits: of the misses, that waited for the build of another call.
    Engines:
      builds: built, or taken from the cache on disk instead.
      disk_engine_hits: of these, taken from the cache on disk.
      failures: builds that failed, and calls without an engine in a model that forbids building (allow_build_at_runtime=False).
      dropped_builds: that waited in the background and were given up for others (TFTRT_BUILD_QUEUE), or at the end of the process.
      loads: read from a saved model.
      rejected_plans: in a saved model, and of no use here.
      evictions: that made room for another.
    What there is now:
      engines: engines.
      remembered_failures: shapes for which a failed build is not tried again.
      contexts: execution contexts of the engines.
      context_waits: calls that had to wait for one of these.
      graphs: CUDA graphs of the engines.
    """
    return _library_in_use().request("stats")


def versions() -> dict:
    """The versions in play, as they truly are.

    Returns {"tftrt", "library" (its path), "tensorflow", "built_for_tensorflow", "backends": {"tensorrt": state,
    "onnxruntime": state}}. A state is {"available": True, "version", "library" (the file)}, and for TensorRT "family",
    "TensorRT" or "TensorRT-RTX"; or {"available": False, "error"}, which says what was looked for, where, and what to
    install. The stock converter is told another thing where there is no TensorRT proper: see `tftrt._frontend.API_LEVEL`.
    """
    import tensorflow as tf

    library = _library_in_use()
    answer = library.request("version")
    return {
        "tftrt": answer["version"],
        "library": str(library.path),
        "tensorflow": tf.__version__,
        "built_for_tensorflow": answer["built_for_tensorflow"],
        "backends": answer["backends"],
    }


def backend() -> str | None:
    """The backend that builds engines on this machine: "tensorrt", "onnxruntime", or None where there is neither.

    TensorRT (or TensorRT-RTX: `versions()` tells which) runs on a GPU; the ONNX Runtime backend is what a machine without
    one uses.
    """
    import tensorflow as tf

    available = {name for name, state in versions()["backends"].items() if state["available"]}
    if "tensorrt" in available and tf.config.list_physical_devices("GPU"):
        return "tensorrt"
    return "onnxruntime" if "onnxruntime" in available else None
