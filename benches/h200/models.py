"""The models of the benchmark, as SavedModels: those of tests/python/models.py, with inputs that are made once.

Weights are random (seed 0). `resnet50` and `bert` are what docs/results/benchmarks.md reports; `cnn` and `mini_bert` take the same way in
seconds, for a rehearsal on a machine without a GPU.
"""

import importlib.util
import pathlib

import numpy as np
import tensorflow as tf

SEQUENCE = 128


def _of_the_tests():
    """tests/python/models.py: that module has this one's name."""
    file = pathlib.Path(__file__).resolve().parents[2] / "tests" / "python" / "models.py"
    spec = importlib.util.spec_from_file_location("models_of_the_tests", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


made = _of_the_tests()


def _image(size, channels):
    return lambda batch: {"x": np.random.default_rng(batch).random((batch, size, size, channels), np.float32)}


def _tokens(vocabulary):
    def inputs(batch):
        shape = (batch, SEQUENCE)
        ids = np.random.default_rng(batch).integers(0, vocabulary, shape, np.int32)
        return {"ids": ids, "mask": np.ones(shape, np.int32), "segs": np.zeros(shape, np.int32)}

    return inputs


# Name to: what makes the model as (function, specs), and the inputs of a batch as arrays by name.
MODELS = {
    "resnet50": (made.resnet50, _image(224, 3)),
    "bert": (made.bert, _tokens(30522)),
    "cnn": (made.digits_cnn, _image(8, 1)),
    "mini_bert": (lambda: made.bert(layers=2, hidden=64, heads=4, ffn=128, vocab=1000), _tokens(1000)),
}


def save(name: str, folder: str) -> None:
    """Writes the model as a SavedModel in FP32 with the one signature `serving_default`."""
    fn, specs = MODELS[name][0]()
    concrete = fn.get_concrete_function(*specs)
    module = tf.Module()
    # A SavedModel keeps the variables that hang on its object.
    module.variables_of_fn = list(concrete.graph.variables)
    module.fn = fn
    tf.saved_model.save(module, folder, signatures=concrete)


def inputs(name: str, batch: int) -> dict:
    """A batch of inputs by name, numpy; the same each time."""
    return MODELS[name][1](batch)


def name_of(folder: str) -> str:
    """The model's name by its folder, which is called `<name>` or `<name>_<anything>`."""
    base = pathlib.Path(folder).name
    for name in sorted(MODELS, key=len, reverse=True):
        if base == name or base.startswith((name + "_", name + "-")):
            return name
    raise ValueError(f"{folder}: the folder's name has to begin with one of {', '.join(MODELS)}")


def signature(folder: str):
    """A SavedModel's one signature as a function of keyword arguments to its one output. The model stays alive with it."""
    loaded = tf.saved_model.load(folder)
    function = loaded.signatures["serving_default"]
    (output,) = function.structured_outputs

    def call(**arguments):
        return function(**arguments)[output]

    call.model = loaded
    return call
