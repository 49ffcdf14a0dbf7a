"""Room that many slots share: who floods this node displaces only what is its own."""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class Shares(Generic[K, T]):
    """Items by key, each on a slot's account, in order of arrival.

    Where they become too many, the oldest one of the slot that takes most room goes. So a slot loses something only
    to one that takes less.

    Args:
        bytes_max: what all items together may take.
        items_max: how many there may be: none counts for less than this part of `bytes_max`, rounded up.
    """

    def __init__(self, bytes_max: int, items_max: int) -> None:
        self._bytes_max, self._item_bytes_min = bytes_max, -(-bytes_max // items_max)
        self._items: dict[K, tuple[int, int, T]] = {}
        self._keys: dict[int, dict[K, None]] = {}
        self._bytes: dict[int, int] = {}
        self._total_bytes = 0

    def get(self, key: K) -> T | None:
        """The item, or None where it is not kept."""
        found = self._items.get(key)
        return None if found is None else found[2]

    def put(self, key: K, slot: int, item: T, size_bytes: int) -> list[K]:
        """Keep an item as the newest, in place of one with its key; returns the keys of what had to go for it."""
        self.discard(key)
        cost_bytes = max(size_bytes, self._item_bytes_min)
        self._items[key] = slot, cost_bytes, item
        self._keys.setdefault(slot, {})[key] = None
        self._bytes[slot] = self._bytes.get(slot, 0) + cost_bytes
        self._total_bytes += cost_bytes
        gone = []
        while self._total_bytes > self._bytes_max:
            most = max(self._bytes, key=lambda one: (self._bytes[one], one == slot))
            gone.append(next(iter(self._keys[most])))
            self.discard(gone[-1])
        return gone

    def discard(self, key: K) -> None:
        """Let an item go; nothing happens where it is not kept."""
        found = self._items.pop(key, None)
        if found is None:
            return
        slot, cost_bytes, _ = found
        self._total_bytes -= cost_bytes
        self._bytes[slot] -= cost_bytes
        del self._keys[slot][key]
        if not self._keys[slot]:
            del self._keys[slot], self._bytes[slot]

    def take(self) -> list[tuple[int, T]]:
        """Let everything go: (slot, item), the oldest first."""
        items = [(slot, item) for slot, _, item in self._items.values()]
        self._items.clear()
        self._keys.clear()
        self._bytes.clear()
        self._total_bytes = 0
        return items
