"""Fixtures for the tests of commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chains import DiskChain, small_chain, write_files
from tests.unit.cli.kit import Say, caller


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DiskChain:
    """A small chain with its files; the test runs beside them."""
    project = tmp_path / "project"
    project.mkdir()
    made = small_chain(project / ".scichain")
    write_files(made)
    made.close()
    monkeypatch.chdir(project)
    monkeypatch.setenv("TERM", "dumb")
    return made


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Say:
    """Runs a command in this process."""
    return caller(capfd)
