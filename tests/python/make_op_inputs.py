"""Writes src/convert/ops/inputs.tsv: how many inputs each op with a converter takes, by TensorFlow's own OpDefs.

    python tests/python/make_op_inputs.py
"""

import pathlib

from tensorflow.python.framework import op_def_registry

import tftrt
from tftrt import _api

FILE = pathlib.Path(__file__).resolve().parents[2] / "src" / "convert" / "ops" / "inputs.tsv"
HEAD = """\
# How many inputs the ops with a converter take: the least and the most ("-" where it is any number), by TensorFlow's OpDefs.
# Made by `python tests/python/make_op_inputs.py`; test_op_inputs.py holds it against TensorFlow.
"""


# Converters of what the optimizer makes, which the library does not list.
MADE = ["PartitionedCall", "StatelessIf", "StatelessWhile"]


def limits(op: str) -> tuple[int, int | None] | None:
    """The least and the most inputs of an op; None for an op that TensorFlow does not have."""
    definition = op_def_registry.get(op)
    if definition is None:
        return None
    minimum = {attr.name: attr.minimum if attr.has_minimum else 0 for attr in definition.attr}
    lists = [arg.number_attr or arg.type_list_attr for arg in definition.input_arg]
    least = sum(minimum[name] if name else 1 for name in lists)
    return least, None if any(lists) else least


def table() -> str:
    lines = []
    for op in sorted([*_api._library_in_use().request("ops")["ops"], *MADE]):
        found = limits(op)
        if found:  # TensorFlow of a pip wheel lacks FusedConv2DBiasActivation, for one.
            lines.append(f"{op}\t{found[0]}\t{'-' if found[1] is None else found[1]}\n")
    return HEAD + "".join(lines)


if __name__ == "__main__":
    tftrt.load()
    FILE.write_text(table())
