"""The agents as the storage node sees them: who has joined, over which channel, and how far each has come.

An agent is admitted under the name in its certificate and nothing else: one whose slot the membership does not have is
not listened to. It gets the links it lacks before it gets new
ones; from then on every durable link goes to everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from scichain_wf import limits
from scichain_wf.consensus import messages
from scichain_wf.errors import DecodeError, PeerError
from scichain_wf.node import hello, probe, wire
from scichain_wf.transport import tls

if TYPE_CHECKING:
    from scichain_wf.consensus.effects import Announce, Replay
    from scichain_wf.ledger.view import ChainView
    from scichain_wf.transport.channel import TlsChannel

T = TypeVar("T")


class Reading(Protocol):
    """Runs a function on a view of the store, in the store's thread."""

    def __call__(self, function: Callable[[ChainView], T], /) -> Awaitable[T]:
        """What the function returns."""


_NOT_YET = limits.INTEGER_MAX


@dataclass(slots=True)
class Member:
    """One agent that said HELLO.

    Attributes:
        hello: what it said of itself, on this channel.
        next: height of the first link it was not sent; nothing is sent before it was welcomed.
        has_left: it ended, and has nothing to commit.
        is_catching_up: links are on their way to it that others have got already.
    """

    slot: int
    hello: hello.Hello
    channel: TlsChannel | None
    next: int = _NOT_YET
    is_ready: bool = False
    has_left: bool = False
    is_catching_up: bool = False

    @property
    def is_welcome(self) -> bool:
        """Whether it gets links."""
        return self.next != _NOT_YET


