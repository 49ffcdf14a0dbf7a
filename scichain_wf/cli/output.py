"""How commands speak: results on standard output (text or JSON), everything else on standard error.

Names of files, tasks and hosts come from workflows and are hostile input: nothing is printed before control
characters are escaped, so no name can move a cursor, set a colour or begin a line. Colour only on a terminal and not
with NO_COLOR set.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

import click

_STYLES: Final = {"good": {"fg": "green", "bold": True}, "bad": {"fg": "red", "bold": True}, "odd": {"fg": "yellow"}}


def escaped(text: str) -> str:
    """`text` on one line, with everything a terminal would obey shown as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def complain(text: str) -> None:
    """One line about trouble, on standard error."""
    with suppress(OSError, ValueError, AttributeError):  # nobody listens, its disk is full, or there is no such thing
        sys.stderr.write(f"scichain-wf: {escaped(text)}\n")


def say(text: str, style: str | None = None, indent: int = 0) -> None:
    """One line of a result."""
    shown = " " * indent + escaped(text)
    if style is not None and coloured():
        shown = click.style(shown, **_STYLES[style])  # type: ignore[arg-type]
    _write(shown + "\n")


def say_fields(fields: Iterable[tuple[str, str]], indent: int = 2) -> None:
    """Aligned `name value` lines; what is empty is left out."""
    shown = [(name, value) for name, value in fields if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        say(f"{name:<{width}}  {value}", indent=indent)


def json_text(value: object) -> str:
    """One document, keys sorted, in ASCII."""
    import json

    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def say_json(value: object) -> None:
    """A result as JSON."""
    _write(json_text(value))


def say_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows under headings; nothing is wrapped or cut, so that it can be piped."""
    table = [[escaped(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(headings))]
    for row in table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        _write(line.rstrip() + "\n")


def coloured() -> bool:
    """Whether standard output is a terminal that may be coloured."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _write(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
