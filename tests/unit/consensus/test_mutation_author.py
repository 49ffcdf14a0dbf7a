"""A node's own blocks to the last word: what mutation testing (tests/mutation) found no other test to notice."""

from __future__ import annotations

import pytest

from scichain_wf import limits
from scichain_wf.consensus import effects, events, messages
from tests.unit.consensus.cluster import Cluster, item


def pushed(cluster: Cluster) -> bytes:
    """Slot 1's block, of which storage says nothing."""
    cluster.hold_commits = True
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(1)
    (candidate,) = cluster.commits[0].candidates
    return candidate.block.block.id


def test_a_block_that_is_doubted_too_often_is_extended_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPROPOSALS_MAX", 0)
    cluster = Cluster()
    identity, agent = pushed(cluster), cluster.nodes[1].agent
    given = agent.step(events.Answered(messages.Answer(identity, "bad-votes", (2,))), cluster.now)
    (extend,) = [effect.message for effect in given if isinstance(effect, effects.SendStorage)]
    assert isinstance(extend, messages.Extend)
    assert extend.reason == "bad-votes"
    assert not +agent.dropped


def test_a_refusal_that_ends_a_transaction_names_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REDRAFTS_MAX", 0)
    cluster = Cluster()
    identity, agent = pushed(cluster), cluster.nodes[1].agent
    ids = tuple(one.id for one in agent._author.blocks[identity].items)
    given = agent.step(events.Answered(messages.Answer(identity, "refused", reason="no")), cluster.now)
    assert effects.GivenUp(ids, "no") in given
    assert not +agent.dropped


def test_what_is_released_while_nothing_may_be_sealed_is_sealed_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    build, agent = cluster.builder, cluster.nodes[1].agent
    monkeypatch.setattr(limits, "IN_FLIGHT_BLOCKS_MAX", 0)
    waits = build.task("use", [build.artifact("never", b"1") | {"origin": "task:nobody"}])
    agent.step(events.Submitted((item(waits),)), cluster.now)
    agent.step(events.Release(), cluster.now)
    assert [agent.held, agent.waiting] == [0, 1]
    monkeypatch.undo()
    agent.step(events.Release(), cluster.now)
    assert [agent.waiting, agent.in_flight] == [0, 1]
    assert agent._author.drafter.next_time() is None


def test_an_own_block_is_linked_without_its_body_even_if_its_judge_forgot_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REMEMBERED_BLOCKS_MAX", 1)
    cluster = Cluster()
    first, agent = pushed(cluster), cluster.nodes[1].agent
    cluster.submit(1, cluster.builder.task("b"))
    cluster.run(1)
    assert agent._validator.body(first) is None
    cluster.lose = lambda delivery: delivery[1] == 1
    cluster.commit()
    (link,) = cluster.links()
    assert link.block == first
    agent.step(events.CommittedReceived(link, None), cluster.now)
    assert agent.head == link.hash
