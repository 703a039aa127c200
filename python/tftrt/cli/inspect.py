"""`python -m tftrt inspect`: what the stored engines of a SavedModel are, and, on a GPU, what their layers are."""

import json
import pathlib

from tftrt.cli import model
from tftrt.cli.errors import CommandError

_PREFIX = "trt-serialized-engine."


def files(directory: str, node: str | None) -> list[pathlib.Path]:
    """The engine files of a SavedModel, in the order of their names; only that of `node` where it is given."""
    folder = pathlib.Path(directory)
    if not folder.is_dir():
        raise CommandError(f"{directory} is not a folder")
    found = sorted(folder.glob(f"assets/{_PREFIX}*"))
    if not found:
        raise CommandError(f"{directory} holds no engine files (assets/{_PREFIX}*): it was not converted, or saved without engines")
    if node is None:
        return found
    wanted = [file for file in found if file.name == _PREFIX + node]
    if not wanted:
        there = ", ".join(file.name.removeprefix(_PREFIX) for file in found)
        raise CommandError(f"{directory} holds no engine file of {node}; it has those of {there}")
    return wanted


def _layers(engine: dict) -> list[str]:
    if "layers" not in engine:
        return [f"  layers: {engine['layers_error']}"]
    layers = engine["layers"]
    if isinstance(layers, dict):
        layers = layers.get("Layers", [])
    if not isinstance(layers, list):
        return [f"  layers: {layers}"]
    named = [layer if isinstance(layer, str) else layer.get("Name", "?") for layer in layers]
    return [f"  {len(named)} layers:"] + [f"    {name}" for name in named]


def _plain(line: str) -> str:
    """A line without what a terminal would obey: names and versions are what a file says."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _text(name: str, engine: dict) -> list[str]:
    if "error" in engine:
        return [f"{name}: {engine['bytes']} bytes that cannot be used: {engine['error']}"]
    capability = engine["compute_capability"]
    of = f" for compute capability {capability}" if capability else ""
    lines = [f"{name}: {engine['backend']} {engine['backend_version']}{of}, {engine['payload_bytes']} bytes"]
    lines += [f"  profile {at}: {profile}" for at, profile in enumerate(engine["profiles"])]
    return lines + _layers(engine)


def run(args) -> None:
    """Prints every stored engine: who built it, for what, its profiles and layers; with --json, everything that is known."""
    found = files(args.directory, args.node)
    model.start(args.verbose, plugin=True)
    from tftrt import _api

    library = _api._library_in_use()
    told = {}
    for file in found:
        try:
            told[file.name.removeprefix(_PREFIX)] = library.request("inspect", file=str(file))["engines"]
        except RuntimeError as cause:
            raise CommandError(str(cause)) from cause
    if args.json:
        print(json.dumps(told, indent=1))
        return
    for name, engines in told.items():
        for engine in engines:
            print("\n".join(map(_plain, _text(name, engine))))
        if not engines:
            print(f"{name}: no engine was saved")
