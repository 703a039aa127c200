"""What lets the GPU tests run in several processes: `--shard`, `--results` and the sum of results; each on tests of two small files."""

import argparse
import collections
import os
import pathlib
import re
import subprocess
import sys

import pytest

import shards
from isolated import python_path

HERE = pathlib.Path(__file__).resolve().parent

SINGLE = """
    import pytest

    @pytest.mark.parametrize("n", range(7))
    def test_single(n):
        pass

    @pytest.mark.gpu
    @pytest.mark.skip
    def test_another():
        pass
"""
TOGETHER = """
    import pytest

    pytestmark = pytest.mark.together

    @pytest.mark.parametrize("n", range(4))
    def test_part(n):
        pass
"""
OUTCOMES = """
    import os, signal, time
    import pytest

    @pytest.fixture
    def broken():
        raise OSError("no such thing")

    @pytest.fixture
    def untidy():
        yield
        raise OSError("cannot be put away")

    def test_passes():
        pass

    def test_fails():
        assert 1 + 1 == 3

    def test_errs(broken):
        pass

    def test_errs_at_its_end(untidy):
        pass

    def test_is_skipped():
        pytest.skip("not today")

    def test_whose_process_is_ended():
        if "END" in os.environ:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(100)

    def test_after_it():
        pass
"""


def python(*arguments, **env) -> subprocess.CompletedProcess:
    command = [sys.executable, *(["-S"] if sys.flags.no_site else []), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": python_path(), "COLUMNS": "200", **env}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def run(folder, *arguments, **env) -> subprocess.CompletedProcess:
    """pytest on the files in `folder`, with the two plugins and no conftest.py."""
    plugins = ["-p", "shards", "-p", "results", "-p", "no:cacheprovider", "-c", HERE.parent / "pytest.ini", "--rootdir", folder]
    return python("-m", "pytest", *plugins, *arguments, folder, **env)


@pytest.fixture
def folder(tmp_path):
    def write(**files):
        (tmp_path / "tests").mkdir()
        for name, code in files.items():
            (tmp_path / "tests" / f"test_{name}.py").write_text("\n".join(line[4:] for line in code.splitlines()))
        return tmp_path / "tests"

    return write


@pytest.mark.parametrize("tests, count", [(0, 3), (1, 1), (2, 5), (61, 14), (100, 7)])
def test_each_test_is_dealt_once_and_evenly(tests, count):
    dealt = shards.deal(range(tests), count)
    assert len(dealt) == count
    assert [sorted(at for at in range(tests) if at % count == k) for k in range(count)] == dealt


def test_what_belongs_together_is_dealt_as_one():
    keys = [0, "a", 1, "a", "b", 2, "a", "b", 3, 4]
    dealt = shards.deal(keys, 3)
    assert sorted(at for shard in dealt for at in shard) == list(range(len(keys)))
    # Three of "a"; two of "b", and then singles to whoever has fewest.
    assert dealt == [[1, 3, 6, 9], [4, 5, 7], [0, 2, 8]]


@pytest.mark.parametrize("count", [1, 3, 13])
@pytest.mark.parametrize("only", [[], ["-m", "not gpu", "--deselect", "test_single.py::test_single[3]"]], ids=["all", "some"])
def test_the_shards_make_up_the_selection(count, only, folder):
    tests = folder(single=SINGLE, together=TOGETHER)

    def collected(*arguments):
        done = run(tests, "--collect-only", "-q", *only, *arguments)
        found = re.findall(r"^\S+::\S+$", done.stdout, re.MULTILINE)
        # 5: no test was selected.
        assert done.returncode == (0 if found else 5), done.stdout + done.stderr
        return found

    whole = collected()
    parts = [collected("--shard", f"{k}/{count}") for k in range(1, count + 1)]
    assert len(whole) == (10 if only else 12)
    assert collections.Counter(test for part in parts for test in part) == collections.Counter(whole)
    # The order is that of the files.
    assert all(part == [test for test in whole if test in part] for part in parts)
    assert sum(any("together" in test for test in part) for part in parts) == 1
    if count == 3:
        # The group is one of the hands, and the others share the rest evenly.
        assert sorted(map(len, parts)) == ([3, 3, 4] if only else [4, 4, 4])


def test_the_shard_is_told(folder):
    tests = folder(single=SINGLE, together=TOGETHER)
    done = run(tests, "--shard", "2/3")
    assert done.returncode == 0
    assert "\nshard: 2 of 3\n" in done.stdout
    assert "collected 12 items / 8 deselected / 4 selected" in done.stdout
    assert "shard:" not in run(tests).stdout


@pytest.mark.parametrize("wrong", ["0/3", "4/3", "3", "/", "1/", "1/0", "-1/3", "a/b", "1/2/3", "1.0/2", "\u00b9/2", ""])
def test_what_is_no_shard(wrong):
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(repr(wrong))):
        shards._shard(wrong)


def test_a_wrong_shard_is_wrong_usage(folder):
    done = run(folder(single=SINGLE), "--shard=4/3")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--shard: '4/3' is not K/N with K from 1 to N" in done.stderr


def test_the_sum_of_results(folder, tmp_path):
    tests = folder(outcomes=OUTCOMES, single=SINGLE)
    files = [tmp_path / f"{k}.jsonl" for k in (1, 2)]
    for k, file in enumerate(files, 1):
        run(tests, "--shard", f"{k}/2", "--results", file)
    done = python(HERE / "results.py", *files)
    assert done.returncode == 1
    assert done.stdout == "15 tests: 10 passed, 1 failed, 2 error, 2 skipped, 0 no result\n"
    # A shard without a file.
    done = python(HERE / "results.py", *files, tmp_path / "3.jsonl")
    assert done.returncode == 1 and done.stdout.splitlines()[1].startswith(f"NO FILE {tmp_path}/3.jsonl")


def test_where_all_is_well_the_sum_succeeds(folder, tmp_path):
    run(folder(single=SINGLE), "--results", tmp_path / "file")
    done = python(HERE / "results.py", tmp_path / "file")
    assert (done.returncode, done.stdout) == (0, "8 tests: 7 passed, 0 failed, 0 error, 1 skipped, 0 no result\n")


def test_a_process_that_is_ended_leaves_its_results(folder, tmp_path):
    """And its summary, as far as it came."""
    tests = folder(outcomes=OUTCOMES)
    done = run(tests, "--results", tmp_path / "file", END="1")
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert re.search(r"^FAILED \S+::test_fails - assert", done.stdout, re.MULTILINE)
    assert "no such thing" in done.stdout
    # Killed while it wrote a line.
    with open(tmp_path / "file", "a") as file:
        file.write('{"test": "test_outc')
    done = python(HERE / "results.py", tmp_path / "file")
    assert done.returncode == 1
    total, *lost = done.stdout.splitlines()
    assert total == "7 tests: 1 passed, 1 failed, 2 error, 1 skipped, 2 no result"
    assert lost == [f"NO RESULT test_outcomes.py::{name}" for name in ("test_whose_process_is_ended", "test_after_it")]
