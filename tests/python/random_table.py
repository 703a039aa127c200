"""The table of the steps that random_graphs.py grows its graphs by.

A step says how to choose what it takes: it gives `(inputs, function of their tensors)`, with a third entry for the name of the choice, or
None where no value fits. Whatever it draws is drawn before the function is made: the function runs several times.
"""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass
class Op:
    name: str
    propose: Callable
    weight: float
    exact: bool  # rounds nothing
    shape: bool  # reads only the shapes of what it takes


OPS: list[Op] = []


def op(weight=1.0, exact=False, shape=False):
    def add(propose):
        OPS.append(Op(propose.__name__, propose, weight, exact, shape))
        return propose

    return add
