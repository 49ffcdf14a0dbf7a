"""Several runs on one chain at a time, none of which was told of the others: real processes, ended and killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from scichain_wf import limits
from scichain_wf.cli import run
from scichain_wf.client import service
from scichain_wf.client.outbox import outbox_directory
from scichain_wf.client.service import Service
from scichain_wf.client.trustroot import read_trust_root
from scichain_wf.errors import PeerError, UsageError
from scichain_wf.hooks.records import Engine
from scichain_wf.hooks.session import RunPlan, RunSession
from scichain_wf.model.bodies import Kind
from tests.integration.service_kit import (
    Records,
    assert_committed_once,
    assert_gone,
    assert_verifies,
    committed,
    emit,
    is_alive,
    kill,
    supervisor_of,
    wait_until,
)

ENGINE = """
import sys
from pathlib import Path
from scichain_wf.cli import run
from scichain_wf.client import service
running = service.attend(Path(sys.argv[1]), 2)
print(running.pids["storage"], running.pids["slot-1"], flush=True)
sys.stdin.read()
running.stop()
"""


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    return tmp_path / "chain"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service.start(tmp_path_factory.mktemp("served") / "chain") as running:
        yield running


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def engine(chain: Path) -> subprocess.Popen[str]:
    """Another process with a run; the service is there when this returns."""
    process = subprocess.Popen(
        [sys.executable, "-c", ENGINE, chain],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def joined(chain: Path) -> Service:
    found = service.join(chain)
    assert found is not None
    return found


def assert_nothing_left(chain: Path) -> None:
    base = outbox_directory(read_trust_root(chain), 1).parent
    wait_until(lambda: not base.exists(), "the end of the service")


def test_five_runs_begun_at_once_share_one_service_and_each_counts_its_own(chain: Path, tmp_path: Path) -> None:
    begun = []
    for number in range(1, 6):
        step = f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; seq {number} > {tmp_path}/{number}"
        inner = f"{sys.executable} -m scichain_wf run -- true;" * (number % 2)
        command = [sys.executable, "-m", "scichain_wf", "run", "--chain", str(chain), "-o", str(number)]
        begun.append(
            subprocess.Popen(
                [*command, "--", "sh", "-c", inner + step],
                stderr=subprocess.PIPE,
                text=True,
                env=environment(),
                cwd=tmp_path,
            )
        )
    wait_until(lambda: len(list((chain / "writers").glob("0*"))) > 0, "the first run")
    (tmp_path / "go").touch()
    said = [process.communicate(timeout=60)[1] for process in begun]
    assert [process.returncode for process in begun] == [0] * 5, said
    assert all("check with" in lines for lines in said), "".join(said)
    assert all("check with" in lines for lines in said), "".join(said)
    for number, lines in enumerate(said, 1):  # each task has an intent, and each run two ends
        [counts] = re.findall(r"(\d+) tasks?, (\d+) transactions", lines)
        assert counts == (("2", "6") if number % 2 else ("1", "4")), lines
    listed = subprocess.run(
        [sys.executable, "-m", "scichain_wf", "runs", "list", "--json", "--chain", chain],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    assert [run["status"] for run in json.loads(listed.stdout)["runs"]] == ["ok"] * 5
    assert_nothing_left(chain)
    assert_verifies(chain)


def test_service_outlives_the_run_that_started_it_and_ends_with_the_last(chain: Path) -> None:
    """Spec: LOSS-1."""
    first = service.start(chain, 2)
    second, third = joined(chain), joined(chain)
    assert second.pids == first.pids
    mine = [Records(first.chain) for _ in range(3)]
    made = [records.tasks(10 + number, f"r{number}-") for number, records in enumerate(mine)]
    for running, batch in zip((first, second, third), made, strict=True):
        emit(running, batch)
    assert first.flush(mine[0].run).tasks == 10
    first.stop()
    assert third.flush(mine[2].run).tasks == 12
    third.stop()
    assert (first.stays, third.stays) == (True, True)
    assert all(is_alive(pid) for pid in first.pids.values())
    assert second.flush(mine[1].run).tasks == 11
    second.stop()
    assert not second.stays
    assert_gone(second)
    assert_committed_once(chain, [record for batch in made for record in batch])
    assert len(list((chain / "writers").glob("0*"))) == 1


def test_killed_first_run_leaves_the_service_to_the_others(chain: Path) -> None:
    """Spec: LOSS-1."""
    first = engine(chain)
    second = joined(chain)
    records = Records(second.chain)
    before, after = records.tasks(5, "before"), records.tasks(5, "after")
    emit(second, before)
    first.kill()
    first.communicate()
    emit(second, after)
    assert second.flush(records.run).tasks == 10
    assert is_alive(second.pids["storage"])
    second.stop()
    assert_gone(second)
    assert_committed_once(chain, before + after)


def test_killed_run_that_joined_is_not_waited_for(chain: Path) -> None:
    with service.start(chain) as first:
        second = engine(chain)
        second.kill()
        second.communicate()
    assert_gone(first)
    assert_verifies(chain)


@pytest.mark.parametrize("everything", [False, True])
def test_run_that_joined_commits_although_what_it_joined_is_killed(
    chain: Path, tmp_path: Path, *, everything: bool
) -> None:
    """Spec: LOSS-1."""
    first = engine(chain)
    session = RunSession.start(RunPlan(Engine("test", "1"), tmp_path, chain), may_spool=False)
    with joined(chain) as other:
        pids, supervisor = other.pids, supervisor_of(other)
    session.recorder.emit(Kind.NOTE, {"text": "before"})
    for pid in [first.pid, supervisor, *pids.values()] if everything else [pids["storage"]]:
        os.kill(pid, signal.SIGKILL)
    session.recorder.emit(Kind.NOTE, {"text": "after"})
    lines = session.finish("ok", None)
    assert session.complete, lines
    assert "4 transactions" in lines[-1]
    first.communicate()
    assert_nothing_left(chain)
    assert_verifies(chain)


def test_restarted_storage_node_is_joined_again(chain: Path) -> None:
    with service.start(chain) as first:
        kill(first, "storage")
        records = Records(first.chain)
        emit(first, records.tasks(2))
        assert first.flush(records.run).tasks == 2
        second = joined(chain)
        assert second.pids["storage"] != 0
        assert second.flush(records.run).tasks == 2
        second.stop()
        assert second.stays


def test_run_that_says_what_cannot_be_understood_is_sent_away_alone(chain: Path) -> None:
    with service.start(chain) as first:
        path = first.outboxes[0].parent / "service"
        for line in (b"x\n", b"[]\n", b'{"flush": 3}\n', b'{"flush": {"run": "zz"}}\n', b"9" * 2_000_000):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
                visitor.connect(os.fspath(path))
                assert visitor.recv(65_536).startswith(b'{"ready"')
                with suppress(ConnectionError):
                    visitor.sendall(line)
                answer = b""
                while b"left" not in answer and (chunk := visitor.recv(65_536)):
                    answer += chunk
                assert b"left" in answer
        records = Records(first.chain)
        emit(first, records.tasks(2))
        assert first.flush(records.run).tasks == 2
    assert_gone(first)


def test_end_of_a_run_whose_service_is_frozen_is_not_waited_for(chain: Path, tmp_path: Path) -> None:
    """Spec: HOOK-1."""
    plan = RunPlan(Engine("test", "1"), tmp_path, chain, flush_timeout_s=1.0)
    session = RunSession.start(plan, may_spool=False)
    with service.attend(chain) as other:  # when it can be joined: its start does not wait for its agents
        pids = other.pids
    os.kill(pids["storage"], signal.SIGSTOP)
    try:
        lines = session.finish("ok", None, alone=False)
    finally:
        os.kill(pids["storage"], signal.SIGCONT)
    assert len(lines) == 1
    assert "does not answer. Nothing is lost" in lines[0]
    assert_nothing_left(chain)
    assert_verifies(chain)


def test_a_service_that_does_not_answer_is_waited_for_until_the_deadline_only(
    chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec: HOOK-1."""
    with service.start(chain) as running:
        os.kill(running.pids["storage"], signal.SIGSTOP)
        for bound in ("SERVICE_GRACE_S", "ATTEND_TIMEOUT_S"):
            monkeypatch.setattr(limits, bound, 1e6)
        try:
            with pytest.raises(PeerError, match="did not answer"):
                service.attend(chain, deadline=time.monotonic() + 0.5)
            with pytest.raises(PeerError, match="no time was left"):
                service.attend(chain, deadline=time.monotonic())
        finally:
            os.kill(running.pids["storage"], signal.SIGCONT)
            monkeypatch.undo()
        assert not running.is_lost


