"""Words that this project does not use, and what to write instead. docs/contribute/style.md has the rules behind them.

    python tests/python/doc_style.py [FILE...]       # of the Markdown pages where none is named

The check skips a line with `style: allow`. To check other files (`*.rs`, `*.py`), name them: each of their lines is checked.
"""

import pathlib
import re
import sys

import doc_pages

# A regular expression, and what to write instead.
BANNED = [
    (r"\bgoes? by\b", "is found by, is keyed by, depends on"),
    (r"\b(?:is|are|be) to be had\b", "is available"),
    (r"\bdear\b", "expensive"),
    (r"\bnone of these\b", "not; name what it is"),
    (r"\btakers?\b", "consumer"),
    (r"\bhangs? on\b", "depends on"),
    (r"\bwith a word\b|\bwithout a word\b|\bsaid once\b|\btold once\b", "logs a warning, silently, logged once"),
    (r"\bis told\b|\bare told\b|\btells? (?:of|how|what|which)\b", "gets, reports, returns"),
    (r"\bsees to it\b|\bseen to it\b", "ensures"),
    (r"\bbuilt anew\b|\bmade anew\b|\banew\b", "again"),
    (r"\bbeyond,", "beyond that"),
    (r"\bnowadays\b|\bfor ever\b", "now, always"),
    (r"\blets? go of\b", "releases, destroys"),
    (r"\bso far as\b|\bas far as it\b", "if, up to"),
    (r"\bis no more\b|\bare no more\b", "is gone"),
    (r"\bbad days?\b", "faults"),
    (r"\bcame to be\b|\bcome to be\b", "is made"),
    (r"\bheld against\b", "checked against"),
    (r"\bhow far\b", "what, how much"),
    (r"\bmended\b|\bmend\b", "fixed, fix"),
    (r"\bwants? to be\b", "must be"),
    (r"\bthe house\b", "the code, the library"),
    (r"\bthe word of\b|\bits word\b|\bin words\b", "the message, the reason"),
    (r"pypi\.org|files\.pythonhosted", "PyPI, without its address"),
]

# Pages that others still change, and tables that quote the code's own messages.
EXEMPT = re.compile(r"docs/results/verification\.md|docs/deploy/security\.md|docs/reference/supported_ops\.md|docs/contribute/style\.md")


def faults_in(lines) -> list[tuple[int, str]]:
    found = []
    for number, line in lines:
        if "style: allow" in line:
            continue
        text = doc_pages.CODE.sub("code", line)
        for banned, instead in BANNED:
            if match := re.search(banned, text, re.IGNORECASE):
                found.append((number, f'"{match[0]}": write {instead}'))
    return found


def findings(page: pathlib.Path) -> list[str]:
    """The faults in a page's text and tables; its code is not checked."""
    if EXEMPT.fullmatch(doc_pages.name_of(page)):
        return []
    return [f"{doc_pages.name_of(page)}:{number}: {fault}" for number, fault in faults_in(doc_pages.text(page))]


def main(arguments: list[str]) -> int:
    found = []
    for page in map(pathlib.Path, arguments):
        lines = enumerate(page.read_text().splitlines(), 1)
        found += [f"{page}:{number}: {fault}" for number, fault in faults_in(lines)]
    for page in [] if arguments else doc_pages.pages():
        found += findings(page)
    print("\n".join(found) if found else "plain", file=sys.stderr if found else sys.stdout)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
