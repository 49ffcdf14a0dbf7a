"""A Parsl that is newer than tested, or not what we rely on, is said to be so, with what to do."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("parsl", reason="Parsl is not installed: pip install 'scichain-wf[parsl]'")

from scichain_parsl import versions

ADVICE = f"pip install 'parsl=={versions.NEWEST_TESTED}'"


def test_a_newer_parsl_is_a_warning_and_a_tested_one_is_none(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    same_release = f"{versions.NEWEST_TESTED}.1.dev0"
    for found in ("", versions.OLDEST, versions.NEWEST_TESTED, same_release):
        monkeypatch.setattr(versions, "version", lambda _, found=found: found)
        versions.warn_of_newer()
    assert not recwarn
    for found in ("2026.11.1", "2099.1.1"):
        monkeypatch.setattr(versions, "version", lambda _, found=found: found)
        with pytest.warns(UserWarning, match=rf"Parsl {found} is newer than .*pip install 'parsl=="):
            versions.warn_of_newer()


def imported(prepared: str) -> subprocess.CompletedProcess[str]:
    """Import the package in a process of its own, in which this was done before."""
    program = f"import importlib.metadata, sys; {prepared}; from scichain_parsl import traced; print(traced.__name__)"
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def test_a_newer_parsl_is_used_all_the_same() -> None:
    done = imported("importlib.metadata.version = lambda name: '2099.1.1'")
    assert (done.returncode, done.stdout) == (0, "traced\n"), done.stderr
    assert "UserWarning: Parsl 2099.1.1 is newer than the newest that scichain-wf was tested with" in done.stderr
    assert ADVICE in done.stderr


def test_a_parsl_in_which_something_is_gone_is_named_with_the_one_to_install() -> None:
    done = imported("import parsl.dataflow.memoization as place; del place.Memoizer")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: cannot import name 'Memoizer'")
    assert last.endswith(ADVICE)


def test_without_parsl_it_says_what_to_install() -> None:
    """A process in which no part of Parsl can be found."""
    gone = "lambda name: (_ for _ in ()).throw(importlib.metadata.PackageNotFoundError(name))"
    done = imported(f"importlib.metadata.version = {gone}; sys.modules['parsl'] = None")
    assert done.returncode == 1
    assert done.stderr.strip().endswith("Parsl is not installed here; pip install 'scichain-wf[parsl]'")


def test_the_range_is_the_one_that_pip_is_told() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[3] / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["optional-dependencies"]["parsl"] == [f"parsl>={versions.OLDEST}"]
