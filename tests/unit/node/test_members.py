"""Agents at the storage node: who gets which links, in which order, over which channel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest

from scichain_wf import limits
from scichain_wf.consensus import membership, messages
from scichain_wf.consensus.effects import Announce, Replay
from scichain_wf.consensus.events import Presented
from scichain_wf.crypto import merkle
from scichain_wf.errors import PeerError
from scichain_wf.ledger.view import ChainView
from scichain_wf.model.block import Block
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from scichain_wf.node import wire
from scichain_wf.node.members import Member, Members
from scichain_wf.node.storage_node import StorageNode
from scichain_wf.node.tasks import Tasks
from scichain_wf.transport import tls
from tests.builders import ChainBuilder, signing_key
from tests.chains import DiskChain

T = TypeVar("T")
LINKS = 40


async def until(holds: Callable[[], bool]) -> None:
    """Let others run until something holds."""
    for _ in range(1_000):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came")


class Line:
    """An agent's channel: what the storage node sent over it, and what the agent says."""

    def __init__(self, slot: int, accept: int = 10_000) -> None:
        self.peer = tls.slot_name(slot)
        self.sent: list[tuple[int, bytes]] = []
        self.says: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self.accept = accept
        self.ended = False

    def admit(self) -> None:
        pass

    def send(self, kind: int, payload: bytes) -> bool:
        if self.ended or len(self.sent) >= self.accept:
            return False
        self.sent.append((kind, payload))
        return True

    async def receive(self) -> tuple[int, bytes]:
        kind, payload = await self.says.get()
        if kind < 0:
            raise PeerError("the channel ended")
        return kind, payload

    def abort(self) -> None:
        self.ended = True
        self.says.put_nowait((-1, b""))

    async def close(self) -> None:
        self.abort()

    def heights(self) -> list[int]:
        """Heights of the links sent, in order."""
        kind = messages.Kind.COMMITTED
        return [messages.Committed.decode(payload).link.height for sent, payload in self.sent if sent == kind]


class Desk:
    """`Members` over a chain, reading when it is let, and the agents that said HELLO."""

    def __init__(self, chain: DiskChain) -> None:
        self.chain = chain
        self.hellos: list[Member] = []
        self.received: list[tuple[int, int, bytes]] = []
        self.on_read: Callable[[], None] = lambda: None
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.failed: list[BaseException] = []
        with chain.store.view() as view:
            size = view.size
        self.members = Members(
            self.read,
            Tasks(self.failed.append).spawn,
            lambda *frame: self.received.append(frame),
            self.hellos.append,
            lambda: None,
            size,
            3,
        )
        self.lines: list[asyncio.Task[None]] = []

    async def read(self, function: Callable[[ChainView], T], /) -> T:
        await asyncio.sleep(0)
        await self.may_read.wait()
        with self.chain.store.view() as view:
            found = function(view)
        self.on_read()
        return found

    async def connected(self, slot: int, line: Line | None = None, key: str = "k", **more: object) -> Line:
        """An agent's channel, with its hello said."""
        line = line or Line(slot)
        issued = membership.issue_token(signing_key(1, "a"), bytes(32), 1, slot, signing_key(1, "t"))
        join = membership.bind(issued, bytes(32), signing_key(slot, key).public, "host")
        hello = wire.join_value(join) | {"address": ["10.0.0.1", slot], "next": 0} | more
        line.says.put_nowait((wire.Kind.HELLO, wire.encoded(hello)))
        expected = len(self.hellos) + 1
        serving = asyncio.ensure_future(self.members.serve(cast("Any", line)))
        self.lines.append(serving)
        await until(lambda: len(self.hellos) == expected or serving.done())
        if serving.done():
            await serving
        return line

    async def close(self) -> None:
        for line in self.lines:
            line.cancel()
        await asyncio.gather(*self.lines, return_exceptions=True)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiskChain]:
    """LINKS links."""
    builder = ChainBuilder(slots=2, settings=Settings(difficulty=Difficulty(value=0)))
    with DiskChain(tmp_path_factory.mktemp("members") / "chain", builder) as made:
        while builder.height < LINKS - 1:
            made.block(1, [builder.task(f"t{builder.height}")])
        yield made


