"""The storage node's part: check the certificate, judge once more against the whole chain, order (Protocols 1 and 2).

`Storage.step` keeps the queue: one group commit at a time, and a block that comes twice waits for the first. `decide`
is called for each candidate *inside* the write transaction of the append, so that V3 and V4 hold exactly: two
validators may both be right about two blocks that conflict. A conflict never sinks a block; it is appended in mode
`poet` with the conflicting transactions annotated. Nothing is announced before it is durable (SAFE-3): `Announce`
comes out of `Decided`, which the driver says after the fsync.

A chain that went back in time must not grow: who shows this node a link that it should have and has not makes it
stop for good (SAFE-7). What is dropped is counted by reason in `dropped` and changes nothing.

Each slot has its share of the queue (`queue`), and only blocks that a slot signed and brings itself get into it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

from scichain_wf import limits
from scichain_wf.consensus import certify, events, messages, validity
from scichain_wf.consensus.conduct import Record
from scichain_wf.consensus.effects import Announce, Halt, Replay, SendSlot
from scichain_wf.consensus.queue import Queue
from scichain_wf.crypto.hashing import Domain
from scichain_wf.errors import InvariantViolation, VerificationError
from scichain_wf.model import canonical, difficulty
from scichain_wf.model.link import Annotation, Link, Mark, Mode
from scichain_wf.model.verdict import Verdict

if TYPE_CHECKING:
    from scichain_wf.consensus.conduct import Recorder
    from scichain_wf.consensus.roster import Roster
    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.crypto.signing import SigningKey, VerifyKey
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

    def head_height(self) -> int:
        """Height of the newest link."""

    def recorder(self, uri: str, /) -> bytes | None:
        """Fingerprint of the key that signed the block in which the artifact's first version is recorded."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A block that wants to be appended.

    Attributes:
        epoch: whose votes the certificate has; None where there is none.
        reason: why it needs storage's own verdict; None for a push, which the votes certify.
        signer: whose signature of the block was verified when it came; None: nobody's yet.
    """

    block: ParsedBlock
    solution: Solution | None
    votes: tuple[Vote, ...]
    epoch: int | None
    reason: str | None
    certificate: bytes | None
    signer: VerifyKey | None = None


@dataclass(frozen=True, slots=True)
class Append:
    """Append the block so. `against`: for each contested transaction, whose key recorded what it contradicts."""

    mode: Mode
    certificate: bytes
    annotations: tuple[Annotation, ...]
    epoch: int
    against: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Appended:
    """The block has become this link; `against` as in `Append`."""

    link: Link
    against: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Already:
    """The block was this link before."""

    link: Link


Decision: TypeAlias = Append | Already | messages.Answer


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a candidate, durably."""

    candidate: Candidate
    result: Appended | Already | messages.Answer


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
        credit: blocks appended that stated anything new, by the slot that solved their puzzle (without one: that made
            them; SciChain §4.5). Of this process only: the chain holds what it takes to count everything.
        dropped: inputs that changed nothing, by reason.
        queue: what waits for a group commit.
    """

    def __init__(self, key: SigningKey, chain: bytes, writer: int) -> None:
        self._key, self._chain, self._writer = key, chain, writer
        self._roster: Roster | None = None
        self._checker: certify.VoteChecker | None = None
        self.queue: Queue[Candidate] = Queue()
        self._waiting: dict[bytes, int] = {}  # slot of each block that is queued or being committed
        self._committing = False
        self._records: dict[int, Record] = {}
        self._slots: dict[bytes, int] = {}  # of every key that was bound since this generation, or process, began
        self._contradicting: set[int] = set()
        self._halted = ""
        self.credit: Counter[int] = Counter()
        self.dropped: Counter[str] = Counter()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or being committed."""
        return not self._committing and not self.queue

    def step(self, event: StorageEvent, now: float) -> tuple[StorageEffect, ...]:
        """Take one event; returns what is to be done, in order."""
        effects: list[StorageEffect] = []
        if isinstance(event, events.Pushed):
            effects += self._pushed(event, now)
        elif isinstance(event, events.Extended):
            candidate = Candidate(event.block, event.solution, event.votes, None, event.reason, None)
            effects += self._enqueue(event.slot, candidate, now)
        elif isinstance(event, events.EpochInForce):
            self._restated(event.roster)
        elif isinstance(event, events.SyncReceived):
            if self._is_member(event.slot):
                effects.append(Replay(event.slot, event.next))
        elif isinstance(event, events.Presented):
            effects += self._presented(event)
        else:
            self._committing = False
            for outcome in event.outcomes:
                effects += self._told(outcome)
        if self.queue and not self._committing:
            self._committing = True
            effects.append(Commit(self.queue.group()))
        return tuple(effects)

    def decide(self, candidate: Candidate, chain: WholeChain) -> Decision:
        """What to do with a block, given the whole chain. May be run again after an aborted transaction."""
        roster, checker = self._roster, self._checker
        if roster is None or checker is None:
            raise InvariantViolation("a block is to be judged before any epoch is in force")
        block, header = candidate.block.block, candidate.block.block.header
        known = chain.proposal(header.proposer, header.sequence)
        if known is not None and known[1] == block.id:
            return Already(chain.link(known[0]))
        if self._halted:
            return messages.Answer(block.id, "wait", reason=self._halted)
        try:
            if known is not None:
                raise VerificationError("another block of this sequence number is committed")
            roster.check_block(candidate.block, candidate.signer)
            _check_place(block, roster, chain)
            outdated = _outdated(candidate, roster, chain)
            if outdated:
                return messages.Answer(block.id, "outdated", reason=outdated)
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
        against = tuple(chain.recorder(uri) or header.proposer for uri in judgement.contradicted)
        return Append(Mode.POET, certificate.encode(), judgement.annotations, roster.number, against)

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
        block, roster = candidate.block.block, self._roster
        if roster is None:
            return [self._put_off(slot, block.id, "no epoch is in force yet")]
        if slot not in roster.keys:
            return [self._put_off(slot, block.id, "not a member")]
        if roster.slot_of(block.header.proposer) != slot:
            # Else a liar could bring others' blocks first and spoil them: they would be given the answer to that.
            return [self._refuse(slot, candidate.block, "the block is not of the slot that brings it")]
        if block.header.chain != self._chain:
            return [self._refuse(slot, candidate.block, "the block belongs to another chain")]
        if self._halted:
            return [self._put_off(slot, block.id, self._halted)]
        if block.id in self._waiting:
            return []
        if not roster.keys[slot].is_valid(Domain.BLOCK, block.signature, block.header_bytes):
            return [self._refuse(slot, candidate.block, "the block's signature does not hold")]
        votes = candidate.votes if candidate.certificate is not None else _one_each(candidate.votes, roster)
        candidate = replace(candidate, votes=votes, signer=roster.keys[slot])
        record = self._record(slot)
        if not record.is_due(now, self._liars_max):
            return [self._put_off(slot, block.id, "too much of what this slot stated lately is contested")]
        if not self.queue.put(slot, candidate, _size_bytes(candidate), roster.epoch.slots):
            return [self._put_off(slot, block.id, "storage is busy")]
        record.taken(now)
        self._waiting[block.id] = slot
        return []

    def _told(self, outcome: Outcome) -> list[StorageEffect]:
        candidate, result = outcome.candidate, outcome.result
        block = candidate.block.block
        slot = self._waiting.pop(block.id)
        if self._halted:
            return [self._put_off(slot, block.id, self._halted)]
        if isinstance(result, messages.Answer):
            if result.answer in ("outdated", "refused"):
                self.dropped[result.answer] += 1
            return [SendSlot(slot, result)]
        if isinstance(result, Already):  # everybody was told: whoever asks again has not heard it
            return [SendSlot(slot, messages.Committed(result.link, block))]
        self._book(candidate, result)
        # Votes beside a block without a certificate may be forged: who is said to have cast them may lack the block.
        voters = () if candidate.certificate is None else (vote.header.slot for vote in candidate.votes)
        return [Announce(messages.Committed(result.link, block), frozenset({slot, *voters}))]

    def _book(self, candidate: Candidate, appended: Appended) -> None:
        """What an appended block says of its slot."""
        header, solution = candidate.block.block.header, candidate.solution
        if header.count > sum(annotation.mark is Mark.DUPLICATE for annotation in appended.link.annotations):
            self.credit[self._slots.get(header.proposer if solution is None else solution.solver, 0)] += 1
        whose: list[Recorder] = [self._slots.get(key, key) for key in appended.against]
        self._record(self._slots.get(header.proposer, 0)).extend(header.count, whose)

    def _restated(self, roster: Roster) -> None:
        """An epoch is in force."""
        if self._roster is not None and self._roster.epoch.generation != roster.epoch.generation:
            # Other slots: their words do not add up with those of the ones before, nor do their deeds.
            self._contradicting.clear()
            self._records.clear()
            self._slots.clear()
        self._roster = roster
        self._checker = certify.VoteChecker(roster)
        self._slots.update((key.fingerprint, slot) for slot, key in roster.keys.items())

    def _presented(self, event: events.Presented) -> list[StorageEffect]:
        if event.own == event.head:
            if not event.proven:  # an old checkpoint that agrees says nothing of the links after it
                self._contradicting.discard(event.slot)
            return []
        self._contradicting.add(event.slot)
        # What nothing but words supports stops the chain only where not everybody who says it can be a liar (LIVE-1).
        if self._halted or len(self._contradicting) <= (0 if event.proven else self._liars_max):
            self.dropped["a head that is not of this chain"] += 1
            return []
        self._halted = (
            f"slot {event.slot} holds link {event.height}, which this chain "
            f"{'does not reach' if event.own is None else 'contradicts'}: the ledger was rolled back or exchanged, "
            "and nothing is appended to it"
        )
        waiting = [(slot, candidate.block.block.id) for slot, candidate in self.queue.clear()]
        answers = [self._put_off(slot, block, self._halted) for slot, block in waiting]
        for _, block in waiting:
            del self._waiting[block]
        return [*answers, Halt(self._halted)]

    @property
    def _liars_max(self) -> int:
        """How many slots of the epoch can be liars; nobody before one is in force."""
        return 0 if self._roster is None else (self._roster.epoch.slots - 1) // 2

    def _is_member(self, slot: int) -> bool:
        """Whether the epoch in force binds a key to this slot; where not, that is counted."""
        if self._roster is None or slot in self._roster.keys:
            return True
        self.dropped["not a member"] += 1
        return False

    def _record(self, slot: int) -> Record:
        return self._records.setdefault(slot, Record(slot))

    def _refuse(self, slot: int, block: ParsedBlock, reason: str) -> SendSlot:
        self.dropped[reason] += 1
        return SendSlot(slot, _refused(block, reason))

    def _put_off(self, slot: int, block: bytes, reason: str) -> SendSlot:
        self.dropped[reason] += 1
        return SendSlot(slot, messages.Answer(block, "wait", reason=reason))


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


