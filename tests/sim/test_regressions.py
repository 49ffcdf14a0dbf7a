"""What once failed does not fail again. Spec: LIVE-1."""

from __future__ import annotations

import pytest

from scichain_wf.sim import scenario
from tests.sim.regressions import REGRESSIONS


@pytest.mark.parametrize("name", sorted(REGRESSIONS))
def test_it_does_not_come_back(name: str) -> None:
    assert scenario.run(REGRESSIONS[name]).violation is None