class Members:
    """Channels to agents.

    Args:
        read: see `Reading`.
        spawn: runs a coroutine in the background.
        receive: takes (slot, kind, payload) of every frame that is neither about joining nor a question.
        said_hello: called with a member that (again) has a channel and waits for its welcome.
        ready: called when a member says that its channels stand.
        size: number of durable links.

    Attributes:
        grown: set with the next durable link, and then replaced by another.
        slots: how many the membership has.
    """

    def __init__(
        self,
        read: Reading,
        spawn: Callable[[Coroutine[Any, Any, None]], Awaitable[None]],
        receive: Callable[[int, int, bytes], None],
        said_hello: Callable[[Member], None],
        ready: Callable[[], None],
        size: int,
        slots: int,
    ) -> None:
        self._ready, self._spawn = ready, spawn
        self._read, self._receive, self._said_hello = read, receive, said_hello
        self._by_slot: dict[int, Member] = {}
        self._replaced: set[bytes] = set()
        self.dismissed: dict[int, str] = {}
        self._telling: asyncio.TimerHandle | None = None
        self.grown = asyncio.Event()
        self.size, self._slots = size, slots

    @property
    def all(self) -> list[Member]:
        """Every agent that said HELLO, by slot."""
        return [self._by_slot[slot] for slot in sorted(self._by_slot)]

    @property
    def ready(self) -> int:
        """How many of them are connected to all others."""
        return sum(member.is_ready for member in self.all)

    @property
    def addresses(self) -> dict[str, object]:
        """Where the agents are, as WELCOME and PEERS say it."""
        return {"peers": {str(member.slot): list(member.hello.address) for member in self.all}}

    async def serve(self, channel: TlsChannel) -> None:
        """One agent's connection, from HELLO to its end."""
        slot = tls.slot_of(channel.peer)
        if slot is None or not 1 <= slot <= self._slots:
            raise PeerError(f"{channel.peer} is not one of the agents of {self._slots} slots")
        kind, payload = await channel.receive()
        if kind == wire.Kind.PROBE:
            channel.send(wire.Kind.PROBED, await probe.answer(payload))
            await channel.close()
            return
        if kind != wire.Kind.HELLO:
            raise PeerError(f"slot {slot} did not begin with HELLO")
        member = self._admitted(slot, wire.decoded(payload), channel)
        if member is None:
            reason = f"slot {slot} has been filled by another process since: each slot has one agent"
            await _told_off(channel, reason, for_good=True)
            raise PeerError(reason)
        channel.admit()
        self._said_hello(member)
        answered: Awaitable[None] | None = None
        try:
            while True:
                kind, payload = await channel.receive()
                if kind == wire.Kind.READY:
                    member.is_ready = True
                    self._ready()
                    continue
                if kind == wire.Kind.QUERY:
                    if answered is not None:
                        await answered  # who asks faster than it gets answers is not listened to meanwhile
                    answered = self._spawn(self._answer(channel, wire.queried(payload)))
                    continue
                try:
                    self._receive(slot, kind, payload)
                except DecodeError as error:
                    raise PeerError(f"slot {slot} sent what cannot be read: {error}") from None
        finally:
            if member.channel is channel:
                member.channel = None
                member.next = _NOT_YET

    async def welcome(self, member: Member) -> None:
        """Tell a member where the chain begins for it and where the others are, then send what it lacks."""
        newest = limits.SYNC_LINKS_MAX if member.hello.next else limits.JOIN_LINKS_MAX
        start, channel = max(min(member.hello.next, self.size), self.size - newest), member.channel
        value = await self._read(partial(hello.welcome, start=start))
        if self._by_slot.get(member.slot) is not member or member.channel is not channel:
            return  # it said HELLO again, or another process took its place: each HELLO gets one welcome
        value |= self.addresses
        if self.send(member.slot, wire.Kind.WELCOME, wire.encoded(value)):
            member.next = start
            self.dismissed.pop(member.slot, None)
            await self._catch_up(member)

    async def replay(self, effect: Replay) -> None:
        """Send a member links once more. One that is not welcomed yet gets what it lacks when it is."""
        member = self._by_slot.get(effect.slot)
        if member is not None and member.next != _NOT_YET:
            member.next = max(min(effect.next, self.size), self.size - limits.SYNC_LINKS_MAX)
            await self._catch_up(member)

    def is_connected(self, slot: int) -> bool:
        """Whether there is a channel to the agent of a slot."""
        member = self._by_slot.get(slot)
        return member is not None and member.channel is not None

    def host_of(self, slot: int) -> str:
        """` on <host>`, as far as it is known."""
        member = self._by_slot.get(slot)
        return f" on {member.hello.join.host}" if member is not None else ""

    def dismiss(self, slot: int, reason: str, *, for_good: bool) -> None:
        """Tell an agent why it is not wanted, and end its channel; it may come back unless it is `for_good`."""
        self.dismissed[slot] = reason
        member = self._by_slot.pop(slot, None) if for_good else self._by_slot.get(slot)
        if member is not None and member.channel is not None:
            self._spawn(_told_off(member.channel, reason, for_good=for_good))

    def send(self, slot: int, kind: int, payload: bytes) -> bool:
        """A frame to one agent; an agent that does not read loses its channel and synchronises when it is back."""
        member = self._by_slot.get(slot)
        if member is None or member.channel is None:
            return False
        if member.channel.send(kind, payload):
            return True
        member.channel.abort()
        return False

    def broadcast(self, kind: int, payload: bytes) -> None:
        """A frame to every agent that was welcomed."""
        for member in self.all:
            if member.is_welcome:
                self.send(member.slot, kind, payload)

    def tell_addresses(self) -> None:
        """Let everybody know where the others are, soon: who comes meanwhile is told of together."""
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(limits.PEERS_S, self._tell)

    def _tell(self) -> None:
        self._telling = None
        self.broadcast(wire.Kind.PEERS, wire.encoded(self.addresses))

    def announce(self, effect: Announce) -> None:
        """A durable link to everybody who has all links before it; with its block to who may lack it."""
        link, whole = effect.message.link, b""
        bare = messages.Committed(link, None).encode()
        self.size = max(self.size, link.height + 1)
        self.grown.set()
        self.grown = asyncio.Event()
        for member in self.all:
            if member.next != link.height:
                continue
            is_holder = member.slot in effect.holders
            whole = whole or (b"" if is_holder else effect.message.encode())
            if self.send(member.slot, messages.Kind.COMMITTED, bare if is_holder else whole):
                member.next = link.height + 1

    def leave(self, slot: int) -> None:
        """The agent says that it ends, and that nothing waits with it."""
        if slot in self._by_slot:
            self._by_slot[slot].has_left = True

    def forget(self, slot: int) -> None:
        """The agent's process has ended."""
        self._abort(slot)
        self._by_slot.pop(slot, None)

    def _abort(self, slot: int) -> None:
        member = self._by_slot.get(slot)
        if member is not None and member.channel is not None:
            member.channel.abort()

    async def _answer(self, channel: TlsChannel, asked: list[tuple[bytes, bytes]]) -> None:
        """Say which transactions are committed; over this channel only, since answers do not name their question."""
        known = await self._read(lambda view: bytes(view.contains(key, identity) for key, identity in asked))
        if not channel.send(wire.Kind.KNOWN, known):
            channel.abort()

    def _admitted(self, slot: int, value: dict[str, object], channel: TlsChannel) -> Member | None:
        """The member that says HELLO; None if another process has taken its place since."""
        said = hello.Hello.from_value(value)
        if said.join.slot != slot:
            raise PeerError(f"slot {slot} presents a join for slot {said.join.slot}")
        known = self._by_slot.get(slot)
        if known is None:
            known = self._by_slot[slot] = Member(slot, said, channel)
        elif known.hello.join.key != said.join.key:
            # Whoever has the slot's token may fill it anew; who was replaced must not come back for it.
            if said.join.key.raw in self._replaced:
                return None
            self._replaced.add(known.hello.join.key.raw)
            self._abort(slot)
            known = self._by_slot[slot] = Member(slot, said, channel)
        elif known.channel is not None:
            known.channel.abort()
        known.channel, known.hello, known.next, known.has_left = channel, said, _NOT_YET, False
        return known

    async def _catch_up(self, member: Member) -> None:
        """Send links with their blocks until nothing is missing; new ones are not announced to it meanwhile.

        One at a time: who asks while links are on their way only changes where they go on.
        """
        if member.is_catching_up:
            return
        member.is_catching_up = True
        try:
            while member.next < self.size:
                start, channel = member.next, member.channel
                stop = min(self.size, start + limits.SYNC_BATCH_LINKS)
                payloads = await self._read(partial(_payloads, start=start, stop=stop))
                if member.next != start or member.channel is not channel:
                    continue
                for payload in payloads:
                    if not self.send(member.slot, messages.Kind.COMMITTED, payload):
                        return
                member.next = stop
        finally:
            member.is_catching_up = False


async def _told_off(channel: TlsChannel, reason: str, *, for_good: bool) -> None:
    channel.send(wire.Kind.DISMISSED, wire.encoded({"reason": reason, "for_good": for_good}))
    await channel.close()


def _payloads(view: ChainView, start: int, stop: int) -> list[bytes]:
    return [
        messages.pack(view.link_bytes(height), view.block_bytes(height))  # as `Committed.encode`, from stored bytes
        for height in range(start, stop)
    ]
