"""The README's first command, with the programs of the test environment instead of a new one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from starter import quickstart
from starter.process import clean_environ

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "quickstart"


def test_quickstart_records_verifies_and_finds_the_changed_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    environ = clean_environ(Path(sys.executable).parent)
    environ |= {name: os.environ[name] for name in os.environ if name.startswith("COVERAGE_")}
    code = quickstart.demonstrate(environ, EXAMPLE, tmp_path / "quick start")
    said = capfd.readouterr()
    assert code == 0, said.out + said.err
    assert "NOT EXPECTED" not in said.out
