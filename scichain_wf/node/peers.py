"""Channels between agents: a full mesh, one connection per pair, dialled by the higher slot.

Who the other side is stands in its certificate. Who is no member of the epoch in force is not listened to; who has just
joined may come before the link that says so, and is listened to when it is there. A pair's connection that ends is
dialled again; a second connection of the same peer replaces the first.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress

from scichain_wf import limits
from scichain_wf.errors import DecodeError, PeerError
from scichain_wf.node.log import Log
from scichain_wf.node.tasks import Tasks
from scichain_wf.transport import tls
from scichain_wf.transport.channel import TlsChannel
from scichain_wf.transport.link import Address, Listener, Ports, keep_connected

Receive = Callable[[int, int, bytes], None]
"""(slot, kind, payload) of a frame from a peer."""


class Peers:
    """The channels of the agent in `slot`.

    Args:
        slot: its own.
        contexts: for listening and for dialling.
        receive: called with each frame; raises `DecodeError` for one that is wrong, which ends the channel.
        changed: called with (slot, up) when a channel stands or ends.
        tasks: runs the dialling.
        log: where dropped connections are noted.
    """

    def __init__(
        self,
        slot: int,
        contexts: tuple[ssl.SSLContext, ssl.SSLContext],
        receive: Receive,
        changed: Callable[[int, bool], None],
        tasks: Tasks,
        log: Log,
    ) -> None:
        self._slot, self._tasks = slot, tasks
        self._client = contexts[1]
        self._receive, self._changed, self._log = receive, changed, log
        self._channels: dict[int, TlsChannel] = {}
        self._dialling: dict[int, tuple[Address, asyncio.Task[None]]] = {}
        self._members: frozenset[int] = frozenset()
        self._joined = asyncio.Event()
        self._listener = Listener(contexts[0], self._accepted, self._note)

    @property
    def connected(self) -> frozenset[int]:
        """Slots whose channel stands."""
        return frozenset(self._channels)

    async def listen(self, host: str, ports: Ports) -> Address:
        """Accept the higher slots; returns the address. `ConfigError` where that cannot be."""
        return await self._listener.start(host, ports)

    def admit(self, members: frozenset[int]) -> None:
        """These slots are filled in the epoch in force."""
        if members is not self._members:
            self._members = members
            self._joined.set()

    def learn(self, addresses: dict[int, Address]) -> None:
        """Where the others are: dial the lower slots, and again where one has moved."""
        for slot, address in addresses.items():
            known = self._dialling.get(slot)
            if slot >= self._slot or (known is not None and known[0] == address):
                continue
            if known is not None:
                known[1].cancel()
            coroutine = keep_connected(address, self._client, tls.slot_name(slot), self._serve, self._note)
            self._dialling[slot] = (address, self._tasks.spawn(coroutine))

    def send(self, slot: int, kind: int, payload: bytes) -> bool:
        """Send a frame to a slot; False if it is not connected or does not read."""
        channel = self._channels.get(slot)
        return channel is not None and channel.send(kind, payload)

    async def close(self) -> None:
        """End what was accepted; the dialling ends with its tasks."""
        await self._listener.close()

    async def _accepted(self, channel: TlsChannel) -> None:
        slot = tls.slot_of(channel.peer)
        if slot is None or slot <= self._slot:
            raise PeerError(f"{channel.peer} is not one that dials slot {self._slot}")
        while slot not in self._members:  # the listener has set a bound
            if channel.has_ended:
                raise PeerError(f"slot {slot} left before it was a member")
            self._joined.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(limits.STRANGER_S):
                    await self._joined.wait()
        await self._serve(channel)

    async def _serve(self, channel: TlsChannel) -> None:
        slot = tls.slot_of(channel.peer)
        if slot is None:
            raise PeerError(f"{channel.peer} is not an agent")
        channel.admit()
        before = self._channels.get(slot)
        self._channels[slot] = channel
        if before is not None:
            before.abort()
        else:
            self._changed(slot, True)
        try:
            while True:
                kind, payload = await channel.receive()
                try:
                    self._receive(slot, kind, payload)
                except DecodeError as error:
                    raise PeerError(f"slot {slot} sent what cannot be read: {error}") from None
        finally:
            if self._channels.get(slot) is channel:
                del self._channels[slot]
                self._changed(slot, False)

    def _note(self, text: str) -> None:
        self._log.warning("channel", reason=text)
