"""The outbox: nothing lost, nothing invented, nothing written where another user could have a hand in it."""

from __future__ import annotations

import os
import socket
import struct
import threading
import zlib
from pathlib import Path

import pytest

from scichain_wf import limits
from scichain_wf.client import outbox
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


def dead_pid() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def test_directory_is_named_by_user_chain_and_slot() -> None:
    assert outbox_directory(CHAIN, 3) == Path(f"/dev/shm/scichain-{os.geteuid()}/0001020304050607/slot-3")


def test_reader_gets_what_was_appended_in_order_and_only_once(directory: Path) -> None:
    writer, reader = OutboxWriter(directory), OutboxReader(directory)
    sent = [b"a", b"b" * 100_000, b"c" * limits.TRANSACTION_BYTES_MAX]
    for data in sent:
        writer.append(data)
    found = reader.read()
    assert [item.data for item in found] == sent
    assert found[-1].end_offset == found[-1].path.stat().st_size
    assert payloads(reader) == []
    writer.append(b"d")
    assert payloads(reader) == [b"d"]
    assert reader.torn_bytes == 0


def test_one_append_is_one_file_and_mode_0600(directory: Path) -> None:
    writer = OutboxWriter(directory)
    writer.append(b"x")
    writer.append(b"y")
    [file] = directory.glob("*.outbox")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_bytes() == frame(b"x") + frame(b"y")


def test_files_of_several_processes_are_all_read(directory: Path) -> None:
    for name in range(5):
        raw_file(directory, frame(b"%d" % name), f"{10 + name}-aaaaaaaa.outbox")
    raw_file(directory, b"not an outbox", "notes.txt")
    assert sorted(payloads(OutboxReader(directory))) == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("size", [0, limits.TRANSACTION_BYTES_MAX + 1])
def test_append_refuses_sizes_no_transaction_has(directory: Path, size: int) -> None:
    with pytest.raises(SubmissionError, match="1 to"):
        OutboxWriter(directory).append(bytes(size))
    assert list(directory.iterdir()) == []


def test_partial_frame_at_the_end_waits_for_its_rest(directory: Path) -> None:
    whole = frame(b"payload")
    reader = OutboxReader(directory)
    path = raw_file(directory, b"")
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert payloads(reader) == []
    path.write_bytes(whole)
    assert payloads(reader) == [b"payload"]
    assert reader.torn_bytes == 0


@pytest.mark.parametrize("cut", range(1, len(frame(b"torn payload"))))
def test_reader_gets_over_a_torn_frame_cut_anywhere(directory: Path, cut: int) -> None:
    raw_file(directory, frame(b"before") + frame(b"torn payload")[:cut] + frame(b"after") + frame(b"later"))
    reader = OutboxReader(directory)
    assert payloads(reader) == [b"before", b"after", b"later"]
    assert reader.torn_bytes == cut


def test_torn_frame_seen_before_its_successor_does_not_hide_it(directory: Path) -> None:
    path = raw_file(directory, frame(b"torn payload")[:9])
    reader = OutboxReader(directory)
    assert payloads(reader) == []
    path.write_bytes(path.read_bytes() + frame(b"after"))
    assert payloads(reader) == [b"after"]


def test_flipped_bytes_never_yield_a_payload_that_was_not_sent(directory: Path) -> None:
    good = frame(b"one") + frame(b"two") + frame(b"three")
    for place in range(len(good)):
        raw_file(directory, good[:place] + bytes([good[place] ^ 0x41]) + good[place + 1 :])
        reader = OutboxReader(directory)
        assert set(payloads(reader)) < {b"one", b"two", b"three"}


def test_garbage_is_skipped_in_bounded_steps(directory: Path) -> None:
    raw_file(directory, os.urandom(9 << 20).replace(b"SCO1", b"SCO2") + frame(b"after"))
    reader = OutboxReader(directory)
    found: list[bytes] = []
    for _ in range(4):
        found += payloads(reader)
    assert found == [b"after"]


