"""What a file or a directory on disk is: one definition for the hooks that record it and the audit that checks it.

A file's digest is SHA-256 of its content, so that anybody can redo it with `sha256sum`. A directory's digest is
SHA-256 over this byte string:

    b"scichain-wf/1/directory" | 0x00 | entries
    entry = kind (1 byte) | u32 big endian length of name | name | 32 bytes

`name` is the path relative to the directory, as bytes, with `/` between its parts. Order: the names of each directory
ascend as bytes, and a directory's own entry comes right before its content (so empty directories count). The 32 bytes
are SHA-256 of the content for `f` (regular file), SHA-256 of the target for `l` (symbolic link, never followed), and
zero for `d` (directory) and `o` (FIFO, socket, device: recorded as present, never opened). Modes, owners and times are
not part of it. An empty `.snakemake_timestamp` directly in the directory is left out: Snakemake writes it after the
job, to keep the time of a `directory()` output.

Hashing runs without the interpreter lock, and big files of a directory are hashed in a few threads (`in_order`).

Nothing here blocks on a FIFO or opens a device: what a path is gets looked at first, and the file is opened without
blocking and looked at again. A digest is `stable` when size, time and inode were the same before and after reading.
Errors of the operating system are raised as they are (`FileNotFoundError`, `PermissionError`): the caller knows
whether an absent file is a state or a fault. Standard library only: this is on the hook's import path.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final, Generic, TypeVar

from scichain_wf import limits
from scichain_wf.crypto.hashing import sha256
from scichain_wf.errors import UsageError

T = TypeVar("T")
Identity = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, modification and change time in nanoseconds: a file that was not written to since."""

