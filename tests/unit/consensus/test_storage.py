"""What the storage node appends, and what it answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scichain_wf import limits
from scichain_wf.consensus import events, messages, storage
from scichain_wf.errors import InvariantViolation
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.block import Block
from tests.unit.consensus.cluster import Cluster
from tests.unit.consensus.kit import decode_quorum, signed


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


def test_a_busy_storage_node_says_so(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STORAGE_QUEUE_BYTES_MAX", 1)
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(1)
    assert cluster.modes() == []
    monkeypatch.undo()
    cluster.run()
    assert cluster.modes() == ["quorum"]


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
    (commit,) = new.step(events.Extended(1, prepared(block), build.solution(block), (), "deadline"), 0.0)
    assert isinstance(commit, storage.Commit)
    with pytest.raises(InvariantViolation, match="before any epoch"):
        new.decide(commit.candidates[0], cluster.chain)
