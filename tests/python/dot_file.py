"""A reader of Graphviz's language, as far as drawings of graphs use it, and strict: what it takes, `dot` takes.

Follows the grammar of https://graphviz.org/doc/info/lang.html: statements of nodes, edges, attributes and subgraphs. Ports and edges
between subgraphs are left out: nothing here writes them.
"""

import dataclasses
import re

_TOKEN = re.compile(
    r"""\s+ | //[^\n]* | /\*.*?\*/ | \#[^\n]*
    | (?P<text>"(?:[^"\\]|\\.)*")
    | (?P<name>[A-Za-z_\200-\377][A-Za-z0-9_\200-\377]* | -?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?))
    | (?P<mark>->|--|[{}\[\];,=<])""",
    re.VERBOSE | re.DOTALL,
)


class DotError(ValueError):
    """The text is not Graphviz's language; the message says where."""


@dataclasses.dataclass
class Graph:
    """A graph or subgraph: its own attributes, nodes with theirs, edges with theirs, and subgraphs by name."""

    name: str
    attributes: dict = dataclasses.field(default_factory=dict)
    nodes: dict = dataclasses.field(default_factory=dict)
    edges: list = dataclasses.field(default_factory=list)
    subgraphs: dict = dataclasses.field(default_factory=dict)

    def all_nodes(self) -> dict:
        """The nodes of this graph and its subgraphs."""
        found = dict(self.nodes)
        for graph in self.subgraphs.values():
            found.update(graph.all_nodes())
        return found


def _html(text: str, at: int) -> int:
    """The end of an HTML string that begins at `at`: its angle brackets have to balance."""
    depth = 0
    for end in range(at, len(text)):
        depth += {"<": 1, ">": -1}.get(text[end], 0)
        if depth == 0:
            return end + 1
    raise DotError(f"an HTML string that begins at character {at} has no end")


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            line = text.count("\n", 0, at) + 1
            raise DotError(f"line {line}: {text[at : at + 20]!r} is no word of the language")
        at = match.end()
        if match.lastgroup == "mark" and match.group() == "<":
            at = _html(text, match.start())
            found.append(("id", text[match.start() : at]))
        elif match.lastgroup == "text":
            # Backslashes but those before a quotation mark are the label's own business.
            found.append(("id", match.group()[1:-1].replace('\\"', '"')))
        elif match.lastgroup == "name":
            found.append(("id" if match.group().lower() not in _KEYWORDS else "word", match.group()))
        elif match.lastgroup == "mark":
            found.append(("mark", match.group()))
    return found


_KEYWORDS = {"node", "edge", "graph", "digraph", "subgraph", "strict"}


class _Reader:
    def __init__(self, text: str):
        self.tokens, self.at = _tokens(text), 0

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else ("end", "")

    def take(self, kind: str, *values: str) -> str:
        found = self.peek()
        if found[0] != kind or (values and found[1] not in values):
            raise DotError(f"word {self.at}: {found[1]!r} where {' or '.join(values) or kind} was expected")
        self.at += 1
        return found[1]

    def attributes(self) -> dict:
        found = {}
        while self.peek() == ("mark", "["):
            self.take("mark", "[")
            while self.peek() != ("mark", "]"):
                name = self.take("id")
                self.take("mark", "=")
                found[name] = self.take("id")
                if self.peek() in (("mark", ","), ("mark", ";")):
                    self.at += 1
            self.take("mark", "]")
        return found

    def body(self, graph: Graph) -> Graph:
        self.take("mark", "{")
        while self.peek() != ("mark", "}"):
            self.statement(graph)
            if self.peek() == ("mark", ";"):
                self.at += 1
        self.take("mark", "}")
        return graph

    def statement(self, graph: Graph) -> None:
        kind, value = self.peek()
        if (kind, value.lower()) == ("word", "subgraph"):
            self.at += 1
            name = self.take("id")
            graph.subgraphs[name] = self.body(Graph(name))
        elif kind == "word":
            self.at += 1
            found = self.attributes()
            if value.lower() == "graph":
                graph.attributes.update(found)
        elif self.peek(1) == ("mark", "="):
            name = self.take("id")
            self.take("mark", "=")
            graph.attributes[name] = self.take("id")
        elif self.peek(1) == ("mark", "->"):
            ends = [self.take("id")]
            while self.peek() == ("mark", "->"):
                self.at += 1
                ends.append(self.take("id"))
            found = self.attributes()
            graph.edges += [(a, b, found) for a, b in zip(ends, ends[1:])]
        else:
            name = self.take("id")
            graph.nodes.setdefault(name, {}).update(self.attributes())


def read(text: str) -> Graph:
    """The directed graph in `text`. Raises DotError."""
    reader = _Reader(text)
    reader.take("word", "digraph")
    name = reader.take("id") if reader.peek()[0] == "id" else ""
    graph = reader.body(Graph(name))
    if reader.peek()[0] != "end":
        raise DotError(f"{reader.peek()[1]!r} after the graph's end")
    return graph
