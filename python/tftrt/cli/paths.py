"""Folders of models, local or on a file system of TensorFlow's own (gs://, s3://, hdfs://)."""

import contextlib
import os
import re
import sys

from tftrt import _quiet

# As TensorFlow reads them: file:// is a local path.
_SCHEME = re.compile(r"(?!file://)[a-zA-Z][0-9a-zA-Z.+-]*://")


def is_remote(path: str) -> bool:
    """Whether only TensorFlow can read the path."""
    return _SCHEME.match(path) is not None


def _gfile():
    # Imported where a path needs it: TensorFlow takes seconds.
    with _quiet.quiet_start() if "tensorflow" not in sys.modules else contextlib.nullcontext():
        import tensorflow as tf

    return tf.io.gfile


def is_folder(path: str) -> bool:
    return _gfile().isdir(path) if is_remote(path) else os.path.isdir(path)


def is_file(path: str) -> bool:
    if is_remote(path):
        return _gfile().exists(path) and not _gfile().isdir(path)
    return os.path.isfile(path)


def exists(path: str) -> bool:
    return _gfile().exists(path) if is_remote(path) else os.path.exists(path)


def names(path: str) -> list[str]:
    """What is in a folder."""
    return _gfile().listdir(path) if is_remote(path) else os.listdir(path)


def same(one: str, other: str) -> bool:
    """Whether two paths, both of which exist, are one folder."""
    if is_remote(one) or is_remote(other):
        return one.rstrip("/") == other.rstrip("/")
    return os.path.samefile(one, other)
