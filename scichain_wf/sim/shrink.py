"""Making a failing run small: drop faults, liars, nodes, time and tasks while it still breaks the same promise.

A run is a pure function of its scenario, so a failing one replays exactly, and each smaller one is simply tried.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scichain_wf.sim.scenario import Scenario


def shrink(scenario: Scenario, fails: Callable[[Scenario], str | None], runs_max: int = 200) -> Scenario:
    """The smallest scenario found that breaks the same promise.

    Args:
        scenario: one that fails.
        fails: runs a scenario; the tag of the promise it breaks, or None.
        runs_max: runs to spend at most.

    Returns:
        `scenario` itself where nothing smaller fails, or where it does not fail at all.
    """
    tag, runs = fails(scenario), 1
    if tag is None:
        return scenario
    smaller = _smaller(scenario)
    while runs < runs_max:
        candidate = next(smaller, None)
        if candidate is None:
            break
        runs += 1
        if fails(candidate) == tag:
            scenario, smaller = candidate, _smaller(candidate)
    return scenario


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Simpler scenarios, the boldest first."""
    config = scenario.config
    for size in (len(scenario.faults) // 2, 1):
        for start in range(0, len(scenario.faults), size or 1):
            rest = scenario.faults[:start] + scenario.faults[start + (size or 1) :]
            yield replace(scenario, faults=rest)
    for index in range(len(scenario.lies)):
        yield replace(scenario, lies=scenario.lies[:index] + scenario.lies[index + 1 :])
    for index in range(len(scenario.twins)):
        yield replace(scenario, twins=scenario.twins[:index] + scenario.twins[index + 1 :])
    busy = {0} | {e for fault in scenario.faults for e in fault.endpoints}
    busy |= {slot for slot, _ in scenario.lies} | {twin.slot for twin in scenario.twins}
    if config.nodes - 1 >= max(1, *busy):
        yield replace(scenario, config=replace(config, nodes=config.nodes - 1))
    yield from _milder(scenario)


def _milder(scenario: Scenario) -> Iterator[Scenario]:
    config = scenario.config
    if config.rate > 1:
        yield replace(scenario, config=replace(config, rate=config.rate / 2))
    if config.difficulty:
        yield replace(scenario, config=replace(config, difficulty=0))
