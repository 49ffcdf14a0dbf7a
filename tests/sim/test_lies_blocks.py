"""Lies in blocks differ from the truth in the way their names say, and are signed only by the liar."""

from __future__ import annotations

from random import Random

from scichain_wf import limits
from scichain_wf.consensus import messages
from scichain_wf.crypto import puzzle
from scichain_wf.crypto.hashing import Domain
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.block import Block
from scichain_wf.sim.lies.blocks import Ahead, Copy, MakeForget
from tests.sim.test_lies import SLOT, Truth


def block_of(t: Truth, message: messages.Message) -> Block:
    """The well formed block of a proposal that the liar signed."""
    assert isinstance(message, messages.Propose)
    block = Block.decode(message.block.encode())
    assert prepared(block).block.header.proposer == t.builder.nodes[SLOT].public.fingerprint
    assert t.builder.nodes[SLOT].public.is_valid(Domain.BLOCK, block.signature, block.header_bytes)
    return block


def test_a_flood_comes_when_the_first_question_is_answered_and_once() -> None:
    t = Truth()
    lie = MakeForget(SLOT, 3, t.builder.nodes[SLOT], Random(1))
    assert lie.outgoing(3, t.verdicts) == [(3, t.verdicts)]
    assert lie.heard(t.verdicts) == []
    truth, (to, asked) = lie.outgoing(3, t.propose)
    assert (truth, to) == ((3, t.propose), 3)
    first = block_of(t, asked)
    assert set(first.leaves).isdisjoint(t.block.leaves)
    assert lie.outgoing(1, t.propose) == [(1, t.propose)]
    assert lie.heard(t.propose) == lie.heard(t.verdicts) == []  # not about it
    vote = t.builder.vote(3, first)
    answer = messages.Verdicts(type(t.batch())(vote.header, vote.signature, (vote.entry,)))
    heard = lie.heard(answer)
    assert {to for to, _ in heard} == {3}
    *flood, again = [block_of(t, message) for _, message in heard]
    assert again == first
    numbers = {block.header.sequence for block in flood}
    assert len(numbers) == limits.SEQUENCES_REMEMBERED_MAX
    assert min(numbers) > first.header.sequence
    assert lie.heard(answer) == []


def test_blocks_of_epochs_to_come() -> None:
    t = Truth()
    lie = Ahead(SLOT, 3, t.builder.nodes[SLOT], Random(1))
    *ahead, truth = lie.outgoing(1, t.propose)
    assert truth == (1, t.propose)
    now = t.block.header.epoch
    epochs = [block_of(t, message).header.epoch - now for _, message in ahead]
    assert epochs[:3] == [1, limits.EPOCHS_AHEAD_MAX, limits.EPOCHS_AHEAD_MAX + 1]
    assert lie.outgoing(1, t.verdicts) == [(1, t.verdicts)]
    foreign = messages.Propose(t.builder.block(1, (t.task,)))
    assert lie.outgoing(1, foreign) == [(1, foreign)]
    assert lie.heard(t.verdicts) == []
    for to, (slot, message) in zip((1, 3), lie.heard(foreign), strict=True):
        assert isinstance(message, messages.Propose)
        assert (slot, message.block.id, message.block.signature) == (to, foreign.block.id, bytes(64))
        assert lie.heard(message) == []


def test_a_copy_is_the_liars_own_and_solved() -> None:
    t = Truth()
    lie = Copy(SLOT, 3, t.builder.nodes[SLOT], Random(1))
    theirs = messages.Propose(t.builder.block(1, (t.task,)))
    (to, copy), *others = [sent for _ in range(20) for sent in lie.heard(theirs)]
    assert isinstance(copy, messages.Extend)
    assert to == 0
    assert others
    assert copy.block.transactions == theirs.block.transactions
    assert copy.block.header.proposer == t.builder.nodes[SLOT].public.fingerprint
    assert t.builder.nodes[SLOT].public.is_valid(Domain.BLOCK, copy.block.signature, copy.block.header_bytes)
    assert copy.solution is not None
    header = copy.block.header
    assert puzzle.solves(copy.block.id, header.proposer, copy.solution.nonce, header.difficulty)
    assert lie.heard(t.propose) == lie.heard(t.verdicts) == []
