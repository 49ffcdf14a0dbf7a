"""Virtual time: a heap of what happens when, in one total order, and one stream of randomness per purpose."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any, TypeAlias

from scichain_wf.crypto.hashing import sha256

Entry: TypeAlias = list[Any]
"""[time, number, function, arguments]; function None: cancelled."""


class Handle:
    """Something that will happen."""

    __slots__ = ("_entry",)

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def cancel(self) -> None:
        """It will not. Once it has happened, this does nothing."""
        self._entry[2] = None
        self._entry[3] = ()


class Kernel:
    """The clock, the heap and the randomness of one world.

    Attributes:
        now: virtual seconds.
        last: when something happened last.
        events: how many happened so far: deliveries, timers, syncs. What delivers to many at once counts each.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._heap: list[Entry] = []
        self._number = 0
        self._streams: dict[str, random.Random] = {}
        self.now = self.last = 0.0
        self.events = 0

    def at(self, time: float, function: Callable[..., object], *arguments: object) -> Handle:
        """Call `function` at `time`, or now if that is past. What is due at one time happens in the order of asking."""
        self._number += 1
        entry: Entry = [max(time, self.now), self._number, function, arguments]
        heapq.heappush(self._heap, entry)
        return Handle(entry)

    def after(self, seconds: float, function: Callable[..., object], *arguments: object) -> Handle:
        """Call `function` so much later."""
        return self.at(self.now + seconds, function, *arguments)

    def rng(self, name: str) -> random.Random:
        """The stream of this name: it depends on seed and name only."""
        stream = self._streams.get(name)
        if stream is None:
            seed = sha256(f"{self._seed} {name}".encode())
            stream = self._streams[name] = random.Random(int.from_bytes(seed, "big"))
        return stream

    def run(self, until: float) -> None:
        """Let everything happen that is due by `until`; then the clock stands there.

        Raises:
            Exception: what a function or an observer raised; the run can be gone on with.
        """
        heap = self._heap
        while heap and heap[0][0] <= until:
            time, _, function, arguments = heapq.heappop(heap)
            if function is not None:
                self.now = self.last = time
                self.events += 1
                function(*arguments)
        self.now = max(self.now, until)

    @property
    def next_time(self) -> float | None:
        """When something happens next; None: never."""
        while self._heap and self._heap[0][2] is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
