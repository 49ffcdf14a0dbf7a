"""The outbox where somebody or something is against it: other users, full memory, agents that come and go."""

from __future__ import annotations

import os
import socket
import struct
import zlib
from pathlib import Path

import pytest

from scichain_wf import limits
from scichain_wf.client.outbox import OutboxReader, OutboxWriter, create_outbox, outbox_directory
from scichain_wf.errors import SubmissionError

CHAIN = bytes(range(32))


def frame(data: bytes) -> bytes:
    return b"SCO1" + struct.pack(">II", len(data), zlib.crc32(data)) + data


@pytest.fixture
def directory(short_path: Path) -> Path:
    path = outbox_directory(CHAIN, 1, short_path)
    create_outbox(path)
    return path


def payloads(reader: OutboxReader) -> list[bytes]:
    return [found.data for found in reader.read()]


def raw_file(directory: Path, content: bytes, name: str | None = None) -> Path:
    path = directory / (name or f"{os.getpid()}-00000000.outbox")
    path.write_bytes(content)
    return path


def test_every_level_of_a_created_outbox_is_private(directory: Path) -> None:
    for level in (directory, directory.parent, directory.parent.parent):
        assert level.stat().st_mode & 0o777 == 0o700
    create_outbox(directory)  # once more is no error


def test_append_says_so_when_the_agent_replaced_the_directory(directory: Path) -> None:
    writer = OutboxWriter(directory)
    writer.append(b"first")
    directory.rename(directory.parent / "drain.1")
    create_outbox(directory)
    with pytest.raises(SubmissionError, match="drained and replaced"):
        writer.append(b"second")
    writer.append(b"second")
    assert payloads(OutboxReader(directory)) == [b"second"]


def test_an_agent_that_closed_its_bell_and_went_on_elsewhere_is_noticed(directory: Path) -> None:
    """Spec: LOSS-1."""
    writer, aside = OutboxWriter(directory), directory.parent / "drain.1"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.bind(str(directory / "bell"))
        writer.append(b"first")
        directory.rename(aside)
        writer.append(b"second")  # who still hears the bell still reads
        assert bell.recv(2) + bell.recv(2) == b"!!"
    assert payloads(OutboxReader(aside)) == [b"first", b"second"]
    with pytest.raises(SubmissionError, match="No such file"):
        writer.append(b"third")
    create_outbox(directory)
    writer.append(b"third")
    assert payloads(OutboxReader(directory)) == [b"third"]


def test_an_agent_that_comes_later_is_rung(directory: Path) -> None:
    writer = OutboxWriter(directory)
    writer.append(b"first")
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
            bell.bind(str(directory / "bell"))
            writer.append(b"more")
            assert bell.recv(2) == b"!"
        writer.append(b"nobody hears")
        (directory / "bell").unlink()


def test_append_says_so_when_its_file_or_directory_is_gone(directory: Path) -> None:
    writer = OutboxWriter(directory)
    writer.append(b"first")
    next(directory.glob("*.outbox")).unlink()
    with pytest.raises(SubmissionError, match="drained"):
        writer.append(b"second")
    writer.append(b"third")
    next(directory.glob("*.outbox")).unlink()
    directory.rmdir()
    with pytest.raises(SubmissionError, match="drained"):
        writer.append(b"fourth")
    with pytest.raises(SubmissionError, match="No such file"):
        writer.append(b"fifth")
    with pytest.raises(SubmissionError, match="No such file"):
        OutboxReader(directory).read()


