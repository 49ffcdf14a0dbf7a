"""Who has not said who it is: bounded in number and in time, and in what a log says of it."""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import gc
from typing import Any, cast

import pytest

from scichain_wf import limits
from scichain_wf.transport import tls
from scichain_wf.transport.channel import TlsChannel
from scichain_wf.transport.link import Listener
from tests.unit.transport.kit import STORAGE, Side, dialling, listening, run


def test_a_listener_takes_no_more_connections_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONNECTIONS_MAX", 1)

    async def test() -> None:
        server, first, second = Side(), Side(), Side()
        async with listening(server) as address, dialling(first, address):
            await first.until(lambda: bool(first.channels))
            await server.until(lambda: bool(server.channels))
            async with dialling(second, address):
                await second.until(lambda: bool(second.notes))
            assert len(server.channels) == 1

    run(test)


def test_a_stranger_that_dawdles_makes_room_and_one_that_says_nothing_has_to_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Connections that do not even begin to speak TLS, more than there may be: others still get in."""
    monkeypatch.setattr(limits, "STRANGERS_MAX", 4)
    monkeypatch.setattr(limits, "STRANGER_S", 0.05)
    monkeypatch.setattr(limits, "HELLO_TIMEOUT_S", 1.0)

    async def test() -> None:
        server, client = Side(), Side()

        async def admitting(channel: TlsChannel) -> None:
            channel.admit()
            await server.serve(channel)

        listener = Listener(tls.server_context(STORAGE), admitting, server.note)
        address = await listener.start()
        slow = [await asyncio.open_connection(*address) for _ in range(12)]
        async with dialling(client, address):
            await server.until(lambda: bool(server.channels))
            assert any("made room for another" in note for note in server.notes)
            ends = await asyncio.gather(*(reader.read() for reader, _ in slow), return_exceptions=True)
            assert [end for end in ends if end and not isinstance(end, ConnectionError)] == []
            assert any("did not say who it is within 1 s" in note for note in server.notes)
            # Who was admitted stays, however long it is silent.
            await client.until(lambda: bool(client.channels))
            client.channels[0].send(1, b"still here")
            await server.until(lambda: server.received == [(1, b"still here")])
        await listener.close()
        for _, writer in slow:
            writer.close()

    run(test)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01"], ids=["no TLS", "half a record"])
def test_nothing_is_kept_of_a_connection_that_failed(data: bytes) -> None:
    """Its buffers are large, and the next collection of garbage may be thousands of connections away."""

    async def test() -> None:
        server = Side()
        async with listening(server) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(data)
            writer.write_eof()
            await asyncio.gather(reader.read(), return_exceptions=True)
            writer.close()
            await server.until(lambda: bool(server.notes))
        assert not [found for found in gc.get_objects() if isinstance(found, asyncio.sslproto.SSLProtocol)]

    gc.collect()
    gc.disable()
    try:
        run(test)
    finally:
        gc.enable()


def test_many_dropped_connections_are_counted_and_not_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NOTES_MAX", 3)
    monkeypatch.setattr(limits, "NOTES_S", 1e6)

    async def test() -> None:
        server = Side()
        listener = Listener(tls.server_context(STORAGE), server.serve, server.note)
        address = await listener.start()
        try:

            async def garbage() -> None:
                reader, writer = await asyncio.open_connection(*address)
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                await asyncio.gather(reader.read(), return_exceptions=True)
                writer.close()

            await asyncio.gather(*(garbage() for _ in range(10)))
            assert len(server.notes) == 3
            assert all("was dropped in the handshake" in note for note in server.notes)
            cast("Any", listener._note)._until = 0.0  # as if that time were over
            await garbage()
            assert server.notes[3:4] == ["7 more connections were dropped before this"]
            assert len(server.notes) == 5
        finally:
            await listener.close()

    run(test)
