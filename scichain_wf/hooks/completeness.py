"""Which tasks of a run are on its chain, to be held against what the engine says it ran."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

from scichain_wf.model.bodies import Kind

_NAMED: Final = 5


def recorded_tasks(chain_dir: Path, run: bytes) -> set[str]:
    """Keys of the tasks of `run` (16 bytes) whose end is on the chain.

    Raises:
        LedgerError: the chain cannot be read.
    """
    from scichain_wf.ledger.layout import ChainLayout  # only where other processes record, too
    from scichain_wf.ledger.store import ChainStore
    from scichain_wf.model import transaction

    with ChainStore.open(ChainLayout(chain_dir).live_ledger(), readonly=True) as store, store.view() as view:
        places = [(height, index) for kind, height, index in view.run(run) if kind == Kind.TASK]
        bodies = (transaction.parse(view.transaction(place))["body"] for place in places)
        return {str(cast("dict[str, object]", body)["task"]) for body in bodies}


def missing_line(missing: Sequence[str]) -> str:
    """What to tell of tasks that left no record."""
    named = ", ".join(missing[:_NAMED]) + (f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else "")
    return (
        f"{len(missing)} tasks ran and left no record of their end ({named}): their processes were killed, or ran "
        "where scichain-wf is not installed; run them again there to have them recorded"
    )
