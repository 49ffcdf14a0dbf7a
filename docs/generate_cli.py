"""Write docs/reference/cli.md from the commands' own help.

`python docs/generate_cli.py` writes it; with `--check` it writes nothing and exits 1 where it is not current.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click
from pages import keep

from scichain_wf.cli import PROGRAM
from scichain_wf.cli.app import app

PAGE: Final = Path(__file__).parent / "reference" / "cli.md"
_ELSEWHERE: Final = {"sim": "[Simulate a cluster](../how-to/simulate.md) tells all of its options."}
_HEAD: Final = """\
# Commands

What `--help` says of each command. Results go to standard output, progress and messages to standard error; with
`--json` a result is one JSON document. Colour is for terminals, and not with `NO_COLOR` set. The
[exit codes](exit-codes.md) are the same everywhere, [configuration](configuration.md) stands behind every `--chain`.
"""


def page() -> str:
    """The page's text."""
    lines = [_HEAD]
    context = app.make_context(PROGRAM, [], resilient_parsing=True)
    for name in app.list_commands(context):
        command = app.get_command(context, name)
        if command is not None:
            lines += [f"## {PROGRAM} {name}", "", *_described(command, context, name)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _described(command: click.Command, parent: click.Context, name: str) -> list[str]:
    if name in _ELSEWHERE:
        return [_ELSEWHERE[name], ""]
    context = click.Context(command, info_name=name, parent=parent, terminal_width=100, max_content_width=100)
    if not isinstance(command, click.Group):
        return ["```text", command.get_help(context), "```", ""]
    lines = []
    for inner in command.list_commands(context):
        found = command.get_command(context, inner)
        if found is not None:
            lines += _described(found, context, inner)
    return lines


if __name__ == "__main__":
    sys.exit(keep(PAGE, page()))
