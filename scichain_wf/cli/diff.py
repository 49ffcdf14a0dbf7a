"""`scichain-wf diff RUN RUN`: which tasks differ, why, and which ought not to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from scichain_wf.cli.locate import chain_option, find_chain, json_option
from scichain_wf.cli.output import say, say_fields, say_json
from scichain_wf.cli.reading import run_named

if TYPE_CHECKING:
    from scichain_wf.audit.difference import TaskDifference

_SHOWN: Final = 50


@click.command(epilog="Example: scichain-wf diff 0193a5 0193b7")
@click.argument("before")
@click.argument("after")
@chain_option
@json_option
def command(*, before: str, after: str, chain: Path | None, as_json: bool) -> None:
    """Compare run AFTER with run BEFORE, task by task.

    A run is named by its id, the beginning of it, or a file that it made. Nothing is verified; `verify` does that.
    """
    from scichain_wf.audit.difference import compare_runs
    from scichain_wf.ledger.isolate import isolated
    from scichain_wf.ledger.layout import ChainLayout

    chain_dir = find_chain(chain, after)
    runs = run_named(chain_dir, before), run_named(chain_dir, after)
    found = isolated(compare_runs, ChainLayout(chain_dir).live_ledger(), None, *runs)
    if as_json:
        say_json(found.to_json())
        return
    hashed = f" ({found.unhashed} of them as far as was hashed)" if found.unhashed else ""
    say(f"{found.same} tasks are the same{hashed}", "good" if not found.unstable else None)
    _say_tasks("tasks with the same inputs, parameters and code made other outputs", found.unstable, "bad")
    _say_tasks("tasks changed", found.changed, "odd")
    for what, tasks in (("only in the first run", found.only_before), ("only in the second run", found.only_after)):
        if tasks:
            say(f"{len(tasks)} tasks {what}", "odd")
            _say_list(tasks)


def _say_tasks(what: str, tasks: list[TaskDifference], style: str) -> None:
    if not tasks:
        return
    say(f"{len(tasks)} {what}", style)
    for task in tasks[:_SHOWN]:
        say(task.task, indent=2)
        fields = [("changed", ", ".join(task.changed)), ("inputs", _few(task.inputs)), ("outputs", _few(task.outputs))]
        say_fields(fields, indent=6)
    _say_hidden(tasks)


def _few(uris: list[str]) -> str:
    return ", ".join(uris[:5]) + (f" and {len(uris) - 5} more" if len(uris) > 5 else "")


def _say_list(names: list[str]) -> None:
    for name in names[:_SHOWN]:
        say(name, indent=2)
    _say_hidden(names)


def _say_hidden(items: list[str] | list[TaskDifference]) -> None:
    if len(items) > _SHOWN:
        say(f"and {len(items) - _SHOWN} more (--json has them all)", indent=2)
