"""pytest's `--results FILE`: what came of each test, written as it happens, so that a process that is ended leaves its results behind.

    python results.py FILE...      the sum of all files: how many passed, failed and so on, and which tests have no result

A line of the file is a JSON object: {"test": ID} for each test that is to run, then {"test", "when", "outcome", "seconds"} for each of its
phases. With the option, SIGTERM ends the session as Ctrl-C does: failures are shown, and there is a summary.
"""

import collections
import json
import pathlib
import signal
import sys


class _Writer:
    def __init__(self, file: str):
        self._file = open(file, "w", buffering=1)  # One line at a time: the next may not be written any more.

    def _write(self, **line) -> None:
        self._file.write(json.dumps(line) + "\n")

    def pytest_collection_finish(self, session) -> None:
        for item in session.items:
            self._write(test=item.nodeid)

    def pytest_runtest_logreport(self, report) -> None:
        self._write(test=report.nodeid, when=report.when, outcome=report.outcome, seconds=round(report.duration, 2))

    def pytest_unconfigure(self) -> None:
        self._file.close()


def pytest_addoption(parser) -> None:
    parser.addoption("--results", metavar="FILE", help="write what came of each test into this file, as it happens")


def pytest_configure(config) -> None:
    # Of several processes of pytest-xdist, the one that hears of all tests.
    if config.option.results and not hasattr(config, "workerinput"):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        config.pluginmanager.register(_Writer(config.option.results))


def outcomes(file: pathlib.Path) -> dict[str, str]:
    """What came of each test of one file: passed, failed, error (outside of the test's own code), skipped; or "no result"."""
    found: dict[str, str] = {}
    for text in file.read_text().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # The process was killed while it wrote its last line.
        test, when, outcome = line["test"], line.get("when"), line.get("outcome")
        if when is None:
            found.setdefault(test, "no result")
        elif outcome == "failed":
            found[test] = "failed" if when == "call" else "error"
        elif when == "call" or outcome == "skipped":
            found[test] = outcome
    return found


def main(files: list[str]) -> int:
    """Prints the sum. 1 where not every test passed or was skipped, or a file is missing."""
    found: dict[str, str] = {}
    missing = [file for file in files if not pathlib.Path(file).is_file()]
    for file in files:
        if file not in missing:
            found |= outcomes(pathlib.Path(file))
    counted = collections.Counter(found.values())
    said = [f"{counted[kind]} {kind}" for kind in ("passed", "failed", "error", "skipped", "no result")]
    print(f"{len(found)} tests: {', '.join(said)}")
    for test, outcome in found.items():
        if outcome == "no result":
            print(f"NO RESULT {test}")
    for file in missing:
        print(f"NO FILE {file}: the process ended before it had its tests")
    return 0 if not missing and counted["passed"] + counted["skipped"] == len(found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
