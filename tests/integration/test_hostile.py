"""Malformed frames by the hundred; by the hundred thousand: `python -m tests.integration.hostile --frames 100000`."""

from __future__ import annotations

from pathlib import Path

from tests.integration.hostile import run_hostile


def test_malformed_frames_crash_nobody_and_honest_agents_commit_meanwhile(tmp_path: Path) -> None:
    """Spec: LIVE-1, LOSS-1."""
    assert "honest tasks committed meanwhile" in run_hostile(tmp_path / "chain", 1, 300)
