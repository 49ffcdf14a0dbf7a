"""A start that does not wait for the agents: hooks can hand over records, refusals are told, nothing gets lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from scichain_wf.client.outbox import outbox_directory
from scichain_wf.client.service import start
from scichain_wf.errors import ConfigError, PeerError
from scichain_wf.ledger.layout import ChainLayout
from tests.integration.service_kit import Records, assert_committed_once, assert_gone, emit, wait_until


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    return tmp_path / "chain"


def test_records_are_taken_before_the_agents_are_there_and_a_flush_waits_for_them(chain: Path) -> None:
    """Spec: LOSS-1."""
    with start(chain, 2, wait=False) as service:
        assert service.pids == {}
        records = Records(service.chain)
        emitted = records.tasks(6)
        emit(service, emitted)
        summary = service.flush(records.run)
        assert summary.transactions == {"quorum": 6, "poet": 0, "spool": 0}
        assert service.pids.keys() == {"storage", "slot-1", "slot-2"}
    assert_gone(service)
    assert_committed_once(chain, emitted)


def test_a_service_that_is_stopped_at_once_commits_what_it_was_given(chain: Path) -> None:
    """Spec: LOSS-1."""
    service = start(chain, wait=False)
    emitted = Records(service.chain).tasks(3)
    emit(service, emitted)
    service.stop()
    assert not service.outboxes[0].parent.exists()
    assert_committed_once(chain, emitted)


def children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_a_storage_process_killed_before_its_agents_joined_loses_nothing(chain: Path) -> None:
    """Spec: LOSS-1."""
    others = set(children(os.getpid()))  # of earlier tests; numbers begin anew, so the newest need not have the highest
    with start(chain, wait=False) as service:
        [supervisor] = set(children(os.getpid())) - others
        [storage] = children(supervisor)
        os.kill(storage, signal.SIGKILL)
        records = Records(service.chain)
        emitted = records.tasks(3)
        emit(service, emitted)
        assert service.flush(records.run).tasks == 3
        assert service.pids["storage"] != storage
    assert_committed_once(chain, emitted)


def test_a_squatted_outbox_is_told_by_the_start_and_the_chain_is_as_before(chain: Path) -> None:
    with start(chain) as service:
        pass
    wait_until(lambda: not service.outboxes[0].parent.exists(), "the end of the outboxes")
    before = ChainLayout(chain).checkpoint.read_bytes()
    squatted = outbox_directory(service.chain, 1)
    squatted.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    squatted.parent.chmod(0o755)
    try:
        with pytest.raises(PeerError, match="open to other users"):
            start(chain, wait=False)
        assert not squatted.exists() or not any(squatted.iterdir())
    finally:
        if squatted.exists():
            squatted.rmdir()
        squatted.parent.rmdir()
    assert ChainLayout(chain).checkpoint.read_bytes() == before


def test_a_key_that_others_may_read_is_told_by_the_start_and_no_outbox_is_made(chain: Path) -> None:
    with start(chain) as service:
        pass
    ChainLayout(chain).storage_key.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        start(chain, wait=False)
    assert not service.outboxes[0].exists()
