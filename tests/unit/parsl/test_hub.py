"""The hub of a NodeExecutor with nodes that are played: what goes where, and what becomes of it."""

from __future__ import annotations

import asyncio
import queue
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

pytest.importorskip("parsl", reason="Parsl is not installed: pip install 'scichain-wf[parsl]'")

from scichain_parsl.nodes.hub import Hub, Node
from scichain_parsl.nodes.messages import HUB, ITEM, Item, Kind, Status, Talk, items, words
from scichain_wf import limits
from scichain_wf.errors import PeerError
from scichain_wf.transport import tls
from scichain_wf.transport.channel import TlsChannel
from scichain_wf.transport.credentials import Credentials
from scichain_wf.transport.link import keep_connected
from scichain_wf.transport.runca import RunAuthority

HELLO = {"block": "0", "host": "a host", "pid": 1, "python": list(sys.version_info[:2])}
Play = Callable[[Talk], Awaitable[None]]


class Stage:
    """A running hub, and what it told."""

    def __init__(self) -> None:
        self.told: queue.Queue[Item] = queue.Queue()
        self.lost: queue.Queue[Node] = queue.Queue()
        self.hub = Hub("of a test", 0, None, self.told.put, self.lost.put)
        self.address = self.hub.start("127.0.0.1", (0, 0))
        self.notes: list[str] = []

    def play(self, *nodes: Play, credentials: Credentials | None = None) -> None:
        """Each node's conversation, until all of them have returned, or lost their channel."""

        async def one(node: Play) -> None:
            over = asyncio.Event()

            async def serve(channel: TlsChannel) -> None:
                try:
                    with suppress(PeerError):
                        await node(Talk(channel))
                finally:
                    over.set()

            def note(text: str) -> None:
                self.notes.append(text)
                over.set()

            context = tls.client_context(credentials or self.hub.credentials)
            dialling = asyncio.create_task(keep_connected(self.address, context, HUB, serve, note))
            await over.wait()
            dialling.cancel()
            await asyncio.gather(dialling, return_exceptions=True)

        async def all_of_them() -> None:
            async with asyncio.timeout(30):
                await asyncio.gather(*(one(node) for node in nodes))

        asyncio.run(all_of_them())


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.hub.close()


async def ready(talk: Talk, workers: int = 1, **more: Any) -> dict[str, Any]:
    """Introduce oneself; what the hub says."""
    await talk.say(Kind.HELLO, HELLO | more)
    welcome = await talk.hear(Kind.WELCOME)
    await talk.say(Kind.READY, {"workers": workers, "slot": 0})
    return welcome


async def tasks(talk: Talk) -> list[Item]:
    """The next tasks."""
    kind, payload = await talk.receive()
    assert kind is Kind.TASKS
    return list(items(payload))


def test_a_task_goes_to_a_worker_that_is_free_and_its_result_comes_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TASK_PART_BYTES", 1_000)  # both ways in parts
    big = bytes(range(256)) * 40
    for number in range(3):
        stage.hub.put(number, big)

    async def node(talk: Talk) -> None:
        assert await ready(talk) == {"chain": None, "refused": ""}
        for number in range(3):  # one worker: the next task comes when this one is done
            [item] = await tasks(talk)
            assert (item.number, item.data) == (number, big)
            await talk.send_items(Kind.RESULTS, [Item(number, Status.OK, item.data[::-1])])

    stage.play(node)
    assert [stage.told.get(timeout=5) for _ in range(3)] == [Item(n, Status.OK, big[::-1]) for n in range(3)]


def test_what_a_lost_node_had_is_lost_and_what_it_gave_back_goes_elsewhere(stage: Stage) -> None:
    stage.hub.put(1, b"one")
    stage.hub.put(2, b"two")
    first_has_both = asyncio.Event()

    async def first(talk: Talk) -> None:
        await ready(talk, workers=2)
        taken: list[Item] = []
        while len(taken) < 2:
            taken += await tasks(talk)
        await talk.send(Kind.RETURNED, ITEM.pack(2, Status.LOST, 0))
        first_has_both.set()

    async def second(talk: Talk) -> None:
        await first_has_both.wait()
        await ready(talk, block="1", host="another")
        assert await tasks(talk) == [Item(2, Status.OK, b"two")]
        await talk.send_items(Kind.RESULTS, [Item(2, Status.ERROR, b"!"), Item(9, Status.OK, b"nobody asked for it")])

    stage.play(first, second)
    told = {item.number: item for item in (stage.told.get(timeout=5) for _ in range(2))}
    assert told == {1: Item(1, Status.LOST, b"a host (block 0)"), 2: Item(2, Status.ERROR, b"!")}
    assert {stage.lost.get(timeout=5).host for _ in range(2)} == {"a host", "another"}
    assert stage.told.empty()