def test_symlinked_level_is_refused(directory: Path) -> None:
    real = directory.parent / "elsewhere"
    directory.rename(real)
    directory.symlink_to(real)
    with pytest.raises(SubmissionError, match="symlink"):
        OutboxWriter(directory).append(b"x")
    chain = directory.parent
    directory.unlink()
    real.rename(directory)
    chain.rename(chain.parent / "moved")
    chain.symlink_to(chain.parent / "moved")
    with pytest.raises(SubmissionError, match="symlink"):
        OutboxWriter(directory).append(b"x")


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("mode", [0o750, 0o707, 0o777, 0o1777])
def test_directory_open_to_others_is_refused(directory: Path, level: int, mode: int) -> None:
    [directory, *directory.parents][level].chmod(mode)
    with pytest.raises(SubmissionError, match="open to other users"):
        OutboxWriter(directory).append(b"x")
    with pytest.raises(SubmissionError, match="open to other users"):
        OutboxReader(directory).read()
    with pytest.raises(SubmissionError, match="open to other users"):
        create_outbox(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a directory away takes root")
@pytest.mark.parametrize("level", [0, 1, 2])
def test_directory_of_another_user_is_refused(directory: Path, level: int) -> None:
    os.chown([directory, *directory.parents][level], 12345, 12345)
    with pytest.raises(SubmissionError, match="belongs to user 12345"):
        OutboxWriter(directory).append(b"x")


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    path = outbox_directory(CHAIN, 1, tmp_path)
    create_outbox(path)
    path.rmdir()
    path.write_text("")
    with pytest.raises(SubmissionError, match="not a directory"):
        OutboxWriter(path).append(b"x")
    with pytest.raises(SubmissionError, match="not a directory"):
        create_outbox(path)


def test_create_says_why_it_cannot(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="cannot be made"):
        create_outbox(tmp_path / "missing" / "a" / "b" / "c")


def test_hostile_entries_in_the_directory_are_not_read(directory: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(frame(b"secret"))
    (directory / "1-aaaaaaaa.outbox").symlink_to(secret)
    os.mkfifo(directory / "2-aaaaaaaa.outbox")
    (directory / "3-aaaaaaaa.outbox").mkdir()
    if os.geteuid() == 0:
        foreign = raw_file(directory, frame(b"foreign"), "4-aaaaaaaa.outbox")
        os.chown(foreign, 12345, 12345)
    assert payloads(OutboxReader(directory)) == []


def test_no_room_is_a_submission_error_and_the_reader_gets_over_the_torn_frame(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, real = OutboxWriter(directory), os.write
    writer.append(b"before")

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(SubmissionError, match="No space left"):
        writer.append(b"lost")
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:15]))
    with pytest.raises(SubmissionError, match="only 15 of"):
        writer.append(b"partly written")
    monkeypatch.setattr(os, "write", real)
    writer.append(b"after")
    assert payloads(OutboxReader(directory)) == [b"before", b"after"]
    assert len(list(directory.glob("*.outbox"))) == 1  # a full tmpfs is not filled with files besides


def test_real_full_tmpfs_is_a_submission_error() -> None:
    shm = os.statvfs("/dev/shm") if os.path.isdir("/dev/shm") else None
    if shm is None:
        pytest.skip("no /dev/shm")
    pid = os.fork()
    if pid == 0:  # RLIMIT_FSIZE stands in for a full tmpfs: mounting one takes root
        import resource
        import signal
        import tempfile

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with tempfile.TemporaryDirectory(dir="/dev/shm") as base:
            path = outbox_directory(CHAIN, 1, Path(base))
            create_outbox(path)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
            try:
                OutboxWriter(path).append(bytes(2000))
            except SubmissionError:
                os._exit(42)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42


def test_without_an_agent_the_memory_a_hook_fills_is_bounded(directory: Path) -> None:
    writer = OutboxWriter(directory)
    with pytest.raises(SubmissionError, match="no agent answers"):
        for _ in range(20):
            writer.append(bytes(limits.TRANSACTION_BYTES_MAX))
    used = sum(file.stat().st_size for file in directory.glob("*.outbox"))
    assert used < limits.OUTBOX_UNREAD_BYTES_MAX + 2 * limits.TRANSACTION_BYTES_MAX


def test_no_descriptor_left_is_a_submission_error(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: int) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", exhausted)
    with pytest.raises(SubmissionError, match="Too many open files"):
        OutboxWriter(directory).append(b"x")
    assert list(directory.iterdir()) == []
