"""What the storage node does with those it deals with: links for who lags, a halt, credit, a slower pace."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scichain_wf import limits
from scichain_wf.consensus import effects, events, messages, storage
from scichain_wf.consensus.roster import Roster
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from tests.unit.consensus.cluster import Cluster
from tests.unit.consensus.kit import decode_quorum, roster_of, state_of
from tests.unit.consensus.storage_kit import answers, extended, stepped


# --- synchronising, going back in time ----------------------------------------------------------------
def test_an_agent_gets_the_links_it_asks_for(cluster: Cluster) -> None:
    assert stepped(cluster, events.SyncReceived(2, 1)) == [effects.Replay(2, 1)]


def test_an_agent_on_the_same_chain_may_lag_behind(cluster: Cluster) -> None:
    before = state_of(cluster.storage)
    assert stepped(cluster, events.Presented(1, 0, cluster.chain.links[0].hash, cluster.chain.links[0].hash)) == []
    assert state_of(cluster.storage) == before
    assert not cluster.storage.dropped


@pytest.mark.parametrize("own", [None, bytes(32)])
def test_a_storage_node_that_went_back_in_time_appends_nothing_ever_again(cluster: Cluster, own: bytes | None) -> None:
    """Spec: SAFE-7. Whether a link is missing or another: what is under way, what waits and what comes, waits."""
    build = cluster.builder
    cluster.hold_commits = True
    first, second, third = (build.block(slot, [build.task(f"t{slot}")]) for slot in (1, 2, 3))
    cluster.tell_storage(extended(first, 1))
    cluster.tell_storage(extended(second, 2))
    cluster.tell_storage(extended(second, 2))
    (commit,) = cluster.commits
    assert len(commit.candidates) == 1
    *put_off, halt = stepped(cluster, events.Presented(3, 17, b"h" * 32, own))
    assert isinstance(halt, effects.Halt)
    assert "slot 3 holds link 17" in halt.reason
    assert ("does not reach" in halt.reason) == (own is None)
    assert answers(put_off) == [(2, "wait", halt.reason)]
    decision = cluster.storage.decide(commit.candidates[0], cluster.chain)
    assert isinstance(decision, messages.Answer)
    assert [decision.answer, decision.reason] == ["wait", halt.reason]
    outcome = storage.Outcome(commit.candidates[0], storage.Appended(cluster.chain.links[0]))  # it was decided before
    assert answers(stepped(cluster, storage.Decided((outcome,)))) == [(1, "wait", halt.reason)]
    push = events.Pushed(3, prepared(third), decode_quorum(build, third))
    newer = events.EpochInForce(roster_of(build))
    again = stepped(cluster, newer, extended(third, 3), push, events.Presented(1, 18, b"i" * 32, None))
    assert answers(again) == [(3, "wait", halt.reason), (3, "wait", halt.reason)]
    assert cluster.storage.is_idle


def test_what_nobody_signed_stops_storage_only_where_not_all_who_say_it_can_lie() -> None:
    """Spec: LIVE-1, SAFE-7. Two of five slots can be liars, three cannot; who takes it back does not count."""
    cluster = Cluster(5)
    head = cluster.chain.links[-1].hash

    def says(slot: int) -> events.Presented:
        return events.Presented(slot, 99, b"h" * 32, None, proven=False)

    assert stepped(cluster, says(1), says(2), says(1)) == []
    assert stepped(cluster, events.Presented(2, 3, head, head, proven=False), says(3)) == []
    assert cluster.storage.dropped == {"a head that is not of this chain": 4}
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run()
    assert cluster.modes() == ["quorum"]
    (halt,) = stepped(cluster, says(4))
    assert isinstance(halt, effects.Halt)


def test_an_old_checkpoint_that_agrees_takes_nothing_back() -> None:
    """Spec: SAFE-7. Seed 4152: an agent's checkpoint was older than the links that the image had lost."""
    cluster = Cluster(3)
    old = cluster.chain.links[1].hash
    agrees = events.Presented(1, 1, old, old, proven=True)
    word = [events.Presented(slot, 99, b"h" * 32, None, proven=False) for slot in (1, 2)]
    (halt,) = stepped(cluster, word[0], agrees, word[1])
    assert isinstance(halt, effects.Halt)


