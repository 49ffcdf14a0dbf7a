"""Bad input from any role: dropped with a counted reason, and nothing else changes.

What is malformed or oversize never becomes an event: `messages.decode` refuses it (test_messages).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from scichain_wf.consensus import events, messages
from scichain_wf.consensus.roster import solution_statement
from scichain_wf.crypto import merkle
from scichain_wf.crypto.hashing import Domain
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.block import Block
from scichain_wf.model.certificate import Solution
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.epoch import Settings
from scichain_wf.model.verdict import Verdict, VerdictBatch
from tests.builders import ChainBuilder, signing_key
from tests.unit.consensus.cluster import Cluster
from tests.unit.consensus.kit import state_of


@dataclass
class Scene:
    """Slot 1 in a race, with one block that it mines, one that waits for votes, and one link over a block of slot 2."""

    cluster: Cluster

    @classmethod
    def set(cls) -> Scene:
        cluster = Cluster(settings=Settings(mining="race"))
        cluster.submit(2, cluster.builder.task("linked"))
        cluster.run(1)
        cluster.lose = lambda delivery: isinstance(delivery[2], messages.Verdicts) and delivery[1] == 1
        cluster.submit(1, cluster.builder.task("proposed"))
        cluster.run(0.5)
        cluster.hold_mining = True
        cluster.submit(1, cluster.builder.task("mined"))
        cluster.run(0.2)
        cluster.builder.linked(cluster.chain.links[-1])
        cluster.feed(1, events.VerdictsReceived(2, cls(cluster).batch(2)))
        return cls(cluster)

    @property
    def build(self) -> ChainBuilder:
        return self.cluster.builder

    @property
    def proposed(self) -> bytes:
        return next(iter(self.cluster.nodes[1].agent._author.blocks))

    @property
    def mined(self) -> bytes:
        return list(self.cluster.nodes[1].agent._author.blocks)[1]

    def block(self) -> Block:
        return self.build.block(2, [self.build.task("x")])

    def batch(self, voter: int, **changes: object) -> VerdictBatch:
        """An UNKNOWN of `voter` on slot 1's block, whose header says something else."""
        agent = self.cluster.nodes[1].agent
        block = agent.own_block(self.proposed)
        assert block is not None
        vote = self.build.vote(voter, block.block, Verdict.UNKNOWN)
        header = replace(vote.header, batch=7, **changes)  # type: ignore[arg-type]
        return VerdictBatch(header, self.build.nodes[voter].sign(Domain.VERDICT_BATCH, header.encode()), (vote.entry,))

    def solution(self, block: bytes) -> Solution:
        key = self.build.nodes[2]
        return Solution(key.public.fingerprint, 1, key.sign(Domain.PUZZLE, solution_statement(block, 2)))

    def checkpoint(self, chain: bytes | None = None, size: int | None = None) -> Checkpoint:
        links = self.cluster.chain.links
        root = merkle.root([link.hash for link in links])
        return Checkpoint(chain or self.build.chain, len(links) if size is None else size, root)


Make = Callable[[Scene], events.AgentEvent]


def of_chain(scene: Scene, chain: bytes) -> Block:
    """A block of slot 2 in another chain."""
    before, scene.build.chain = scene.build.chain, chain
    block = scene.block()
    scene.build.chain = before
    return block


def of_stranger(scene: Scene) -> Block:
    """A block that is signed by nobody of this epoch."""
    before = scene.build.nodes[2]
    scene.build.nodes[2] = signing_key(5, "stranger")
    block = scene.block()
    scene.build.nodes[2] = before
    return block


def forged(block: Block) -> Block:
    return Block(block.header_bytes, bytes(64), block.transactions)


def linked(scene: Scene) -> Block:
    return scene.cluster.chain.blocks[scene.cluster.links()[0].block].block


