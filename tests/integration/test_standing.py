"""A service that stays: started and ended by commands, joined by several runs at a time, killed at will."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scichain_wf import limits
from scichain_wf.client import service, standing
from scichain_wf.client.outbox import user_directory
from scichain_wf.errors import LedgerError, PeerError
from scichain_wf.hooks.records import Engine
from scichain_wf.hooks.session import RunPlan, RunSession
from scichain_wf.model.bodies import Kind
from tests.integration.service_kit import (
    Records,
    assert_committed_once,
    assert_gone,
    assert_verifies,
    emit,
    is_alive,
    wait_until,
)


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A command, as a user gives it."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    program = [sys.executable, "-m", "scichain_wf", *arguments]
    return subprocess.run(program, capture_output=True, text=True, check=False, env=environment, timeout=120)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Path]:
    """Where a chain will be; whatever is up there at the end is ended."""
    directory = tmp_path / "chain"
    yield directory
    if (directory / "run" / "standing").exists():
        command("down", "--chain", directory)


def up(chain: Path, *arguments: str) -> dict[str, Any]:
    said = command("up", "--json", "--chain", chain, *arguments)
    assert said.returncode == 0, said.stderr
    value: dict[str, Any] = json.loads(said.stdout)
    return value


def descendants(pid: int) -> dict[str, int]:
    """Processes below one, by name."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                head, _, rest = (entry / "stat").read_text().rpartition(")")
            except OSError:
                continue
            parents[int(entry.name)] = int(rest.split()[1])
            names[int(entry.name)] = head.partition("(")[2]
    found = {pid}
    while new := {child for child, parent in parents.items() if parent in found} - found:
        found |= new
    return {names[child]: child for child in found - {pid}}


def test_what_is_up_is_shown_left_alone_by_a_second_up_and_gone_after_down(chain: Path) -> None:
    first = up(chain, "--nodes", "2")
    assert (first["already"], first["nodes"]) == (False, 2)
    again = up(chain)
    assert (again["already"], again["pid"], again["nodes"]) == (True, first["pid"], 2)
    status = json.loads(command("status", "--json", "--chain", chain).stdout)
    assert status["agents"] == ["slot-1", "slot-2"]
    assert str(status["service"]).startswith("process ")
    assert os.getsid(first["pid"]) == first["pid"]
    processes = descendants(first["pid"])
    said = command("down", "--chain", chain)
    assert (said.returncode, said.stderr) == (0, "")
    assert not any(is_alive(pid) for pid in [first["pid"], *processes.values()])
    assert not (user_directory() / first["trust_root"][7:23]).exists()
    assert "was not up" in command("down", "--chain", chain).stdout
    assert standing.find(chain) is None
    assert_verifies(chain)


def test_two_runs_at_a_time_commit_to_one_chain(chain: Path, tmp_path: Path) -> None:
    up(chain)
    plan = RunPlan(Engine("test", "1"), tmp_path, chain)
    first, second = (RunSession.start(plan, may_spool=False) for _ in range(2))
    for session in (first, second):
        session.recorder.emit(Kind.NOTE, {"text": "x"})
        lines = session.finish("ok", None)
        assert session.complete, lines
        assert "2 transactions" in lines[-1] or "3 transactions" in lines[-1]
    assert command("down", "--chain", chain).returncode == 0
    runs = json.loads(command("runs", "list", "--json", "--chain", chain).stdout)["runs"]
    assert [run["status"] for run in runs] == ["ok", "ok"]
    assert_verifies(chain)


def test_joined_run_records_and_flushes_like_one_with_its_own_service(chain: Path) -> None:
    assert service.join(chain) is None
    up(chain)
    joined = service.join(chain)
    assert joined is not None
    with joined:
        records = Records(joined.chain)
        made = records.tasks(50)
        seen: list[tuple[int, int]] = []
        emit(joined, made)
        summary = joined.flush(records.run, progress=lambda *counts: seen.append(counts))
        assert (summary.tasks, len(summary.trust_root), summary.head_height > 2) == (50, 32, True)
    assert command("down", "--chain", chain).returncode == 0
    assert_committed_once(chain, made)


def test_killed_keeper_takes_its_service_along_and_loses_nothing(chain: Path) -> None:
    """Spec: LOSS-1."""
    kept = up(chain)
    joined = service.join(chain)
    assert joined is not None
    records = Records(joined.chain)
    made = records.tasks(20)
    processes = descendants(kept["pid"])
    for pid in processes.values():
        os.kill(pid, signal.SIGSTOP)  # so that nothing is committed before the end
    emit(joined, made)
    for pid in [kept["pid"], *processes.values()]:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: not is_alive(pid), "end")  # type: ignore[misc]
    with pytest.raises(PeerError, match="Nothing is lost"):
        joined.flush(records.run)
    with pytest.raises(PeerError, match="Nothing is lost"):
        joined.stop()
    assert standing.find(chain) is None
    assert not up(chain)["already"]
    again = service.join(chain)
    assert again is not None
    again.flush(records.run)
    again.stop()
    assert command("down", "--chain", chain).returncode == 0
    assert_committed_once(chain, made)


