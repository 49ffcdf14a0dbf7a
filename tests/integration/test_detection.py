"""A sample of the detection generator; `python -m tests.integration.detection` runs it at length."""

from __future__ import annotations

from pathlib import Path

from tests.integration import detection


def test_random_alterations_of_records_and_files_are_found(tmp_path: Path) -> None:
    found, missed = detection.detect(tmp_path, 60, seed=5)
    assert not missed
    assert found.total() == 60


def test_clean_runs_of_many_shapes_have_no_finding(tmp_path: Path) -> None:
    assert detection.alarms(tmp_path, 5, seed=5) == []
