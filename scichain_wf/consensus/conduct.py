"""What storage thinks of a slot: who states too much that contradicts the chain has to wait between its blocks.

A contested input is one slot's word against another's: either the reader states a content that the file never had, or
who recorded the file did not make it. Nothing in the chain tells which. So what a slot states counts against it only
as far as it contradicts more slots than can be liars: the f of them that it contradicts most are left out, with
f = ⌊(N−1)/2⌋. So whatever liars claim to have made, they have no honest slot slowed that reads it. A liar that
contradicts no more than f slots is not slowed either; its transactions are marked like any other's. What a slot
recorded itself is never left out: it changes its files and keeps that to itself. Where somebody else did so to files
that it recorded first, or to those of more than f slots, who reads them is slowed, too; slowed, and not stopped.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, TypeAlias

from scichain_wf import limits

if TYPE_CHECKING:
    from collections.abc import Iterable

Recorder: TypeAlias = int | bytes
"""A slot, or the fingerprint of a key that was a slot's before this process began."""


class Record:
    """What became of the newest transactions of `slot`. Forgotten at a restart: the marks are in the chain."""

    def __init__(self, slot: int) -> None:
        self._slot = slot
        self._contradicted: deque[Recorder | None] = deque(maxlen=limits.CONTESTED_WINDOW)
        self._next = 0.0

    def extend(self, transactions: int, contradicted: Iterable[Recorder]) -> None:
        """A block of so many transactions was appended; `contradicted`: for each contested one, who recorded that."""
        against = list(contradicted)
        self._contradicted.extend([None] * (transactions - len(against)))
        self._contradicted.extend(against)

    def taken(self, now: float) -> None:
        """A block of the slot was let into the queue."""
        self._next = now + limits.CONTESTED_PAUSE_S

    def is_due(self, now: float, liars_max: int) -> bool:
        """Whether another block may be; `liars_max` is f."""
        by_slot = Counter(slot for slot in self._contradicted if slot is not None)
        own = by_slot.pop(self._slot, 0)
        misstated = own + sum(sorted(by_slot.values(), reverse=True)[liars_max:])
        is_slowed = misstated * 1_000 > limits.CONTESTED_PERMILLE_MAX * limits.CONTESTED_WINDOW
        return now >= self._next or not is_slowed
