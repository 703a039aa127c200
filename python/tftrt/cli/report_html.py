"""The report as one page of HTML: no script, nothing from elsewhere, and every text of the model escaped."""

from html import escape

from tftrt.cli import report_text

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #2da44e; --soft: #8882 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.15rem; margin-top: 2rem }
code, td.names, pre { font-family: ui-monospace, monospace; font-size: 0.85em; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 0.6rem; border-bottom: 1px solid var(--line) }
td.number { text-align: right }
.bar { background: var(--soft); border-radius: 4px; height: 0.8rem } .bar div { background: var(--good); border-radius: 4px; height: 100% }
details { border: 1px solid var(--line); border-radius: 6px; padding: 0.5rem 0.9rem; margin: 0.6rem 0 }
summary { cursor: pointer; font-weight: 600 }
.quiet { opacity: 0.75 }
"""


def _table(head: list[str], rows: list[list[str]]) -> str:
    """Rows of cells that are HTML already."""
    lines = ["<table>", "<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(row) + "</tr>" for row in rows]
    return "\n".join([*lines, "</table>"])


def _cell(text, kind: str = "") -> str:
    return f'<td class="{kind}">{escape(str(text))}</td>' if kind else f"<td>{escape(str(text))}</td>"


def _engine(engine: dict, converted: bool) -> str:
    size = "native segment removed" if engine["nodes"] is None else f"{engine['nodes']} nodes"
    lines = report_text.about(engine) + (report_text.stored(engine) if converted else [])
    rows = [[_cell(op), _cell(count, "number")] for op, count in sorted((engine["ops"] or {}).items(), key=lambda item: (-item[1], item[0]))]
    return "\n".join(
        [
            f"<details><summary>{escape(engine['name'])}, {escape(size)}</summary>",
            "<pre>" + escape("\n".join(lines)) + "</pre>",
            _table(["op", "nodes"], rows) if rows else "",
            "</details>",
        ]
    )


def _native(entry: dict) -> list[str]:
    more = entry["count"] - len(entry["nodes"])
    names = ", ".join(entry["nodes"]) + (f" and {more} more" if entry["nodes"] and more > 0 else "")
    return [
        _cell(entry["op"]),
        _cell(entry["count"], "number"),
        _cell(entry["reason"] or "not recorded"),
        _cell(entry["advice"] or ""),
        _cell(names, "names"),
    ]


def page(told: dict) -> str:
    """The whole page."""
    count = len(told["engines"])
    percent = told["share"]["percent"] or 0
    would = "" if told["converted"] else " in a trial conversion"
    facts = [f"inputs: {', '.join(told['inputs']) or 'none'}", f"outputs: {', '.join(told['outputs']) or 'none'}"]
    if told["asked"]:
        facts.append("asked: " + ", ".join(report_text.asked(told)))
    native = _table(["op", "nodes", "why it stays in TensorFlow", "what helps", "where"], [_native(entry) for entry in told["native"]])
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Conversion of {escape(told['model'])}</title>",
            f"<style>{_STYLE}</style></head><body>",
            f"<h1>Conversion of <code>{escape(told['model'])}</code></h1>",
            f"<p>{count} engine{'' if count == 1 else 's'}{would}, {escape(report_text.share(told))}</p>",
            f'<div class="bar"><div style="width: {float(percent):.2f}%"></div></div>',
            *(f'<p class="quiet">{escape(fact)}</p>' for fact in facts),
            "<h2>Engines</h2>",
            *(_engine(engine, told["converted"]) for engine in told["engines"]),
            "" if told["engines"] else "<p>none</p>",
            "<h2>Ops that stay in TensorFlow</h2>",
            f'<p class="quiet">{escape(report_text.SOURCES[told["reasons_from"]])}</p>',
            native if told["native"] else "<p>none</p>",
            f'<p class="quiet">tftrt {escape(told["tftrt"])}</p>',
            "</body></html>",
            "",
        ]
    )
