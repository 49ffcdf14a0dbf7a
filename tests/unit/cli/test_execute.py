"""`scichain-wf run`: the command's own result is what counts, recorded or not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scichain_wf import cli
from scichain_wf.cli.execute import _POLICIES
from scichain_wf.errors import LedgerError
from scichain_wf.hooks.digests import HashPolicy
from scichain_wf.model.bodies import Kind
from tests.unit.hooks.test_session import FakeService
from tests.unit.hooks.test_tasks import here, of_kind, refused, service

__all__ = ["here", "refused", "service"]


def test_what_a_command_reads_and_writes_is_recorded(
    here: Path, service: FakeService, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "in").write_text("text\n")
    assert cli.run(["run", "-i", "in", "-o", "out", "--", "sh", "-c", "cat in | tee out", "--token", "hunter2"]) == 0
    shown = capfd.readouterr()
    assert shown.out == "text\n"
    assert "check with: scichain-wf verify" in shown.err
    [task] = of_kind(service, Kind.TASK)
    assert (task["name"], task["status"], task["exit_status"]) == ("sh", "ok", 0)
    assert task["command"] == "sh -c 'cat in | tee out' --token '[redacted]'"
    assert [item["state"] for item in [*task["inputs"], *task["outputs"]]] == ["file", "file"]
    assert of_kind(service, Kind.RUN_START)[0]["command"][-2:] == ["--token", "[redacted]"]


@pytest.mark.parametrize(
    ("script", "code", "status", "exit_status"),
    [("exit 7", 7, "failed", 7), ("kill -SEGV $$", 139, "failed", -11), ("kill -TERM $$", 143, "interrupted", -15)],
)
def test_a_command_that_fails_is_recorded_and_its_exit_code_is_ours(
    service: FakeService, script: str, code: int, status: str, exit_status: int
) -> None:
    """Spec: HOOK-1."""
    assert cli.run(["run", "--name", "step", "sh", "-c", script]) == code
    [task] = of_kind(service, Kind.TASK)
    assert (task["name"], task["status"], task["exit_status"]) == ("step", status, exit_status)
    assert of_kind(service, Kind.RUN_END)[0]["status"] == status


def test_a_command_that_is_not_there_is_recorded_and_named(
    service: FakeService, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["run", "no-such-program\x1b[1m"]) == 127
    assert "no-such-program\\x1b[1m: No such file" in capfd.readouterr().err
    [task] = of_kind(service, Kind.TASK)
    assert task["error"]["class"] == "OSError"


def test_an_argument_that_is_no_text_is_passed_on_as_it_is(service: FakeService, here: Path) -> None:
    odd = os.fsdecode(b"odd \xff\nname")
    assert cli.run(["run", "-o", odd, "touch", odd]) == 0
    assert (here / odd).exists()
    assert of_kind(service, Kind.TASK)[0]["outputs"][0]["state"] == "file"


def test_without_a_chain_the_command_runs_unless_strict(
    here: Path, refused: None, capfd: pytest.CaptureFixture[str]
) -> None:
    """Spec: HOOK-1."""
    assert cli.run(["run", "sh", "-c", "touch a; exit 5"]) == 5
    assert "not recorded: no room" in capfd.readouterr().err
    assert cli.run(["run", "--strict", "touch", "b"]) == 3
    assert "no room" in capfd.readouterr().err
    assert os.listdir(here) == ["a"]


def test_strict_tells_an_incomplete_record_unless_the_command_failed_anyway(
    service: FakeService, capfd: pytest.CaptureFixture[str]
) -> None:
    service.flush_error = LedgerError("disk full")
    assert cli.run(["run", "true"]) == 0
    assert cli.run(["run", "--strict", "true"]) == 3
    assert "not completely recorded" in capfd.readouterr().err
    assert cli.run(["run", "--strict", "sh", "-c", "exit 9"]) == 9
    assert "disk full" in capfd.readouterr().err


@pytest.mark.parametrize("error", [OSError(22, "Invalid argument"), OSError(28, "No space left"), RuntimeError("bug")])
@pytest.mark.parametrize("where", ["flush_error", "stop_error"])
def test_whatever_fails_in_the_recording_the_commands_result_stays(
    service: FakeService, capfd: pytest.CaptureFixture[str], error: Exception, where: str
) -> None:
    """Spec: HOOK-1."""
    setattr(service, where, error)
    assert cli.run(["run", "sh", "-c", "exit 4"]) == 4
    assert f"provenance is incomplete: {error}" in capfd.readouterr().err
    assert service.stopped == 1
    assert cli.run(["run", "true"]) == 0
    assert cli.run(["run", "--strict", "true"]) == 3
    assert cli.run(["run", "--strict", "sh", "-c", "exit 9"]) == 9


def test_a_directory_that_was_removed_does_not_stop_the_command(
    service: FakeService, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Spec: HOOK-1."""
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert cli.run(["run", "-i", "in", "-o", "out", "sh", "-c", "exit 6"]) == 6
    assert "not recorded" in capfd.readouterr().err


@pytest.mark.parametrize("messages", ["2>/dev/full", "2>&-"])
def test_where_nothing_can_be_said_the_commands_result_stays(tmp_path: Path, messages: str) -> None:
    """Spec: HOOK-1. It is not recorded, which cannot be told."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    script = f'"$0" -m scichain_wf run --chain /proc/none -- sh -c "echo out; exit 5" {messages}'
    ran = subprocess.run(
        ["sh", "-c", script, sys.executable], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (5, "out\n", "")


def test_ctrl_c_while_the_record_is_committed_keeps_the_commands_result(
    service: FakeService, capfd: pytest.CaptureFixture[str]
) -> None:
    service.flush_error = KeyboardInterrupt()
    assert cli.run(["run", "sh", "-c", "exit 4"]) == 4
    assert "the records wait" in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["--hash", "some", "true"], ["--redact", "*", "true"], ["--nodes", "0", "true"], ["--chian", "x"],
        ["--strcit", "--", "true"],
    ],
)  # fmt: skip
def test_usage_errors_run_nothing(service: FakeService, here: Path, arguments: list[str]) -> None:
    assert cli.run(["run", *arguments]) == 2
    assert of_kind(service, Kind.RUN_START) == []


def test_a_command_may_be_called_like_an_option(service: FakeService, here: Path) -> None:
    assert cli.run(["run", "--", "--strict"]) == 127
    assert [task["name"] for task in of_kind(service, Kind.TASK)] == ["--strict"]


def test_quiet_prints_nothing_of_ours(service: FakeService, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["run", "-q", "true"]) == 0
    assert capfd.readouterr() == ("", "")


def test_policies_of_the_command_line_are_those_of_the_library() -> None:
    assert list(_POLICIES) == list(HashPolicy)


def test_strict_is_the_flag_else_the_variable_else_the_file(
    here: Path, monkeypatch: pytest.MonkeyPatch, refused: None
) -> None:
    (here / "scichain.toml").write_text("strict = true\n")
    assert cli.run(["run", "touch", "a"]) == 3
    assert cli.run(["run", "--no-strict", "touch", "b"]) == 0
    monkeypatch.setenv("SCICHAIN_STRICT", "false")
    assert cli.run(["run", "touch", "c"]) == 0
    assert cli.run(["run", "--strict", "touch", "d"]) == 3
    assert sorted(path.name for path in here.iterdir()) == ["b", "c", "scichain.toml"]
