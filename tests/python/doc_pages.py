"""Reads Markdown for the tests of the documentation: blocks of code, prose, sentences, links, anchors."""

import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"

FENCE = re.compile(r"^( *)(```+|~~~+) *(\w*)")
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
CODE = re.compile(r"(`+)(.+?)\1")
# A full stop after these does not end a sentence.
SHORT = re.compile(r"\b(?:e\.g|i\.e|etc|vs|No|Mr|approx)\.$")


def pages() -> list[pathlib.Path]:
    """All Markdown pages: those in the root folder, docs/ and .github/."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md")])


def name_of(page: pathlib.Path) -> str:
    return str(page.relative_to(ROOT))


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text and the number of its first line in the page."""

    language: str
    text: str
    line: int


def _split(text: str) -> tuple[list[Block], list[tuple[int, str]]]:
    """The fenced blocks of a page, and its other lines with their numbers."""
    blocks, rest = [], []
    fence, language, inside, begun = None, "", [], 0
    for number, line in enumerate(text.splitlines(), 1):
        found = FENCE.match(line)
        if fence is None and found:
            fence, language, inside, begun = found[2], found[3], [], number + 1
        elif fence is not None and line.strip() == fence:
            blocks.append(Block(language, "\n".join(inside) + "\n", begun))
            fence = None
        elif fence is not None:
            inside.append(line)
        else:
            rest.append((number, line))
    return blocks, rest


def blocks(page: pathlib.Path) -> list[Block]:
    return _split(page.read_text())[0]


def text(page: pathlib.Path) -> list[tuple[int, str]]:
    """The lines of a page that are no code, with their numbers."""
    lines, indented, before = [], False, ""
    for number, line in _split(page.read_text())[1]:
        # Four spaces behind an empty line are code, unless a list goes on there.
        if line.startswith("    ") and (indented or not before.strip()) and not line.lstrip().startswith(("- ", "* ")):
            indented, before = True, line
            continue
        if line.strip():
            indented = False
        before = line
        lines.append((number, line))
    return lines


def prose(page: pathlib.Path) -> list[tuple[int, str]]:
    """The lines of a page's text that are no table, heading, picture or HTML; an empty line stands for each of those."""
    return [(number, "" if line.lstrip().startswith(("|", "#", "<", "![", "---")) else line) for number, line in text(page)]


def sentences(page: pathlib.Path) -> list[tuple[int, str]]:
    """The sentences of a page's prose, each with the number of the line where its paragraph begins. Code counts as one word."""
    found, paragraph, begun = [], [], 0

    def end():
        text = CODE.sub("code", " ".join(paragraph))
        text = LINK.sub(lambda link: link[0].split("](")[0].lstrip("!["), text)
        start = 0
        for stop in re.finditer(r"[.!?]+(?=[\s)\"]|$)", text):
            if SHORT.search(text[: stop.end()]):
                continue
            found.append((begun, text[start : stop.end()].strip()))
            start = stop.end()
        if text[start:].strip():
            found.append((begun, text[start:].strip()))
        paragraph.clear()

    for number, line in prose(page):
        item = re.match(r"\s*(?:[-*]|\d+\.) +", line)
        if not line.strip() or item:
            end()
            begun = number
        if line.strip():
            paragraph.append(line[item.end() if item else 0 :].strip())
    end()
    return [(number, sentence) for number, sentence in found if sentence]


def words(sentence: str) -> int:
    return len([word for word in sentence.split() if re.search(r"\w", word)])


def anchors(page: pathlib.Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    found: dict[str, int] = {}
    made = set()
    for _, line in _split(page.read_text())[1]:
        if heading := re.match(r"#+ +(.+?) *$", line):
            text = LINK.sub(lambda link: link[0].split("](")[0].lstrip("!["), heading[1])
            slug = re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")
            number = found.get(slug, 0)
            found[slug] = number + 1
            made.add(slug if number == 0 else f"{slug}-{number}")
    return made


def links(page: pathlib.Path) -> list[tuple[int, str]]:
    """The targets of a page's links, with their lines."""
    found = []
    for number, line in _split(page.read_text())[1]:
        found += [(number, link[1]) for link in LINK.finditer(CODE.sub("code", line))]
    return found


def broken(page: pathlib.Path) -> list[str]:
    """The links of a page that lead nowhere."""
    faults = []
    for number, target in links(page):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            faults.append(f"{name_of(page)}:{number}: {target}: there is no such file")
        elif anchor and file.suffix == ".md" and anchor not in anchors(file):
            faults.append(f"{name_of(page)}:{number}: {target}: the page has no such heading")
    return faults
