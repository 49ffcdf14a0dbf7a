"""Notes by which a chain's owner gave up a checkpoint: each is named, with the history that it is the proof of."""

from __future__ import annotations

from typing import cast

from scichain_wf.audit.epochs import EpochBook
from scichain_wf.errors import DecodeError, LedgerCorrupt, VerificationError
from scichain_wf.ledger.problem import Problem
from scichain_wf.ledger.rawread import RawLedger
from scichain_wf.ledger.stored import StoredBlock, Survey, Walked
from scichain_wf.model import transaction
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.checkpoint import Checkpoint


def check_given_up(ledger: RawLedger, summary: Survey, block: StoredBlock, found: Walked) -> None:
    """Name every checkpoint in a note of this block that this chain does not continue."""
    for index, (_, key, _, kind, _, _) in enumerate(block.facts):
        if kind != b"note":
            continue
        body = cast("JsonObject", transaction.parse(block.transactions[index])["body"])
        try:
            given_up = Checkpoint.parse(cast("str", body.get("checkpoint", "")))
        except DecodeError:
            continue  # free text
        size = given_up.size
        if given_up.chain != summary.chain or (size <= summary.size and ledger.root(size) == given_up.root):
            continue
        subject = f"checkpoint of {size} links, given up by {body.get('author', 'nobody')!r:.200}"
        actual = f"{given_up.root.hex()}, {_signed(EpochBook.of(ledger, summary), block.height, given_up)}"
        found.problems.add(Problem("fork-accepted", subject, "", actual, block.height, index, key.hex()))


def _signed(book: EpochBook, height: int, given_up: Checkpoint) -> str:
    try:
        given_up.verify_storage(book.at(height).epoch.storage)
    except (VerificationError, LedgerCorrupt):
        return "not signed by the storage node: a claim"
    return "signed by the storage node"
