"""Snakemake runs of which something is killed: the storage process, the whole service, the run itself."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.workflows import SIMPLE, TIMEOUT_S, environment, simple_project

pytest.importorskip("snakemake", reason="Snakemake is not installed: pip install 'scichain-wf[snakemake]'")


def test_second_ctrl_c_ends_the_wait_for_the_chain_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from snakemake_executor_plugin_scichain.tally import Tally
    from snakemake_logger_plugin_scichain import handler

    class Waiting:
        def finish(self, _: Tally) -> list[str]:
            raise KeyboardInterrupt

    monkeypatch.setattr(handler, "disarm", lambda: (Waiting(), None, False))
    with pytest.raises(SystemExit) as left:
        handler.close(None, Tally())
    assert left.value.code == 130
    assert capsys.readouterr().err.count("\n") == 1


CTRL_C_WHILE_RECORDING = """
from snakemake.cli import main
from scichain_wf.hooks.recorder import Recorder

emit, ends = Recorder.emit, []

def interrupted(self, kind, *arguments, **more):
    if kind == "task":
        ends.append(kind)
        if len(ends) == 1:
            raise KeyboardInterrupt
    return emit(self, kind, *arguments, **more)

Recorder.emit = interrupted
main()
"""


def test_ctrl_c_while_the_end_of_a_job_is_recorded_does_not_lose_it(tmp_path: Path) -> None:
    project = simple_project(tmp_path)
    result = project.instead(CTRL_C_WHILE_RECORDING)
    assert result.returncode == 1, result.stderr
    [run] = project.runs()
    assert run["transactions"] == {"run-start": 1, "intent": 1, "task": 1, "run-end": 1}
    assert [(task["task"], task["status"]) for task in run["tasks"]] == [("make", "ok")]
    assert project.verdict() == 0


SIGTERM_UNDER_THE_LOCK = """
import os, signal
from snakemake.cli import main
from snakemake_executor_plugin_scichain.recording import JobRecording

succeeded = JobRecording.succeeded

def interrupted(self, job):
    os.kill(os.getpid(), signal.SIGTERM)
    succeeded(self, job)

JobRecording.succeeded = interrupted
main()
"""


def test_sigterm_while_a_job_is_recorded_does_not_hang(tmp_path: Path) -> None:
    """Spec: HOOK-1. Snakemake's own handler waits for the lock that is held while its executor is told of a job."""
    project = simple_project(tmp_path)
    result = project.instead(SIGTERM_UNDER_THE_LOCK)
    assert result.returncode == 1
    [run] = project.runs()
    assert (run["status"], [task["status"] for task in run["tasks"]]) == ("interrupted", ["ok"])
    assert project.verdict() == 0


STORAGE = "$(until cut -d' ' -f3 .scichain/run/storage 2>/dev/null; do sleep 0.1; done)"  # a start does not wait for it


def test_storage_process_that_is_killed_is_started_again_and_nobody_notices(tmp_path: Path) -> None:
    kill = f"kill -9 {STORAGE}; cp {{input}} {{output}}"
    project = simple_project(tmp_path, SIMPLE.replace("cp {input} {output}", kill))
    result = project.snakemake("--logger-scichain-strict")
    assert result.returncode == 0, result.stderr
    assert "provenance is incomplete" not in result.stderr
    assert [(run["status"], len(run["tasks"])) for run in project.runs()] == [("ok", 1)]
    assert project.verdict() == 0


@pytest.mark.parametrize("strict", [False, True])
def test_service_that_dies_is_replaced_at_the_end_and_nobody_notices(tmp_path: Path, strict: bool) -> None:
    """Spec: LOSS-1."""
    kill = f"kill -9 $(ps -o ppid= -p {STORAGE}) {STORAGE}; sleep 1; cp {{input}} {{output}}"
    project = simple_project(tmp_path, SIMPLE.replace("cp {input} {output}", kill))
    result = project.snakemake(*(["--logger-scichain-strict"] if strict else []))
    assert result.returncode == 0, result.stderr
    assert "provenance is incomplete" not in result.stderr
    assert [(run["status"], len(run["tasks"])) for run in project.runs()] == [("ok", 1)]
    assert project.verdict() == 0


def test_killed_run_is_taken_in_by_the_next(tmp_path: Path) -> None:
    snakefile = SIMPLE.replace("cp {input} {output}", "echo x > started; sleep 30")
    project = simple_project(tmp_path, snakefile)
    process = subprocess.Popen(
        project.command(), cwd=project.directory, env=environment(), stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + TIMEOUT_S
    while not (project.directory / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (project.directory / "Snakefile").write_text(SIMPLE)
    assert project.snakemake("--unlock", logger=False).returncode == 0
    result = project.snakemake("--rerun-incomplete")
    assert result.returncode == 0, result.stderr
    first, second = project.runs()
    assert first["status"] == "no end recorded"
    assert first["transactions"]["intent"] == 1
    assert second["status"] == "ok"
    assert project.verdict() == 0
