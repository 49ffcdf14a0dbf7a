"""Processes killed and messages forged: nothing acknowledged is lost, nothing counts twice, nobody crashes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from pathlib import Path

import pytest

from scichain_wf.client.service import Service, start
from scichain_wf.client.spool import write_spool
from scichain_wf.errors import PeerError
from scichain_wf.transport import frames, tls
from scichain_wf.transport.runca import RunAuthority
from tests.integration.service_kit import (
    Records,
    assert_committed_once,
    assert_gone,
    emit,
    is_alive,
    kill,
    running,
    supervisor_of,
    wait_until,
)


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    return tmp_path / "chain"


def test_with_one_of_three_agents_gone_the_others_are_a_quorum(chain: Path) -> None:
    with running(chain, 3) as service:
        kill(service, "slot-3", signal.SIGTERM)  # who was told to end is not started again
        records = Records(service.chain)
        emitted = records.tasks(10)
        emit(service, emitted, service.outboxes[:2])
        summary = service.flush(records.run)
        assert summary.transactions == {"quorum": 10, "poet": 0, "spool": 0}
    assert_committed_once(chain, emitted)


def test_with_two_of_three_agents_gone_storage_decides(chain: Path) -> None:
    """Spec: LIVE-1."""
    with running(chain, 3) as service:
        kill(service, "slot-2", signal.SIGTERM)
        kill(service, "slot-3", signal.SIGTERM)
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
        base = service.outboxes[2].parent
        wait_until(lambda: not list(base.glob("drain.*")), "removal of the dead agent's outbox")
    assert_committed_once(chain, before + after)


def test_every_agent_gone_is_told_and_loses_nothing(chain: Path) -> None:
    """Spec: LOSS-1."""
    service = start(chain, 2)
    records = Records(service.chain)
    for name in ("slot-1", "slot-2"):
        kill(service, name, signal.SIGTERM)
    emitted = records.tasks(6)
    for record in emitted:
        write_spool(service.spool, record.encode())
    with pytest.raises(PeerError, match=r"every agent has ended.*Nothing is lost"):
        service.flush(records.run)
    with pytest.raises(PeerError, match="ended with code 3"):
        service.stop()
    with running(chain, 1):
        pass
    assert_committed_once(chain, emitted)


def restarted(service: Service, name: str, pid: int) -> None:
    """Wait until another process has the place of `pid`."""

    def is_another() -> bool:
        service.poll()
        return service.pids[name] != pid

    wait_until(is_another, f"another {name}")


def test_a_killed_agent_is_started_again_and_is_a_voter_again(chain: Path) -> None:
    """Spec: LIVE-2, LOSS-1. Both of two are needed for a quorum; its peer finds it at its new address."""
    with running(chain, 2) as service:
        records = Records(service.chain)
        everything = records.tasks(5, prefix="before")
        emit(service, everything)
        service.flush(records.run)
        for name in ("slot-1", "slot-2"):
            pid = service.pids[name]
            kill(service, name)
            restarted(service, name, pid)

            def is_quorum(name: str = name) -> bool:
                """At first its peers may not have heard of it yet; then storage decides."""
                more = records.tasks(3, prefix=f"{name}-{len(everything)}-")
                emit(service, more)
                everything.extend(more)
                before = service.flush(records.run).transactions["quorum"]
                last = records.tasks(1, prefix=f"{name}-{len(everything)}-")
                emit(service, last)
                everything.extend(last)
                return service.flush(records.run).transactions["quorum"] == before + 1

            wait_until(is_quorum, f"quorum with {name}")
    assert_committed_once(chain, everything)


def test_every_agent_killed_is_started_again_and_nothing_is_lost(chain: Path) -> None:
    """Spec: LOSS-1, SAFE-6. With records that no agent has read."""
    with running(chain, 2) as service:
        records = Records(service.chain)
        before = dict(service.pids)
        for name in ("slot-1", "slot-2"):
            os.kill(service.pids[name], signal.SIGSTOP)
        emitted = records.tasks(6)
        emit(service, emitted)
        for name in ("slot-1", "slot-2"):
            kill(service, name)
        assert service.flush(records.run).tasks == 6
        assert not {service.pids["slot-1"], service.pids["slot-2"]} & set(before.values())
    assert_committed_once(chain, emitted)


@pytest.mark.parametrize("emitted_before_kill", [0, 25, 200])
def test_a_killed_storage_node_is_started_again_and_nothing_is_lost_or_repeated(
    chain: Path, emitted_before_kill: int
) -> None:
    """Spec: LOSS-1, SAFE-6, SAFE-8. It goes on in place, as the next writer; a flush is asked for again."""
    with running(chain, 3) as service:
        records = Records(service.chain)
        first = records.tasks(10, prefix="first")
        emit(service, first)
        service.flush(records.run)
        second = records.tasks(emitted_before_kill, prefix="second")
        emit(service, second)
        pid = service.pids["storage"]
        kill(service, "storage")
        assert service.flush(records.run).tasks == 10 + emitted_before_kill
        assert service.pids["storage"] != pid
    assert_committed_once(chain, first + second)
    assert [path.name for path in sorted((chain / "writers").iterdir())] == ["00000001", "00000002"]
    assert [path.name for path in (chain / "ledger").iterdir()] == ["00000001"]


def test_a_storage_node_killed_while_the_service_is_stopped_still_commits_everything(chain: Path) -> None:
    """Spec: LOSS-1. The next one finds that nobody is there any more, drains and ends."""
    with running(chain, 2) as service:
        emitted = Records(service.chain).tasks(30)
        emit(service, emitted)
        kill(service, "storage")
    assert_committed_once(chain, emitted)


def test_a_storage_node_that_keeps_dying_is_given_up_and_loses_nothing(chain: Path) -> None:
    """Spec: LOSS-1."""
    service = start(chain, 1)
    records = Records(service.chain)
    emitted = records.tasks(5)
    os.kill(service.pids["slot-1"], signal.SIGSTOP)
    emit(service, emitted)
    supervisor = supervisor_of(service)
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children")

    def is_given_up() -> bool:
        for pid in children.read_text().split() if is_alive(supervisor) else []:
            os.kill(int(pid), signal.SIGKILL)
        return not is_alive(supervisor)

    os.kill(service.pids["slot-1"], signal.SIGCONT)
    wait_until(is_given_up, "the supervisor's end")
    with pytest.raises(PeerError, match=r"died \d+ times before it got to work.*Nothing is lost"):
        service.flush(records.run)
    with pytest.raises(PeerError, match="ended with code 3"):
        service.stop()
    with running(chain, 1):
        pass
    assert_committed_once(chain, emitted)


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


def _still_works(service: Service) -> None:
    records = Records(service.chain)
    emit(service, records.tasks(2))
    assert service.flush(records.run).tasks == 2
