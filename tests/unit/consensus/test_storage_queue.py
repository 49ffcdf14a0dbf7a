"""Room and turns before the chain: nobody takes more than its share, and everybody's turn comes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scichain_wf import limits
from scichain_wf.consensus import effects, events, messages, storage
from scichain_wf.consensus.queue import Queue
from scichain_wf.crypto.hashing import Domain
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model import canonical
from scichain_wf.model.block import Block
from scichain_wf.model.verdict import Vote
from tests.builders import ChainBuilder
from tests.unit.consensus.cluster import Cluster
from tests.unit.consensus.kit import decode_quorum, signed, state_of
from tests.unit.consensus.storage_kit import answers, extended, stepped


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred bytes for all, ten at least for each."""
    monkeypatch.setattr(limits, "STORAGE_QUEUE_BYTES_MAX", 100)
    monkeypatch.setattr(limits, "STORAGE_SHARE_BYTES_MIN", 10)


def vote_bytes(*votes: Vote) -> int:
    return sum(len(canonical.dumps(vote.value())) for vote in votes)


def block_bytes(block: Block) -> int:
    return sum(map(len, block.transactions))


# --- the queue itself ---------------------------------------------------------------------------------
@pytest.mark.parametrize(("slots", "share"), [(1, 100), (2, 50), (3, 33), (10, 10), (11, 10), (1_000, 10)])
def test_each_slot_has_its_share_and_no_other(room: None, slots: int, share: int) -> None:
    queue: Queue[str] = Queue()
    assert queue.put(1, "a", share - 1, slots)
    assert queue.put(1, "b", 1, slots)
    before = state_of(queue)
    assert not queue.put(1, "c", 1, slots)
    assert state_of(queue) == before
    assert queue.put(2, "d", share, slots)
    assert (len(queue), queue.size_bytes) == (3, 2 * share)
    assert queue.group() == ("a", "d", "b")
    assert (len(queue), queue.size_bytes) == (0, 0)
    assert queue.put(1, "e", share, slots)


def test_an_empty_share_has_room_for_any_block_and_then_for_none(room: None) -> None:
    """Spec: LIVE-1. Else the largest block would wait for ever where there are many slots."""
    queue: Queue[str] = Queue()
    assert queue.put(1, "a", 1_000, 10)
    assert not queue.put(1, "b", 1, 10)
    assert queue.group() == ("a",)
    assert queue.put(1, "b", 1, 10)
    assert queue.put(1, "c", 9, 10)


def test_who_takes_its_turn_goes_behind_the_others_from_group_to_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "APPEND_BATCH_BLOCKS_MAX", 3)
    queue: Queue[str] = Queue()
    for slot, count in ((1, 4), (2, 1), (3, 2)):
        for number in range(count):
            assert queue.put(slot, f"{slot}{number}", 1, 3)
    assert queue.group() == ("10", "20", "30")
    assert queue.put(2, "21", 1, 3)
    assert queue.group() == ("11", "31", "21")
    assert queue.group() == ("12", "13")
    assert not queue
    assert queue.group() == ()


def test_a_group_ends_with_what_reaches_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "APPEND_BATCH_BYTES", 10)
    queue: Queue[str] = Queue()
    for slot, size in ((1, 9), (2, 1), (3, 50), (4, 1)):
        assert queue.put(slot, f"{slot}", size, 4)
    assert queue.group() == ("1", "2")
    assert queue.group() == ("3",)
    assert queue.group() == ("4",)


def test_what_is_taken_out_makes_room(room: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "APPEND_BATCH_BLOCKS_MAX", 1)
    queue: Queue[str] = Queue()
    for item, size in (("a", 40), ("b", 5)):
        assert queue.put(1, item, size, 2)
    assert queue.group() == ("a",)
    assert not queue.put(1, "c", 46, 2)
    assert queue.put(1, "c", 45, 2)
    assert not queue.put(1, "d", 1, 2)


def test_a_cleared_queue_is_empty_and_has_room_again(room: None) -> None:
    queue: Queue[str] = Queue()
    for slot, item in ((2, "a"), (1, "b"), (2, "c")):
        assert queue.put(slot, item, 25, 2)
    assert queue
    assert queue.clear() == [(2, "a"), (2, "c"), (1, "b")]
    assert not queue
    assert queue.put(2, "d", 50, 2)


