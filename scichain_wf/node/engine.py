"""The engine's main process as the storage node sees it: what it asks for, and its end."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, cast

from scichain_wf.errors import PeerError
from scichain_wf.node import process, summary, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from scichain_wf.node.flushing import Flusher
    from scichain_wf.node.members import Reading
    from scichain_wf.node.room import Room


class Engine:
    """Answers the engine.

    Args:
        handle: tells its end; see `process.parent_handle`.
        flusher: flushes.
        prepare: called before each flush.
        read: reads the store.
        replies: where answers go.
        end: called with the reason when there is nobody to serve any more.
        room: what is lacking, if anything.
    """

    def __init__(
        self,
        handle: int | None,
        flusher: Flusher,
        prepare: Callable[[], None],
        read: Reading,
        replies: process.Replies,
        end: Callable[[str], None],
        room: Room,
    ) -> None:
        self._handle, self._flusher, self._prepare = handle, flusher, prepare
        self._read, self._replies, self._end, self._room = read, replies, end, room

    async def serve(self) -> None:
        """Do what it asks for, until it says that this is all, or is gone."""
        async for command in process.lines():
            if "end" in command:
                break
            if "flush" in command:
                await self._flush(cast("dict[str, object]", command["flush"]))
        self._end("the engine is done")

    async def watch(self) -> None:
        """Notice its end even if others hold its pipes."""
        await process.end_of(self._handle)
        self._end("the engine is gone")

    async def _flush(self, request: dict[str, object]) -> None:
        run, number = bytes.fromhex(wire.text(request, "run")), wire.integer(request, "number")
        timeout_s = wire.integer(request, "timeout_ms") / 1_000
        try:
            async with asyncio.timeout(timeout_s):
                self._prepare()
                await self._flusher.run(progress=lambda *done: self._replies.hint({"flush": number, "progress": done}))
            result = await self._read(partial(summary.of_run, run=run))
        except (TimeoutError, PeerError) as error:
            message = str(error) or f"not everything was committed within {timeout_s:.0f} s"
            message += f": {self._room.lack}" if self._room.lack else ""
            self._replies.say({"flush": number, "error": {"class": "PeerError", "message": message}})
        else:
            self._replies.say({"flush": number, "flushed": result})