def test_flush_that_is_too_slow_says_where_the_records_wait(chain: Path) -> None:
    kept = up(chain)
    agent = descendants(kept["pid"])["scichain-slot-1"]
    joined = service.join(chain)
    assert joined is not None
    records = Records(joined.chain)
    os.kill(agent, signal.SIGSTOP)
    try:
        made = records.tasks(3)
        emit(joined, made)
        with pytest.raises(PeerError, match="not everything was committed within"):
            joined.flush(records.run, timeout_s=0.5)
    finally:
        os.kill(agent, signal.SIGCONT)
    assert joined.flush(records.run).tasks == 3
    joined.stop()


def test_service_of_a_run_is_kept_up_after_its_end(chain: Path) -> None:
    first = service.start(chain, 2)
    assert up(chain, "--nodes", "3")["nodes"] == 2
    first.stop()
    assert first.stays
    joined = service.join(chain)
    assert joined is not None
    assert joined.pids == first.pids
    said = command("down", "--chain", chain)
    assert (said.returncode, said.stderr) == (0, "")
    assert "is used by a run: its service ends with the last one" in said.stdout
    records = Records(joined.chain)
    emit(joined, records.tasks(3))
    assert joined.flush(records.run).tasks == 3
    joined.stop()
    assert not joined.stays
    assert_gone(joined)
    assert_verifies(chain)


def test_directory_that_is_something_else_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    said = command("up", "--chain", tmp_path)
    assert said.returncode == 3
    assert "is not a chain and not empty" in said.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert command("up", "--nodes", "0", "--chain", tmp_path).returncode == 2
    assert command("down", "--chain", tmp_path).returncode == 2


def state(chain: Path, **changes: object) -> None:
    (chain / "run").mkdir(parents=True, exist_ok=True)
    (chain / "ledger").mkdir(exist_ok=True)
    (chain / "trust-root").touch()
    started = standing._started(os.getpid()) or 0
    keeper = standing.Keeper(socket.gethostname(), os.getpid(), started, "00" * 32, 1)
    value = {name: getattr(keeper, name) for name in standing.Keeper.__slots__} | changes
    (chain / "run" / "standing").write_text(json.dumps(value))


def test_service_of_another_host_is_neither_joined_nor_ended_from_here(chain: Path) -> None:
    state(chain, host="elsewhere")
    assert service.join(chain) is None
    with pytest.raises(PeerError, match=r"started on elsewhere: run `scichain-wf down` there"):
        standing.down(chain)
    (chain / "run" / "standing").unlink()


def test_service_that_ended_badly_is_told_once(chain: Path) -> None:
    state(chain, error="not everything was committed; records wait")
    assert service.join(chain) is None
    said = command("down", "--chain", chain)
    assert said.returncode == 3
    assert "not everything was committed" in said.stderr
    assert command("down", "--chain", chain).returncode == 0


def test_process_that_only_has_the_number_is_not_taken_for_the_keeper(chain: Path) -> None:
    state(chain, started=1)
    assert standing.find(chain) is None
    assert standing.down(chain) is None


def test_service_that_does_not_answer_is_an_error_and_a_run_spools(
    chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SERVICE_GRACE_S", 0.3)
    with service.start(chain) as running:
        os.kill(running.pids["storage"], signal.SIGSTOP)
        try:
            with pytest.raises(PeerError, match="did not answer"):
                service.join(chain)
            session = RunSession.start(RunPlan(Engine("test", "1"), tmp_path, chain), may_spool=True)
            assert "2 records waiting" in session.finish("ok", None)[-1]
        finally:
            os.kill(running.pids["storage"], signal.SIGCONT)
        run = session.recorder.run
        wait_until(lambda: sum(running.flush(run).transactions.values()) == 2, "the spool's adoption")
    assert_verifies(chain)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": 1}', "\0", "[" * 9999])
def test_damaged_state_is_named(chain: Path, text: str) -> None:
    state(chain)
    (chain / "run" / "standing").write_text(text)
    with pytest.raises(LedgerError, match=r"standing is damaged; remove it"):
        standing.find(chain)
    (chain / "run" / "standing").unlink()


@pytest.mark.parametrize("change", [{"pid": 1}, {"pid": -1}, {"pid": "1"}, {"started": None}])
def test_state_that_names_no_process_is_damaged(chain: Path, change: dict[str, object]) -> None:
    state(chain, **change)
    with pytest.raises(LedgerError, match="damaged"):
        standing.find(chain)
    (chain / "run" / "standing").unlink()
