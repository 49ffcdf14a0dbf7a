"""The storage node's part: check the certificate, judge once more against the whole chain, order (Protocols 1 and 2).

`Storage.step` keeps the queue: one group commit at a time, and a block that comes twice waits for the first. `decide`
is called for each candidate *inside* the write transaction of the append, so that V3 and V4 hold exactly: two
validators may both be right about two blocks that conflict. A conflict never sinks a block; it is appended in mode
`poet` with the conflicting transactions annotated. Nothing is announced before it is durable (SAFE-3): `Announce`
comes out of `Decided`, which the driver says after the fsync.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from scichain_wf import limits
from scichain_wf.consensus import certify, events, messages, validity
from scichain_wf.consensus.effects import Announce, SendSlot
from scichain_wf.consensus.roster import Roster
from scichain_wf.errors import InvariantViolation, VerificationError
from scichain_wf.model.link import Annotation, Link, Mode
from scichain_wf.model.verdict import Verdict

if TYPE_CHECKING:
    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.crypto.signing import SigningKey
    from scichain_wf.model.certificate import Solution
    from scichain_wf.model.verdict import Vote


class WholeChain(validity.Lookup, Protocol):
    """The authoritative chain, including what was appended earlier in the same group commit."""

    def link_hash(self, height: int, /) -> bytes | None:
        """Hash of the link at `height`, or None above the head."""

    def proposal(self, proposer: bytes, sequence: int, /) -> tuple[int, bytes] | None:
        """Height and block id of what this proposer key committed under this sequence number."""

    def link(self, height: int, /) -> Link:
        """The link at `height`."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A block that wants to be appended. `reason` is None for a push (the votes certify it) and says why for POET."""

    block: ParsedBlock
    solution: Solution | None
    votes: tuple[Vote, ...]
    epoch: int
    reason: str | None
    certificate: bytes | None


@dataclass(frozen=True, slots=True)
class Append:
    """Append the block so."""

    mode: Mode
    certificate: bytes
    annotations: tuple[Annotation, ...]
    epoch: int


@dataclass(frozen=True, slots=True)
class Already:
    """The block is this link."""

    link: Link


