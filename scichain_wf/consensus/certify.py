"""Counting votes: when a quorum is there, when it cannot come any more, and whether a certificate holds.

A vote is one entry of one validator's signed verdict batch. The proposer counts with `Tally`; the storage node
checks the result with `VoteChecker`, the only place where a vote's signature is verified. q = ⌊N/2⌋+1 *slots* of the
epoch, never of who happens to be alive (SciChain Protocol 1, line 9: |VNodes| > N/2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scichain_wf import limits
from scichain_wf.crypto.hashing import Domain, sha256
from scichain_wf.errors import VerificationError
from scichain_wf.model.certificate import PoetCertificate, QuorumCertificate, Solution
from scichain_wf.model.link import Annotation, annotations_digest
from scichain_wf.model.verdict import Verdict, Vote

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable

    from scichain_wf.consensus.roster import Roster
    from scichain_wf.crypto.signing import SigningKey
    from scichain_wf.model.verdict import VerdictBatch


def refusal(batch: VerdictBatch, slot: int, chain: bytes, roster: Roster | None, suspects: Container[int]) -> str:
    """Why a batch that the agent of `slot` sent is not to be counted, or "".

    Args:
        batch: as it was decoded.
        slot: whose channel it came by.
        chain: chain id.
        roster: the epoch in force; None before the first.
        suspects: slots whose signature is verified. Everybody's would cost a proposer more than all else about a
            block (300 us a batch, 20 ms a block among 64 nodes), and storage verifies what a certificate cites.
    """
    header = batch.header
    if header.chain != chain:
        return "wrong chain"
    if header.slot != slot:
        return "wrong slot"
    if roster is None or header.epoch != roster.number:
        return "wrong epoch"
    if slot not in roster.keys:
        return "not a member"
    if slot in suspects and not roster.keys[slot].is_valid(Domain.VERDICT_BATCH, batch.signature, header.encode()):
        return "bad signature"
    return ""


class Tally:
    """The votes on one block, under one epoch. A later verdict of a slot replaces its earlier one."""

    def __init__(self, roster: Roster, block: bytes) -> None:
        self._roster = roster
        self._block = block
        self._votes: dict[int, Vote] = {}
        self._valid: set[int] = set()
        self._refused: set[int] = set()  # INVALID, or dropped
        self._dropped: set[int] = set()

    @property
    def epoch(self) -> int:
        """Number of the epoch whose votes count."""
        return self._roster.number

    @property
    def voters(self) -> frozenset[int]:
        """Slots that said VALID."""
        return frozenset(self._valid)

    def refusal(self, vote: Vote) -> str:
        """Why a vote does not count, or ""."""
        header, known = vote.header, self._votes.get(vote.header.slot)
        if vote.entry.block != self._block:
            return "unknown block"
        if header.chain != self._roster.chain:
            return "wrong chain"
        if header.epoch != self._roster.number:
            return "wrong epoch"
        if header.slot not in self._roster.keys:
            return "not a member"
        if header.slot in self._dropped:
            return "votes do not hold"
        return "verdict replayed" if known is not None and known.header.batch >= header.batch else ""

    def add(self, vote: Vote) -> bool:
        """Count a vote; False if it does not count (see `refusal`)."""
        if self.refusal(vote):
            return False
        slot = vote.header.slot
        self._votes[slot] = vote
        for slots, verdict in ((self._valid, Verdict.VALID), (self._refused, Verdict.INVALID)):
            if vote.entry.verdict is verdict:
                slots.add(slot)
            else:
                slots.discard(slot)
        return True

    def drop(self, slots: Iterable[int]) -> None:
        """Never count these slots again for this block: storage says that their votes do not hold."""
        for slot in slots:
            self._dropped.add(slot)
            self._refused.add(slot)
            self._valid.discard(slot)
            self._votes.pop(slot, None)

    def vote_of(self, slot: int) -> Vote | None:
        """The last vote of a slot."""
        return self._votes.get(slot)

    def valid(self) -> tuple[Vote, ...]:
        """VALID votes, by slot."""
        return tuple(self._votes[slot] for slot in sorted(self._valid))

    def votes(self) -> tuple[Vote, ...]:
        """Every vote, by slot."""
        return tuple(self._votes[slot] for slot in sorted(self._votes))

    def has_quorum(self) -> bool:
        """Whether enough slots said VALID."""
        return len(self._valid) >= self._roster.quorum

    def is_impossible(self, reachable: Collection[int]) -> bool:
        """Whether a quorum can no longer come: too many refused, or are not reachable and did not say VALID.

        UNKNOWN is not a refusal: its slot may know more a moment later. Only the deadline ends the wait for it.

        Args:
            reachable: distinct slots that the epoch binds and that may still answer.
        """
        if len(reachable) - len(self._refused) >= self._roster.quorum:
            return False  # so it is almost always, and found without looking at each slot
        return len((set(reachable) | self._valid) - self._refused) < self._roster.quorum

    def certificate(self, solution: Solution | None) -> QuorumCertificate:
        """The certificate of a block that has its quorum.

        Raises:
            VerificationError: it has not.
        """
        if not self.has_quorum():
            raise VerificationError(f"{len(self._valid)} slots said VALID, {self._roster.quorum} are needed")
        return QuorumCertificate(self._block, self._roster.number, solution, self.valid())


class VoteChecker:
    """Verifies votes under one epoch; remembers batches, since one signature serves every block of a tick."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._verified: dict[bytes, bool] = {}  # by digest: what is signed takes 4 KiB, and comes with every vote

    def bad_votes(self, votes: Iterable[Vote]) -> tuple[int, ...]:
        """Slots whose vote does not hold: another chain or epoch, no such slot, wrong path or signature."""
        return tuple(sorted({vote.header.slot for vote in votes if not self._holds(vote)}))

    def _holds(self, vote: Vote) -> bool:
        header = vote.header
        key = self._roster.keys.get(header.slot)
        if key is None or header.chain != self._roster.chain or header.epoch != self._roster.number:
            return False
        try:
            vote.verify_path()
        except VerificationError:
            return False
        data = header.encode()
        batch = sha256(vote.signature + data)
        holds = self._verified.get(batch)
        if holds is None:
            if len(self._verified) >= limits.VERIFIED_BATCHES_MAX:
                self._verified.clear()
            holds = self._verified[batch] = key.is_valid(Domain.VERDICT_BATCH, vote.signature, data)
        return holds


def poet_certificate(
    key: SigningKey,
    block: bytes,
    roster: Roster,
    solution: Solution | None,
    votes: tuple[Vote, ...],
    writer: int,
    reason: str,
    annotations: tuple[Annotation, ...],
) -> PoetCertificate:
    """The storage node's own verdict on a block, with every vote it saw (SciChain Protocol 2, lines 10-18)."""
    fields = (block, roster.number, solution, votes, writer, reason, annotations_digest(annotations))
    unsigned = PoetCertificate(*fields, signature=bytes(64))
    return PoetCertificate(*fields, signature=key.sign(Domain.STORAGE, unsigned.statement()))