def test_blocks_that_are_to_end_are_told_and_waited_for(stage: Stage) -> None:
    ended: list[str] = []

    async def node(talk: Talk) -> None:
        await ready(talk)
        stage.hub.put(1, b"")
        await tasks(talk)
        ending = asyncio.create_task(asyncio.to_thread(stage.hub.end, ["0", "7"], 20))
        kind, _ = await talk.receive()
        assert kind is Kind.END
        assert not ending.done()
        await talk.send_items(Kind.RESULTS, [Item(1, Status.OK, b"")])
        ended.append("told")

    stage.play(node)
    assert ended == ["told"]
    assert stage.told.get(timeout=5) == Item(1, Status.OK, b"")


def test_a_node_with_another_python_is_refused_with_a_word(stage: Stage) -> None:
    said: list[str] = []

    async def node(talk: Talk) -> None:
        await talk.say(Kind.HELLO, HELLO | {"python": [3, 2]})
        said.append((await talk.hear(Kind.WELCOME))["refused"])

    stage.play(node)
    assert "this node has Python 3.2 and the main process has 3." in said[0]
    assert not stage.hub.nodes


def test_who_has_no_certificate_of_this_executor_is_nobody(stage: Stage) -> None:
    other = RunAuthority("another").issue("node")

    async def node(talk: Talk) -> None:
        await ready(talk)
        raise AssertionError("it was talked to")

    stage.play(node, credentials=other)
    assert stage.notes
    assert not stage.hub.nodes
    stage.play(node, credentials=Hub("of a test", 0, None, print, print).credentials)  # the same name is not enough
    assert not stage.hub.nodes


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Kind.HELLO, b"[]"),
        (Kind.HELLO, b"{"),
        (Kind.HELLO, b'{"block": "0", "host": "h", "pid": "x", "python": [3, 11]}'),
        (Kind.READY, b'{"workers": 1}'),
    ],
)
def test_a_node_that_does_not_introduce_itself_is_dropped(stage: Stage, kind: Kind, payload: bytes) -> None:
    ended: list[bool] = []

    async def node(talk: Talk) -> None:
        await talk.send(kind, payload)
        with pytest.raises(PeerError):
            await talk.receive()
        ended.append(True)

    stage.play(node)
    assert ended == [True]
    assert not stage.hub.nodes


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Kind.READY, b'{"workers": -1, "slot": 0}'),
        (Kind.READY, b'{"workers": true, "slot": 0}'),
        (Kind.RESULTS, b"short"),
        (Kind.RESULTS, ITEM.pack(1, 77, 0)),
        (Kind.RESULTS, ITEM.pack(1, 0, 5) + b"four"),
        (Kind.TASKS, b""),
        (99, b""),
    ],
)
def test_a_node_that_talks_nonsense_is_dropped_and_its_task_lost(stage: Stage, kind: Kind, payload: bytes) -> None:
    stage.hub.put(1, b"")

    async def node(talk: Talk) -> None:
        await ready(talk)
        await tasks(talk)
        await talk.send(kind, payload)
        with pytest.raises(PeerError):
            await talk.receive()

    stage.play(node)
    assert stage.told.get(timeout=5).status is Status.LOST
    assert stage.lost.get(timeout=5).host == "a host"


def test_a_message_over_the_limit_ends_the_channel(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TASK_PART_BYTES", 1_000)

    async def node(talk: Talk) -> None:
        await ready(talk)
        stage.hub.put(1, b"")
        await tasks(talk)
        monkeypatch.setattr(limits, "TASK_BYTES_MAX", 3_000)
        with pytest.raises(PeerError):
            for _ in range(100):
                await talk.send(Kind.RESULTS, b"x" * 5_000)
                await asyncio.sleep(0.01)

    stage.play(node)
    assert stage.told.get(timeout=5).status is Status.LOST


def test_words_are_an_object() -> None:
    assert words(b'{"a": 1}') == {"a": 1}
    with pytest.raises(PeerError, match="is not a JSON object"):
        words(b"7")
