"""A node's own transactions and blocks, from submission to commit: draft, mine, propose, count, push.

The states of one block are `proposer`'s; here is what several of them share: sequence numbers, how much may be in
flight, which slots they are sent to, and what becomes of the transactions of a block that storage refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from scichain_wf import limits
from scichain_wf.consensus import membership, messages
from scichain_wf.consensus.effects import AgentEffect, GivenUp, Mine, SendPeer, Settled, StopMining
from scichain_wf.consensus.proposer import Proposal, State
from scichain_wf.consensus.validity import versions
from scichain_wf.errors import VerificationError
from scichain_wf.model.certificate import Solution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scichain_wf.consensus.dissemination import Reach
    from scichain_wf.consensus.drafting import Draft, Drafter
    from scichain_wf.consensus.events import Item
    from scichain_wf.consensus.replica import Replica
    from scichain_wf.consensus.roster import Roster
    from scichain_wf.consensus.timing import Timing
    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.crypto.signing import SigningKey
    from scichain_wf.model.block import Block
    from scichain_wf.model.facts import Facts
    from scichain_wf.model.link import Link


class Author:
    """Makes this node's blocks and sees them through.

    Args:
        key: signs them.
        chain: chain id.
        drafter: packs transactions.
        replica: says what the newest link is.
        reach: whom they go to.
        timing: see `Timing`.
        prepare: makes a parsed block of one whose transactions' facts are known.
        judge: has this node's own validator judge a block that is being proposed.
        effects: what is to be done is appended to it.

    Attributes:
        blocks: between draft and commit, by block id, in the order they were made.
        drafter: what is not in a block yet.
        offset_us: wall clock minus `now`.
        storage_up: whether storage can be sent to.
        suspects: slots of which storage once found a vote that does not hold, for good; see `certify.refusal`.
    """

    def __init__(
        self,
        key: SigningKey,
        chain: bytes,
        drafter: Drafter,
        replica: Replica,
        reach: Reach,
        timing: Timing,
        prepare: Callable[[Block, list[Facts]], ParsedBlock],
        judge: Callable[[ParsedBlock, float], None],
        effects: list[AgentEffect],
    ) -> None:
        self._key, self._chain = key, chain
        self._replica, self._reach, self._timing = replica, reach, timing
        self._prepare, self._judge, self._effects = prepare, judge, effects
        self._roster: Roster | None = None  # while it binds this node's key
        self._sequence = 0
        self._transactions = 0
        self._redrafts: dict[bytes, int] = {}
        self.blocks: dict[bytes, Proposal] = {}
        self.drafter = drafter
        self.offset_us = 0
        self.storage_up = False
        self.suspects: set[int] = set()

    @property
    def is_idle(self) -> bool:
        """Whether this node has nothing to draft and nothing under way."""
        return not self.blocks and self.drafter.is_idle

    def submit(self, items: Iterable[Item], now: float) -> None:
        """Take transactions."""
        for item in items:
            self.drafter.add(item, now)

    def restated(self, roster: Roster | None, now: float) -> None:
        """Another epoch is in force; None if it does not bind this node's key. Votes of two epochs do not add up."""
        self._roster = roster
        for proposal in self.blocks.values():
            if roster is not None and proposal.is_outdated(roster):
                self._propose(proposal, roster, now)

    def linked(self, link: Link, block: ParsedBlock, now: float) -> None:
        """The next link is in the ledger."""
        proposal = self.blocks.get(link.block)
        if proposal is not None:
            proposal.committed()
            self._remove(proposal)
            for item in proposal.items:
                self._redrafts.pop(item.id, None)
            ids = tuple(item.id for item in proposal.items if not item.own)
            if ids:
                self._effects.append(Settled(ids))
        if self.drafter.held:
            outputs = (output for facts in block.facts for output in facts[5])
            made = [(uri, digest) for uri, digest in versions(outputs) if digest is not None]
            self.drafter.linked(made, now)

    def solved(self, block: bytes, nonce: int, now: float) -> None:
        """This node found the nonce of an own block; in vain where a peer was faster."""
        proposal = self.blocks.get(block)
        if proposal is not None and proposal.state is State.DRAFT:
            self._mined(proposal, Solution(self._key.public.fingerprint, nonce), now)

    def helped(self, slot: int, message: messages.Found, now: float) -> str:
        """A peer says that it found one; returns why that is of no use, or ""."""
        proposal, roster, solution = self.blocks.get(message.block), self._roster, message.solution
        if proposal is None or roster is None:
            return "unknown block"
        if proposal.state is not State.DRAFT:
            return "puzzle solved"
        if roster.slot_of(solution.solver) != slot or solution.solver == self._key.public.fingerprint:
            return "wrong slot"
        try:
            roster.check_solution(proposal.block.block, solution)
        except VerificationError:
            return "bad solution"
        self._effects.append(StopMining(self._reach.slot, message.block))
        self._mined(proposal, solution, now)
        return ""

    def answered(self, answer: messages.Answer, now: float) -> str:
        """Storage did not append a block; returns why that is of no use, or ""."""
        proposal = self.blocks.get(answer.block)
        if proposal is None:
            return "unknown block"
        if proposal.state not in (State.CERTIFIED, State.EXTENDING):
            return "answer replayed"
        self._effects += proposal.answered(answer, self.storage_up, now)
        if proposal.is_rejected:
            self._draft_anew(proposal, answer, now)
            return ""
        if proposal.wants_votes:
            self.suspects.update(answer.slots)
        if self._roster is not None and proposal.is_outdated(self._roster):
            self._propose(proposal, self._roster, now)
        return ""

    def show(self, slot: int) -> None:
        """This slot can be reached again: proposals may have been sent while it was away."""
        for proposal in self.blocks.values() if slot in self._reach.slots else ():
            if proposal.wants_votes:
                self._effects.append(SendPeer(slot, messages.Propose(proposal.block.block)))

    def storage_lost(self) -> None:
        """The channel to storage is gone."""
        self.storage_up = False
        for proposal in self.blocks.values():
            proposal.storage_lost()

    def woken(self, slept_s: float, now: float) -> None:
        """This node saw nothing for so long: its waits begin again."""
        self.drafter.woken(slept_s)
        for proposal in self.blocks.values():
            proposal.woken(now)

    def go_on(self, now: float) -> None:
        """Draft, propose, push: whatever is ripe."""
        self.drafter.expire(now)
        roster = self._roster
        if roster is None:
            return
        while (draft := self.drafter.seal(self._load, now)) is not None:
            self._seal(draft, roster, now)
        for proposal in self.blocks.values():
            self._effects += proposal.review(self._reach, self.storage_up, now)

    def next_time(self) -> float | None:
        """When something becomes ripe by itself."""
        if self._roster is None:
            return None
        times = [proposal.deadline for proposal in self.blocks.values()]
        if self._load < limits.IN_FLIGHT_BLOCKS_MAX:
            times.append(self.drafter.next_time())
        return min((time for time in times if time is not None), default=None)

    @property
    def _load(self) -> int:
        """Blocks in flight; as many as there may be if they hold as many transactions as there may be."""
        if self._transactions >= limits.IN_FLIGHT_TRANSACTIONS_MAX:
            return limits.IN_FLIGHT_BLOCKS_MAX
        return len(self.blocks)

    def _seal(self, draft: Draft, roster: Roster, now: float) -> None:
        hardness = self._replica.difficulty(roster)
        sealed = membership.seal(
            self._key,
            self._chain,
            roster.number,
            self._sequence,
            cast("bytes", self._replica.head),
            self._replica.height,
            tuple(item.data for item in draft.items),
            self.offset_us + int(now * 1_000_000),
            hardness,
            draft.source,
            [item.id for item in draft.items],
        )
        self._sequence += 1
        facts = [item.facts for item in draft.items]
        proposal = Proposal(self._prepare(sealed, facts), tuple(draft.items), roster, self._timing)
        self.blocks[sealed.id] = proposal
        self._transactions += len(draft.items)
        if not hardness:
            self._mined(proposal, None, now)
            return
        if roster.epoch.settings.mining == "race":
            self._effects += [SendPeer(slot, messages.Puzzle(sealed.id, hardness)) for slot in self._reach.others]
        self._effects.append(Mine(self._reach.slot, sealed.id, self._key.public.fingerprint, hardness))

    def _mined(self, proposal: Proposal, solution: Solution | None, now: float) -> None:
        proposal.solved(solution)
        if self._roster is not None:
            self._propose(proposal, self._roster, now)

    def _propose(self, proposal: Proposal, roster: Roster, now: float) -> None:
        proposal.proposed(roster, self._reach.is_tree, now)
        message = messages.Propose(proposal.block.block)
        self._effects += [SendPeer(slot, message) for slot in self._reach.targets(self._reach.slot)]
        self._judge(proposal.block, now)

    def _draft_anew(self, proposal: Proposal, answer: messages.Answer, now: float) -> None:
        """The block is dead, its transactions are not: into a new block, a bounded number of times if it was refused.

        One that was outdated only came too late: the next is made of what holds now.
        """
        self._remove(proposal)
        lost = []
        for item in proposal.items:
            count = self._redrafts.pop(item.id, 0) + (answer.answer == "refused")
            if count <= limits.REDRAFTS_MAX:
                self._redrafts[item.id] = count
                self.drafter.add(item, now)
            elif not item.own:
                lost.append(item.id)
        if lost:
            self._effects.append(GivenUp(tuple(lost), answer.reason))

    def _remove(self, proposal: Proposal) -> None:
        del self.blocks[proposal.block.block.id]
        self._transactions -= len(proposal.items)
