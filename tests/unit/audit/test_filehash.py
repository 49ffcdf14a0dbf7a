"""Digests of files and directories: the format is fixed, and nothing blocks or is followed where it must not be."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from scichain_wf import filehash, limits
from scichain_wf.errors import UsageError
from scichain_wf.filehash import FileKind, hash_directory, hash_file, hash_path, kind_of


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_a_files_digest_is_sha256_of_its_content(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "f").write_bytes(content)
    found = hash_file(tmp_path / "f")
    assert (found.digest, found.size_bytes, found.stable, found.files) == (
        hashlib.sha256(content).digest(),
        size,
        True,
        None,
    )
    assert found.mtime_us == (tmp_path / "f").stat().st_mtime_ns // 1_000
    assert hash_path(os.fsencode(tmp_path / "f")) == found


def entry(kind: bytes, name: bytes, content: bytes = bytes(32)) -> bytes:
    return kind + struct.pack(">I", len(name)) + name + content


def test_a_directorys_digest_is_what_the_description_says(tmp_path: Path) -> None:
    top = tmp_path / "d"
    (top / "a").mkdir(parents=True)
    (top / "a" / "z").write_bytes(b"z")
    (top / "a-b").write_bytes(b"ab")
    (top / "empty").mkdir()
    (top / "link").symlink_to("a/z")
    os.mkfifo(top / "pipe")
    (top / ".snakemake_timestamp").touch()
    (top / os.fsdecode(b"\xff")).write_bytes(b"")
    expected = b"scichain-wf/1/directory\0" + b"".join(
        [
            entry(b"d", b"a"),
            entry(b"f", b"a/z", hashlib.sha256(b"z").digest()),
            entry(b"f", b"a-b", hashlib.sha256(b"ab").digest()),
            entry(b"d", b"empty"),
            entry(b"l", b"link", hashlib.sha256(b"a/z").digest()),
            entry(b"o", b"pipe"),
            entry(b"f", b"\xff", hashlib.sha256(b"").digest()),
        ]
    )
    found = hash_directory(top)
    assert (found.digest, found.size_bytes, found.files, found.stable) == (
        hashlib.sha256(expected).digest(),
        3,
        3,
        True,
    )
    assert hash_path(top) == found


def test_only_an_empty_time_stamp_directly_in_the_directory_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    before = hash_directory(tmp_path).digest
    (tmp_path / ".snakemake_timestamp").touch()
    assert hash_directory(tmp_path).digest == before
    (tmp_path / ".snakemake_timestamp").write_text("hidden")
    assert hash_directory(tmp_path).digest != before
    (tmp_path / ".snakemake_timestamp").unlink()
    (tmp_path / "sub" / ".snakemake_timestamp").touch()
    assert hash_directory(tmp_path).digest != before


def test_a_loop_of_links_inside_a_directory_is_recorded_not_followed(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)
    assert hash_directory(tmp_path).files == 0


def test_a_tree_deeper_than_pythons_stack(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path)
    for _ in range(1_200):
        path += b"/d"
        os.mkdir(path)
    try:
        assert hash_directory(tmp_path).files == 0
    finally:  # what removes temporary directories after tests is recursive
        for _ in range(1_200):
            os.rmdir(path)
            path = path[:-2]


def test_pipes_sockets_devices_and_directories_are_refused_without_blocking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        monkeypatch.chdir(tmp_path)  # a socket's path may have 107 bytes only
        bound.bind("socket")
        for path in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero"), tmp_path):
            with pytest.raises(UsageError, match="not a regular file"):
                hash_file(path)
    with pytest.raises(UsageError, match="not a directory"):
        hash_directory(tmp_path / "pipe")


def test_links_are_followed_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "link").symlink_to("f")
    assert hash_file(tmp_path / "link").digest == hashlib.sha256(b"x").digest()
    with pytest.raises(UsageError, match="symlink"):
        hash_file(tmp_path / "link", follow_symlinks=False)


def test_what_is_at_a_path(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    assert kind_of(tmp_path / "f") is FileKind.FILE
    assert kind_of(tmp_path) is FileKind.DIRECTORY
    assert kind_of(tmp_path / "pipe") is FileKind.PIPE
    assert kind_of("/dev/null") is FileKind.OTHER
    assert kind_of(tmp_path / "dangling") is FileKind.ABSENT
    assert kind_of(tmp_path / "dangling", follow_symlinks=False) is FileKind.SYMLINK
    assert kind_of(tmp_path / "f" / "below") is FileKind.ABSENT
    with pytest.raises(OSError, match="loop"):
        kind_of(tmp_path / "loop")
    with pytest.raises(FileNotFoundError):
        hash_file(tmp_path / "nothing")


def test_a_file_that_changes_while_it_is_read_is_not_stable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_text("before")
    read = filehash._hash_descriptor

    def slow(descriptor: int, expected_bytes: int) -> tuple[bytes, int]:
        found = read(descriptor, expected_bytes)
        path.write_text("after, and longer")
        return found

    monkeypatch.setattr(filehash, "_hash_descriptor", slow)
    assert not hash_file(path).stable
    assert not hash_directory(tmp_path).stable


def test_directories_beyond_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIRECTORY_ENTRIES_MAX", 3)
    for name in "abc":
        (tmp_path / name).mkdir()
    assert hash_directory(tmp_path).files == 0
    (tmp_path / "a" / "d").touch()
    with pytest.raises(UsageError, match="more than 3 entries"):
        hash_directory(tmp_path)
    (tmp_path / "e").touch()
    with pytest.raises(UsageError, match="more than 3 entries"):
        hash_directory(tmp_path)


def test_calls_about_big_files_run_side_by_side_and_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filehash, "_cores", lambda: 2)
    both = threading.Barrier(2, timeout=60)
    big = limits.HASH_APART_BYTES_MIN

    def meet(value: int) -> int:
        both.wait()  # returns only if another thread is in here at the same time
        return value

    calls = [(big, partial(meet, 1)), (big, partial(meet, 2)), (0, partial(abs, 3))]
    assert list(filehash.in_order(calls)) == [1, 2, 3]


@pytest.mark.parametrize("size", [0, limits.HASH_APART_BYTES_MIN])
def test_an_exception_is_raised_in_its_place(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filehash, "_cores", lambda: 2)

    def absent() -> int:
        raise FileNotFoundError

    results = filehash.in_order([(0, lambda: 1), (size, absent), (size, lambda: 2)])
    assert next(results) == 1
    with pytest.raises(FileNotFoundError):
        next(results)


def test_without_another_core_or_thread_calls_run_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    big = limits.HASH_APART_BYTES_MIN
    monkeypatch.setattr(filehash, "_cores", lambda: 1)
    assert list(filehash.in_order([(big, threading.get_ident)])) == [threading.get_ident()]
    monkeypatch.setattr(filehash, "_cores", lambda: 2)
    assert list(filehash.in_order([(big, threading.get_ident)])) != [threading.get_ident()]

    def exhausted(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", exhausted)
    assert list(filehash.in_order([(big, threading.get_ident)] * 9)) == [threading.get_ident()] * 9


def test_no_more_results_wait_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filehash, "_cores", lambda: 2)
    monkeypatch.setattr(limits, "HASH_WAITING_MAX", 3)
    gate, made = threading.Event(), []

    def calls() -> Iterator[tuple[int, Callable[[], int]]]:
        yield limits.HASH_APART_BYTES_MIN, lambda: 0 if gate.wait(60) else 1
        for number in range(1, 20):
            made.append(number)
            if number == 3:
                gate.set()
            yield 0, lambda number=number: number  # type: ignore[misc]

    assert next(results := filehash.in_order(calls())) == 0
    assert len(made) == 3
    assert list(results) == list(range(1, 20))


def test_big_and_small_files_of_a_directory_give_one_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        (tmp_path / str(number)).write_bytes(os.urandom(number * 100))
    alone = hash_directory(tmp_path)
    monkeypatch.setattr(limits, "HASH_APART_BYTES_MIN", 2_000)
    monkeypatch.setattr(filehash, "_cores", lambda: 4)
    assert hash_directory(tmp_path) == alone
