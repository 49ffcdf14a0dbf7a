"""Faults from a seed: what breaks, when, for how long. A plan is data, so that a failing one can be shrunk.

Every fault ends; when the last one has, the world is whole again and the liveness phase begins.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from scichain_wf.sim import observe

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from scichain_wf.sim.disk import Image
    from scichain_wf.sim.world import World


class Kind(StrEnum):
    """What can break."""

    CRASH = "crash"
    """An agent's process ends and starts again: its key and tail are gone, its outbox is not."""
    STORAGE = "storage"
    """The storage process ends and starts again; what was not synced is gone."""
    BETWEEN = "between"
    """A process ends between two effects of one step."""
    LOSE = "lose"
    """A node is gone for good, with its outbox; its slot comes back with an empty one."""
    PARTITION = "partition"
    """Some endpoints reach only each other."""
    CUT = "cut"
    """One direction of one channel is dead."""
    LOSS = "loss"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    """Some of all messages are lost, come twice, or overtake each other."""
    SLOW_DISK = "slow-disk"
    """A group commit takes longer than proposers wait for."""
    SKEW = "skew"
    """An agent's clock runs too fast or too slow."""
    PAUSE = "pause"
    """An agent's process stands still, and goes on where it was."""
    ROLLBACK = "rollback"
    """Storage starts again from an older image of its disk."""


ALWAYS = tuple(kind for kind in Kind if kind is not Kind.ROLLBACK)
"""What every promise must survive; after a rollback storage may only refuse (SAFE-7)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault over [at, until) seconds. `amount`: a probability, a factor, seconds or a count, as its kind needs."""

    kind: Kind
    at: float
    until: float
    endpoints: tuple[int, ...] = ()
    amount: float = 0.0


def plan(random: Random, kinds: Iterable[Kind], nodes: int, begin: float, end: float) -> tuple[Fault, ...]:
    """One to six faults of these kinds, between `begin` and `end`; at most one of them is a rollback.

    An image of one time line cannot be put back into another: nobody could say which links it has.
    """
    kinds = tuple(kinds)
    made = [_fault(random, random.choice(kinds), nodes, begin, end) for _ in range(random.randint(1, 6))]
    first = next((fault for fault in made if fault.kind is Kind.ROLLBACK), None)
    return tuple(fault for fault in made if fault.kind is not Kind.ROLLBACK or fault is first)


def _fault(random: Random, kind: Kind, nodes: int, begin: float, end: float) -> Fault:
    at = random.uniform(begin, end)
    until = min(end, at + random.choice((0.01, 0.1, 0.5, 2.0)) * random.uniform(0.5, 1.5))
    slot = random.randint(1, nodes)
    match kind:
        case Kind.STORAGE | Kind.ROLLBACK:
            return Fault(kind, at, until, (0,))
        case Kind.BETWEEN:
            return Fault(kind, at, until, (random.randint(0, nodes),), random.randint(1, 12))
        case Kind.PARTITION:
            group = random.sample(range(nodes + 1), random.randint(1, nodes))
            return Fault(kind, at, until, tuple(sorted(group)))
        case Kind.CUT:
            return Fault(kind, at, until, tuple(random.sample(range(nodes + 1), 2)))
        case Kind.LOSS | Kind.DUPLICATE | Kind.REORDER:
            return Fault(kind, at, until, (), random.choice((0.02, 0.1, 0.3)))
        case Kind.SLOW_DISK:
            return Fault(kind, at, until, (0,), random.choice((0.05, 0.5, 3.0)))
        case Kind.SKEW:
            return Fault(kind, at, until, (slot,), random.choice((0.5, 0.9, 1.1, 2.0)))
        case _:
            return Fault(kind, at, until, (slot,))


