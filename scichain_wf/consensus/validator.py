"""Judging the blocks of others (SciChain Protocol 2, lines 2-9), at once and without waiting.

Rules: VALID at most once per (proposer key, sequence) (SAFE-2): keys are made at boot and die with the process, so a
restart cannot forget a vote that still counts. A verdict names the head it was given at; when the ledger has grown,
what was UNKNOWN or INVALID is judged again and a changed verdict is sent. A verdict counts in its epoch only: in the
next one everything that is not linked is judged again. Verdicts of one tick share one signature.

The puzzle is not judged: storage checks it, votes ignore it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from scichain_wf import limits
from scichain_wf.consensus import validity
from scichain_wf.consensus.evidence import header_statement
from scichain_wf.crypto import merkle
from scichain_wf.crypto.hashing import Domain, digest
from scichain_wf.errors import VerificationError
from scichain_wf.model import canonical
from scichain_wf.model.verdict import BatchHeader, Entry, Verdict, VerdictBatch

if TYPE_CHECKING:
    from scichain_wf.consensus.evidence import Statement, Witness
    from scichain_wf.consensus.roster import Roster
    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.crypto.signing import SigningKey
    from scichain_wf.model.link import Link


class NodeLedger(validity.Lookup, Protocol):
    """What a node holds of the chain: its tail."""

    def apply(self, link: Link, block: Any, /) -> None:
        """Append the next link with its block, as `prepare` made it."""

    def link_hash(self, height: int, /) -> bytes | None:
        """Hash of the committed link at `height`, or None where it is not held any more."""


@dataclass(slots=True)
class _Judged:
    slot: int
    block: ParsedBlock
    refusal: str
    entry: Entry


class Validator:
    """One slot's judge.

    Attributes:
        fresh: (proposer's slot, block) of what came since this list was emptied: signed by the proposer, not seen
            before under this epoch. Relays pass it on.
        equivocations: (proposer's slot, its statement, another of the same sequence number), likewise.
    """

    def __init__(self, key: SigningKey, slot: int, chain: bytes, ledger: NodeLedger, witness: Witness) -> None:
        self._key, self._slot, self._chain = key, slot, chain
        self._ledger = ledger
        self._witness = witness
        self._batch = 0
        self._pending: dict[bytes, _Judged] = {}
        self._seen: OrderedDict[bytes, _Judged] = OrderedDict()
        self._seen_bytes = 0
        self._open: dict[bytes, None] = {}  # of those, what was not VALID and may still become so
        self._ahead: OrderedDict[bytes, ParsedBlock] = OrderedDict()
        self._ahead_bytes = 0
        self._voted: dict[bytes, _Votes] = {}
        self.fresh: list[tuple[int, ParsedBlock]] = []
        self.equivocations: list[tuple[int, Statement, Statement]] = []

    @property
    def has_verdicts(self) -> bool:
        """Whether a tick would send something."""
        return bool(self._pending)

    def body(self, block: bytes) -> ParsedBlock | None:
        """A block that this node judged and that is not linked yet."""
        judged = self._seen.get(block)
        return None if judged is None else judged.block

    def silence(self) -> None:
        """Nobody asks this node: what it would say is not said."""
        self._pending.clear()

    def judge(self, block: ParsedBlock, roster: Roster | None, height: int) -> str:
        """Give a verdict, for the block's proposer; it leaves with the next tick.

        Args:
            block: the block, whoever sent it: its signature says whose it is.
            roster: the epoch in force, as far as this node knows; None before the first.
            height: of this node's head.

        Returns:
            Why the block is not judged (then nothing has changed), or "".
        """
        header, identity = block.block.header, block.block.id
        if header.chain != self._chain:
            return "wrong chain"
        if roster is None or header.epoch > roster.number:
            return self._keep_ahead(block)
        slot = roster.slot_of(header.proposer)
        if slot is None:
            return "not a member"
        if len(self._pending) >= limits.VERDICTS_PER_BATCH_MAX:
            return "too many verdicts at once"  # nobody waits for one: the proposer's deadline takes over
        judged = self._seen.get(identity)
        if judged is None or judged.block.block.signature != block.block.signature:
            try:
                roster.check_block(block)
                refusal = ""
            except VerificationError as error:
                if not roster.keys[slot].is_valid(Domain.BLOCK, block.block.signature, block.block.header_bytes):
                    return "bad signature"
                refusal = str(error)
            self._heed(slot, block)
            judged = _Judged(slot, block, refusal, Entry(identity, Verdict.UNKNOWN))
        judged.entry = self._entry(judged, height)
        self._pending[identity] = judged
        self._remember(judged)
        return ""

    def grown(self, height: int, linked: bytes | None) -> None:
        """The ledger knows more (a head at `height` over block `linked`, or a past): judge again what was not VALID."""
        if linked is not None:
            self._forget(linked)
        for identity in list(self._open):
            judged = self._seen[identity]
            entry = self._entry(judged, height)
            if entry != judged.entry and len(self._pending) < limits.VERDICTS_PER_BATCH_MAX:
                judged.entry = entry
                self._pending[identity] = judged
                self._remember(judged)

    def restated(self, roster: Roster, height: int) -> None:
        """Another epoch is in force: votes of the one before count no more, so everything is judged under it."""
        blocks = [judged.block for judged in self._seen.values()] + list(self._ahead.values())
        self._seen.clear()
        self._open.clear()
        self._ahead.clear()
        self._pending.clear()
        self._seen_bytes = self._ahead_bytes = 0
        for block in blocks:
            self.judge(block, roster, height)

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

    def _entry(self, judged: _Judged, height: int) -> Entry:
        block, header = judged.block.block, judged.block.block.header
        if judged.refusal:
            return _invalid(block.id, judged.refusal)
        if header.parent_height > height:
            return Entry(block.id, Verdict.UNKNOWN)  # this node lags behind the proposer
        parent = self._ledger.link_hash(header.parent_height)
        if parent is not None and parent != header.parent:
            return _invalid(block.id, "the parent is not the link at its height")
        votes = self._voted.setdefault(header.proposer, _Votes())
        if not votes.allows(header.sequence, block.id):
            return _invalid(block.id, "another block of this sequence number was found valid before")
        judgement = validity.judge(judged.block, self._ledger)
        if judgement.conflict:
            return Entry(block.id, Verdict.INVALID, judgement.reasons_digest())
        if judgement.unknown:
            return Entry(block.id, Verdict.UNKNOWN)
        votes.cast(header.sequence, block.id)
        return Entry(block.id, Verdict.VALID)

    def _heed(self, slot: int, block: ParsedBlock) -> None:
        """A block whose signature holds was seen, perhaps for the first time."""
        self.fresh.append((slot, block))
        other = self._witness.second_header(block.block)
        if other is not None:
            self.equivocations.append((slot, other, header_statement(block.block)))

    def _remember(self, judged: _Judged) -> None:
        identity = judged.block.block.id
        if identity not in self._seen:
            self._seen_bytes += _size(judged.block)
        self._seen[identity] = judged
        if judged.entry.verdict is Verdict.VALID:
            self._open.pop(identity, None)
        else:
            self._open[identity] = None
        while len(self._seen) > limits.REMEMBERED_BLOCKS_MAX or self._seen_bytes > limits.REMEMBERED_BYTES_MAX:
            self._forget(next(iter(self._seen)))

    def _forget(self, identity: bytes) -> None:
        judged = self._seen.pop(identity, None)
        if judged is not None:
            self._seen_bytes -= _size(judged.block)
            self._open.pop(identity, None)

    def _keep_ahead(self, block: ParsedBlock) -> str:
        """Keep a block of an epoch that this node does not know yet: whose it is, is not known either."""
        if (
            len(self._ahead) >= limits.BLOCKS_AHEAD_MAX
            or self._ahead_bytes + _size(block) > limits.REMEMBERED_BYTES_MAX
        ):
            return "too far ahead"
        if block.block.id not in self._ahead:
            self._ahead[block.block.id] = block
            self._ahead_bytes += _size(block)
        return ""


def _size(block: ParsedBlock) -> int:
    return sum(map(len, block.block.transactions))


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