def played(chain: DiskChain, play: Callable[[Desk], Awaitable[None]]) -> None:
    async def whole() -> None:
        desk = Desk(chain)
        try:
            await play(desk)
        finally:
            await desk.close()

    asyncio.run(whole())


def announced(chain: DiskChain, height: int, holders: frozenset[int] = frozenset()) -> Announce:
    with chain.store.view() as view:
        committed = messages.Committed(view.link(height), Block.decode(view.block_bytes(height)))
    return Announce(committed, holders)


def test_a_welcome_comes_first_then_every_link_once_and_in_order(chain: DiskChain) -> None:
    async def play(desk: Desk) -> None:
        line = await desk.connected(1)
        assert line.sent == []  # whoever compares its head with the chain does so now
        await desk.members.welcome(desk.hellos[0])
        assert line.sent[0][0] == wire.Kind.WELCOME
        welcome = wire.decoded(line.sent[0][1])
        assert [welcome["size"], welcome["anchors"], welcome["peers"]] == [0, [], {"1": ["10.0.0.1", 1]}]
        assert line.heights() == list(range(LINKS))

    played(chain, play)


def test_an_agent_that_comes_late_gets_the_newest_links_only(chain: DiskChain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SYNC_LINKS_MAX", 5)
    monkeypatch.setattr(limits, "JOIN_LINKS_MAX", 3)

    async def play(desk: Desk) -> None:
        fresh = await desk.connected(3)
        await desk.members.welcome(desk.hellos.pop())
        assert fresh.heights() == list(range(LINKS - 3, LINKS))
        line = await desk.connected(1, next=3)
        await desk.members.welcome(desk.hellos[0])
        assert line.heights() == list(range(LINKS - 5, LINKS))
        await desk.members.replay(Replay(1, 0))
        assert line.heights()[5:] == list(range(LINKS - 5, LINKS))
        ahead = await desk.connected(2, next=10**9)
        await desk.members.welcome(desk.hellos[1])
        assert ahead.heights() == []

    played(chain, play)


def test_what_is_announced_meanwhile_comes_in_its_place(chain: DiskChain) -> None:
    """Without its block for who has that."""

    async def play(desk: Desk) -> None:
        desk.members.size = LINKS - 2
        line = await desk.connected(1)

        def grow() -> None:
            desk.members.announce(announced(chain, LINKS - 2))
            desk.on_read = lambda: None

        welcoming = asyncio.ensure_future(desk.members.welcome(desk.hellos[0]))
        await until(lambda: line.sent != [])
        desk.on_read = grow
        await welcoming
        desk.members.announce(announced(chain, LINKS - 1, frozenset({1})))
        assert line.heights() == list(range(LINKS))
        assert messages.Committed.decode(line.sent[-1][1]).block is None

    played(chain, play)


def test_links_are_replayed_from_where_the_last_request_says(chain: DiskChain) -> None:
    """Two requests at once make neither a gap nor a second stream."""

    async def play(desk: Desk) -> None:
        line = await desk.connected(1, next=LINKS)
        await desk.members.replay(Replay(1, 0))  # not welcomed yet
        await desk.members.replay(Replay(7, 0))  # nobody
        await desk.members.welcome(desk.hellos[0])
        assert line.heights() == []
        await asyncio.gather(desk.members.replay(Replay(1, 30)), desk.members.replay(Replay(1, 20)))
        assert line.heights() == list(range(20, LINKS))
        await desk.members.replay(Replay(1, LINKS + 5))
        desk.members.broadcast(wire.Kind.RELEASE, b"")
        assert line.heights() == list(range(20, LINKS))
        assert line.sent[-1] == (wire.Kind.RELEASE, b"")

    played(chain, play)


def test_a_new_channel_waits_for_its_own_welcome(chain: DiskChain) -> None:
    """What was on its way over the old one neither goes on over the new one nor comes before its welcome."""

    async def play(desk: Desk) -> None:
        old = await desk.connected(1)
        welcoming = asyncio.ensure_future(desk.members.welcome(desk.hellos[0]))
        await until(lambda: old.sent != [])
        new = await desk.connected(1, next=35)
        assert old.ended
        await welcoming
        assert new.sent == []
        await desk.members.welcome(desk.hellos[1])
        assert new.sent[0][0] == wire.Kind.WELCOME
        assert new.heights() == list(range(35, LINKS))

    played(chain, play)


def test_an_agent_that_does_not_read_loses_its_channel(chain: DiskChain) -> None:
    async def play(desk: Desk) -> None:
        line = await desk.connected(1, Line(1, accept=4))
        await desk.members.welcome(desk.hellos[0])
        assert line.ended
        assert line.heights() == [0, 1, 2]
        await until(lambda: desk.hellos[0].channel is None)
        await desk.members.welcome(desk.hellos[0])
        desk.members.broadcast(wire.Kind.RELEASE, b"")
        assert len(line.sent) == 4

    played(chain, play)


def test_a_slot_is_filled_by_who_came_last_and_never_by_who_was_replaced(chain: DiskChain) -> None:
    async def play(desk: Desk) -> None:
        first = await desk.connected(1)
        with pytest.raises(PeerError, match="presents a join for slot 2"):
            await desk.connected(2, Line(1))
        assert [first.ended] == [False]
        first.says.put_nowait((wire.Kind.STATUS, b""))
        first.says.put_nowait((wire.Kind.READY, b"{}"))
        await until(lambda: desk.hellos[0].is_ready)
        assert desk.received == [(1, wire.Kind.STATUS, b"")]
        desk.members.leave(1)
        assert [member.has_left for member in desk.members.all] == [True]
        second = await desk.connected(1, key="another")
        assert [line.ended for line in (first, second)] == [True, False]
        assert [member.has_left for member in desk.members.all] == [False]
        late = Line(1)
        with pytest.raises(PeerError, match="slot 1 has been filled by another process since"):
            await desk.connected(1, late)
        assert ([kind for kind, _ in late.sent], late.ended) == ([wire.Kind.DISMISSED], True)
        assert [line.ended for line in (first, second)] == [True, False]
        desk.members.leave(2)
        desk.members.forget(1)
        assert [line.ended for line in (first, second)] == [True, True]
        assert desk.members.all == []
        desk.members.dismiss(1, "-", for_good=False)
        assert desk.members.send(1, wire.Kind.RELEASE, b"") is False

    played(chain, play)


@pytest.mark.parametrize("for_good", [False, True])
def test_who_is_dismissed_is_told_why_until_somebody_is_welcome(chain: DiskChain, for_good: bool) -> None:
    async def play(desk: Desk) -> None:
        line = await desk.connected(1)
        desk.members.dismiss(1, "its token is forged", for_good=for_good)
        await until(lambda: line.ended)
        told = wire.encoded({"reason": "its token is forged", "for_good": for_good})
        assert line.sent == [(wire.Kind.DISMISSED, told)]
        assert [member.slot for member in desk.members.all] == ([] if for_good else [1])
        await desk.connected(1, key="another")
        assert desk.members.dismissed == {1: "its token is forged"}
        await desk.members.welcome(desk.hellos[-1])
        assert desk.members.dismissed == {}

    played(chain, play)


def test_who_asks_faster_than_it_gets_answers_is_not_listened_to(chain: DiskChain) -> None:
    """One question waits at a time; what comes before the next one is heard."""
    with chain.store.view() as view:
        identity = merkle.leaf_hash(view.transaction((LINKS - 1, 0)))
        key = bytes.fromhex(json.loads(view.transaction((LINKS - 1, 0)))["key"])

    async def play(desk: Desk) -> None:
        line = await desk.connected(1)
        desk.may_read.clear()
        for number in range(3):
            line.says.put_nowait((wire.Kind.QUERY, wire.query([(key, identity), (key, bytes(32))][: number + 1])))
            line.says.put_nowait((wire.Kind.STATUS, b"%d" % number))
        await until(lambda: desk.received != [])
        for _ in range(20):
            await asyncio.sleep(0)
        assert desk.received == [(1, wire.Kind.STATUS, b"0")]
        assert line.sent == []
        desk.may_read.set()
        await until(lambda: len(line.sent) == 3)
        assert line.sent == [(wire.Kind.KNOWN, known) for known in (b"\1", b"\1\0", b"\1\0")]
        assert [payload for _, _, payload in desk.received] == [b"0", b"1", b"2"]
        assert desk.failed == []

    played(chain, play)


def test_an_answer_goes_to_who_asked_and_never_over_the_next_channel(chain: DiskChain) -> None:
    """Spec: LOSS-1. Answers do not name their question: a stale one would tell that something else is committed."""

    async def play(desk: Desk) -> None:
        old = await desk.connected(1)
        desk.may_read.clear()
        old.says.put_nowait((wire.Kind.QUERY, wire.query([(bytes(16), bytes(32))])))
        await until(old.says.empty)
        new = await desk.connected(1)
        assert old.ended
        desk.may_read.set()
        new.says.put_nowait((wire.Kind.QUERY, wire.query([])))
        await until(lambda: new.sent != [])
        assert (old.sent, new.sent) == ([], [(wire.Kind.KNOWN, b"")])

    played(chain, play)


@pytest.mark.parametrize("height", [4, LINKS])
def test_who_holds_another_chain_is_not_welcomed(chain: DiskChain, height: int) -> None:
    """Spec: SAFE-7. The core hears of it before the agent hears anything."""

    async def play(desk: Desk) -> None:
        fed: list[Presented] = []
        node = SimpleNamespace(
            _read=desk.read,
            _launch=SimpleNamespace(storage=chain.builder.storage),
            _feed=fed.append,
            _log=SimpleNamespace(error=lambda *_, **__: None),
            _members=desk.members,
        )
        line = await desk.connected(1, head="ab" * 32, height=height)
        await StorageNode._greet(cast("StorageNode", node), desk.hellos[0])
        assert [event.head for event in fed] == [b"\xab" * 32]
        await until(lambda: line.ended)
        assert [kind for kind, _ in line.sent] == [wire.Kind.DISMISSED]
        with chain.store.view() as view:
            head = view.tree_node(0, 4).hex()
        again = await desk.connected(2, head=head, height=4, next=5)
        await StorageNode._greet(cast("StorageNode", node), desk.hellos[1])
        assert again.heights() == list(range(5, LINKS))

    played(chain, play)


def test_the_first_frame_is_a_hello_of_an_agent(chain: DiskChain) -> None:
    async def play(desk: Desk) -> None:
        line = Line(1)
        line.says.put_nowait((wire.Kind.READY, b"{}"))
        with pytest.raises(PeerError, match="did not begin with HELLO"):
            await desk.members.serve(cast("Any", line))
        for stranger in ("storage", "slot-0", "slot-4", "slot-99999999999999999999"):
            line = Line(1)
            line.peer = stranger
            line.says.put_nowait((wire.Kind.HELLO, b"{}"))
            with pytest.raises(PeerError, match=f"{stranger} is not one of the agents of 3 slots"):
                await desk.members.serve(cast("Any", line))
            assert line.says.qsize() == 1  # nothing was read of what it says

    played(chain, play)
