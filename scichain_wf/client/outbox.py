"""The outbox: how a hook hands a transaction to the agent of its host without waiting for anything.

Each hook process appends to a file of its own in a directory on tmpfs that the agent made:

    /dev/shm/scichain-<uid>/<first 16 hex digits of the chain id>/slot-<n>/
        bell                     Unix datagram socket of the agent; a hook sends a byte, two if it waits for the commit
        <pid>-<8 hex>.outbox     frames, append-only

A frame is `SCO1`, payload length and CRC-32 (4 bytes each, big endian), payload. A frame without payload ends
a file: its writer went on in a new one. Invariants:

- One append is one `write` on an O_APPEND descriptor: threads need no lock, a killed process leaves at most one
  torn frame, and a reader gets over it. The magic cannot occur inside canonical JSON followed by a plausible
  header (JSON text has no NUL byte), so resynchronising never finds a frame inside a payload.
- The writer looks at its file after each write, and rings. An agent closes its bell before it looks into a file for
  the last time; so who was heard was read, and who was not looks whether the directory is still the same.
- An agent that can take no more for now puts the sticky bit on the directory and its files: no file is begun in such a
  directory, and who writes to such a file sees it, ends the file and emits elsewhere.
- No network, no fsync, no lock, no waiting. What cannot be handed over is a `SubmissionError`, after which the
  caller emits again (a transaction that arrives twice is dropped by its id) or spools.
- A directory that another user could have made or can change is never written to.

What one user does to his own files is not prevented here, only evident later. Standard library only.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import zlib
from pathlib import Path
from typing import Final, NamedTuple

from scichain_wf import limits
from scichain_wf.errors import SubmissionError

SUFFIX: Final = ".outbox"
BELL: Final = "bell"
URGENT: Final = b"!!"
"""Rung by who waits until a transaction is committed."""
SERVICE: Final = "service"
"""Socket in the chain's directory, where runs join the storage node."""
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - made safe by `check_private`
_PRIVATE_LEVELS: Final = 3
"""scichain-<uid>, chain, slot: the levels below the world-writable directory, each to be ours alone."""
_MAGIC: Final = b"SCO1"
_HEADER: Final = struct.Struct(">4sII")
_END: Final = _HEADER.pack(_MAGIC, 0, 0)
_TURNED_AWAY: Final = "its agent can take no more for now"
_CHUNK_BYTES: Final = 4 * limits.TRANSACTION_BYTES_MAX


def user_directory(base: Path = SHARED_MEMORY) -> Path:
    """Where everything of this user is."""
    return base / f"scichain-{os.geteuid()}"


def outbox_directory(chain: bytes, slot: int, base: Path = SHARED_MEMORY) -> Path:
    """Where the hooks of this user leave transactions of `chain` (32 bytes) for the agent of `slot`."""
    return user_directory(base) / chain.hex()[:16] / f"slot-{slot}"


def create_outbox(directory: Path, levels: int = _PRIVATE_LEVELS) -> None:
    """Make an outbox directory with its private parents (0700), or accept one that is ours.

    Raises:
        SubmissionError: it cannot be made, or a level exists and is not a private directory of this user.
    """
    for level in reversed([directory, *directory.parents][:levels]):
        try:
            os.mkdir(level, 0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise _refused(directory, f"cannot be made: {error.strerror}") from None
    check_private(directory, levels)


def check_private(directory: Path, levels: int = _PRIVATE_LEVELS) -> os.stat_result:
    """Status of an outbox directory that only this user can have made.

    Raises:
        SubmissionError: it is missing, a symlink, not a directory, another user's, or open to others; the same
            for the two levels above it.
    """
    path, status = os.fspath(directory), None
    for _ in range(levels):
        try:
            level = os.lstat(path)
        except OSError as error:
            raise _refused(directory, f"{path}: {error.strerror}") from None
        if not stat.S_ISDIR(level.st_mode):
            raise _refused(directory, f"{path} is not a directory (a symlink is not followed)")
        if level.st_uid != os.geteuid():
            raise _refused(directory, f"{path} belongs to user {level.st_uid}, not to {os.geteuid()}")
        if level.st_mode & 0o077:
            raise _refused(directory, f"{path} is open to other users (mode {level.st_mode & 0o777:o}, not 700)")
        status = status or level
        path = os.path.dirname(path)
    if status is None:  # cannot be: at least one level was looked at
        raise _refused(directory, "not examined")
    return status


def writer_is_alive(name: str) -> bool:
    """Whether the process that writes `<pid>-<hex>.outbox` may still exist."""
    pid, _, _ = name.partition("-")
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError, ValueError):
        return True
    return True


