"""Whole machines against each other: blocks are certified, extended, contested, parked, and committed once."""

from __future__ import annotations

import pytest

from scichain_wf import limits
from scichain_wf.consensus import events, messages
from scichain_wf.consensus.timing import Timing
from scichain_wf.model import certificate
from scichain_wf.model.certificate import PoetCertificate, QuorumCertificate
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from scichain_wf.model.link import Mark
from scichain_wf.model.verdict import Verdict, VerdictBatch
from tests.unit.consensus.cluster import Cluster


def test_a_quorum_of_three_commits_a_block_everywhere() -> None:
    """Spec: SAFE-4."""
    cluster = Cluster()
    task = cluster.builder.task("a", outputs=[cluster.builder.artifact("a", b"1")])
    (identity,) = cluster.submit(1, task)
    cluster.run()
    assert cluster.modes() == ["quorum"]
    assert cluster.nodes[1].settled == [identity]
    assert {len(node.ledger.links) for node in cluster.nodes.values()} == {len(cluster.chain.links)}
    found = certificate.decode(cluster.certificates[cluster.links()[0].height] or b"")
    assert isinstance(found, QuorumCertificate)
    assert len(found.votes) >= 2


@pytest.mark.parametrize("slots", [1, 2, 3, 4, 5, 7])
def test_any_number_of_honest_agents_needs_no_extension(slots: int) -> None:
    """Spec: LIVE-2, HONEST-1."""
    cluster = Cluster(slots)
    for number in range(4 * slots):
        task = cluster.builder.task(f"t{number}", outputs=[cluster.builder.artifact(f"f{number}", b"x")])
        cluster.submit(1 + number % slots, task)
    cluster.run()
    assert set(cluster.modes()) == {"quorum"}
    assert not cluster.marks()
    assert sum(len(node.settled) for node in cluster.nodes.values()) == 4 * slots


def test_a_chain_of_tasks_across_agents_is_never_contested() -> None:
    """Spec: HONEST-1. A consumer is held until its producer's output is linked."""
    cluster = Cluster()
    for number in range(12):
        before = cluster.builder.artifact(f"f{number - 1}", b"x") | {"origin": f"task:t{number - 1}"}
        task = cluster.builder.task(
            f"t{number}", [before] if number else [], [cluster.builder.artifact(f"f{number}", b"x")]
        )
        cluster.submit(1 + number % 3, task)
    cluster.run()
    assert set(cluster.modes()) == {"quorum"}
    assert not cluster.marks()


def test_with_a_quorum_gone_storage_decides() -> None:
    """Spec: LIVE-1. The survivor knows that nobody can answer, so it does not wait for the deadline."""
    cluster = Cluster()
    cluster.kill(2, 3)
    started = cluster.now
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run()
    assert cluster.modes() == ["poet"]
    found = certificate.decode(cluster.certificates[cluster.links()[0].height] or b"")
    assert isinstance(found, PoetCertificate)
    assert found.reason == "quorum-impossible"
    assert [vote.header.slot for vote in found.votes] == [1]
    assert cluster.now - started < Timing().deadline_s


def test_with_one_of_three_gone_the_others_are_a_quorum() -> None:
    cluster = Cluster()
    cluster.kill(3)
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run()
    assert cluster.modes() == ["quorum"]


def test_silent_validators_cost_a_deadline_and_nothing_else() -> None:
    """Spec: LIVE-1."""
    cluster = Cluster()
    cluster.lose = lambda delivery: isinstance(delivery[2], messages.Verdicts)
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run()
    assert cluster.modes() == ["poet"]
    found = certificate.decode(cluster.certificates[cluster.links()[0].height] or b"")
    assert isinstance(found, PoetCertificate)
    assert found.reason == "deadline"


@pytest.mark.parametrize(("busy_s", "waited_s"), [(1.5, 3.5), (60.0, Timing().patience_s)])
def test_a_busy_validator_is_waited_for_within_bounds(busy_s: float, waited_s: float) -> None:
    """Under load a deadline must not turn honest validators into silent ones. Spec: LIVE-1, LIVE-2."""
    cluster = Cluster(2)
    build = cluster.builder
    cluster.lose = lambda delivery: isinstance(delivery[2], messages.Verdicts)
    cluster.submit(1, build.task("a"))
    cluster.run(0.01)
    started = cluster.now
    other = build.block(2, [build.task("x")])
    while cluster.now - started < busy_s and not cluster.links():
        vote = build.vote(2, other)  # it judges, only not our block
        cluster.feed(1, events.VerdictsReceived(2, VerdictBatch(vote.header, vote.signature, (vote.entry,))))
        cluster.run(0.1)
        cluster.now += 0.1
    cluster.run()
    assert cluster.modes() == ["poet"]
    committed_at = (cluster.links()[0].time_us, cluster.now)
    assert waited_s - 0.3 <= committed_at[1] - started <= waited_s + 0.3


