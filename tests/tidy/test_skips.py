"""CI counts a skip as a failure unless tests/skips.toml gives its reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
SUITE = """
import pytest

def test_skips():
    pytest.skip("no such device")

@pytest.mark.xfail(strict=True)
def test_is_expected_to_fail():
    assert False

def test_passes():
    pass
"""
LISTED = '[[skip]]\ntest = "*::test_skips"\nreason = "CI has no such device"\n'


@pytest.mark.parametrize(
    ("in_ci", "listed", "exit_code"),
    [("true", "", 1), ("true", LISTED, 0), ("", "", 0), ("true", '[[skip]]\ntest = "*"\n', 1)],
    ids=["unlisted", "listed", "by hand", "listed without a reason"],
)
def test_unlisted_skip_fails_in_ci_only(tmp_path: Path, in_ci: str, listed: str, exit_code: int) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "skips.toml").write_text(listed)
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    environ = {**os.environ, "CI": in_ci}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert (run.returncode != 0) == (exit_code != 0), run.stdout


def test_module_that_skips_itself_fails_in_ci(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "skips.toml").touch()
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_suite.py").write_text("import pytest\npytest.importorskip('no_such_module_anywhere')\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)]
    environ = {**os.environ, "CI": "true"}
    run = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert run.returncode not in {0, 5}
    assert "not listed in tests/skips.toml" in run.stdout
