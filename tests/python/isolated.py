"""What a fresh Python process of a test is given."""

import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent


def python_path() -> str:
    """PYTHONPATH with the folder of the tests in front of what is there: with another TensorFlow the package itself is found by it."""
    return os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])


def python() -> list[str]:
    """The command of this Python; without the packages of its machine where this process is without them."""
    return [sys.executable, *(["-S"] if sys.flags.no_site else [])]
