"""`scichain-wf completion SHELL`: what the shell needs to complete commands and options."""

from __future__ import annotations

from typing import Final

import click

from scichain_wf.cli import COMPLETE_VARIABLE, PROGRAM
from scichain_wf.cli.output import say_json

_INSTALLED: Final = {
    "bash": "~/.local/share/bash-completion/completions/scichain-wf",
    "zsh": "a file `_scichain-wf` in a directory of $fpath",
    "fish": "~/.config/fish/completions/scichain-wf.fish",
}


@click.command(epilog='Example: eval "$(scichain-wf completion bash)"')
@click.argument("shell", type=click.Choice(sorted(_INSTALLED)))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document: the script, and where it belongs.")
def command(*, shell: str, as_json: bool) -> None:
    """Print the completion script for SHELL; evaluate it, or save it where the shell looks for such scripts."""
    script = _script(shell)
    if as_json:
        say_json({"shell": shell, "script": script, "belongs_in": _INSTALLED[shell]})
    else:
        click.echo(script, nl=False)


def _script(shell: str) -> str:
    from click.shell_completion import get_completion_class

    from scichain_wf.cli.app import app

    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"this version of click does not complete for {shell}")
    # Not `source()`: for bash it would ask the installed bash for its version, which may be another host's concern.
    completion = made(app, {}, PROGRAM, COMPLETE_VARIABLE)
    return completion.source_template % completion.source_vars()