class _Handle:
    """One open outbox file. Closed when the last thread lets go of it, never under a write."""

    def __init__(self, directory: Path) -> None:
        self.fd = -1
        self.stale = False
        """Whether the agent no longer looks at this file."""
        self.pid = os.getpid()
        status = check_private(directory)
        if status.st_mode & stat.S_ISVTX:
            raise _refused(directory, _TURNED_AWAY)
        self.directory = (status.st_dev, status.st_ino)
        path = os.path.join(directory, f"{self.pid}-{os.urandom(4).hex()}{SUFFIX}")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self.bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self.fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise _refused(directory, f"cannot make {path}: {error.strerror}") from None

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.bell.close()

    def write(self, frame: bytes, directory: Path) -> os.stat_result:
        """Append one frame; returns the file's status after it."""
        try:
            written = os.write(self.fd, frame)
        except OSError as error:  # no room: there may be some later, and until then the file does no harm
            raise _refused(directory, os.strerror(error.errno or errno.EIO)) from None
        file = os.fstat(self.fd)
        if file.st_nlink == 0:
            raise self._left(directory)
        if written != len(frame):
            raise _refused(directory, f"only {written} of {len(frame)} bytes fitted")
        return file

    def ring(self, directory: Path, sound: bytes) -> bool:
        """Wake the agent; False if there is none. A full queue means that it will wake anyway."""
        try:
            self.bell.send(sound)
        except BlockingIOError:
            return True
        except OSError:
            return self._looked_for(directory, sound)
        return True

    def _looked_for(self, directory: Path, sound: bytes) -> bool:
        """Nobody heard: whether there is another agent by now; refused if the directory is not the same any more."""
        try:
            level = os.lstat(directory)
        except OSError as error:
            self.stale = True
            raise _refused(directory, os.strerror(error.errno or errno.EIO)) from None
        if (level.st_dev, level.st_ino) != self.directory:
            raise self._left(directory)
        try:
            self.bell.connect(os.path.join(directory, BELL))
            self.bell.send(sound)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _left(self, directory: Path) -> SubmissionError:
        self.stale = True
        return _refused(directory, "its agent drained and replaced it meanwhile")


class OutboxWriter:
    """Appends transactions for one agent; safe in threads and over forks. Who is `urgent` waits for their commit."""

    def __init__(self, directory: Path, *, urgent: bool = False) -> None:
        self.directory = directory
        self._sound = URGENT if urgent else b"!"
        self._handle: _Handle | None = None

    def append(self, data: bytes) -> None:
        """Hand over the canonical bytes of one transaction.

        Raises:
            SubmissionError: it may not have arrived (no such outbox, no room, drained meanwhile, over the limit, or
                nobody reads); the caller emits again or spools. A transaction that arrives twice does no harm.
        """
        if not 0 < len(data) <= limits.TRANSACTION_BYTES_MAX:
            raise SubmissionError(
                f"a transaction has 1 to {limits.TRANSACTION_BYTES_MAX} bytes, not {len(data)}: record fewer files per "
                "task, or declare them as a directory"
            )
        frame = _HEADER.pack(_MAGIC, len(data), zlib.crc32(data)) + data
        handle = self._handle
        if handle is None or handle.pid != os.getpid():
            handle = self._handle = _Handle(self.directory)
        try:
            status = handle.write(frame, self.directory)
            heard = handle.ring(self.directory, self._sound)
        except SubmissionError:
            if handle.stale:
                self._handle = None  # the next append looks again
            raise
        size_bytes = status.st_size
        if status.st_mode & stat.S_ISVTX:
            self._end(handle)
            raise _refused(self.directory, _TURNED_AWAY)
        if not heard and size_bytes > limits.OUTBOX_UNREAD_BYTES_MAX:
            raise _refused(self.directory, f"no agent answers, and {size_bytes} bytes wait for it already")
        if size_bytes > limits.OUTBOX_FILE_BYTES_MAX:
            self._end(handle)

    def _end(self, handle: _Handle) -> None:
        """The next append begins another file, so that the agent can delete this one."""
        self._handle = None
        handle.write(_END, self.directory)

    def close(self) -> None:
        """Let go of the file; a later append opens another."""
        self._handle = None


class Frame(NamedTuple):
    """A complete frame: its file, the offset after it, the transaction's bytes."""

    path: Path
    end_offset: int
    data: bytes


class _File:
    """What a reader knows about one outbox file."""

    def __init__(self, fd: int, status: os.stat_result) -> None:
        self.fd = fd
        self.inode = status.st_ino
        self.offset = 0
        self.seen_bytes = 0
        self.ended = False

    def __del__(self) -> None:
        os.close(self.fd)


