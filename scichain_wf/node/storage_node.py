"""The storage node: the single writer of a chain, and in the embedded default the parent of its agents.

    start: open the chain, make the run's certificates, state the membership, let agents join, answer `ready`
    serve: certificates in, links out (`consensus.storage` decides, `commits` makes it durable)
    end:   drain the agents, close the store, remove what is on tmpfs

It ends when it is told to, on SIGTERM, and when the engine that started it is gone. Anything that leaves the store in
doubt ends it at once: what is acknowledged is on disk, what is not waits in the outboxes.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from scichain_wf import limits
from scichain_wf.client.outbox import outbox_directory
from scichain_wf.consensus import events, messages, storage
from scichain_wf.consensus.effects import Announce, Halt, Replay
from scichain_wf.consensus.roster import Roster
from scichain_wf.errors import DecodeError, PeerError, ScichainError, VerificationError
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.epoch import Settings
from scichain_wf.node import chain as chains
from scichain_wf.node import hello, process, shm, summary, wire
from scichain_wf.node.commits import Committer
from scichain_wf.node.flushing import Flusher
from scichain_wf.node.launch import Launch
from scichain_wf.node.log import Log
from scichain_wf.node.members import Member, Members
from scichain_wf.node.past import filter_below
from scichain_wf.node.tasks import Tasks
from scichain_wf.transport import runca, tls
from scichain_wf.transport.link import Listener

if TYPE_CHECKING:
    from scichain_wf.ledger.layout import ChainLayout
    from scichain_wf.ledger.view import ChainView
    from scichain_wf.model.epoch import Epoch
    from scichain_wf.node.children import Child
    from scichain_wf.transport.credentials import Credentials

T = TypeVar("T")


class StorageNode:
    """One run of the storage node over the chain in `layout`, with `children` as its agents.

    Raises:
        LedgerError, LedgerCorrupt, VerificationError, ConfigError: the chain cannot be opened; nothing was written.
    """

    def __init__(self, layout: ChainLayout, children: list[Child], engine_pid: int) -> None:
        self._log = Log("storage")
        self._layout, self._children, self._engine_pid = layout, {child.slot: child for child in children}, engine_pid
        self._store = chains.opened(layout, len(children), Settings())
        with self._store.view() as view:
            self._chain, size = view.chain_id, view.size
        self._launch = Launch.of(layout, self._chain, chains.current_epoch(self._store), len(children))
        self._committer = Committer(self._store, layout, self._launch.storage, self._chain)
        self._core = storage.Storage(self._launch.storage, self._chain, chains.WRITER)
        self._thread = ThreadPoolExecutor(1, "store")
        self._changed = asyncio.Event()
        self._members = Members(self._read, self._received, self._said_hello, self._changed.set, size)
        self._flusher = Flusher(self._members, lambda: self._core.is_idle)
        self._stop = asyncio.Event()
        self._fatal: BaseException | None = None
        self._replies = process.Replies()
        self._tasks = Tasks(self._fail)
        self._spawn = self._tasks.spawn
        self._in_force = False
        self._published = 0.0

    # --- life ---------------------------------------------------------------------------------------
    async def run(self) -> int:
        """From start to end; returns the exit code.

        Raises:
            BaseException: what left the store in doubt.
        """
        self._loop = asyncio.get_running_loop()
        self._tasks.guard(self._loop)
        await self._replies.open()
        self._loop.add_signal_handler(signal.SIGTERM, self._end, "SIGTERM")
        authority = runca.RunAuthority(self._chain.hex()[:16])
        credentials = authority.issue(tls.STORAGE)
        listener = Listener(tls.server_context(credentials), self._members.serve, self._note)
        drained = False
        try:
            await self._start(listener, authority, credentials)
            self._spawn(self._commands())
            self._spawn(self._watch_engine())
            await self._stop.wait()
            drained = self._fatal is None and await self._drain()
        except ScichainError as error:
            self._fail(error)
        finally:
            await self._close(listener)
        if self._fatal is not None:
            raise self._fatal
        return 0 if drained else 3

    async def _start(self, listener: Listener, authority: runca.RunAuthority, credentials: Credentials) -> None:
        address = await listener.start()
        adopted = shm.leftovers(self._chain)
        for slot, child in self._children.items():
            self._spawn(child.watch(self._child_ended))
            child.tell(self._launch.agent_line(slot, authority, address, adopted))
        await self._until(lambda: len(self._members.all) == len(self._children), "join")
        epoch, count = await self._loop.run_in_executor(self._thread, self._begin_epochs)
        self._members.size += count
        self._feed(events.EpochInForce(Roster(epoch, self._chain)))
        self._in_force = True
        for member in self._members.all:
            self._spawn(self._greet(member))
        await self._until(lambda: all(member.is_ready for member in self._members.all), "connect to each other")
        rendezvous = f"{address[0]}:{address[1]} {runca.fingerprint(credentials.certificate)} {os.getpid()}\n"
        chains.replace_file(self._layout.run_dir / "storage", rendezvous)
        self._replies.say({"ready": self._ready()})
        self._log.info("ready", slots=len(self._children), height=self._members.size - 1)

    def _begin_epochs(self) -> tuple[Epoch, int]:
        with self._store.view() as view:
            blocks, epoch = self._launch.epoch_blocks(view, tuple(member.hello.join for member in self._members.all))
        return epoch, len(self._committer.append_epochs(blocks))

    def _ready(self) -> dict[str, object]:
        pids: dict[str, object] = {"storage": os.getpid()}
        pids |= {tls.slot_name(slot): child.pid for slot, child in self._children.items()}
        outboxes = [str(outbox_directory(self._chain, slot)) for slot in self._children]
        spool = str(self._layout.spool_new.parent)
        return {"chain": self._chain.hex(), "outboxes": outboxes, "spool": spool, "pids": pids}

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until all agents did something; a dead agent, the engine's end or the deadline ends the start."""
        log = self._layout.run_dir / "storage.log"
        try:
            async with asyncio.timeout(limits.START_TIMEOUT_S):
                while not holds():
                    dead = [slot for slot, child in self._children.items() if not child.alive]
                    if dead:
                        raise PeerError(f"agents of slots {dead} ended before they could {what}; see {log}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise PeerError(f"the agents did not {what} within {limits.START_TIMEOUT_S:.0f} s; see {log}") from None

    async def _drain(self) -> bool:
        """Get everything committed that is in the outboxes, and have the agents close them."""
        try:
            async with asyncio.timeout(limits.DRAIN_TIMEOUT_S):
                await self._flusher.run(drain=True)
        except (TimeoutError, PeerError) as error:
            self._log.error("not everything was committed: the rest waits for the next start", reason=error)
        return not shm.has_outboxes(self._chain)

    async def _close(self, listener: Listener) -> None:
        for child in self._children.values():
            child.end()
        try:
            async with asyncio.timeout(limits.AGENT_END_TIMEOUT_S):
                while any(child.alive for child in self._children.values()):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            for child in self._children.values():
                child.kill()
        await self._tasks.cancel()
        await listener.close()
        self._thread.shutdown()
        self._store.close()
        for slot in self._children:
            shm.remove(shm.tail_directory(self._chain, slot))
        shm.remove_empty(self._chain)
        (self._layout.run_dir / "storage").unlink(missing_ok=True)
        await self._replies.close()
        self._log.info("ended", credit=dict(self._core.credit), dropped=dict(self._core.dropped))

    def _end(self, why: str) -> None:
        self._log.info("ending", reason=why)
        self._stop.set()

    def _fail(self, error: BaseException) -> None:
        """The store is in doubt, or this program is wrong: stop before anything else is promised."""
        if self._fatal is None:
            self._fatal = error
            self._log.error("fatal", reason=f"{type(error).__name__}: {error}")
            self._replies.say({"error": {"class": type(error).__name__, "message": str(error)}})
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
        outcomes = await self._loop.run_in_executor(self._thread, self._committer.run, self._core, effect.candidates)
        self._feed(storage.Decided(outcomes))
        # Agents hear of links at once, of the checkpoint when there is time, or at least so often.
        if self._core.is_idle or self._loop.time() > self._published + limits.CHECKPOINT_S:
            self._published = self._loop.time()
            text = await self._loop.run_in_executor(self._thread, self._committer.publish)
            self._members.broadcast(wire.Kind.CHECKPOINT, text.encode())

    async def _read(self, function: Callable[[ChainView], T]) -> T:
        """Read the store in its own thread, so that no view is open while it is written."""

        def read() -> T:
            with self._store.view() as view:
                return function(view)

        return await self._loop.run_in_executor(self._thread, read)

    # --- agents -------------------------------------------------------------------------------------
    def _said_hello(self, member: Member) -> None:
        self._log.info("agent connected", slot=member.slot)
        if self._in_force:  # it was here before: its channel was interrupted
            self._spawn(self._welcome_back(member))
        self._changed.set()

    async def _welcome_back(self, member: Member) -> None:
        await self._greet(member)
        self._find_heir()  # it may have been told to take something over and not heard it
        self._flusher.again(member.slot)

    async def _greet(self, member: Member) -> None:
        """Welcome an agent, unless it has another chain."""
        claims = await self._read(partial(hello.presented, hello=member.hello, storage=self._launch.storage.public))
        for claim in claims:
            self._feed(claim)
        if any(claim.own != claim.head for claim in claims):
            self._log.error("an agent holds links that are not of this chain", slot=member.slot)
            self._members.dismiss(member.slot)
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
        elif kind == wire.Kind.QUERY:
            self._spawn(self._answer(slot, wire.queried(payload)))
        elif kind == wire.Kind.FILTER_WANTED:
            self._spawn(self._send_filter(slot, *wire.filter_wanted(payload)))
        else:
            raise DecodeError(f"a frame of kind {kind} is not for an agent to send")

    async def _answer(self, slot: int, asked: list[tuple[bytes, bytes]]) -> None:
        known = await self._read(lambda view: bytes(view.contains(key, identity) for key, identity in asked))
        self._members.send(slot, wire.Kind.KNOWN, known)

    async def _send_filter(self, slot: int, wanted: int, salt: bytes) -> None:
        height = min(wanted, self._members.size)
        payload = height.to_bytes(8, "big") + await filter_below(self._read, height, salt)
        if len(payload) > limits.FRAME_BYTES_MAX:
            self._log.warning("the filter of this chain is too large to send", size_bytes=len(payload))
        else:
            self._members.send(slot, wire.Kind.FILTER, payload)

    def _child_ended(self, child: Child, code: int) -> None:
        self._changed.set()
        if self._stop.is_set() and code == 0:
            return
        self._log.warning("an agent ended", slot=child.slot, code=code)
        self._members.forget(child.slot)
        shm.remove(shm.tail_directory(self._chain, child.slot))
        self._find_heir()
        self._flusher.lost(child.slot)

    def _find_heir(self) -> None:
        """Give outboxes that nobody holds to the first living agent; their hooks turn elsewhere."""
        heirs = [member.slot for member in self._members.all]
        for directory in shm.orphans(self._chain) if heirs else []:
            self._members.send(heirs[0], wire.Kind.ADOPT, wire.encoded({"directory": str(directory)}))
            self._flusher.again(heirs[0])

    # --- the engine ---------------------------------------------------------------------------------
    async def _commands(self) -> None:
        """What the engine's main process asks for; its end is the end of this run."""
        async for command in process.lines():
            if "flush" in command:
                await self._flush(cast("dict[str, object]", command["flush"]))
        self._end("the engine is done")

    async def _flush(self, request: dict[str, object]) -> None:
        run = bytes.fromhex(wire.text(request, "run"))
        timeout_s = wire.integer(request, "timeout_ms") / 1_000
        try:
            async with asyncio.timeout(timeout_s):
                await self._flusher.run(progress=lambda *counts: self._replies.hint({"progress": list(counts)}))
            result = await self._read(lambda view: summary.of_run(view, run))
        except (TimeoutError, PeerError) as error:
            message = str(error) or f"not everything was committed within {timeout_s:.0f} s"
            self._replies.say({"error": {"class": "PeerError", "message": message}})
        else:
            self._replies.say({"flushed": result})

    async def _watch_engine(self) -> None:
        await process.parent_death(self._engine_pid)
        self._end("the engine is gone")

    def _note(self, text: str) -> None:
        self._log.warning("channel", reason=text)
