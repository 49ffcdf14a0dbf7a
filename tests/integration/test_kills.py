"""Processes killed at random under load. More of it: `python -m tests.integration.kills --kills 200`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.kills import run_kills


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_random_kills_lose_nothing_and_repeat_nothing(tmp_path: Path, seed: int) -> None:
    """Spec: LOSS-1, SAFE-6, SAFE-8."""
    assert run_kills(tmp_path / "chain", seed, 10).startswith(f"seed {seed}: 10 kills")
