"""Reading a SavedModel's own description, and starting TensorFlow with or without the plugin."""

import logging
import os

from tftrt import _quiet
from tftrt.cli import paths
from tftrt.cli.errors import CommandError
from tftrt.cli.shapes import Input


def start(verbose: bool, plugin: bool):
    """Imports TensorFlow, quietly unless `verbose`, loads the plugin where `plugin`, and returns the module `tensorflow`."""

    def begin():
        import tensorflow as tf

        if plugin:
            import tftrt

            tftrt.load()
        tf.config.list_physical_devices()
        return tf

    if verbose:
        return begin()
    with _quiet.quiet_start():
        tf = begin()
    tf.get_logger().setLevel(logging.WARNING)
    return tf


def meta_graph(directory: str, tags: list[str]):
    """The MetaGraphDef of the SavedModel in `directory` with exactly these tags. Raises CommandError."""
    from tensorflow.python.saved_model import loader_impl

    if not paths.is_folder(directory):
        raise CommandError(f"{directory} is not a folder")
    if not any(paths.is_file(os.path.join(directory, name)) for name in ("saved_model.pb", "saved_model.pbtxt", "saved_model.cpb")):
        raise CommandError(f"{directory} holds no SavedModel: there is no saved_model.pb in it")
    try:
        saved = loader_impl.parse_saved_model(os.fspath(directory))
    except Exception as cause:
        raise CommandError(f"{directory} cannot be read as a SavedModel: {str(cause).splitlines()[0]}") from cause
    for graph in saved.meta_graphs:
        if set(graph.meta_info_def.tags) == set(tags):
            return graph
    there = "; ".join(", ".join(graph.meta_info_def.tags) or "(none)" for graph in saved.meta_graphs)
    raise CommandError(f"{directory} has no graph with the tags {', '.join(tags)}; it has: {there}")


def _read(infos) -> list[Input]:
    from tensorflow.python.framework import dtypes

    found = []
    for name, info in sorted(infos.items()):
        shape = None
        if not info.tensor_shape.unknown_rank:
            shape = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
        found.append(Input(name, dtypes.as_dtype(info.dtype), shape))
    return found


def signature(graph, directory: str, key: str) -> tuple[list[Input], list[Input]]:
    """Inputs and outputs of the signature `key`, sorted by name. Raises CommandError that names the signatures there are."""
    if key not in graph.signature_def:
        there = ", ".join(sorted(k for k in graph.signature_def if k != "__saved_model_init_op")) or "none"
        raise CommandError(f"{directory} has no signature {key!r}; it has: {there}")
    definition = graph.signature_def[key]
    return _read(definition.inputs), _read(definition.outputs)
