"""An agent to the last word: what mutation testing (tests/mutation) found no other test to notice."""

from __future__ import annotations

from scichain_wf.consensus import events, messages
from scichain_wf.crypto import merkle
from scichain_wf.crypto.hashing import Domain
from scichain_wf.model.verdict import BatchHeader, Entry, Verdict, VerdictBatch
from tests.unit.consensus.cluster import Cluster


def unknown(cluster: Cluster, slot: int, number: int, *blocks: bytes) -> VerdictBatch:
    """A batch in which a slot says UNKNOWN of these."""
    build = cluster.builder
    entries = tuple(Entry(block, Verdict.UNKNOWN) for block in blocks)
    root = merkle.root([entry.leaf() for entry in entries])
    epoch = build.epoch.epoch
    header = BatchHeader(build.chain, epoch, slot, number, build.head, build.height, len(entries), root)
    return VerdictBatch(header, build.nodes[slot].sign(Domain.VERDICT_BATCH, header.encode()), entries)


def test_who_only_repeats_itself_is_not_at_work() -> None:
    """Else a liar that sends one batch for ever keeps every block waiting for patience's end."""
    cluster = Cluster()
    cluster.lose = lambda delivery: isinstance(delivery[2], messages.Verdicts)
    for name in ("a", "b", "c"):
        cluster.submit(1, cluster.builder.task(name))
        cluster.run(0.2)
    agent, now = cluster.nodes[1].agent, cluster.now
    first, second, third = agent._author.blocks
    heard = agent._reach.heard
    both = unknown(cluster, 2, 7, first, second)
    agent.step(events.VerdictsReceived(2, both), now)
    assert heard[2] == now
    agent.step(events.VerdictsReceived(2, both), now + 0.1)
    assert heard[2] == now
    assert agent.dropped["verdict replayed"] == 2
    agent.step(events.VerdictsReceived(2, unknown(cluster, 2, 6, first, third)), now + 0.2)  # of third it is news
    assert heard[2] == now + 0.2
    assert agent.dropped["verdict replayed"] == 3
    agent.step(events.VerdictsReceived(2, unknown(cluster, 2, 8, bytes(32))), now + 0.3)  # another's block
    assert heard[2] == now + 0.3
