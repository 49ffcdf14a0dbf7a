"""The runs that a storage node serves: the one that started it, and those that joined; with the last one it ends.

Each is a process: its end is noticed even if others hold its pipes. What it asks for is answered to it alone; what is
said of the service itself goes to all.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from scichain_wf import limits
from scichain_wf.client.outbox import SERVICE
from scichain_wf.crypto.hashing import DIGEST_BYTES
from scichain_wf.errors import PeerError
from scichain_wf.node import control, shm, summary, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from scichain_wf.node.flushing import Flusher
    from scichain_wf.node.log import Log
    from scichain_wf.node.members import Reading
    from scichain_wf.node.room import Room
    from scichain_wf.node.tasks import Tasks

_KEY_BYTES: Final = 16


class Runs:
    """Answers them.

    Args:
        handle: tells the end of the first one; see `process.parent_handle`.
        flusher: flushes.
        prepare: called before each flush.
        read: reads the store.
        end: called with the reason when there is nobody to serve any more.
        tasks: run what serves them.
        room: what is lacking, if anything.
        log: where their coming and going is noted.
    """

    def __init__(
        self,
        handle: int | None,
        flusher: Flusher,
        prepare: Callable[[], None],
        read: Reading,
        end: Callable[[str], None],
        tasks: Tasks,
        room: Room,
        log: Log,
    ) -> None:
        self._handle, self._flusher, self._prepare = handle, flusher, prepare
        self._read, self._end, self._tasks, self._room, self._log = read, end, tasks, room, log
        self._first = control.Replies()
        self._present: list[control.Replies] = [self._first]
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Hear the first one."""
        await self._first.open()

    def serve(self) -> None:
        """Do what the first one asks for, until its end."""
        self._tasks.spawn(self._serve_first())
        self._tasks.spawn(self._watch_first())

    async def admit(self, chain: bytes, ready: Callable[[], dict[str, object]]) -> None:
        """Let others join; each hears `ready` first."""
        directory = shm.chain_directory(chain)
        shm.make(directory, shm.CHAIN_LEVELS)
        self._path, self._ready = directory / SERVICE, ready
        loop = asyncio.get_running_loop()
        try:
            self._path.unlink(missing_ok=True)  # of a service that was killed, or nothing that anybody needs
            self._server = await loop.create_unix_server(lambda: control.Visitor(self._came), os.fspath(self._path))
        except OSError as error:
            raise PeerError(f"{self._path}: runs cannot join there ({error.strerror}): remove it") from None

    def dismiss(self) -> None:
        """Nobody can join any more: who comes now starts a service, and waits for the end of this one."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
            self._server = None

    def say(self, value: dict[str, object]) -> None:
        """A line for everybody."""
        for replies in self._present:
            replies.say(value)

    async def close(self, code: int, why: str) -> None:
        """Tell whoever still waits how it ended, and why not well."""
        self.say({"ended": code, "why": why})
        await asyncio.gather(*(replies.close() for replies in self._present))

    def _came(self, visitor: control.Visitor) -> None:
        if self._server is None:  # too late: it is to look again
            visitor.abort()
        else:
            self._present.append(visitor)  # now: the last one may leave before it is served
            self._tasks.spawn(self._serve_visitor(visitor))

    async def _serve_first(self) -> None:
        await self._answer(self._first, None)
        self._left(self._first)

    async def _watch_first(self) -> None:
        await control.end_of(self._handle)
        self._left(self._first)

    async def _serve_visitor(self, visitor: control.Visitor) -> None:
        self._log.info("a run joined", runs=len(self._present))
        visitor.say({"ready": self._ready()})
        gone = asyncio.ensure_future(control.end_of(visitor.handle))
        served = asyncio.ensure_future(self._answer(visitor, visitor.reader))
        try:
            await asyncio.wait((gone, served), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (gone, served):
                task.cancel()
            _, error = await asyncio.gather(gone, served, return_exceptions=True)
            if visitor.handle is not None:
                os.close(visitor.handle)
        self._left(visitor)
        if isinstance(error, Exception) and not isinstance(error, PeerError):  # that is: not what it said
            raise error

    def _left(self, who: control.Replies) -> None:
        """The last one hears how the service ended; all others that it goes on."""
        if who not in self._present:
            return
        if len(self._present) == 1:
            self.dismiss()
            self._end("the last run has left")
            return
        who.say({"left": True})
        self._present.remove(who)
        self._log.info("a run left", runs=len(self._present))

    async def _answer(self, replies: control.Replies, reader: asyncio.StreamReader | None) -> None:
        async for command in control.lines(reader):
            if "end" in command:
                return
            if "flush" in command:
                await self._flush(replies, cast("dict[str, object]", command["flush"]))
            if "await" in command:
                await self._await(replies, cast("dict[str, object]", command["await"]))

    async def _await(self, replies: control.Replies, request: dict[str, object]) -> None:
        """Say when a transaction is committed, or that it is not in time."""
        try:
            key, identity = wire.raw(request, "key", _KEY_BYTES), wire.raw(request, "id", DIGEST_BYTES)
            timeout_s = min(wire.integer(request, "timeout_ms") / 1_000, limits.FLUSH_TIMEOUT_S_MAX)
        except AttributeError:
            raise PeerError("a question for a commit is malformed") from None
        try:
            async with asyncio.timeout(timeout_s):
                grown = self._flusher.grown
                while not await self._read(lambda view: view.contains(key, identity)):
                    await grown.wait()
                    grown = self._flusher.grown
        except TimeoutError:
            replies.say({"committed": False})
        else:
            replies.say({"committed": True})

    async def _flush(self, replies: control.Replies, request: dict[str, object]) -> None:
        try:
            run, number = wire.raw(request, "run", _KEY_BYTES), wire.integer(request, "number")
            timeout_s = min(wire.integer(request, "timeout_ms") / 1_000, limits.FLUSH_TIMEOUT_S_MAX)
        except AttributeError:
            raise PeerError("a request for a flush is malformed") from None
        try:
            async with asyncio.timeout(timeout_s):
                self._prepare()
                await self._flusher.run(progress=lambda *done: replies.hint({"flush": number, "progress": done}))
            result = await self._read(partial(summary.of_run, run=run))
        except (TimeoutError, PeerError) as error:
            message = str(error) or f"not everything was committed within {timeout_s:.0f} s"
            message += f": {self._room.lack or self._flusher.late}"
            replies.say({"flush": number, "error": {"class": "PeerError", "message": message}})
        else:
            replies.say({"flush": number, "flushed": result})
