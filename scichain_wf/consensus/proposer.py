"""A proposer's blocks and their states: one table, from which the documentation's diagram is made.

    DRAFT → MINED → PROPOSED → CERTIFIED → COMMITTED
    PROPOSED → EXTENDING (POET) → COMMITTED
    CERTIFIED or EXTENDING → PARKED (storage unreachable or busy: the same block again, later) → COMMITTED
    CERTIFIED or EXTENDING → REJECTED (structurally wrong: its transactions are drafted anew)
    CERTIFIED → PROPOSED (storage found votes that do not hold: without those, and with who did not vote yet)
    PROPOSED or PARKED → PROPOSED (another epoch is in force: votes of two epochs do not add up)

A block is immutable once signed and its sequence number is never used again. Push and Extend are idempotent, so a
parked block is sent as it was; blocks of one proposer commit in any order (SciChain §4.5, the waiting queue).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from scichain_wf import limits
from scichain_wf.consensus import certify, messages
from scichain_wf.consensus.effects import AgentEffect, Note, SendPeer, SendStorage
from scichain_wf.errors import InvariantViolation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scichain_wf.consensus.dissemination import Reach
    from scichain_wf.consensus.events import Item
    from scichain_wf.consensus.roster import Roster
    from scichain_wf.consensus.timing import Timing
    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.model.certificate import Solution
    from scichain_wf.model.verdict import Vote


class State(StrEnum):
    """Where a block is on its way."""

    DRAFT = "DRAFT"
    MINED = "MINED"
    PROPOSED = "PROPOSED"
    CERTIFIED = "CERTIFIED"
    EXTENDING = "EXTENDING"
    PARKED = "PARKED"
    REJECTED = "REJECTED"
    COMMITTED = "COMMITTED"


class Move(StrEnum):
    """What takes a block from one state to the next."""

    SOLVE = "solve"
    PROPOSE = "propose"
    CERTIFY = "certify"
    EXTEND = "extend"
    AGAIN = "again"
    PARK = "park"
    REJECT = "reject"
    COMMIT = "commit"


TRANSITIONS: Final[dict[State, dict[Move, State]]] = {
    State.DRAFT: {Move.SOLVE: State.MINED},
    State.MINED: {Move.PROPOSE: State.PROPOSED},
    State.PROPOSED: {
        Move.PROPOSE: State.PROPOSED,  # again, under the epoch in force
        Move.CERTIFY: State.CERTIFIED,
        Move.EXTEND: State.EXTENDING,
        Move.COMMIT: State.COMMITTED,
    },
    State.CERTIFIED: {
        Move.COMMIT: State.COMMITTED,
        Move.AGAIN: State.PROPOSED,  # storage found votes that do not hold
        Move.EXTEND: State.EXTENDING,  # and again, too often
        Move.PARK: State.PARKED,
        Move.REJECT: State.REJECTED,
    },
    State.EXTENDING: {Move.COMMIT: State.COMMITTED, Move.PARK: State.PARKED, Move.REJECT: State.REJECTED},
    State.PARKED: {
        Move.PROPOSE: State.PROPOSED,  # again, under the epoch in force
        Move.CERTIFY: State.CERTIFIED,
        Move.EXTEND: State.EXTENDING,
        Move.COMMIT: State.COMMITTED,
        Move.REJECT: State.REJECTED,
    },
    State.REJECTED: {},
    State.COMMITTED: {},
}


def moved(state: State, move: Move) -> State:
    """The state after `move`.

    Raises:
        InvariantViolation: the table has no such transition; nothing changed.
    """
    after = TRANSITIONS[state].get(move)
    if after is None:
        raise InvariantViolation(f"a block in state {state} cannot {move}")
    return after


class Proposal:
    """One own block on its way.

    Attributes:
        state: see the table.
        deadline: when the wait for votes ends (PROPOSED), or when to send again (PARKED); else None.
    """

    def __init__(self, block: ParsedBlock, items: tuple[Item, ...], roster: Roster, timing: Timing) -> None:
        self.block = block
        self.items = items
        self.state = State.DRAFT
        self.deadline: float | None = None
        self._timing = timing
        self._tally = certify.Tally(roster, block.block.id)
        self._solution: Solution | None = None
        self._reason = "deadline"
        self._proposed = 0.0
        self._pause_s = timing.backoff_s
        self._cited: frozenset[int] = frozenset()
        self._doubts = 0
        self._reminds = False

    def _move(self, move: Move) -> None:
        self.state = moved(self.state, move)

    def solved(self, solution: Solution | None) -> None:
        """The puzzle is solved, or there is none."""
        self._move(Move.SOLVE)
        self._solution = solution

    def proposed(self, roster: Roster, is_relayed: bool, now: float) -> None:
        """The block was sent to every slot of `roster`, or is relayed to them (`dissemination`).

        Where epoch follows epoch, the first deadline holds: else a slot that keeps booting would keep all from ending.
        """
        since = self._proposed if self.state is State.PROPOSED else None
        self._move(Move.PROPOSE)
        self._tally = certify.Tally(roster, self.block.block.id)
        self._reminds = is_relayed
        self._wait(now, since)

    def is_outdated(self, roster: Roster) -> bool:
        """Whether the votes it waits for, or would be sent with, are of an epoch that is over, or never asked for."""
        waits = self.state in (State.PROPOSED, State.PARKED)
        return self.state is State.MINED or (waits and self._tally.epoch != roster.number)

    @property
    def wants_votes(self) -> bool:
        """Whether a slot that can be reached again should see it."""
        return self.state is State.PROPOSED or (self.state is State.PARKED and not self._tally.has_quorum())

    @property
    def is_rejected(self) -> bool:
        """Whether storage refused it for good."""
        return self.state is State.REJECTED

    def vote(self, vote: Vote) -> str:
        """Count a vote; returns why it does not count, or "". A late one counts if the block has to be sent again."""
        return "" if self._tally.add(vote) else self._tally.refusal(vote)

    def vote_of(self, slot: int) -> Vote | None:
        """What a slot said of it last."""
        return self._tally.vote_of(slot)

    def woken(self, now: float) -> None:
        """Time passed in which this node saw nothing: begin to wait anew."""
        if self.state is State.PROPOSED:
            self._wait(now)

    def review(self, reach: Reach, storage_up: bool, now: float) -> tuple[AgentEffect, ...]:
        """Go on if a quorum is there, can no longer come, or the time is up; send a parked block again."""
        if self.state is State.PROPOSED:
            if self._tally.has_quorum():
                return self._certify(storage_up)
            if self._tally.is_impossible(reach.slots):
                return self._extend("quorum-impossible", storage_up)
            if self.deadline is not None and now >= self.deadline:
                return self._late(reach, storage_up, now)
        elif self.state is State.PARKED and storage_up and (self.deadline is None or now >= self.deadline):
            return self._certify(storage_up) if self._tally.has_quorum() else self._extend(self._reason, storage_up)
        return ()

    def answered(self, answer: messages.Answer, storage_up: bool, now: float) -> tuple[AgentEffect, ...]:
        """Storage did not append the block. What is out of place is ignored: channels may repeat themselves."""
        if self.state not in (State.CERTIFIED, State.EXTENDING):
            return ()
        if answer.answer == "bad-votes":
            return self._doubted(answer.slots, storage_up, now) if self.state is State.CERTIFIED else ()
        if answer.answer == "wait":
            self._park(now)
            return ()
        self._move(Move.REJECT)
        return (Note(f"storage refused block {self.block.block.id.hex()[:16]}: {answer.reason or answer.answer}"),)

    def storage_lost(self) -> None:
        """The channel to storage is gone and with it, perhaps, the block: send it again when storage is back."""
        if self.state in (State.CERTIFIED, State.EXTENDING):
            self._move(Move.PARK)
        if self.state is State.PARKED:
            self.deadline = None

    def committed(self) -> None:
        """The block is linked."""
        self._move(Move.COMMIT)
        self.deadline = None

    def _wait(self, now: float, since: float | None = None) -> None:
        """For votes, from now on, or on in a wait that began before: its patience is not prolonged.

        Where a relay may keep the block to itself, who did not answer is asked half-way.
        """
        self._proposed = now if since is None else since
        deadline = now + self._timing.deadline_s / (2 if self._reminds else 1)
        self.deadline = deadline if since is None else min(deadline, since + self._timing.patience_s)

    def _late(self, reach: Reach, storage_up: bool, now: float) -> tuple[AgentEffect, ...]:
        """The deadline has passed: this one, or the one by which the tree should have done."""
        if self._reminds:
            self._reminds = False
            self.deadline = self._proposed + self._timing.deadline_s
            message = messages.Propose(self.block.block)
            return tuple(SendPeer(slot, message) for slot in reach.others if self._tally.vote_of(slot) is None)
        self.deadline = self._patient_until(reach.heard)
        return self._extend("deadline", storage_up) if now >= self.deadline else ()

    def _patient_until(self, heard: Mapping[int, float]) -> float:
        """When the wait for those ends that have not judged this block and are still judging others."""
        judged = {vote.header.slot for vote in self._tally.votes()}
        busy = max((at for slot, at in heard.items() if slot not in judged), default=self._proposed)
        return min(max(busy, self._proposed) + self._timing.deadline_s, self._proposed + self._timing.patience_s)

    def _doubted(self, slots: tuple[int, ...], storage_up: bool, now: float) -> tuple[AgentEffect, ...]:
        """Storage says that votes of these slots do not hold: others' may, and each such wait has its deadline."""
        self._doubts += 1
        is_last = self._doubts > limits.REPROPOSALS_MAX
        if not is_last and (not slots or self._cited <= {*slots}):
            self._park(now)  # not one holds: the certificate is of an epoch that is over, its successor on its way
            return ()
        self._tally.drop(slots)
        note = Note(f"storage says that votes of slots {list(slots)} do not hold")
        if is_last:
            return (note, *self._extend("bad-votes", storage_up))
        self._move(Move.AGAIN)
        self._reminds = True  # who came back meanwhile was not shown the block
        self._wait(now)
        return (note,)

    def _park(self, now: float) -> None:
        self._move(Move.PARK)
        self.deadline = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, self._timing.backoff_s_max)

    def _certify(self, storage_up: bool) -> tuple[AgentEffect, ...]:
        self._cited = self._tally.voters
        push = messages.Push(self.block.block, self._tally.certificate(self._solution))
        return self._send(Move.CERTIFY, push, storage_up)

    def _extend(self, reason: str, storage_up: bool) -> tuple[AgentEffect, ...]:
        self._reason = reason
        extend = messages.Extend(self.block.block, self._solution, self._tally.votes(), reason)
        return self._send(Move.EXTEND, extend, storage_up)

    def _send(self, move: Move, message: messages.Message, storage_up: bool) -> tuple[AgentEffect, ...]:
        self._move(move)
        self.deadline = None
        if storage_up:
            return (SendStorage(message),)
        self._move(Move.PARK)
        return ()