def _outdated(candidate: Candidate, roster: Roster, chain: WholeChain) -> str:
    """Why the block came too late, through no fault of its transactions, or ""."""
    header, solution, rule = candidate.block.block.header, candidate.solution, roster.epoch.settings.difficulty
    if difficulty.is_outdated(rule, header.parent_height, chain.head_height(), chain.link_time_us):
        return (
            f"the parent, link {header.parent_height}, is more than {limits.PARENT_AGE_US_MAX // 1_000_000} s older "
            "than the newest link, and the difficulty follows from it"
        )
    if solution is not None and solution.solver != header.proposer and roster.slot_of(solution.solver) is None:
        return "who solved its puzzle has another key by now"
    return ""


def _one_each(votes: tuple[Vote, ...], roster: Roster) -> tuple[Vote, ...]:
    """One vote for each slot of the epoch that has any: others count nowhere and may be many."""
    return tuple({vote.header.slot: vote for vote in votes if vote.header.slot in roster.keys}.values())


def _size_bytes(candidate: Candidate) -> int:
    """Of what came: the transactions with the certificate, or with the votes that take its place."""
    certificate, votes = candidate.certificate, candidate.votes
    proof = (canonical.dumps(vote.value()) for vote in votes) if certificate is None else (certificate,)
    return sum(map(len, (*candidate.block.block.transactions, *proof)))


def _refused(block: ParsedBlock, reason: str) -> messages.Answer:
    return messages.Answer(block.block.id, "refused", reason=reason)
