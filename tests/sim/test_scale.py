"""What a block costs as worlds grow, what short tails cost, and what an adaptive difficulty does about both."""

from __future__ import annotations

import pytest

from scichain_wf.model.difficulty import Difficulty
from scichain_wf.sim.config import SimConfig
from scichain_wf.sim.result import Result
from scichain_wf.sim.world import World


def run(nodes: int, tasks: int, **changed: object) -> Result:
    """About so many tasks in a second."""
    return World(SimConfig(nodes=nodes, duration_s=1.0, rate=tasks, **changed)).run()  # type: ignore[arg-type]


def agreement(result: Result) -> float:
    """Messages between agents, for each block."""
    return (result.messages["Propose"] + result.messages["Verdicts"]) / result.blocks


@pytest.mark.parametrize("nodes", [4, 16, 64, 128])
def test_messages_of_a_block_grow_with_the_number_of_nodes_only(nodes: int) -> None:
    """SciChain §3.1: O(|M|). One proposal to each other slot, and one answer; verdicts of one tick share it."""
    result = run(nodes, 30)
    assert result.committed == result.submitted > 15
    assert 1.5 * (nodes - 1) <= agreement(result) <= 2.0 * (nodes - 1)
    assert result.messages["Committed"] <= (result.blocks + result.epochs) * nodes
    assert result.poet_share == 0


@pytest.mark.parametrize("nodes", [4, 64])
def test_storage_is_accessed_once_for_a_block_and_once_to_sync_it(nodes: int) -> None:
    """SciChain §3.1: "the persistent medium is accessed only once"; and its disk is synced once."""
    result = run(nodes, 30)
    assert result.messages["Push"] == result.blocks
    assert 1.0 < result.storage_accesses_per_block <= 2.0 + result.epochs / result.blocks


@pytest.mark.slow
@pytest.mark.timeout(1_800)  # half a minute where nothing else runs
@pytest.mark.parametrize(("nodes", "tasks"), [(1_024, 4), (10_000, 1)])
def test_large_worlds_commit(nodes: int, tasks: int) -> None:
    result = run(nodes, tasks, seed=3)
    assert result.committed == result.submitted > 0
    assert result.modes == {"quorum": result.blocks}


def test_poet_share_grows_only_as_tails_shrink() -> None:
    """Spec: LIVE-2."""
    shares = [run(8, 120, tail_links=links, latency="infiniband").poet_share for links in (4_096, 1)]
    assert shares[0] == 0
    assert shares[1] > 0.1


def test_adaptive_difficulty_keeps_mining_within_its_share() -> None:
    adaptive = Difficulty("adaptive", 1, 100, 500_000)
    results = [run(8, 160, difficulty=rule, fan_in=0) for rule in (1, adaptive, 5)]
    cheap, kept, dear = (result.hashes / result.blocks for result in results)
    interval_s = 8 / 160
    assert cheap < kept < 0.1 * interval_s * 500_000 * 1.5
    assert dear > 100 * kept
    assert results[2].seconds > 2 * results[1].seconds