_READ_BYTES: Final = 256 << 10  # fits a core's cache
_DIRECTORY_TAG: Final = b"scichain-wf/1/directory\0"
_TIMESTAMP: Final = b".snakemake_timestamp"
_U32 = struct.Struct(">I")
_ZERO: Final = bytes(32)
# Flags that a platform lacks are nothing there: Windows has neither FIFOs in its file system nor O_NOFOLLOW.
_OPEN_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class FileKind(StrEnum):
    """What is at a path."""

    FILE = "file"
    DIRECTORY = "directory"
    PIPE = "pipe"
    SYMLINK = "symlink"
    """Only where links are not followed."""
    OTHER = "other"
    """A socket or a device."""
    ABSENT = "absent"
    """Nothing, or a link to nothing."""


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Digest of a file or directory: 32 raw bytes, the size of all content, and the file's own modification time.

    `files` counts the regular files of a directory and is None for a file. `stable` is False when something changed
    while it was read: the digest is then of no moment in particular. `identity` is that of a file, before it was read.
    """

    digest: bytes
    size_bytes: int
    mtime_us: int
    stable: bool
    files: int | None = None
    identity: Identity | None = None


def kind_of(path: AnyPath, *, follow_symlinks: bool = True) -> FileKind:
    """What is at `path`, without opening it.

    Raises:
        OSError: it cannot be looked at (permission, a loop of links).
    """
    try:
        mode = os.stat(path, follow_symlinks=follow_symlinks).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return FileKind.ABSENT
    return kind_of_mode(mode)


def hash_path(path: AnyPath) -> FileDigest:
    """`hash_directory` of a directory, `hash_file` of everything else; links are followed."""
    return hash_directory(path) if os.path.isdir(path) else hash_file(path)


def read_regular(path: str | bytes | os.PathLike[str], size_bytes_max: int) -> bytes:
    """At most `size_bytes_max` + 1 bytes of a regular file; nothing else is waited for or read without end.

    Raises:
        OSError: it cannot be opened or read, or is a FIFO, device or directory.
    """
    descriptor = os.open(path, _OPEN_FLAGS)
    with open(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        chunks = []
        while size_bytes_max >= 0 and (chunk := file.read(size_bytes_max + 1)):
            chunks.append(chunk)
            size_bytes_max -= len(chunk)
    return b"".join(chunks)


def hash_file(path: AnyPath, *, follow_symlinks: bool = True) -> FileDigest:
    """SHA-256 of a regular file's content.

    Args:
        path: the file.
        follow_symlinks: if False, a symbolic link at the end of `path` is refused.

    Raises:
        UsageError: it is a directory, FIFO, socket or device (or a link, when links are refused).
        OSError: it is absent or cannot be read.
    """
    _require_regular(os.stat(path, follow_symlinks=follow_symlinks), path)
    descriptor = os.open(path, _OPEN_FLAGS | (0 if follow_symlinks else _NOFOLLOW))
    try:
        before = os.fstat(descriptor)
        _require_regular(before, path)  # it may have been replaced since the first look
        digest, size_bytes = _hash_descriptor(descriptor, before.st_size)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    found = identity(before)
    stable = found[:4] == identity(after)[:4] and size_bytes == after.st_size
    return FileDigest(digest, size_bytes, after.st_mtime_ns // 1_000, stable, identity=found)


def hash_directory(path: AnyPath, file_digest: Callable[..., FileDigest] | None = None) -> FileDigest:
    """Digest of everything below a directory; the format is in this module's description.

    Args:
        path: the directory.
        file_digest: takes the place of `hash_file` for the files in it.

    Raises:
        UsageError: not a directory, or more entries than `limits.DIRECTORY_ENTRIES_MAX`.
        OSError: a part of it is absent or cannot be read.
    """
    top = os.fsencode(path)
    before = os.stat(top)
    if not stat.S_ISDIR(before.st_mode):
        raise UsageError(f"{os.fsdecode(top)!r} is not a directory")
    total = hashlib.sha256(_DIRECTORY_TAG)
    size_bytes, files, stable = 0, 0, True
    seen = in_order(_looks(top, file_digest or hash_file))
    for entries, (name, kind, found) in enumerate(seen, start=1):
        if entries > limits.DIRECTORY_ENTRIES_MAX:
            raise _too_many(top)
        if isinstance(found, FileDigest):
            files, size_bytes, stable = files + 1, size_bytes + found.size_bytes, stable and found.stable
        content = found.digest if isinstance(found, FileDigest) else found
        total.update(_KIND_BYTES[kind] + _U32.pack(len(name)) + name + content)
    after = os.stat(top)
    stable = stable and identity(before)[:4] == identity(after)[:4]
    return FileDigest(total.digest(), size_bytes, after.st_mtime_ns // 1_000, stable, files)


def identity(status: os.stat_result) -> Identity:
    """The identity of a file, from its status."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def in_order(calls: Iterable[tuple[int, Callable[[], T]]]) -> Iterator[T]:
    """The results of calls in their order; an exception of one is raised in its place.

    Args:
        calls: each with the number of bytes it is going to read. From HASH_APART_BYTES_MIN on it runs in a thread,
            beside at most HASH_THREADS_MAX - 1 others and never more than there are cores; all others run here.
    """
    threads, room, waiting = 0, threading.Semaphore(0), deque[_Call[T]]()
    for size_bytes, call in calls:
        is_big = size_bytes >= limits.HASH_APART_BYTES_MIN
        if not waiting and not is_big:
            yield call()  # most files are small, and need nothing of this
            continue
        if threads == 0:
            threads = min(limits.HASH_THREADS_MAX, _cores())
            room = threading.Semaphore(threads)
        waiting.append(begun := _Call(call, room))
        if threads > 1 and is_big:
            begun.start()
        else:
            begun.run()
        while waiting and (waiting[0].done.is_set() or len(waiting) > limits.HASH_WAITING_MAX):
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class _Call(Generic[T]):
    """A call under way. Its thread is a daemon: nobody who leaves in between, after Ctrl-C say, waits for it."""

    def __init__(self, call: Callable[[], T], room: threading.Semaphore) -> None:
        self._call, self._room = call, room
        self._error: BaseException | None = None
        self._result: Any = None
        self.done = threading.Event()

    def start(self) -> None:
        self._room.acquire()
        try:
            threading.Thread(target=self._apart, daemon=True).start()
        except RuntimeError:  # no more threads: a limit of this job
            self._apart()

    def run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001 - it is the caller's, and raised there
            self._error = error
        self.done.set()

    def result(self) -> T:
        self.done.wait()
        if self._error is not None:
            raise self._error
        result: T = self._result
        return result

    def _apart(self) -> None:
        try:
            self.run()
        finally:
            self._room.release()


