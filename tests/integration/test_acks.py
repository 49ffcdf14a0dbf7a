"""`ack = "committed"`: who emits waits until the record is on the chain; if it cannot be, it is told so and goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import scichain_wf
from scichain_wf import limits
from scichain_wf.client import service
from scichain_wf.client.acks import wait_committed
from scichain_wf.errors import PeerError, SubmissionError
from scichain_wf.hooks.recorder import Delivery
from scichain_wf.hooks.records import Engine
from scichain_wf.hooks.session import RunPlan, RunSession
from scichain_wf.model.bodies import Kind
from tests.integration.service_kit import assert_verifies, committed


@pytest.fixture
def session(tmp_path: Path) -> RunSession:
    plan = RunPlan(Engine("test", "1"), tmp_path, tmp_path / "chain", ack="committed")
    return RunSession.start(plan, may_spool=False)


def storage_of(session: RunSession) -> int:
    joined = service.join(session.plan.chain_dir)
    assert joined is not None
    with joined:
        return joined.pids["storage"]


def test_record_that_was_emitted_is_on_the_chain(session: RunSession) -> None:
    before = len(committed(session.plan.chain_dir))
    for number in range(3):
        assert session.recorder.emit(Kind.NOTE, {"text": str(number)}) is Delivery.COMMITTED
        assert len(committed(session.plan.chain_dir)) == before + number + 1
    [line] = session.finish("ok", None)
    assert "5 transactions" in line
    assert session.complete
    assert_verifies(session.plan.chain_dir)


def test_record_that_is_not_committed_in_time_is_acknowledged_locally_and_told(
    session: RunSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec: HOOK-1, LOSS-1."""
    monkeypatch.setattr(limits, "ACK_TIMEOUT_S", 0.3)
    monkeypatch.setattr(limits, "ANSWER_GRACE_S", 0.1)
    storage = storage_of(session)
    os.kill(storage, signal.SIGSTOP)
    try:
        delivery = session.recorder.emit(Kind.NOTE, {"text": "x"})
    finally:
        os.kill(storage, signal.SIGCONT)
    assert delivery is Delivery.LOCAL
    assert not delivery.is_enough
    monkeypatch.undo()
    late, line = session.finish("ok", None)
    assert late == "scichain: 1 record acknowledged locally only, by outbox or spool: it was not committed within 0 s"
    assert "3 transactions" in line
    assert session.complete
    assert_verifies(session.plan.chain_dir)


def test_strict_task_is_not_begun_when_its_intent_is_not_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCICHAIN_ACK", "committed")
    with (
        pytest.raises(SubmissionError, match="step: not begun, since it cannot be recorded: it was not committed"),
        scichain_wf.run(strict=True, chain=tmp_path / "chain") as run,
    ):
        assert run._session is not None
        storage = storage_of(run._session)
        monkeypatch.setattr(limits, "ACK_TIMEOUT_S", 0.3)
        monkeypatch.setattr(limits, "ANSWER_GRACE_S", 0.1)
        os.kill(storage, signal.SIGSTOP)
        try:
            with scichain_wf.task("step"):
                Path("begun").touch()
        finally:
            os.kill(storage, signal.SIGCONT)
            monkeypatch.undo()
    assert not (tmp_path / "begun").exists()
    assert_verifies(tmp_path / "chain")


def test_where_no_storage_node_runs_nothing_is_waited_for() -> None:
    with pytest.raises(PeerError, match="no storage node runs on this host"):
        wait_committed(bytes(32), bytes(16), bytes(32), 60)


def test_command_obeys_the_setting(tmp_path: Path) -> None:
    (tmp_path / "scichain.toml").write_text('ack = "committed"\n')
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    said = subprocess.run(
        [sys.executable, "-m", "scichain_wf", "run", "--", "true"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"1 task, 4 transactions", said.stderr), said.stderr
    assert "locally only" not in said.stderr
