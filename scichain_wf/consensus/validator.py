"""Judging the blocks of others (SciChain Protocol 2, lines 2-9), at once and without waiting.

Rules: VALID at most once per (proposer key, sequence) (SAFE-2): keys are made at boot and die with the process, so a
restart cannot forget a vote that still counts. A verdict names the head it was given at; when the ledger has grown,
what was UNKNOWN or INVALID is judged again and a changed verdict is sent. Verdicts of one tick share one signature.

The puzzle is not judged: storage checks it, votes ignore it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from scichain_wf import limits
from scichain_wf.consensus import validity
from scichain_wf.crypto import merkle
from scichain_wf.crypto.hashing import Domain, digest
from scichain_wf.errors import VerificationError
from scichain_wf.model import canonical
from scichain_wf.model.verdict import BatchHeader, Entry, Verdict, VerdictBatch

if TYPE_CHECKING:
    from scichain_wf.consensus.roster import Roster
    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.crypto.signing import SigningKey


class NodeLedger(validity.Lookup, Protocol):
    """What a node holds of the chain: its tail."""

    def link_hash(self, height: int, /) -> bytes | None:
        """Hash of the committed link at `height`, or None where it is not held any more."""


@dataclass(slots=True)
class _Judged:
    slot: int
    block: ParsedBlock
    entry: Entry


class Validator:
    """One slot's judge."""

    def __init__(self, key: SigningKey, slot: int, ledger: NodeLedger) -> None:
        self._key = key
        self._slot = slot
        self._ledger = ledger
        self._batch = 0
        self._pending: dict[bytes, _Judged] = {}
        self._open: OrderedDict[bytes, _Judged] = OrderedDict()
        self._voted: dict[bytes, _Votes] = {}

    @property
    def has_verdicts(self) -> bool:
        """Whether a tick would send something."""
        return bool(self._pending)

    def judge(self, slot: int, block: ParsedBlock, roster: Roster, height: int) -> None:
        """Give a verdict on a block of the agent in `slot`; it leaves with the next tick.

        Args:
            slot: who sent it, as its channel says.
            block: the block.
            roster: the epoch in force, as far as this node knows.
            height: of this node's head.
        """
        if len(self._pending) >= limits.VERDICTS_PER_BATCH_MAX:
            return  # nobody waits for a verdict: the proposer's deadline takes over
        judged = _Judged(slot, block, self._verdict(slot, block, roster, height))
        self._pending[block.block.id] = judged
        self._remember(judged)

    def grown(self, roster: Roster, height: int, linked: bytes | None) -> None:
        """The ledger knows more (a head at `height` over block `linked`, or a past): judge again what was not VALID."""
        if linked is not None:
            self._open.pop(linked, None)
        for identity, judged in list(self._open.items()):
            entry = self._verdict(judged.slot, judged.block, roster, height)
            if entry != judged.entry and len(self._pending) < limits.VERDICTS_PER_BATCH_MAX:
                again = _Judged(judged.slot, judged.block, entry)
                self._pending[identity] = again
                self._remember(again)

    def tick(self, roster: Roster, head: bytes, height: int) -> tuple[VerdictBatch, frozenset[int]] | None:
        """The signed batch of everything judged since the last tick at this head, and the slots it is for."""
        if not self._pending:
            return None
        entries = tuple(judged.entry for judged in self._pending.values())
        slots = frozenset(judged.slot for judged in self._pending.values())
        self._pending.clear()
        self._batch += 1
        root = merkle.root([entry.leaf() for entry in entries])
        header = BatchHeader(roster.chain, roster.number, self._slot, self._batch, head, height, len(entries), root)
        signature = self._key.sign(Domain.VERDICT_BATCH, header.encode())
        return VerdictBatch(header, signature, entries), slots

    def _verdict(self, slot: int, parsed: ParsedBlock, roster: Roster, height: int) -> Entry:
        block, header = parsed.block, parsed.block.header
        if header.epoch > roster.number or header.parent_height > height:
            return Entry(block.id, Verdict.UNKNOWN)  # this node lags behind the proposer
        try:
            if roster.check_block(parsed) != slot:
                return _invalid(block.id, "the block was sent by another slot than its proposer's")
        except VerificationError as error:
            return _invalid(block.id, str(error))
        parent = self._ledger.link_hash(header.parent_height)
        if parent is not None and parent != header.parent:
            return _invalid(block.id, "the parent is not the link at its height")
        votes = self._voted.setdefault(header.proposer, _Votes())
        if not votes.allows(header.sequence, block.id):
            return _invalid(block.id, "another block of this sequence number was found valid before")
        judgement = validity.judge(parsed, self._ledger)
        if judgement.conflict:
            return Entry(block.id, Verdict.INVALID, judgement.reasons_digest())
        if judgement.unknown:
            return Entry(block.id, Verdict.UNKNOWN)
        votes.cast(header.sequence, block.id)
        return Entry(block.id, Verdict.VALID)

    def _remember(self, judged: _Judged) -> None:
        identity = judged.block.block.id
        self._open.pop(identity, None)
        if judged.entry.verdict is not Verdict.VALID:
            self._open[identity] = judged
            if len(self._open) > limits.REJUDGED_BLOCKS_MAX:
                self._open.popitem(last=False)


class _Votes:
    """VALID votes for one proposer key. Below `_floor` nothing is remembered and so nothing is allowed."""

    def __init__(self) -> None:
        self._blocks: dict[int, bytes] = {}
        self._floor = 0

    def allows(self, sequence: int, block: bytes) -> bool:
        return self._blocks.get(sequence, block) == block and (sequence >= self._floor or sequence in self._blocks)

    def cast(self, sequence: int, block: bytes) -> None:
        self._blocks[sequence] = block
        if len(self._blocks) > limits.SEQUENCES_REMEMBERED_MAX:
            oldest = min(self._blocks)
            del self._blocks[oldest]
            self._floor = max(self._floor, oldest + 1)


def _invalid(block: bytes, reason: str) -> Entry:
    return Entry(block, Verdict.INVALID, digest(Domain.REASONS, canonical.dumps([reason])))