def _cores() -> int:
    """Cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


_KIND_BYTES: Final = {
    FileKind.FILE: b"f",
    FileKind.DIRECTORY: b"d",
    FileKind.SYMLINK: b"l",
    FileKind.PIPE: b"o",
    FileKind.OTHER: b"o",
}


_Seen = tuple[bytes, FileKind, FileDigest | bytes]


def _looks(top: bytes, file_digest: Callable[..., FileDigest]) -> Iterator[tuple[int, Callable[[], _Seen]]]:
    """What looks at each entry below `top`, with the bytes it reads."""
    for name, kind, size_bytes in _walk(top):
        yield size_bytes, partial(_look, top, name, kind, file_digest)


def _look(top: bytes, name: bytes, kind: FileKind, file_digest: Callable[..., FileDigest]) -> _Seen:
    if kind is FileKind.FILE:
        return name, kind, file_digest(os.path.join(top, name), follow_symlinks=False)
    return name, kind, sha256(os.readlink(os.path.join(top, name))) if kind is FileKind.SYMLINK else _ZERO


def _walk(top: bytes) -> Iterator[tuple[bytes, FileKind, int]]:
    """Relative names in the documented order, and sizes of files. The stack is explicit: trees are deep."""
    stack = [iter(_listing(top, b""))]
    while stack:
        item = next(stack[-1], None)
        if item is None:
            stack.pop()
            continue
        name, kind, _ = item
        yield item
        if kind is FileKind.DIRECTORY:
            stack.append(iter(_listing(top, name + b"/")))


def _listing(top: bytes, prefix: bytes) -> list[tuple[bytes, FileKind, int]]:
    found: list[tuple[bytes, FileKind, int]] = []
    with os.scandir(os.path.join(top, prefix)) as entries:
        for entry in entries:
            if len(found) >= limits.DIRECTORY_ENTRIES_MAX:
                raise _too_many(top)
            kind = _entry_kind(entry)
            size_bytes = entry.stat(follow_symlinks=False).st_size if kind is FileKind.FILE else 0
            if kind is FileKind.FILE and not size_bytes and not prefix and entry.name == _TIMESTAMP:
                continue
            found.append((prefix + entry.name, kind, size_bytes))
    found.sort()
    return found


def _too_many(top: bytes) -> UsageError:
    shown, most = os.fsdecode(top), limits.DIRECTORY_ENTRIES_MAX
    return UsageError(f"{shown!r} has more than {most} entries below it; record an archive of it instead")


def _entry_kind(entry: os.DirEntry[bytes]) -> FileKind:
    if entry.is_symlink():
        return FileKind.SYMLINK
    if entry.is_dir(follow_symlinks=False):
        return FileKind.DIRECTORY
    return FileKind.FILE if entry.is_file(follow_symlinks=False) else FileKind.OTHER


def _hash_descriptor(descriptor: int, expected_bytes: int) -> tuple[bytes, int]:
    """Digest and number of bytes read. Each large read is hashed without the interpreter lock."""
    total, size_bytes = hashlib.sha256(), 0
    buffer = memoryview(bytearray(min(expected_bytes + 1, _READ_BYTES)))
    with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
        while read := file.readinto(buffer):
            total.update(buffer[:read])
            size_bytes += read
    return total.digest(), size_bytes


def kind_of_mode(mode: int) -> FileKind:
    """What a path is whose status has this mode."""
    if stat.S_ISREG(mode):
        return FileKind.FILE
    if stat.S_ISDIR(mode):
        return FileKind.DIRECTORY
    if stat.S_ISFIFO(mode):
        return FileKind.PIPE
    return FileKind.SYMLINK if stat.S_ISLNK(mode) else FileKind.OTHER


def _require_regular(status: os.stat_result, path: AnyPath) -> None:
    kind = kind_of_mode(status.st_mode)
    if kind is not FileKind.FILE:
        raise UsageError(f"{os.fsdecode(path)!r} is a {kind.value}, not a regular file: its content is not hashed")
