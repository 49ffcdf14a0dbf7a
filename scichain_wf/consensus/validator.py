"""Judging the blocks of others (SciChain Protocol 2, lines 2-9), at once and without waiting.

Rules: VALID at most once per (proposer key, sequence) (SAFE-2): keys are made at boot and die with the process, so a
restart cannot forget a vote that still counts. A verdict names the head it was given at; when the ledger knows all
that an UNKNOWN or INVALID hung on, the block is judged again and a changed verdict is sent. A verdict counts in its
epoch only: in the next one everything that is not linked is judged again. Verdicts of one tick share one signature.

Who makes a block that stays INVALID must not have it judged with every link: each input it hangs on is struck off once,
and between two whole judgements all of them are.

VALID and INVALID of one block at one head would convict this node (`evidence.contradict`). What is decided at a head
stays so, since a `NodeLedger` only gains answers there; where a vote was forgotten, the answer is UNKNOWN.

The puzzle is not judged: storage checks it, votes ignore it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from scichain_wf import limits
from scichain_wf.consensus import validity
from scichain_wf.consensus.evidence import header_statement
from scichain_wf.consensus.shares import Shares
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
    """What a node holds of the chain: its tail.

    From one `apply` to the next, `link_hash` and `contains` always say the same, and a `lookup` changes from UNKNOWN or
    to it only: an honest validator must not be led to contradict itself.
    """

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
    hung: list[validity.Hung] = field(default_factory=list)

    def is_free(self, recorded: set[str | bytes] | None, ledger: NodeLedger) -> bool:
        """Strike off, from the end, what the verdict hangs on no more; returns whether nothing is left.

        Args:
            recorded: URIs and transaction ids that `ledger` learned of; None where it may have learned anything.
            ledger: what is known now.
        """
        if recorded is not None and self.hung:
            last = self.hung[-1]
            if recorded.isdisjoint((last.uri, self.block.leaves[last.transaction])):
                return False
        while self.hung and not self.hung[-1].holds(self.block, ledger):
            self.hung.pop()
        return not self.hung


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
        self._seen: Shares[bytes, _Judged] = Shares(limits.REMEMBERED_BYTES_MAX, limits.REMEMBERED_BLOCKS_MAX)
        self._pending: dict[bytes, _Judged] = {}  # of those, what the next batch says
        self._open: dict[bytes, _Judged] = {}  # of those, what was not VALID and what the ledger learns may make so
        self._ahead: Shares[tuple[int, bytes], ParsedBlock] = Shares(
            limits.REMEMBERED_BYTES_MAX, limits.BLOCKS_AHEAD_MAX
        )
        self._voted: defaultdict[bytes, _Votes] = defaultdict(_Votes)
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

    def judge(self, block: ParsedBlock, sender: int, roster: Roster | None, height: int) -> str:
        """Give a verdict, for the block's proposer; it leaves with the next tick.

        Args:
            block: the block, whoever sent it: its signature says whose it is.
            sender: slot that sent it, on whose account a block waits that is of an epoch to come.
            roster: the epoch in force, as far as this node knows; None before the first.
            height: of this node's head.

        Returns:
            Why the block is not judged (then nothing has changed), or "".
        """
        header, identity = block.block.header, block.block.id
        if header.chain != self._chain:
            return "wrong chain"
        if roster is None or header.epoch > roster.number:
            if roster is not None and header.epoch > roster.number + limits.EPOCHS_AHEAD_MAX:
                return "too far ahead"
            self._ahead.put((sender, identity), sender, block, _size(block))  # whose it is, is not known yet
            return ""
        slot = roster.slot_of(header.proposer)
        if slot is None:
            return "not a member"
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
        self._decide(judged, height)
        self._pending[identity] = judged
        for gone in self._seen.put(identity, slot, judged, _size(block)):
            self._forget(gone)  # with what was not said yet: its proposer's deadline takes over
        return ""

    def grown(self, height: int, linked: ParsedBlock | None) -> None:
        """The ledger knows more (a head at `height` over block `linked`, or a past): judge again what it may change."""
        if linked is not None:
            self._seen.discard(linked.block.id)
            self._forget(linked.block.id)
        if not self._open:
            return
        recorded: set[str | bytes] | None = None
        if linked is not None:
            recorded = {uri.decode() for facts in linked.facts for uri, _ in facts[5]} | set(linked.leaves)
        for judged in list(self._open.values()):
            if judged.is_free(recorded, self._ledger) and self._decide(judged, height):
                self._pending[judged.entry.block] = judged

    def restated(self, roster: Roster, height: int) -> None:
        """Another epoch is in force: votes of the one before count no more, so everything is judged under it."""
        self._open.clear()
        self._pending.clear()
        blocks = [(slot, judged.block) for slot, judged in self._seen.take()] + self._ahead.take()
        for sender, block in blocks:
            self.judge(block, sender, roster, height)

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

    def _decide(self, judged: _Judged, height: int) -> bool:
        """Judge a block, whole; returns whether the verdict is another than before."""
        before = judged.entry
        judged.entry, hung = self._entry(judged, height)
        if hung is None:
            self._open.pop(judged.entry.block, None)
        else:
            judged.hung = hung
            self._open[judged.entry.block] = judged
        return judged.entry != before

    def _entry(self, judged: _Judged, height: int) -> tuple[Entry, list[validity.Hung] | None]:
        """What to say of a block, and the inputs it hangs on; None where nothing that the ledger learns changes it."""
        block, header = judged.block.block, judged.block.block.header
        unknown = Entry(block.id, Verdict.UNKNOWN)
        if judged.refusal:
            return _invalid(block.id, judged.refusal), None
        if header.parent_height > height:
            return unknown, []  # this node lags behind the proposer
        parent = self._ledger.link_hash(header.parent_height)
        if parent is not None and parent != header.parent:
            return _invalid(block.id, "the parent is not the link at its height"), None
        votes = self._voted[header.proposer]
        if votes.forgot(header.sequence):
            return unknown, None  # whatever was said of it: this does not contradict it
        if not votes.allows(header.sequence, block.id):
            return _invalid(block.id, "another block of this sequence number was found valid before"), None
        judgement = validity.judge(judged.block, self._ledger)
        if judgement.conflict:
            return Entry(block.id, Verdict.INVALID, judgement.reasons_digest()), list(judgement.hung)
        if judgement.unknown:
            return unknown, list(judgement.hung)
        votes.cast(header.sequence, block.id)
        return Entry(block.id, Verdict.VALID), None

    def _heed(self, slot: int, block: ParsedBlock) -> None:
        """A block whose signature holds was seen, perhaps for the first time."""
        self.fresh.append((slot, block))
        other = self._witness.second_header(block.block)
        if other is not None:
            self.equivocations.append((slot, other, header_statement(block.block)))

    def _forget(self, identity: bytes) -> None:
        self._open.pop(identity, None)
        self._pending.pop(identity, None)


def _size(block: ParsedBlock) -> int:
    return sum(map(len, block.block.transactions))


class _Votes:
    """VALID votes for one proposer key. Below `_floor` they are forgotten."""

    def __init__(self) -> None:
        self._blocks: dict[int, bytes] = {}
        self._floor = 0

    def forgot(self, sequence: int) -> bool:
        return sequence < self._floor

    def allows(self, sequence: int, block: bytes) -> bool:
        return self._blocks.get(sequence, block) == block

    def cast(self, sequence: int, block: bytes) -> None:
        self._blocks[sequence] = block
        if len(self._blocks) > limits.SEQUENCES_REMEMBERED_MAX:
            oldest = min(self._blocks)
            del self._blocks[oldest]
            self._floor = oldest + 1


def _invalid(block: bytes, reason: str) -> Entry:
    return Entry(block, Verdict.INVALID, digest(Domain.REASONS, canonical.dumps([reason])))
