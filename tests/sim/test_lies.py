"""Every lie is one: what a liar sends differs from the truth in the way its name says, and is signed only by itself."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from scichain_wf.consensus import messages
from scichain_wf.crypto.hashing import Domain
from scichain_wf.model.block import Block
from scichain_wf.model.certificate import QuorumCertificate
from scichain_wf.model.verdict import Verdict, VerdictBatch
from scichain_wf.sim.lies import LIES
from scichain_wf.sim.lies.lie import Lie
from tests.builders import ChainBuilder
from tests.unit.consensus.cluster import item

SLOT = 2


class Truth:
    """What an honest agent of slot 2 would send."""

    def __init__(self) -> None:
        self.builder = b = ChainBuilder(slots=3)
        b.join_all()
        b.height = 3
        read = b.artifact("x", b"1") | {"origin": "source"}
        self.task = b.task("t", [read, b.artifact("y")], [b.artifact("z", b"2")])
        self.block = b.block(SLOT, (self.task,))
        votes = tuple(b.vote(slot, self.block) for slot in (1, 2))
        self.propose = messages.Propose(self.block)
        self.verdicts = messages.Verdicts(self.batch())
        self.push = messages.Push(self.block, QuorumCertificate(self.block.id, b.epoch.epoch, None, votes))
        self.extend = messages.Extend(self.block, None, votes[:1], "deadline")

    def batch(self) -> VerdictBatch:
        vote = self.builder.vote(SLOT, self.builder.block(1, (self.task,)))
        return VerdictBatch(vote.header, vote.signature, (vote.entry,))

    def lie(self, name: str, seed: int = 1) -> Lie:
        return LIES[name](SLOT, 3, self.builder.nodes[SLOT], Random(seed))

    def signed(self, batch: VerdictBatch) -> bool:
        return self.builder.nodes[SLOT].public.is_valid(Domain.VERDICT_BATCH, batch.signature, batch.header.encode())


def test_the_truth_passes_what_a_lie_does_not_touch() -> None:
    """A liar is honest in everything but its lie."""
    t = Truth()
    for name in ("withhold", "invalid", "valid", "contradict", "forge", "push"):
        assert t.lie(name).outgoing(1, t.propose) == [(1, t.propose)]
    assert t.lie("equivocate").outgoing(1, t.verdicts) == [(1, t.verdicts)]
    assert t.lie("push").outgoing(1, t.verdicts) == [(1, t.verdicts)]
    assert t.lie("withhold").submitted((item(t.task),)) == (item(t.task),)


def test_equivocation() -> None:
    """Two blocks under one sequence number, both well signed."""
    t = Truth()
    (to, other), (storage, extend), last = t.lie("equivocate").outgoing(1, t.propose)
    assert isinstance(other, messages.Propose)
    assert isinstance(extend, messages.Extend)
    assert (to, storage, extend.block, last) == (1, 0, other.block, (1, t.propose))
    assert other.block.id != t.block.id
    assert other.block.header.sequence == t.block.header.sequence
    key = t.builder.nodes[SLOT].public
    assert key.is_valid(Domain.BLOCK, other.block.signature, other.block.header_bytes)
    assert t.lie("equivocate").outgoing(2, t.propose) == [(2, t.propose)]
    foreign = messages.Propose(t.builder.block(1, (t.task,)))
    assert t.lie("equivocate").outgoing(1, foreign) == [(1, foreign)]


@pytest.mark.parametrize(
    ("name", "to", "verdict"),
    [
        ("invalid", 1, Verdict.INVALID),
        ("valid", 1, Verdict.VALID),
        ("forge", 3, Verdict.VALID),
        ("contradict", 1, Verdict.VALID),
        ("contradict", 2, Verdict.INVALID),
    ],
)
def test_false_verdicts(name: str, to: int, verdict: Verdict) -> None:
    """The batch is consistent and signed: only what it says is false."""
    t = Truth()
    ((receiver, message),) = t.lie(name).outgoing(to, t.verdicts)
    assert isinstance(message, messages.Verdicts)
    assert receiver == to
    assert [entry.verdict for entry in message.batch.entries] == [verdict]
    assert VerdictBatch.decode(message.batch.encode()) == message.batch
    assert t.signed(message.batch)


def test_withheld_verdicts() -> None:
    assert Truth().lie("withhold").outgoing(1, Truth().verdicts) == []


def test_forged_digests() -> None:
    """Of inputs that have one; nothing else changes."""
    t = Truth()
    lie, honest = t.lie("forge"), item(t.task)
    made = [lie.submitted((honest,))[0] for _ in range(20)]
    forged = [one for one in made if one != honest]
    assert 0 < len(forged) < 20
    for one in forged:
        assert [n[0] for n in one.needs] == [n[0] for n in honest.needs]
        assert one.needs[0][1] != honest.needs[0][1]
        assert one.outputs == honest.outputs
        assert one.id != honest.id
    note = item(t.builder.run_start())
    assert lie.submitted((note,)) == (note,)


def test_impersonation_never_carries_another_slots_signature() -> None:
    """In others' names, of other epochs and chains, and garbled; beside the truth."""
    t = Truth()
    lie, seen = t.lie("impersonate"), set()
    truths: list[messages.Message] = [t.propose, t.verdicts, t.push, t.extend, messages.Sync(3)]
    for truth in truths * 40:
        *false, (to, last) = lie.outgoing(1, truth)
        assert (to, last) == (1, truth)
        for _, message in false:
            if isinstance(message, messages.Propose | messages.Push | messages.Extend):
                made, header, names = message.block.header, t.block.header, ("proposer", "epoch", "chain")
                seen |= {name for name in names if getattr(made, name) != getattr(header, name)}
            elif isinstance(message, messages.Verdicts):
                said, batch = message.batch.header, t.verdicts.batch.header
                seen |= {name for name in ("slot", "epoch", "chain") if getattr(said, name) != getattr(batch, name)}
                other = t.builder.nodes[1].public
                assert not other.is_valid(Domain.VERDICT_BATCH, message.batch.signature, said.encode())
    assert seen == {"proposer", "epoch", "chain", "slot"}


