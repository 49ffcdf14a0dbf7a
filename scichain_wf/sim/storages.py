"""The storage process around its core: what `node.storage_node` does, without sockets.

One transaction at a time goes to the disk: a group commit, or an epoch that binds everybody who said hello since the
last one. Nothing is sent of what is not durable.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar

from scichain_wf import limits
from scichain_wf.consensus import effects, events, membership, messages, rollback, storage
from scichain_wf.errors import DecodeError, VerificationError
from scichain_wf.model import difficulty
from scichain_wf.model.certificate import certificate_digest
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.link import Annotation, Link, Mode
from scichain_wf.model.transaction import make_key
from scichain_wf.sim import control, observe
from scichain_wf.sim.workload import START_US

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from scichain_wf.consensus.membership import Join
    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.crypto.signing import VerifyKey
    from scichain_wf.model.epoch import Epoch
    from scichain_wf.sim.ground import Ground
    from scichain_wf.sim.ledgers import ChainView

_WRITER = 1
_NOT_YET = -1


class StorageProcess:
    """The storage node: its processes come and go, its disk stays.

    Attributes:
        number: how many processes there were before this one.
        members: welcomed agents, each with the height of the first link it was not sent.
    """

    core_type: ClassVar[type[storage.Storage]] = storage.Storage

    def __init__(self, world: Ground) -> None:
        self.world = world
        self.alive = False
        self.halted = ""
        self.number = -1
        self.members: dict[int, int] = {}

    # --- life ---------------------------------------------------------------------------------------
    def boot(self) -> None:
        """A process starts: it reads its disk and goes on in place."""
        world = self.world
        self.core = self.core_type(world.storage_key, world.chain_id, _WRITER)
        self.alive, self.halted = True, ""
        self.number += 1
        self.members = {}
        self._epoch: Epoch | None = None
        self._bound: Mapping[int, VerifyKey] = {}
        self._joins: dict[int, Join] = {}
        self._operations: deque[Callable[[], object]] = deque()
        self._is_writing = self._is_binding = False
        self._published = -1.0
        disk = world.disk
        for height in range(disk.size - 1, 0, -1):
            if disk.history.links[height].mode is Mode.EPOCH:
                self._enter(disk.history.blocks[height])
                break
        else:
            self._write(self._state)
        world.network.boot(0)

    def crash(self) -> None:
        """The process ends, and with it whatever is not on the disk."""
        self.alive = False
        self.members = {}
        self.world.disk.crash()
        self.world.network.crash(0)

    # --- what comes in ------------------------------------------------------------------------------
    def connected(self, slot: int, up: bool) -> None:
        """A channel stands, or broke."""
        if not up:
            self.members.pop(slot, None)

    def receive(self, frm: int, message: Any) -> None:
        """A message arrives."""
        match message:
            case control.Hello():
                self.hello(frm, message)
            case control.Query(asked):
                view = self.world.disk.begin()
                known = tuple((identity, view.contains(key, identity)) for key, identity in asked)
                self.send(frm, control.Known(known))
            case control.FilterWanted(height):
                reach = min(height, self.world.disk.size)
                self.send(frm, control.Filter(reach, 8 + self.world.disk.history.filter_bytes(reach)))
            case _ if self._epoch is not None:
                event = self.world.storage_event_of(frm, message)
                if event is not None:
                    self.feed(event)

    def hello(self, slot: int, hello: control.Hello) -> None:
        """An agent has a channel: hold what it says against the chain, bind its key, send what it lacks."""
        world, disk = self.world, self.world.disk
        said = self._presented(slot, hello)
        if hello.head is not None:
            proven = any(one.proven and one.own != one.head for one in said)
            world.tell(observe.PresentedAt(slot, hello.height, hello.head, proven, self.number))
        for one in said:
            self.feed(one)
        if not self.alive or any(one.own != one.head for one in said):
            return
        key = self._bound.get(slot)
        if key is None or key.raw != hello.join.key.raw:
            self._joins[slot] = hello.join
            self._bind_soon()
        start = max(hello.height + 1, disk.size - limits.SYNC_LINKS_MAX)
        self.send(slot, control.Welcome(start, disk.history.subtrees(start), self._anchors(start)))
        self.replay(slot, start)

    def _presented(self, slot: int, hello: control.Hello) -> list[events.Presented]:
        """What the agent has, beside what this chain has there."""
        head = None if hello.head is None else (hello.height, hello.head)
        try:
            note = Checkpoint.parse(hello.checkpoint or b"")
        except DecodeError:
            note = None
        return rollback.presented(slot, head, note, self.world.disk.begin(), self.world.storage_key.public)

    def _anchors(self, size: int) -> tuple[tuple[int, int], ...]:
        """Of the links below `size`, those whose times a difficulty may follow from."""
        links = self.world.disk.history.links
        return tuple((height, links[height].time_us) for height in difficulty.needed(size))

    # --- the core -----------------------------------------------------------------------------------
    def feed(self, event: storage.StorageEvent) -> None:
        """One event, with its effects; a process may end between any two."""
        world = self.world
        for index, effect in enumerate(self.core.step(event, world.now)):
            if world.crash_between is not None and world.crash_between(0, index):
                world.crash(0)
            if not self.alive:
                return
            self._do(effect)

    def _do(self, effect: storage.StorageEffect) -> None:
        match effect:
            case storage.Commit(candidates):
                self._write(lambda: self.commit(candidates))
            case effects.Announce(message, holders):
                self.announce(message, holders)
            case effects.SendSlot(slot, message):
                self.world.tally.answered(message)
                self.send(slot, message)
            case effects.Replay(slot, start):
                if slot in self.members:
                    self.replay(slot, start)
            case effects.Halt(reason):
                self.halted = reason
                self.world.tell(observe.Halted(0, reason))

    # --- the disk -----------------------------------------------------------------------------------
    def _write(self, operation: Callable[[], object]) -> None:
        """One transaction after the other."""
        self._operations.append(operation)
        self._next()

    def _next(self) -> None:
        if self._operations and not self._is_writing and self.alive:
            self._is_writing = True
            self._operations.popleft()()

    def commit(self, candidates: tuple[storage.Candidate, ...]) -> None:
        """Decide each candidate in order, append what is to be appended, sync, and tell."""
        view, keys, cpu = self.world.disk.begin(), self.world.keys, self.world.config.cpu
        signed, verified = keys.signed, keys.verified
        outcomes = tuple(self.decided(view, candidate) for candidate in candidates)
        judging_s = (keys.signed - signed) * cpu.sign_s + (keys.verified - verified) * cpu.verify_s
        self.sync(view, lambda: self._committed(outcomes), judging_s + cpu.judge_s * len(candidates))

    def decided(self, view: ChainView, candidate: storage.Candidate) -> storage.Outcome:
        """What becomes of one candidate, once it is synced."""
        decision = self.core.decide(candidate, view)
        if isinstance(decision, storage.Append):
            block, annotations = candidate.block, decision.annotations
            link = self.append(view, block, decision.mode, decision.certificate, decision.epoch, annotations)
            return storage.Outcome(candidate, storage.Appended(link, decision.against))
        return storage.Outcome(candidate, decision)

    def append(
        self,
        view: ChainView,
        block: ParsedBlock,
        mode: Mode,
        certificate: bytes | None,
        epoch: int,
        annotations: tuple[Annotation, ...] = (),
    ) -> Link:
        """Append a block to an open transaction."""
        named = None if certificate is None else certificate_digest(certificate)
        time_us, block_id = self._now_us(), block.block.id
        link = Link(view.size, view.head, block_id, named, mode, epoch, annotations, _WRITER, time_us)
        view.append(link, block, certificate)
        return link

    def sync(self, view: ChainView, done: Callable[[], object], judging_s: float = 0.0) -> None:
        """Make a transaction durable, say so, and then call `done`."""
        self.world.disk.sync(view, lambda: self._synced(view, done), judging_s)

    def _synced(self, view: ChainView, done: Callable[[], object]) -> None:
        for link, block, certificate in view.added:
            self.world.durable(link, block, certificate, self.number)
        self._is_writing = False
        done()
        self._next()

    def _committed(self, outcomes: tuple[storage.Outcome, ...]) -> None:
        self.feed(storage.Decided(outcomes))
        self._publish()

    def _publish(self) -> None:
        """Agents hear of links at once, of the checkpoint when there is time, or at least so often."""
        world, period = self.world, self.world.config.checkpoint_s
        if not self.alive or self.halted or not self.members or world.now < self._published + period:
            return
        self._published = world.now
        size = world.disk.size
        signed = Checkpoint(world.chain_id, size, world.disk.history.root(size)).sign(world.storage_key)
        world.send(0, list(self.members), control.Checkpoint(signed.text().encode()))

    # --- membership ---------------------------------------------------------------------------------
    def _enter(self, block: ParsedBlock) -> None:
        """The epoch that a durable block states is in force."""
        roster = self.world.read_epoch(block.parsed[0]["body"])  # type: ignore[arg-type]
        self._epoch, self._bound = roster.epoch, roster.keys
        self.feed(events.EpochInForce(roster))

    def _state(self) -> None:
        """The authority states the list of slots, all empty."""
        genesis = self.world.genesis
        stated = membership.restated(genesis, self.world.authority_key, self.world.chain_id, genesis.slots)
        self._append_epoch(stated)

    def _bind_soon(self) -> None:
        if not self._is_binding:
            self._is_binding = True
            number = self.number
            self.world.kernel.after(self.world.config.join_s, lambda: self._bind_due(number))

    def _bind_due(self, number: int) -> None:
        if self.alive and number == self.number:
            self._write(self._bind)

    def _bind(self) -> None:
        """Bind everybody who came since the last epoch."""
        self._is_binding = False
        joins, self._joins = tuple(self._joins.values()), {}
        epoch = self._epoch
        try:
            if epoch is None or self.halted:
                raise VerificationError("nobody can join now")
            joined = membership.joined(epoch, self.world.chain_id, joins)
        except VerificationError:
            self._is_writing = False
            self._next()
        else:
            self._append_epoch(joined)

    def _append_epoch(self, epoch: Epoch) -> None:
        world, view, now_us = self.world, self.world.disk.begin(), self._now_us()
        key = make_key(now_us // 1_000, world.kernel.rng("epochs").randbytes(10))
        record = membership.epoch_transaction(epoch, world.chain_id, "simulated", now_us, key)
        number, size, data = epoch.epoch - 1, view.size, (record.encode(),)
        sealed = membership.seal(
            world.storage_key, world.chain_id, number, size, view.head, size - 1, data, now_us, 0, "storage"
        )
        block = world.prepare(sealed)
        link = self.append(view, block, Mode.EPOCH, None, epoch.epoch)
        self.sync(view, lambda: self._epoch_durable(link, block))

    def _epoch_durable(self, link: Link, block: ParsedBlock) -> None:
        self._enter(block)
        if self.alive:
            self.announce(messages.Committed(link, block.block), frozenset())

    # --- what goes out ------------------------------------------------------------------------------
    def announce(self, message: messages.Committed, holders: Iterable[int]) -> None:
        """A durable link to everybody who has all links before it; with its block to who may lack it."""
        height, holders = message.link.height, frozenset(holders)
        due = [slot for slot, following in self.members.items() if following == height]
        bare = [slot for slot in due if slot in holders]
        whole = [slot for slot in due if slot not in holders]
        self.members.update(dict.fromkeys(due, height + 1))
        if bare:
            self.world.send(0, bare, messages.Committed(message.link, None))
        if whole:
            self.world.send(0, whole, message)

    def replay(self, slot: int, start: int) -> None:
        """Every durable link from `start` on, with its block."""
        size, history = self.world.disk.size, self.world.disk.history
        for height in range(max(start, size - limits.SYNC_LINKS_MAX), size):
            self.send(slot, messages.Committed(history.links[height], history.blocks[height].block))
        self.members[slot] = size

    def send(self, slot: int, message: Any) -> None:
        """One message to an agent."""
        if self.world.network.is_up(0, slot):
            self.world.send(0, [slot], message)

    def _now_us(self) -> int:
        return START_US + int(self.world.now * 1e6)
