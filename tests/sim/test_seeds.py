"""Ten thousand worlds in which things break: no promise is broken in any.

`SCICHAIN_SIM_TABLE=file` keeps a line per seed: nodes, faults, liars, blocks, POET share, parks, crashes.
A seed that fails is shrunk, and printed as a scenario that replays it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scichain_wf.sim import scenario
from scichain_wf.sim.faults import ALWAYS, Kind
from scichain_wf.sim.lies import LIES
from scichain_wf.sim.scenario import Outcome, Scenario
from scichain_wf.sim.shrink import shrink

SEEDS = 10_000
CHUNKS = 40
HEAD = "seed nodes faults liars blocks poet_share parks crashes lost_messages events"


def of_seed(seed: int) -> Scenario:
    """Every eighth world may also have its storage put back to an older image."""
    return scenario.random(seed, tuple(Kind) if seed % 8 == 0 else ALWAYS)


def line(outcome: Outcome) -> str:
    """One row of the table."""
    s, r = outcome.scenario, outcome.result
    kinds = ",".join(sorted({fault.kind for fault in s.faults}))
    lies = ",".join([lie for _, lie in s.lies] + ["twin" for _ in s.twins]) or "-"
    row = (r.seed, r.nodes, kinds, lies, r.blocks, f"{r.poet_share:.2f}", r.parks, r.crashes, r.lost, r.events)
    return " ".join(map(str, row))


def tag_of(one: Scenario) -> str | None:
    violation = scenario.run(one).violation
    return None if violation is None else violation.tag


@pytest.mark.slow
@pytest.mark.timeout(1_800)  # of a fault, not of the machine
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_seed_breaks_a_promise(chunk: int, tmp_path: Path) -> None:
    """Spec: SAFE-1. Spec: SAFE-2. Spec: SAFE-3. Spec: SAFE-4. Spec: SAFE-5. Spec: SAFE-6. Spec: SAFE-7. Spec: SAFE-8.

    Spec: LIVE-1. Spec: LIVE-2. Spec: CONV-1. Spec: HONEST-1. Spec: LOSS-1.
    """
    rows, blocks = [], 0
    for seed in range(chunk * SEEDS // CHUNKS, (chunk + 1) * SEEDS // CHUNKS):
        outcome = scenario.run(of_seed(seed))
        assert outcome.scenario.faults
        if outcome.violation is not None:
            smallest = shrink(outcome.scenario, tag_of)
            pytest.fail(f"seed {seed}: {outcome.violation}\nreplay: scenario.run({smallest!r})")
        rows.append(line(outcome))
        blocks += outcome.result.blocks
    assert blocks > len(rows)
    table = Path(os.environ.get("SCICHAIN_SIM_TABLE", tmp_path / "seeds.txt"))
    with table.open("a", encoding="utf-8") as file:
        file.write("\n".join(([HEAD] if chunk == 0 else []) + rows) + "\n")


def test_a_seed_replays_exactly() -> None:
    """The same scenario, the same run: to the last hash and count."""
    for seed in range(20):
        assert scenario.random(seed) == scenario.random(seed)
        first, second = (scenario.run(scenario.random(seed)).result for _ in range(2))
        assert first == second
    assert scenario.run(scenario.random(1)).result != scenario.run(scenario.random(2)).result


def test_every_fault_lie_and_rule_is_among_the_seeds() -> None:
    """What the ten thousand are made of."""
    scenarios = [of_seed(seed) for seed in range(500)]
    assert {fault.kind for s in scenarios for fault in s.faults} == set(Kind)
    assert {lie for s in scenarios for _, lie in s.lies} == set(LIES)
    assert {twin.same_key for s in scenarios for twin in s.twins} == {True, False}
    assert {s.config.nodes for s in scenarios} == {3, 4, 5, 6, 7}
    assert {s.config.difficulty for s in scenarios} == {0, 1}
    assert {s.config.quorum for s in scenarios} == {"majority", "byzantine"}
    assert {s.config.mining for s in scenarios} == {"own", "race"}
    assert {s.config.storage_weight for s in scenarios} == {0, 1, 2}
    for s in scenarios:
        assert 2 * len(s.liars) < s.config.nodes
        assert all(fault.at <= fault.until for fault in s.faults)
