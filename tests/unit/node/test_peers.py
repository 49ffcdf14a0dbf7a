"""Channels between agents: who is listened to."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from scichain_wf import limits
from scichain_wf.node.log import Log
from scichain_wf.node.peers import Peers
from scichain_wf.node.tasks import Tasks
from scichain_wf.transport import frames, tls
from scichain_wf.transport.runca import RunAuthority
from tests.unit.transport.kit import WAIT_S, Watched

RUN = RunAuthority("test")
OWN = 2


class Node(Watched):
    """The agent of slot OWN, which listens; what it heard."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[Any, ...]] = []
        self.ups: list[tuple[Any, ...]] = []
        self.failed: list[BaseException] = []
        own = RUN.issue(tls.slot_name(OWN))
        contexts = tls.server_context(own), tls.client_context(own)
        self.peers = Peers(
            OWN,
            contexts,
            self.hears,
            self.turns,
            Tasks(self.failed.append),
            Log("test"),
        )

    def hears(self, *frame: Any) -> None:
        self.heard.append(frame)
        self.changed.set()

    def turns(self, *change: Any) -> None:
        self.ups.append(change)
        self.changed.set()


async def dialled(address: tuple[str, int], name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A process of the run, called `name`, that says something at once."""
    context = tls.client_context(RUN.issue(name))
    reader, writer = await asyncio.open_connection(*address, ssl=context, server_hostname=tls.slot_name(OWN))
    writer.write(frames.encoded(7, b"hello"))
    return reader, writer


@pytest.mark.parametrize("name", ["slot-1", "slot-2", "storage", "slot-0", "slot-x"])
def test_who_does_not_dial_this_slot_is_refused_before_a_frame_is_read(name: str) -> None:
    async def play() -> None:
        node = Node()
        node.peers.admit(frozenset(range(100)))
        reader, writer = await dialled(await node.peers.listen("127.0.0.1", (0, 0)), name)
        assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
        writer.transport.abort()
        assert not node.heard
        assert not node.ups
        await node.peers.close()
        assert not node.failed

    asyncio.run(play())


def test_who_is_no_member_of_the_epoch_is_not_listened_to_until_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate of the run does not suffice; who has just joined may come before the link that says so."""
    monkeypatch.setattr(limits, "HELLO_TIMEOUT_S", 1.5)

    async def play() -> None:
        node = Node()
        address = await node.peers.listen("127.0.0.1", (0, 0))
        node.peers.admit(frozenset({1, OWN, 3}))
        third, fourth = await dialled(address, "slot-3"), await dialled(address, "slot-4")
        await node.until(lambda: bool(node.heard))
        assert node.heard == [(3, 7, b"hello")]
        assert node.ups == [(3, True)]
        assert await asyncio.wait_for(fourth[0].read(), WAIT_S) == b""  # its time is over
        assert node.heard == [(3, 7, b"hello")]
        again = await dialled(address, "slot-4")
        await asyncio.sleep(0.05)
        assert len(node.heard) == 1
        node.peers.admit(frozenset({1, OWN, 3, 4}))
        await node.until(lambda: len(node.heard) == 2)
        assert node.peers.connected == {3, 4}
        for _, writer in (third, fourth, again):
            writer.transport.abort()
        await node.peers.close()
        assert not node.failed

    asyncio.run(play())


def test_who_leaves_before_it_is_a_member_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not only when its time is over: each that waits has buffers here."""
    monkeypatch.setattr(limits, "STRANGER_S", 0.02)

    async def play() -> None:
        node = Node()
        address = await node.peers.listen("127.0.0.1", (0, 0))
        _, writer = await dialled(address, "slot-4")
        writer.transport.abort()
        said = ""
        async with asyncio.timeout(limits.HELLO_TIMEOUT_S / 2):
            while not said:
                await asyncio.sleep(0.02)
                said = capsys.readouterr().err
        assert "slot 4 left before it was a member" in said
        await node.peers.close()

    asyncio.run(play())


def test_a_pair_of_agents_talks_and_dials_again_where_one_has_moved() -> None:
    async def play() -> None:
        node, other = Node(), Node()
        address = await node.peers.listen("127.0.0.1", (0, 0))
        node.peers.admit(frozenset({OWN, 3}))
        own = RUN.issue("slot-3")
        contexts = tls.server_context(own), tls.client_context(own)
        dialling = Tasks(other.failed.append)
        third = Peers(3, contexts, other.hears, other.turns, dialling, Log("test"))
        await third.listen("127.0.0.1", (0, 0))
        third.learn({OWN: ("127.0.0.1", 9), 3: address, 4: address})  # nobody is there; itself; not for it to dial
        third.learn({OWN: address})
        await node.until(lambda: node.peers.connected == {3})
        await other.until(lambda: third.connected == {OWN})
        assert node.peers.send(3, 9, b"x")
        assert not node.peers.send(4, 9, b"x")
        await other.until(lambda: other.heard == [(OWN, 9, b"x")])
        cast("Any", node.peers)._channels[3].abort()
        await node.until(lambda: node.ups == [(3, True), (3, False), (3, True)])
        await dialling.cancel()
        await third.close()
        await node.peers.close()
        assert not node.failed
        assert not other.failed

    asyncio.run(play())