# --- at storage ---------------------------------------------------------------------------------------
def test_what_counts_is_everything_that_came(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Votes and certificates too: to the byte, on a share of its own."""
    build, node = cluster.builder, cluster.storage
    cluster.hold_commits = True
    cluster.tell_storage(extended(build.block(1, [build.task("under way")]), 1))
    blocks = [build.block(2, [build.task(f"t{number}")]) for number in range(3)]
    votes = tuple(build.vote(slot, blocks[1]) for slot in (1, 2))
    push = events.Pushed(2, prepared(blocks[0]), decode_quorum(build, blocks[0]))
    extend = replace(extended(blocks[1], 2), votes=votes)
    size = block_bytes(blocks[0]) + len(push.certificate.encode()) + block_bytes(blocks[1]) + vote_bytes(*votes)
    monkeypatch.setattr(limits, "STORAGE_SHARE_BYTES_MIN", size - 1)
    monkeypatch.setattr(limits, "STORAGE_QUEUE_BYTES_MAX", 0)
    assert stepped(cluster, push) == []
    before = state_of(node)
    busy = messages.Answer(blocks[1].id, "wait", reason="storage is busy")
    assert stepped(cluster, extend) == [effects.SendSlot(2, busy)]
    assert node.dropped == {"storage is busy": 1}
    assert state_of(node) == before
    monkeypatch.setattr(limits, "STORAGE_SHARE_BYTES_MIN", size)
    assert stepped(cluster, extend) == []
    assert answers(stepped(cluster, extended(blocks[2], 2))) == [(2, "wait", "storage is busy")]
    assert stepped(cluster, extended(build.block(3, [build.task("other")]), 3)) == []


def test_votes_are_cut_to_one_for_each_slot_of_the_epoch(cluster: Cluster) -> None:
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    votes = tuple(build.vote(slot, block) for slot in (1, 2, 3))
    strangers = tuple(replace(votes[0], header=replace(votes[0].header, slot=slot)) for slot in range(4, 99))
    event = replace(extended(block), votes=(*votes[:2], votes[1], votes[2], *strangers))
    (commit,) = stepped(cluster, event)
    assert isinstance(commit, storage.Commit)
    assert [candidate.votes for candidate in commit.candidates] == [votes]


def test_only_what_a_slot_signed_gets_into_the_queue(cluster: Cluster) -> None:
    """Spec: LIVE-1. A block of a slot's name costs nobody anything to make up, unless it has to be signed."""
    build, node = cluster.builder, cluster.storage
    block = build.block(1, [build.task("a")])
    other = build.nodes[2].sign(Domain.BLOCK, block.header_bytes)
    reason = "the block's signature does not hold"
    before = state_of(node)
    for signature in (bytes(64), other, build.nodes[1].sign(Domain.PUZZLE, block.header_bytes)):
        forged = replace(block, signature=signature)
        push = events.Pushed(1, prepared(forged), decode_quorum(build, forged))
        assert answers(stepped(cluster, extended(forged), push)) == [(1, "refused", reason)] * 2
        assert state_of(node) == before
    assert node.dropped == {reason: 6}
    assert node.is_idle


def bad_blocks(build: ChainBuilder, slot: int, count: int) -> list[Block]:
    """Well signed, and refused at the append only."""
    return [signed(build, slot, sequence=10_000 + number, parent=bytes(32)) for number in range(count)]


def test_a_slot_that_floods_storage_keeps_nobody_waiting(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spec: LIVE-1. It refills its share whenever it can; each honest block is in the next group all the same."""
    build = cluster.builder
    monkeypatch.setattr(limits, "APPEND_BATCH_BLOCKS_MAX", 3)
    monkeypatch.setattr(limits, "STORAGE_SHARE_BYTES_MIN", 0)
    monkeypatch.setattr(limits, "STORAGE_QUEUE_BYTES_MAX", 60 * block_bytes(build.block(3, [build.task("a")])))
    cluster.hold_commits = True
    junk = bad_blocks(build, 3, 60)

    def flood() -> int:
        before = cluster.storage.dropped["storage is busy"]
        while junk and cluster.storage.dropped["storage is busy"] == before:
            cluster.tell_storage(extended(junk.pop(), 3))
        return len(junk)

    assert flood() > 30
    cluster.network.clear()
    for number in range(5):
        blocks = [build.block(slot, [build.task(f"{slot} {number}")]) for slot in (1, 2)]
        for slot, block in zip((1, 2), blocks, strict=True):
            cluster.tell_storage(replace(extended(block, slot), solution=build.solution(block)))
        flood()
        assert not [m for _, to, m in cluster.network if to != 3 and isinstance(m, messages.Answer)]
        cluster.commit()
        (commit,) = cluster.commits
        assert {candidate.block.block.id for candidate in commit.candidates} > {block.id for block in blocks}
        build.linked(cluster.chain.links[-1])
    assert len(cluster.links()) == 8
