"""Keeps TensorFlow's start-up lines off the terminal."""

import contextlib
import os
import sys
import tempfile


@contextlib.contextmanager
def quiet_start():
    """Holds back what native code writes to stderr inside the block, and gives it out after all if the block fails
    (but for an ImportError, whose own message says all).

    TensorFlow writes a dozen lines while it is imported, before its log level is read. The block is for the import and
    the first look at the devices only. After it, errors are shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        except ImportError:
            failed = False
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            if failed:
                held.seek(0)
                os.write(2, held.read())
