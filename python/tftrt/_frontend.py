"""Revives TensorFlow's own converter, `tensorflow.python.compiler.tensorrt.trt_convert`, without touching its files.

TensorFlow 2.18 and later still ship trt_convert, but what it calls is gone: the module of the ops is an empty stub and the
native helpers answer "no TensorRT here". `revive` puts working functions in their place. Each replacement stands on one
fact about the stock code, written beside it; nothing else of TensorFlow is changed.
"""

import functools
import types

from tensorflow.python.eager import context
from tensorflow.python.saved_model import function_deserialization

from tftrt._library import Library

# What the converter is told where TensorRT itself is not there: engines are built by ONNX Runtime, or by TensorRT-RTX, whose
# versions count from 1 and would be refused as too old. trt_convert never uses TensorRT; it asks for the version to decide (a) whether it may run at all (7.0.0 and later), and (b) whether
# quantize-dequantize pairs have to survive constant folding (8.0.0 and later), which the plugin needs. So the answer is
# the level of the TF-TRT interface that the plugin offers: the newest, TensorRT 10's. `tftrt.versions()` tells what is
# really loaded.
API_LEVEL = (10, 0, 0)

_OPS = (
    "create_trt_resource_handle",
    "get_calibration_data_op",
    "initialize_trt_resource",
    "serialize_trt_resource",
    "trt_engine_op",
)


def revive(library: Library) -> None:
    """Makes the stock converter work with `library`. A second call changes nothing more.

    Raises ImportError where this TensorFlow no longer holds the parts that the converter is made of.
    """
    try:
        from tensorflow.compiler.tf2tensorrt import _pywrap_py_utils
        from tensorflow.compiler.tf2tensorrt.ops import gen_trt_ops
        from tensorflow.python.compiler.tensorrt import trt_convert
    except ImportError as cause:
        raise ImportError(f"this TensorFlow does not hold the TF-TRT converter any more: {cause}") from cause

    _answer_native_helpers(_pywrap_py_utils, library)
    _fill_ops(gen_trt_ops, library)
    _take_bools_for_enums(trt_convert)
    _accept_machines_without_gpu(trt_convert)
    _let_loaded_models_go(function_deserialization)


def _answer_native_helpers(module, library: Library) -> None:
    """trt_convert and utils.py both hold the module object and look its functions up at each call."""

    def version() -> tuple[int, int, int]:
        return reported_tensorrt_version(library.request("version")["backends"])

    # The library opens TensorRT at run time and is linked against none: whichever it has opened is the one it fits.
    module.get_linked_tensorrt_version = version
    module.get_loaded_tensorrt_version = version
    module.is_tensorrt_enabled = lambda: True
    module.get_registered_op_converters = lambda: list(library.request("ops")["ops"])


def reported_tensorrt_version(backends: dict) -> tuple[int, int, int]:
    """The version tuple that the converter is told: the loaded TensorRT's, else API_LEVEL.

    The library takes no TensorRT older than 8.6, so what is loaded is always new enough for the converter.
    """
    state = backends["tensorrt"]
    if state["available"] and state["family"] == "TensorRT":
        major, minor, patch = (int(part) for part in state["version"].split("."))
        return major, minor, patch
    return API_LEVEL


def _fill_ops(module, library: Library) -> None:
    """The stub `gen_trt_ops` gets the wrappers that TensorFlow generated when it loaded the library."""
    for name in _OPS:
        wrapper = getattr(library.ops, name, None)
        if wrapper is None:
            raise ImportError(f"{library.path} does not hold the op behind {name}")
        setattr(module, name, wrapper)


class _TolerantConfig:
    """A RewriterConfig message that takes a bool for an enum field, as 0 or 1, which is what protobuf did up to 7.33."""

    def __init__(self, message):
        object.__setattr__(self, "_message", message)

    def __getattr__(self, name):
        return getattr(self._message, name)

    def __setattr__(self, name, value):
        if isinstance(value, bool) and self._message.DESCRIPTOR.fields_by_name[name].enum_type is not None:
            value = int(value)
        setattr(self._message, name, value)


