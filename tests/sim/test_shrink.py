"""A failing scenario is made small, and still fails in the same way."""

from __future__ import annotations

from dataclasses import replace

from scichain_wf.sim import scenario
from scichain_wf.sim.faults import Fault, Kind
from scichain_wf.sim.scenario import Scenario
from scichain_wf.sim.shrink import shrink
from tests.sim.mutants import MUTANTS

SILENT = next(mutant for mutant in MUTANTS if mutant.name == "a parked block is forgotten")


def fails(one: Scenario) -> str | None:
    """With a mutant in it."""
    with SILENT.patches[0]():
        violation = scenario.run(one).violation
    return None if violation is None else violation.tag


def test_what_does_not_matter_is_dropped() -> None:
    """Down to what the mutant needs: a crash of storage while a block is on its way, and no liar."""
    noise = (
        Fault(Kind.LOSS, 0.2, 0.3, (), 0.1),
        Fault(Kind.SKEW, 0.1, 0.9, (2,), 1.1),
        Fault(Kind.CRASH, 0.2, 0.3, (3,)),
    )
    one = replace(SILENT.scenario, faults=noise + SILENT.scenario.faults, lies=((4, "withhold"),))
    assert fails(one) == "LIVE-1"
    small = shrink(one, fails, runs_max=40)
    assert fails(small) == "LIVE-1"
    assert [fault.kind for fault in small.faults] == [Kind.STORAGE]
    assert not small.lies
    assert small.config.nodes < one.config.nodes


def test_what_does_not_fail_is_left_alone() -> None:
    runs: list[Scenario] = []

    def never(one: Scenario) -> str | None:
        runs.append(one)
        return None

    one = scenario.random(3)
    assert shrink(one, never) is one
    assert runs == [one]


def test_it_ends() -> None:
    """Where everything fails, the smallest is found; and never more runs than allowed."""
    one = next(s for s in map(scenario.random, range(1_000)) if s.lies and s.twins and s.config.difficulty)
    smallest = shrink(one, lambda _: "LIVE-1")
    assert (smallest.faults, smallest.lies, smallest.twins) == ((), (), ())
    assert (smallest.config.nodes, smallest.config.difficulty) == (1, 0)
    assert smallest.config.rate <= 1
    runs: list[Scenario] = []

    def count(scenario: Scenario) -> str:
        runs.append(scenario)
        return "SAFE-1"

    shrink(one, count, runs_max=3)
    assert len(runs) == 3
