"""JSON lines to and from a storage node: through the pipes of a child process, or a Unix socket of somebody else's.

Both ends of the socket make sure that the other belongs to the same user. Standard library only: engines import this.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Self, cast

from scichain_wf import errors, limits
from scichain_wf.errors import EXIT_INCOMPLETE, PeerError, ScichainError

_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid
_TIMEVAL: Final = struct.Struct("ll")


@dataclass(frozen=True, slots=True)
class Directory:
    """A chain's directory, told from a copy of it: another process may have it under another path."""

    path: str
    device: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """The one at `path`."""
        status = path.stat()
        return cls(os.path.realpath(path), status.st_dev, status.st_ino)

    def value(self) -> list[str | int]:
        """As a line says it."""
        return [self.path, self.device, self.inode]

    def is_same(self, other: Directory) -> bool:
        """Whether both are one; some file systems give a file another number now and then."""
        return self.path == other.path or (self.device, self.inode) == (other.device, other.inode)


def is_readable(descriptor: int, timeout_s: float) -> bool:
    """Wait until there is something to read, or its end; whether there was. Engines have more files than `select`."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(1_000 * timeout_s))


class Lines:
    """Lines over two descriptors."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._buffer = b""

    def say(self, value: dict[str, object]) -> None:
        """Send one line; OSError if nobody is there."""
        data = json.dumps(value).encode() + b"\n"
        while data:
            data = data[os.write(self._outgoing, data) :]

    def answer(self, deadline: float) -> dict[str, object] | None:
        """The next line, None at the end; TimeoutError if there is none before `deadline` (monotonic)."""
        while b"\n" not in self._buffer:
            if not is_readable(self._incoming, max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            chunk = b""
            with suppress(ConnectionError):  # a socket's way to say that its process is gone
                chunk = os.read(self._incoming, 65_536)
            if not chunk:
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            said = json.loads(line)
        except ValueError:
            said = None  # what a process said when it was killed
        return said if type(said) is dict else {}


class ChildLines(Lines):
    """Those of a service that this process started."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._pipes = cast("IO[bytes]", process.stdout), cast("IO[bytes]", process.stdin)
        super().__init__(*(pipe.fileno() for pipe in self._pipes))

    def leave(self) -> None:
        """Nothing more to ask: it ends, unless others use it."""
        self._pipes[1].close()

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code; None if it has not ended in time."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """Let go of it; whenever it ends, it is reaped."""
        for pipe in self._pipes:
            pipe.close()
        if self._process.poll() is None:
            threading.Thread(target=self._process.wait, daemon=True).start()

    def end(self, *, wait: bool = True) -> None:
        """After a start that failed: its input is closed, so it ends by itself; if not, and we `wait`, it is killed."""
        self.leave()
        if wait and self.wait(limits.SERVICE_GRACE_S) is None:
            self._process.kill()
        self.close()


class SocketLines(Lines):
    """Those of a service that another process of this user started.

    Raises:
        OSError: nobody listens there.
        PeerError: it is another user's.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # `settimeout` would not wait where many connect at once.
            wait = _TIMEVAL.pack(*divmod(int(limits.SERVICE_GRACE_S * 1_000_000), 1_000_000))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
            self._socket.connect(os.fspath(path))
            pid, uid, _ = _CREDENTIALS.unpack(
                self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            )
            if uid != os.geteuid():
                raise PeerError(f"{path}: the service there belongs to user {uid}, not to {os.geteuid()}")
        except BaseException:
            self._socket.close()
            raise
        self._process = _opened(pid)
        super().__init__(self._socket.fileno(), self._socket.fileno())

    def leave(self) -> None:
        """As `ChildLines.leave`."""
        with suppress(OSError):  # it is gone
            self._socket.shutdown(socket.SHUT_WR)

    def wait(self, timeout_s: float) -> int | None:
        """Once its process has ended, which it says how if it ends well: EXIT_INCOMPLETE; None if not in time."""
        if self._process >= 0 and not is_readable(self._process, timeout_s):
            return None
        return EXIT_INCOMPLETE

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()
        if self._process >= 0:
            os.close(self._process)
            self._process = -1

    def end(self, *, wait: bool = True) -> None:  # noqa: ARG002 - as `ChildLines.end`
        """Let go of it."""
        self.close()


def error_of(answer: dict[str, object]) -> ScichainError:
    """The error that a line tells, in its own class; `InvariantViolation` and strangers become `PeerError`."""
    value = cast("dict[str, str]", answer["error"])
    kind = getattr(errors, value["class"], PeerError)
    if not (isinstance(kind, type) and issubclass(kind, ScichainError)):
        kind = PeerError
    return kind(value["message"])


def _opened(pid: int) -> int:
    """A descriptor that tells the end of a process; -1 if there is no such thing, or it is in another pid namespace."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return -1