def test_one_call_is_bounded_and_later_calls_get_the_rest(directory: Path) -> None:
    big = bytes(limits.TRANSACTION_BYTES_MAX)
    raw_file(directory, frame(big) * 30)
    reader = OutboxReader(directory)
    sizes = []
    while found := reader.read():
        sizes.append(len(found))
    assert sum(sizes) == 30
    assert max(sizes) * len(big) < 2 * limits.OUTBOX_READ_BYTES_MAX


def test_a_busy_file_does_not_starve_the_others(directory: Path) -> None:
    big = frame(bytes(limits.TRANSACTION_BYTES_MAX)) * 30
    raw_file(directory, big, "1-aaaaaaaa.outbox")
    raw_file(directory, frame(b"small"), "2-aaaaaaaa.outbox")
    reader = OutboxReader(directory)
    assert b"small" in payloads(reader) + payloads(reader)


def test_child_of_a_fork_writes_a_file_of_its_own(directory: Path) -> None:
    writer = OutboxWriter(directory)
    writer.append(b"parent")
    pid = os.fork()
    if pid == 0:
        writer.append(b"child")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    writer.append(b"parent again")
    assert len(list(directory.glob("*.outbox"))) == 2
    assert sorted(payloads(OutboxReader(directory))) == [b"child", b"parent", b"parent again"]


def test_threads_share_a_writer_without_a_lock(directory: Path) -> None:
    writer = OutboxWriter(directory)

    def emit(thread: int) -> None:
        for number in range(200):
            writer.append(b"%d/%d" % (thread, number) * 50)

    threads = [threading.Thread(target=emit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = payloads(OutboxReader(directory))
    assert sorted(found) == sorted(b"%d/%d" % (t, n) * 50 for t in range(8) for n in range(200))


def test_bell_rings_once_per_append_and_never_blocks(directory: Path) -> None:
    bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    bell.bind(str(directory / outbox.BELL))
    writer = OutboxWriter(directory)
    for _ in range(2000):  # far more than the socket's queue holds
        writer.append(b"x")
    assert bell.recv(10) == b"!"
    bell.close()
    assert len(payloads(OutboxReader(directory))) == 2000


def test_big_file_is_ended_and_a_new_one_begun_while_an_agent_listens(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.bind(str(directory / outbox.BELL))
        writer = OutboxWriter(directory)
        for number in range(20):
            writer.append(bytes([number]) * limits.TRANSACTION_BYTES_MAX)
    files = sorted(directory.glob("*.outbox"), key=lambda file: file.stat().st_size)
    assert len(files) == 2
    reader = OutboxReader(directory)
    found: list[bytes] = []
    while data := payloads(reader):
        found += [item[:1] for item in data]
    assert sorted(found) == [bytes([number]) for number in range(20)]
    assert reader.remove_drained(files[1].name)
    assert not reader.remove_drained(files[0].name)  # this process still writes it
    assert list(directory.glob("*.outbox")) == [files[0]]


def test_file_of_a_dead_writer_is_removed_once_read(directory: Path) -> None:
    name = f"{dead_pid()}-aaaaaaaa.outbox"
    raw_file(directory, frame(b"x") + frame(b"torn")[:7], name)
    reader = OutboxReader(directory)
    assert not reader.remove_drained(name)  # not read yet
    assert payloads(reader) == [b"x"]
    assert reader.remove_drained(name)
    assert not (directory / name).exists()


def test_file_of_a_living_or_unknown_writer_stays(directory: Path) -> None:
    for name in (f"{os.getpid()}-aaaaaaaa.outbox", "1-aaaaaaaa.outbox", "odd-name.outbox"):
        raw_file(directory, frame(b"x"), name)
        reader = OutboxReader(directory)
        reader.read()
        assert not reader.remove_drained(name)


def test_file_that_was_replaced_is_read_from_its_start(directory: Path) -> None:
    path = raw_file(directory, frame(b"old"))
    reader = OutboxReader(directory)
    assert payloads(reader) == [b"old"]
    other = raw_file(directory, frame(b"new"), "other")
    other.rename(path)
    assert payloads(reader) == [b"new"]
    path.unlink()
    assert payloads(reader) == []


def test_descriptors_are_closed(directory: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        writer = OutboxWriter(directory)
        writer.append(b"%d" % number)
        assert OutboxReader(directory).read()
        writer.close()
    assert len(os.listdir("/proc/self/fd")) == before