CASES: list[tuple[str, Make]] = [
    # a peer's proposal
    ("wrong chain", lambda s: events.ProposalReceived(2, prepared(of_chain(s, bytes(32))))),
    ("not a member", lambda s: events.ProposalReceived(2, prepared(of_stranger(s)))),
    ("bad signature", lambda s: events.ProposalReceived(2, prepared(forged(s.block())))),
    ("linked already", lambda s: events.ProposalReceived(2, prepared(linked(s)))),
    # a peer's verdicts
    ("wrong chain", lambda s: events.VerdictsReceived(2, s.batch(2, chain=bytes(32)))),
    ("wrong slot", lambda s: events.VerdictsReceived(3, s.batch(2))),
    ("wrong epoch", lambda s: events.VerdictsReceived(2, s.batch(2, epoch=1))),
    ("wrong epoch", lambda s: events.VerdictsReceived(2, s.batch(2, epoch=9))),
    ("not a member", lambda s: events.VerdictsReceived(9, s.batch(2, slot=9))),
    ("verdict replayed", lambda s: events.VerdictsReceived(2, s.batch(2))),
    # a peer's puzzle
    ("not a member", lambda s: events.PuzzleReceived(9, messages.Puzzle(bytes(32), 1))),
    ("wrong slot", lambda s: events.PuzzleReceived(1, messages.Puzzle(bytes(32), 1))),
    ("wrong difficulty", lambda s: events.PuzzleReceived(2, messages.Puzzle(bytes(32), 6))),
    ("puzzle solved", lambda s: events.PuzzleReceived(2, messages.Puzzle(linked(s).id, 1))),
    # a peer's solution
    ("unknown block", lambda s: events.SolutionReceived(2, messages.Found(bytes(32), s.solution(bytes(32))))),
    ("puzzle solved", lambda s: events.SolutionReceived(2, messages.Found(s.proposed, s.solution(s.proposed)))),
    ("wrong slot", lambda s: events.SolutionReceived(3, messages.Found(s.mined, s.solution(s.mined)))),
    ("bad solution", lambda s: events.SolutionReceived(2, messages.Found(s.mined, s.solution(s.mined)))),
    # storage's links
    ("link replayed", lambda s: events.CommittedReceived(s.cluster.chain.links[-1], None)),
    ("link replayed", lambda s: events.CommittedReceived(s.cluster.chain.links[0], None)),
    (
        "not the link's block",
        lambda s: events.CommittedReceived(replace(s.cluster.chain.links[-1], height=9), prepared(s.block())),
    ),
    # storage's checkpoints
    ("malformed checkpoint", lambda _: events.CheckpointReceived(b"scichain-wf")),
    ("wrong chain", lambda s: events.CheckpointReceived(noted(s.checkpoint(bytes(32)), s))),
    ("bad signature", lambda s: events.CheckpointReceived(s.checkpoint().text().encode())),
    # storage's answers
    ("unknown block", lambda _: events.Answered(messages.Answer(bytes(32), "refused"))),
    ("answer replayed", lambda s: events.Answered(messages.Answer(s.proposed, "bad-votes", (1, 2, 3)))),
    ("answer replayed", lambda s: events.Answered(messages.Answer(s.mined, "wait"))),
]


def noted(checkpoint: Checkpoint, scene: Scene) -> bytes:
    return checkpoint.sign(scene.build.storage).text().encode()


@pytest.mark.parametrize(("reason", "make"), CASES)
def test_bad_input_is_counted_and_changes_nothing(reason: str, make: Make) -> None:
    scene = Scene.set()
    agent = scene.cluster.nodes[1].agent
    event = make(scene)
    before, agent.dropped = state_of(agent), type(agent.dropped)()
    for _ in range(2):
        assert agent.step(event, scene.cluster.now) == ()
    assert agent.dropped == {reason: 2}
    assert state_of(agent) == before


def test_good_input_of_every_kind_is_not_counted_and_does_change_something() -> None:
    """So that the test above cannot pass by looking away."""
    scene = Scene.set()
    agent, build = scene.cluster.nodes[1].agent, scene.build
    agent.dropped.clear()
    later = scene.batch(2, head_height=9)
    good: list[events.AgentEvent] = [
        events.ProposalReceived(3, prepared(scene.block())),
        events.VerdictsReceived(3, replace(scene.batch(3), signature=later.signature)),
        events.PuzzleReceived(2, messages.Puzzle(bytes(32), 1)),
        events.CommittedReceived(replace(scene.cluster.chain.links[-1], height=9), None),
    ]
    for event in good:
        before = state_of(agent)
        agent.step(event, scene.cluster.now + 0.01)
        assert state_of(agent) != before, event
    assert not +agent.dropped
    assert build.chain


def test_what_comes_before_the_first_epoch_waits_or_is_counted() -> None:
    cluster = Cluster()
    build = cluster.builder
    fresh = type(cluster.nodes[1].agent)(
        build.nodes[1], 1, build.chain, build.authority.public, cluster.nodes[1].ledger, cluster.timing, prepared
    )
    vote = build.vote(2, build.block(1, [build.task("a")]))
    for event, reason in (
        (events.VerdictsReceived(2, VerdictBatch(vote.header, vote.signature, (vote.entry,))), "wrong epoch"),
        (events.PuzzleReceived(2, messages.Puzzle(bytes(32), 1)), "not a member"),
        (events.SolutionReceived(2, messages.Found(bytes(32), Solution(bytes(32), 1))), "unknown block"),
        (events.CheckpointReceived(b""), "no epoch yet"),
    ):
        fresh.dropped.clear()
        assert fresh.step(event, 1.0) == ()
        assert fresh.dropped == {reason: 1}
