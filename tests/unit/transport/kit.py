"""Two sides of a connection over loopback, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from scichain_wf.transport import tls
from scichain_wf.transport.channel import TlsChannel
from scichain_wf.transport.credentials import Credentials
from scichain_wf.transport.link import Address, Listener, keep_connected
from scichain_wf.transport.runca import RunAuthority

RUN = RunAuthority("test")
STORAGE, SLOT_1 = RUN.issue("storage"), RUN.issue("slot-1")
WAIT_S = 10.0


class Watched:
    """What tests wait for; whoever changes something sets `changed`."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something to have happened."""
        async with asyncio.timeout(WAIT_S):
            while not holds():
                self.changed.clear()
                await self.changed.wait()


class Side(Watched):
    """What one side of a connection did."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[tuple[int, bytes]] = []
        self.channels: list[TlsChannel] = []
        self.notes: list[str] = []

    async def serve(self, channel: TlsChannel) -> None:
        """Take every frame."""
        self.channels.append(channel)
        self.changed.set()
        while True:
            self.received.append(await channel.receive())
            self.changed.set()

    def note(self, text: str) -> None:
        """Keep what was noted."""
        self.notes.append(text)
        self.changed.set()


@asynccontextmanager
async def listening(side: Side, credentials: Credentials = STORAGE) -> AsyncIterator[Address]:
    listener = Listener(tls.server_context(credentials), side.serve, side.note)
    address = await listener.start()
    try:
        yield address
    finally:
        await listener.close()


@asynccontextmanager
async def dialling(
    side: Side, address: Address, credentials: Credentials = SLOT_1, name: str = "storage"
) -> AsyncIterator[None]:
    task = asyncio.create_task(keep_connected(address, tls.client_context(credentials), name, side.serve, side.note))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def run(test: Callable[[], Awaitable[None]]) -> None:
    """A test's coroutine, within bounds."""

    async def bounded() -> None:
        async with asyncio.timeout(3 * WAIT_S):
            await test()

    asyncio.run(bounded())
