"""A ledger that went back in time, for a person to decide: what is lost, and going on from what is left (SAFE-7).

The storage node does not append to a ledger that contradicts a checkpoint. Who goes on all the same states so on the
chain: a `note` holds the checkpoint that is given up, so that nobody has to be told by anybody else. The checkpoint is
moved aside, never deleted: it proves that there was another history.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from scichain_wf.client import kept, service
from scichain_wf.client.spool import write_spool
from scichain_wf.errors import DecodeError, LedgerError, VerificationError
from scichain_wf.ledger.files import sync
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.bodies import Kind
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.transaction import NO_RUN, Transaction
from scichain_wf.node import chain as chains

if TYPE_CHECKING:
    from scichain_wf.ledger.layout import ChainLayout


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A checkpoint that the ledger does not continue.

    Attributes:
        path: its file.
        checkpoint: what it says.
        links: of the ledger.
    """

    path: Path
    checkpoint: Checkpoint
    links: int

    @property
    def aside(self) -> Path:
        """Where it goes when it is given up."""
        return self.path.with_name(f"{self.path.name}.{self.checkpoint.size}-{self.checkpoint.root.hex()[:16]}")

    @property
    def lost(self) -> str:
        """What that means, in words."""
        covered = self.checkpoint.size
        if covered <= self.links:
            return f"the histories part at an unknown link below height {covered}; of one of them this ledger has none"
        heights = f"height {self.links}" if covered == self.links + 1 else f"heights {self.links} to {covered - 1}"
        return f"{covered - self.links} links that were durable are not here ({heights}); there may have been more"


def contradictions(layout: ChainLayout) -> list[Contradiction]:
    """Checkpoints of this chain, beside it and kept by this user's clients, that its ledger does not continue.

    Raises:
        LedgerError, LedgerCorrupt: the ledger cannot be read.
    """
    found = []
    with ChainStore.open(layout.live_ledger(), readonly=True) as store, store.view() as view:
        with suppress(OSError, DecodeError):  # it contradicts nothing; a start says what is wrong with it
            found.append((layout.checkpoint, Checkpoint.parse(layout.checkpoint.read_bytes())))
        with suppress(OSError, DecodeError, VerificationError):
            found.append((kept.path(view.chain_id), chains.kept_note(view)))
        return [
            Contradiction(path, note, view.size)
            for path, note in found
            if note.chain == view.chain_id and not chains.is_continued(view, note)
        ]


def accept(layout: ChainLayout, given_up: list[Contradiction], author: str) -> list[Transaction]:
    """Go on from the ledger as it is; returns the notes that say so, which are committed then.

    Args:
        layout: the chain.
        given_up: all of its `contradictions`.
        author: who decided.

    Raises:
        ScichainError: the storage node does not start; nothing was changed. Or the notes are not committed yet.
        LedgerError: a checkpoint cannot be moved aside; nothing was changed.
    """
    notes = [_note(found, author) for found in given_up]
    for file in chains.recovery_notes(layout):  # of one that was interrupted: this is said instead
        file.unlink(missing_ok=True)
    # First what is said, then what it allows: a crash in between leaves a chain that is still refused, or, if the lost
    # links are put back, a note that the next start withdraws.
    spooled = [write_spool(layout.spool_new.parent, note.encode(), chains.RECOVERY) for note in notes]
    moved: list[tuple[Path, Path]] = []
    try:
        for found in given_up:
            moved.append((found.path, found.aside))
            _rename(found.path, found.aside)
        running = service.start(layout.root, 1)
    except BaseException:
        for path, aside in moved:
            if aside.exists():
                _rename(aside, path)
        for file in spooled:
            file.unlink(missing_ok=True)
        raise
    with running:
        running.flush(NO_RUN)
    return notes


def _note(found: Contradiction, author: str) -> Transaction:
    note = found.checkpoint
    # One signature is proof; with everybody's a note could outgrow its field.
    signed = replace(note, signatures=tuple(s for s in note.signatures if s.name == note.storage_name)[:1])
    text = f"recover --accept-fork: this ledger of {found.links} links does not continue the checkpoint; {found.lost}"
    body = {"text": text, "author": author, "checkpoint": signed.text()}
    return Transaction(
        note.chain, chains.fresh_key(), Kind.NOTE, NO_RUN, socket.gethostname(), time.time_ns() // 1_000, {**body}
    )


def _rename(path: Path, target: Path) -> None:
    try:
        path.rename(target)
        sync(target.parent)
    except OSError as error:
        raise LedgerError(f"{path}: cannot be renamed to {target.name}: {error.strerror}") from None
