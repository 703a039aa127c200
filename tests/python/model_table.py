"""The checked-in table of whole models, `model_table.txt`, and its copy in docs/reference/models.md.

    TFTRT_WRITE_MODEL_TABLE=1 cargo xtask test -k model_table

converts all models and writes both anew (with a narrower `-k`, the rows of the models that ran); `python tests/python/model_table.py` writes
docs/reference/models.md from the table as it stands.
"""

import dataclasses
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
TABLE = HERE / "model_table.txt"
DOCUMENT = HERE.parents[1] / "docs" / "reference" / "models.md"
WRITE = "TFTRT_WRITE_MODEL_TABLE"

# In percent of the ops: TensorFlow's own passes do not always leave the same number of nodes of a loop.
TOLERANCE = 1.0

HEAD = f"""\
# What becomes of whole models: see docs/reference/models.md. Written by {WRITE}=1 cargo xtask test -k model_table
# model | ops | converted | share | engines | transposes inside | entering | leaving | stays native | why
"""

INTRODUCTION = f"""\
# Whole models

What the converter makes of each model in `tests/python/model_zoo`, with `use_dynamic_shape=True` and a `minimum_segment_size` of 3.
`tests/python/test_model_table.py` converts each model with the stock `TrtGraphConverterV2`, runs it at two batch sizes on the CPU
backend, and compares the results with native TensorFlow. It fails if a row of this table has become worse: fewer ops in engines, more
engines, more transposes. It also fails if a row has become better and the table does not say so. This command writes the page:

    {WRITE}=1 cargo xtask test -k model_table

- Ops: nodes of the graph after TensorFlow's own passes. Not counted: constants, placeholders, nodes that do nothing (Identity, NoOp).
- Transposes: nodes of the engines' ONNX models that change between NHWC and NCHW. Inside: between two operations on images
  (convolutions, pools, batch norms, resizes). Entering, leaving: at the engine's boundary.

"""


@dataclasses.dataclass(frozen=True)
class Row:
    """What became of one model."""

    model: str
    ops: int
    converted: int
    engines: int
    inside: int
    entering: int
    leaving: int
    # Op types outside the engines, with their counts.
    native: str
    why: str

    @property
    def part(self) -> float:
        return 100 * self.converted / self.ops

    @property
    def share(self) -> str:
        return f"{self.part:.1f} %"

    @property
    def native_types(self) -> set[str]:
        return {entry.split()[-1] for entry in self.native.split(", ") if entry}

    def cells(self) -> list[str]:
        fields = [self.model, self.ops, self.converted, self.share, self.engines, self.inside, self.entering, self.leaving]
        return [*map(str, fields), self.native or "-", self.why or "-"]

    def worse(self, known: "Row") -> list[str]:
        """In what this row is worse than the known one, in words."""
        found = []
        if self.part < known.part - TOLERANCE:
            found.append(f"{self.converted} of {self.ops} ops are converted, and it was {known.converted} of {known.ops}")
        if more := self.native_types - known.native_types:
            found.append(f"these ops stay native now: {', '.join(sorted(more))}")
        for name in ("engines", "inside", "entering", "leaving"):
            now, then = getattr(self, name), getattr(known, name)
            if now > then:
                found.append(f"{name}: {now}, and it was {then}")
        return found

    def differs(self, known: "Row") -> bool:
        """Whether this row is not what the known one says, in anything but the last few ops."""
        return known.worse(self) != [] or self.why != known.why


def read() -> dict[str, Row]:
    rows = {}
    for line in TABLE.read_text().splitlines() if TABLE.exists() else []:
        if line.startswith("#"):
            continue
        model, ops, converted, _, engines, inside, entering, leaving, native, why = (cell.strip() for cell in line.split("|"))
        numbers = map(int, (ops, converted, engines, inside, entering, leaving))
        rows[model] = Row(model, *numbers, "" if native == "-" else native, "" if why == "-" else why)
    return rows


def document(rows: dict[str, Row]) -> str:
    titles = ["Model", "Ops", "Converted", "Share", "Engines", "Inside", "Entering", "Leaving", "Stays native", "Why"]
    lines = ["| " + " | ".join(titles) + " |", "| --- " + "| ---: " * 7 + "| --- | --- |"]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows.values()]
    return INTRODUCTION + "\n".join(lines) + "\n"


def write(rows: dict[str, Row], names: list[str]) -> None:
    """Writes the table and the page, in the order of `names`; rows of other models go."""
    rows = {name: rows[name] for name in names if name in rows}
    cells = [row.cells() for row in rows.values()]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
    TABLE.write_text(HEAD + "\n".join(lines) + "\n")
    DOCUMENT.write_text(document(rows))


if __name__ == "__main__":
    DOCUMENT.write_text(document(read()))
