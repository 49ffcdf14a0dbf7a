"""The main process's side of the channels: who is there, which task goes where, and what became of each.

A thread of its own with an event loop. Nobody waits for it: `put` leaves a task, results and losses are told to
`deliver`, which must not wait either. A task is on one node at a time; what a node gives back goes to another, what
it had begun when it was lost is told as lost.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from scichain_parsl.nodes.messages import HUB, NODE, Item, Kind, Status, Talk, items, words
from scichain_wf import limits
from scichain_wf.errors import PeerError
from scichain_wf.transport import tls
from scichain_wf.transport.channel import TlsChannel
from scichain_wf.transport.link import Address, Listener, Ports
from scichain_wf.transport.runca import RunAuthority

logger = logging.getLogger("parsl.scichain.hub")


@dataclass(eq=False, slots=True)
class Node:
    """One node that is connected.

    Attributes:
        block, host, pid: what it says of itself.
        workers: tasks it runs at a time; 0 until it is ready.
        slot: what its agent fills; 0: it has none.
        is_ending: it gets no more tasks.
        running: tasks it has, by number.
    """

    block: str
    host: str
    pid: int
    workers: int = 0
    slot: int = 0
    is_ending: bool = False
    running: dict[int, bytes] = field(default_factory=dict)
    outgoing: list[Item] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Hub:
    """Listens for nodes and gives them tasks.

    Args:
        name: of the executor, for its certificates.
        prefetch: how many tasks more than workers a node may have.
        chain: directory of the chain that nodes keep, if any.
        deliver: told number, status, bytes of each task that came to an end; called in the hub's thread.
        lost: told about a node that is gone, orderly or not.
    """

    def __init__(
        self,
        name: str,
        prefetch: int,
        chain: str | None,
        deliver: Callable[[Item], None],
        lost: Callable[[Node], None],
    ) -> None:
        authority = RunAuthority(name)
        self._own = authority.issue(HUB)
        self.credentials = authority.issue(NODE)
        self._prefetch, self._chain, self._deliver, self._lost = prefetch, chain, deliver, lost
        self._incoming: deque[Item] = deque()
        self._is_told = False
        self._waiting: deque[Item] = deque()
        self._free: deque[Node] = deque()
        self.nodes: dict[Node, None] = {}
        self._thread = threading.Thread(target=self._run, name="scichain-hub", daemon=True)
        self._started: Future[Address] = Future()
        self._stop, self._parted = asyncio.Event(), asyncio.Event()

    def start(self, host: str, ports: Ports) -> Address:
        """Listen; returns the address.

        Raises:
            ConfigError: it is not possible there.
        """
        self._loop = asyncio.new_event_loop()
        self._place = host, ports
        self._thread.start()
        return self._started.result()

    def put(self, number: int, task: bytes) -> None:
        """Run this task somewhere. Any thread; never waits."""
        self._incoming.append(Item(number, Status.OK, task))
        if not self._is_told:
            self._is_told = True
            self._loop.call_soon_threadsafe(self._take)

    def end(self, blocks: Iterable[str], timeout_s: float) -> None:
        """Let the nodes of these blocks finish what they run and end; wait for them."""
        future = asyncio.run_coroutine_threadsafe(self._end(set(blocks), timeout_s), self._loop)
        future.result(timeout_s + limits.ANSWER_GRACE_S)

    def close(self) -> None:
        """End every channel: nodes that are still there end. Idempotent."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    # --- in the thread ------------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._listen())
        finally:
            self._loop.close()

    async def _listen(self) -> None:
        listener = Listener(tls.server_context(self._own), self._serve, logger.info)
        try:
            self._started.set_result(await listener.start(*self._place))
        except BaseException as error:  # noqa: BLE001 - who started this thread gets it
            self._started.set_exception(error)
            return
        await self._stop.wait()
        await listener.close()

    async def _serve(self, channel: TlsChannel) -> None:
        """One node's channel."""
        if channel.peer != NODE:
            raise PeerError(f"{channel.peer} is no node")
        talk = Talk(channel)
        node, refusal = _introduced(await talk.hear(Kind.HELLO))
        await talk.say(Kind.WELCOME, {"chain": self._chain, "refused": refusal})
        if refusal:
            logger.error("Node %s of block %s is refused: %s", node.host, node.block, refusal)
            await channel.close()
            return
        self.nodes[node] = None
        sender = asyncio.create_task(self._send(node, talk))
        try:
            while True:
                self._heard(node, *await talk.receive())
        finally:
            sender.cancel()
            self._gone(node)

    def _heard(self, node: Node, kind: Kind, payload: bytes) -> None:
        if kind is Kind.RESULTS:
            for item in items(payload):
                if node.running.pop(item.number, None) is not None:
                    self._deliver(item)
            self._offer(node)
        elif kind is Kind.RETURNED:
            node.is_ending = True
            back = [Item(item.number, Status.OK, task) for item in items(payload)
                    if (task := node.running.pop(item.number, None)) is not None]
            self._waiting.extendleft(reversed(back))
        elif kind is Kind.READY:
            ready = words(payload)
            node.workers = min(_number(ready, "workers"), limits.NODE_WORKERS_MAX)
            node.slot = _number(ready, "slot")
            logger.info("Node %s of block %s: %d workers, slot %d", node.host, node.block, node.workers, node.slot)
            self._offer(node)
        else:
            raise PeerError(f"a node sent {kind.name}, which is not for it to send")
        self._hand_out()

    def _gone(self, node: Node) -> None:
        del self.nodes[node]
        node.is_ending = True
        logger.info("Node %s of block %s is gone, with %d tasks", node.host, node.block, len(node.running))
        unsent = {item.number for item in node.outgoing}
        for number, task in node.running.items():
            if number in unsent:
                self._waiting.append(Item(number, Status.OK, task))
            else:
                self._deliver(Item(number, Status.LOST, f"{node.host} (block {node.block})".encode()))
        self._lost(node)
        self._parted.set()
        self._hand_out()

    def _take(self) -> None:
        self._is_told = False  # before looking: what is put from now on tells again
        while self._incoming:
            self._waiting.append(self._incoming.popleft())
        self._hand_out()

    def _room(self, node: Node) -> bool:
        return not node.is_ending and len(node.running) < (node.workers + self._prefetch if node.workers else 0)

    def _offer(self, node: Node) -> None:
        if self._room(node) and node not in self._free:
            self._free.append(node)

    def _hand_out(self) -> None:
        """One task to each node in turn, as long as there are both."""
        while self._waiting and self._free:
            node = self._free.popleft()
            if not self._room(node):
                continue
            item = self._waiting.popleft()
            node.running[item.number] = item.data
            node.outgoing.append(item)
            node.wake.set()
            self._offer(node)

    async def _send(self, node: Node, talk: Talk) -> None:
        while True:
            await node.wake.wait()
            node.wake.clear()
            outgoing, node.outgoing = node.outgoing, []
            try:
                await talk.send_items(Kind.TASKS, outgoing)
                if node.is_ending:
                    await talk.send(Kind.END, b"")
            except PeerError:
                return  # who receives notices as well

    async def _end(self, blocks: set[str], timeout_s: float) -> None:
        told = [node for node in self.nodes if node.block in blocks]
        for node in told:
            node.is_ending = True
            node.wake.set()
        try:
            async with asyncio.timeout(timeout_s):
                while any(node in self.nodes for node in told):
                    self._parted.clear()
                    await self._parted.wait()
        except TimeoutError:
            logger.warning("Nodes of blocks %s did not end within %g s", sorted(blocks), timeout_s)


def _introduced(hello: dict[str, Any]) -> tuple[Node, str]:
    """Who a node says it is, and why it is not wanted, if so; `PeerError` if it makes no sense."""
    try:
        version = tuple(int(number) for number in hello["python"])
        node = Node(str(hello["block"])[:80], str(hello["host"])[:255], int(hello["pid"]))
    except (LookupError, TypeError, ValueError):
        raise PeerError("a node's introduction is malformed") from None
    if version == sys.version_info[:2]:
        return node, ""
    theirs, ours = (".".join(map(str, numbers)) for numbers in (version, sys.version_info[:2]))
    return node, (
        f"this node has Python {theirs} and the main process has {ours}: tasks do not travel between them; "
        "give NodeExecutor the `python` to start nodes with"
    )


def _number(value: dict[str, Any], name: str) -> int:
    number = value.get(name)
    if type(number) is not int or number < 0:
        raise PeerError(f"a node sent no {name}")
    return number