class OutboxReader:
    """Takes new complete frames from every file of an outbox directory, in each file's order.

    Attributes:
        torn_bytes: bytes skipped because they belong to no complete frame (a writer was killed or had no room).
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.torn_bytes = 0
        self._files: dict[str, _File] = {}
        self._turn = 0

    def read(self) -> list[Frame]:
        """New complete frames, at most about OUTBOX_READ_BYTES_MAX bytes of them; empty when there are none.

        A partial frame at a file's end waits: its write may be under way.

        Raises:
            SubmissionError: the directory is gone or not private.
        """
        check_private(self.directory)
        names = self._names()
        self._files = {name: file for name, file in self._files.items() if name in names}
        start = self._turn % len(names) if names else 0  # so that one busy file starves no other
        self._turn += 1
        frames: list[Frame] = []
        budget = limits.OUTBOX_READ_BYTES_MAX
        order = list(names)
        for name in order[start:] + order[:start]:
            file = self._open(name, names[name])
            while file is not None and budget > 0 and (taken := self._read_file(self.directory / name, file, frames)):
                budget -= taken
        return frames

    def unread_bytes(self) -> int:
        """What is in its files and was not read yet."""
        written_bytes = sum(os.lstat(self.directory / name).st_size for name in self._names())
        return written_bytes - sum(file.offset for file in self._files.values())

    def is_drained(self, name: str) -> bool:
        """Whether every byte of the file `name` was read and its writer will write no more."""
        file = self._files.get(name)
        if file is None:
            return False
        if not file.ended and writer_is_alive(name):
            return False
        complete = os.fstat(file.fd).st_size == file.seen_bytes
        return complete and (file.offset == file.seen_bytes or not writer_is_alive(name))

    def remove_drained(self, name: str) -> bool:
        """Delete the file `name` if it is drained. Only for callers whose frames of it are all committed.

        A writer that is alive after all (another pid namespace) notices the unlinked file and emits again.
        """
        if not self.is_drained(name):
            return False
        (self.directory / name).unlink(missing_ok=True)
        self._files.pop(name, None)
        return True

    def _names(self) -> dict[str, int]:
        try:
            with os.scandir(self.directory) as entries:
                found = ((entry.name, entry.inode()) for entry in entries if entry.name.endswith(SUFFIX))
                return dict(sorted(item for item, _ in zip(found, range(limits.OUTBOX_FILES_MAX), strict=False)))
        except OSError as error:
            raise _refused(self.directory, f"cannot be read: {error.strerror}") from None

    def _open(self, name: str, inode: int) -> _File | None:
        file = self._files.get(name)
        if file is not None and file.inode == inode:
            return file
        try:
            fd = os.open(self.directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None  # gone meanwhile, or a symlink: nothing of ours
        status = os.fstat(fd)
        file = _File(fd, status)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            return None
        self._files[name] = file
        return file

    def _read_file(self, path: Path, file: _File, frames: list[Frame]) -> int:
        """Take what is new; returns how many bytes are done with (0: nothing new is complete)."""
        size_bytes = os.fstat(file.fd).st_size
        if size_bytes == file.seen_bytes:
            return 0
        chunk = os.pread(file.fd, min(size_bytes - file.offset, _CHUNK_BYTES), file.offset)
        at = 0
        while (found := _next_frame(chunk, at)) is not None:
            begin, end = found
            self.torn_bytes += begin - at
            at = end
            file.ended = begin + _HEADER.size == end
            if not file.ended:
                frames.append(Frame(path, file.offset + end, chunk[begin + _HEADER.size : end]))
        rest = _waiting_from(chunk, at)
        self.torn_bytes += rest - at
        file.offset += rest
        file.seen_bytes = file.offset + len(chunk) - rest
        return rest


def _next_frame(chunk: bytes, at: int) -> tuple[int, int] | None:
    """Begin and end of the first complete frame from `at` on, past whatever is torn."""
    while (at := chunk.find(_MAGIC, at)) >= 0 and at + _HEADER.size <= len(chunk):
        _, length, checksum = _HEADER.unpack_from(chunk, at)
        end = at + _HEADER.size + length
        if (
            length <= limits.TRANSACTION_BYTES_MAX
            and end <= len(chunk)
            and zlib.crc32(memoryview(chunk)[at + _HEADER.size : end]) == checksum
        ):
            return at, end
        at += 1
    return None


def _waiting_from(chunk: bytes, at: int) -> int:
    """Where the rest of `chunk` may be the beginning of a frame that is still being written."""
    while (begin := chunk.find(_MAGIC, at)) >= 0:
        if begin + _HEADER.size > len(chunk):
            return begin
        _, length, _ = _HEADER.unpack_from(chunk, begin)
        if length <= limits.TRANSACTION_BYTES_MAX and begin + _HEADER.size + length > len(chunk):
            return begin
        at = begin + 1
    for kept in range(len(_MAGIC) - 1, 0, -1):
        if chunk.endswith(_MAGIC[:kept]) and len(chunk) - kept >= at:
            return len(chunk) - kept
    return len(chunk)


def _refused(directory: Path, reason: str) -> SubmissionError:
    return SubmissionError(f"outbox {directory}: {reason}")
