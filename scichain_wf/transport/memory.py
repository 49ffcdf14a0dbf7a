"""Channels without a network: what one side sends the other receives. For tests of what uses channels."""

from __future__ import annotations

import asyncio

from scichain_wf import limits
from scichain_wf.errors import PeerError
from scichain_wf.transport import frames


class _Pipe:
    """One direction: encoded frames, bounded in bytes; None ends it."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.waiting_bytes = 0
        self.closed = False

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.queue.put_nowait(None)


class MemoryChannel:
    """One end of a pair made by `pair`."""

    def __init__(self, peer: str, incoming: _Pipe, outgoing: _Pipe) -> None:
        self.peer = peer
        self._incoming, self._outgoing = incoming, outgoing

    def send(self, kind: int, payload: bytes) -> bool:
        """See `Channel`."""
        pipe, frame = self._outgoing, frames.encoded(kind, payload)
        if pipe.closed or pipe.waiting_bytes > limits.SEND_QUEUE_BYTES_MAX:
            return False
        pipe.waiting_bytes += len(frame)
        pipe.queue.put_nowait(frame)
        return True

    async def receive(self) -> tuple[int, bytes]:
        """See `Channel`."""
        frame = await self._incoming.queue.get()
        if frame is None:
            self._incoming.queue.put_nowait(None)  # for whoever asks again
            raise PeerError(f"the channel to {self.peer} ended: closed by the other side")
        self._incoming.waiting_bytes -= len(frame)
        kind, _ = frames.checked(frame[: frames.HEADER.size], limits.FRAME_BYTES_MAX)
        return kind, frame[frames.HEADER.size :]

    async def close(self) -> None:
        """See `Channel`."""
        self.abort()

    def abort(self) -> None:
        """See `Channel`."""
        self._incoming.close()
        self._outgoing.close()


def pair(left: str, right: str) -> tuple[MemoryChannel, MemoryChannel]:
    """The two ends of a channel between the processes called `left` and `right`; the first belongs to `left`."""
    there, back = _Pipe(), _Pipe()
    return MemoryChannel(right, back, there), MemoryChannel(left, there, back)