class Faults:
    """Makes a plan happen in a world."""

    def __init__(self, world: World, faults: Iterable[Fault]) -> None:
        self._world = world
        self._active: list[Fault] = []
        self._down: Counter[int] = Counter()
        self._armed: dict[int, list[int]] = {}  # endpoint → effects until it ends, for each fault
        self._images: dict[Fault, Image] = {}
        self._usual_sync_s = world.disk.sync_s
        faults = tuple(faults)
        if any(fault.kind is Kind.BETWEEN for fault in faults):
            world.crash_between = self._is_hit
        for fault in faults:
            world.kernel.at(fault.at, self._begin, fault)
            world.kernel.at(fault.until, self._end, fault)

    def _begin(self, fault: Fault) -> None:
        world, network = self._world, self._world.network
        self._active.append(fault)
        self._tell(fault, over=False)
        match fault.kind:
            case Kind.CRASH | Kind.STORAGE | Kind.LOSE:
                self._stop(fault)
            case Kind.BETWEEN:
                self._armed.setdefault(fault.endpoints[0], []).append(int(fault.amount))
            case Kind.PARTITION:
                network.partition(fault.endpoints)
            case Kind.CUT:
                network.cut(*fault.endpoints)
            case Kind.PAUSE:
                world.pause(fault.endpoints[0])
            case Kind.ROLLBACK:
                self._images[fault] = world.disk.keep_image()
            case _:
                self._set_levels()

    def _end(self, fault: Fault) -> None:
        world, network = self._world, self._world.network
        self._active.remove(fault)
        match fault.kind:
            case Kind.CRASH | Kind.STORAGE | Kind.LOSE:
                self._start(fault.endpoints[0])
            case Kind.BETWEEN:
                self._disarm(fault.endpoints[0])
            case Kind.PARTITION:
                network.unpartition(fault.endpoints)
            case Kind.CUT:
                network.uncut(*fault.endpoints)
            case Kind.PAUSE:
                world.resume(fault.endpoints[0])
            case Kind.ROLLBACK:
                self._roll_back(self._images.pop(fault))
            case _:
                self._set_levels()
        self._tell(fault, over=True)

    def _tell(self, fault: Fault, *, over: bool) -> None:
        self._world.tell(observe.Disturbed(fault.kind, frozenset(fault.endpoints), over))

    def _stop(self, fault: Fault) -> None:
        endpoint = fault.endpoints[0]
        self._down[endpoint] += 1
        self._world.crash(endpoint)
        if fault.kind is Kind.LOSE:
            self._world.lose_node(endpoint)

    def _start(self, endpoint: int) -> None:
        self._down[endpoint] -= 1
        if not self._down[endpoint]:
            self._world.restart(endpoint)

    def _is_hit(self, endpoint: int, _index: int) -> bool:
        """Whether the process ends before this effect."""
        armed = self._armed.get(endpoint)
        if not armed:
            return False
        armed[0] -= 1
        if armed[0]:
            return False
        self._down[endpoint] += 1
        armed[0] = -1  # it has gone off, and the fault's end starts the process again
        return True

    def _disarm(self, endpoint: int) -> None:
        if self._armed[endpoint].pop(0) < 0:
            self._start(endpoint)

    def _roll_back(self, image: Image) -> None:
        self._world.restore(image)
        if not self._down[0]:
            self._world.restart(0)

    def _set_levels(self) -> None:
        """Probabilities, the disk and the clocks, as the worst fault that is active has them."""
        world = self._world
        world.network.loss = self._level(Kind.LOSS)
        world.network.duplicate = self._level(Kind.DUPLICATE)
        world.network.reorder = self._level(Kind.REORDER)
        world.disk.sync_s = max(self._usual_sync_s, self._level(Kind.SLOW_DISK))
        for slot in world.agents:
            rates = [f.amount for f in self._active if f.kind is Kind.SKEW and slot in f.endpoints]
            world.skew(slot, rates[-1] if rates else 1.0)

    def _level(self, kind: Kind) -> float:
        return max((fault.amount for fault in self._active if fault.kind is kind), default=0.0)
