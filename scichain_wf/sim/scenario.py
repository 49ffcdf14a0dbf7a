"""A world with everything that goes wrong in it, as data: a run is a pure function of its scenario.

The load and the faults fill the first part; then everything is whole again, and what remains is the liveness phase.
Near its end every node submits once more: with all faults healed, a quorum must suffice for these (LIVE-2).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from scichain_wf.consensus.timing import Timing
from scichain_wf.crypto.hashing import sha256
from scichain_wf.model.text import digest_text
from scichain_wf.model.uri import work_uri
from scichain_wf.sim import faults as breaking
from scichain_wf.sim.agents import AgentProcess
from scichain_wf.sim.checkers import checkers
from scichain_wf.sim.checking import Premises
from scichain_wf.sim.config import SimConfig
from scichain_wf.sim.faults import Fault, Kind
from scichain_wf.sim.liars import lying
from scichain_wf.sim.lies import LIES
from scichain_wf.sim.storages import StorageProcess
from scichain_wf.sim.twins import twinned
from scichain_wf.sim.violations import Violation
from scichain_wf.sim.world import World

if TYPE_CHECKING:
    from collections.abc import Collection

    from scichain_wf.model.canonical import JsonObject
    from scichain_wf.sim.result import Result

QUICK: Final = Timing(
    draft_interval_s=0.05,
    deadline_s=0.3,
    patience_s=1.0,
    unresolved_after_s=8.0,
    backoff_s=0.05,
    backoff_s_max=0.5,
)
"""Waits that fit a run of seconds. What is missing is awaited longer than any fault lasts."""
_FAULTS_END_S: Final = 1.6
_PROBE_S: Final = 18.0
_END_S: Final = 24.0
_DELTA_S: Final = 0.5
"""Covers a channel that comes back, and the longest latency that is drawn."""


@dataclass(frozen=True, slots=True)
class Twin:
    """This slot is filled by two processes; the second starts `after_s` after the first."""

    slot: int
    same_key: bool
    after_s: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run.

    Attributes:
        config: the world; its seed is the run's.
        faults: what breaks.
        lies: (slot, name of the lie).
        twins: slots that are filled twice.
        probe_s: when every node submits once more; None: never.
        delta_s: a bound of the delay from storage to an undisturbed node (CONV-1); None: none is known.
    """

    config: SimConfig
    faults: tuple[Fault, ...] = ()
    lies: tuple[tuple[int, str], ...] = ()
    twins: tuple[Twin, ...] = ()
    probe_s: float | None = None
    delta_s: float | None = None

    @property
    def liars(self) -> frozenset[int]:
        """Slots whose software is not the honest one."""
        return frozenset(slot for slot, _ in self.lies) | frozenset(twin.slot for twin in self.twins)

    def premises(self, world: World) -> Premises:
        """What may be held against the core in this run."""
        rolled_back = any(fault.kind is Kind.ROLLBACK for fault in self.faults)
        honest = not self.liars and not self.config.tampered
        return Premises(
            verify=world.keys.is_valid,
            liars=self.liars,
            honest=honest,
            live=not rolled_back and not self.config.storage_weight,
            quorate_from=self.probe_s if honest and not rolled_back else None,
            delta_s=self.delta_s,
        )


@dataclass(slots=True)
class Outcome:
    """What a run came to; `violation` is None where every promise was kept."""

    scenario: Scenario
    result: Result
    violation: Violation | None = field(default=None)


def build(
    scenario: Scenario,
    without: Collection[str] = (),
    agent_type: type[AgentProcess] = AgentProcess,
    storage_type: type[StorageProcess] = StorageProcess,
) -> World:
    """The world of a scenario, with every checker whose tag is not in `without`."""
    types: dict[int, type[AgentProcess]] = {slot: lying(name) for slot, name in scenario.lies}
    types |= {twin.slot: twinned(twin.same_key, twin.after_s) for twin in scenario.twins}
    world = World(scenario.config, (), agent_type, storage_type, types)
    world.liars = scenario.liars
    world.observers.append(checkers(scenario.premises(world), without))
    breaking.Faults(world, scenario.faults)
    if scenario.probe_s is not None:
        world.kernel.at(scenario.probe_s, _probe, world)
    return world


def run(
    scenario: Scenario,
    without: Collection[str] = (),
    agent_type: type[AgentProcess] = AgentProcess,
    storage_type: type[StorageProcess] = StorageProcess,
) -> Outcome:
    """Run it, up to the first violation."""
    world = build(scenario, without, agent_type, storage_type)
    try:
        result = world.run()
    except Violation as violation:
        return Outcome(scenario, world.result(), violation)
    return Outcome(scenario, result)


def _probe(world: World) -> None:
    """Each reads a file of its own that no task made: a node whose tail begins late needs the filter to know that."""
    for slot in world.agents:
        uri, digest = work_uri("0" * 16, f"probe{slot}".encode()), digest_text(sha256(b"probe"))
        source: JsonObject = {"uri": uri, "role": "file", "state": "file", "digest": digest}
        world.submit(slot, (world.workload.item([source], world.now),))


def random(seed: int, kinds: Collection[Kind] = breaking.ALWAYS) -> Scenario:
    """A small world with faults of these kinds, perhaps liars and twins, all from the seed."""
    random = Random(f"scenario {seed}")
    nodes = random.choice((3, 3, 3, 3, 4, 4, 5, 6, 7))
    config = SimConfig(
        nodes=nodes,
        seed=seed,
        duration_s=1.0,
        drain_s=_END_S - 1.0,
        rate=random.choice((4.0, 8.0, 12.0)),
        difficulty=random.choice((0, 0, 0, 1)),
        mining=random.choice(("own", "own", "own", "race")),
        quorum=random.choice(("majority", "majority", "byzantine")),
        storage_weight=random.choice((0, 0, 0, 1, 2)),
        latency=random.choice(("infiniband", "ethernet", "uniform:100:20000", "lognormal:2000:1", "fixed:30000")),
        sync_s=random.choice((0.0005, 0.005, 0.05)),
        tail_links=random.choice((4, 16, 4_096)),
        timing=QUICK,
        checkpoint_s=1.0,
    )
    faults = breaking.plan(random, sorted(kinds), nodes, 0.05, _FAULTS_END_S)
    lies: tuple[tuple[int, str], ...] = ()
    twins: tuple[Twin, ...] = ()
    if random.random() < 0.5:
        slots = random.sample(range(1, nodes + 1), random.randint(1, (nodes - 1) // 2))
        lies = tuple((slot, random.choice(sorted(LIES))) for slot in sorted(slots))
        if random.random() < 0.2:
            twins = (Twin(lies[0][0], random.random() < 0.5, random.uniform(0.1, 1.0)),)
            lies = lies[1:]
    return Scenario(config, faults, lies, twins, probe_s=_PROBE_S, delta_s=_DELTA_S)
