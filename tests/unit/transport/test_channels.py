"""Channels over loopback: who gets in, what is dropped, what is kept in order, how they end."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import ssl
from dataclasses import replace

import pytest

from scichain_wf import limits
from scichain_wf.errors import ConfigError, PeerError, UsageError
from scichain_wf.transport import frames, runca, tls
from scichain_wf.transport.channel import TlsChannel
from scichain_wf.transport.credentials import Credentials
from scichain_wf.transport.link import Listener
from scichain_wf.transport.memory import pair
from scichain_wf.transport.runca import RunAuthority, fingerprint
from tests.unit.transport.kit import RUN, SLOT_1, STORAGE, Side, dialling, listening, run


def test_frames_arrive_in_order_with_the_senders_proven_name() -> None:
    async def test() -> None:
        server, client = Side(), Side()
        async with listening(server) as address, dialling(client, address):
            await client.until(lambda: bool(client.channels))
            sent = [(kind, bytes([kind]) * kind * 100) for kind in range(1, 50)]
            assert all(client.channels[0].send(*frame) for frame in sent)
            await server.until(lambda: len(server.received) == len(sent))
            assert server.received == sent
            assert server.channels[0].peer == "slot-1"
            assert client.channels[0].peer == "storage"
            assert server.channels[0].send(7, b"back")
            await client.until(lambda: client.received == [(7, b"back")])

    run(test)


def test_both_sides_speak_tls_1_3_only() -> None:
    async def test() -> None:
        server, old = Side(), tls.client_context(SLOT_1)
        old.minimum_version = ssl.TLSVersion.TLSv1_2
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        client = Side()
        async with listening(server) as address:
            with pytest.raises((ConnectionError, ssl.SSLError)):
                await asyncio.open_connection(*address, ssl=old, server_hostname="storage")
            assert not server.channels
            async with dialling(client, address):
                await client.until(lambda: bool(client.channels))
                assert client.channels[0]._writer.get_extra_info("ssl_object").version() == "TLSv1.3"

    run(test)


@pytest.mark.parametrize("stranger", [RunAuthority("test").issue("slot-1"), RUN.issue("slot-2")])
def test_a_server_of_another_run_or_name_is_not_talked_to(stranger: Credentials) -> None:
    async def test() -> None:
        server, client = Side(), Side()
        async with listening(server, stranger) as address, dialling(client, address):
            await client.until(lambda: len(client.notes) >= 2)  # it tries again, and notes why each time
        assert not client.channels
        assert "cannot reach storage" in client.notes[0]

    run(test)


@pytest.mark.parametrize("certified", [True, False])
def test_a_client_without_a_certificate_of_the_run_is_not_served(certified: bool) -> None:
    async def test() -> None:
        server = Side()
        context = tls.client_context(RunAuthority("other").issue("slot-1"))
        if not certified:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        async with listening(server) as address:
            # In TLS 1.3 the client believes to be connected before its certificate is looked at.
            reader, writer = await asyncio.open_connection(*address, ssl=context)
            writer.write(frames.encoded(1, b"x"))
            try:
                assert await reader.read() == b""
            except OSError:
                assert True  # an alert or a reset, whichever is read first
            writer.transport.abort()
        assert not server.received
        assert not server.channels

    run(test)


def test_a_certificate_that_is_over_is_refused_by_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Side()
    monkeypatch.setattr(runca, "_LIFE", dt.timedelta(hours=-1))
    agent, storage = RUN.issue("slot-1"), RUN.issue("storage")

    async def test() -> None:
        async with listening(server) as address, dialling(Side(), address, agent):
            await server.until(lambda: any("certificate has expired" in note for note in server.notes))
        client = Side()
        async with listening(Side(), storage) as address, dialling(client, address):
            await client.until(lambda: any("certificate has expired" in note for note in client.notes))
        assert not server.received
        assert not client.channels

    run(test)


def test_an_oversize_frame_ends_the_channel_before_anything_is_allocated() -> None:
    async def test() -> None:
        server, client = Side(), Side()
        async with listening(server) as address, dialling(client, address):
            await client.until(lambda: bool(client.channels))
            writer = client.channels[0]._writer
            writer.write(frames.HEADER.pack(1, limits.HELLO_BYTES_MAX + 1))
            await server.until(lambda: bool(server.notes))
            assert f"allowed are {limits.HELLO_BYTES_MAX}" in server.notes[0]
            # It is dialled again, and works again.
            await client.until(lambda: len(client.channels) == 2)
            client.channels[1].send(1, b"fine")
            await server.until(lambda: server.received == [(1, b"fine")])

    run(test)


def test_who_is_admitted_may_send_full_frames_and_not_one_byte_more() -> None:
    async def test() -> None:
        server, client = Side(), Side()
        async with listening(server) as address, dialling(client, address):
            await server.until(lambda: bool(server.channels))
            await client.until(lambda: bool(client.channels))
            server.channels[0].admit()
            client.channels[0].send(1, bytes(limits.HELLO_BYTES_MAX + 1))
            await server.until(lambda: bool(server.received))
            client.channels[0]._writer.write(frames.HEADER.pack(1, limits.FRAME_BYTES_MAX + 1))
            await server.until(lambda: bool(server.notes))
            assert "announces" in server.notes[0]

    run(test)


def test_a_peer_that_does_not_read_is_bounded_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEND_QUEUE_BYTES_MAX", 1 << 20)

    async def test() -> None:
        client = Side()

        async def ignore(channel: TlsChannel) -> None:
            channel._writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.Event().wait()

        listener = Listener(tls.server_context(STORAGE), ignore, client.note)
        async with dialling(client, await listener.start()):
            await client.until(lambda: bool(client.channels))
            taken = 0
            while client.channels[0].send(1, bytes(60_000)):
                taken += 60_000
                assert taken < 64 << 20
                await asyncio.sleep(0)
        await listener.close()

    run(test)


def test_a_closed_channel_takes_nothing_and_says_so() -> None:
    async def test() -> None:
        server, client = Side(), Side()
        async with listening(server) as address, dialling(client, address):
            await client.until(lambda: bool(client.channels))
            await client.channels[0].close()
            assert not client.channels[0].send(1, b"x")
            with pytest.raises(PeerError, match="ended"):
                await client.channels[0].receive()
            await server.until(lambda: any("closed by the other side" in note for note in server.notes))

    run(test)


def test_a_channel_cut_inside_a_frame_says_so() -> None:
    async def test() -> None:
        server, client = Side(), Side()
        async with listening(server) as address, dialling(client, address):
            await client.until(lambda: bool(client.channels))
            client.channels[0]._writer.write(frames.HEADER.pack(1, 100) + b"half")
            await client.channels[0].close()
            await server.until(lambda: any("inside a frame" in note for note in server.notes))

    run(test)


def test_heartbeats_keep_a_silent_channel_and_silence_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEARTBEAT_S", 0.02)
    monkeypatch.setattr(limits, "SILENCE_S_MAX", 0.2)

    async def test() -> None:
        server, client = Side(), Side()
        async with listening(server) as address, dialling(client, address):
            await client.until(lambda: bool(client.channels))
            await server.until(lambda: bool(server.channels))
            heard = client.channels[0]._heard
            loop = asyncio.get_running_loop()
            for _ in range(1_000):
                if client.channels[0]._heard > heard + 0.3:  # longer than silence is allowed to last
                    break
                await asyncio.sleep(0.01)
            assert not server.notes
            assert not server.received
            server.channels[0]._heartbeat.cancel()  # as if it were stopped
            await client.until(lambda: bool(client.notes))
            assert loop.time() - client.channels[0]._heard >= limits.SILENCE_S_MAX

    run(test)


def test_a_listener_takes_the_first_free_port_of_its_range_or_says_that_there_is_none() -> None:
    async def test() -> None:
        listeners = [Listener(tls.server_context(STORAGE), Side().serve, Side().note) for _ in range(3)]
        try:
            host, first = await listeners[0].start()
            assert host == "127.0.0.1"
            with pytest.raises(ConfigError, match=f"no port from {first} to {first} is free on 127.0.0.1"):
                await listeners[1].start(ports=(first, first))
            with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1: .*another interface"):
                await listeners[1].start("192.0.2.1")
            _, port = await listeners[1].start(ports=(first, min(first + 50, 65_535)))
            assert port > first
        finally:
            for listener in listeners:
                await listener.close()

    run(test)


def test_an_unencrypted_stream_is_no_channel() -> None:
    async def test() -> None:
        failed: list[str] = []
        done = asyncio.Event()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                TlsChannel(reader, writer)
            except PeerError as error:
                failed.append(str(error))
            writer.close()
            done.set()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await done.wait()
        writer.close()
        server.close()
        assert failed == ["the connection is not encrypted"]

    run(test)


def test_a_certificate_names_one_process() -> None:
    class Two:
        def getpeercert(self) -> dict[str, object]:
            return {"subjectAltName": (("DNS", "slot-1"), ("DNS", "storage"))}

    for connection in (Two(), type("None_", (), {"getpeercert": lambda _: None})()):
        with pytest.raises(PeerError, match="does not name one process"):
            tls.peer_name(connection)  # type: ignore[arg-type]


def test_names_of_slots() -> None:
    assert tls.slot_of(tls.slot_name(17)) == 17
    assert tls.slot_of("storage") is None
    assert tls.slot_of("slot-") is None
    assert tls.slot_of("slot-x") is None


def test_credentials_never_show_their_key() -> None:
    assert "PRIVATE" not in repr(SLOT_1)
    assert "PRIVATE" in SLOT_1.key
    assert len(fingerprint(SLOT_1.certificate)) == 64


def test_credentials_are_usable_without_memory_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    assert tls.client_context(SLOT_1).check_hostname
    with pytest.raises(ssl.SSLError):
        tls.client_context(replace(SLOT_1, key=STORAGE.key))


def test_frames_over_the_limit_cannot_be_made() -> None:
    with pytest.raises(UsageError):
        frames.encoded(256, b"")
    with pytest.raises(UsageError):
        frames.encoded(1, bytes(limits.FRAME_BYTES_MAX + 1))
    with pytest.raises(PeerError, match="kind 0"):
        frames.checked(frames.HEADER.pack(frames.HEARTBEAT, 1), 10)


def test_the_twin_in_memory_behaves_like_a_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        agent, storage = pair("slot-1", "storage")
        assert [agent.peer, storage.peer] == ["storage", "slot-1"]
        assert agent.send(1, b"a")
        assert storage.send(2, b"b")
        assert await storage.receive() == (1, b"a")
        assert await agent.receive() == (2, b"b")
        monkeypatch.setattr(limits, "SEND_QUEUE_BYTES_MAX", 0)
        assert agent.send(1, b"")
        assert not agent.send(1, b"")
        await agent.close()
        assert not storage.send(1, b"")
        assert await storage.receive() == (1, b"")
        for _ in range(2):
            with pytest.raises(PeerError, match="ended"):
                await storage.receive()

    run(test)
