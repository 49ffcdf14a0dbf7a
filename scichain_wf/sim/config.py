"""What a simulated world is like. One frozen object, so that a run is a function of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from scichain_wf import limits
from scichain_wf.consensus.timing import Timing
from scichain_wf.errors import ConfigError
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from scichain_wf.sim import limits as bounds
from scichain_wf.sim.latency import Latency


@dataclass(frozen=True, slots=True)
class Cpu:
    """What a node's processor needs, in seconds; it does nothing else meanwhile."""

    sign_s: float = 0.0
    verify_s: float = 0.0
    judge_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SimConfig:
    """A world and its load.

    Attributes:
        nodes: agents, which are also the slots.
        seed: of all randomness.
        duration_s: virtual seconds in which tasks are submitted.
        drain_s: how much longer the run may take until everything has come to rest.
        rate: tasks per second, over all nodes; 0: none but what is given to `World.submit`.
        difficulty: of the puzzle, fixed; or a rule.
        mining, quorum, storage_weight: see `Settings`.
        latency: one-way delay, see `Latency.parse`.
        sync_s: how long a group commit takes on storage's disk.
        tail_links: newest links a node's tail holds.
        timing: of the agents; see `Timing`.
        hashes_per_s: what one node searches for a puzzle.
        cpu: see `Cpu`.
        detect_s: after this time both ends know that a channel broke.
        reconnect_s: after this time ends that can reach each other have a channel again.
        join_s: who boots within this time is bound by the same epoch.
        checkpoint_s: storage sends a checkpoint at most this often.
        fan_in: inputs of a task are up to so many outputs of earlier tasks.
        sources: share of tasks that read a source file.
        edited: of these, those before which somebody edited it.
        tampered: share of inputs that somebody changed after a task had made them: such tasks are contested.
        unresolved: share of tasks that declare an input unresolved.
        again: share of submissions that repeat an earlier one, perhaps at another node.
        real_signatures: Ed25519 and searched puzzles instead of cheap stand-ins.
        real_bytes: every message is encoded and decoded on its way, as between processes.
        measure_memory: measure the peak of allocated memory (slow).

    Raises:
        ConfigError: on construction, if a value is outside its bounds; says which and what is allowed.
    """

    nodes: int = 5
    seed: int = 1
    duration_s: float = 2.0
    drain_s: float = 60.0
    rate: float = 50.0
    difficulty: int | Difficulty = 0
    mining: str = "own"
    quorum: str = "majority"
    storage_weight: int = 0
    latency: str = "ethernet"
    sync_s: float = 0.001
    tail_links: int = limits.SYNC_LINKS_MAX
    timing: Timing = field(default_factory=Timing)
    hashes_per_s: int = 500_000
    cpu: Cpu = field(default_factory=Cpu)
    detect_s: float = 0.02
    reconnect_s: float = 0.05
    join_s: float = 0.005
    checkpoint_s: float = limits.CHECKPOINT_S
    fan_in: int = 3
    sources: float = 0.3
    edited: float = 0.1
    tampered: float = 0.0
    unresolved: float = 0.02
    again: float = 0.0
    real_signatures: bool = False
    real_bytes: bool = False
    measure_memory: bool = False

    def __post_init__(self) -> None:
        seconds = ("duration_s", "drain_s", "sync_s", "detect_s", "reconnect_s", "join_s", "checkpoint_s")
        for name, most in (("rate", bounds.SIM_RATE_MAX), *((name, bounds.SIM_SECONDS_MAX) for name in seconds)):
            if not 0 <= getattr(self, name) <= most:
                raise ConfigError(f"{name} is {getattr(self, name)}; allowed is 0 to {most:,.0f}")
        for name in ("sources", "edited", "tampered", "unresolved", "again"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; a share is between 0 and 1")
        for name, low, high in (
            ("nodes", 1, limits.SLOTS_MAX),
            ("storage_weight", 0, limits.SLOTS_MAX),
            ("tail_links", 1, limits.INTEGER_MAX),
            ("hashes_per_s", 1, limits.HASHES_PER_S_MAX),
            ("fan_in", 0, limits.ARTIFACTS_PER_TASK_MAX // 2),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} is {getattr(self, name)}; allowed is {low} to {high}")
        if not isinstance(self.difficulty, Difficulty) and not 0 <= self.difficulty <= limits.DIFFICULTY_MAX:
            raise ConfigError(f"difficulty is {self.difficulty}; allowed is 0 to {limits.DIFFICULTY_MAX}")
        if self.mining not in ("own", "race"):
            raise ConfigError(f"mining is {self.mining!r}; allowed is own or race")
        if self.quorum not in ("majority", "byzantine"):
            raise ConfigError(f"quorum is {self.quorum!r}; allowed is majority or byzantine")
        try:
            Latency.parse(self.latency)
        except ConfigError as error:
            raise ConfigError(f"latency {error}") from None

    @property
    def settings(self) -> Settings:
        """What the genesis states."""
        rule = self.difficulty if isinstance(self.difficulty, Difficulty) else Difficulty("fixed", self.difficulty)
        return Settings(self.quorum, self.storage_weight, rule, self.mining)

    @property
    def is_mesh(self) -> bool:
        """Whether every pair of agents keeps a channel; beyond, channels are made when something is to be sent."""
        return self.nodes <= self.timing.mesh_slots