def test_words_of_two_generations_do_not_add_up() -> None:
    """Spec: LIVE-1. Two liars of five, then one of five others: fewer than half each time."""
    cluster = Cluster(5)
    words = [events.Presented(slot, 99, b"h" * 32, None, proven=False) for slot in (4, 5, 1)]
    assert stepped(cluster, *words[:2]) == []
    for candidate in cluster.builder.join_all():
        cluster.append_epoch(candidate.block)
    assert stepped(cluster, words[2]) == []
    (halt,) = stepped(cluster, *words[:2])
    assert isinstance(halt, effects.Halt)


def test_before_an_epoch_is_in_force_any_contradiction_stops_it(cluster: Cluster) -> None:
    """Spec: SAFE-7."""
    new = storage.Storage(cluster.builder.storage, cluster.builder.chain, 1)
    (halt,) = new.step(events.Presented(1, 3, b"h" * 32, None, proven=False), 0.0)
    assert isinstance(halt, effects.Halt)


# --- credit, slow-down --------------------------------------------------------------------------------
def test_credit_is_counted_by_slot(cluster: Cluster) -> None:
    for slot, blocks in ((1, 2), (3, 1)):
        for number in range(blocks):
            cluster.submit(slot, cluster.builder.task(f"t{slot}{number}"))
            cluster.run()
    assert cluster.storage.credit == {1: 2, 3: 1}


def test_in_a_race_the_solver_gets_the_credit() -> None:
    """SciChain §4.5: "the node who will first be able to solve the puzzle … will receive the reward or credit"."""
    cluster = Cluster(settings=Settings(mining="race"))
    cluster.hold_mining = True
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(1)
    cluster.mine(2)
    cluster.run()
    assert [cluster.modes(), cluster.storage.credit] == [["quorum"], {2: 1}]


@pytest.mark.parametrize(("generations", "credit"), [(0, {1: 1, 2: 1}), (1, {1: 1, 0: 1})])
def test_without_a_puzzle_the_proposer_gets_the_credit_and_a_key_of_other_slots_nobody(
    generations: int, credit: dict[int, int]
) -> None:
    """A key that its slot has no more was that slot's all the same, unless the slots are not the same any more."""
    cluster = Cluster(settings=Settings(difficulty=Difficulty(value=0)))
    build = cluster.builder
    cluster.hold_commits = True
    for slot in (1, 2):
        cluster.tell_storage(extended(build.block(slot, [build.task("a")]), slot))
    cluster.commit()
    assert cluster.storage.credit == {1: 1}
    remaining = {slot: key for slot, key in roster_of(build).keys.items() if slot != 2}
    outcome = storage.Outcome(cluster.commits[0].candidates[0], storage.Appended(cluster.chain.links[-1]))
    epoch = replace(build.epoch, generation=build.epoch.generation + generations)
    stepped(cluster, events.EpochInForce(Roster(epoch, build.chain, remaining)), storage.Decided((outcome,)))
    assert cluster.storage.credit == credit


def test_a_slot_whose_transactions_are_contested_too_often_is_slowed_and_never_stopped(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec: LIVE-1. One block a second, until enough of what came later is not contested; others do not notice."""
    monkeypatch.setattr(limits, "CONTESTED_WINDOW", 10)
    build = cluster.builder
    cluster.submit(1, build.task("a", outputs=[build.artifact("a", b"1")]))
    cluster.run()

    def say(slot: int, *, forged: bool) -> list[tuple[int, str, str]]:
        """A block of one transaction, extended; what storage answered at once."""
        content = b"forged" if forged else b"1"
        block = build.block(slot, [build.task("t", [build.artifact("a", content)])])
        answered = []
        solution = build.solution(block)
        for effect in stepped(cluster, events.Extended(slot, prepared(block), solution, (), "deadline")):
            if isinstance(effect, storage.Commit):
                cluster.commits.append(effect)
                cluster.commit()
            else:
                answered += answers([effect])
        return answered

    slow = (1, "wait", "too much of what this slot stated lately is contested")
    assert say(1, forged=True) == []  # a tenth of the window: not above the limit
    assert say(1, forged=True) == []  # slowed from now on: one a second
    assert [say(1, forged=False), say(2, forged=False)] == [[slow], []]
    for number in range(1, 10):
        cluster.now += limits.CONTESTED_PAUSE_S
        assert say(1, forged=False) == []
        cluster.now += limits.CONTESTED_PAUSE_S / 2
        assert say(1, forged=False) == ([slow] if number < 9 else [])  # then the first is out of the window
    assert cluster.storage.dropped[slow[2]] == 9
