"""What the records of an audited chain or run say: runs, tasks, files, blocks, slots. Told, not judged.

Everything here is plain values (digests as 64 hex digits, times in microseconds since 1970), so that one walk over it
makes JSON, its schema and a report. Tasks, artifacts, blocks and slots refer to each other by their place in the list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

TASKS_KEPT_MAX: Final = 200_000
"""Tasks of one account; more are counted only. A report of 100,000 is 15 MB."""


class RunFacts(NamedTuple):
    """One run, as its own `run-start` and `run-end` tell it; `lost` tasks began and have no record of their end."""

    run: str
    status: str
    engine: str
    user: str
    command: str
    started_us: int | None
    ended_us: int | None
    kinds: dict[str, int]
    tally: dict[str, int]
    lost: list[str]


class TaskFacts(NamedTuple):
    """One task. `inputs` and `outputs` are places in `Account.artifacts`, `run` in `Account.runs`."""

    run: int
    name: str
    task: str
    attempt: int
    status: str
    node: str
    started_us: int
    ended_us: int
    recorded_us: int
    """When its record was complete: what lies between `ended_us` and this is the provenance's own work."""
    height: int
    transaction: int
    inputs: list[int]
    outputs: list[int]
    mark: str
    """`contested`, `unresolved` or nothing."""


class ArtifactFacts(NamedTuple):
    """One content of one artifact. `producer` is the newest task that made it; None: a source, or `elsewhere`."""

    uri: str
    digest: str
    size_bytes: int | None
    recorded: str
    producer: int | None
    disk: str
    """How the file on disk compares; `superseded` where a newer version is recorded, empty where nobody looked."""


class BlockFacts(NamedTuple):
    """One link with its block. `slot` is 0 for the storage node; `votes` are those its certificate cites."""

    height: int
    slot: int
    sequence: int
    mode: str
    reason: str
    transactions: int
    votes: int
    time_us: int
    epoch: int
    source: str
    link: str
    block: str


class SlotFacts(NamedTuple):
    """One slot over all blocks that were looked at. `credit` counts its appended blocks (SciChain's reward)."""

    slot: int
    host: str
    credit: int
    transactions: int
    poet: int
    head: int
    """The newest link that a verdict of it names; -1 without any."""
    lag_sum: int
    """Links between the heads its verdicts name and the links they led to, summed over `verdicts`."""
    verdicts: int
    diverged: int
    """Verdicts at a head that is not on this chain."""


class Agreement(NamedTuple):
    """What `judge` is cited with on blocks of `maker` (slots)."""

    maker: int
    judge: int
    valid: int
    invalid: int
    unknown: int


class Group(NamedTuple):
    """All tasks of one rule, app or command."""

    name: str
    tasks: int
    failed: int
    seconds: float


class Flow(NamedTuple):
    """How many artifacts tasks of one group read that tasks of another made; places in `Account.groups`."""

    maker: int
    reader: int
    artifacts: int


@dataclass
class Account:
    """The whole. `tasks_total` counts also those beyond `TASKS_KEPT_MAX`."""

    runs: list[RunFacts] = field(default_factory=list)
    tasks: list[TaskFacts] = field(default_factory=list)
    artifacts: list[ArtifactFacts] = field(default_factory=list)
    blocks: list[BlockFacts] = field(default_factory=list)
    slots: list[SlotFacts] = field(default_factory=list)
    agreement: list[Agreement] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    tasks_total: int = 0

    def readers(self) -> list[list[int]]:
        """By artifact, the tasks that read it."""
        readers: list[list[int]] = [[] for _ in self.artifacts]
        for number, task in enumerate(self.tasks):
            for artifact in task.inputs:
                readers[artifact].append(number)
        return readers

    def downstream(self, artifacts: list[int], readers: list[list[int]]) -> Iterator[int]:
        """Every artifact that was made from one of `artifacts`, directly or not, nearest first."""
        seen, waiting = set(artifacts), list(artifacts)
        for artifact in waiting:
            for task in readers[artifact]:
                for output in self.tasks[task].outputs:
                    if output not in seen:
                        seen.add(output)
                        waiting.append(output)
                        yield output

    def overhead(self) -> float | None:
        """Time between the ends of tasks and their complete records, in per cent of the tasks' own time."""
        spent = sum(max(0, task.ended_us - task.started_us) for task in self.tasks)
        after = sum(max(0, task.recorded_us - task.ended_us) for task in self.tasks)
        return 100 * after / spent if spent else None

    def to_json(self) -> dict[str, Any]:
        """Plain values; see the published JSON Schema."""
        lists = {name: value for name, value in vars(self).items() if isinstance(value, list)}
        plain: dict[str, Any] = {name: [item._asdict() for item in value] for name, value in lists.items()}
        return {**plain, "tasks_total": self.tasks_total, "overhead_percent": self.overhead()}
