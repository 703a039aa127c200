"""What a model of the zoo is, and what its weights are."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Model:
    """A model by name.

    `build` gives a trackable object whose attribute `function` is a tf.function over tensors of `specs` (batch open). `inputs`
    gives its arguments for a batch size and a seed. `note` is for the table: why ops stay native, where they have to.
    """

    name: str
    build: Callable[[], tf.Module]
    specs: Sequence[tf.TensorSpec]
    inputs: Callable[[int, int], list[np.ndarray]]
    note: str = ""


class Saved(tf.Module):
    """A function with the things that it captures, as something that `tf.saved_model.save` takes."""

    def __init__(self, function, *captured):
        super().__init__()
        self.captured = captured
        self.function = function


def of_keras(model, specs) -> Saved:
    """A Keras model in inference mode; more than one spec: a model of a list of inputs."""
    call = tf.function(lambda *x: model(x[0] if len(x) == 1 else list(x), training=False), input_signature=specs)
    return Saved(call, model)


def images(*shape, low=-1, high=1):
    """Images of uniform values."""
    return lambda batch, seed: [np.random.default_rng([seed, batch]).uniform(low, high, (batch, *shape)).astype(np.float32)]


# What a variable holds, by the last part of its path: (low, high), uniform. Statistics of batch norms are not the initial ones,
# and ConvNeXt's layer scale is not the initial 1e-6, with which its blocks would do nothing.
UNIFORM = {
    "gamma": (0.6, 1.2),
    "beta": (-0.2, 0.2),
    "bias": (-0.2, 0.2),
    "moving_mean": (-0.2, 0.2),
    "moving_variance": (0.7, 1.3),
}


def fill(model, seed: int = 0, gain: float = 1.6):
    """Gives every variable of a Keras model random values at which activations neither vanish nor grow; the model.

    `gain` is what a layer multiplies the variance with, before what its activation and its gates take away again.
    """
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        name, shape = variable.path.split("/")[-1], tuple(variable.shape)
        if not np.issubdtype(np.dtype(variable.dtype), np.floating):
            continue
        if name in UNIFORM:
            variable.assign(rng.uniform(*UNIFORM[name], shape))
        elif "kernel" in name:
            # Depthwise kernels end in a multiplier of 1: their outputs take one channel each.
            taken = np.prod(shape[:2]) if len(shape) == 4 and shape[3] == 1 else np.prod(shape[:-1])
            variable.assign(rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(gain / taken)))
        elif "embedding" in name:
            variable.assign(rng.normal(0, 1, shape))
        elif variable.path.endswith("layer_scale/" + name) or name == "variable":
            variable.assign(rng.uniform(0.2, 0.5, shape))
    return model