def test_a_vote_of_one_whose_channel_has_just_closed_still_counts() -> None:
    cluster = Cluster(2)
    cluster.lose = lambda delivery: isinstance(delivery[2], messages.Verdicts | messages.Extend)
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(0.06)
    (proposed,) = cluster.nodes[1].agent._author.blocks.values()
    vote = cluster.builder.vote(2, proposed.block.block)
    batch = VerdictBatch(vote.header, vote.signature, (vote.entry,))
    cluster.feed(1, events.PeerDown(2))
    cluster.feed(1, events.VerdictsReceived(2, batch))
    cluster.feed(1, events.StorageDown())
    cluster.lose = lambda _: False
    cluster.feed(1, events.StorageUp())
    cluster.run()
    assert cluster.modes() == ["quorum"]


def test_transactions_in_flight_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IN_FLIGHT_TRANSACTIONS_MAX", 12)
    cluster = Cluster()
    cluster.hold_commits = True
    for number in range(3):
        cluster.submit(1, *[cluster.builder.task(f"{number}-{n}") for n in range(12)])
    cluster.run(1)
    assert cluster.nodes[1].agent.in_flight == 1
    cluster.hold_commits = False
    cluster.run()
    assert len(cluster.nodes[1].settled) == 36


def test_a_lost_proposal_is_sent_again_when_the_peer_is_back() -> None:
    cluster = Cluster(2)
    cluster.lose = lambda delivery: isinstance(delivery[2], messages.Propose)
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(0.5)
    cluster.lose = lambda _: False
    cluster.feed(1, events.PeerUp(2))
    cluster.run()
    assert cluster.modes() == ["quorum"]


def test_a_hand_edited_input_is_contested_and_kept() -> None:
    """Spec: SAFE-5. The record of what happened is never lost."""
    cluster = Cluster()
    build = cluster.builder
    cluster.submit(1, build.task("make", outputs=[build.artifact("f", b"made")]))
    cluster.run()
    (identity,) = cluster.submit(2, build.task("use", [build.artifact("f", b"edited")]))
    cluster.run()
    assert cluster.modes() == ["quorum", "poet"]
    (mark,) = cluster.marks()
    assert mark.mark is Mark.CONTESTED
    assert "no recorded version" in mark.reasons[0]
    assert cluster.nodes[2].settled == [identity]


def test_two_blocks_that_conflict_are_both_appended_and_the_later_is_annotated() -> None:
    """Two validators may both be right about them; only the append orders. Spec: SAFE-5."""
    cluster = Cluster()
    build = cluster.builder
    uses = build.task("use", [build.artifact("f", b"source")])
    makes = build.task("make", outputs=[build.artifact("f", b"made")])
    cluster.hold_commits = True
    cluster.submit(1, makes)
    cluster.run(1)
    cluster.submit(2, uses)
    cluster.run(1)
    cluster.hold_commits = False
    cluster.run()
    assert cluster.modes() == ["quorum", "poet"]
    (mark,) = cluster.marks()
    assert mark.mark is Mark.CONTESTED
    found = certificate.decode(cluster.certificates[cluster.links()[1].height] or b"")
    assert isinstance(found, PoetCertificate)
    assert found.reason == "conflict"
    assert all(vote.entry.verdict is Verdict.VALID for vote in found.votes)


def test_the_same_transaction_from_two_agents_counts_once() -> None:
    """Spec: SAFE-6."""
    cluster = Cluster()
    task = cluster.builder.task("a", outputs=[cluster.builder.artifact("f", b"1")])
    cluster.submit(1, task)
    cluster.submit(2, task)
    cluster.run()
    assert cluster.modes() == ["quorum", "quorum"]
    assert [mark.mark for mark in cluster.marks()] == [Mark.DUPLICATE]
    assert cluster.nodes[1].settled == cluster.nodes[2].settled


