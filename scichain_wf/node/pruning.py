"""What takeovers and starts leave in a chain's directory, and nobody looks at any more.

    ledger/<n>     below the newest two: the newest was copied from the one before it and recomputed
    ledger/.<n>    a copy that was never finished, below the newest
    writers/<n>    below the newest that is settled, and the one before that

A writer that was stopped long ago may still wake up in an old ledger or hold an old marker. Without its ledger it
writes where nobody ever looked; without its marker it knows that it is the writer no more. That holds as long as a
marker never outlives the next higher one, by which a stale writer is fenced: they are removed from the lowest up. Who
claims an epoch reads markers down to the newest settled one, which stays. Epochs are not used twice, since the newest
marker stays, too.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scichain_wf.node.leftovers import Found, Kind, Verdict
from scichain_wf.node.markers import Marker

if TYPE_CHECKING:
    from scichain_wf.ledger.layout import ChainLayout

_NUMBER: Final = re.compile(r"\.?[0-9]{8}\Z")
_KEPT: Final = 2


def prune(layout: ChainLayout, chain: str, *, dry_run: bool) -> list[Verdict]:
    """Remove it.

    Args:
        layout: the chain.
        chain: what verdicts call it.
        dry_run: only say what would be removed.
    """
    verdicts = []
    for kind, paths in ((Kind.LEDGER, _old_ledgers(layout)), (Kind.MARKER, _old_markers(layout))):
        for path in paths:
            found = Found(path, chain, kind, False, _size_bytes(path))
            reason = "" if dry_run else _removed(path)
            verdicts.append(Verdict(found, not reason, reason or "newer ones have taken its place"))
            if reason:
                break  # the higher ones stay, too
    return verdicts


def prune_markers(layout: ChainLayout) -> None:
    """The markers alone: what a writer does that ends in order."""
    for path in _old_markers(layout):
        if _removed(path):
            return


def _old_ledgers(layout: ChainLayout) -> list[Path]:
    names = _names(layout.ledgers)
    whole = [path for path in names if path.name[0] != "."]
    old = whole[:-_KEPT]
    return old + [path for path in names if path.name[0] == "." and whole and path.name[1:] < whole[-1].name]


def _old_markers(layout: ChainLayout) -> list[Path]:
    markers = [path for path in _names(layout.writers) if path.name[0] != "."]
    try:
        settled = next((at for at in range(len(markers) - 1, -1, -1) if Marker.read(markers[at]).is_settled), 0)
    except OSError:
        return []  # not ours to read, or changing right now
    return markers[: max(0, settled + 1 - _KEPT)]


def _names(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if _NUMBER.match(path.name))
    except OSError:
        return []


def _removed(path: Path) -> str:
    """Why it could not be removed; "" if it is gone."""
    try:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"it cannot be removed: {error.strerror}"
    return ""


def _size_bytes(path: Path) -> int:
    try:
        return sum(part.lstat().st_size for part in _parts(path))
    except OSError:
        return 0


def _parts(path: Path) -> Iterator[Path]:
    yield path
    if path.is_dir() and not path.is_symlink():
        yield from path.iterdir()
