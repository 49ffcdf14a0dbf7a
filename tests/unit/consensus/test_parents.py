"""Which parent a block may have (decision 4): any link, but not an old one where the difficulty follows from it."""

from __future__ import annotations

import pytest

from scichain_wf import limits
from scichain_wf.consensus import events, membership, messages, storage
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.certificate import Solution
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from tests.unit.consensus.cluster import Cluster

ADAPTIVE = Difficulty("adaptive", 0, 100, 500_000)


def decided(cluster: Cluster, height: int) -> storage.Decision:
    """What storage says to a block on the link at `height`, of the difficulty that follows from it."""
    build, parent = cluster.builder, cluster.chain.links[height]
    block = membership.seal(
        build.nodes[3], build.chain, build.epoch.epoch, 1, parent.hash, height, (build.task("a").encode(),), 1, 0
    )
    solution: Solution | None = None
    candidate = storage.Candidate(prepared(block), solution, (), build.epoch.epoch, "deadline", None)
    return cluster.storage.decide(candidate, cluster.chain)


@pytest.mark.parametrize(
    ("rule", "later_us", "is_taken"),
    [
        (ADAPTIVE, limits.PARENT_AGE_US_MAX // 2, True),
        (ADAPTIVE, limits.PARENT_AGE_US_MAX + 1, False),
        (Difficulty("fixed", 0), limits.PARENT_AGE_US_MAX * 100, True),
    ],
)
def test_an_old_parent_is_refused_where_it_would_choose_the_difficulty(
    rule: Difficulty, later_us: int, *, is_taken: bool
) -> None:
    cluster = Cluster(3, Settings(difficulty=rule))
    height = cluster.chain.head_height()
    cluster.builder.tick(later_us)
    cluster.submit(1, cluster.builder.task("later"))
    cluster.run()
    decision = decided(cluster, height)
    if is_taken:
        assert isinstance(decision, storage.Append)
        return
    assert isinstance(decision, messages.Answer)
    assert decision.answer == "outdated"
    assert f"link {height}, is more than 120 s older" in str(decision.reason)
    assert isinstance(decided(cluster, height + 1), storage.Append)


def test_a_block_that_waited_too_long_is_drafted_anew() -> None:
    """Spec: LIVE-1."""
    cluster = Cluster(3, Settings(difficulty=ADAPTIVE))
    (identity,) = cluster.submit(1, cluster.builder.task("slow"))
    cluster.lose = lambda delivery: delivery[0] == 1  # its node is cut off with a block under way
    cluster.run(5)
    cluster.builder.tick(limits.PARENT_AGE_US_MAX + 1)
    cluster.submit(2, cluster.builder.task("others"))
    cluster.run(5)
    cluster.lose = lambda _: False
    cluster.feed(1, events.StorageDown())
    cluster.feed(1, events.StorageUp())
    cluster.run()
    assert cluster.nodes[1].settled == [identity]
    assert cluster.storage.dropped["outdated"] == 1
