"""The syntax of --input-shapes, and its meeting with the inputs of a signature."""

import dataclasses

from tftrt.cli.errors import UsageError

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Input:
    """One input of a signature. `shape` holds None for an open dimension, and is None where even the rank is open."""

    name: str
    dtype: object
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        dims = "unknown rank" if self.shape is None else "[" + ", ".join("?" if d is None else str(d) for d in self.shape) + "]"
        return f"{self.name}: {self.dtype.name} {dims}"


def _parse_shape(text: str, where: str) -> Shape:
    if text == "scalar":
        return ()
    try:
        dims = tuple(int(part) for part in text.split("x"))
    except ValueError:
        raise UsageError(f"--input-shapes: {text!r} in {where!r} is no shape; write it like 8x28x28") from None
    if any(d < 1 for d in dims):
        raise UsageError(f"--input-shapes: {text!r} in {where!r} has a dimension below 1")
    return dims


def parse(text: str) -> list[list[tuple[str | None, Shape]]]:
    """The sets of shapes in `text`; each shape comes with the name written before it, or None. Raises UsageError."""
    sets = []
    for part in text.split(";"):
        part = part.strip()
        if not part:
            raise UsageError(f"--input-shapes: a set is empty in {text!r}")
        shapes = []
        for item in part.split(","):
            name, equals, shape = item.strip().rpartition("=")
            shapes.append((name.strip() if equals else None, _parse_shape(shape.strip(), part)))
        sets.append(shapes)
    return sets


def resolve(text: str, inputs: list[Input]) -> list[dict[str, Shape]]:
    """The sets of shapes in `text`, by input name, each complete and fitting `inputs`. Raises UsageError."""
    known = {given.name: given for given in inputs}
    sets = []
    for shapes in parse(text):
        named = [name for name, _ in shapes if name is not None]
        if named and len(named) != len(shapes):
            raise UsageError("--input-shapes: name all the inputs of a set, or none")
        if not named and len(shapes) != len(inputs):
            raise UsageError(f"--input-shapes: {len(shapes)} shapes for {len(inputs)} inputs ({', '.join(known)})")
        chosen: dict[str, Shape] = {}
        for name, (_, shape) in zip(named or known, shapes):
            if name not in known:
                raise UsageError(f"--input-shapes: the model has no input {name!r}; it has {', '.join(known)}")
            if name in chosen:
                raise UsageError(f"--input-shapes: {name!r} is given twice in one set")
            _check(known[name], shape)
            chosen[name] = shape
        missing = [name for name in known if name not in chosen]
        if missing:
            raise UsageError(f"--input-shapes: no shape for {', '.join(missing)} in a set")
        sets.append(chosen)
    return sets


def _check(given: Input, shape: Shape) -> None:
    if given.shape is None:
        return
    fits = len(shape) == len(given.shape) and all(d is None or d == s for d, s in zip(given.shape, shape))
    if not fits:
        raise UsageError(f"--input-shapes: {'x'.join(map(str, shape)) or 'scalar'} does not fit the input {given}")


def default(inputs: list[Input], batch: int) -> dict[str, Shape]:
    """The shapes of `inputs` with `batch` for an open first dimension.

    Raises UsageError, with an example of what to write, where another dimension is open.
    """
    chosen = {}
    for given in inputs:
        if given.shape is None or any(d is None for d in given.shape[1:]):
            raise UsageError(f"the input {given} has open dimensions: say which sizes, like --input-shapes {example(inputs)!r}")
        chosen[given.name] = tuple(batch if d is None else d for d in given.shape)
    return chosen


def example(inputs: list[Input]) -> str:
    """A value of --input-shapes that fits `inputs`: 1 for an open first dimension, 128 for any other."""

    def one(given: Input) -> str:
        shape = (None, None) if given.shape is None else given.shape
        dims = [str(d if d is not None else (1 if at == 0 else 128)) for at, d in enumerate(shape)]
        return "x".join(dims) or "scalar"

    if len(inputs) == 1:
        return one(inputs[0])
    return ",".join(f"{given.name}={one(given)}" for given in inputs)


def show(shapes: dict[str, Shape]) -> str:
    """`shapes` in the syntax of --input-shapes."""
    return ",".join(f"{name}={'x'.join(map(str, shape)) or 'scalar'}" for name, shape in shapes.items())
