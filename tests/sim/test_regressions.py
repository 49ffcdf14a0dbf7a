"""What once failed does not fail again. Spec: LIVE-1. Spec: SAFE-7. Spec: CONV-1."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scichain_wf.sim import scenario
from scichain_wf.sim.scenario import Twin
from tests.sim.mutants import quiet
from tests.sim.regressions import REGRESSIONS


@pytest.mark.parametrize("name", sorted(REGRESSIONS))
def test_it_does_not_come_back(name: str) -> None:
    assert scenario.run(REGRESSIONS[name]).violation is None


def test_two_processes_with_one_key_do_not_fill_the_chain_with_evidence_on_themselves() -> None:
    """Seed 9870: 1,300 blocks for 15 transactions, without end; each report was in two blocks of one number itself."""
    world = quiet(3, rate=12.0, latency="lognormal:2000:1")
    outcome = scenario.run(replace(world, twins=(Twin(1, same_key=True, after_s=0.22),), lies=((2, "equivocate"),)))
    assert outcome.violation is None
    assert outcome.result.blocks < 50