class _Stand:
    """An object as trt_convert sees it: the real one, but for the attributes given here."""

    def __init__(self, real, **instead):
        self._real = real
        self.__dict__.update(instead)

    def __getattr__(self, name):
        return getattr(self._real, name)


class _ConfigClass(_Stand):
    """The class RewriterConfig, whose instances are tolerant."""

    def __call__(self):
        return _TolerantConfig(self._real())


def _take_bools_for_enums(trt_convert) -> None:
    """protobuf 7.34 and later raise TypeError where trt_convert writes `remapping = False`, an enum field.

    A default install of TensorFlow 2.21 brings such a protobuf. The one function that does so, unmodified, then works on a
    tolerant stand-in for the message, and the message itself is handed out; where protobuf still takes the bool, nothing
    is changed. Only that function sees the stand-in: others give the message that they make to protobuf's own methods.
    """
    stock = trt_convert._get_tensorrt_rewriter_config
    if hasattr(stock, "_tftrt_stock"):
        return
    module = trt_convert.rewriter_config_pb2
    try:
        module.RewriterConfig().remapping = False
        return
    except TypeError:
        pass
    tolerant = _Stand(module, RewriterConfig=_ConfigClass(module.RewriterConfig))

    @functools.wraps(stock)
    def get_tensorrt_rewriter_config(*args, **kwargs):
        names = {**vars(trt_convert), "rewriter_config_pb2": tolerant}
        run = types.FunctionType(stock.__code__, names, stock.__name__, stock.__defaults__, stock.__closure__)
        return run(*args, **kwargs)._message

    get_tensorrt_rewriter_config._tftrt_stock = stock
    trt_convert._get_tensorrt_rewriter_config = get_tensorrt_rewriter_config


class _Placement:
    """Stands for the tensor whose `device` convert() reads, where there is no GPU."""

    def __init__(self, device: str):
        # convert() asks for "gpu" in this text, and takes "gpu:0" as "no device of my own choice": no device is then
        # written into the graph, which is what a machine without a GPU needs. The text is read, never used as a name.
        self.device = f"{device} (there is no GPU:0 here)"


class _ArrayOps(_Stand):
    """TensorFlow's array_ops as trt_convert sees it: the module itself, except for `zeros` on a machine without a GPU.

    convert() makes an empty tensor to learn the current device, and refuses to go on unless that is a GPU. With no GPU
    visible to TensorFlow the engines are built for the CPU, by ONNX Runtime. With one visible nothing changes: a
    conversion under tf.device("CPU:0") is refused as ever.
    """

    def zeros(self, *args, **kwargs):
        tensor = self._real.zeros(*args, **kwargs)
        if context.executing_eagerly() and context.num_gpus() == 0:
            return _Placement(tensor.device)
        return tensor


def _accept_machines_without_gpu(trt_convert) -> None:
    """Only trt_convert's own name `array_ops` is bound anew; everybody else keeps TensorFlow's module."""
    if not isinstance(trt_convert.array_ops, _ArrayOps):
        trt_convert.array_ops = _ArrayOps(trt_convert.array_ops)


class _LoadersOps(_Stand):
    """TensorFlow's `ops` as the loader of functions sees it: its default graph is another one each time, where nothing is traced."""

    def get_default_graph(self):
        return self._real.Graph() if self._real.executing_eagerly_outside_functions() else self._real.get_default_graph()


def _let_loaded_models_go(loader) -> None:
    """A converted model that is deleted leaves memory, weights and all.

    The stock loader adds every function that holds a TRTEngineOp to the process's default graph, which never ends, and says of itself
    that it leaks: what needed this is gone with the built-in TF-TRT. Eager programs read nothing from that graph, so they get one that
    goes with the load; programs of TensorFlow 1 load into the graph of their session, as before.
    """
    if not isinstance(loader.ops, _LoadersOps):
        loader.ops = _LoadersOps(loader.ops)
