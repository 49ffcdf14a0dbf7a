"""Processes killed and messages forged: nothing acknowledged is lost, nothing counts twice, nobody crashes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from pathlib import Path

import pytest

from scichain_wf.client.service import start
from scichain_wf.errors import PeerError
from scichain_wf.transport import frames, tls
from scichain_wf.transport.runca import RunAuthority
from tests.integration.service_kit import (
    Records,
    assert_committed_once,
    assert_gone,
    committed,
    emit,
    is_alive,
    kill,
    running,
    wait_until,
)


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    return tmp_path / "chain"


def test_with_one_of_three_agents_killed_the_others_are_a_quorum(chain: Path) -> None:
    with running(chain, 3) as service:
        kill(service, "slot-3")
        records = Records(service.chain)
        emitted = records.tasks(10)
        emit(service, emitted, service.outboxes[:2])
        summary = service.flush(records.run)
        assert summary.transactions == {"quorum": 10, "poet": 0, "spool": 0}
    assert_committed_once(chain, emitted)


def test_with_two_of_three_agents_killed_storage_decides(chain: Path) -> None:
    """Spec: LIVE-1."""
    with running(chain, 3) as service:
        kill(service, "slot-2")
        kill(service, "slot-3")
        records = Records(service.chain)
        emitted = records.tasks(10)
        emit(service, emitted, service.outboxes[:1])
        assert service.flush(records.run).transactions == {"quorum": 0, "poet": 10, "spool": 0}
    assert_committed_once(chain, emitted)


def test_the_outbox_of_a_killed_agent_is_adopted_by_another(chain: Path) -> None:
    """Spec: LOSS-1, SAFE-6. Some of it is committed already, some is not."""
    with running(chain, 3) as service:
        records = Records(service.chain)
        before = records.tasks(15, prefix="before")
        emit(service, before)
        service.flush(records.run)
        stopped = service.pids["slot-3"]
        os.kill(stopped, signal.SIGSTOP)
        after = records.tasks(15, prefix="after")
        emit(service, after)
        kill(service, "slot-3")
        assert service.flush(records.run).tasks == 30
        wait_until(lambda: not service.outboxes[2].exists(), "removal of the dead agent's outbox")
    assert_committed_once(chain, before + after)


def test_every_agent_dead_is_told_and_loses_nothing(chain: Path) -> None:
    """Spec: LOSS-1."""
    service = start(chain, 2)
    records = Records(service.chain)
    for name in ("slot-1", "slot-2"):
        os.kill(service.pids[name], signal.SIGSTOP)
    emitted = records.tasks(6)
    emit(service, emitted)
    for name in ("slot-1", "slot-2"):
        kill(service, name)
    with pytest.raises(PeerError, match=r"every agent has ended.*Nothing is lost"):
        service.flush(records.run)
    with pytest.raises(PeerError, match="ended with code 3"):
        service.stop()
    with running(chain, 1):
        pass
    assert_committed_once(chain, emitted)


@pytest.mark.parametrize("emitted_before_kill", [0, 25, 200])
def test_a_killed_storage_node_loses_nothing_and_repeats_nothing(chain: Path, emitted_before_kill: int) -> None:
    """Spec: LOSS-1, SAFE-6. The agents end, the outboxes wait, the next start takes them in."""
    service = start(chain, 3)
    records = Records(service.chain)
    first = records.tasks(10, prefix="first")
    emit(service, first)
    service.flush(records.run)
    second = records.tasks(emitted_before_kill, prefix="second")
    emit(service, second)
    kill(service, "storage")
    with pytest.raises(PeerError, match="Nothing is lost"):
        service.flush(records.run)
    with pytest.raises(PeerError, match="ended with code -9"):
        service.stop()
    for name, pid in service.pids.items():
        wait_until(lambda pid=pid: not is_alive(pid), f"end of {name}")  # type: ignore[misc]
    known = set(committed(chain))
    assert {record.id for record in first} <= known
    with running(chain, 2) as again:
        later = Records(again.chain)
        third = later.tasks(5, prefix="third")
        emit(again, third)
        assert again.flush(later.run).tasks == 5
    assert_committed_once(chain, first + second + third)
    assert_gone(service)


def test_a_terminated_storage_node_drains_first(chain: Path) -> None:
    service = start(chain, 2)
    emitted = Records(service.chain).tasks(20)
    emit(service, emitted)
    kill(service, "storage", signal.SIGTERM)
    service.stop()
    assert_gone(service)
    assert_committed_once(chain, emitted)


def test_a_terminated_agent_drains_its_outbox_and_the_others_go_on(chain: Path) -> None:
    with running(chain, 3) as service:
        records = Records(service.chain)
        emitted = records.tasks(9)
        emit(service, emitted)
        kill(service, "slot-2", signal.SIGTERM)
        more = records.tasks(4, prefix="more")
        emit(service, more, service.outboxes[2:])
        assert service.flush(records.run).transactions == {"quorum": 13, "poet": 0, "spool": 0}
    assert_committed_once(chain, emitted + more)


def _address(chain: Path) -> tuple[str, int]:
    host, _, port = (chain / "run" / "storage").read_text().split()[0].partition(":")
    return host, int(port)


def test_a_client_with_a_certificate_of_another_run_is_refused(chain: Path) -> None:
    with running(chain) as service:
        stranger = RunAuthority("another").issue("slot-1")
        context = tls.client_context(stranger)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE

        async def knock() -> bytes:
            reader, writer = await asyncio.open_connection(*_address(chain), ssl=context)
            writer.write(frames.encoded(32, b"{}"))
            try:
                return await reader.read()
            except OSError:  # an alert, or a reset, whichever is read first
                return b""
            finally:
                writer.transport.abort()

        assert asyncio.run(asyncio.wait_for(knock(), 10)) == b""
        _still_works(service)


@pytest.mark.parametrize(
    "data",
    [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\x00" * 400, bytes(range(256)) * 64],
    ids=["nothing", "http", "broken hello", "garbage"],
)
def test_garbage_before_tls_is_dropped(chain: Path, data: bytes) -> None:
    with running(chain) as service:
        for _ in range(3):
            with socket.create_connection(_address(chain), timeout=10) as connection:
                connection.sendall(data)
        _still_works(service)


def _still_works(service: object) -> None:
    from scichain_wf.client.service import Service

    assert isinstance(service, Service)
    records = Records(service.chain)
    emit(service, records.tasks(2))
    assert service.flush(records.run).tasks == 2
