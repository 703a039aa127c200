"""The documentation holds: its snippets run and print what they say, its links lead somewhere, its language is plain.

The test runs each fenced `python` block, and the lines of a `sh` block that begin with `python -m tftrt`. The blocks of a page share
their names and a folder. An `output` block has lines that the block before it prints (`...` stands for any text in a line). A line that
ends in `# runs in the engine` or `# runs natively` must do so; `tftrt.stats()` decides.
"""

import doctest
import os
import re
import shlex

import doc_pages
import doc_style
import model_table
import pytest
import tensorflow as tf
from doc_pages import CONTRIBUTING, README, ROOT, name_of

import tftrt
from tftrt.cli.main import main, parser

PAGES = doc_pages.pages()
WITH_SNIPPETS = [page for page in PAGES if any(block.language == "python" for block in doc_pages.blocks(page))]
# Pages with parts of Python files.
EXCERPTS = {"docs/contribute/add-an-op.md"}
RUN = [page for page in WITH_SNIPPETS if name_of(page) not in EXCERPTS]
MARK = re.compile(r"# runs (in the engine|natively)$", re.MULTILINE)
README_LINES, SENTENCE, COLUMNS = 130, 25, 140
# Pages of evidence that others still change: their lines are not wrapped yet.
UNWRAPPED = {"docs/deploy/security.md", "docs/results/verification.md"}


@pytest.fixture
def since_now(monkeypatch):
    """Makes `tftrt.stats()` count from here on, as in a new process."""
    real = tftrt.stats
    before = dict(real()["totals"])

    def stats():
        answer = real()
        answer["totals"] = {name: value - before.get(name, 0) for name, value in answer["totals"].items()}
        return answer

    monkeypatch.setattr(tftrt, "stats", stats)
    return stats


