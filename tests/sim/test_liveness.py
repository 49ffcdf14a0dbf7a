"""Everything submitted is committed: whatever validators do, however slow the disk; and with quorums where they can."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scichain_wf.sim import observe, scenario
from scichain_wf.sim.faults import Fault, Kind
from scichain_wf.sim.lies import LIES
from scichain_wf.sim.result import Result
from scichain_wf.sim.scenario import Scenario
from scichain_wf.sim.world import World
from tests.sim.mutants import quiet

FOREVER_S = 1e6


def alone(one: Scenario, blocks: int = 5) -> Result:
    """Slot 1 submits, one task at a time; every promise is checked."""
    world = scenario.build(one)
    for index in range(blocks):
        world.kernel.at(1.0 + index * 0.5, lambda: world.submit(1, (world.workload.task(world.now),)))
    return world.run()


@pytest.mark.parametrize("lie", sorted(LIES))
def test_every_other_validator_lies(lie: str) -> None:
    """Spec: LIVE-1."""
    result = alone(replace(quiet(rate=0, probe_s=None), lies=tuple((slot, lie) for slot in (2, 3, 4))))
    assert result.committed == result.submitted > 0


def test_every_other_node_is_dead() -> None:
    """Spec: LIVE-1. Silence does not shrink the membership: storage decides alone, and says so."""
    dead = tuple(Fault(Kind.CRASH, 0.5, FOREVER_S, (slot,)) for slot in (2, 3, 4))
    result = alone(replace(quiet(rate=0, probe_s=None), faults=dead))
    assert result.committed == result.submitted > 0
    assert result.modes == {"poet": result.blocks}


def test_a_weighted_storage_waits_for_validators() -> None:
    """Why LIVE-1 is promised for `decisive` only (30-post, POET pull): here nobody is left to agree."""
    dead = tuple(Fault(Kind.CRASH, 0.5, FOREVER_S, (slot,)) for slot in (2, 3, 4))
    result = alone(replace(quiet(rate=0, probe_s=None, storage_weight=1), faults=dead))
    assert result.submitted > result.committed == 0
    back = tuple(replace(fault, until=6.0) for fault in dead)
    result = alone(replace(quiet(rate=0, probe_s=None, storage_weight=1), faults=back))
    assert result.committed == result.submitted > 0


def test_commits_are_slower_than_the_deadline() -> None:
    """Spec: LIVE-1. A block that was sent is not sent twice, and nothing goes to POET because the disk is slow."""
    result = scenario.run(quiet(sync_s=1.5, drain_s=30.0, probe_s=None, again=0.0))
    assert result.violation is None
    assert result.result.committed == result.result.submitted > 5
    assert result.result.poet_share == 0


def poet_share(tail_links: int) -> float:
    outcome = scenario.run(quiet(rate=40.0, duration_s=2.0, tail_links=tail_links, again=0.0, probe_s=None))
    assert outcome.violation is None
    assert outcome.result.committed == outcome.result.submitted
    return outcome.result.poet_share


def test_poet_goes_to_nothing_where_tails_suffice() -> None:
    """Spec: LIVE-2. And grows as they shrink: what left a tail is UNKNOWN, and storage decides."""
    shares = [poet_share(links) for links in (4_096, 16, 4, 1)]
    print("POET share with tails of 4096, 16, 4, 1 links:", shares)
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[-1] > 0


class Heads:
    """Who holds which height, and storage's."""

    def __init__(self) -> None:
        self.heights: dict[int, int] = {}
        self.storage: list[tuple[float, int]] = []

    def observe(self, world: observe.Clock, what: observe.Observation, /) -> None:
        if isinstance(what, observe.NodeApplied):
            self.heights[what.slot] = what.link.height
        elif isinstance(what, observe.LinkDurable):
            self.storage.append((world.now, what.link.height))


def test_more_than_half_hold_storages_head_of_two_delays_ago() -> None:
    """Spec: CONV-1. SciChain §3.3, with two of five nodes cut off; after healing all hold the same chain."""
    delta_s = 0.05
    cut = Fault(Kind.PARTITION, 0.4, 4.0, (4, 5))
    one = replace(quiet(5, duration_s=3.0, rate=20.0, latency="uniform:100:5000"), faults=(cut,), delta_s=delta_s)
    world, heads, looks = scenario.build(one), Heads(), []
    world.observers.append(heads)

    def look() -> None:
        old = max(height for at, height in heads.storage if at <= world.now - 2 * delta_s)
        looks.append((sum(heads.heights[slot] >= old for slot in heads.heights), old))

    for tenth in range(8, 38):
        world.kernel.at(tenth / 10, look)
    world.run()
    assert {holders for holders, _ in looks} == {3}
    assert looks[-1][1] > looks[0][1]
    assert len(set(heads.heights.values())) == 1


def test_a_world_is_told_of_everything_that_breaks() -> None:
    """A fault is announced when it begins and when it is over."""
    told: list[observe.Disturbed] = []

    class Told:
        def observe(self, _world: observe.Clock, what: observe.Observation, /) -> None:
            if isinstance(what, observe.Disturbed):
                told.append(what)

    plan = tuple(Fault(kind, 0.3, 0.6, (1, 2) if kind in (Kind.CUT, Kind.PARTITION) else (1,), 0.5) for kind in Kind)
    plan = tuple(replace(f, endpoints=(0,)) if f.kind in (Kind.STORAGE, Kind.ROLLBACK) else f for f in plan)
    world: World = scenario.build(replace(quiet(), faults=plan))
    world.observers.append(Told())
    world.run()
    assert {(d.what, d.over) for d in told} == {(kind, over) for kind in Kind for over in (True, False)}
    assert (world.network.loss, world.network.duplicate, world.network.reorder) == (0, 0, 0)
    assert world.disk.sync_s == world.config.sync_s
