"""What every process does first, and the pipes between them.

Secrets come through standard input only, never by argument, environment or file. A process is made non-dumpable
before it holds any: no core file, and no other process of the same user may attach or read its memory.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final, cast

from scichain_wf import limits
from scichain_wf.errors import PeerError

_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid
_STDIN: Final = 0
_STDOUT: Final = 1


def protect(name: str) -> None:
    """Make this process non-dumpable and name it for `ps` (Linux; elsewhere nothing)."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this process cannot be made non-dumpable")
    libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def first_line() -> dict[str, object]:
    """The first line on standard input, read without taking a byte more.

    Raises:
        PeerError: no line, or not a JSON object.
    """
    data = bytearray()
    while not data.endswith(b"\n"):
        byte = os.read(_STDIN, 1)  # one by one: what follows belongs to the event loop
        if not byte or len(data) > limits.CONTROL_LINE_BYTES_MAX:
            raise PeerError("no first line on standard input: this program is started by others, not by hand")
        data += byte
    return decoded(bytes(data))


def decoded(line: bytes) -> dict[str, object]:
    """The object of one control line; `PeerError` if it is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if type(value) is not dict:
        raise PeerError("a control line is not a JSON object")
    return cast("dict[str, object]", value)


async def lines(reader: asyncio.StreamReader | None = None) -> AsyncIterator[dict[str, object]]:
    """Control lines from a reader, or on standard input, until its other end is closed.

    Raises:
        PeerError: one is malformed or too long.
    """
    if reader is None:
        reader = asyncio.StreamReader(limits.CONTROL_LINE_BYTES_MAX)
        protocol, pipe = asyncio.StreamReaderProtocol(reader), os.fdopen(_STDIN, "rb", closefd=False)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
    try:
        while line := await reader.readline():
            yield decoded(line)
    except ValueError:
        raise PeerError("a control line is too long") from None


def reply(value: dict[str, object]) -> None:
    """One line to whoever started this process; nobody there is no error."""
    try:
        os.write(_STDOUT, json.dumps(value).encode() + b"\n")
    except OSError:
        return  # its end is told by standard input


def broken_off() -> None:
    """What died in this process's place may have left half a line: what follows begins a new one."""
    with suppress(OSError):
        os.write(_STDOUT, b"\n")


class Replies(asyncio.BaseProtocol):
    """Lines to a process, without ever waiting for it to read them; by `open` to whoever started this one."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._lost = asyncio.Event()

    async def open(self) -> None:
        """Take over standard output."""
        pipe = os.fdopen(_STDOUT, "wb", buffering=0, closefd=False)
        self._transport, _ = await asyncio.get_running_loop().connect_write_pipe(lambda: self, pipe)

    def connection_lost(self, _error: Exception | None) -> None:
        """Everything is written, or nobody is there."""
        self._lost.set()

    def say(self, value: dict[str, object]) -> None:
        """A line that must arrive."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(json.dumps(value).encode() + b"\n")

    def hint(self, value: dict[str, object]) -> None:
        """A line that may get lost: it is left out while others wait to be read."""
        if self._transport is not None and not self._transport.get_write_buffer_size():
            self.say(value)

    async def close(self) -> None:
        """Give what is not read yet a moment."""
        if self._transport is None:
            return
        self._transport.close()
        try:
            async with asyncio.timeout(limits.CLOSE_TIMEOUT_S):
                await self._lost.wait()
        except TimeoutError:
            self._transport.abort()


class Visitor(Replies, asyncio.Protocol):
    """A process of this user at the other end of a Unix socket; lines from it are in `reader`.

    Args:
        came: called with it when it is there.

    Attributes:
        handle: tells its end; None: no such thing, and the socket alone tells.
    """

    def __init__(self, came: Callable[[Visitor], None]) -> None:
        super().__init__()
        self._came = came
        self.reader = asyncio.StreamReader(limits.CONTROL_LINE_BYTES_MAX)
        self.handle: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody connected; who is not this user is sent away."""
        connection = cast("asyncio.Transport", transport)
        peer = cast("socket.socket", connection.get_extra_info("socket"))
        pid, uid, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        self._transport = connection
        if uid != os.geteuid():
            self.abort()
            return
        self.reader.set_transport(connection)
        with suppress(OSError, AttributeError):  # in another pid namespace, or dead already
            self.handle = os.pidfd_open(pid)
        self._came(self)

    def abort(self) -> None:
        """Send it away."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Some of a line."""
        self.reader.feed_data(data)

    def eof_received(self) -> bool:
        """It has nothing more to ask, and may wait for answers."""
        self.reader.feed_eof()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(error)
        self.reader.feed_eof()


def parent_handle(pid: int) -> int | None:
    """A descriptor that tells when the parent process `pid` ends, even if others hold its pipes; None: no such thing.

    Raises:
        PeerError: it has ended.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        raise PeerError("the process that started this has ended") from None
    except OSError:
        return None
    if os.getppid() != pid:
        os.close(descriptor)
        raise PeerError("the process that started this has ended")
    return descriptor


async def end_of(handle: int | None) -> None:
    """Return when the process of a handle has ended; without one, never."""
    ended = asyncio.Event()
    if handle is not None:
        asyncio.get_running_loop().add_reader(handle, ended.set)
    try:
        await ended.wait()
    finally:
        if handle is not None:
            asyncio.get_running_loop().remove_reader(handle)
