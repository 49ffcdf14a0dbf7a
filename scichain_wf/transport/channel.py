"""One connection: frames out without waiting, frames in one by one, heartbeats, and a limit on everything.

Sending never waits. What is not yet on the wire is bounded in bytes; a frame over the bound is not sent and `send`
says so. Frames arrive in the order they were sent, or the channel ends. A channel that hears nothing for
SILENCE_S_MAX (`silence_s_max`, where its user sets it) ends too: a stopped process looks like a dead one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol

from scichain_wf import limits
from scichain_wf.errors import PeerError
from scichain_wf.transport import frames, tls


class Channel(Protocol):
    """What the processes use; `TlsChannel` and `memory.MemoryChannel` are the two kinds."""

    @property
    def peer(self) -> str:
        """The other side's proven name."""

    def send(self, kind: int, payload: bytes) -> bool:
        """Queue a frame; False if it was not taken (the channel ended, or too much waits already)."""

    async def receive(self) -> tuple[int, bytes]:
        """The next frame. `PeerError` when the channel has ended."""

    async def close(self) -> None:
        """End it, after what was queued is written or a moment has passed."""

    def abort(self) -> None:
        """End it at once."""


class TlsChannel:
    """A channel over an open TLS stream; `admitted` is called when its other side is admitted."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        admitted: Callable[[], None] = lambda: None,
    ) -> None:
        connection = writer.get_extra_info("ssl_object")
        if not isinstance(connection, ssl.SSLObject):
            raise PeerError("the connection is not encrypted")
        self.peer = tls.peer_name(connection)
        self.own_host = str(writer.get_extra_info("sockname")[0])
        self.size_bytes_max = limits.HELLO_BYTES_MAX
        self.silence_s_max = limits.SILENCE_S_MAX
        self._reader, self._writer, self._admitted = reader, writer, admitted
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._sent = self._beaten = self._heard
        self._heartbeat = self._loop.call_later(limits.HEARTBEAT_S, self._beat)

    def admit(self) -> None:
        """The other side said who it is and may send full frames from now on."""
        self.size_bytes_max = limits.FRAME_BYTES_MAX
        self._admitted()

    def send(self, kind: int, payload: bytes) -> bool:
        """See `Channel`."""
        transport = self._writer.transport
        if transport.is_closing() or transport.get_write_buffer_size() > limits.SEND_QUEUE_BYTES_MAX:
            return False
        self._writer.write(frames.encoded(kind, payload))
        self._sent = self._loop.time()
        return True

    @property
    def has_ended(self) -> bool:
        """Whether nothing can come any more but what has come."""
        return self._reader.at_eof() or self._writer.transport.is_closing()

    async def has_room(self) -> None:
        """Wait while the other side does not read what it is sent."""
        try:
            await self._writer.drain()
        except OSError as error:
            raise PeerError(f"the channel to {self.peer} ended: {_reason(error)}") from None

    async def receive(self) -> tuple[int, bytes]:
        """See `Channel`."""
        while True:
            try:
                header = await self._reader.readexactly(frames.HEADER.size)
                kind, length = frames.checked(header, self.size_bytes_max)
                payload = await self._reader.readexactly(length)
            except (OSError, asyncio.IncompleteReadError) as error:
                raise PeerError(f"the channel to {self.peer} ended: {_reason(error)}") from None
            self._heard = self._loop.time()
            if kind != frames.HEARTBEAT:
                return kind, payload

    async def close(self) -> None:
        """See `Channel`."""
        self._heartbeat.cancel()
        try:
            async with asyncio.timeout(limits.CLOSE_TIMEOUT_S):
                await self._writer.drain()
                self._writer.close()
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()

    def abort(self) -> None:
        """See `Channel`."""
        self._heartbeat.cancel()
        self._writer.transport.abort()

    def _beat(self) -> None:
        now = self._loop.time()
        if now - self._beaten > 2 * limits.HEARTBEAT_S:
            self._heard = now  # this process slept: what came meanwhile is not read yet
        self._beaten = now
        if now - self._heard > self.silence_s_max or self._writer.transport.is_closing():
            self.abort()
            return
        if now - self._sent >= limits.HEARTBEAT_S:
            self.send(frames.HEARTBEAT, b"")
        self._heartbeat = self._loop.call_later(limits.HEARTBEAT_S, self._beat)


def _reason(error: Exception) -> str:
    if isinstance(error, asyncio.IncompleteReadError):
        return "closed by the other side" if not error.partial else "closed inside a frame"
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
