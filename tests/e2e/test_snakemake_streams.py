"""Snakemake runs whose standard error is closed, full or gone: what is said is lost, and nothing else."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.e2e.workflows import environment, simple_project

pytest.importorskip("snakemake", reason="Snakemake is not installed: pip install 'scichain-wf[snakemake]'")


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_standard_error_that_takes_nothing_changes_nothing(tmp_path: Path, redirection: str) -> None:
    """Spec: HOOK-1."""
    project = simple_project(tmp_path)
    project.write(".scichain", "a file is in the way, which has to be said")
    came_to = []
    for logger in (False, True):
        (project.directory / "out.txt").unlink(missing_ok=True)
        result = subprocess.run(
            ["sh", "-c", f'exec "$@" {redirection}', "sh", *project.command(logger=logger)],
            cwd=project.directory,
            env=environment(),
            stdout=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
        assert (project.directory / "out.txt").exists()
        came_to.append((result.returncode, result.stdout))
    assert came_to[0] == came_to[1]  # where its last words are lost, Python 3.11.2 ends with 120, and 3.11.7 with 0


def test_strict_run_that_cannot_say_what_is_missing_fails_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from snakemake_logger_plugin_scichain import LogHandler, handler

    incomplete = SimpleNamespace(session=SimpleNamespace(complete=False), finish=lambda _: ["something is missing"])
    monkeypatch.setattr(handler, "disarm", lambda: (incomplete, None, True))
    settings: Any = SimpleNamespace(dryrun=True)
    logger = LogHandler(settings, None)
    logger._tally = object()
    gone = io.StringIO()
    gone.close()
    monkeypatch.setattr("sys.stderr", gone)
    with pytest.raises(SystemExit) as left:
        logger.close()
    assert left.value.code == 1
