"""Random inputs for a signature."""

import numpy as np

from tftrt.cli.errors import CommandError
from tftrt.cli.shapes import Input, Shape

# Integers are mostly indices (tokens, classes): 0 and 1 are valid for any table that has two rows.
_HIGHEST_INTEGER = 1


def random_inputs(inputs: list[Input], shapes: dict[str, Shape], seed: int = 0) -> dict[str, np.ndarray]:
    """One array per input, of its dtype and of the shape in `shapes`: reals from [0, 1), integers 0 or 1, booleans.

    Raises CommandError for a dtype that no random value stands for (strings, resources).
    """
    generator = np.random.default_rng(seed)
    made = {}
    for given in inputs:
        shape, dtype = shapes[given.name], given.dtype
        if dtype.is_floating:
            made[given.name] = generator.random(shape).astype(dtype.as_numpy_dtype)
        elif dtype.is_integer:
            made[given.name] = generator.integers(0, _HIGHEST_INTEGER, shape, endpoint=True).astype(dtype.as_numpy_dtype)
        elif dtype.is_bool:
            made[given.name] = generator.integers(0, 1, shape, endpoint=True).astype(bool)
        else:
            raise CommandError(f"the input {given} cannot be filled with random values")
    return made
