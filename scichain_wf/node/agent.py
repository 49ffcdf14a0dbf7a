"""An agent: one node's process around `consensus.agent.Agent`.

It takes transactions from its outbox, keeps a ledger tail on tmpfs, talks to its peers and to storage, and does what
the core's effects say. Its key is made here at boot, is never written down and dies with the process. When its
standard input ends, its storage node is gone: it ends too, and the outbox waits for the next start.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from scichain_wf import keystore, limits
from scichain_wf.consensus import effects, events, membership, messages
from scichain_wf.consensus.agent import Agent
from scichain_wf.consensus.timing import Timing
from scichain_wf.crypto.signing import SigningKey, VerifyKey
from scichain_wf.errors import ConfigError, DecodeError, PeerError, VerificationError
from scichain_wf.ledger.prepared import prepared
from scichain_wf.node import control, process, shm, wire
from scichain_wf.node.cosigning import Witness
from scichain_wf.node.figures import agent_metrics
from scichain_wf.node.intake import Intake
from scichain_wf.node.log import Log
from scichain_wf.node.metrics import Histogram, posted
from scichain_wf.node.mining import Miner
from scichain_wf.node.peers import Peers
from scichain_wf.node.pump import Pump
from scichain_wf.node.tail import Tail
from scichain_wf.node.tasks import Tasks
from scichain_wf.transport import tls
from scichain_wf.transport.credentials import Credentials
from scichain_wf.transport.link import keep_connected

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scichain_wf.consensus.events import Item
    from scichain_wf.node.metrics import Metric
    from scichain_wf.transport.channel import TlsChannel


class AgentNode:
    """The shell. Everything happens on one event loop; nothing in it waits for long."""

    def __init__(self, config: dict[str, object]) -> None:
        self.slot = wire.integer(config, "slot")
        self.log = Log(f"slot-{self.slot}")
        self._chain = bytes.fromhex(wire.text(config, "chain"))
        self._config = config
        key = keystore.generate()
        token = membership.JoinToken(
            self.slot,
            wire.integer(config, "generation"),
            SigningKey.from_seed(bytes.fromhex(wire.text(config, "token"))),
            bytes.fromhex(wire.text(config, "token_certificate")),
        )
        self._join = membership.bind(token, self._chain, key.public, socket.gethostname())
        authority = VerifyKey.from_bytes(bytes.fromhex(wire.text(config, "authority")))
        credentials = cast("dict[str, str]", config["credentials"])
        own = Credentials(credentials["certificate"], credentials["key"], credentials["authority"])
        self._client = tls.client_context(own)
        contexts = (tls.server_context(own), self._client)
        self._tasks = Tasks(self._fail)
        self._peers = Peers(self.slot, contexts, self._from_peer, self._peer_changed, self._tasks, self.log)
        self._tail_base = Path(wire.text(config, "tail", limits.PATH_BYTES_MAX))
        self._tail = Tail(shm.tail_directory(self._chain, self.slot, self._tail_base))
        self._core = Agent(key, self.slot, self._chain, authority, self._tail, Timing(), prepared)
        intake = Intake(self._chain, Path(wire.text(config, "refused", limits.PATH_BYTES_MAX)), self.log)
        self._pump = Pump(self._chain, self.slot, intake, self._submit, self._ask, self.log)
        self._data: dict[bytes, bytes] = {}
        self._sending: tuple[object, bytes] = None, b""
        self._storage: TlsChannel | None = None
        self._ready_at: float | None = None
        self._is_ready = self._has_joined = False
        self._timer: asyncio.TimerHandle | None = None
        self._status_timer: asyncio.TimerHandle | None = None
        self._stop = asyncio.Event()
        self._fatal: BaseException | None = None
        self._filter_wanted = False
        self._checkpoint, self._witness = "", Witness(key, self.slot, self._chain)
        self._miner = Miner(self.slot)
        self._latency = Histogram()
        self._mining: asyncio.Handle | None = None

    # --- life ---------------------------------------------------------------------------------------
    async def run(self) -> None:
        """From boot to end.

        Raises:
            BaseException: what this agent could not go on with.
        """
        self._loop = asyncio.get_running_loop()
        self._tasks.guard(self._loop)
        self._loop.add_signal_handler(signal.SIGTERM, self._terminated)
        self._set_clock()
        self._address = await self._peers.listen(*wire.listening(self._config))
        spool, burst = (Path(str(path)) if path else None for path in map(self._config.get, ("spool", "burst")))
        adopted = [Path(str(path)) for path in cast("list[str]", self._config["adopt"])]
        self._pump.open(spool, adopted, burst)
        storage = wire.address(self._config, "storage")
        self._tasks.spawn(keep_connected(storage, self._client, tls.STORAGE, self._serve, self._note))
        self._tasks.spawn(self._wait_for_end())
        figures = posted(Path(wire.text(self._config, "metrics", limits.PATH_BYTES_MAX)), self._chain, self.log.name,
                         self._metrics, self.log)
        self._tasks.spawn(figures.keep())
        try:
            await self._stop.wait()
        finally:
            await self._tasks.cancel()
            self._pump.close()
            await self._peers.close()
            self._tail.close()
            figures.remove()
            shm.remove(shm.tail_directory(self._chain, self.slot, self._tail_base))
        self.log.info("ended", dropped=dict(self._core.dropped))
        left = self._pump.intake.pending
        if left:
            self.log.warning("ending with records that are not committed: they stay in the outbox", pending=left)
        if self._fatal is not None:
            raise self._fatal

    def _fail(self, error: BaseException) -> None:
        if self._fatal is None:
            self._fatal = error
            self.log.error("fatal", reason=f"{type(error).__name__}: {error}")
        self._stop.set()

    async def _wait_for_end(self) -> None:
        """The storage node holds the other end of standard input: when it is gone there is nothing left to do."""
        async for _ in control.lines():
            pass
        self._stop.set()

    def _terminated(self) -> None:
        """SIGTERM: get what is in the outbox committed, then end."""
        self.log.info("told to end: draining")
        self._pump.flush(0, drain=True)
        self._feed(events.Release())
        self._loop.call_later(limits.DRAIN_TIMEOUT_S, self._stop.set)

    def _set_clock(self) -> None:
        offset_us = time.time_ns() // 1_000 - int(self._loop.time() * 1_000_000)
        self._feed(events.ClockSet(offset_us))
        self._loop.call_later(limits.CLOCK_S, self._set_clock)

    # --- the core -----------------------------------------------------------------------------------
    def _feed(self, event: events.AgentEvent) -> None:
        for effect in self._core.step(event, self._loop.time()):
            self._do(effect)
        self._sending = None, b""
        self._after()

    def _do(self, effect: effects.AgentEffect) -> None:
        match effect:
            case effects.SetTimer(at):
                self._set_timer(at)
            case effects.SendPeer(slot, message):
                if message is not self._sending[0]:  # the same goes to several slots
                    self._sending = message, message.encode()
                self._peers.send(slot, message.kind, self._sending[1])
            case effects.SendStorage(message):
                self._to_storage(message.kind, message.encode())
            case effects.Mine():
                self._miner.begin(effect)
                if self._mining is None:
                    self._mining = self._loop.call_soon(self._mine)
            case effects.StopMining():
                self._miner.stop(effect)
            case effects.Settled(ids):
                for identity in ids:
                    self._data.pop(identity, None)
                self._pump.intake.settled(ids)
            case effects.GivenUp(ids, reason):
                self._pump.intake.given_up({identity: self._data.pop(identity) for identity in ids}, reason)
            case effects.Note(text):
                self.log.warning(text)
            case effects.Halt(reason):
                self._fail(VerificationError(reason))

    def _set_timer(self, at: float | None) -> None:
        if self._timer is not None:
            if self._timer.when() == at and not self._timer.cancelled():
                return
            self._timer.cancel()
        self._timer = None if at is None else self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._feed(events.Tick())

    def _mine(self) -> None:
        solved = self._miner.advance()
        self._mining = None if self._miner.is_idle else self._loop.call_soon(self._mine)
        if solved is not None:
            self._feed(solved)

    def _submit(self, items: list[Item]) -> None:
        self._data.update((item.id, item.data) for item in items)
        self._feed(events.Submitted(tuple(items)))
        if self._pump.hurries:
            self._feed(events.Seal())

    # --- peers --------------------------------------------------------------------------------------
    def _from_peer(self, slot: int, kind: int, payload: bytes) -> None:
        try:
            event = peer_event(slot, kind, payload)
        except DecodeError:
            self._core.dropped["malformed message"] += 1
            raise
        self._feed(event)

    def _peer_changed(self, slot: int, up: bool) -> None:
        self.log.info("channel to a peer", slot=slot, up=up)
        self._feed(events.PeerUp(slot) if up else events.PeerDown(slot))

    # --- storage ------------------------------------------------------------------------------------
    async def _serve(self, channel: TlsChannel) -> None:
        core, hello = self._core, wire.join_value(self._join) | {"address": list(self._address)}
        hello |= {"next": core.height + 1, "height": max(core.height, 0)}
        if core.head is not None:
            hello["head"] = core.head.hex()
        if self._checkpoint:
            hello["checkpoint"] = self._checkpoint
        channel.send(wire.Kind.HELLO, wire.encoded(hello))
        channel.admit()
        self._storage = channel
        self._filter_wanted = False
        try:
            while True:
                kind, payload = await channel.receive()
                try:
                    self._from_storage(kind, payload)
                except DecodeError as error:
                    raise PeerError(f"storage sent what cannot be read: {error}") from None
        finally:
            self._storage = None
            self._pump.storage_lost()
            self._feed(events.StorageDown())

    def _from_storage(self, kind: int, payload: bytes) -> None:
        if kind == messages.Kind.COMMITTED:
            self._link(messages.Committed.decode(payload, lambda block: self._core.body(block) is not None))
        elif kind == messages.Kind.ANSWER:
            self._feed(events.Answered(messages.Answer.decode(payload)))
        elif kind == wire.Kind.CHECKPOINT:
            self._feed(events.CheckpointReceived(payload))
            self._checkpoint = payload.decode(errors="replace")  # for storage itself, should it forget
            signed = self._witness.cosigned(payload, self._core.height, self._core.storage_key)
            if signed is not None and self._fatal is None:
                self._to_storage(wire.Kind.COSIGNED, signed)
        elif kind == wire.Kind.WELCOME:
            self._welcome(wire.decoded(payload))
        elif kind == wire.Kind.KNOWN:
            asked = [identity for _, identity in self._pump.intake.questions()]
            self._pump.answered([(identity, bool(flag)) for identity, flag in zip(asked, payload, strict=False)])
        elif kind == wire.Kind.FLUSH:
            value = wire.decoded(payload)
            self._feed(events.Seal())
            self._pump.flush(wire.integer(value, "flush"), drain=bool(value.get("drain")))
        elif kind == wire.Kind.RELEASE:
            self._feed(events.Release())
        elif kind == wire.Kind.FILTER:
            self._filter_wanted = False
            if self._tail.adopt(payload[8:], int.from_bytes(payload[:8], "big")):
                self._feed(events.PastKnown())
            else:
                self.log.info("the filter came too late: it is asked for again with the next link")
        elif kind == wire.Kind.PEERS:
            self._learn(wire.decoded(payload))
        elif kind == wire.Kind.DISMISSED:
            self._dismissed(wire.decoded(payload))
        elif kind == wire.Kind.ADOPT:
            self._pump.adopt(Path(wire.text(wire.decoded(payload), "directory", limits.PATH_BYTES_MAX)))
        else:
            raise PeerError(f"storage sent a frame of unknown kind {kind}")
        self._after()

    def _dismissed(self, value: dict[str, object]) -> None:
        reason = wire.text(value, "reason", limits.TEXT_CHARS_MAX)
        self.log.error("the storage node does not want this agent", reason=reason)
        if value.get("for_good") is True:
            self._fail(ConfigError(f"the storage node does not want this agent: {reason}"))

    def _welcome(self, value: dict[str, object]) -> None:
        nodes = tuple(bytes.fromhex(str(node)) for node in cast("list[str]", value["nodes"]))
        anchors = tuple((height, time_us) for height, time_us in cast("list[list[int]]", value.get("anchors", [])))
        self._feed(events.Welcomed(wire.integer(value, "size"), nodes, anchors))
        self._learn(value)
        self._feed(events.StorageUp())
        self._pump.look()

    def _learn(self, value: dict[str, object]) -> None:
        addresses = cast("dict[str, list[object]]", value["peers"])
        self._peers.learn({int(slot): wire.address({"a": where}, "a") for slot, where in addresses.items()})

    def _link(self, committed: messages.Committed) -> None:
        before = self._core.height
        block = None if committed.block is None else prepared(committed.block)
        own = self._core.own_block(committed.link.block)
        self._feed(events.CommittedReceived(committed.link, block))
        if self._core.height == before:
            return
        self._peers.admit(self._core.members)
        if own is not None:
            self._latency.observe(max(0.0, time.time() - own.block.header.time_us / 1_000_000))
        if self._pump.hurries:
            self._feed(events.Seal())  # what the link resolved shall not wait for its draft's interval
        if self._tail.needs_filter and not self._filter_wanted:
            value: dict[str, object] = {"height": self._tail.covers_from, "salt": self._tail.salt.hex()}
            self._filter_wanted = self._to_storage(wire.Kind.FILTER_WANTED, wire.encoded(value))

    def _ask(self, questions: list[tuple[bytes, bytes]]) -> bool:
        return self._to_storage(wire.Kind.QUERY, wire.query(questions))

    def _to_storage(self, kind: int, payload: bytes) -> bool:
        """Send, or end the channel: what is lost must be lost together with it."""
        if self._storage is None:
            return False
        if self._storage.send(kind, payload):
            return True
        self._storage.abort()
        return False

    # --- what follows whatever happened -------------------------------------------------------------
    def _after(self) -> None:
        if self._core.is_member and not self._has_joined:
            self._has_joined = True
            process.reply({"joined": self.slot})
            self._loop.call_later(limits.MESH_TIMEOUT_S, self._pump.begin)
        if self._core.is_member and 2 * (len(self._peers.connected) + 1) > self._core.slots:
            self._pump.begin()  # a majority could certify: what is proposed before would wait for its deadline
        if not self._is_ready and self._core.is_member and len(self._peers.connected) == self._core.slots - 1:
            self._is_ready = self._to_storage(wire.Kind.READY, wire.encoded({"slot": self.slot}))
        if self._pump.flush_number is not None and self._status_timer is None:
            self._status_timer = self._loop.call_later(0, self._report)

    def _report(self) -> None:
        """Tell storage how the flush goes; the last report says that it is done."""
        self._status_timer = None
        number = self._pump.flush_number
        if number is None:
            return
        done = self._pump.flush_done() is not None
        core = self._core
        asking = bool(self._pump.intake.questions())
        quiet = self._pump.has_read_all and not core.in_flight and not core.waiting and not asking
        status: dict[str, object] = {
            "flush": number,
            "done": done,
            "pending": self._pump.intake.pending,
            "committed": self._pump.intake.settled_count,
            "quiet": quiet,
            "held": core.held,
            "height": core.height,
        }
        self._to_storage(wire.Kind.STATUS, wire.encoded(status))
        if done and number == 0:
            self._to_storage(wire.Kind.BYE, b"")
            self._stop.set()
        elif not done:
            self._status_timer = self._loop.call_later(limits.STATUS_S, self._report)

    def _metrics(self) -> Iterable[Metric]:
        has_storage = self._storage is not None
        return agent_metrics(self._core, self._pump.intake, self._peers, self._tail, self._latency, has_storage)

    def _note(self, text: str) -> None:
        self.log.warning("channel to storage", reason=text)


def peer_event(slot: int, kind: int, payload: bytes) -> events.AgentEvent:
    """What the core is told of a frame that the agent of `slot` sent.

    Raises:
        DecodeError: it cannot be read, or is not for an agent's peer to send.
    """
    match messages.decode(kind, payload):
        case messages.Propose(block):
            return events.ProposalReceived(slot, prepared(block))
        case messages.Verdicts(batch):
            return events.VerdictsReceived(slot, batch)
        case messages.Puzzle() as asked:
            return events.PuzzleReceived(slot, asked)
        case messages.Found() as found:
            return events.SolutionReceived(slot, found)
    raise DecodeError(f"a message of kind {kind} is not for an agent's peer to send")