Decision: TypeAlias = Append | Already | messages.Answer


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a candidate, durably: its link (old or new), or the answer to its proposer."""

    candidate: Candidate
    result: Link | messages.Answer


@dataclass(frozen=True, slots=True)
class Decided:
    """A group commit is durable."""

    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """Effect: decide and append these in order in one transaction, then say `Decided`."""

    candidates: tuple[Candidate, ...]


StorageEvent: TypeAlias = events.Pushed | events.Extended | events.EpochInForce | Decided
StorageEffect: TypeAlias = Commit | Announce | SendSlot


class Storage:
    """The queue before the chain, and the rules at its end."""

    def __init__(self, key: SigningKey, chain: bytes, writer: int) -> None:
        self._key, self._chain, self._writer = key, chain, writer
        self._roster: Roster | None = None
        self._checker: certify.VoteChecker | None = None
        self._queue: deque[Candidate] = deque()
        self._waiting: dict[bytes, set[int]] = {}
        self._queued_bytes = 0
        self._committing = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or being committed."""
        return not self._committing and not self._queue

    def step(self, event: StorageEvent, _now: float) -> tuple[StorageEffect, ...]:
        """Take one event; returns what is to be done, in order."""
        effects: list[StorageEffect] = []
        if isinstance(event, events.Pushed):
            certificate = event.certificate
            if certificate.block != event.block.block.id:
                return (SendSlot(event.slot, _refused(event.block, "the certificate is of another block")),)
            effects += self._enqueue(
                event.slot,
                Candidate(
                    event.block, certificate.solution, certificate.votes, certificate.epoch, None, certificate.encode()
                ),
            )
        elif isinstance(event, events.Extended):
            epoch = self._roster.number if self._roster is not None else 0
            candidate = Candidate(event.block, event.solution, event.votes, epoch, event.reason, None)
            effects += self._enqueue(event.slot, candidate)
        elif isinstance(event, events.EpochInForce):
            self._roster = Roster(event.epoch, self._chain)
            self._checker = certify.VoteChecker(self._roster)
        else:
            self._committing = False
            for outcome in event.outcomes:
                effects += self._told(outcome)
        if self._queue and not self._committing:
            self._committing = True
            effects.append(Commit(self._group()))
        return tuple(effects)

    def decide(self, candidate: Candidate, chain: WholeChain) -> Decision:
        """What to do with a block, given the whole chain. Pure: may be run again after an aborted transaction."""
        roster, checker = self._roster, self._checker
        if roster is None or checker is None:
            raise InvariantViolation("a block is to be judged before any epoch is in force")
        block, header = candidate.block.block, candidate.block.block.header
        known = chain.proposal(header.proposer, header.sequence)
        if known is not None and known[1] == block.id:
            return Already(chain.link(known[0]))
        try:
            if known is not None:
                raise VerificationError("another block of this sequence number is committed")
            roster.check_block(candidate.block)
            roster.check_solution(block, candidate.solution)
            if chain.link_hash(header.parent_height) != header.parent:
                raise VerificationError("the parent is not a committed link")
        except VerificationError as error:
            return _refused(candidate.block, str(error))
        bad = set(checker.bad_votes(candidate.votes))
        votes = tuple(vote for vote in candidate.votes if vote.header.slot not in bad)
        valid = sum(vote.entry.verdict is Verdict.VALID for vote in votes)
        judgement = validity.judge(candidate.block, chain)
        if candidate.certificate is not None:
            if bad or candidate.epoch != roster.number or valid < roster.quorum:
                return messages.Answer(block.id, "bad-votes", tuple(sorted(bad)))
            if not judgement.conflict:
                return Append(Mode.QUORUM, candidate.certificate, judgement.annotations, roster.number)
        weight = roster.epoch.settings.storage_weight
        if candidate.certificate is None and weight and valid + weight < roster.quorum:
            return messages.Answer(block.id, "wait", reason="too few slots agree for storage to decide with them")
        certificate = certify.poet_certificate(
            self._key,
            block.id,
            roster,
            candidate.solution,
            votes,
            self._writer,
            candidate.reason or "conflict",
            judgement.annotations,
        )
        return Append(Mode.POET, certificate.encode(), judgement.annotations, roster.number)

    def _group(self) -> tuple[Candidate, ...]:
        """What is committed together: everything that waits, within bounds."""
        group: list[Candidate] = []
        size_bytes = 0
        while self._queue and len(group) < limits.APPEND_BATCH_BLOCKS_MAX and size_bytes < limits.APPEND_BATCH_BYTES:
            candidate = self._queue.popleft()
            size_bytes += _size(candidate)
            group.append(candidate)
        self._queued_bytes -= size_bytes
        return tuple(group)

    def _enqueue(self, slot: int, candidate: Candidate) -> list[StorageEffect]:
        identity = candidate.block.block.id
        waiting = self._waiting.get(identity)
        if waiting is not None:
            waiting.add(slot)
        elif self._queued_bytes + _size(candidate) > limits.STORAGE_QUEUE_BYTES_MAX:
            return [SendSlot(slot, messages.Answer(identity, "wait", reason="storage is busy"))]
        else:
            self._waiting[identity] = {slot}
            self._queue.append(candidate)
            self._queued_bytes += _size(candidate)
        return []

    def _told(self, outcome: Outcome) -> list[StorageEffect]:
        candidate, result = outcome.candidate, outcome.result
        block = candidate.block.block
        slots = self._waiting.pop(block.id)
        if isinstance(result, messages.Answer):
            return [SendSlot(slot, result) for slot in sorted(slots)]
        holders = frozenset({*slots, *(vote.header.slot for vote in candidate.votes)})
        return [Announce(messages.Committed(result, block), holders)]


def _size(candidate: Candidate) -> int:
    return sum(map(len, candidate.block.block.transactions))


def _refused(block: ParsedBlock, reason: str) -> messages.Answer:
    return messages.Answer(block.block.id, "refused", reason=reason)
