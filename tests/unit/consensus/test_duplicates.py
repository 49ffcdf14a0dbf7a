"""A transaction that comes twice: once by chance, once because somebody wants to be first (decision 7)."""

from __future__ import annotations

import pytest

from scichain_wf.consensus import messages, validity
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.epoch import Settings
from scichain_wf.model.link import Mark
from tests.unit.consensus.cluster import Cluster, Delivery


def test_a_duplicate_is_marked_and_is_no_conflict() -> None:
    """Spec: SAFE-6."""
    cluster = Cluster()
    build = cluster.builder
    task = build.task("a")
    cluster.submit(1, task)
    cluster.run()
    found = validity.judge(prepared(build.block(2, [task, build.task("b")])), cluster.chain)
    assert [(a.index, a.mark) for a in found.annotations] == [(0, Mark.DUPLICATE)]
    assert not found.conflict


def test_blocks_that_somebody_copied_first_still_get_their_quorum() -> None:
    """A liar takes every transaction it sees into a block of its own and has that appended at once. Spec: LIVE-2."""
    cluster = Cluster(5)
    build, send = cluster.builder, cluster._send
    mine = {slot: key.public.fingerprint for slot, key in build.nodes.items()}

    def copying(delivery: Delivery) -> None:
        sender, to, message = delivery
        send(delivery)
        if (sender, to) == (1, 3) and isinstance(message, messages.Propose):
            copy = build.block(3, message.block.transactions)
            send((3, 0, messages.Extend(copy, build.solution(copy), (), "deadline")))

    cluster._send = copying  # type: ignore[method-assign]
    identities = []
    for number in range(5):
        identities += cluster.submit(1, build.task(f"t{number}"))
        cluster.run(1)
    assert cluster.nodes[1].settled == identities
    modes: dict[bytes, set[str]] = {mine[1]: set(), mine[3]: set()}
    for link in cluster.links():
        modes[cluster.chain.blocks[link.block].block.header.proposer].add(str(link.mode))
    assert modes == {mine[1]: {"quorum"}, mine[3]: {"poet"}}
    assert {mark.mark for mark in cluster.marks()} == {Mark.DUPLICATE}


@pytest.mark.parametrize("weight", [0, 1])
def test_a_duplicate_does_not_hold_up_a_block_where_storage_decides_with_the_nodes(weight: int) -> None:
    """SciChain §3.3, "storage decides jointly": what came twice is no reason for a node to say no. Spec: LIVE-1."""
    cluster = Cluster(4, Settings(storage_weight=weight))
    build = cluster.builder
    again, new = build.task("again"), build.task("new")
    cluster.submit(1, again)
    cluster.run()
    block = build.block(2, [again, new])
    extend = messages.Extend(block, build.solution(block), tuple(build.vote(s, block) for s in (1, 2)), "deadline")
    cluster._at_storage(2, extend)
    cluster.run()
    assert len(cluster.links()) == 2
