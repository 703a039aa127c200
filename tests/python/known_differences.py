"""Tests that are known to differ with another TensorFlow than 2.21: tensorflow_differs.txt, one test a line, each with its reason.

A test of the list is run and has to fail: one that passes again fails the run, so that the list stays true.
"""

import fnmatch
import pathlib

import pytest
import tensorflow as tf

FILE = pathlib.Path(__file__).with_name("tensorflow_differs.txt")


def read(text: str, version: str) -> list[tuple[str, str]]:
    """(pattern of test ids, reason) for the line of releases of TensorFlow `version`.

    A line is `2.18 2.19: test_file.py::test_name[*]: reason`; `*` in it stands for anything. What begins with # is a comment.
    """
    line = ".".join(version.split(".")[:2])
    found = []
    for number, row in enumerate(text.splitlines(), 1):
        if not row.strip() or row.startswith("#"):
            continue
        parts = row.split(": ", 2)
        if len(parts) != 3 or not parts[2].strip():
            raise ValueError(f"{FILE.name}, line {number}: expected `versions: test: reason`")
        if line in parts[0].split():
            found.append((parts[1].strip(), parts[2].strip()))
    return found


def pytest_collection_modifyitems(items):
    known = read(FILE.read_text(), tf.__version__)
    for item in items:
        name = item.nodeid.rpartition("/")[2]
        for pattern, reason in known:
            # Brackets are part of a test's id, and no set of letters.
            if fnmatch.fnmatchcase(name, pattern.replace("[", "[[]")):
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
