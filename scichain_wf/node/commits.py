"""Group commits: decide and append in one transaction, fsync, sign and publish the checkpoint. Runs in one thread.

Order matters: nothing leaves before the fsync, and `checkpoint` is replaced after it, so that it never names a link
that a crash could take back. The writer's lease is looked at in between: a process that slept through its end has
written where nobody looks, and must not tell.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from scichain_wf.consensus.storage import Append, Appended, Candidate, Outcome, Storage
from scichain_wf.errors import InvariantViolation
from scichain_wf.ledger.files import os_failure
from scichain_wf.ledger.prepared import PreparedBlock, prepared
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.link import Mark, Mode
from scichain_wf.node.chain import replace_file
from scichain_wf.node.lookups import ChainLookup
from scichain_wf.node.metrics import Histogram

if TYPE_CHECKING:
    from scichain_wf.consensus.messages import Answer
    from scichain_wf.consensus.storage import Already, Decision
    from scichain_wf.crypto.signing import SigningKey
    from scichain_wf.ledger.layout import ChainLayout
    from scichain_wf.ledger.store import AppendBatch, ChainStore
    from scichain_wf.model.block import Block
    from scichain_wf.model.link import Link
    from scichain_wf.node.writers import Writer


class Committer:
    """The only place that appends; all of it in one thread.

    Attributes:
        blocks, transactions: appended so far, by the mode of their link; repeated transactions left out.
        seconds: how long group commits took.
    """

    def __init__(self, store: ChainStore, layout: ChainLayout, key: SigningKey, chain: bytes, writer: Writer) -> None:
        self._store, self._layout, self._key, self._chain, self._writer = store, layout, key, chain, writer
        self._size, self._root = 0, b""
        self.blocks: Counter[str] = Counter()
        self.transactions: Counter[str] = Counter()
        self.seconds = Histogram()

    def run(self, core: Storage, candidates: tuple[Candidate, ...]) -> tuple[Outcome, ...]:
        """Decide each candidate in order and append what is to be appended; durable when it returns."""

        def body(batch: AppendBatch) -> tuple[list[Outcome], int, bytes]:
            chain = ChainLookup(batch)
            outcomes = [Outcome(c, self._do(batch, c, core.decide(c, chain))) for c in candidates]
            return outcomes, batch.size, batch.root()

        self._writer.check()
        began = time.perf_counter()
        outcomes, self._size, self._root = self._store.append_all(body)
        self.seconds.observe(time.perf_counter() - began)
        self._writer.check()
        for outcome in outcomes:
            if isinstance(outcome.result, Appended):
                self._count(outcome.result.link, outcome.candidate.block.block)
        return tuple(outcomes)

    def append_epochs(self, blocks: list[tuple[Block, int]]) -> list[tuple[Link, Block]]:
        """Append `epoch` blocks made by this storage node, each with the epoch it begins."""

        def body(batch: AppendBatch) -> tuple[list[tuple[Link, Block]], int, bytes]:
            links = [
                batch.append(
                    prepared(block),
                    mode=Mode.EPOCH,
                    certificate=None,
                    epoch=epoch,
                    writer=self._writer.number,
                    time_us=_now_us(),
                )
                for block, epoch in blocks
            ]
            return list(zip(links, (block for block, _ in blocks), strict=True)), batch.size, batch.root()

        self._writer.check()
        links, self._size, self._root = self._store.append_all(body)
        for link, block in links:
            self._count(link, block)
        return links

    def _count(self, link: Link, block: Block) -> None:
        repeated = sum(annotation.mark is Mark.DUPLICATE for annotation in link.annotations)
        self.blocks[link.mode] += 1
        self.transactions[link.mode] += block.header.count - repeated

    def _do(self, batch: AppendBatch, candidate: Candidate, decision: Decision) -> Appended | Already | Answer:
        if not isinstance(decision, Append):
            return decision
        block = candidate.block
        if not isinstance(block, PreparedBlock):
            raise InvariantViolation("a candidate that was not parsed by the ledger's rules")
        link = batch.append(
            block,
            mode=decision.mode,
            certificate=decision.certificate,
            epoch=decision.epoch,
            annotations=decision.annotations,
            writer=self._writer.number,
            time_us=_now_us(),
        )
        return Appended(link, decision.against)

    def publish(self) -> str:
        """Sign and publish the head of the last commit; returns the note.

        Raises:
            LedgerFull: no room for it; the one before is still there.
        """
        return self._published(Checkpoint(self._chain, self._size, self._root).sign(self._key))

    def cosigned(self, note: Checkpoint) -> None:
        """Publish the note of the last commit again, with its cosignatures, unless there is a newer head.

        Raises:
            LedgerFull: as in `publish`.
        """
        if (note.size, note.root) == (self._size, self._root):
            self._published(note)

    def _published(self, note: Checkpoint) -> str:
        self._writer.check()
        text = note.text()
        try:
            replace_file(self._layout.checkpoint, text)
        except OSError as error:
            raise os_failure(error, self._layout.checkpoint, "publishing the checkpoint") from None
        return text


def _now_us() -> int:
    return time.time_ns() // 1_000