def test_replays() -> None:
    """Each message is followed by an older one, to somebody else or to storage."""
    t = Truth()
    lie = t.lie("replay")
    truths: list[messages.Message] = [t.propose, t.verdicts, t.push]
    sent = [one for truth in truths * 9 for one in lie.outgoing(1, truth)[1:]]
    assert {type(message) for _, message in sent} == {messages.Propose, messages.Verdicts, messages.Push}
    assert all((to == 0) == isinstance(message, messages.Push) and to != SLOT for to, message in sent)


def test_forged_certificates() -> None:
    """Too few votes, or votes of all slots that only the liar signed."""
    t = Truth()
    (_, few), (_, truth) = t.lie("push").outgoing(0, t.push)
    assert isinstance(few, messages.Push)
    assert truth == t.push
    assert len(few.certificate.votes) == 1
    (_, forged), (_, truth) = t.lie("push").outgoing(0, t.extend)
    assert isinstance(forged, messages.Push)
    assert truth == t.extend
    assert [vote.header.slot for vote in forged.certificate.votes] == [1, 2, 3]
    for vote in forged.certificate.votes:
        vote.verify_path()
        vote.verify(t.builder.nodes[SLOT].public)
    assert isinstance(messages.Push.decode(forged.encode()).block, Block)
    assert replace(forged, block=t.block) == forged


def test_spoiled_proposals() -> None:
    """What others propose, to storage: with another signature or none of the votes, and never an own block."""
    t = Truth()
    lie = t.lie("spoil")
    heard = [one for _ in range(30) for one in lie.heard(t.propose)]
    assert {to for to, _ in heard} == {0}
    assert {type(message) for _, message in heard} == {messages.Push, messages.Extend}
    blocks = [message.block for _, message in heard if isinstance(message, messages.Push | messages.Extend)]
    assert {block.id for block in blocks} == {t.block.id}
    assert {block.signature == t.block.signature for block in blocks} == {True, False}
    assert lie.heard(t.verdicts) == []
    assert t.lie("valid").heard(t.propose) == []
