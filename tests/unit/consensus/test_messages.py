"""Messages and their bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scichain_wf import limits
from scichain_wf.consensus import events, messages
from scichain_wf.crypto import merkle
from scichain_wf.crypto.hashing import Domain
from scichain_wf.errors import DecodeError
from scichain_wf.model.certificate import Solution
from scichain_wf.model.verdict import BatchHeader, Entry, Verdict, VerdictBatch, Vote
from tests.unit.consensus.cluster import Cluster
from tests.unit.consensus.kit import decode_quorum


def test_messages_come_back_as_they_were(cluster: Cluster) -> None:
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    vote = build.vote(2, block)
    batch = VerdictBatch(vote.header, vote.signature, (vote.entry,))
    link = cluster.chain.links[-1]
    held = next(b for b in [build.block(1, [build.task("z")])])
    for message in (
        messages.Propose(block),
        messages.Verdicts(batch),
        messages.Push(block, decode_quorum(build, block)),
        messages.Extend(block, build.solution(block), (vote,), "deadline"),
        messages.Extend(block, None, (), "quorum-impossible"),
        messages.Committed(link, None),
        messages.Committed(replace(link, block=held.id), held),
        messages.Answer(block.id, "bad-votes", (1, 2)),
        messages.Answer(block.id, "refused", reason="because"),
        messages.Sync(7),
        messages.Puzzle(block.id, 2),
        messages.Found(block.id, Solution(bytes(32), 5, bytes(64))),
    ):
        assert messages.decode(message.kind, message.encode()) == message


def test_malformed_messages_are_refused(cluster: Cluster) -> None:
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    poet = build.poet(block).certificate or b""
    vote = build.vote(2, block)
    twice = messages.Extend(block, None, (vote, vote), "deadline").encode()
    foreign = messages.pack(cluster.chain.links[-1].encode(), block.encode())
    whole = messages.pack(b"ab", b"c")
    for kind, data, reason in (
        (99, b"", "unknown kind 99"),
        (messages.Kind.PUSH, messages.pack(poet, block.encode()), "not a quorum certificate"),
        (messages.Kind.PUSH, whole[:5], "not of 2 parts"),
        (messages.Kind.PUSH, messages.pack(b"ab"), "not of 2 parts"),
        (messages.Kind.PUSH, whole + b"x", "do not add up"),
        (messages.Kind.EXTEND, twice, "must ascend"),
        (messages.Kind.COMMITTED, foreign, "the block is not the one of link"),
        (messages.Kind.ANSWER, b"{}", "missing"),
        (messages.Kind.SYNC, b'{"next":-1}', "sync"),
        (messages.Kind.PUZZLE, messages.Puzzle(bytes(32), 1).encode().replace(b"1", b"7"), "puzzle"),
        (messages.Kind.FOUND, b"[]", "found"),
        (messages.Kind.PROPOSE, bytes(limits.FRAME_BYTES_MAX + 1), "allowed are up to"),
    ):
        with pytest.raises(DecodeError, match=reason):
            messages.decode(kind, data)


def test_a_batch_of_several_entries_is_counted_entry_by_entry(cluster: Cluster) -> None:
    """One signature for several blocks of one proposer."""
    build = cluster.builder
    cluster.lose = lambda delivery: isinstance(delivery[2], messages.Verdicts)
    for source in ("outbox", "spool"):
        cluster.submit(1, build.task(source), source=source)
    cluster.run(0.5)
    agent = cluster.nodes[1].agent
    assert agent.in_flight == 2
    proposed = list(cluster.nodes[1].agent._author.blocks)
    entries = tuple(Entry(identity, Verdict.VALID) for identity in proposed)
    root = merkle.root([entry.leaf() for entry in entries])
    header = BatchHeader(build.chain, build.epoch.epoch, 2, 99, build.head, build.height, 2, root)
    batch = VerdictBatch(header, build.nodes[2].sign(Domain.VERDICT_BATCH, header.encode()), entries)
    cluster.feed(1, events.VerdictsReceived(2, batch))
    cluster.run()
    assert cluster.modes() == ["quorum", "quorum"]
    assert isinstance(batch.vote(1), Vote)
