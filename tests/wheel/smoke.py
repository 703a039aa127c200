"""A converted model beside the native one, with whatever `tftrt` and TensorFlow this Python has installed.

Usage: python tests/wheel/smoke.py [FOLDER that the package has to lie in]

`cargo xtask wheel` runs it with an installed wheel, outside of the checkout. It prints one line and exits with 0 where all is
right. It needs nothing but TensorFlow, tftrt and ONNX Runtime.
"""
import importlib.metadata
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
import tftrt  # The one line that a program needs.
from tensorflow.python.compiler.tensorrt import trt_convert as trt


class Network(tf.Module):
    """A convolution, a pooling and a dense layer with random weights: [n, 16, 16, 3] to [n, 10]."""

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(0)
        self.kernel = tf.Variable(random.standard_normal((3, 3, 3, 8)).astype(np.float32) / 5)
        self.weights = tf.Variable(random.standard_normal((8 * 8 * 8, 10)).astype(np.float32) / 20)
        self.bias = tf.Variable(random.standard_normal(10).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 16, 16, 3], tf.float32, name="x")])
    def __call__(self, x):
        x = tf.nn.relu(tf.nn.conv2d(x, self.kernel, 1, "SAME"))
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        return {"y": tf.nn.softmax(tf.matmul(tf.reshape(x, [-1, 8 * 8 * 8]), self.weights) + self.bias)}


def installed_as_promised(folder: str) -> None:
    """The package and its library come out of `folder`, and its requirement holds for this TensorFlow."""
    library = pathlib.Path(tftrt.versions()["library"])
    package = pathlib.Path(tftrt.__file__).resolve().parent
    assert package.is_relative_to(pathlib.Path(folder).resolve()), f"{package} is not in {folder}"
    assert library == package / "libtftrt.so", library
    major, minor = tf.__version__.split(".")[:2]
    wanted = f"tensorflow>={major}.{minor},<{major}.{int(minor) + 1}"
    assert wanted in importlib.metadata.requires("tftrt"), importlib.metadata.requires("tftrt")
    assert tftrt.backend() == "onnxruntime" or tf.config.list_physical_devices("GPU"), tftrt.versions()


def main() -> None:
    if len(sys.argv) > 1:
        installed_as_promised(sys.argv[1])
    network = Network()
    images = np.random.default_rng(1).standard_normal((8, 16, 16, 3)).astype(np.float32)
    native = network(tf.constant(images))["y"].numpy()
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(network, f"{folder}/native")
        converter = trt.TrtGraphConverterV2(input_saved_model_dir=f"{folder}/native", use_dynamic_shape=True)
        converter.convert()
        converter.build(input_fn=lambda: iter([[images], [images[:1]]]))
        converter.save(f"{folder}/converted")
        before = tftrt.stats()["totals"]
        # The loaded object owns the engines: the signature alone does not keep them.
        loaded = tf.saved_model.load(f"{folder}/converted")
        for batch in (8, 3, 1):
            got = loaded.signatures["serving_default"](x=tf.constant(images[:batch]))["y"].numpy()
            np.testing.assert_allclose(got, native[:batch], rtol=1e-4, atol=1e-5)
        after = tftrt.stats()["totals"]
    calls, fallbacks = (after[name] - before[name] for name in ("engine_calls", "native_fallbacks"))
    assert (calls, fallbacks) == (3, 0), (calls, fallbacks)
    found = tftrt.versions()
    backend = found["backends"][tftrt.backend()]
    print(
        f"smoke test passed: TensorFlow {tf.__version__}, a library for {found['built_for_tensorflow']}, "
        f"{tftrt.backend()} {backend['version']}, {calls} engine calls, no fallback"
    )


main()
