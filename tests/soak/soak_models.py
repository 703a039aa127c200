"""The three models of the soak: what they compute, the shapes they are asked for, and how they are converted.

Small on purpose: a soak is about calls, builds and reloads, and these should come often.
"""

import dataclasses
import random

import numpy as np
import tensorflow as tf


def weight(seed: int, *shape: int) -> tf.Variable:
    """A float32 variable of deviation 1 / sqrt(fan-in), the same for the same seed."""
    values = np.random.default_rng(seed).standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))
    return tf.Variable(values.astype(np.float32))


class Images(tf.Module):
    """A convolution net: float32 [N, H, W, 3] to [N, 10], height and width open."""

    def __init__(self):
        super().__init__()
        self.first, self.second = weight(1, 3, 3, 3, 16), weight(2, 3, 3, 16, 32)
        self.depth, self.dense = weight(3, 3, 3, 16, 1), weight(4, 32, 10)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, name="x")])
    def __call__(self, x):
        x = tf.nn.relu(tf.nn.conv2d(x, self.first, 1, "SAME"))
        x = tf.nn.relu(tf.nn.depthwise_conv2d(x, self.depth, [1, 1, 1, 1], "SAME"))
        x = tf.nn.max_pool2d(x, 2, 2, "SAME")
        x = tf.nn.relu(tf.nn.conv2d(x, self.second, 2, "SAME"))
        return {"y": tf.nn.softmax(tf.matmul(tf.reduce_mean(x, [1, 2]), self.dense))}


class Attention(tf.Module):
    """One block of dense layers and attention with two heads: float32 [N, S, 32] to the same, the length S open."""

    def __init__(self):
        super().__init__()
        self.heads = [[weight(10 * head + part, 32, 16) for part in range(3)] for head in (1, 2)]
        self.joined, self.up, self.down = weight(5, 32, 32), weight(6, 32, 64), weight(7, 64, 32)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 32], tf.float32, name="x")])
    def __call__(self, x):
        seen = []
        for query, key, value in self.heads:
            scores = tf.matmul(tf.matmul(x, query), tf.matmul(x, key), transpose_b=True) * 0.25
            seen.append(tf.matmul(tf.nn.softmax(scores), tf.matmul(x, value)))
        x = x + tf.matmul(tf.concat(seen, -1), self.joined)
        mean = tf.reduce_mean(x, -1, keepdims=True)
        x = (x - mean) * tf.math.rsqrt(tf.reduce_mean(tf.math.squared_difference(x, mean), -1, keepdims=True) + 1e-6)
        return {"y": x + tf.matmul(tf.nn.relu(tf.matmul(x, self.up)), self.down)}


class Words(tf.Module):
    """Embeddings, and an output whose shape is an input's value: int32 ids [N, S] and int32 size [2] to float32 of that size."""

    def __init__(self):
        super().__init__()
        self.table, self.dense = weight(8, 50, 8), weight(9, 8, 8)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, name="ids"), tf.TensorSpec([2], tf.int32, name="size")])
    def __call__(self, ids, size):
        x = tf.matmul(tf.gather(self.table, ids), self.dense)
        return {"y": tf.nn.relu(tf.reshape(x + 0.1, size)) * 2.0}


@dataclasses.dataclass
class Request:
    """Inputs by name, and native TensorFlow's answer to them."""

    inputs: dict
    expected: np.ndarray | None = None


@dataclasses.dataclass
class Kind:
    """A model of the soak.

    dynamic: `use_dynamic_shape`: one engine of fixed profiles; else an engine for each shape, at most two at a time.
    shapes: requests for each shape that comes; more shapes than engines, so that engines are evicted.
    outside: requests that no profile holds; they run natively and are counted as `native_no_engine`. Empty where shapes get engines.
    build: what build() is called with.
    """

    name: str
    module: type
    dynamic: bool
    shapes: list[list[Request]]
    outside: list[Request]
    build: list[list]

    def choose(self, chance: random.Random, common: int) -> tuple[Request, bool]:
        """A random request, and whether it lies outside the profiles. One shape of the two that are `common` now, 19 times of 20."""
        if self.outside and chance.random() < 0.03:
            return chance.choice(self.outside), True
        often = chance.random() < 0.95
        shape = (common + chance.randrange(2)) % len(self.shapes) if often else chance.randrange(len(self.shapes))
        return chance.choice(self.shapes[shape]), False

    def requests(self) -> list[Request]:
        return [request for of_shape in self.shapes for request in of_shape] + self.outside


ENGINES = 2


def images() -> Kind:
    def one(n, h, w):
        return Request({"x": np.random.default_rng((n, h, w)).standard_normal((n, h, w, 3)).astype(np.float32)})

    sizes = [(12, 12), (16, 12), (16, 16), (20, 16), (24, 24), (9, 15)]
    shapes = [[one(n, h, w) for n in (1, 2, 4)] for h, w in sizes]
    return Kind("images", Images, False, shapes, [], [[shapes[0][2].inputs["x"]]])


def attention() -> Kind:
    def one(n, s):
        return Request({"x": np.random.default_rng((n, s)).standard_normal((n, s, 32)).astype(np.float32)})

    shapes = [[one(n, s) for n in (1, 3, 8)] for s in (1, 4, 7, 12, 16, 20)]
    return Kind("attention", Attention, False, shapes, [], [[shapes[1][2].inputs["x"]]])


def words() -> Kind:
    def one(n, s, seed=0):
        ids = np.random.default_rng((n, s, seed)).integers(0, 50, (n, s), np.int32)
        # Always of eight columns: TensorRT wants each corner of a profile to be a call that could be, and a Range has its corners from all.
        return Request({"ids": ids, "size": np.array([n * s, 8], np.int32)})

    shapes = [[one(n, s, seed) for seed in (0, 1)] for n in (1, 2, 4) for s in (2, 4, 8)]
    outside = [one(n, s) for n, s in ((6, 4), (1, 12), (7, 10))]
    # Range: one profile from the least to the largest, of shapes and of the values of `size`.
    low, high = one(1, 2).inputs, one(4, 8).inputs
    return Kind("words", Words, True, shapes, outside, [[each["ids"], each["size"]] for each in (low, high)])


def prepare(kind: Kind, folder: str) -> tuple[str, str]:
    """Saves the model of `kind`, natively and converted, below `folder`; computes what is expected. Returns both folders."""
    from tensorflow.python.compiler.tensorrt import trt_convert as trt

    native, converted = f"{folder}/{kind.name}-native", f"{folder}/{kind.name}-converted"
    tf.saved_model.save(kind.module(), native)
    model = tf.saved_model.load(native)
    for request in kind.requests():
        request.inputs = {name: tf.constant(value) for name, value in request.inputs.items()}
        request.expected = model.signatures["serving_default"](**request.inputs)["y"].numpy()
    converter = trt.TrtGraphConverterV2(
        input_saved_model_dir=native, use_dynamic_shape=kind.dynamic, maximum_cached_engines=ENGINES, max_workspace_size_bytes=64 << 20
    )
    converter.convert()
    converter.build(input_fn=lambda: iter(kind.build))
    converter.save(converted)
    return native, converted
