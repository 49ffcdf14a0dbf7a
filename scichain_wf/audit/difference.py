"""Two runs compared, task by task: what stayed the same, what changed, and what ought to have stayed the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from scichain_wf.audit.roots import read_transaction
from scichain_wf.errors import DecodeError
from scichain_wf.ledger import keys
from scichain_wf.ledger.rawread import Moment, RawLedger, read_format, shared

_CAUSES: Final = ("params", "arguments", "wildcards", "code", "command", "environment")
"""Fields of a task, besides its inputs, that decide what it makes."""
TASKS_NAMED_MAX: Final = 10_000


class TaskDifference(NamedTuple):
    """One task that both runs have and that is not the same in both. Artifacts are named by URI."""

    task: str
    changed: list[str]
    """Of inputs, params, code, ...: what differs between the two."""
    inputs: list[str]
    outputs: list[str]
    """Outputs whose contents differ."""

    @property
    def is_unstable(self) -> bool:
        """Nothing that was recorded of its making differs, and its outputs do."""
        return not self.changed and bool(self.outputs)


@dataclass
class Difference:
    """`before` and `after` are run ids. Lists of tasks hold at most `TASKS_NAMED_MAX`."""

    before: str
    after: str
    same: int = 0
    unhashed: int = 0
    """Tasks of `same` that have an artifact without a digest: as far as was recorded."""
    unstable: list[TaskDifference] = field(default_factory=list)
    """Same inputs, parameters and code; other outputs (non-determinism)."""
    changed: list[TaskDifference] = field(default_factory=list)
    only_before: list[str] = field(default_factory=list)
    only_after: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values; see the published JSON Schema."""
        plain = vars(self) | {name: [d._asdict() for d in getattr(self, name)] for name in ("unstable", "changed")}
        return dict(plain)


def compare_runs(directory: Path, moment: Moment | None, before: bytes, after: bytes) -> Difference:
    """How run `after` differs from run `before`, by the last record of each task. To be run isolated.

    Args:
        directory: of the ledger.
        moment: of the verification that it follows; None if nothing was verified.
        before: run id.
        after: run id.

    Raises:
        LedgerCorrupt: the file's pages do not hold together.
    """
    ledger = shared(directory, moment)
    read_format(ledger)
    old, new = dict(_tasks(ledger, before)), dict(_tasks(ledger, after))
    found = Difference(before.hex(), after.hex())
    found.only_before = sorted(old.keys() - new.keys())[:TASKS_NAMED_MAX]
    found.only_after = sorted(new.keys() - old.keys())[:TASKS_NAMED_MAX]
    for task in sorted(old.keys() & new.keys()):
        difference, unhashed = _compare(task, _body(ledger, old[task]), _body(ledger, new[task]))
        if not difference.changed and not difference.outputs:
            found.same += 1
            found.unhashed += unhashed
        else:
            kept = found.unstable if difference.is_unstable else found.changed
            if len(kept) < TASKS_NAMED_MAX:
                kept.append(difference)
    return found


def _tasks(ledger: RawLedger, run: bytes) -> Iterator[tuple[str, tuple[int, int]]]:
    """Name and place of each task's record, in commit order."""
    for key, kind in ledger.prefixed(keys.RUNS, run):
        if kind == b"task" and len(key) == 16 + keys.POSITION.size:
            place = keys.POSITION.unpack_from(key, 16)
            try:
                yield _body(ledger, place)["task"], place
            except DecodeError:
                continue  # named by the verification


def _body(ledger: RawLedger, place: tuple[int, int]) -> dict[str, Any]:
    return cast("dict[str, Any]", read_transaction(ledger, *place)["body"])


def _compare(task: str, old: dict[str, Any], new: dict[str, Any]) -> tuple[TaskDifference, bool]:
    inputs, outputs = (_differing(_digests(old[name]), _digests(new[name])) for name in ("inputs", "outputs"))
    changed = (["inputs"] if inputs else []) + [name for name in _CAUSES if old.get(name) != new.get(name)]
    unhashed = any("digest" not in item for body in (old, new) for item in body["inputs"] + body["outputs"])
    return TaskDifference(task, changed, inputs, outputs), unhashed


def _digests(artifacts: list[dict[str, Any]]) -> dict[str, str | None]:
    return {_anywhere(item["uri"]): item.get("digest") for item in artifacts}


def _anywhere(uri: str) -> str:
    """A value's URI begins with its run's id, which is never the same in two runs."""
    return f"value:{uri.partition('/')[2]}" if uri.startswith("value:") else uri


def _differing(old: Mapping[str, str | None], new: Mapping[str, str | None]) -> list[str]:
    """URIs in one of them only, or with two digests that are not the same."""
    return sorted(uri for uri in old.keys() | new.keys() if old.get(uri, "") != new.get(uri, ""))
