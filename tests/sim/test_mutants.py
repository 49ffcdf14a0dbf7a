"""A checker that never fires is not a checker: each catches a deliberately broken variant, and most do so alone."""

from __future__ import annotations

import pytest

from scichain_wf.sim import checkers
from tests.sim.mutants import MUTANTS, Mutant

ALONE = [mutant for mutant in MUTANTS if not mutant.also]
NAMES = [f"{mutant.tag} {mutant.name}" for mutant in MUTANTS]


@pytest.mark.parametrize("mutant", MUTANTS, ids=NAMES)
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    """Its checker fires first; the same scenario with the real thing breaks nothing."""
    found = mutant.run().violation
    assert found is not None
    assert found.tag == mutant.tag
    assert mutant.control().violation is None


@pytest.mark.parametrize("mutant", ALONE, ids=[f"{mutant.tag} {mutant.name}" for mutant in ALONE])
def test_only_its_checker_catches_a_mutant(mutant: Mutant) -> None:
    """With that checker disabled it survives every other one."""
    assert mutant.run(without=[mutant.tag]).violation is None


def test_every_promise_has_a_mutant_of_its_own() -> None:
    """Spec: SAFE-1. Spec: LIVE-1. Spec: CONV-1. Spec: HONEST-1. All but LOSS-1, which LIVE-1 implies."""
    assert {mutant.tag for mutant in MUTANTS} == set(checkers.TAGS)
    assert {mutant.tag for mutant in ALONE} >= set(checkers.TAGS) - {"LOSS-1"}


def test_what_a_mutant_breaks_besides_is_known() -> None:
    """Where several promises fall together, the other tags are named."""
    for mutant in MUTANTS:
        if mutant.also:
            found = mutant.run(without=[mutant.tag]).violation
            assert found is None or found.tag in mutant.also
