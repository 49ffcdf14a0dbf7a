"""What goes over the channel between the main process and a node: words as JSON, tasks and results as bytes.

    node → hub   HELLO {block, host, pid, python} · READY {workers, slot} · RESULTS items · RETURNED items
    hub → node   WELCOME {chain, prefetch, refused} · TASKS items · END

An item is a task's number, a status, a length and so many bytes. What does not fit a frame goes in parts before it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Any, Final, NamedTuple

from scichain_wf import limits
from scichain_wf.errors import PeerError
from scichain_wf.transport.channel import TlsChannel

HUB: Final = "tasks"
NODE: Final = "node"
"""The names in the certificates of the two sides."""
ITEM: Final = struct.Struct(">QBQ")


class Kind(IntEnum):
    """What a message is; 0 is the channel's heartbeat."""

    PART = 1
    HELLO = 2
    WELCOME = 3
    READY = 4
    TASKS = 5
    RESULTS = 6
    RETURNED = 7
    END = 8


class Status(IntEnum):
    """What became of a task."""

    OK = 0
    ERROR = 1
    """It raised; the bytes hold the exception."""
    UNREADABLE = 2
    """It was not begun: the worker could not load it; the bytes hold why."""
    LOST = 3
    """Its worker, or its node, died while it ran; the bytes name the host."""


class Item(NamedTuple):
    """A task on its way to a worker, or its result on the way back."""

    number: int
    status: Status
    data: bytes


class Talk:
    """One side of such a channel, which is admitted: the handshake has shown who the other one is."""

    def __init__(self, channel: TlsChannel) -> None:
        self._channel = channel
        channel.admit()
        channel.silence_s_max = limits.TASK_SILENCE_S_MAX

    async def say(self, kind: Kind, value: dict[str, object]) -> None:
        """Send words."""
        await self.send(kind, json.dumps(value).encode())

    async def send(self, kind: Kind, payload: bytes) -> None:
        """Send bytes, however many; waits while the other side does not read.

        Raises:
            PeerError: the channel has ended.
        """
        step = limits.TASK_PART_BYTES
        last = (len(payload) - 1) // step * step if payload else 0
        for start in range(0, last, step):
            await self._put(Kind.PART, payload[start : start + step])
        await self._put(kind, payload[last:])

    async def send_items(self, kind: Kind, items: Iterable[Item]) -> None:
        """Send items, many in one message as long as they are small."""
        batch, size_bytes = bytearray(), 0
        for number, status, data in items:
            if size_bytes and size_bytes + len(data) > limits.TASK_PART_BYTES // 2:
                await self.send(kind, bytes(batch))
                batch, size_bytes = bytearray(), 0
            batch += ITEM.pack(number, status, len(data))
            batch += data
            size_bytes = len(batch)
        if batch:
            await self.send(kind, bytes(batch))

    async def receive(self) -> tuple[Kind, bytes]:
        """The next message.

        Raises:
            PeerError: the channel has ended, or the message is over the limit or of no known kind.
        """
        parts = bytearray()
        while True:
            number, payload = await self._channel.receive()
            if len(parts) + len(payload) > limits.TASK_BYTES_MAX + limits.TASK_PART_BYTES:
                raise PeerError(f"{self._channel.peer} sent a message of more than {limits.TASK_BYTES_MAX} bytes")
            parts += payload
            if number != Kind.PART:
                try:
                    return Kind(number), bytes(parts)
                except ValueError:
                    raise PeerError(f"{self._channel.peer} sent a message of unknown kind {number}") from None

    async def hear(self, expected: Kind) -> dict[str, Any]:
        """The next message, which must be words of this kind."""
        kind, payload = await self.receive()
        if kind is not expected:
            raise PeerError(f"{self._channel.peer} sent {kind.name} where {expected.name} was due")
        return words(payload)

    async def _put(self, kind: Kind, payload: bytes) -> None:
        await self._channel.has_room()
        if not self._channel.send(kind, payload):
            raise PeerError(f"the channel to {self._channel.peer} has ended")


def words(payload: bytes) -> dict[str, Any]:
    """The object of a message of words; `PeerError` if it is none."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise PeerError("a message between node and main process is not a JSON object")
    return value


def items(payload: bytes) -> Iterator[Item]:
    """The items of a message; `PeerError` if it is cut short."""
    place = 0
    while place < len(payload):
        try:
            number, status, length = ITEM.unpack_from(payload, place)
            place += ITEM.size
            item = Item(number, Status(status), payload[place : place + length])
        except (struct.error, ValueError):
            raise PeerError("a message of tasks between node and main process is malformed") from None
        if len(item.data) != length:
            raise PeerError("a message of tasks between node and main process is cut short")
        place += length
        yield item
