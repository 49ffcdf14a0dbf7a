"""One group commit: blocks appended inside one LMDB write transaction, with every index.

What an append writes is a pure function of the block, its certificate and annotations, so that the audit can rebuild
every index from blocks and links alone. Before writing, the batch holds what it was given against what is stored
(`InvariantViolation` means the caller, or this file, is wrong); puts never overwrite, so that a second entry under a
key is noticed too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scichain_wf import limits
from scichain_wf.crypto import merkle
from scichain_wf.errors import InvariantViolation, LedgerCorrupt
from scichain_wf.ledger import keys
from scichain_wf.ledger.keys import PROPOSAL, height_key, node_key, position, uri_key
from scichain_wf.ledger.standing import Standings
from scichain_wf.ledger.view import ChainView
from scichain_wf.model.certificate import certificate_digest
from scichain_wf.model.link import Annotation, Link, Mark, Mode
from scichain_wf.model.text import ZERO_DIGEST
from scichain_wf.model.transaction import NO_RUN

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmdb import _Database as Database

    from scichain_wf.ledger.engine import Databases, Transaction
    from scichain_wf.ledger.prepared import PreparedBlock

Row = tuple[bytes, bytes]

_OUTPUTS: Final = [number.to_bytes(2, "big") for number in range(limits.ARTIFACTS_PER_TASK_MAX)]


class AppendBatch(ChainView):
    """Appends, and reads that see what was appended. Made by `ChainStore.begin`; valid inside that `with` only."""

    def __init__(self, txn: Transaction, databases: Databases, alive: Callable[[], None]) -> None:
        super().__init__(txn, databases, alive)
        self.appended = 0
        self.whole = True
        """False from an append's first write to its last: such a batch must not be committed."""
        self._head = self._stored_head()
        self._in_force = super().current_epoch() if self._size else (-1, -1)
        self._tree = merkle.CompactRange(self._size, [self.tree_node(*node) for node in full_subtrees(self._size)])

    def append(
        self,
        prepared: PreparedBlock,
        *,
        mode: Mode,
        certificate: bytes | None,
        epoch: int,
        annotations: tuple[Annotation, ...] = (),
        writer: int,
        time_us: int,
    ) -> Link:
        """Append a block under its certificate; it counts once the batch is committed.

        Args:
            prepared: the block, parsed.
            mode: why it is appended.
            certificate: canonical bytes; None in mode `epoch` and there only.
            epoch: in force at the append; for mode `epoch` the one that begins.
            annotations: ordered by transaction; must name every duplicate (see `ChainView.repeats`).
            writer: writer epoch of the storage process.
            time_us: wall clock of the storage process.

        Raises:
            InvariantViolation: what was given contradicts itself or what is stored.
            DecodeError: a field of the link is out of its bounds.
        """
        self._alive()
        subtrees = span_roots(prepared.leaves)
        self._check(prepared, subtrees, mode, certificate, epoch, annotations)
        link = Link(
            height=self._size,
            previous=self._head,
            block=prepared.block.id,
            certificate=None if certificate is None else certificate_digest(certificate),
            mode=mode,
            epoch=epoch,
            annotations=annotations,
            writer=writer,
            time_us=time_us,
        )
        link_bytes, block_bytes = link.encode(), prepared.block.encode()
        self.whole = False
        height = height_key(link.height)
        self._put(keys.LINKS, self._dbs.links, height, link_bytes, append=True)
        self._put(keys.BLOCKS, self._dbs.blocks, height, block_bytes, append=True)
        if certificate is not None:
            self._put(keys.CERTIFICATES, self._dbs.certificates, height, certificate, append=True)
        if mode is Mode.EPOCH:
            self._put(keys.EPOCHS, self._dbs.epochs, height_key(epoch), height, append=True)
        if len(subtrees) > 1:
            self._put(keys.SUBTREES, self._dbs.subtrees, height, b"".join(subtrees), append=True)
        header = prepared.block.header
        proposal = header.proposer + height_key(header.sequence)
        self._put(keys.PROPOSALS, self._dbs.proposals, proposal, PROPOSAL.pack(link.height, link.block))
        self._index(prepared, link)
        self._head = merkle.leaf_hash(link_bytes)
        for level, index, node in self._tree.append(self._head):
            self._put(keys.TREE, self._dbs.tree, node_key(level, index), node)
        if mode is Mode.EPOCH:
            self._in_force = (epoch, link.height)
        self._size += 1
        self.appended += 1
        self.whole = True
        return link

    def head_hash(self) -> bytes:
        """Hash of the newest link, appended ones included."""
        return self._head

    def current_epoch(self) -> tuple[int, int]:
        """(epoch, height) of the newest epoch, appended ones included."""
        return self._in_force

    # --- what must hold before a write --------------------------------------------------------------
    def _stored_head(self) -> bytes:
        if self._size == 0:
            return ZERO_DIGEST
        height = self._size - 1
        head = merkle.leaf_hash(self.link_bytes(height))
        if head != self.tree_node(0, height):
            raise LedgerCorrupt(f"{keys.TREE}: the leaf of height {height} is not its link's hash; verify the chain")
        return head

    def _check(
        self,
        prepared: PreparedBlock,
        subtrees: list[bytes],
        mode: Mode,
        certificate: bytes | None,
        epoch: int,
        annotations: tuple[Annotation, ...],
    ) -> None:
        header, count = prepared.block.header, len(prepared.block.transactions)
        _hold(self.whole, "an earlier append of this batch failed half way")
        _hold(self.appended < limits.APPEND_BATCH_BLOCKS_MAX, "too many blocks in one batch")
        chain = self.chain_id if self._size else ZERO_DIGEST
        _hold(header.chain == chain, "the block is of chain {0}, this is {1}", header.chain.hex(), chain.hex())
        _hold((certificate is None) == (mode is Mode.EPOCH), "mode {0} and certificate do not go together", mode)
        _hold(mode is Mode.EPOCH or self._size > 0, "a chain begins with an epoch")
        expected = self._in_force[0] + (mode is Mode.EPOCH)
        _hold(epoch == expected, "epoch {0} at a link of mode {1}, expected {2}", epoch, mode, expected)
        _hold(header.count == count == len(prepared.facts) == len(prepared.leaves), "the block's counts differ")
        _hold(merkle.root(subtrees) == header.root, "the block's root is not that of its transactions")
        _hold(all(0 <= mark.index < count for mark in annotations), "an annotation names no transaction of the block")

    # --- indexes ------------------------------------------------------------------------------------
    def _index(self, prepared: PreparedBlock, link: Link) -> None:
        skipped = {mark.index for mark in annotations_of(link, Mark.DUPLICATE)}
        transactions, runs, artifacts = index_rows(prepared, link.height, skipped)
        self._put_rows(keys.TRANSACTIONS, self._dbs.transactions, transactions)
        self._put_rows(keys.RUNS, self._dbs.runs, runs)
        self._put_rows(keys.ARTIFACTS, self._dbs.artifacts, artifacts)
        self._standings = Standings()
        for index in skipped:
            known = self.contains(prepared.facts[index][1], prepared.leaves[index])
            _hold(known, "transaction {0} is marked a duplicate and is none", index)

    def _put(self, name: str, database: Database, key: bytes, value: bytes, *, append: bool = False) -> None:
        added = self._txn.put(key, value, overwrite=False, append=append, db=database)
        _hold(added, "{0}: there is an entry at or after the one of height {1} already", name, self._size)

    def _put_rows(self, name: str, database: Database, rows: list[Row]) -> None:
        if rows:
            rows.sort()  # neighbours share a page
            with self._txn.cursor(database) as cursor:
                consumed, added = cursor.putmulti(rows, overwrite=False)
            whole = consumed == added == len(rows)
            _hold(whole, "{0}: an entry of height {1} is there already, and not marked so", name, self._size)


