"""What a run and its service say to each other, whatever state the engine's process is in."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from scichain_wf import limits
from scichain_wf.client.lines import Directory, Lines, SocketLines

MANY = 1_100
"""More than `select` can watch."""


@pytest.fixture
def many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 2 * MANY), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("many_files")
def test_an_engine_with_more_than_a_thousand_open_files_is_answered() -> None:
    """Spec: HOOK-1."""
    pipe = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, MANY) for end in pipe]
    try:
        lines = Lines(*high)
        lines.say({"a": 1})
        assert lines.answer(time.monotonic() + 5) == {"a": 1}
        with pytest.raises(TimeoutError):
            lines.answer(time.monotonic())
    finally:
        for end in (*pipe, *high):
            os.close(end)


def test_half_a_line_says_nothing_and_the_end_is_told() -> None:
    incoming, outgoing = os.pipe()
    os.write(outgoing, b'{"flu\n7\n[1]\nnull\n{"b": 2}\n{"lost')
    os.close(outgoing)
    lines = Lines(incoming, incoming)
    assert [lines.answer(time.monotonic() + 5) for _ in range(6)] == [{}, {}, {}, {}, {"b": 2}, None]
    os.close(incoming)


def test_a_directory_is_told_from_its_copy_under_whatever_path_it_is_seen(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "link").symlink_to(here)
    shutil.copytree(here, tmp_path / "copy")
    seen = Directory.of(here)
    assert seen.is_same(Directory.of(tmp_path / "link"))
    assert seen.is_same(Directory("/mounted/elsewhere", seen.device, seen.inode))
    assert seen.is_same(Directory(seen.path, seen.device, seen.inode + 1))
    assert not seen.is_same(Directory.of(tmp_path / "copy"))
    assert Directory(*seen.value()) == seen  # type: ignore[arg-type]


def accept_late(listening: socket.socket, count: int) -> list[socket.socket]:
    time.sleep(0.2)
    listening.settimeout(5)  # if nobody comes, the test is over
    return [listening.accept()[0] for _ in range(count)]


def test_who_comes_with_many_others_waits_for_its_turn(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, crowd = short_path / "service", []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.fspath(path))
        listening.listen(1)
        with suppress(BlockingIOError):
            while True:
                one = socket.socket(socket.AF_UNIX)
                crowd.append(one)
                one.setblocking(False)
                one.connect(os.fspath(path))
        monkeypatch.setattr(limits, "SERVICE_GRACE_S", 0.05)
        with pytest.raises(BlockingIOError):  # nobody accepts: it does not wait for ever
            SocketLines(path)
        monkeypatch.setattr(limits, "SERVICE_GRACE_S", 30.0)
        with ThreadPoolExecutor(1) as pool:
            accepted = pool.submit(accept_late, listening, len(crowd))  # all but the last of the crowd, and this one
            SocketLines(path).close()
            for one in (*crowd, *accepted.result()):
                one.close()
