"""`python -m tftrt stats`: the metrics of tftrt on a Prometheus page; without one, what this machine has."""

import json
import pathlib
import re
import sys
import urllib.error
import urllib.request

from tftrt.cli import model
from tftrt.cli.errors import CommandError

# TensorFlow's metric /tensorflow/tftrt/builds; Serving's page has colons for the slashes.
_LINE = re.compile(r"^:?tensorflow:tftrt:(\w+)(?:\{([^}]*)\})?\s+(\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def _page(place: str) -> str:
    if place == "-":
        return sys.stdin.read()
    if re.match(r"https?://", place):
        try:
            with urllib.request.urlopen(place, timeout=10) as answer:
                return answer.read().decode("utf-8", "replace")
        except (urllib.error.URLError, OSError) as cause:
            raise CommandError(f"{place} cannot be read: {cause}") from cause
    try:
        return pathlib.Path(place).read_text("utf-8", "replace")
    except OSError as cause:
        raise CommandError(f"{place} cannot be read: {cause.strerror}") from cause


def read(page: str) -> dict:
    """The metrics of tftrt on a Prometheus page: {name: number}, and {name: {label: number}} for those with a label.

    Of a histogram there are `name_count` and `name_sum`; its buckets are left out.
    """
    found: dict = {}
    for name, labels, value in filter(None, map(_match, page.splitlines())):
        values = [text for key, text in _LABEL.findall(labels or "") if key != "le"]
        if name.endswith("_bucket"):
            continue
        number = float(value)
        number = int(number) if number.is_integer() else number
        if values:
            found.setdefault(name, {})[values[0]] = number
        else:
            found[name] = number
    return found


def _match(line: str):
    hit = _LINE.match(line)
    return hit.groups() if hit else None


def _table(found: dict) -> list[str]:
    rows = []
    for name, value in found.items():
        rows += [(f"{name}{{{label}}}", one) for label, one in value.items()] if isinstance(value, dict) else [(name, value)]
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {value}" for name, value in rows]


def _here(args) -> dict:
    model.start(args.verbose, plugin=True)
    import tftrt
    from tftrt import _api

    metrics = _api._library_in_use().request("metrics")["metrics"]
    return {**tftrt.versions(), "backend": tftrt.backend(), "disk_cache_bytes": metrics["disk_cache_bytes"]}


def _here_lines(found: dict) -> list[str]:
    lines = [
        f"tftrt       {found['tftrt']}, built for TensorFlow {found['built_for_tensorflow']}, in {found['tensorflow']}",
        f"library     {found['library']}",
        f"engines by  {found['backend'] or 'nothing here'}",
    ]
    for name, state in found["backends"].items():
        told = f"{state['version']}, {state['library']}" if state["available"] else "not here"
        lines.append(f"{name:<11} {told}")
    return [*lines, f"disk cache  {found['disk_cache_bytes']} bytes"]


def run(args) -> None:
    """Prints the metrics of the page, or the state of this machine. Raises CommandError where the page has none of tftrt's."""
    if args.page is None:
        found = _here(args)
        print(json.dumps(found, indent=1) if args.json else "\n".join(_here_lines(found)))
        return
    found = read(_page(args.page))
    if not found:
        raise CommandError(f"{args.page} has no metrics of tftrt: its server has not loaded the library, or the page is another one")
    print(json.dumps(found, indent=1) if args.json else "\n".join(_table(found)))
