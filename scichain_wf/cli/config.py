"""`scichain-wf config show`: what is configured here, and where."""

from __future__ import annotations

from pathlib import Path

import click

from scichain_wf.cli.locate import json_option
from scichain_wf.cli.output import say_json, say_table
from scichain_wf.config import SETTINGS, load


@click.group(name="config", epilog="Example: scichain-wf config show --origin")
def command() -> None:
    """Show what is configured: show."""


@command.command("show", epilog="Example: scichain-wf config show --origin")
@click.option("--origin", is_flag=True, help="Say where each value comes from: flag, variable, file and line, default.")
@json_option
def show(*, origin: bool, as_json: bool) -> None:
    """Show every setting that holds in this directory."""
    loaded = load(Path.cwd())
    shown = {setting.name: getattr(loaded.config, setting.name) for setting in SETTINGS}
    shown = {name: str(value) if isinstance(value, Path) else value for name, value in shown.items()}
    if as_json:
        say_json({name: {"value": value, "origin": loaded.origins[name]} for name, value in shown.items()})
        return
    rows = [[name, _text(value), loaded.origins[name]] for name, value in shown.items()]
    columns = 3 if origin else 2
    say_table(["SETTING", "VALUE", "ORIGIN"][:columns], [row[:columns] for row in rows])


def _text(value: object) -> str:
    if isinstance(value, tuple):
        value = ", ".join(value) or None
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
