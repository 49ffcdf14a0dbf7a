"""`scichain-wf audit [RUN]`: the verdict, every kind of finding, and tasks that began and have no record.

Text of one result of `scichain_wf.audit`; nothing is judged here.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from scichain_wf.cli.locate import chain_option, find_chain, json_option
from scichain_wf.cli.output import say, say_fields, say_json, say_table
from scichain_wf.cli.reading import body, find_run, open_view, parsed
from scichain_wf.cli.verify import Meter, show, trust_options
from scichain_wf.config import load_config
from scichain_wf.model.bodies import Kind

if TYPE_CHECKING:
    from scichain_wf.audit import Result
    from scichain_wf.ledger.view import ChainView

_SHOWN: Final = 20


@click.command(epilog="Example: scichain-wf audit 0193a5")
@click.argument("run", required=False)
@chain_option
@trust_options
@json_option
def command(
    *, run: str | None, chain: Path | None, trust_root: str | None, checkpoint: Path | None, as_json: bool
) -> int:
    """Audit the whole chain with its files, or one RUN (its id, or the beginning of it) with its files.

    Besides what `verify` says: findings counted by kind, and the tasks that began and have no record of how they ended.
    Exits like `verify`.
    """
    from scichain_wf.audit import verify_files

    trust_root = trust_root or load_config(Path.cwd()).trust_root
    chain_dir = find_chain(chain)
    with open_view(chain_dir) as view:
        runs = list(view.runs()) if run is None else [find_run(view, run)]
        lost = {found.hex(): tasks for found in runs if (tasks := _without_record(view, found))}
    only = runs[0] if run is not None else None
    with Meter() as meter:
        result = verify_files(chain_dir, run=only, trust_root=trust_root, checkpoint=checkpoint, progress=meter)
    if as_json:
        say_json(result.to_json() | {"tasks_without_record": lost})
        return result.exit_code
    show(result)
    _say_kinds(result)
    _say_lost(lost)
    return result.exit_code


def _without_record(view: ChainView, run: bytes) -> list[str]:
    """Tasks whose beginning was recorded and whose end was not, with their attempt if it was not the first."""
    tasks: dict[str, set[tuple[str, int]]] = {Kind.INTENT: set(), Kind.TASK: set()}
    for kind, height, index in view.run(run):
        if kind in tasks:
            value = body(parsed(view, height, index))
            tasks[kind].add((str(value["task"]), int(str(value["attempt"]))))
    lost = sorted(tasks[Kind.INTENT] - tasks[Kind.TASK])
    return [name if attempt == 1 else f"{name} (attempt {attempt})" for name, attempt in lost]


def _say_kinds(result: Result) -> None:
    if not result.findings:
        return
    kinds = Counter((finding.id, finding.severity.value, finding.title) for finding in result.findings)
    rows = [
        [code, severity, str(number + result.dropped.get(code, 0)), title]
        for (code, severity, title), number in kinds.items()
    ]
    say("")
    say_table(["FINDING", "SEVERITY", "COUNT", "TITLE"], rows)


def _say_lost(lost: dict[str, list[str]]) -> None:
    for run, tasks in lost.items():
        say("")
        say(f"run {run[:12]}: {len(tasks)} tasks began and have no record of how they ended", "odd")
        for task in tasks[:_SHOWN]:
            say(task, indent=2)
        if len(tasks) > _SHOWN:
            say_fields([("and", f"{len(tasks) - _SHOWN} more (--json has them all)")])
