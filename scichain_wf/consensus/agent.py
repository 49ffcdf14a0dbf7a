"""A node's whole part in the protocol: drafts, proposes, judges, counts. `step(event, now)` is all there is.

`now` is monotonic seconds. The driver keeps the ledger's bytes, the channels and the clock; which links are applied
when is decided here. An event that does not fit (malformed, replayed, of another chain, epoch or slot) is dropped: its
reason is counted in `dropped`, and nothing else changes. Only storage is relied on: where it contradicts itself, or
what a chain can be, the agent says `Halt` and does nothing ever after.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from scichain_wf import limits
from scichain_wf.consensus import certify, events, evidence, messages
from scichain_wf.consensus.author import Author
from scichain_wf.consensus.dissemination import Reach
from scichain_wf.consensus.drafting import Drafter
from scichain_wf.consensus.effects import AgentEffect, Halt, SendPeer, SendStorage, SetTimer
from scichain_wf.consensus.racing import Helper
from scichain_wf.consensus.replica import Replica
from scichain_wf.consensus.roster import Roster
from scichain_wf.consensus.validator import Validator
from scichain_wf.errors import DecodeError, VerificationError
from scichain_wf.model.bodies import Kind
from scichain_wf.model.link import Mode

if TYPE_CHECKING:
    from collections.abc import Callable

    from scichain_wf.consensus.proposer import Proposal
    from scichain_wf.consensus.timing import Timing
    from scichain_wf.consensus.validator import NodeLedger
    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.crypto.signing import SigningKey, VerifyKey
    from scichain_wf.model.block import Block
    from scichain_wf.model.canonical import JsonObject
    from scichain_wf.model.facts import Facts
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
        prepare: makes what `ledger` takes of a block whose transactions' facts are known.
        read_epoch: verifies the body of an `epoch` transaction; the default is `Roster.read`.

    Attributes:
        dropped: how many inputs were dropped, by reason.
    """

    def __init__(
        self,
        key: SigningKey,
        slot: int,
        chain: bytes,
        authority: VerifyKey,
        ledger: NodeLedger,
        timing: Timing,
        prepare: Callable[[Block, list[Facts]], ParsedBlock],
        read_epoch: Callable[[JsonObject], Roster] | None = None,
    ) -> None:
        self._key, self._slot, self._chain, self._authority = key, slot, chain, authority
        self._ledger, self._timing = ledger, timing
        self._read_epoch = read_epoch or (lambda body: Roster.read(body, chain))
        self._roster: Roster | None = None
        self._is_member = False
        self._replica = Replica(chain, ledger, timing)
        self._witness = evidence.Witness(chain, slot, timing.deadline_s)
        self._validator = Validator(key, slot, chain, ledger, self._witness)
        self._helper = Helper(key)
        self._reach = Reach(slot, timing)
        self._tick_at: float | None = None
        self._said_at = float("-inf")
        self._timer: float | None = None
        self._stepped: float | None = None
        self._halted = False
        self._effects: list[AgentEffect] = []
        drafter = Drafter(ledger, timing)
        self._author = Author(
            key, chain, drafter, self._replica, self._reach, timing, prepare, self._judge_own, self._effects
        )
        self.dropped: Counter[str] = Counter()
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            events.Submitted: self._submitted,
            events.Solved: self._solved,
            events.ProposalReceived: self._proposal_received,
            events.VerdictsReceived: self._verdicts_received,
            events.PuzzleReceived: self._puzzle_received,
            events.SolutionReceived: self._solution_received,
            events.Welcomed: self._welcomed,
            events.CommittedReceived: self._committed_received,
            events.CheckpointReceived: self._checkpoint_received,
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

    # --- looking ------------------------------------------------------------------------------------
    @property
    def height(self) -> int:
        """Height of the newest link applied; -1 before the first."""
        return self._replica.height

    @property
    def head(self) -> bytes | None:
        """Hash of the newest link applied; None before the first."""
        return self._replica.head

    @property
    def in_flight(self) -> int:
        """Own blocks between draft and commit."""
        return len(self._author.blocks)

    @property
    def held(self) -> int:
        """Transactions that wait for their inputs' producers."""
        return self._author.drafter.held

    @property
    def waiting(self) -> int:
        """Transactions in drafts that are not proposed."""
        return self._author.drafter.drafted

    @property
    def is_member(self) -> bool:
        """Whether the epoch in force binds this node's key to its slot."""
        return self._is_member

    @property
    def members(self) -> frozenset[int]:
        """Slots that the epoch in force binds to a key."""
        return frozenset() if self._roster is None else self._roster.bound

    @property
    def slots(self) -> int:
        """How many slots the epoch in force has; 0 before the first."""
        return 0 if self._roster is None else self._roster.epoch.slots

    @property
    def storage_key(self) -> VerifyKey | None:
        """Whose signature counts as the storage node's in the epoch in force."""
        return None if self._roster is None else self._roster.epoch.storage

    def own_block(self, block: bytes) -> ParsedBlock | None:
        """A block of this node that is not linked yet."""
        return proposal.block if (proposal := self._author.blocks.get(block)) is not None else None

    def body(self, block: bytes) -> ParsedBlock | None:
        """A block that is not linked yet, if this node has it: then its link is enough."""
        return self.own_block(block) or self._validator.body(block)

    def step(self, event: events.AgentEvent, now: float) -> tuple[AgentEffect, ...]:
        """Take one event; returns what is to be done, in order."""
        if self._halted:
            return ()
        try:
            self._wake(now)
            self._handlers[type(event)](event, now)
            self._go_on(now)
        except (VerificationError, DecodeError) as error:  # only what storage says is verified by raising
            self._halted = True
            self._effects.append(Halt(str(error)))
        effects = tuple(self._effects)
        self._effects.clear()
        return effects

    # --- own transactions and blocks ----------------------------------------------------------------
    def _submitted(self, event: events.Submitted, now: float) -> None:
        self._author.submit(event.items, now)

    def _seal(self, _event: events.Seal, _now: float) -> None:
        self._author.drafter.force()

    def _release(self, _event: events.Release, now: float) -> None:
        self._author.drafter.release(now)
        self._author.drafter.force()

    def _solved(self, event: events.Solved, now: float) -> None:
        if event.slot != self._slot:
            self._effects += self._helper.ended(event.slot, event.block, event.nonce)
        elif event.nonce is not None:
            self._author.solved(event.block, event.nonce, now)

    # --- peers --------------------------------------------------------------------------------------
    def _proposal_received(self, event: events.ProposalReceived, now: float) -> None:
        identity = event.block.block.id
        if self._replica.has_linked(identity):
            reason = "linked already"
        else:
            reason = self._validator.judge(event.block, event.slot, self._roster, self.height)
        self._drop(reason)
        if not reason:
            self._effects += self._helper.stop(identity)
            self._judged(now)

    def _verdicts_received(self, event: events.VerdictsReceived, now: float) -> None:
        reason = certify.refusal(event.batch, event.slot, self._chain, self._roster, self._author.suspects)
        self._drop(reason)
        if not reason:
            self._count(event.batch, cast("Roster", self._roster), now)

    def _puzzle_received(self, event: events.PuzzleReceived, _now: float) -> None:
        roster, block = self._roster, event.message.block
        if roster is None or not self.is_member:
            reason = "not a member"
        elif self._replica.has_linked(block) or self._validator.body(block) is not None:
            reason = "puzzle solved"
        elif block in self._author.blocks:
            reason = "wrong slot"
        else:
            reason = self._helper.refusal(event.slot, event.message, roster, self._replica)
        self._drop(reason)
        if not reason:
            self._effects += self._helper.search(event.slot, event.message)

    def _solution_received(self, event: events.SolutionReceived, now: float) -> None:
        self._drop(self._author.helped(event.slot, event.message, now))

    def _peer_up(self, event: events.PeerUp, now: float) -> None:
        self._reach.up(event.slot, now)
        self._author.show(event.slot)

    def _peer_down(self, event: events.PeerDown, _now: float) -> None:
        self._reach.down(event.slot)
        self._effects += self._helper.lost(event.slot)

    # --- storage ------------------------------------------------------------------------------------
    def _welcomed(self, event: events.Welcomed, now: float) -> None:
        self._replica.begin(event.size, event.nodes, event.anchors)
        self._apply_links(now)

    def _committed_received(self, event: events.CommittedReceived, now: float) -> None:
        self._drop(self._replica.take(event.link, event.block))
        self._apply_links(now)

    def _checkpoint_received(self, event: events.CheckpointReceived, _now: float) -> None:
        key = self.storage_key
        self._drop("no epoch yet" if key is None else self._replica.check(event.text, key))

    def _past_known(self, _event: events.PastKnown, now: float) -> None:
        self._validator.grown(self.height, None)
        self._judged(now)

    def _answered(self, event: events.Answered, now: float) -> None:
        self._drop(self._author.answered(event.answer, now))

    def _storage_is_up(self, _event: events.StorageUp, _now: float) -> None:
        self._author.storage_up = True

    def _storage_is_down(self, _event: events.StorageDown, _now: float) -> None:
        self._author.storage_lost()

    # --- time ---------------------------------------------------------------------------------------
    def _tick(self, _event: events.Tick, _now: float) -> None:
        self._timer = None

    def _clock_set(self, event: events.ClockSet, _now: float) -> None:
        self._author.offset_us = event.offset_us

    def _wake(self, now: float) -> None:
        """Where time jumped over a tick that was asked for, this node slept: the others were not silent, it was."""
        before, self._stepped = self._stepped, now
        if before is None or now - before <= limits.SUSPEND_S:
            return
        if self._timer is not None and self._timer <= before + limits.SUSPEND_S:
            self._author.woken(now - before, now)

    # --- the chain ----------------------------------------------------------------------------------
    def _apply_links(self, now: float) -> None:
        while (ready := self._replica.ready(self.body)) is not None:
            link, block = ready
            roster = self._stated(block) if link.mode is Mode.EPOCH else None
            self._send_verdicts(now)  # they were given at the head that this link replaces
            self._replica.apply(link, block)
            self._effects += self._helper.stop(link.block)
            self._author.linked(link, block, now)
            self._validator.grown(self.height, block)
            if roster is not None:
                self._enter(roster, now)
            self._judged(now)

    def _stated(self, block: ParsedBlock) -> Roster:
        """The membership that an epoch block states.

        Raises:
            VerificationError, DecodeError: the chain's authority did not say so; nothing changed.
        """
        if len(block.facts) != 1 or block.parsed[0]["kind"] != Kind.EPOCH:
            raise VerificationError("an epoch link whose block states no epoch")
        roster = self._read_epoch(cast("JsonObject", block.parsed[0]["body"]))
        if roster.epoch.authority != self._authority:
            raise VerificationError(f"epoch {roster.number} is of another authority than the genesis")
        if self._roster is not None and roster.number <= self._roster.number:
            raise VerificationError(f"epoch {roster.number} follows epoch {self._roster.number}")
        return roster

    def _enter(self, roster: Roster, now: float) -> None:
        """Another epoch is in force: votes of the one before count no more."""
        self._roster = roster
        self._is_member = roster.slot_of(self._key.public.fingerprint) == self._slot
        self._reach.restated(roster)
        self._validator.restated(roster, self.height)
        self._author.restated(roster if self.is_member else None, now)

    def _go_on(self, now: float) -> None:
        """What follows every event."""
        if self._tick_at is not None and now >= self._tick_at:
            self._send_verdicts(now)
        is_idle = self._author.is_idle and self._witness.is_idle and self._replica.is_idle  # most are in a large chain
        times = () if is_idle else self._ripe(now)
        timer = min((time for time in (self._tick_at, *times) if time is not None), default=None)
        if timer != self._timer:
            self._timer = timer
            self._effects.append(SetTimer(timer))

    def _ripe(self, now: float) -> tuple[float | None, ...]:
        """Do what is ripe by now; returns when something is again."""
        author = self._author
        author.submit(self._witness.ripe(self._ledger, now), now)
        missing = self._replica.missing(now) if author.storage_up else None
        if missing is not None:
            self._effects.append(SendStorage(missing))
        author.go_on(now)
        sync_at = self._replica.sync_at if author.storage_up else None
        return sync_at, self._witness.next_time(), author.next_time()

    # --- verdicts -----------------------------------------------------------------------------------
    def _judge_own(self, block: ParsedBlock, now: float) -> None:
        """This node's vote on its own block counts like any other."""
        self._validator.judge(block, self._slot, cast("Roster", self._roster), self.height)
        self._judged(now)
        if not self._reach.others:
            self._send_verdicts(now)

    def _judged(self, now: float) -> None:
        """Pass on what the validator has not seen before, report what it noticed, say when its verdicts leave."""
        fresh, self._validator.fresh = self._validator.fresh, []
        for proposer, block in fresh if self._reach.is_tree else ():
            if proposer != self._slot:
                message = messages.Propose(block.block)
                self._effects += [SendPeer(slot, message) for slot in self._reach.targets(proposer)]
        noticed, self._validator.equivocations = self._validator.equivocations, []
        for liar, first, second in noticed:
            key = cast("Roster", self._roster).keys[liar].fingerprint
            self._witness.report("header", (first, second), liar, key, self.slots, now)
        if self._validator.has_verdicts and self._tick_at is None:
            self._tick_at = self._said_at + self._timing.tick_s

    def _send_verdicts(self, now: float) -> None:
        self._tick_at = None
        if self._roster is None or not self.is_member:
            self._validator.silence()
            return
        given = self._validator.tick(self._roster, cast("bytes", self.head), self.height)
        if given is None:
            return
        self._said_at = now
        batch, slots = given
        message = messages.Verdicts(batch)
        self._effects += [SendPeer(slot, message) for slot in sorted(slots & self._reach.slots) if slot != self._slot]
        if self._slot in slots:
            for proposal, index in self._concerned(batch):
                proposal.vote(batch.vote(index))

    def _count(self, batch: VerdictBatch, roster: Roster, now: float) -> None:
        """A peer's verdicts. Those on blocks of others show that it is at work."""
        slot, replayed = batch.header.slot, 0
        for proposal, index in self._concerned(batch):
            vote = batch.vote(index)
            self._witness.compare(proposal.vote_of(slot), vote, roster, now)
            reason = proposal.vote(vote)
            self._drop(reason)
            replayed += bool(reason)
        if replayed < len(batch.entries):
            self._reach.judged(slot, now)

    def _concerned(self, batch: VerdictBatch) -> list[tuple[Proposal, int]]:
        """Own blocks that a batch is about, each with the entry's place."""
        own = self._author.blocks.items()  # a liar may name a block any number of times: two convict it
        return [(proposal, index) for identity, proposal in own for index in batch.about(identity)[:2]]

    def _drop(self, reason: str) -> None:
        """Count why an input was dropped; "" if it was not."""
        if reason:
            self.dropped[reason] += 1
