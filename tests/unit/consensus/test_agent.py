"""One agent by itself: what it does with events that do not fit, come early, or come late."""

from __future__ import annotations

import pytest

from scichain_wf.consensus import effects, events, messages
from scichain_wf.consensus.agent import Agent
from scichain_wf.consensus.timing import Timing
from scichain_wf.errors import VerificationError
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.link import Link, Mark, Mode
from scichain_wf.model.verdict import VerdictBatch
from tests.builders import signing_key
from tests.unit.consensus.cluster import Cluster, MemoryLedger, item


def test_an_agent_outside_the_epoch_neither_proposes_nor_judges() -> None:
    cluster = Cluster()
    build = cluster.builder
    outsider = Agent(signing_key(7, "x"), 1, build.chain, build.authority.public, MemoryLedger(), Timing())
    assert outsider.slots == 0
    assert outsider.storage_key is None
    block = prepared(build.block(2, [build.task("a")]))
    assert outsider.step(events.ProposalReceived(2, block), 1.0) == (effects.SetTimer(None),)
    assert outsider.step(events.Submitted((item(build.task("b")),)), 1.0) == (effects.SetTimer(None),)
    assert outsider.step(events.Tick(), 2.0) == (effects.SetTimer(None),)


def test_an_agent_that_joins_late_may_see_links_before_it_sees_an_epoch() -> None:
    cluster = Cluster()
    build = cluster.builder
    agent = Agent(signing_key(7, "x"), 1, build.chain, build.authority.public, MemoryLedger(), Timing())
    candidate = build.quorum(build.block(1, [build.task("a")]))
    link = Link(5, bytes(32), candidate.block.id, bytes(32), Mode.QUORUM, 2, (), 1, 1)
    assert agent.step(events.Linked(link, prepared(candidate.block)), 1.0) == (effects.SetTimer(None),)
    assert not agent.is_member


def test_verdicts_change_when_the_past_becomes_known() -> None:
    """A node whose filter has not come says UNKNOWN; when it comes, the deadline need not pass. Spec: LIVE-2."""
    cluster = Cluster()
    build = cluster.builder
    uri = str(build.artifact("f")["uri"])
    for node in cluster.nodes.values():
        node.ledger.forgotten.add(uri)
    cluster.submit(1, build.task("a", [build.artifact("f", b"1") | {"origin": "source"}]))
    cluster.run(0.5)
    assert cluster.modes() == []
    for slot, node in cluster.nodes.items():
        node.ledger.forgotten.clear()
        cluster.feed(slot, events.PastKnown())
        cluster.feed(slot, events.PastKnown())
    cluster.run(0.5)
    assert cluster.modes() == ["quorum"]


def test_only_what_still_waits_for_votes_is_sent_to_a_peer_that_comes_back() -> None:
    cluster = Cluster()
    cluster.hold_commits = True
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(1)
    assert cluster.nodes[1].agent.in_flight == 1
    given = cluster.nodes[1].agent.step(events.PeerUp(2), cluster.now)
    assert not [effect for effect in given if isinstance(effect, effects.SendPeer)]


def test_an_epoch_of_another_authority_is_refused_and_changes_nothing() -> None:
    cluster = Cluster()
    other = Cluster()
    stranger = other.builder
    agent = cluster.nodes[1].agent
    foreign = type(stranger)(slots=3, seed=2)
    foreign.chain, foreign.head, foreign.height = cluster.builder.chain, cluster.builder.head, cluster.builder.height
    statement, _ = foreign.join_all()
    link = Link(3, foreign.head, statement.block.id, None, Mode.EPOCH, 3, (), 1, 1)
    with pytest.raises(VerificationError, match="another authority"):
        agent.step(events.Linked(link, prepared(statement.block)), cluster.now)
    assert agent.slots == 3
    assert agent.is_member


def test_what_does_not_fit_changes_nothing() -> None:
    """Stray answers, votes and solutions: channels may repeat themselves."""
    cluster = Cluster()
    build = cluster.builder
    agent = cluster.nodes[1].agent
    vote = build.vote(2, build.block(1, [build.task("x")]))
    batch = VerdictBatch(vote.header, vote.signature, (vote.entry,))
    for event in (
        events.Solved(bytes(32), 1),
        events.Answered(messages.Answer(bytes(32), "refused")),
        events.VerdictsReceived(2, batch),
        events.Seal(),
        events.Release(),
    ):
        assert agent.step(event, cluster.now) == (effects.SetTimer(None),)
    wrong = agent.step(events.VerdictsReceived(3, batch), cluster.now)
    assert isinstance(wrong[0], effects.Note)
    assert "slot 3 sent verdicts of slot 2" in wrong[0].text


def test_what_is_held_is_released_by_a_flush_and_annotated() -> None:
    cluster = Cluster()
    build = cluster.builder
    waits = build.task("use", [build.artifact("never", b"1") | {"origin": "task:nobody"}])
    cluster.submit(1, waits)
    cluster.run(1)
    assert cluster.modes() == []
    assert cluster.nodes[1].agent.held == 1
    cluster.feed(1, events.Release())
    cluster.run()
    assert cluster.modes() == ["quorum"]
    assert [mark.mark for mark in cluster.marks()] == [Mark.UNRESOLVED]


def test_own_blocks_can_be_asked_for_until_they_are_linked() -> None:
    cluster = Cluster()
    cluster.hold_commits = True
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(1)
    (candidate,) = cluster.commits[0].candidates
    own = cluster.nodes[1].agent.own_block(candidate.block.block.id)
    assert own is not None
    assert own.block.id == candidate.block.block.id
    assert cluster.nodes[2].agent.own_block(candidate.block.block.id) is None
    cluster.hold_commits = False
    cluster.run()
    assert cluster.nodes[1].agent.own_block(candidate.block.block.id) is None
