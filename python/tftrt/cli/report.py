"""`python -m tftrt report`: what was converted, what was not and why, what is stored; as text, JSON or a page of HTML."""

import json
import os
import pathlib

from tftrt.cli import model, report_html, report_model, report_text
from tftrt.cli.errors import CommandError, UsageError
from tftrt.cli.progress import note


def _write(file: str, page: str) -> None:
    """All or nothing: a reader never sees half a page."""
    target = pathlib.Path(file)
    if target.is_dir():
        raise UsageError(f"{file} is a folder; --html wants a file")
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(page, encoding="utf-8")
        os.replace(beside, target)
    except OSError as cause:
        beside.unlink(missing_ok=True)
        raise CommandError(f"{file} cannot be written: {cause.strerror or cause}") from cause


def run(args) -> None:
    """Prints the report as text, or with --json as JSON; with --html, writes it as a page, too."""
    tags = args.tag or ["serve"]
    model.start(args.verbose, plugin=True)
    told = report_model.gather(args.directory, tags, args.signature)
    if args.html:
        _write(args.html, report_html.page(told))
        note(f"{args.html} is written")
    if args.json:
        print(json.dumps(told, indent=1))
    elif not args.html:
        print(report_text.text(told))
