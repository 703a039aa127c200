"""pytest's `--shard K/N`: the K-th of N parts of the tests that are selected, for N processes at once.

Tests are dealt like cards, each to the shard that has fewest so far: neighbours, which are often alike in what they cost, come into
different shards. The tests of a file that carry the marker `together` share something that is expensive to make; they are dealt first,
as one.
"""

import argparse
from collections.abc import Hashable, Sequence

import pytest


def deal(keys: Sequence[Hashable], shards: int) -> list[list[int]]:
    """The indices of `keys` in `shards` lists. Equal keys stay together, and each list is in order."""
    units: dict[Hashable, list[int]] = {}
    for at, key in enumerate(keys):
        units.setdefault(key, []).append(at)
    dealt: list[list[int]] = [[] for _ in range(shards)]
    # The largest first, so that what comes last can even out. Sorting keeps the order of equals, and min() takes the first.
    for unit in sorted(units.values(), key=len, reverse=True):
        min(dealt, key=len).extend(unit)
    return [sorted(shard) for shard in dealt]


def _shard(text: str) -> tuple[int, int]:
    which, slash, count = text.partition("/")
    if not (slash and all(part.isascii() and part.isdecimal() for part in (which, count)) and 1 <= int(which) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not K/N with K from 1 to N, like 3/14")
    return int(which), int(count)


def pytest_addoption(parser) -> None:
    parser.addoption("--shard", type=_shard, metavar="K/N", help="run the K-th of N parts of the selected tests")


def pytest_report_header(config):
    if config.option.shard:
        which, count = config.option.shard
        return f"shard: {which} of {count}"
    return None


# Last: what -k and -m leave out is out by now, and each shard has its part of the rest.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items) -> None:
    if not config.option.shard:
        return
    which, count = config.option.shard
    keys = [("file", item.path) if item.get_closest_marker("together") else ("test", at) for at, item in enumerate(items)]
    mine = set(deal(keys, count)[which - 1])
    config.hook.pytest_deselected(items=[item for at, item in enumerate(items) if at not in mine])
    items[:] = [item for at, item in enumerate(items) if at in mine]
