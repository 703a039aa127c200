"""What a graph can say of an engine that no converter writes: each ends in the right value or in an error, and never ends the process."""

import os
import pathlib
import subprocess

import isolated
import pytest

MATRIX = pathlib.Path(__file__).with_name("contract_matrix.py")


def run(first: int, empty_file) -> tuple[list[str], int]:
    """The lines of a process that runs the cells from `first` on, and how it ended."""
    env = {**os.environ, "PYTHONPATH": isolated.python_path(), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [*isolated.python(), str(MATRIX), str(first), str(empty_file)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    return [*done.stdout.splitlines(), *([] if done.returncode == 0 else [done.stderr[-2000:]])], done.returncode


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> dict[str, tuple[str, str]]:
    """By name: what a cell should end in, and what it did end in. A cell that ended its process is followed by another process."""
    empty_file = tmp_path_factory.mktemp("matrix") / "engine"
    empty_file.touch()
    found, names, next_cell, done = {}, {}, 0, None
    while done is None:
        lines, code = run(next_cell, empty_file)
        before = next_cell
        for line in lines:
            word, _, rest = line.partition(" ")
            number, _, text = rest.partition(" ")
            if word == "BEGIN":
                names[int(number)], next_cell = text, int(number) + 1
            elif word == "END":
                expected, _, result = text.partition(" ")
                found[names[int(number)]] = (expected, result)
            elif word == "DONE":
                done = [int(number) for number in rest.split()]
        if done is None:
            assert next_cell > before, lines[-1]
            found[names[next_cell - 1]] = ("an end", f"the process ended with {code}: {lines[-1][-300:]}")
    assert len(found) == done[0]
    found["engine calls"] = (str(sum(1 for name, (_, result) in found.items() if name.startswith("segment") and result == "right")), done[1:])
    return found


def test_no_cell_ends_the_process_and_each_is_right_or_an_error(cells):
    counted = {name: cell for name, cell in cells.items() if name != "engine calls"}
    bad = {name: cell for name, cell in counted.items() if not cell[1].startswith(cell[0])}
    assert not bad, bad
    assert len(counted) > 250


def test_what_is_right_ran_on_an_engine(cells):
    right, (engine_calls, engine_failed) = cells["engine calls"]
    # Two calls each; those whose segment fits the node and whose engine was refused would be counted.
    assert engine_calls == 2 * int(right) and int(right) >= 10


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("segment two results, InT float, OutT float, hard", "gives 2 results, and the node has 1 outputs"),
        ("segment bool, InT float, OutT float, hard", "result 0 of the function is bool, and output 0 of the node is float (OutT)"),
        ("segment itself, InT float, OutT float, soft", "calls itself"),
        ("segment in turns, InT float, OutT float, hard", "calls itself"),
        ("segment missing, InT float, OutT float, soft", "no_such_function"),
        ("segment none, InT float, OutT float, soft", "no native segment"),
        ("handle none, file", "has to be one resource"),
        ("handle two, file", "has to be one resource"),
    ],
)
def test_the_error_says_what_is_wrong(cells, cell, words):
    assert words in cells[cell][1]
