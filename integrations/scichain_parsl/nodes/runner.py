"""What a node does: connects to the hub, hands tasks to its workers one by one, and results back.

It ends when the hub says so, on SIGTERM, and when the channel ends: tasks that run then have a moment to finish; what
was not begun goes back. Parsl runs again what was lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from scichain_parsl.nodes.agent import Agent
from scichain_parsl.nodes.messages import HUB, ITEM, Item, Kind, Status, Talk, items
from scichain_parsl.nodes.nursery import Nursery
from scichain_wf import limits
from scichain_wf.errors import EXIT_INCOMPLETE, EXIT_OK, PeerError
from scichain_wf.transport import tls
from scichain_wf.transport.channel import TlsChannel
from scichain_wf.transport.credentials import Credentials
from scichain_wf.transport.link import keep_connected

_SIZE_BYTES = 4


class Runner:
    """One node.

    Args:
        access: what the executor left for its nodes.
        block: the block that this node belongs to.
        workers: how many tasks run here at a time.
        nursery: makes workers.
    """

    def __init__(self, access: Mapping[str, Any], block: str, workers: int, nursery: Nursery) -> None:
        self._address = str(access["address"][0]), int(access["address"][1])
        self._context = tls.client_context(Credentials(**access["credentials"]))
        self._ports = int(access["ports"][0]), int(access["ports"][1])
        self._tail_dir = None if access.get("tail_dir") is None else str(access["tail_dir"])
        self._block, self._workers, self._nursery = block, workers, nursery
        self._queue: asyncio.Queue[Item] = asyncio.Queue()
        self._results: list[Item] = []
        self._unsent = False
        self._running: set[int] = set()
        self._helpers: list[asyncio.Task[None]] = []
        self._something, self._changed, self._over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._talk: Talk | None = None
        self._agent: Agent | None = None
        self._ending: asyncio.Task[None] | None = None
        self._refusal = self._last = ""
        self._code = EXIT_OK

    async def run(self) -> int:
        """Until it is over; returns the exit code.

        Raises:
            PeerError: the hub cannot be reached, or does not want this node.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._end_soon)
        connecting = asyncio.create_task(keep_connected(self._address, self._context, HUB, self._serve, self._noted))
        given_up = loop.call_later(limits.NODE_CONNECT_S, self._unreachable)
        try:
            await self._over.wait()
        finally:
            given_up.cancel()
            for task in (connecting, *self._helpers):
                task.cancel()
            await asyncio.gather(connecting, *self._helpers, return_exceptions=True)
        if self._refusal:
            raise PeerError(self._refusal)
        return self._code

    def _noted(self, text: str) -> None:
        self._last = text
        _note(text)

    def _unreachable(self) -> None:
        if self._talk is None and self._ending is None:
            host, port = self._address
            self._refusal = (
                f"nothing answers as this executor at {host}:{port} within {limits.NODE_CONNECT_S:g} s "
                f"({self._last or 'not a word'}). Unless that names another cause, give NodeExecutor an `address` that "
                "this host reaches, and a `port_range` that the firewall lets through"
            )
            self._over.set()

    async def _serve(self, channel: TlsChannel) -> None:
        """The one conversation of a node, from the first word to the last."""
        talk = self._talk = Talk(channel)
        try:
            await self._begin(talk, channel.own_host)
            while not self._refusal:
                kind, payload = await talk.receive()
                if kind is Kind.TASKS:
                    await self._take(talk, payload)
                elif kind is Kind.END:
                    self._end_soon()
        except PeerError as error:
            if self._ending is None:
                self._give_up(str(error))
        self._talk = None
        self._changed.set()
        self._end_soon()
        await self._over.wait()

    async def _begin(self, talk: Talk, host: str) -> None:
        version = list(sys.version_info[:2])
        hello = {"block": self._block, "host": socket.gethostname(), "pid": os.getpid(), "python": version}
        await talk.say(Kind.HELLO, hello)
        welcome = await talk.hear(Kind.WELCOME)
        if welcome.get("refused"):
            self._refusal = str(welcome["refused"])
            return
        self._helpers.append(asyncio.create_task(self._get_ready(talk, str(welcome.get("chain") or ""), host)))

    async def _get_ready(self, talk: Talk, chain: str, host: str) -> None:
        """The agent first: what workers record is for it."""
        try:
            if chain:
                self._agent = await Agent.started(Path(chain), host, self._ports, self._tail_dir)
                if self._agent is None:
                    _note(f"{chain}: no slot is free for an agent of this node; without one, records go to the spool")
                else:
                    await self._agent.joined()
            await self._work_begins(talk)
        except (OSError, PeerError) as error:
            self._give_up(f"it does not get ready: {error}")

    async def _work_begins(self, talk: Talk) -> None:
        self._helpers.append(asyncio.create_task(self._send_results(talk)))
        self._helpers += [asyncio.create_task(self._work(rank)) for rank in range(self._workers)]
        await talk.say(Kind.READY, {"workers": self._workers, "slot": self._agent.slot if self._agent else 0})

    async def _take(self, talk: Talk, payload: bytes) -> None:
        if self._ending is not None:
            await talk.send_items(Kind.RETURNED, (Item(item.number, Status.LOST, b"") for item in items(payload)))
            return
        for item in items(payload):
            self._queue.put_nowait(item)

    # --- workers ------------------------------------------------------------------------------------
    async def _work(self, rank: int) -> None:
        """Keep one worker, and give it one task after the other."""
        variables = {
            "PARSL_WORKER_RANK": str(rank),
            "PARSL_WORKER_COUNT": str(self._workers),
            "PARSL_WORKER_POOL_ID": str(os.getpid()),
            "PARSL_WORKER_BLOCK_ID": self._block,
        }
        told = json.dumps(variables).encode()
        while self._ending is None:
            try:
                connection = self._nursery.worker()
            except OSError as error:
                self._give_up(f"what forks its workers is gone: {error.strerror}")
                return
            reader, writer = await asyncio.open_unix_connection(sock=connection, limit=limits.TASK_PART_BYTES)
            try:
                writer.write(len(told).to_bytes(_SIZE_BYTES, "big") + told)
                while not reader.at_eof():
                    await self._run_one(reader, writer)
            except OSError:
                pass  # it died between two tasks
            finally:
                writer.transport.abort()

    async def _run_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, _, data = await self._queue.get()
        self._running.add(number)
        try:
            writer.writelines((ITEM.pack(number, 0, len(data)), data))
            await writer.drain()
            _, status, length = ITEM.unpack(await reader.readexactly(ITEM.size))
            result = Item(number, Status(status), await reader.readexactly(length))
        except (OSError, asyncio.IncompleteReadError):
            result = Item(number, Status.LOST, socket.gethostname().encode())
        self._results.append(result)
        self._running.discard(number)
        self._unsent = True
        self._something.set()

    async def _send_results(self, talk: Talk) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            results, self._results = self._results, []
            self._unsent = True
            with suppress(PeerError):  # who receives notices as well
                await talk.send_items(Kind.RESULTS, results)
            self._unsent = bool(self._results)
            self._changed.set()

    # --- the end ------------------------------------------------------------------------------------
    def _end_soon(self) -> None:
        """SIGTERM, the hub's word, or nobody is there any more."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())

    def _give_up(self, why: str) -> None:
        _note(f"this node ends: {why}")
        self._code = EXIT_INCOMPLETE
        self._end_soon()

    async def _end(self) -> None:
        if self._talk is not None:
            await self._drain(self._talk)
        self._nursery.kill_workers()
        if self._agent is not None:
            await self._agent.end()
        self._over.set()

    async def _drain(self, talk: Talk) -> None:
        """What was not begun goes back at once, what runs has a moment; what runs then is lost."""
        waiting = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        with suppress(PeerError, TimeoutError):
            async with asyncio.timeout(limits.TASK_DRAIN_S):
                # Also if there is none: the hub sends no more after this.
                await talk.send(Kind.RETURNED, b"".join(ITEM.pack(item.number, Status.LOST, 0) for item in waiting))
                await self._until(lambda: not self._running)
        self._nursery.kill_workers()
        with suppress(TimeoutError):
            async with asyncio.timeout(limits.TASK_DRAIN_S):
                await self._until(lambda: not (self._running or self._unsent))

    async def _until(self, done: Callable[[], bool]) -> None:
        """Wait for it, or for the end of the channel."""
        while self._talk is not None and not done():
            self._changed.clear()
            await self._changed.wait()


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the block's own log
