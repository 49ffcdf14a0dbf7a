"""What the report's script works on: the account in columns, as small as plain JSON gets.

Columns of numbers that mostly grow are differences from row to row, and a column of one value is that value alone:
100,000 tasks with their files stay below 15 MB. `report.js` undoes both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

from scichain_wf.audit.account import Account
from scichain_wf.audit.result import printable

_DIGITS_ALL_MAX: Final = 20_000
"""Artifacts up to which whole digests are in the report; else their first digits, which a reader compares."""
_DIGITS: Final = 10


def data_of(account: Account | None) -> str:
    """JSON that can stand inside a `script` element: nothing in it ends one, or begins a comment."""
    text = json.dumps(_columns(account or Account()), separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c")


def _columns(account: Account) -> dict[str, Any]:
    tasks, artifacts, blocks = account.tasks, account.artifacts, account.blocks
    digits = 64 if len(artifacts) <= _DIGITS_ALL_MAX else _DIGITS
    names = [printable(artifact.uri) for artifact in artifacts]
    split = [name.rpartition("/") for name in names]
    return {
        "runs": [run.run for run in account.runs],
        "groups": [printable(group.name) for group in account.groups],
        "tasks": {
            "name": _named(printable(task.name) for task in tasks),
            "label": [_label(task.name, task.task) for task in tasks],
            "status": _named(task.status for task in tasks),
            "node": _named(printable(task.node) for task in tasks),
            "mark": _named(task.mark for task in tasks),
            "run": _grown(task.run for task in tasks),
            "attempt": _column([task.attempt for task in tasks]),
            "start": _grown(task.started_us // 1_000 for task in tasks),
            "ms": _column([max(0, task.ended_us - task.started_us) // 1_000 for task in tasks]),
            "height": _grown(task.height for task in tasks),
            "at": _grown(task.transaction for task in tasks),
            "inputs": _column([task.inputs for task in tasks]),
        },
        "artifacts": {
            "folder": _named("".join(parts[:2]) for parts in split),
            "file": [parts[2] for parts in split],
            "digest": [artifact.digest[:digits] for artifact in artifacts],
            "size": _column([artifact.size_bytes for artifact in artifacts]),
            "recorded": _named(artifact.recorded for artifact in artifacts),
            "disk": _named(artifact.disk for artifact in artifacts),
            "maker": _grown(-1 if artifact.producer is None else artifact.producer for artifact in artifacts),
        },
        "blocks": {
            "height": _grown(block.height for block in blocks),
            "slot": _column([block.slot for block in blocks]),
            "sequence": _column([block.sequence for block in blocks]),
            "mode": _named(block.mode for block in blocks),
            "reason": _named(printable(block.reason) for block in blocks),
            "records": _column([block.transactions for block in blocks]),
            "votes": _column([block.votes for block in blocks]),
            "time": _grown(block.time_us // 1_000 for block in blocks),
            "epoch": _column([block.epoch for block in blocks]),
            "source": _named(block.source for block in blocks),
            "link": [block.link[:digits] for block in blocks],
            "block": [block.block[:digits] for block in blocks],
        },
    }


def _label(name: str, task: str) -> str:
    """A task's name without its group's in front, where it begins with it; else after a tilde."""
    rest = task.removeprefix(name) if task.startswith(name) else f"~{task}"
    return printable(rest)


def _named(values: Iterable[str]) -> dict[str, Any]:
    """Few values many times: the values, and which one each row has."""
    places: dict[str, int] = {}
    rows = [places.setdefault(value, len(places)) for value in values]
    return {"of": list(places), "is": _column(rows)}


def _grown(values: Iterable[int]) -> dict[str, Any]:
    """The first value and the differences that follow."""
    rows = list(values)
    return {"by": _column([after - before for before, after in pairwise([0, *rows])])}


def _column(rows: Sequence[Any]) -> Any:
    """Rows as they are, or `{"all": value, "n": rows}` where all are one."""
    if len(rows) > 1 and all(row == rows[0] for row in rows):
        return {"all": rows[0], "n": len(rows)}
    return rows
