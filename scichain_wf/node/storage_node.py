"""The storage node: the single writer of a chain, and in the embedded default the parent of its agents.

    start: open the chain, make the run's certificates, state the membership, let agents join, answer `ready`
           (hooks can hand over records before: `opening`)
    serve: certificates in, links out (`consensus.storage` decides, `commits` makes it durable); an agent that died is
           started again and joins under a new key
    end:   drain the agents, close the store, remove what is on tmpfs

It ends on SIGTERM, and when the last run that uses it (`runs`) has left or is gone. Anything that leaves the store in
doubt ends it at once: what is acknowledged is on disk, what is not waits in the outboxes. So does the loss of the
writer's lease (`writers`); whatever lies about then is its successor's, and it touches nothing.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from scichain_wf import limits
from scichain_wf.client.lines import Directory
from scichain_wf.client.outbox import outbox_directory
from scichain_wf.consensus import events, messages, storage
from scichain_wf.consensus.effects import Announce, Halt, Replay
from scichain_wf.consensus.roster import Roster
from scichain_wf.errors import EXIT_INCOMPLETE, DecodeError, LedgerError, PeerError, ScichainError, VerificationError
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.epoch import Settings
from scichain_wf.node import chain as chains
from scichain_wf.node import hello, shm, wire
from scichain_wf.node.commits import Committer
from scichain_wf.node.cosigning import Notes
from scichain_wf.node.crew import Crew
from scichain_wf.node.figures import StorageFigures
from scichain_wf.node.flushing import Flusher
from scichain_wf.node.heirs import Heirs
from scichain_wf.node.launch import Launch, agent_line
from scichain_wf.node.log import Log
from scichain_wf.node.members import Member, Members
from scichain_wf.node.past import Filters
from scichain_wf.node.room import Room
from scichain_wf.node.runs import Runs
from scichain_wf.node.site import publish, withdraw
from scichain_wf.node.tasks import Tasks
from scichain_wf.transport import runca, tls
from scichain_wf.transport.link import Listener

if TYPE_CHECKING:
    from scichain_wf.ledger.layout import ChainLayout
    from scichain_wf.ledger.view import ChainView
    from scichain_wf.model.block import Block
    from scichain_wf.model.epoch import Epoch
    from scichain_wf.model.link import Link
    from scichain_wf.node.children import Child
    from scichain_wf.node.site import Site
    from scichain_wf.node.writers import Writer
    from scichain_wf.transport.credentials import Credentials

T = TypeVar("T")


class StorageNode:
    """One run of the storage node over the chain in `layout`.

    Args:
        layout: the chain.
        writer: the writer epoch that this process took.
        children: its agents, not told anything yet.
        site: where it listens, and for whom else.
        engine: tells the end of the process that this is for; see `process.parent_handle`.
        works: called once it is ready.
        adopted: outboxes of runs before this one, for one of its agents.

    Raises:
        LedgerError, LedgerCorrupt, VerificationError, ConfigError: the chain cannot be opened; nothing was written.
    """

    def __init__(
        self,
        layout: ChainLayout,
        writer: Writer,
        children: list[Child],
        site: Site,
        engine: int | None,
        works: Callable[[], None],
        adopted: list[Path],
    ) -> None:
        self._log = Log("storage")
        self._layout, self._writer, self._works, self._adopted = layout, writer, works, adopted
        self._site, slots = site, len(children) + site.slots
        self._store = chains.opened(layout, writer.number, slots, Settings())
        try:
            self._doubts = chains.check_notes(self._store, layout)
            with self._store.view() as view:
                self._chain, size = view.chain_id, view.size
            self._epoch = chains.current_epoch(self._store)
            self._launch = Launch.of(layout, self._chain, self._epoch, slots)
            writer.hold()
        except BaseException:
            self._store.close()
            raise
        self._committer = Committer(self._store, layout, self._launch.storage, self._chain, writer)
        self._core = storage.Storage(self._launch.storage, self._chain, writer.number)
        self._thread = ThreadPoolExecutor(1, "store")
        self._room = Room(self._store, self._thread, self._log)
        self._changed = asyncio.Event()
        self._stop = asyncio.Event()
        self._fatal: BaseException | None = None
        self._tasks = Tasks(self._fail)
        self._spawn = self._tasks.spawn
        heard = self._received, self._said_hello, self._changed.set
        self._members = Members(self._read, self._spawn, *heard, size, slots)
        self._filters = Filters(self._read, self._spawn, self._send_filter)
        self._crew = Crew(children, self._spawn, self._agent_ended, self._log)
        self._flusher = Flusher(self._members, lambda: self._core.is_idle, self._slots)
        self._heirs = Heirs(self._chain, self._members, self._crew, self._flusher, lambda: self._in_force)
        asked = self._flusher, self._heirs.find, self._read
        self._runs = Runs(engine, *asked, self._end, self._tasks, self._room, self._log)
        parts = (self._core, self._committer, self._members, self._crew)
        self._figures = StorageFigures(layout, site.metrics, self._chain, writer, slots, parts, self._log)
        self._appending = asyncio.Lock()
        self._in_force = False
        self._notes = Notes(self._committer, self._members, self._room, self._thread, self._tasks)

    # --- life ---------------------------------------------------------------------------------------
    async def run(self) -> int:
        """From start to end; returns the exit code.

        Raises:
            BaseException: what left the store in doubt.
        """
        self._loop = asyncio.get_running_loop()
        self._tasks.guard(self._loop)
        await self._runs.open()
        self._loop.add_signal_handler(signal.SIGTERM, self._end, "SIGTERM")
        authority = runca.RunAuthority(self._chain.hex()[:16])
        credentials = authority.issue(tls.STORAGE)
        listener = Listener(tls.server_context(credentials), self._members.serve, self._note)
        left = "it was not begun"
        with self._writer.beating(lambda error: self._loop.call_soon_threadsafe(self._fail, error)):
            try:
                await self._start(listener, authority, credentials)
                self._runs.serve()
                self._spawn(self._heirs.watch())
                self._spawn(self._figures.keep())
                await self._stop.wait()
                self._runs.dismiss()
                left = await self._drain() if self._fatal is None else str(self._fatal)
            except ScichainError as error:
                self._fail(error)
            finally:
                await self._close(listener)
                await self._runs.close(EXIT_INCOMPLETE if left else 0, left)
        if self._fatal is not None:
            raise self._fatal
        return EXIT_INCOMPLETE if left else 0

    async def _start(self, listener: Listener, authority: runca.RunAuthority, credentials: Credentials) -> None:
        place = self._site.host, self._site.ports
        address = await listener.start(*place)
        count = len(self._crew.all_slots)
        ticket, here = partial(self._launch.ticket, run=authority), (*place, self._site.metrics)
        self._crew.start(
            lambda slot, adopt: agent_line(ticket(slot), self._layout, address, *here, adopt, self._site.burst),
            self._adopted,
        )
        await self._until(lambda: len(self._members.all) == count, "join", limits.START_TIMEOUT_S)
        async with self._appending:
            joins = tuple(member.hello.join for member in self._members.all)
            await self._begin_epoch(partial(self._launch.first_epochs, joins=joins))
        self._in_force = self._room.waits = True
        for member in self._members.all:
            self._spawn(self._admit(member))
        await self._until(lambda: self._members.ready == count, "connect to the others", limits.MESH_TIMEOUT_S)
        others = range(count + 1, count + self._site.slots + 1)
        publish(self._layout, self._launch, authority, credentials, address, others)
        await self._runs.admit(self._chain, self._ready)
        self._runs.say({"ready": self._ready()})
        self._works()
        self._log.info("ready", writer=self._writer.number, slots=count, height=self._members.size - 1)
        for doubt in self._doubts:
            self._log.warning("rollback check", reason=doubt)

    async def _begin_epoch(self, blocks: Callable[[ChainView], tuple[list[tuple[Block, int]], Epoch]]) -> None:
        """Append what `blocks` makes and let it be in force, with nothing appended in between."""

        def append() -> tuple[Epoch, list[tuple[Link, Block]]]:
            with self._store.view() as view:
                made, epoch = blocks(view)
            return epoch, self._committer.append_epochs(made)

        self._epoch, links = await self._room.run(append)
        await self._room.run(self._committer.publish)
        self._feed(events.EpochInForce(Roster(self._epoch, self._chain)))
        for link, block in links:
            self._members.announce(Announce(messages.Committed(link, block), frozenset()))

    def _ready(self) -> dict[str, object]:
        outboxes = [str(outbox_directory(self._chain, slot)) for slot in self._crew.all_slots]
        spool = str(self._layout.spool_new.parent)
        place = {"directory": Directory.of(self._layout.root).value(), "spool": spool, "notes": self._doubts}
        return {"chain": self._chain.hex(), "outboxes": outboxes} | place | self._pids()

    def _pids(self) -> dict[str, object]:
        agents = {tls.slot_name(slot): pid for slot, pid in self._crew.pids.items()}
        return {"pids": {"storage": os.getpid()} | agents}

    async def _until(self, holds: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Wait until all agents did something. One given up ends the start; who is late, or died, does it later."""
        log = self._layout.run_dir / "storage.log"
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    if dead := sorted(set(self._crew.all_slots) - self._crew.slots):
                        raise PeerError(f"agents of slots {dead} ended before they could {what}; see {log}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            if not (self._members.all or self._in_force):
                raise PeerError(f"no agent did {what} within {timeout_s:.0f} s; see {log}") from None
            self._log.warning(f"not every agent did {what} in time", timeout_s=timeout_s)

    async def _drain(self) -> str:
        """Get everything committed that is in the outboxes, and have the agents close them; what is left, in words."""
        try:
            async with asyncio.timeout(limits.DRAIN_FULL_TIMEOUT_S if self._room.lack else limits.DRAIN_TIMEOUT_S):
                self._heirs.find()
                if self._crew.all_slots or self._slots():  # else nobody came, or all have left in order
                    await self._flusher.run(drain=True)
                await self._notes.finish()
        except (TimeoutError, PeerError) as error:
            reason = self._room.lack or str(error) or self._flusher.late
            self._log.error("not everything was committed: the rest waits for the next start", reason=reason)
            return reason
        return "an outbox is held by a process that does not end" if shm.has_outboxes(self._chain) else ""

    async def _close(self, listener: Listener) -> None:
        with suppress(LedgerError):  # it may have slept since it was asked last
            self._writer.check()
        is_writer = not self._writer.is_fenced
        self._runs.dismiss()
        await self._crew.end(now=not is_writer)
        await self._tasks.cancel()
        await listener.close()
        self._thread.shutdown()
        self._store.close()
        if is_writer:
            for slot in self._crew.all_slots:
                shm.remove(shm.tail_directory(self._chain, slot))
            shm.remove_empty(self._chain)
            withdraw(self._layout)
            self._figures.remove()
        self._log.info("ended", credit=dict(self._core.credit), dropped=dict(self._core.dropped))

    def _end(self, why: str) -> None:
        self._log.info("ending", reason=why)
        self._stop.set()

    def _fail(self, error: BaseException) -> None:
        """The store is in doubt, this is not the writer, or this program is wrong: stop before promising more."""
        if self._fatal is None:
            self._fatal = error
            self._log.error("fatal", reason=f"{type(error).__name__}: {error}")
            self._runs.say({"error": {"class": type(error).__name__, "message": str(error)}})
        self._stop.set()

    # --- the core -----------------------------------------------------------------------------------
    def _feed(self, event: storage.StorageEvent) -> None:
        for effect in self._core.step(event, self._loop.time()):
            if isinstance(effect, storage.Commit):
                self._spawn(self._commit(effect))
            elif isinstance(effect, Announce):
                self._members.announce(effect)
            elif isinstance(effect, Replay):
                self._spawn(self._members.replay(effect))
            elif isinstance(effect, Halt):
                self._fail(VerificationError(effect.reason))
            else:
                self._members.send(effect.slot, effect.message.kind, effect.message.encode())

    async def _commit(self, effect: storage.Commit) -> None:
        async with self._appending:
            run = partial(self._committer.run, self._core, effect.candidates)
            self._feed(storage.Decided(await self._room.run(run)))
        # Agents hear of links at once, of the checkpoint when there is time, or at least so often.
        if self._core.is_idle or self._notes.is_due:
            await self._notes.publish()

    async def _read(self, function: Callable[[ChainView], T]) -> T:
        """Read the store in its own thread, so that no view is open while it is written; as the writer only."""

        def read() -> T:
            with self._store.view() as view:
                result = function(view)
            self._writer.check()
            return result

        return await self._loop.run_in_executor(self._thread, read)

    # --- agents -------------------------------------------------------------------------------------
    def _said_hello(self, member: Member) -> None:
        self._log.info("agent connected", slot=member.slot)
        self._crew.joined(member.slot)
        if self._in_force:  # its channel was interrupted, or it was started again
            self._spawn(self._admit(member))
        self._changed.set()

    async def _admit(self, member: Member) -> None:
        """Make an agent a member if its key is none yet, and tell it and the others what they need."""
        try:
            async with self._appending:
                await self._bind(member)
        except VerificationError as error:
            self._log.error("an agent cannot join", slot=member.slot, reason=error)
            self._members.dismiss(member.slot, str(error), for_good=True)
            return
        await self._greet(member)
        self._members.tell_addresses()
        self._heirs.find()  # it may have been told to take something over and not heard it
        self._flusher.again(member.slot)

    async def _bind(self, member: Member) -> None:
        """Append an epoch with the key of this agent, and of all who came while the last one was being appended."""
        bound = {known.key for known in self._epoch.members}
        joins = tuple(other.hello.join for other in self._members.all if other.hello.join.key not in bound)
        if member.hello.join not in joins:
            return
        try:
            await self._begin_epoch(partial(self._launch.next_epoch, current=self._epoch, joins=joins))
        except VerificationError:
            if joins == (member.hello.join,):
                raise
            joins = (member.hello.join,)  # it may be another one's that does not hold
            await self._begin_epoch(partial(self._launch.next_epoch, current=self._epoch, joins=joins))
        self._runs.say(self._pids())

    async def _greet(self, member: Member) -> None:
        """Welcome an agent, unless it has another chain."""
        claims = await self._read(partial(hello.presented, hello=member.hello, storage=self._launch.storage.public))
        for claim in claims:
            self._feed(claim)
        if any(claim.own != claim.head for claim in claims):
            why = "it holds links that are not of this chain"
            self._log.error("an agent is not welcome", slot=member.slot, reason=why)
            self._members.dismiss(member.slot, why, for_good=False)
        else:
            await self._members.welcome(member)

    def _received(self, slot: int, kind: int, payload: bytes) -> None:
        if kind == messages.Kind.PUSH and self._in_force:
            push = messages.Push.decode(payload)
            self._feed(events.Pushed(slot, prepared(push.block), push.certificate))
        elif kind == messages.Kind.EXTEND and self._in_force:
            extend = messages.Extend.decode(payload)
            block = prepared(extend.block)
            self._feed(events.Extended(slot, block, extend.solution, extend.votes, extend.reason))
        elif kind == messages.Kind.SYNC and self._in_force:
            self._feed(events.SyncReceived(slot, messages.Sync.decode(payload).next))
        elif kind == wire.Kind.STATUS:
            self._flusher.status(slot, wire.decoded(payload))
        elif kind == wire.Kind.COSIGNED:
            self._notes.take(slot, payload, self._epoch)
        elif kind == wire.Kind.BYE:
            self._members.leave(slot)
            self._flusher.lost(slot)
        elif kind == wire.Kind.FILTER_WANTED:
            height, salt = wire.filter_wanted(payload)
            self._filters.want(slot, min(height, self._members.size), salt)
        else:
            raise DecodeError(f"a frame of kind {kind} is not for an agent to send")

    def _send_filter(self, slot: int, height: int, encoded: bytes) -> None:
        payload = height.to_bytes(8, "big") + encoded
        if len(payload) > limits.FRAME_BYTES_MAX:
            self._log.warning("the filter of this chain is too large to send", size_bytes=len(payload))
        else:
            self._members.send(slot, wire.Kind.FILTER, payload)

    def _slots(self) -> set[int]:
        """Slots whose agents have, or may have, something to commit: its own, and every other that joined."""
        return self._crew.slots | {member.slot for member in self._members.all if not member.has_left}

    def _agent_ended(self, slot: int, is_awaited: bool) -> None:
        self._changed.set()
        self._members.forget(slot)
        shm.remove(shm.tail_directory(self._chain, slot))
        self._heirs.find()
        if is_awaited:
            self._flusher.again(slot)
        else:
            self._flusher.lost(slot)

    def _note(self, text: str) -> None:
        self._log.warning("channel", reason=text)
