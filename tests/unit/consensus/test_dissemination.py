"""Proposals down a tree over the slot list."""

from __future__ import annotations

import pytest

from scichain_wf.consensus import effects, events, messages
from scichain_wf.consensus.dissemination import Reach, children
from scichain_wf.consensus.timing import Timing
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.epoch import Settings
from tests.unit.consensus.cluster import Cluster, Delivery
from tests.unit.consensus.kit import roster_of, sent

TREE = Timing(mesh_slots=3, fanout=2)


def reached(slots: int, proposer: int, fanout: int, alive: set[int]) -> dict[int, int]:
    """How often each slot is sent a block of `proposer` when everybody passes it on."""
    count: dict[int, int] = {}
    todo = [proposer]
    while todo:
        for child in children(slots, proposer, todo.pop(), fanout, alive):
            count[child] = count.get(child, 0) + 1
            todo.append(child)
    return count


@pytest.mark.parametrize("slots", [1, 2, 3, 9, 64, 65, 100])
@pytest.mark.parametrize("fanout", [1, 2, 8])
def test_everybody_gets_a_proposal_once_from_whoever_it_comes(slots: int, fanout: int) -> None:
    everybody = set(range(1, slots + 1))
    for proposer in {1, slots // 2 + 1, slots}:
        assert reached(slots, proposer, fanout, everybody) == dict.fromkeys(everybody - {proposer}, 1)


def test_the_slots_below_one_that_is_out_of_reach_are_reached_past_it() -> None:
    slots = 40
    for dead in ({2}, {2, 3, 4}, set(range(2, 30)), {slots}):
        alive = set(range(1, slots + 1)) - dead
        assert reached(slots, 1, 3, alive) == dict.fromkeys(alive - {1}, 1)


def test_who_is_sent_to_follows_from_the_position_in_the_list() -> None:
    everybody = set(range(1, 8))
    assert children(7, 1, 1, 2, everybody) == [2, 3]
    assert children(7, 1, 2, 2, everybody) == [4, 5]
    assert children(7, 6, 6, 2, everybody) == [7, 1]
    assert children(7, 6, 1, 2, everybody) == [4, 5]
    assert children(7, 6, 5, 2, everybody) == []


def test_a_mesh_counts_channels_and_a_tree_counts_who_is_not_known_to_be_gone() -> None:
    build = Cluster(5).builder
    mesh, tree = Reach(1, Timing()), Reach(1, TREE)
    for reach in (mesh, tree):
        assert reach.others == []
        assert reach.targets(1) == []
        reach.up(2, 1.0)
        reach.restated(roster_of(build))
    assert [mesh.others, tree.others] == [[2], [2, 3, 4, 5]]
    assert [mesh.targets(1), mesh.targets(2), tree.targets(1), tree.targets(2)] == [[2], [], [2, 3], []]
    for reach in (mesh, tree):
        reach.judged(3, 5.0)
        reach.down(2)
    assert [mesh.heard, tree.heard] == [{1: 0.0}, {1: 0.0, 3: 5.0}]
    assert [mesh.targets(1), tree.targets(1)] == [[], [3, 4, 5]]
    tree.up(2, 6.0)
    assert tree.targets(1) == [2, 3]


def test_in_a_mesh_nobody_passes_anything_on() -> None:
    mesh = Reach(1, Timing(mesh_slots=5, fanout=1))
    assert mesh.is_tree is False  # before it knows how many they are
    mesh.restated(roster_of(Cluster(5).builder))
    for slot in (2, 3, 4, 5):
        mesh.up(slot, 1.0)
    assert [mesh.targets(proposer) for proposer in (1, 2)] == [[2, 3, 4, 5], []]


def test_who_boots_anew_is_taken_for_reachable_again() -> None:
    cluster = Cluster(5)
    tree = Reach(1, TREE)
    tree.restated(roster_of(cluster.builder))
    tree.down(2)
    tree.down(3)
    cluster.restart(3)
    tree.restated(roster_of(cluster.builder))
    assert tree.others == [3, 4, 5]


# --- whole machines ---------------------------------------------------------------------------------
def watched(cluster: Cluster) -> list[Delivery]:
    """Everything that is sent from now on."""
    seen: list[Delivery] = []

    def look(delivery: Delivery) -> bool:
        seen.append(delivery)
        return False

    cluster.lose = look
    return seen


def test_relays_pass_a_proposal_on_once_and_verdicts_go_straight_back() -> None:
    cluster = Cluster(9, timing=TREE)
    seen = watched(cluster)
    cluster.submit(4, cluster.builder.task("a"))
    cluster.run(1)
    assert cluster.modes() == ["quorum"]
    proposals = [(frm, to) for frm, to, message in seen if isinstance(message, messages.Propose)]
    assert sorted(to for _, to in proposals) == [1, 2, 3, 5, 6, 7, 8, 9]
    assert [to for frm, to in proposals if frm == 4] == [5, 6]
    assert {to for _, to, message in seen if isinstance(message, messages.Verdicts)} == {4}


def test_a_proposal_that_comes_again_is_answered_and_not_relayed_again() -> None:
    cluster = Cluster(9, timing=TREE)
    agent, build = cluster.nodes[2].agent, cluster.builder
    block = prepared(build.block(1, [build.task("a")]))
    first = agent.step(events.ProposalReceived(1, block), cluster.now)
    again = agent.step(events.ProposalReceived(7, block), cluster.now)
    assert [slot for slot, _ in sent(first, messages.Propose)] == [4, 5]
    assert not sent(again, messages.Propose)
    given = agent.step(events.Tick(), cluster.now + 1)
    assert [slot for slot, _ in sent(given, messages.Verdicts)] == [1]


def test_a_relay_that_keeps_a_proposal_to_itself_costs_half_a_deadline() -> None:
    """What did not come down the tree in time comes directly. Spec: LIVE-2."""
    cluster = Cluster(9, timing=TREE)
    cluster.lose = lambda delivery: delivery[0] != 1 and isinstance(delivery[2], messages.Propose)
    started = cluster.now
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(1.0 * TREE.deadline_s)
    assert cluster.modes() == ["quorum"]
    assert cluster.now - started < TREE.deadline_s


def test_in_a_tree_a_missing_channel_does_not_make_a_quorum_impossible() -> None:
    """Agents of a large chain have channels to a few others only. Spec: LIVE-2."""
    cluster = Cluster(5, timing=Timing(mesh_slots=4, fanout=1))
    agent, build = cluster.nodes[1].agent, cluster.builder
    lonely = type(agent)(
        build.nodes[1], 1, build.chain, build.authority.public, cluster.nodes[1].ledger, TREE, prepared
    )
    lonely.step(events.StorageUp(), cluster.now)
    cluster.nodes[1].agent = lonely
    cluster.nodes[1].ledger.__init__()  # type: ignore[misc]
    for link in cluster.chain.links:
        cluster.feed(1, events.CommittedReceived(link, cluster.chain.blocks[link.block]))
    cluster.submit(1, build.task("a"))
    cluster.run(1)
    assert cluster.modes() == ["quorum"]


def test_when_too_many_are_known_to_be_gone_storage_decides_at_once() -> None:
    """Spec: LIVE-1."""
    cluster = Cluster(5, timing=TREE)
    cluster.kill(3, 4, 5)
    started = cluster.now
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run()
    assert cluster.modes() == ["poet"]
    assert cluster.now - started < TREE.deadline_s / 2


def test_an_epoch_change_sends_what_is_not_linked_down_the_new_tree() -> None:
    """Spec: LIVE-2."""
    cluster = Cluster(9, timing=TREE)
    cluster.lose = lambda delivery: isinstance(delivery[2], messages.Verdicts)
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(0.5)
    seen = watched(cluster)
    cluster.restart(9)
    cluster.run(1)
    assert cluster.modes() == ["quorum"]
    assert {to for _, to, message in seen if isinstance(message, messages.Propose)} >= {2, 3, 4, 5, 6, 7, 8}


def test_the_puzzle_of_a_race_goes_to_everybody_directly() -> None:
    cluster = Cluster(5, Settings(mining="race"), TREE)
    cluster.hold_mining = True
    given = cluster.nodes[1].agent
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(1)
    assert given.in_flight == 1
    assert [len(node.mining) for node in cluster.nodes.values()] == [1] * 5
    assert isinstance(cluster.nodes[2].mining[0], effects.Mine)