def full_subtrees(size: int) -> list[tuple[int, int]]:
    """(level, index) of the complete subtrees that make up a tree of `size` leaves, largest first."""
    found, start = [], 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            found.append((level, start >> level))
            start += 1 << level
    return found


def span_roots(leaves: list[bytes]) -> list[bytes]:
    """Roots over every `keys.SPAN` leaves in turn: the level of a block's tree at which proofs begin to read."""
    return [merkle.root(leaves[begin : begin + keys.SPAN]) for begin in range(0, len(leaves), keys.SPAN)]


def annotations_of(link: Link, mark: Mark) -> list[Annotation]:
    """The annotations of a link that carry `mark`."""
    return [annotation for annotation in link.annotations if annotation.mark is mark]


def index_rows(prepared: PreparedBlock, height: int, skipped: set[int]) -> tuple[list[Row], list[Row], list[Row]]:
    """Rows of the `transactions`, `runs` and `artifacts` indexes for a block at `height`.

    Args:
        prepared: the block.
        height: of its link.
        skipped: numbers of the transactions that are duplicates: those are not indexed.
    """
    transactions: list[Row] = []
    runs: list[Row] = []
    artifacts: list[Row] = []
    for index, ((_, key, run, kind, _, outputs), leaf) in enumerate(zip(prepared.facts, prepared.leaves, strict=True)):
        if index in skipped:
            continue
        at = position(height, index)
        transactions.append((key + leaf, at))
        if run != NO_RUN:
            runs.append((run + at, kind))
        for number, (uri, digest) in enumerate(outputs):
            artifacts.append((uri_key(uri) + at + _OUTPUTS[number], digest))
    return transactions, runs, artifacts


def _hold(holds: bool, otherwise: str, *details: object) -> None:
    """Raised explicitly, so that it survives `python -O`; the message is made only when needed."""
    if not holds:
        raise InvariantViolation(f"ledger: {otherwise.format(*details)}")
