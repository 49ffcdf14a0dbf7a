"""The storage node's part: check the certificate, judge once more against the whole chain, order (Protocols 1 and 2).

`Storage.step` keeps the queue: one group commit at a time, and a block that comes twice waits for the first. `decide`
is called for each candidate *inside* the write transaction of the append, so that V3 and V4 hold exactly: two
validators may both be right about two blocks that conflict. A conflict never sinks a block; it is appended in mode
`poet` with the conflicting transactions annotated. Nothing is announced before it is durable (SAFE-3): `Announce`
comes out of `Decided`, which the driver says after the fsync.

A chain that went back in time must not grow: who shows this node a link that it should have and has not makes it
stop for good (SAFE-7). What is dropped is counted by reason in `dropped` and changes nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from scichain_wf import limits
from scichain_wf.consensus import certify, events, messages, validity
from scichain_wf.consensus.effects import Announce, Halt, Replay, SendSlot
from scichain_wf.errors import InvariantViolation, VerificationError
from scichain_wf.model import difficulty
from scichain_wf.model.link import Annotation, Link, Mark, Mode
from scichain_wf.model.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scichain_wf.consensus.roster import Roster
    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.crypto.signing import SigningKey
    from scichain_wf.model.block import Block
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

    def link_time_us(self, height: int, /) -> int:
        """When the link at `height` was appended, as it says."""


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


StorageEvent: TypeAlias = (
    events.Pushed | events.Extended | events.EpochInForce | events.SyncReceived | events.Presented | Decided
)
StorageEffect: TypeAlias = Commit | Announce | SendSlot | Replay | Halt


class Storage:
    """The queue before the chain, and the rules at its end.

    Attributes:
        credit: blocks appended, by the slot that solved their puzzle (without one: that made them; SciChain §4.5).
        dropped: inputs that changed nothing, by reason.
    """

    def __init__(self, key: SigningKey, chain: bytes, writer: int) -> None:
        self._key, self._chain, self._writer = key, chain, writer
        self._roster: Roster | None = None
        self._checker: certify.VoteChecker | None = None
        self._queue: deque[Candidate] = deque()
        self._waiting: dict[bytes, set[int]] = {}
        self._queued_bytes = 0
        self._committing = False
        self._repeated: set[bytes] = set()
        self._records: dict[int, _Record] = {}
        self._contradicting: set[int] = set()
        self._halted = ""
        self.credit: Counter[int] = Counter()
        self.dropped: Counter[str] = Counter()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or being committed."""
        return not self._committing and not self._queue

    def step(self, event: StorageEvent, now: float) -> tuple[StorageEffect, ...]:
        """Take one event; returns what is to be done, in order."""
        effects: list[StorageEffect] = []
        if isinstance(event, events.Pushed):
            effects += self._pushed(event, now)
        elif isinstance(event, events.Extended):
            epoch = self._roster.number if self._roster is not None else 0
            candidate = Candidate(event.block, event.solution, event.votes, epoch, event.reason, None)
            effects += self._enqueue(event.slot, candidate, now)
        elif isinstance(event, events.EpochInForce):
            if self._roster is not None and self._roster.epoch.generation != event.roster.epoch.generation:
                self._contradicting.clear()  # other slots: their words do not add up with those of the ones before
            self._roster = event.roster
            self._checker = certify.VoteChecker(self._roster)
        elif isinstance(event, events.SyncReceived):
            if self._is_member(event.slot):
                effects.append(Replay(event.slot, event.next))
        elif isinstance(event, events.Presented):
            effects += self._presented(event)
        else:
            self._committing = False
            for outcome in event.outcomes:
                effects += self._told(outcome)
        if self._queue and not self._committing:
            self._committing = True
            effects.append(Commit(self._group()))
        return tuple(effects)

    def decide(self, candidate: Candidate, chain: WholeChain) -> Decision:
        """What to do with a block, given the whole chain. May be run again after an aborted transaction."""
        roster, checker = self._roster, self._checker
        if roster is None or checker is None:
            raise InvariantViolation("a block is to be judged before any epoch is in force")
        block, header = candidate.block.block, candidate.block.block.header
        known = chain.proposal(header.proposer, header.sequence)
        if known is not None and known[1] == block.id:
            self._repeated.add(block.id)
            return Already(chain.link(known[0]))
        if self._halted:
            return messages.Answer(block.id, "wait", reason=self._halted)
        try:
            if known is not None:
                raise VerificationError("another block of this sequence number is committed")
            roster.check_block(candidate.block)
            _check_place(block, roster, chain)
            roster.check_solution(block, candidate.solution)
        except VerificationError as error:
            return _refused(candidate.block, str(error))
        bad = set(checker.bad_votes(candidate.votes))
        votes = tuple(vote for vote in candidate.votes if vote.header.slot not in bad)
        valid = len({vote.header.slot for vote in votes if vote.entry.verdict is Verdict.VALID})
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

    def _pushed(self, event: events.Pushed, now: float) -> list[StorageEffect]:
        certificate = event.certificate
        if certificate.block != event.block.block.id:
            return [self._refuse(event.slot, event.block, "the certificate is of another block")]
        return self._enqueue(
            event.slot,
            Candidate(
                event.block, certificate.solution, certificate.votes, certificate.epoch, None, certificate.encode()
            ),
            now,
        )

    def _enqueue(self, slot: int, candidate: Candidate, now: float) -> list[StorageEffect]:
        header, identity = candidate.block.block.header, candidate.block.block.id
        if not self._is_member(slot):
            return []
        if self._roster is not None and self._slot_of(header.proposer) != slot:
            # Else a liar could bring others' blocks first and spoil them: the answer goes to all who wait for a block.
            return [self._refuse(slot, candidate.block, "the block is not of the slot that brings it")]
        if header.chain != self._chain:
            return [self._refuse(slot, candidate.block, "the block belongs to another chain")]
        if self._halted:
            return [self._put_off(slot, identity, self._halted)]
        waiting = self._waiting.get(identity)
        if waiting is not None:
            waiting.add(slot)
        elif self._queued_bytes + _size(candidate) > limits.STORAGE_QUEUE_BYTES_MAX:
            return [self._put_off(slot, identity, "storage is busy")]
        elif not self._record(header.proposer).is_due(now):
            return [self._put_off(slot, identity, "too much of what this slot stated lately is contested")]
        else:
            self._waiting[identity] = {slot}
            self._queue.append(candidate)
            self._queued_bytes += _size(candidate)
        return []

    def _told(self, outcome: Outcome) -> list[StorageEffect]:
        candidate, result = outcome.candidate, outcome.result
        block = candidate.block.block
        slots = sorted(self._waiting.pop(block.id))
        if self._halted:
            return [self._put_off(slot, block.id, self._halted) for slot in slots]
        if isinstance(result, messages.Answer):
            if result.answer == "refused":
                self.dropped["refused"] += 1
            return [SendSlot(slot, result) for slot in slots]
        if block.id in self._repeated:  # everybody was told: whoever asks again has not heard it
            self._repeated.remove(block.id)
            return [SendSlot(slot, messages.Committed(result, block)) for slot in slots]
        self._book(candidate, result)
        # Votes beside a block without a certificate may be forged: who is said to have cast them may lack the block.
        voters = () if candidate.certificate is None else (vote.header.slot for vote in candidate.votes)
        holders = frozenset({*slots, *voters})
        return [Announce(messages.Committed(result, block), holders)]

    def _book(self, candidate: Candidate, link: Link) -> None:
        """What an appended block says of its slot."""
        header, solution = candidate.block.block.header, candidate.solution
        slot = self._slot_of(header.proposer if solution is None else solution.solver)
        self.credit[slot] += 1
        contested = {annotation.index for annotation in link.annotations if annotation.mark is Mark.CONTESTED}
        self._record(header.proposer).extend(index in contested for index in range(header.count))

    def _presented(self, event: events.Presented) -> list[StorageEffect]:
        if event.own == event.head:
            if not event.proven:  # an old checkpoint that agrees says nothing of the links after it
                self._contradicting.discard(event.slot)
            return []
        self._contradicting.add(event.slot)
        # What nothing but words supports stops the chain only where not everybody who says it can be a liar (LIVE-1).
        liars_max = (self._roster.epoch.slots - 1) // 2 if self._roster is not None and not event.proven else 0
        if self._halted or len(self._contradicting) <= liars_max:
            self.dropped["a head that is not of this chain"] += 1
            return []
        self._halted = (
            f"slot {event.slot} holds link {event.height}, which this chain "
            f"{'does not reach' if event.own is None else 'contradicts'}: the ledger was rolled back or exchanged, "
            "and nothing is appended to it"
        )
        answers = [
            self._put_off(slot, candidate.block.block.id, self._halted)
            for candidate in self._queue
            for slot in sorted(self._waiting.pop(candidate.block.block.id))
        ]
        self._queue.clear()
        self._queued_bytes = 0
        return [*answers, Halt(self._halted)]

    def _is_member(self, slot: int) -> bool:
        """Whether the epoch in force binds a key to this slot; where not, that is counted."""
        if self._roster is None or slot in self._roster.keys:
            return True
        self.dropped["not a member"] += 1
        return False

    def _slot_of(self, fingerprint: bytes) -> int:
        """The slot of a key; 0 for one that no slot has any more."""
        return (self._roster.slot_of(fingerprint) if self._roster is not None else None) or 0

    def _record(self, proposer: bytes) -> _Record:
        return self._records.setdefault(self._slot_of(proposer), _Record())

    def _refuse(self, slot: int, block: ParsedBlock, reason: str) -> SendSlot:
        self.dropped[reason] += 1
        return SendSlot(slot, _refused(block, reason))

    def _put_off(self, slot: int, block: bytes, reason: str) -> SendSlot:
        self.dropped[reason] += 1
        return SendSlot(slot, messages.Answer(block, "wait", reason=reason))


