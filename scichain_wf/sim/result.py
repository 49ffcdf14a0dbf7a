"""What a run came to, as numbers. The same seed gives the same, but for `peak_memory_bytes`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field


@dataclass(slots=True)
class Result:
    """Counts of one run.

    Attributes:
        nodes: slots.
        seconds: virtual, up to the last event.
        events: deliveries, timers, syncs.
        submitted, committed: transactions, each counted once, however often it was submitted or recorded.
        blocks: links that are not epochs.
        epochs: links that are.
        modes: blocks by mode; reasons: those in mode `poet` by the reason for it.
        parks: times a block was sent to storage once more; rejects: answers that it was refused.
        crashes, restarts, halts, lost_nodes: of processes, storage's included, and of nodes.
        marks: annotations by kind.
        dropped: inputs that cores dropped, by reason.
        messages, message_bytes: by kind; lost: how many did not arrive.
        syncs: of storage's disk.
        hashes: tried for puzzles.
        durable_s: from submission to durable, per transaction; certified_s: from first proposal to durable, per block.
        chain: hash of the newest link.
        peak_memory_bytes: None where it was not measured.
    """

    nodes: int = 0
    seed: int = 0
    seconds: float = 0.0
    events: int = 0
    submitted: int = 0
    committed: int = 0
    blocks: int = 0
    epochs: int = 0
    modes: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    parks: int = 0
    rejects: int = 0
    crashes: int = 0
    restarts: int = 0
    halts: int = 0
    lost_nodes: int = 0
    marks: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    messages: dict[str, int] = field(default_factory=dict)
    message_bytes: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    syncs: int = 0
    hashes: int = 0
    durable_s: list[float] = field(default_factory=list)
    certified_s: list[float] = field(default_factory=list)
    chain: str = ""
    peak_memory_bytes: int | None = None

    @property
    def poet_share(self) -> float:
        """Blocks in mode `poet` among all."""
        return self.modes.get("poet", 0) / self.blocks if self.blocks else 0.0

    @property
    def messages_per_block(self) -> float:
        """Messages between agents about a block, and to and from storage, of each that was committed."""
        return sum(self.messages.values()) / self.blocks if self.blocks else 0.0

    @property
    def storage_accesses_per_block(self) -> float:
        """Requests to storage (blocks, missing links, queries) and syncs of its disk, for each block."""
        requests = sum(self.messages.get(kind, 0) for kind in ("Push", "Extend", "Sync", "Query"))
        return (requests + self.syncs) / self.blocks if self.blocks else 0.0

    def value(self) -> dict[str, object]:
        """Everything, as plain JSON values."""
        return asdict(self) | {
            "poet_share": self.poet_share,
            "messages_per_block": self.messages_per_block,
            "storage_accesses_per_block": self.storage_accesses_per_block,
        }
