"""One agent by itself: what it does with events that do not fit, come early, or come late."""

from __future__ import annotations

import pytest

from scichain_wf import limits
from scichain_wf.consensus import effects, events, messages, storage
from scichain_wf.consensus.agent import Agent
from scichain_wf.consensus.timing import Timing
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.block import Block
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from scichain_wf.model.link import Link, Mark, Mode
from tests.builders import signing_key
from tests.unit.consensus.cluster import Cluster, MemoryLedger, item
from tests.unit.consensus.kit import state_of


def an_outsider(cluster: Cluster, slot: int = 1) -> Agent:
    """A process that no epoch binds."""
    build = cluster.builder
    return Agent(
        signing_key(7, "x"), slot, build.chain, build.authority.public, MemoryLedger(), Timing(), prepared
    )


def test_an_agent_outside_the_epoch_neither_proposes_nor_judges() -> None:
    cluster = Cluster()
    build = cluster.builder
    outsider = an_outsider(cluster)
    assert [outsider.slots, outsider.height, outsider.head, outsider.storage_key] == [0, -1, None, None]
    block = prepared(build.block(2, [build.task("a")]))
    assert outsider.step(events.ProposalReceived(2, block), 1.0) == ()
    assert outsider.step(events.Submitted((item(build.task("b")),)), 1.0) == ()
    assert outsider.step(events.Tick(), 2.0) == ()
    outsider.step(events.PeerUp(2), 2.0)
    for link in cluster.chain.links:  # it follows the chain, and its key is in no epoch of it
        outsider.step(events.CommittedReceived(link, cluster.chain.blocks[link.block]), 2.0)
    assert [outsider.slots, outsider.height, outsider.is_member] == [3, 2, False]
    given = [
        *outsider.step(events.ProposalReceived(2, prepared(build.block(2, [build.task("c")]))), 3.0),
        *outsider.step(events.Tick(), 4.0),
        *outsider.step(events.Solved(1, bytes(32), 1), 4.0),
    ]
    assert not [effect for effect in given if not isinstance(effect, effects.SetTimer)]


def test_an_agent_that_joins_late_may_see_links_before_it_sees_an_epoch() -> None:
    cluster = Cluster()
    build = cluster.builder
    agent = an_outsider(cluster)
    agent.step(events.Welcomed(5, (bytes(32), bytes(32))), 1.0)
    candidate = build.quorum(build.block(1, [build.task("a")]))
    link = Link(5, bytes(32), candidate.block.id, bytes(32), Mode.QUORUM, 2, (), 1, 1)
    assert agent.step(events.CommittedReceived(link, prepared(candidate.block)), 1.0) == ()
    assert [agent.is_member, agent.height, agent.head] == [False, 5, link.hash]


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


def epoch_link(cluster: Cluster, block: Block) -> events.CommittedReceived:
    """The next link of the cluster's chain, over an epoch block that somebody made."""
    last = cluster.chain.links[-1]
    link = Link(last.height + 1, last.hash, block.id, None, Mode.EPOCH, 3, (), 1, 1)
    return events.CommittedReceived(link, prepared(block))


def test_an_epoch_of_another_authority_ends_the_agent_and_is_not_applied() -> None:
    """Who may judge is the authority's word, not storage's."""
    cluster = Cluster()
    agent = cluster.nodes[1].agent
    foreign = type(cluster.builder)(slots=3, seed=2)
    foreign.chain, foreign.head, foreign.height = cluster.builder.chain, cluster.builder.head, cluster.builder.height
    statement, _ = foreign.join_all()
    given = agent.step(epoch_link(cluster, statement.block), cluster.now)
    (halt,) = [effect for effect in given if isinstance(effect, effects.Halt)]
    assert "another authority" in halt.reason
    assert [agent.slots, agent.is_member, agent.height] == [3, True, 2]
    assert agent.step(events.Submitted((item(cluster.builder.task("a")),)), cluster.now) == ()
    assert agent.step(events.Tick(), cluster.now + 1) == ()


def test_an_epoch_comes_once_and_alone() -> None:
    """An old membership cannot be put in force again, nor one inside other records."""
    cluster = Cluster()
    build = cluster.builder
    again = cluster.chain.blocks[cluster.chain.links[-1].block].block
    for block, reason in (
        (again, "epoch 2 follows epoch 2"),
        (build.block(1, [build.task("a")]), "states no epoch"),
        (build.block(1, [again.transactions[0], build.task("a")]), "states no epoch"),
    ):
        agent = Cluster().nodes[1].agent
        given = agent.step(epoch_link(cluster, block), cluster.now)
        assert next(effect.reason for effect in given if isinstance(effect, effects.Halt)).endswith(reason)


