"""An agent's process around the core: what `node.agent` does, without sockets.

The outbox is the node's: it survives the process. A process that starts makes a new key, has an empty tail, joins,
and asks storage which of the transactions it finds in its outbox are committed, once its own epoch is (only then is
the answer final: the old key's blocks cannot be appended any more).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar

from scichain_wf import limits
from scichain_wf.consensus import effects, events, membership, messages
from scichain_wf.consensus.agent import Agent
from scichain_wf.errors import DecodeError, UsageError
from scichain_wf.sim import control, observe
from scichain_wf.sim.ledgers import NodeView
from scichain_wf.sim.workload import START_US

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scichain_wf.consensus.effects import AgentEffect
    from scichain_wf.consensus.events import AgentEvent, Item
    from scichain_wf.model.link import Link
    from scichain_wf.sim.ground import Ground
    from scichain_wf.sim.kernel import Handle


class AgentProcess:
    """One node: its outbox, and the process that drains it.

    Attributes:
        outbox: transactions acknowledged to the workflow and not settled, by id.
        refused: those that were given up, with the reason.
        alive: whether a process runs.
        halted: why the process stopped itself, or "".
    """

    core_type: ClassVar[type[Agent]] = Agent

    def __init__(self, world: Ground, slot: int) -> None:
        self.world, self.slot = world, slot
        self.outbox: dict[bytes, Item] = {}
        self.refused: dict[bytes, str] = {}
        self.alive = False
        self.halted = ""
        self.notes: list[str] = []
        self._boots = 0
        self._rate, self._origin = 1.0, (0.0, 0.0)  # of the clock: its rate, and (world's time, its own) of one moment
        self._paused = False
        self._busy = False
        self._inbox: deque[AgentEvent] = deque()
        self._applying: Handle | None = None

    # --- life ---------------------------------------------------------------------------------------
    def boot(self) -> None:
        """A process starts."""
        world = self.world
        self.key = world.keys.make(f"node {self.slot} {self._boots}")
        self._boots += 1
        self.join = membership.bind(world.token(self.slot), world.chain_id, self.key.public, "simulated")
        self.ledger = NodeView(world.histories, world.config.tail_links, self._applied)
        self.core = self.core_type(
            self.key,
            self.slot,
            world.chain_id,
            world.authority,
            self.ledger,
            world.config.timing,
            world.prepare,
            world.read_epoch,
        )
        self.alive, self.halted = True, ""
        self._questions = dict(self.outbox)  # from an earlier life: perhaps committed
        self._asked = False
        self._is_welcome = False
        self._filter_wanted = False
        self._checkpoint: bytes | None = None
        self._timer: Handle | None = None
        self._due: float | None = None
        self._searches: dict[tuple[int, bytes], tuple[Handle, float]] = {}
        self._voted: object = None
        world.network.boot(self.slot)
        self.feed(events.ClockSet(START_US))

    def crash(self) -> None:
        """The process ends; the outbox stays."""
        self.alive = self._paused = self._busy = False
        self._inbox.clear()
        for handle in (self._timer, self._applying, *(search for search, _ in self._searches.values())):
            if handle is not None:
                handle.cancel()
        self._searches.clear()
        self.world.network.crash(self.slot)

    def lose(self) -> None:
        """The node is gone with its outbox; what comes back in its place has an empty one."""
        self.outbox.clear()
        self.refused.clear()

    def pause(self) -> None:
        """The process stands still."""
        self._paused = True

    def resume(self) -> None:
        """It goes on where it was."""
        self._paused = False
        self._drain()

    def skew(self, rate: float) -> None:
        """The node's clock runs so much faster from now on."""
        self._origin = self.world.now, self._clock()
        self._rate = rate
        if self.alive:
            self._set_timer(self._due)

    def _clock(self) -> float:
        """What the node's monotonic clock reads."""
        at, own = self._origin
        return own + (self.world.kernel.now - at) * self._rate

    # --- transactions -------------------------------------------------------------------------------
    def submit(self, items: Iterable[Item]) -> None:
        """Hooks leave transactions in the outbox; what is in it already is the same transaction."""
        fresh = tuple({item.id: item for item in items if item.id not in self.outbox}.values())
        self.outbox.update((item.id, item) for item in fresh)
        if fresh and self.alive:
            self.feed(events.Submitted(self.taken(fresh)))

    def taken(self, items: tuple[Item, ...]) -> tuple[Item, ...]:
        """What the core is given for transactions of the outbox."""
        return items

    def _ask(self) -> None:
        """Ask about what was in the outbox at the start, a part at a time."""
        if self._asked or not self._questions or not self._is_welcome or not self.core.is_member:
            return
        self._asked = True
        asked = list(self._questions.values())[: limits.QUERY_TRANSACTIONS_MAX]
        self.send(0, control.Query(tuple((item.key, item.id) for item in asked)))

    def _answered(self, known: control.Known) -> None:
        mine = [(identity, yes) for identity, yes in known.committed if identity in self._questions]
        items = tuple(self._questions.pop(identity) for identity, _ in mine)
        self._asked = False
        self._settle(tuple(identity for identity, yes in mine if yes))
        missing = tuple(item for item, (_, yes) in zip(items, mine, strict=True) if not yes)
        if missing:
            self.feed(events.Submitted(self.taken(missing)))

    def _settle(self, ids: tuple[bytes, ...]) -> None:
        settled = tuple(identity for identity in ids if self.outbox.pop(identity, None) is not None)
        if settled:
            self.world.settled(self.slot, settled)

    # --- what comes in ------------------------------------------------------------------------------
    def connected(self, other: int, up: bool) -> None:
        """A channel stands, or broke."""
        if other:
            self.feed(events.PeerUp(other) if up else events.PeerDown(other))
        elif up:
            self.send(0, control.Hello(self.join, self.core.height, self.core.head, self._checkpoint))
        else:
            self._is_welcome = self._asked = self._filter_wanted = False
            self.feed(events.StorageDown())

    def receive(self, frm: int, message: Any) -> None:
        """A message arrives."""
        if isinstance(message, messages.Message):
            event = self.world.event_of(frm, message)
            if event is not None:
                self.feed(event)
            return
        match message:
            case control.Welcome(size, nodes, anchors):
                self._is_welcome = True
                self.feed(events.Welcomed(size, nodes, anchors))
                self.feed(events.StorageUp())
            case control.Known():
                self._answered(message)
            case control.Filter(height):
                self._filter_wanted = False
                if self.ledger.adopt(height):
                    self.feed(events.PastKnown())
            case control.Checkpoint(text):
                self._checkpoint = text
                self.feed(events.CheckpointReceived(text))
        if self.alive:
            self._look()

    def _look(self) -> None:
        """Ask for what can be asked for since the chain or the channel to it is there."""
        self._ask()
        if self.ledger.needs_past and not self._filter_wanted and self._is_welcome:
            self._filter_wanted = True
            self.send(0, control.FilterWanted(self.ledger.floor))

    # --- the core -----------------------------------------------------------------------------------
    def feed(self, event: AgentEvent) -> None:
        """One event, now or when the process gets to it."""
        if not self.alive:
            return
        if self._paused or self._busy:
            self._inbox.append(event)
        else:
            self._step(event, self._clock())

    def _drain(self) -> None:
        while self._inbox and self.alive and not (self._paused or self._busy):
            self._step(self._inbox.popleft(), self._clock())

    def _step(self, event: AgentEvent, now: float) -> None:
        world, keys = self.world, self.world.keys
        signed, verified = keys.signed, keys.verified
        done = self.core.step(event, now)
        if world.charges:
            cpu = world.config.cpu
            seconds = (keys.signed - signed) * cpu.sign_s + (keys.verified - verified) * cpu.verify_s
            seconds += cpu.judge_s * isinstance(event, events.ProposalReceived)
            if seconds:
                self._busy = True
                self._applying = world.kernel.after(seconds, self._computed, event, done)
                return
        self._finish(event, done)

    def _finish(self, event: AgentEvent, done: tuple[AgentEffect, ...]) -> None:
        if done:
            self._apply(done)
        if type(event) is events.CommittedReceived and self.alive:
            self._look()

    def _computed(self, event: AgentEvent, done: tuple[AgentEffect, ...]) -> None:
        self._busy = False
        self._finish(event, done)
        self._drain()

    def _apply(self, done: tuple[AgentEffect, ...]) -> None:
        """Do what the core wants, in order; a process may end between any two."""
        world, index, count = self.world, 0, len(done)
        while index < count:
            if world.crash_between is not None and world.crash_between(self.slot, index):
                world.crash(self.slot)
                return
            effect = done[index]
            index += 1
            if type(effect) is effects.SendPeer:
                to = [effect.slot]
                if world.crash_between is None:
                    # What goes to many is one effect for each: the network takes it at once.
                    message = effect.message
                    while index < count:
                        other = done[index]
                        if type(other) is not effects.SendPeer or other.message is not message:
                            break
                        to.append(other.slot)
                        index += 1
                self.tell_peers(to, effect.message)
            else:
                self._do(effect)
            if not self.alive:
                return

    def _do(self, effect: AgentEffect) -> None:
        match effect:
            case effects.SetTimer(at):
                self._set_timer(at)
            case effects.SendStorage(message):
                self.world.tally.asked(message)
                self.send(0, message)
            case effects.Mine(slot, block):
                nonce, attempts = self.world.puzzles.search(effect)
                took_s = attempts / self.world.config.hashes_per_s
                handle = self.world.kernel.after(took_s, self._solved, slot, block, nonce)
                self._searches[slot, block] = handle, self.world.now
            case effects.StopMining(slot, block):
                self._stop(slot, block)
            case effects.Settled(ids):
                self._settle(ids)
            case effects.GivenUp(ids, reason):
                self.refused.update((identity, reason) for identity in ids if self.outbox.pop(identity, None))
            case effects.Note(text):
                self.notes.append(text)
            case effects.Halt(reason):
                self.world.halt(self.slot, reason)

    def _set_timer(self, at: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due, self._timer = at, None
        if at is not None:
            when = self.world.now + max(0.0, at - self._clock()) / self._rate
            self._timer = self.world.kernel.at(when, self._tick, at)

    def _tick(self, at: float) -> None:
        self._timer = self._due = None
        if self._paused or self._busy:
            self._inbox.append(events.Tick())
        else:
            self._step(events.Tick(), max(self._clock(), at))  # rounding must not make it too early

    def _solved(self, slot: int, block: bytes, nonce: int | None) -> None:
        self._stop(slot, block)
        self.feed(events.Solved(slot, block, nonce))

    def _stop(self, slot: int, block: bytes) -> None:
        search = self._searches.pop((slot, block), None)
        if search is not None:
            search[0].cancel()
            self.world.tally.hashes += (self.world.now - search[1]) * self.world.config.hashes_per_s

    def _applied(self, link: Link) -> None:
        if self.world.observers:
            self.world.tell(observe.NodeApplied(self.slot, link))

    # --- what goes out ------------------------------------------------------------------------------
    def tell_peers(self, to: list[int], message: messages.Message) -> None:
        """One message to these slots."""
        world = self.world
        if type(message) is messages.Verdicts and message is not self._voted:
            self._voted = message
            if world.observers:
                world.tell(observe.Voted(self.slot, self.key.public.raw, message.batch))
        elif type(message) is messages.Propose:
            world.tally.proposed(message.block.id)
        reached = world.network.connected(self.slot, to)
        if reached:
            self.transmit(reached, message)

    def send(self, to: int, message: Any) -> None:
        """One message to storage (0) or a slot."""
        if to:
            self.tell_peers([to], message)
        elif self.world.network.is_up(self.slot, 0):
            self.transmit([0], message)

    def transmit(self, to: list[int], message: Any) -> None:
        """To the network; who lies may change it here."""
        self.world.send(self.slot, to, message)


def decoded(message: Any) -> Any:
    """What the other end reads of a message's bytes; None: it cannot be read.

    Used where bytes matter: between real codecs, and from liars, who can send anything.
    """
    if not isinstance(message, messages.Message):
        return message
    try:
        return messages.decode(message.kind, message.encode())
    except (DecodeError, UsageError):
        return None
