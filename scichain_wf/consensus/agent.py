"""A node's whole part in the protocol: drafts, proposes, judges, counts. `step(event, now)` is all there is.

`now` is monotonic seconds. The driver keeps the ledger (it applies a link before it says `Linked`), the channels and
the clock. An event that does not fit (a vote on a block that is linked, an answer that comes twice) changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from scichain_wf import limits
from scichain_wf.consensus import events, membership, messages
from scichain_wf.consensus.drafting import Drafter
from scichain_wf.consensus.effects import AgentEffect, GivenUp, Mine, Note, SendPeer, SetTimer, Settled
from scichain_wf.consensus.proposer import OwnBlock, Proposal, State
from scichain_wf.consensus.roster import Roster
from scichain_wf.consensus.validator import Validator
from scichain_wf.consensus.validity import outputs
from scichain_wf.errors import VerificationError
from scichain_wf.model.certificate import Solution
from scichain_wf.model.epoch import Epoch
from scichain_wf.model.link import Mode

if TYPE_CHECKING:
    from collections.abc import Callable

    from scichain_wf.consensus.drafting import Draft
    from scichain_wf.consensus.timing import Timing
    from scichain_wf.consensus.validator import NodeLedger
    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.crypto.signing import SigningKey, VerifyKey
    from scichain_wf.model.canonical import JsonObject
    from scichain_wf.model.verdict import VerdictBatch


class Agent:
    """One slot of the chain.

    Args:
        key: made at this boot.
        slot: which slot it fills once an epoch says so.
        chain: chain id.
        authority: whose word counts on membership (the genesis names it).
        ledger: this node's tail.
        timing: see `Timing`.
    """

    def __init__(
        self, key: SigningKey, slot: int, chain: bytes, authority: VerifyKey, ledger: NodeLedger, timing: Timing
    ) -> None:
        self._key, self._slot, self._chain, self._authority = key, slot, chain, authority
        self._timing = timing
        self._roster: Roster | None = None
        self._head, self._height = chain, 0
        self._drafter = Drafter(ledger, timing)
        self._validator = Validator(key, slot, ledger)
        self._proposals: dict[bytes, Proposal] = {}
        self._transactions_in_flight = 0
        self._redrafts: dict[bytes, int] = {}
        self._sequence = 0
        self._offset_us = 0
        self._heard: dict[int, float] = {slot: 0.0}  # reachable slots; when each last sent verdicts
        self._storage_up = False
        self._tick_at: float | None = None
        self._effects: list[AgentEffect] = []
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            events.Submitted: self._submitted,
            events.Solved: self._solved,
            events.ProposalReceived: self._proposal_received,
            events.VerdictsReceived: self._verdicts_received,
            events.Linked: self._linked,
            events.PastKnown: self._past_known,
            events.Answered: self._answered,
            events.PeerUp: self._peer_up,
            events.PeerDown: self._peer_down,
            events.StorageUp: self._storage_is_up,
            events.StorageDown: self._storage_is_down,
            events.Tick: self._tick,
            events.ClockSet: self._clock_set,
            events.Seal: self._seal,
            events.Release: self._release,
        }

    @property
    def in_flight(self) -> int:
        """Own blocks between proposal and commit."""
        return len(self._proposals)

    @property
    def held(self) -> int:
        """Transactions that wait for their inputs' producers."""
        return self._drafter.held

    @property
    def waiting(self) -> int:
        """Transactions in drafts that are not proposed."""
        return self._drafter.drafted

    @property
    def is_member(self) -> bool:
        """Whether the epoch in force binds this node's key to its slot."""
        return self._roster is not None and self._roster.slot_of(self._key.public.fingerprint) == self._slot

    @property
    def slots(self) -> int:
        """How many slots the epoch in force has; 0 before the first."""
        return 0 if self._roster is None else self._roster.epoch.slots

    @property
    def storage_key(self) -> VerifyKey | None:
        """Whose signature counts as the storage node's in the epoch in force."""
        return None if self._roster is None else self._roster.epoch.storage

    @property
    def _others(self) -> list[int]:
        """Reachable slots but this one."""
        return sorted(self._heard.keys() - {self._slot})

    def own_block(self, block: bytes) -> ParsedBlock | None:
        """A block of this node that is not linked yet."""
        proposal = self._proposals.get(block)
        return None if proposal is None else proposal.block

    def step(self, event: events.AgentEvent, now: float) -> tuple[AgentEffect, ...]:
        """Take one event; returns what is to be done, in order."""
        self._handlers[type(event)](event, now)
        self._go_on(now)
        effects, self._effects = self._effects, []
        return tuple(effects)

    # --- events -----------------------------------------------------------------------------------
    def _submitted(self, event: events.Submitted, now: float) -> None:
        for item in event.items:
            self._drafter.add(item, now)

    def _solved(self, event: events.Solved, now: float) -> None:
        proposal = self._proposals.get(event.block)
        if proposal is not None and proposal.state is State.DRAFT:
            self._propose(proposal, Solution(self._key.public.fingerprint, event.nonce), now)

    def _proposal_received(self, event: events.ProposalReceived, now: float) -> None:
        if self._roster is None:
            return  # not in the chain yet: the proposer's deadline covers it
        self._validator.judge(event.slot, event.block, self._roster, self._height)
        if self._tick_at is None:
            self._tick_at = now + self._timing.tick_s

    def _verdicts_received(self, event: events.VerdictsReceived, now: float) -> None:
        if event.batch.header.slot != event.slot:
            self._effects.append(Note(f"slot {event.slot} sent verdicts of slot {event.batch.header.slot}: ignored"))
            return
        if event.slot in self._heard:
            self._heard[event.slot] = now
        self._count(event.batch)

    def _linked(self, event: events.Linked, now: float) -> None:
        link, block = event.link, event.block
        roster = self._stated(block.parsed) if link.mode is Mode.EPOCH else self._roster
        self._send_verdicts()  # they were given at the head that this link replaces
        self._head, self._height, self._roster = link.hash, link.height, roster
        proposal = self._proposals.pop(link.block, None)
        if proposal is not None:
            proposal.committed()
            self._transactions_in_flight -= len(proposal.items)
            for item in proposal.items:
                self._redrafts.pop(item.id, None)
            self._effects.append(Settled(tuple(item.id for item in proposal.items)))
        made = [(uri, digest) for value in block.parsed for uri, digest in outputs(value) if digest is not None]
        self._drafter.linked(made, now)
        self._judge_again(link.block, now)

    def _past_known(self, _event: events.PastKnown, now: float) -> None:
        self._judge_again(None, now)

    def _answered(self, event: events.Answered, now: float) -> None:
        proposal = self._proposals.get(event.answer.block)
        if proposal is None:
            return
        self._effects += proposal.answered(event.answer, self._storage_up, now)
        if proposal.state is State.REJECTED:
            self._draft_anew(proposal, event.answer.reason, now)

    def _peer_up(self, event: events.PeerUp, now: float) -> None:
        self._heard[event.slot] = now
        for proposal in self._proposals.values():
            if proposal.state is State.PROPOSED:  # it may have been sent while the peer was away
                self._effects.append(SendPeer(event.slot, messages.Propose(proposal.block.block)))

    def _peer_down(self, event: events.PeerDown, _now: float) -> None:
        self._heard.pop(event.slot, None)

    def _storage_is_up(self, _event: events.StorageUp, _now: float) -> None:
        self._storage_up = True

    def _storage_is_down(self, _event: events.StorageDown, _now: float) -> None:
        self._storage_up = False
        for proposal in self._proposals.values():
            proposal.storage_lost()

    def _tick(self, _event: events.Tick, now: float) -> None:
        if self._tick_at is not None and now >= self._tick_at:
            self._send_verdicts()

    def _clock_set(self, event: events.ClockSet, _now: float) -> None:
        self._offset_us = event.offset_us

    def _seal(self, _event: events.Seal, _now: float) -> None:
        self._drafter.force()

    def _release(self, _event: events.Release, now: float) -> None:
        self._drafter.release(now)
        self._drafter.force()

    @property
    def _load(self) -> int:
        """Blocks in flight; as many as there may be if they hold as many transactions as there may be."""
        if self._transactions_in_flight >= limits.IN_FLIGHT_TRANSACTIONS_MAX:
            return limits.IN_FLIGHT_BLOCKS_MAX
        return len(self._proposals)

    # --- what follows every event -----------------------------------------------------------------
    def _go_on(self, now: float) -> None:
        self._drafter.expire(now)
        while self.is_member and (draft := self._drafter.seal(self._load, now)) is not None:
            self._seal_draft(draft, now)
        for proposal in self._proposals.values():
            self._effects += proposal.review(self._heard, self._storage_up, now)
        times = [p.deadline for p in self._proposals.values()] + [self._tick_at]
        if self.is_member and self._load < limits.IN_FLIGHT_BLOCKS_MAX:
            times.append(self._drafter.next_time())
        self._effects.append(SetTimer(min((time for time in times if time is not None), default=None)))

    def _seal_draft(self, draft: Draft, now: float) -> None:
        roster = cast("Roster", self._roster)
        difficulty = roster.epoch.settings.difficulty
        block = membership.seal(
            self._key,
            self._chain,
            roster.number,
            self._sequence,
            self._head,
            self._height,
            tuple(item.data for item in draft.items),
            self._offset_us + int(now * 1_000_000),
            difficulty,
            draft.source,
        )
        self._sequence += 1
        self._transactions_in_flight += len(draft.items)
        own = OwnBlock(block, [item.parsed for item in draft.items], [item.id for item in draft.items])
        proposal = self._proposals[block.id] = Proposal(own, tuple(draft.items), roster, self._timing)
        if difficulty:
            self._effects.append(Mine(block.id, self._key.public.fingerprint, difficulty))
        else:
            self._propose(proposal, None, now)

    def _propose(self, proposal: Proposal, solution: Solution | None, now: float) -> None:
        """To every slot, and to this node's own validator: its vote counts like any other."""
        roster = cast("Roster", self._roster)
        proposal.solved(solution)
        proposal.proposed(now)
        message = messages.Propose(proposal.block.block)
        self._effects += [SendPeer(slot, message) for slot in self._others]
        self._validator.judge(self._slot, proposal.block, roster, self._height)
        if self._tick_at is None:
            self._tick_at = now + self._timing.tick_s
        if not self._others:
            self._send_verdicts()

    def _judge_again(self, linked: bytes | None, now: float) -> None:
        if self._roster is not None:
            self._validator.grown(self._roster, self._height, linked)
            if self._validator.has_verdicts and self._tick_at is None:
                self._tick_at = now + self._timing.tick_s

    def _send_verdicts(self) -> None:
        self._tick_at = None
        if self._roster is None:
            return
        given = self._validator.tick(self._roster, self._head, self._height)
        if given is None:
            return
        batch, slots = given
        message = messages.Verdicts(batch)
        self._effects += [SendPeer(slot, message) for slot in self._others if slot in slots]
        if self._slot in slots:
            self._count(batch)

    def _count(self, batch: VerdictBatch) -> None:
        for index, entry in enumerate(batch.entries):
            proposal = self._proposals.get(entry.block)
            if proposal is not None:
                proposal.vote(batch.vote(index))

    def _stated(self, parsed: object) -> Roster:
        """The membership that an epoch block states.

        Raises:
            VerificationError: the chain's authority did not say so; nothing changed.
        """
        (value,) = cast("list[JsonObject]", parsed)
        epoch = Epoch.from_body(cast("JsonObject", value["body"]))
        epoch.verify(self._chain)
        if epoch.authority != self._authority:
            raise VerificationError(f"epoch {epoch.epoch} is of another authority than the genesis")
        return Roster(epoch, self._chain)

    def _draft_anew(self, proposal: Proposal, reason: str, now: float) -> None:
        """The block is dead, its transactions are not: into a new block, a bounded number of times."""
        del self._proposals[proposal.block.block.id]
        self._transactions_in_flight -= len(proposal.items)
        lost = []
        for item in proposal.items:
            count = self._redrafts.get(item.id, 0) + 1
            self._redrafts[item.id] = count
            if count > limits.REDRAFTS_MAX:
                lost.append(item.id)
                del self._redrafts[item.id]
            else:
                self._drafter.add(item, now)
        if lost:
            self._effects.append(GivenUp(tuple(lost), reason))
