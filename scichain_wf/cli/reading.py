"""Opening a chain to look into it. Only reads; verifying is `scichain-wf verify`'s.

What looks is a module-level function for `isolate.isolated`: a damaged file ends the process that reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from scichain_wf.cli.locate import is_path
from scichain_wf.errors import UsageError
from scichain_wf.ledger.isolate import isolated
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model import transaction

if TYPE_CHECKING:
    from pathlib import Path

    from scichain_wf.ledger.view import ChainView
    from scichain_wf.model.canonical import JsonObject


@contextmanager
def open_view(chain_dir: Path) -> Iterator[ChainView]:
    """A view of the chain as it is now.

    Raises:
        LedgerError: not a chain, or not readable.
    """
    with ChainStore.open(ChainLayout(chain_dir).live_ledger(), readonly=True) as store, store.view() as view:
        yield view


def run_named(chain_dir: Path, name: str) -> bytes:
    """The run that a command line names: by its id, the beginning of it, or a file whose newest record it made.

    Raises:
        UsageError: there is none, or there are several.
    """
    if is_path(name):
        from scichain_wf.audit.artifact import newest_record

        return newest_record(chain_dir, name).run
    return isolated(_run_named, chain_dir, name)


def _run_named(chain_dir: Path, prefix: str) -> bytes:
    with open_view(chain_dir) as view:
        return find_run(view, prefix)


def find_run(view: ChainView, prefix: str) -> bytes:
    """The run whose id begins with `prefix` (hex).

    Raises:
        UsageError: none does, or several do.
    """
    wanted = prefix.lower().rstrip("…").replace("-", "")
    if not wanted or any(c not in "0123456789abcdef" for c in wanted):
        raise UsageError(f"{prefix!r} is not the beginning of a run id; `scichain-wf runs list` shows them")
    found = [run for run in view.runs() if run.hex().startswith(wanted)]
    if len(found) != 1:
        what = "no run" if not found else f"{len(found)} runs"
        raise UsageError(f"{what} on this chain begins with {wanted}; `scichain-wf runs list` shows them")
    return found[0]


def parsed(view: ChainView, height: int, index: int) -> JsonObject:
    """A transaction as a dictionary."""
    return transaction.parse(view.transaction((height, index)))


def text(value: object) -> str:
    """A field for people."""
    return "" if value is None else str(value)


def when(time_us: object) -> str:
    """A recorded time (a claim of its maker), UTC."""
    if not isinstance(time_us, int):
        return ""
    try:
        return datetime.fromtimestamp(time_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{time_us} µs"


def body(value: JsonObject) -> JsonObject:
    """The body of a parsed transaction."""
    return cast("JsonObject", value["body"])