def test_what_does_not_fit_changes_nothing() -> None:
    """Stray solutions, seals and releases: channels may repeat themselves."""
    cluster = Cluster()
    agent = cluster.nodes[1].agent
    before = state_of(agent)
    for event in (events.Solved(1, bytes(32), 1), events.Release(), events.Seal(), events.Tick(), events.PastKnown()):
        assert agent.step(event, cluster.now) == ()
    assert state_of(agent) == before


def test_a_timer_is_set_when_it_changes_and_only_then() -> None:
    cluster = Cluster()
    agent = cluster.nodes[1].agent
    first = agent.step(events.Submitted((item(cluster.builder.task("a")),)), 1.0)
    assert first == (effects.SetTimer(1.0 + Timing().draft_interval_s),)
    assert agent.step(events.Submitted((item(cluster.builder.task("b")),)), 1.01) == ()
    assert agent.step(events.Tick(), 1.02) == first  # the timer that was set is gone: it went off early


def test_a_verdict_leaves_at_once_and_the_next_ones_with_the_tick() -> None:
    """An idle chain waits for nothing; a busy one signs once per tick. Decision 8."""
    cluster = Cluster(3, settings=Settings(difficulty=Difficulty(value=0)))
    agent, build = cluster.nodes[1].agent, cluster.builder
    start = cluster.now + 1.0
    blocks = [prepared(build.block(2, [build.task(name)])) for name in ("a", "b", "c")]
    first = agent.step(events.ProposalReceived(2, blocks[0]), start)
    assert [effect.message.kind for effect in first if isinstance(effect, effects.SendPeer)] == [messages.Kind.VERDICTS]
    later = start + Timing().tick_s / 2
    given = [effect for block in blocks[1:] for effect in agent.step(events.ProposalReceived(2, block), later)]
    assert given == [effects.SetTimer(start + Timing().tick_s)]
    (sent,) = [e for e in agent.step(events.Tick(), start + Timing().tick_s) if isinstance(e, effects.SendPeer)]
    assert isinstance(sent.message, messages.Verdicts)
    assert [entry.block for entry in sent.message.batch.entries] == [block.block.id for block in blocks[1:]]


@pytest.mark.parametrize(("slept_s", "mode"), [(limits.SUSPEND_S + 1, "quorum"), (limits.SUSPEND_S - 1, "poet")])
def test_a_node_that_slept_does_not_take_the_others_for_silent(slept_s: float, mode: str) -> None:
    """A suspended laptop must not turn every block into POET. Spec: LIVE-2."""
    cluster = Cluster(2)
    waits = cluster.builder.task("use", [cluster.builder.artifact("never", b"1") | {"origin": "task:nobody"}])
    cluster.submit(1, waits)
    cluster.lose = lambda delivery: isinstance(delivery[2], messages.Propose)
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(0.5)
    cluster.lose = lambda _: False
    cluster.now += slept_s
    cluster.feed(1, events.PeerUp(2))
    cluster.run(0.5)
    assert cluster.modes()[:1] == [mode]
    assert cluster.nodes[1].agent.held == (1 if mode == "quorum" else 0)


def test_a_node_that_slept_pushes_again_what_storage_did_not_answer() -> None:
    """Only waits for votes begin anew: a parked block is not kept back for longer. Spec: LIVE-1."""
    cluster = Cluster(2)
    cluster.hold_commits = True
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(0.5)
    (candidate,) = cluster.commits.popleft().candidates
    answer = messages.Answer(candidate.block.block.id, "wait")
    cluster.feed(1, events.Answered(answer))
    cluster.tell_storage(storage.Decided((storage.Outcome(candidate, answer),)))
    cluster.hold_commits = False
    cluster.now += limits.SUSPEND_S + 1
    cluster.feed(1, events.Tick())
    cluster.run(0.01)
    assert cluster.modes() == ["quorum"]


def test_a_node_with_nothing_to_wait_for_may_be_silent_for_long() -> None:
    cluster = Cluster(2)
    cluster.run()
    cluster.now += 2 * limits.SUSPEND_S
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(1)
    assert cluster.modes() == ["quorum"]


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
