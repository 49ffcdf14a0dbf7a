"""What waits for a group commit at the storage node: a share of the room for each slot, and turns.

Who brings much, or much that is of no use, fills its own share and waits for its own turn. An honest slot's block is in
the next groups whatever the others bring (LIVE-1).
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from scichain_wf import limits

T = TypeVar("T")


class Queue(Generic[T]):
    """Items of slots, each slot's in the order in which they came."""

    def __init__(self) -> None:
        self._lines: dict[int, deque[tuple[int, T]]] = {}  # whose turn is next comes first
        self._bytes: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    @property
    def size_bytes(self) -> int:
        """Of everything that waits."""
        return sum(self._bytes.values())

    def put(self, slot: int, item: T, size_bytes: int, slots: int) -> bool:
        """Let an item wait; False where the slot's share, one of `slots`, has no room. An empty one has, for any."""
        share_bytes = max(limits.STORAGE_QUEUE_BYTES_MAX // slots, limits.STORAGE_SHARE_BYTES_MIN)
        taken_bytes = self._bytes.get(slot, 0)
        if taken_bytes and taken_bytes + size_bytes > share_bytes:
            return False
        self._lines.setdefault(slot, deque()).append((size_bytes, item))
        self._bytes[slot] = taken_bytes + size_bytes
        return True

    def group(self) -> tuple[T, ...]:
        """Take out what is committed together: one item of each slot by turns, within bounds."""
        group: list[T] = []
        size_bytes = 0
        while self._lines and len(group) < limits.APPEND_BATCH_BLOCKS_MAX and size_bytes < limits.APPEND_BATCH_BYTES:
            slot = next(iter(self._lines))
            line = self._lines.pop(slot)
            item_bytes, item = line.popleft()
            group.append(item)
            size_bytes += item_bytes
            self._bytes[slot] -= item_bytes
            if line:
                self._lines[slot] = line  # behind the others
            else:
                del self._bytes[slot]
        return tuple(group)

    def clear(self) -> list[tuple[int, T]]:
        """Take out everything: (slot, item)."""
        everything = [(slot, item) for slot, line in self._lines.items() for _, item in line]
        self._lines.clear()
        self._bytes.clear()
        return everything
