"""What a fresh Python process of a test is given."""

import os
import pathlib

HERE = pathlib.Path(__file__).resolve().parent


def python_path() -> str:
    """PYTHONPATH with the folder of the tests in front of what is there: with another TensorFlow the package itself is found by it."""
    return os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