def test_end_of_a_service_does_not_wait_for_a_host_that_is_gone(chain: Path) -> None:
    """Spec: LOSS-1."""
    first = service.start(chain, 1, others=service.Others(1))
    records = Records(first.chain)
    node = subprocess.Popen(
        [sys.executable, "-m", "scichain_wf", "node", "--chain", chain, "--slot", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    )
    assert node.stdout is not None
    assert any("joined" in line for line in iter(node.stdout.readline, ""))
    [agent] = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
    for pid in (node.pid, int(agent)):
        os.kill(pid, signal.SIGKILL)
    node.communicate()
    made = records.tasks(3)
    emit(first, made)
    with pytest.raises(PeerError, match=r"not everything was committed within .*: slot 2 on .* cannot be reached"):
        first.flush(records.run, timeout_s=2)
    with pytest.raises(PeerError, match=r"ended with code 3: slot 2 on .* cannot be reached; what its host holds"):
        first.stop()
    assert_committed_once(chain, made)


def test_run_that_begins_while_another_ends_waits_for_that_and_starts_its_own(chain: Path) -> None:
    """Neither an error nor the spool, wherever in the other's end it comes."""
    for _ in range(3):
        with engine(chain) as first:
            assert first.stdin is not None
            first.stdin.close()
            second = service.attend(chain)
            records = Records(second.chain)
            emit(second, records.tasks(1))
            assert second.flush(records.run).tasks == 1
            second.stop()
        assert first.returncode == 0
    assert_verifies(chain)


@pytest.mark.parametrize(
    "line",
    [
        b"what",
        b"[]",
        b'{"await": 5}',
        b'{"await": {"key": "", "id": "", "timeout_ms": 1}}',
        b'{"await": {"key": "00", "id": "00", "timeout_ms": -1}}',
        b'{"flush": [1]}',
        b'{"flush": {"run": "%b", "number": 1, "timeout_ms": 1}}' % (b"00" * 255),
    ],
)
def test_a_process_that_asks_nonsense_is_not_listened_to_and_harms_nobody(served: Service, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(os.fspath(served.outboxes[0].parent / "service"))
        visitor.sendall(line + b"\n")
        said = b""
        while b"left" not in said:
            said = visitor.recv(1 << 16)
            assert said, "the service has ended"
    records = Records(served.chain)
    emit(served, records.tasks(1))
    assert served.flush(records.run).tasks == 1


def test_a_run_on_a_copy_does_not_record_into_the_original(
    served: Service, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    original = served.spool.parent
    (tmp_path / "link").symlink_to(original)
    with joined(tmp_path / "link"):
        pass
    copy = tmp_path / "copy"
    shutil.copytree(original, copy)
    with pytest.raises(UsageError, match=f"{copy} and {original} are copies of one chain"):
        service.join(copy)
    before, files = committed(original), sorted(copy.rglob("*"))
    assert run(["run", "--chain", str(copy), "--", "true"]) == 0
    assert "this run is not recorded" in capfd.readouterr().err
    assert run(["run", "--strict", "--chain", str(copy), "--", "true"]) == 2
    assert (committed(original), sorted(copy.rglob("*"))) == (before, files)
    served.poll()
    assert not served.is_lost