class _Record:
    """What became of a slot's newest transactions: where too many are contested, it has to wait between blocks."""

    def __init__(self) -> None:
        self._contested: deque[bool] = deque(maxlen=limits.CONTESTED_WINDOW)
        self._next = 0.0

    def extend(self, contested: Iterable[bool]) -> None:
        self._contested.extend(contested)

    def is_due(self, now: float) -> bool:
        """Whether a block may be taken now; where it may, the next one waits."""
        if sum(self._contested) * 1_000 <= limits.CONTESTED_PERMILLE_MAX * limits.CONTESTED_WINDOW:
            return True
        if now < self._next:
            return False
        self._next = now + limits.CONTESTED_PAUSE_S
        return True


def _check_place(block: Block, roster: Roster, chain: WholeChain) -> None:
    """The block's parent is a link, and its difficulty is what follows from it (decision 4)."""
    header, epoch = block.header, roster.epoch
    if chain.link_hash(header.parent_height) != header.parent:
        raise VerificationError("the parent is not a committed link")
    rule, mining = epoch.settings.difficulty, epoch.settings.mining
    wanted = difficulty.expected(rule, mining, epoch.slots, header.parent_height, chain.link_time_us)
    if header.difficulty != wanted:
        raise VerificationError(
            f"the block's difficulty is {header.difficulty}; on link {header.parent_height} it has to be {wanted}"
        )


def _size(candidate: Candidate) -> int:
    return sum(map(len, candidate.block.block.transactions))


def _refused(block: ParsedBlock, reason: str) -> messages.Answer:
    return messages.Answer(block.block.id, "refused", reason=reason)