@pytest.fixture
def environment():
    """Restores the environment after a snippet."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def command_lines(block) -> list[list[str]]:
    """The arguments of each `python -m tftrt` in a block of commands. They run in this process, which has TensorFlow already."""
    lines = block.text.replace("\\\n", " ").splitlines() if block.language == "sh" else []
    return [shlex.split(line, comments=True)[3:] for line in lines if line.startswith("python -m tftrt ")]


def prints(wanted: str, printed: str) -> bool:
    """Whether these lines are among the printed ones, one behind the other."""
    count, lines = len(wanted.splitlines()), printed.splitlines()
    parts = ("\n".join(lines[at : at + count]) + "\n" for at in range(len(lines) - count + 1))
    return any(doctest.OutputChecker().check_output(wanted, part, doctest.ELLIPSIS) for part in parts)


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_snippets_run(page, tmp_path, monkeypatch, capfd, mnist, since_now, environment):
    monkeypatch.chdir(tmp_path)
    tf.keras.backend.clear_session()  # Keras numbers its names by process, too.
    names = {"__name__": "__main__"}
    printed = ""
    for block in doc_pages.blocks(page):
        where = f"{name_of(page)}:{block.line}"
        if block.language == "output":
            assert prints(block.text, printed), f"{where}: the snippet before it prints\n{printed}"
        if block.language not in ("python", "sh"):
            continue
        before = since_now()["totals"]
        capfd.readouterr()
        if block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
        for command in command_lines(block):
            assert main(command) == 0, f"{where}: {' '.join(command)}"
        printed = capfd.readouterr().out
        after = since_now()["totals"]
        for mark in set(MARK.findall(block.text)):
            if mark == "in the engine":
                assert after["engine_calls"] > before["engine_calls"], f"{where}: no call ran in an engine"
                assert after["native_fallbacks"] == before["native_fallbacks"], f"{where}: a call fell back: {tftrt.stats()['resources']}"
            else:
                native = sum(value for name, value in after.items() if name.startswith("native_"))
                assert native > sum(value for name, value in before.items() if name.startswith("native_")), f"{where}: no call ran natively"
    assert "Traceback" not in printed


def test_the_guide_and_the_start_have_snippets():
    """Only these pages may be without one."""
    without = {"docs/start/install.md", "docs/guide/old-models.md"}
    wanted = {name_of(page) for page in PAGES if name_of(page).startswith(("docs/start/", "docs/guide/"))} - without
    assert wanted - {name_of(page) for page in RUN} == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    assert doc_pages.broken(page) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_are_named_exist(page):
    """Paths of the repository in `code font`; names with a variable part and folders that a build makes are left out."""
    folders = "(?:src|tests|docs|cpp_shim|benches|examples|python|fuzz|requirements|build_support|xtask|op_defs|bazel)"
    named = {path for _, line in doc_pages.text(page) for path in re.findall(rf"`({folders}/[\w./*-]+)`", line)}
    # What running fuzzers and tests leave behind.
    made = {"fuzz/found/", "fuzz/corpus/"}
    assert [path for path in sorted(named - made) if not any(ROOT.glob(path.rstrip("/")))] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_lines_fit(page):
    if name_of(page) in UNWRAPPED:
        pytest.skip("not wrapped yet")
    long = [f"{name_of(page)}:{number}" for number, line in doc_pages.prose(page) if len(line) > COLUMNS]
    assert long == []


def test_readme_is_short():
    assert len(README.read_text().splitlines()) <= README_LINES


def test_readme_has_the_figures_of_the_benchmarks():
    """Each time in the table of speed is in docs/results/benchmarks.md, and each quotient is right."""
    (table,) = re.findall(r"(\| Latency in ms.*?)\n\n", README.read_text(), re.DOTALL)
    measured = (ROOT / "docs/results/benchmarks.md").read_text()
    for row in table.splitlines()[2:]:
        what, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        native, _, ours, ratios = ([float(number) for number in re.findall(r"[\d.]+", cell)] for cell in cells)
        numbers = [number for cell in cells[:3] for number in re.findall(r"[\d.]+", cell)]
        assert [number for number in numbers if number not in measured] == [], what
        for before, now, ratio in zip(native, ours, ratios, strict=True):
            assert abs(before / now - ratio) <= 0.05 * ratio, f"{what}: {before} / {now} is not {ratio}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_sentences_are_short(page):
    if name_of(page) in UNWRAPPED or name_of(page).startswith("docs/results/"):
        pytest.skip("evidence")
    counted = [(doc_pages.words(text), number, text) for number, text in doc_pages.sentences(page)]
    long = [f"{name_of(page)}:{number}: {count} words: {text}" for count, number, text in counted if count > SENTENCE]
    assert long == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_language_is_plain(page):
    assert doc_style.findings(page) == []


def test_dates_are_in_the_results_alone():
    dated = re.compile(r"\b20\d\d-\d\d-\d\d\b|\b\d{1,2}(?:st|nd|rd|th)?(?: of)? (?:January|February|March|April|May|June|July|August|September|October|November|December)\b")
    allowed = ("docs/results/", "CHANGELOG.md", "docs/reference/compatibility.md", "README.md")
    faults = [
        f"{name_of(page)}:{number}: {line.strip()}"
        for page in PAGES
        if not name_of(page).startswith(allowed) and name_of(page) not in UNWRAPPED
        for number, line in enumerate(page.read_text().splitlines(), 1)
        if dated.search(line)
    ]
    assert faults == []


def test_the_models_page_is_up_to_date():
    text = model_table.document(model_table.read())
    assert model_table.DOCUMENT.read_text() == text, "run python tests/python/model_table.py"


def test_the_api_page_has_every_counter():
    page = (ROOT / "docs/reference/python.md").read_text()
    counters = set(re.findall(r"^ +(\w+): ", tftrt.stats.__doc__.split("The counters.")[1], re.MULTILINE))
    assert len(counters) > 20
    assert [name for name in sorted(counters) if f"`{name}`" not in page] == []
    assert [name for name in tftrt.__all__ if f"tftrt.{name}" not in page] == []


def test_the_metrics_page_has_every_metric():
    page = (ROOT / "docs/reference/metrics.md").read_text()
    (source,) = (path.read_text() for path in (ROOT / "src").rglob("metrics.rs"))
    metrics = set(re.findall(r'(?:counter\(\s*|gauge\(\s*|name: |BUILD_SECONDS[^=]*= \()"(\w+)"', source))
    assert len(metrics) > 15
    assert [name for name in sorted(metrics) if f"`{name}`" not in page and f"`{name}{{" not in page] == []


def test_the_command_line_page_has_every_option():
    page = (ROOT / "docs/guide/cli.md").read_text()
    (commands,) = [action.choices for action in parser()._actions if action.choices]
    assert [name for name in commands if f"## `{name}`" not in page] == []
    options = {option for one in commands.values() for action in one._actions for option in action.option_strings if option.startswith("--")}
    assert [option for option in sorted(options) if f"`{option}" not in page] == []


def test_the_site_has_every_page():
    """mkdocs.yml's navigation names each page of docs/ once (and mkdocs itself refuses one that is not there)."""
    text = (ROOT / "mkdocs.yml").read_text()
    named = re.findall(r"[\w./-]+\.md", text.split("\nnav:")[1])
    assert sorted(named) == sorted(str(page.relative_to(ROOT / "docs")) for page in PAGES if page.is_relative_to(ROOT / "docs"))


def test_contributing_is_a_door():
    """docs/contribute has the content; this page has the links."""
    assert len(CONTRIBUTING.read_text().splitlines()) <= 60
