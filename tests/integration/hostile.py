"""Malformed frames before and after the handshake. `python -m tests.integration.hostile --frames 100000 --seed 1`.

A service works meanwhile, with a load of its own. Before the handshake: whatever is no TLS 1.3 with a certificate of
the run, from many connections, among them ones that say nothing. After it: the agent of one slot, a member with a
valid certificate, sends to the storage node and to its peers what is broken, and real messages that were tampered
with; and one whose slot nobody let join tries the same. Nobody may crash, grow, or stop committing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import ssl
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from scichain_wf import keystore, limits
from scichain_wf.client.service import Others, Service, start
from scichain_wf.consensus import membership
from scichain_wf.crypto.signing import SigningKey
from scichain_wf.errors import DecodeError, LedgerBusy
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.transaction import Transaction
from scichain_wf.node import process, site, wire
from scichain_wf.node.agent import peer_event
from scichain_wf.transport import frames, tls
from scichain_wf.transport.credentials import Credentials
from scichain_wf.transport.link import Address
from scichain_wf.transport.runca import RunAuthority
from tests.integration.frames import Frame, broken, raw_greeting, tampered
from tests.integration.service_kit import Records, assert_committed_once, emit
from tests.integration.sockets import listening

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
AGENTS: Final = 3
LIAR, OUTSIDER = AGENTS + 1, AGENTS + 2
"""Slots: of a member that lies, and of nobody who joined."""
AT_ONCE: Final = 8
WAIT_S: Final = 60.0
IDLE: Final = limits.STRANGERS_MAX // 2
"""Connections per listener that never say anything."""


class Load:
    """Honest tasks all the time, a few at once, each lot when the one before is committed.

    Attributes:
        emitted: all of them.
        lots: how many were committed.
        longest_s: the longest that one took.
    """

    def __init__(self, service: Service, chain: Path) -> None:
        self._service, self._chain, self._records = service, ChainLayout(chain), Records(service.chain)
        self.emitted: list[Transaction] = []
        self.lots, self.longest_s = 0, 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(0.2):
            new = self._records.tasks(AGENTS, f"load{len(self.emitted)}-")
            emit(self._service, new)
            self.emitted += new
            began = time.monotonic()
            while not self._are_committed(new) and time.monotonic() < began + WAIT_S:
                time.sleep(0.02)
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            self.lots += 1

    def _are_committed(self, records: list[Transaction]) -> bool:
        try:
            with ChainStore.open(self._chain.live_ledger(), readonly=True) as store, store.view() as view:
                return all(view.contains(record.key, record.id) for record in records)
        except LedgerBusy:
            return False

    def end(self) -> None:
        """Raises if a lot was not committed in WAIT_S."""
        self._end.set()
        self._thread.join()
        assert self.longest_s < WAIT_S, "honest tasks were not committed"


class Hostile:
    """One attacker's view of the service.

    Args:
        service: the service.
        chain: its directory.
        seed: of what is sent.
    """

    def __init__(self, service: Service, chain: Path, seed: int) -> None:
        self._random, layout = random.Random(seed), ChainLayout(chain)
        meeting = site.Rendezvous.read(layout)
        assert meeting is not None
        self.storage = meeting.address
        self.agents = {slot: listening(service.pids[tls.slot_name(slot)])[0] for slot in range(1, AGENTS + 1)}
        tickets = {
            slot: process.decoded(keystore.load_secret(site.token_file(layout, slot), 1 << 20))
            for slot in (LIAR, OUTSIDER)
        }
        self.contexts = {slot: tls.client_context(_credentials(ticket)) for slot, ticket in tickets.items()}
        self._join = _join(tickets[LIAR], service.chain)
        self._question = frames.encoded(wire.Kind.QUERY, wire.query([(bytes(16), bytes(32))]))
        self.corpus: list[Frame] = []
        self.sent: Counter[str] = Counter()
        foreign = tls.client_context(RunAuthority("another").issue(tls.slot_name(LIAR)))
        unknown = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for context in (foreign, unknown):
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._refused = {"foreign certificate": foreign, "no certificate": unknown}

    # --- before the handshake -----------------------------------------------------------------------
    async def before(self, count: int) -> None:
        """So many connections that never get through a handshake, over all listeners."""
        targets = [self.storage, *self.agents.values()]
        async with AsyncExitStack() as idle:
            for target in targets * IDLE:
                await idle.enter_async_context(_connected(target))
            await _at_once(count, lambda number: self._knock(targets[number % len(targets)]))

    async def _knock(self, target: Address) -> None:
        context = None
        if self._random.random() < 0.05:
            what, context = self._random.choice(list(self._refused.items()))
            data = frames.encoded(wire.Kind.HELLO, b"{}")
        else:
            what, data = raw_greeting(self._random)
        self.sent[what] += 1
        try:
            async with _connected(target, ssl=context) as (reader, writer):
                writer.write(data)
                if self._random.random() < 0.5:
                    writer.write_eof() if writer.can_write_eof() else None
                    assert frames.HEADER.size > len(await asyncio.wait_for(reader.read(), WAIT_S)) or context is None
        except OSError:
            return  # reset or refused: as it should be

    # --- after the handshake ------------------------------------------------------------------------
    async def after(self, count: int) -> None:
        """So many malformed frames from processes with a valid certificate."""
        async with self._said_hello():  # from here on a member, with real messages to tamper with
            tasks = [self._to_storage, *(self._to_peer(slot) for slot in self.agents), self._outside]
            await _at_once(count, lambda number: tasks[number % len(tasks)]())

    def _dialled(self, slot: int, target: Address, name: str) -> AbstractAsyncContextManager[Streams]:
        return _connected(target, ssl=self.contexts[slot], server_hostname=name)

    @asynccontextmanager
    async def _said_hello(self) -> AsyncIterator[Streams]:
        async with self._dialled(LIAR, self.storage, tls.STORAGE) as (reader, writer):
            # Now and then it wants links, else it says that it lacks none: who is sent hundreds attacks slowly.
            following = 0 if not self.corpus or self._random.random() < 0.05 else limits.INTEGER_MAX
            hello = wire.join_value(self._join) | {"address": ["127.0.0.1", 9], "next": following}
            writer.write(frames.encoded(wire.Kind.HELLO, wire.encoded(hello)))
            while (await self._heard(reader))[0] != wire.Kind.WELCOME:
                pass
            yield reader, writer

    async def leave(self) -> None:
        """Say that nothing waits here; an answered question tells that it was heard."""
        async with self._said_hello() as (reader, writer):
            writer.write(frames.encoded(wire.Kind.BYE, b"") + self._question)
            while (await self._heard(reader))[0] != wire.Kind.KNOWN:
                pass

    async def _heard(self, reader: asyncio.StreamReader) -> Frame:
        kind, length = frames.HEADER.unpack(await asyncio.wait_for(reader.readexactly(frames.HEADER.size), WAIT_S))
        frame = kind, await asyncio.wait_for(reader.readexactly(length), WAIT_S)
        if kind != frames.HEARTBEAT and len(self.corpus) < 200:
            self.corpus.append(frame)
        return frame

    async def _to_storage(self) -> None:
        """Frames until one of them ended the channel; which one did is told by a question that gets no answer."""
        first = self._random.random() < 0.3
        try:
            dialled = self._dialled(LIAR, self.storage, tls.STORAGE) if first else self._said_hello()
            async with dialled as (reader, writer):
                for _ in range(1 if first else 20):
                    what, data = self._broken()
                    self.sent[f"to storage: {what}"] += 1
                    writer.write(data + self._question)
                    while (await self._heard(reader))[0] != wire.Kind.KNOWN:
                        pass
        except (OSError, asyncio.IncompleteReadError):
            return  # dropped: as it should be

    def _to_peer(self, slot: int) -> Callable[[], Awaitable[None]]:
        async def attack() -> None:
            """Frames up to the first that cannot be read: then the channel ends."""
            try:
                async with self._dialled(LIAR, self.agents[slot], tls.slot_name(slot)) as (reader, writer):
                    ends = False
                    while not ends:
                        what, data = self._broken()
                        ends = not _is_readable(data)
                        self.sent[f"to an agent: {what}"] += 1
                        writer.write(data)
                    while True:
                        await self._heard(reader)
            except (OSError, asyncio.IncompleteReadError):
                return

        return attack

    async def _outside(self) -> None:
        """Nobody listens to a slot that nobody fills, whatever it says, and however well made."""
        slot, target = self._random.choice(list(self.agents.items()))
        self.sent["from no member"] += 1
        try:
            async with self._dialled(OUTSIDER, target, tls.slot_name(slot)) as (_, writer):
                writer.write(frames.encoded(*self._random.choice(self.corpus)))
                await asyncio.sleep(0.01)
        except (OSError, asyncio.IncompleteReadError):
            return

    def _broken(self) -> tuple[str, bytes]:
        if self.corpus and self._random.random() < 0.5:
            return tampered(self._random, self.corpus)
        return broken(self._random)


def _is_readable(data: bytes) -> bool:
    """Whether an agent goes on after this frame, were it the only one in `data`."""
    kind, length = frames.HEADER.unpack_from(data)
    if length != len(data) - frames.HEADER.size:
        return False
    if kind == frames.HEARTBEAT:
        return bool(length == 0)
    try:
        peer_event(LIAR, kind, data[frames.HEADER.size :])
    except DecodeError:
        return False
    return True


def _credentials(ticket: dict[str, object]) -> Credentials:
    value = ticket["credentials"]
    assert isinstance(value, dict)
    return Credentials(value["certificate"], value["key"], value["authority"])


def _join(ticket: dict[str, object], chain: bytes) -> membership.Join:
    seed = bytes.fromhex(wire.text(ticket, "token"))
    certificate = bytes.fromhex(wire.text(ticket, "token_certificate"))
    generation = wire.integer(ticket, "generation")
    token = membership.JoinToken(LIAR, generation, SigningKey.from_seed(seed), certificate)
    return membership.bind(token, chain, keystore.generate().public, "liar")


@asynccontextmanager
async def _connected(target: Address, **options: Any) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection(*target, **options)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _at_once(count: int, attack: Callable[[int], Awaitable[None]]) -> None:
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await attack(number)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


def memory_bytes(service: Service) -> dict[str, int]:
    """RssAnon by process."""
    found = {}
    for name, pid in service.pids.items():
        status = Path(f"/proc/{pid}/status").read_text()
        found[name] = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon"))
    return found


def run_hostile(chain: Path, seed: int, count: int) -> str:
    """Attack a service with about `count` frames before and after the handshake; returns what happened in words."""
    service = start(chain, AGENTS, others=Others(2))
    load = Load(service, chain)
    try:
        hostile, pids = Hostile(service, chain, seed), dict(service.pids)
        asyncio.run(hostile.before(500))
        asyncio.run(hostile.after(200))  # whatever is loaded or filled once is there now
        warm, begun, lots = memory_bytes(service), time.monotonic(), load.lots
        hostile.sent.clear()
        asyncio.run(hostile.before(count))
        asyncio.run(_until(hostile, count))
        took_s, after, lots = time.monotonic() - begun, memory_bytes(service), load.lots - lots
        asyncio.run(hostile.leave())  # a flush waits for every member
    finally:
        load.end()
    service.poll()
    assert service.pids == pids, "a process died"
    assert lots > 0, "nothing was committed meanwhile"
    log = (chain / "run" / "storage.log").read_text()
    assert '"event": "fatal"' not in log
    service.stop()
    assert_committed_once(chain, load.emitted)
    growth = {name: f"{warm[name] >> 10} to {after[name] >> 10} KiB" for name in warm}
    sent = ", ".join(f"{what} {number}" for what, number in sorted(hostile.sent.items()))
    assert all(after[name] - warm[name] < 32 << 20 for name in warm), growth
    return (
        f"seed {seed}: {hostile.sent.total()} in {took_s:.0f} s ({sent}); RssAnon {growth}; log {len(log) >> 10} KiB; "
        f"{lots} lots of {AGENTS} honest tasks committed meanwhile, the slowest in {load.longest_s:.1f} s"
    )


async def _until(hostile: Hostile, count: int) -> None:
    """As many frames as that, after the handshake."""
    base = hostile.sent.total()
    while (left := count - (hostile.sent.total() - base)) > 0:
        await hostile.after(max(AT_ONCE, left // 8))


def main() -> None:
    """Run it by hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        os.environ["XDG_STATE_HOME"] = directory
        print(run_hostile(Path(directory, "chain"), options.seed, options.frames), flush=True)


if __name__ == "__main__":
    main()
