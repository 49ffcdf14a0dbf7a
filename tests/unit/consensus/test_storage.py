"""What the storage node appends, and what it answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scichain_wf import limits
from scichain_wf.consensus import effects, events, messages, storage
from scichain_wf.errors import InvariantViolation
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model import difficulty
from scichain_wf.model.block import Block
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from scichain_wf.model.link import Mark
from scichain_wf.model.verdict import Verdict
from tests.unit.consensus.cluster import Cluster
from tests.unit.consensus.kit import decode_quorum, signed, state_of
from tests.unit.consensus.storage_kit import answers, extended, stepped


def pushed(cluster: Cluster, block: Block, **changes: object) -> storage.Decision:
    build = cluster.builder
    votes = tuple(build.vote(slot, block) for slot in (1, 2))
    certificate = build.quorum(block).certificate
    candidate = storage.Candidate(prepared(block), build.solution(block), votes, build.epoch.epoch, None, certificate)
    return cluster.storage.decide(replace(candidate, **changes), cluster.chain)  # type: ignore[arg-type]


def test_storage_refuses_what_is_structurally_wrong(cluster: Cluster) -> None:
    """Spec: SAFE-4."""
    build = cluster.builder
    good = build.block(1, [build.task("a")])
    assert isinstance(pushed(cluster, good), storage.Append)
    for block, reason in (
        (signed(build, 1, parent=bytes(32)), "the parent is not a committed link"),
        (signed(build, 1, parent_height=99), "the parent is not a committed link"),
        (signed(build, 1, epoch=9), "newest"),
        (signed(build, 1, difficulty=0), "difficulty is 0; on link 2 it has to be 1"),
    ):
        answer = pushed(cluster, block)
        assert isinstance(answer, messages.Answer)
        assert answer.answer == "refused"
        assert reason in answer.reason
    unsolved = pushed(cluster, good, solution=None)
    assert isinstance(unsolved, messages.Answer)
    assert "not solved" in unsolved.reason


def test_storage_counts_the_votes_itself(cluster: Cluster) -> None:
    """Spec: SAFE-4. The certificate is not trusted."""
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    few = pushed(cluster, block, votes=(build.vote(1, block),))
    assert isinstance(few, messages.Answer)
    assert [few.answer, few.slots] == ["bad-votes", ()]
    forged = pushed(cluster, block, votes=(build.vote(1, block), replace(build.vote(2, block), signature=bytes(64))))
    assert isinstance(forged, messages.Answer)
    assert forged.slots == (2,)
    old = pushed(cluster, block, epoch=1)
    assert isinstance(old, messages.Answer)


def test_a_second_block_of_one_sequence_is_refused_and_the_first_is_itself(cluster: Cluster) -> None:
    build = cluster.builder
    cluster.submit(1, build.task("a"))
    cluster.run()
    proposer_key = build.nodes[1].public.fingerprint
    (sequence,) = [sequence for key, sequence in cluster.chain.proposals if key == proposer_key]
    answer = pushed(cluster, signed(build, 1, sequence=sequence))
    assert isinstance(answer, messages.Answer)
    assert "another block of this sequence number" in answer.reason


def test_a_certificate_of_another_block_is_refused_at_once(cluster: Cluster) -> None:
    build = cluster.builder
    one, two = build.block(1, [build.task("a")]), build.block(1, [build.task("b")])
    push = messages.Push.decode(messages.Push(one, decode_quorum(build, two)).encode())
    (effect,) = cluster.storage.step(events.Pushed(1, prepared(push.block), push.certificate), 0.0)
    assert effect.message.answer == "refused"  # type: ignore[union-attr]


def test_a_group_commit_is_bounded(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "APPEND_BATCH_BLOCKS_MAX", 1)
    cluster.hold_commits = True
    for slot in (1, 2, 3):
        cluster.submit(slot, cluster.builder.task(f"t{slot}"))
    cluster.run(1)
    assert [len(commit.candidates) for commit in cluster.commits] == [1]
    assert not cluster.storage.is_idle
    cluster.hold_commits = False
    cluster.run()
    assert cluster.modes() == ["quorum"] * 3


def test_nothing_is_judged_before_an_epoch_is_in_force(cluster: Cluster) -> None:
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    new = storage.Storage(build.storage, build.chain, 1)
    event = events.Extended(1, prepared(block), build.solution(block), (), "deadline")
    answer = messages.Answer(block.id, "wait", reason="no epoch is in force yet")
    assert new.step(event, 0.0) == (effects.SendSlot(1, answer),)
    assert new.is_idle
    candidate = storage.Candidate(event.block, event.solution, (), 0, "deadline", None)
    with pytest.raises(InvariantViolation, match="before any epoch"):
        new.decide(candidate, cluster.chain)


# --- the difficulty -----------------------------------------------------------------------------------
def test_an_adaptive_difficulty_is_the_same_at_proposer_and_storage() -> None:
    """SciChain §5.4: nothing is refused over several retargets, and the difficulty does change."""
    rule = Difficulty("adaptive", 0, 100, 500_000)
    cluster = Cluster(settings=Settings(difficulty=rule))
    build, seen = cluster.builder, set()
    for number in range(70):
        cluster.submit(1 + number % 3, build.task(f"t{number}"))
        build.tick(step_us=30_000 if number > 25 else 1_000)
        cluster.run(1)
    assert cluster.modes() == ["quorum"] * 70
    links = cluster.chain.links
    for link in cluster.links():
        header = cluster.chain.blocks[link.block].block.header
        wanted = difficulty.expected(rule, "own", 3, header.parent_height, lambda height: links[height].time_us)
        assert header.difficulty == wanted
        seen.add(wanted)
    assert seen == {0, 2, 3}


def test_the_difficulty_that_storage_expects_is_in_its_answer() -> None:
    cluster = Cluster(settings=Settings(difficulty=Difficulty("adaptive", 0, 1, 1)))
    for number in range(limits.RETARGET_LINKS):
        cluster.submit(1, cluster.builder.task(f"t{number}"))
        cluster.run(1)
    build = cluster.builder
    for link in cluster.links():
        build.linked(link)
    answer = pushed(cluster, signed(build, 2, difficulty=1))
    assert isinstance(answer, messages.Answer)
    assert answer.reason == f"the block's difficulty is 1; on link {build.height} it has to be 0"


# --- POET: storage judges by itself -------------------------------------------------------------------
def test_a_traceable_block_without_a_single_vote_commits(cluster: Cluster) -> None:
    """Spec: LIVE-1."""
    build = cluster.builder
    cluster.submit(1, build.task("a", outputs=[build.artifact("a", b"1")]))
    cluster.run()
    block = build.block(2, [build.task("b", [build.artifact("a", b"1"), build.artifact("raw", b"raw")])])
    decision = pushed(cluster, block, votes=(), certificate=None, reason="deadline")
    assert isinstance(decision, storage.Append)
    assert [decision.mode, decision.annotations] == ["poet", ()]


def test_an_untraceable_block_that_every_liar_calls_valid_is_contested(cluster: Cluster) -> None:
    """Spec: SAFE-5. With all votes, pushed or extended; and again where a commit is taken back and decided anew."""
    build = cluster.builder
    cluster.submit(1, build.task("a", outputs=[build.artifact("a", b"1")]))
    cluster.run()
    block = build.block(2, [build.task("b", [build.artifact("a", b"forged")])])
    votes = tuple(build.vote(slot, block) for slot in (1, 2, 3))
    for changes in ({}, {"certificate": None, "reason": "deadline"}, {}):
        decision = pushed(cluster, block, votes=votes, **changes)
        assert isinstance(decision, storage.Append)
        assert decision.mode == "poet"
        assert [annotation.mark for annotation in decision.annotations] == [Mark.CONTESTED]


@pytest.mark.parametrize(("weight", "voters"), [(0, ()), (1, (1, 2)), (2, (2,)), (3, ()), (9, ())])
def test_the_weight_of_storage_says_how_many_slots_have_to_agree(weight: int, voters: tuple[int, ...]) -> None:
    """VALID + w >= q, SciChain §3.2: one voter fewer, a forged or a doubled vote, or another verdict, and it waits."""
    cluster = Cluster(5, Settings(storage_weight=weight))
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    votes = tuple(build.vote(slot, block) for slot in voters)
    poet = {"certificate": None, "reason": "deadline"}
    assert isinstance(pushed(cluster, block, votes=votes, **poet), storage.Append)
    if not voters:
        return
    forged = replace(votes[-1], signature=bytes(64))
    other = build.vote(voters[-1], block, Verdict.UNKNOWN)
    for last in ((), (forged,), (other,), votes[:-1]):
        answer = pushed(cluster, block, votes=votes[:-1] + last, **poet)
        assert isinstance(answer, messages.Answer)
        assert [answer.answer, answer.slots] == ["wait", ()]


def test_a_slot_counts_once_however_often_it_voted(cluster: Cluster) -> None:
    """Spec: SAFE-4."""
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    answer = pushed(cluster, block, votes=(build.vote(1, block), build.vote(1, block)))
    assert isinstance(answer, messages.Answer)
    assert answer.answer == "bad-votes"


# --- dropped ------------------------------------------------------------------------------------------
def test_what_storage_drops_is_counted_and_changes_nothing(cluster: Cluster) -> None:
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    push = events.Pushed(1, prepared(block), decode_quorum(build, block))
    wrong_block = replace(push, certificate=decode_quorum(build, build.block(1, [build.task("b")])))
    other = Cluster(settings=Settings(storage_weight=1)).builder
    foreign = other.block(1, [other.task("a")])
    before = state_of(cluster.storage)
    for event, counted, answered in (
        (replace(push, slot=4), "not a member", ["wait"]),
        (extended(block, 9), "not a member", ["wait"]),
        (events.SyncReceived(4, 0), "not a member", []),
        (wrong_block, "the certificate is of another block", ["refused"]),
        (extended(foreign), "the block belongs to another chain", ["refused"]),
        (replace(push, block=prepared(foreign)), "the certificate is of another block", ["refused"]),
        (extended(replace(block, signature=bytes(64))), "the block's signature does not hold", ["refused"]),
    ):
        count = cluster.storage.dropped[counted]
        assert [answer for _, answer, _ in answers(stepped(cluster, event))] == answered
        assert cluster.storage.dropped[counted] == count + 1
        assert state_of(cluster.storage) == before


def test_what_the_append_refuses_is_counted(cluster: Cluster) -> None:
    cluster.tell_storage(extended(signed(cluster.builder, 1, epoch=9)))
    cluster.run()
    assert cluster.storage.dropped == {"refused": 1}
    assert cluster.links() == []


def test_a_block_that_comes_again_is_told_to_who_asks_and_nobody_else(cluster: Cluster) -> None:
    """A replayed push is no amplifier, and no second credit."""
    build = cluster.builder
    cluster.submit(1, build.task("a"))
    cluster.run()
    (link,) = cluster.links()
    block = cluster.chain.blocks[link.block].block
    cluster.hold_commits = True
    for _ in range(3):
        cluster.tell_storage(extended(block, 1))
    (commit,) = cluster.commits
    (candidate,) = commit.candidates
    assert cluster.storage.decide(candidate, cluster.chain) == storage.Already(link)
    told = stepped(cluster, storage.Decided((storage.Outcome(candidate, storage.Already(link)),)))
    assert told == [effects.SendSlot(1, messages.Committed(link, block))]
    assert cluster.storage.credit == {1: 1}


def test_a_block_is_brought_by_its_proposer_only(cluster: Cluster) -> None:
    """Spec: LIVE-1. Else a liar could bring it first, spoilt, and its proposer would be given the answer to that."""
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    spoilt = replace(block, signature=bytes(64))
    reason = "the block is not of the slot that brings it"
    assert answers(stepped(cluster, extended(spoilt, 2))) == [(2, "refused", reason)]
    assert cluster.storage.is_idle
    assert cluster.storage.dropped[reason] == 1
    (effect,) = stepped(cluster, extended(block, 1))
    assert isinstance(effect, storage.Commit)
