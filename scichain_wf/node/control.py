"""The pipes and sockets between processes, on an event loop.

A process gets control lines on its standard input, whose end is the end of whoever started it, and answers on its
standard output; others may come over a Unix socket.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final, cast

from scichain_wf import limits
from scichain_wf.errors import PeerError
from scichain_wf.node import process

_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid


async def lines(reader: asyncio.StreamReader | None = None) -> AsyncIterator[dict[str, object]]:
    """Control lines from a reader, or on standard input, until its other end is closed.

    Raises:
        PeerError: one is malformed or too long.
    """
    if reader is None:
        reader = asyncio.StreamReader(limits.CONTROL_LINE_BYTES_MAX)
        protocol, pipe = asyncio.StreamReaderProtocol(reader), os.fdopen(process.STDIN, "rb", closefd=False)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
    try:
        while line := await reader.readline():
            yield process.decoded(line)
    except ValueError:
        raise PeerError("a control line is too long") from None


class Replies(asyncio.BaseProtocol):
    """Lines to a process, without ever waiting for it to read them; by `open` to whoever started this one."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._lost = asyncio.Event()

    async def open(self) -> None:
        """Take over standard output."""
        pipe = os.fdopen(process.STDOUT, "wb", buffering=0, closefd=False)
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
