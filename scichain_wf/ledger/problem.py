"""What a check of stored bytes found wrong: one small tuple that travels between processes.

A problem names a place and two values; words, severity and what to do about it are the auditor's
(`scichain_wf.audit.catalogue`), keyed by `code`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

PROBLEMS_PER_CODE_MAX: Final = 1_000
"""More of one kind are counted, not kept: memory stays flat on a chain where everything is wrong."""


@dataclass(frozen=True, slots=True)
class Problem:
    """`height`, `index` and `key` (hex, or an index's name and key) say where; `expected` and `actual` what."""

    code: str
    subject: str
    expected: str = ""
    actual: str = ""
    height: int | None = None
    index: int | None = None
    key: str | None = None


@dataclass
class Problems:
    """A bounded list of problems with exact counts."""

    kept: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, problem: Problem) -> None:
        """Note one."""
        self.counts[problem.code] += 1
        if self.counts[problem.code] <= PROBLEMS_PER_CODE_MAX:
            self.kept.append(problem)

    def merge(self, other: Problems) -> None:
        """Take over what another process noted."""
        for problem in other.kept:
            self.add(problem)
        dropped = other.counts - Counter(problem.code for problem in other.kept)
        self.counts.update(dropped)

    def sorted(self) -> list[Problem]:
        """In the order of the chain; what has no height comes first."""
        return sorted(
            self.kept, key=lambda p: (-1 if p.height is None else p.height, -1 if p.index is None else p.index, p.code)
        )
