"""What a walk over a ledger hands around: its outline, one stored block, and what was found."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from scichain_wf.ledger.problem import Problem, Problems
from scichain_wf.ledger.rawread import Moment
from scichain_wf.model.block import Header
from scichain_wf.model.facts import Facts
from scichain_wf.model.link import Link, Mark


@dataclass(frozen=True, slots=True)
class Survey:
    """What every process needs to know of a ledger before it walks: taken once, from one moment."""

    directory: Path
    moment: Moment
    size: int
    chain: bytes
    epochs: tuple[tuple[int, int], ...]
    """(epoch, height) as the index has them."""
    problems: tuple[Problem, ...] = ()

    def epoch_at(self, height: int) -> int:
        """Number of the epoch in force once `height` is appended; -1 where the index knows none."""
        place = bisect_right(self.epochs, height, key=lambda item: item[1])
        return self.epochs[place - 1][0] if place else -1


@dataclass(slots=True)
class StoredBlock:
    """One height, with what the structural checks computed on their way."""

    height: int
    link: Link
    link_hash: bytes
    header: Header
    header_bytes: bytes
    signature: bytes
    block_id: bytes
    transactions: list[bytes]
    leaves: list[bytes]
    spans: list[bytes]
    """Root of every `keys.SPAN` leaves in turn."""
    facts: list[Facts]
    """Of each transaction, which was checked in full when they were read."""
    certificate: bytes | None
    marks: dict[Mark, frozenset[int]]


@dataclass
class Walked:
    """What a walk over some heights found: problems, counts for people, and index entries that must exist."""

    problems: Problems = field(default_factory=Problems)
    counts: Counter[str] = field(default_factory=Counter)
    entries: Counter[str] = field(default_factory=Counter)

    def merge(self, other: Walked) -> None:
        """Add what another process found."""
        self.problems.merge(other.problems)
        self.counts.update(other.counts)
        self.entries.update(other.entries)
