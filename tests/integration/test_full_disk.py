"""A chain on a disk that gets full: nothing is lost, whoever asks is told why, and it goes on when there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scichain_wf.client.outbox import OutboxWriter
from scichain_wf.client.service import start
from scichain_wf.errors import LedgerError, PeerError
from scichain_wf.model.transaction import Transaction
from tests.integration.service_kit import Records, assert_committed_once, emit, running, wait_until
from tests.mounts import tmpfs


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with tmpfs(tmp_path / "disk", "size=3m") as mount:
        yield mount


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def fill(disk: Path) -> None:
    """Leave not a byte of room."""
    with (disk / "filling").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))


def big(records: Records, count: int, prefix: str) -> list[Transaction]:
    """Tasks of some 25 kB each."""
    return [records.big_task(f"{prefix}{number}", 60) for number in range(count)]


def test_a_full_disk_pauses_storage_and_more_room_lets_it_go_on(disk: Path) -> None:
    """Spec: LOSS-1, SAFE-6. The same storage process: nobody has to start anything again."""
    chain = disk / "chain"
    log = chain / "run" / "storage.log"
    with running(chain, 2) as service:
        records = Records(service.chain)
        first = records.tasks(5, "first")
        emit(service, first)
        service.flush(records.run)
        second = big(records, 110, "second")
        emit(service, second)
        wait_until(lambda: "waits for room" in log.read_text(), "the full disk")
        with pytest.raises(PeerError, match=r"within 1 s: .*no room left .*free space.*Nothing is lost"):
            service.flush(records.run, timeout_s=1)
        third = records.tasks(5, "third")  # what comes meanwhile waits as well
        emit(service, third)
        before = dict(service.pids)
        resize(disk, "64m")
        assert service.flush(records.run, timeout_s=60).tasks == 120
        assert service.pids == before
        said = log.read_text()
        assert said.count("waits for room") == said.count("there is room on the disk again") == 1
    assert_committed_once(chain, first + second + third)


def test_a_run_that_ends_while_the_disk_is_full_leaves_its_records_to_the_next(disk: Path) -> None:
    """Spec: LOSS-1."""
    chain = disk / "chain"
    log = chain / "run" / "storage.log"
    service = start(chain)
    records = Records(service.chain)
    emitted = big(records, 110, "t")
    emit(service, emitted)
    wait_until(lambda: "waits for room" in log.read_text(), "the full disk")
    OutboxWriter(service.outboxes[0]).append(b"what cannot be recorded, nor set aside")
    wait_until(lambda: "nor set aside" in log.read_text(), "a look at it")
    with pytest.raises(PeerError, match=r"ended with code 3.*wait in"):
        service.stop()
    fill(disk)  # the end may have made some room: what belonged to its process is gone
    with pytest.raises(LedgerError, match=r"no room|No space"):
        start(chain).stop()
    resize(disk, "64m")
    with running(chain):
        pass
    assert_committed_once(chain, emitted)
    assert len(list((chain / "refused" / "new").iterdir())) == 1
