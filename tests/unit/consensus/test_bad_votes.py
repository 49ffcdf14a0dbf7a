"""Slots that sign their votes badly: storage finds out, they are verified from then on, and others' blocks commit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scichain_wf.consensus import events, messages
from scichain_wf.model.verdict import Verdict, VerdictBatch
from tests.unit.consensus.cluster import Cluster, Delivery
from tests.unit.consensus.kit import state_of

LIAR = 2


class Spoilt(Cluster):
    """A cluster whose slot 2 breaks the signatures of its votes, and answers among the first."""

    is_lying = True

    def _send(self, delivery: Delivery) -> None:
        sender, to, message = delivery
        if self.is_lying and sender == LIAR and isinstance(message, messages.Verdicts):
            message = messages.Verdicts(replace(message.batch, signature=bytes(64)))
        super()._send((sender, to, message))

    def commit_some(self, blocks: int) -> None:
        for _ in range(blocks):
            self.submit(1, self.builder.task(f"task {len(self.links())}"))
            self.run(1)


def batch(cluster: Cluster, slot: int, **changes: object) -> VerdictBatch:
    """VALID of `slot` on the block of slot 1 that waits for votes."""
    own = cluster.nodes[1].agent.own_block(next(iter(cluster.nodes[1].agent._author.blocks)))
    assert own is not None
    vote = cluster.builder.vote(slot, own.block, Verdict.VALID)
    return replace(VerdictBatch(vote.header, vote.signature, (vote.entry,)), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("slots", [3, 5])
def test_one_slot_that_signs_badly_makes_no_block_poet(slots: int) -> None:
    """Storage finds it out once; then its batches are verified and dropped. Spec: LIVE-2."""
    cluster = Spoilt(slots)
    cluster.commit_some(10)
    node = cluster.nodes[1]
    assert cluster.modes() == ["quorum"] * 10
    assert node.notes == ["storage says that votes of slots [2] do not hold"]
    assert node.agent.dropped["bad signature"] == 9
    assert cluster.nodes[3].agent.dropped["bad signature"] == 0  # it has proposed nothing and knows of nothing


def test_a_slot_that_signs_well_again_counts_again() -> None:
    """Spec: LIVE-2."""
    cluster = Spoilt(3)
    cluster.commit_some(2)
    cluster.is_lying = False
    cluster.kill(3)
    cluster.commit_some(1)
    assert cluster.modes() == ["quorum"] * 3


def test_a_certificate_of_an_epoch_that_is_over_makes_nobody_suspect() -> None:
    cluster = Cluster()
    cluster.hold_commits = True
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(1)
    cluster.restart(3)
    cluster.hold_commits = False
    cluster.run()
    assert cluster.modes() == ["quorum"]
    assert cluster.nodes[1].agent._author.suspects == set()


def test_what_a_suspect_signed_badly_is_counted_and_changes_nothing() -> None:
    """Not even whether it is taken to be at work."""
    cluster = Spoilt(5)
    cluster.commit_some(1)
    agent = cluster.nodes[1].agent
    cluster.lose = lambda delivery: isinstance(delivery[2], messages.Verdicts)
    cluster.submit(1, cluster.builder.task("b"))
    cluster.is_lying = False
    cluster.run(0.2)
    before = state_of(agent)
    agent.dropped.clear()
    well = batch(cluster, LIAR)
    for spoilt in (
        replace(well, signature=bytes(64)),
        replace(well, header=replace(well.header, batch=well.header.batch + 1)),
        batch(cluster, LIAR, signature=batch(cluster, 3).signature),
    ):
        assert agent.step(events.VerdictsReceived(LIAR, spoilt), cluster.now) == ()
    assert agent.dropped == {"bad signature": 3}
    assert state_of(agent) == before
    agent.step(events.VerdictsReceived(LIAR, well), cluster.now)
    assert state_of(agent) != before
    assert agent.dropped == {"bad signature": 3}
