"""TensorFlow-TensorRT for stock TensorFlow.

`import tftrt` is all that a program needs: it loads `libtftrt.so` into TensorFlow and revives TensorFlow's own converter,
`tensorflow.python.compiler.tensorrt.trt_convert` (also known as `tf.experimental.tensorrt.Converter`), unmodified. A
program that only serves a converted model needs the import too, for the ops that the model holds.

    import tensorflow as tf
    import tftrt
    from tensorflow.python.compiler.tensorrt import trt_convert as trt

    converter = trt.TrtGraphConverterV2(input_saved_model_dir="model", use_dynamic_shape=True)
    converter.convert()
    converter.build(input_fn=lambda: iter([[batch]]))
    converter.save("converted")

`python -m tftrt --help` does the same from the command line.
"""

import sys as _sys

from tftrt._api import backend, load, stats, versions
from tftrt._library import VERSION as __version__

__all__ = ["__version__", "backend", "load", "stats", "versions"]


def _is_command_line() -> bool:
    """Whether Python imports this package only to run `python -m tftrt`.

    While it does, argv[0] is "-m". The command line then loads the library itself, once it knows that the command needs
    it: `--help` and a wrong option answer at once, and a library that cannot be loaded is one line, not a traceback.
    """
    original = getattr(_sys, "orig_argv", [])
    return _sys.argv[:1] == ["-m"] and "-m" in original and original[original.index("-m") + 1 :][:1] == ["tftrt"]


if not _is_command_line():
    load()
