"""Saving into a folder so that nobody ever finds half a model there: it is written beside it, and takes its place when it is whole."""

import contextlib
import ctypes
import errno
import os
import pathlib
import shutil
import time

from tftrt.cli import paths
from tftrt.cli.progress import note

# What belongs to a SavedModel; other files of a folder that is overwritten (assets.extra with warm-up requests, say) stay.
_OF_THE_MODEL = {"assets", "variables", "saved_model.pb", "fingerprint.pb", "debug"}
_ABANDONED_SECONDS = 3600
_AT_FDCWD, _EXCHANGE = -100, 2


def _exchange(one: pathlib.Path, other: pathlib.Path) -> None:
    """Both folders change their names, at once (renameat2); OSError where the file system cannot."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, "no renameat2")
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fspath(other))


def _sweep(out: pathlib.Path) -> None:
    """Removes what killed processes left beside `out` more than an hour ago."""
    for left in out.parent.glob(f".{out.name}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _put(new: pathlib.Path, out: pathlib.Path) -> None:
    """`new` becomes `out`. Afterwards `new` is gone, or holds the old model."""
    with contextlib.suppress(OSError):
        # Where there is no such folder, or an empty one.
        os.rename(new, out)
        return
    _exchange(new, out)
    for left in new.iterdir():
        if left.name not in _OF_THE_MODEL and not (out / left.name).exists():
            os.rename(left, out / left.name)


@contextlib.contextmanager
def whole(output: str):
    """Gives a folder to save into. When the block ends well, what is in it is in `output`, in the place of the model that was there.

    The change is one rename: a process that is killed leaves the old model or the new one (and a folder `.<name>.<pid>.tmp` beside it, which a
    later call removes). Where that cannot be (no right to write beside `output`, or it is a mount point), the model is saved into `output` itself, with a
    word. After an error `output` is as it was. A folder on a file system of TensorFlow's own is written in place, too.
    """
    if paths.is_remote(output):
        note(f"{output} is written in place, so that a process that is killed may leave half of it")
        yield output
        return
    out = pathlib.Path(os.path.realpath(output))
    new = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _sweep(out)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
    except OSError as cause:
        note(f"{output} is written in place, so that a process that is killed may leave half of it: {cause}")
        yield output
        return
    try:
        yield str(new)
        try:
            _put(new, out)
        except OSError as cause:
            note(f"{output} is written file by file, so that a process that is killed may leave half of it: {cause}")
            shutil.copytree(new, out, dirs_exist_ok=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)