def test_a_push_that_comes_twice_is_one_link() -> None:
    """Push is idempotent by block id, before and after the commit. Spec: SAFE-6."""
    cluster = Cluster()
    pushed: list[tuple[int, int, object]] = []

    def lose(delivery: tuple[int, int, object]) -> bool:
        if isinstance(delivery[2], messages.Push):
            pushed.append(delivery)
        return False

    cluster.lose = lose
    cluster.hold_commits = True
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run()
    cluster.network.extend(pushed)
    cluster.run()
    cluster.hold_commits = False
    cluster.run()
    cluster.network.extend(pushed[:1])
    cluster.run()
    assert cluster.modes() == ["quorum"]
    assert cluster.storage.is_idle


def test_a_lost_storage_channel_parks_blocks_and_sends_the_same_again() -> None:
    """Spec: LIVE-1, LOSS-1. Also where the commit happened and only its announcement was lost."""
    cluster = Cluster()
    cluster.lose = lambda delivery: delivery[1] == 0
    (identity,) = cluster.submit(1, cluster.builder.task("a"))
    cluster.run(1)
    cluster.feed(1, events.StorageDown())
    cluster.lose = lambda _: False
    cluster.submit(1, cluster.builder.task("b"))
    cluster.run(10)
    assert cluster.modes() == []
    cluster.feed(1, events.StorageUp())
    cluster.run()
    assert sorted(cluster.modes()) == ["quorum", "quorum"]
    assert identity in cluster.nodes[1].settled
    assert cluster.nodes[1].agent.in_flight == 0


def test_blocks_that_wait_for_a_quorum_while_storage_is_away_are_extended_later() -> None:
    cluster = Cluster()
    cluster.feed(1, events.StorageDown())
    cluster.kill(2, 3)
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(10)
    cluster.feed(1, events.StorageUp())
    cluster.run()
    assert cluster.modes() == ["poet"]


def test_one_vote_that_does_not_hold_has_storage_decide() -> None:
    """Spec: SAFE-4, LIVE-1."""
    cluster = Cluster()
    forged: list[object] = []

    def forge(delivery: tuple[int, int, object]) -> bool:
        message = delivery[2]
        if not isinstance(message, messages.Verdicts) or delivery[0] not in (2, 3) or message in forged:
            return False
        batch = message.batch
        forged.append(messages.Verdicts(VerdictBatch(batch.header, bytes(64), batch.entries)))
        if delivery[0] == 2:
            cluster.network.append((2, delivery[1], forged[-1]))
        return True

    cluster.lose = forge
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run()
    assert cluster.modes() == ["poet"]
    assert cluster.nodes[1].notes == ["storage says that votes of slots [2] do not hold"]


def test_a_replaced_key_is_refused_and_its_transactions_are_given_up_after_some_tries() -> None:
    cluster = Cluster()
    cluster.hold_commits = True
    (identity,) = cluster.submit(3, cluster.builder.task("a"))
    cluster.run(1)
    cluster.restart(3)  # slot 3 is filled by a new key: the old process is fenced
    cluster.hold_commits = False
    cluster.run()
    node = cluster.nodes[3]
    assert not node.agent.is_member
    assert cluster.modes() == []
    assert "refused" in node.notes[0]
    assert node.settled == []
    assert node.agent.waiting == 1
    assert identity not in node.given_up


def test_weight_of_storage_makes_a_lonely_agent_wait_until_others_agree() -> None:
    """`storage_weight` 1 of 3: storage and one slot decide jointly (SciChain §3.2, §3.3)."""
    alone = Cluster(5, Settings(storage_weight=1))
    alone.kill(2, 3, 4, 5)
    alone.submit(1, alone.builder.task("a"))
    alone.run(30)
    assert alone.modes() == []
    two = Cluster(5, Settings(storage_weight=1))
    two.kill(3, 4, 5)
    two.submit(1, two.builder.task("a"))
    two.run(30)
    assert two.modes() == ["poet"]


def test_the_puzzle_can_be_off_and_hard() -> None:
    for difficulty in (0, 3):
        cluster = Cluster(settings=Settings(difficulty=Difficulty(value=difficulty)))
        cluster.submit(1, cluster.builder.task("a"))
        cluster.run()
        assert cluster.modes() == ["quorum"]
