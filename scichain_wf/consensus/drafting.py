"""Packing transactions into drafts so that honest runs are never contested (SciChain §4.2, steps 1-2).

A transaction goes into a draft when the content of each input whose producer is known is linked, or was made by an
earlier transaction of the same draft. Until then it is held; after `unresolved_after_s` it is drafted all the same,
and storage annotates what is still missing. A draft is sealed when enough is in it or its interval ends; where little
comes at a time, its interval ends a pause after the last one was sealed, for a block costs the same with one
transaction as with twelve. Nothing is ever dropped here.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from scichain_wf import limits
from scichain_wf.consensus.validity import Known
from scichain_wf.model import facts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scichain_wf.consensus.events import Item
    from scichain_wf.consensus.timing import Timing
    from scichain_wf.consensus.validity import Lookup

Version: TypeAlias = tuple[str, bytes]

_TRANSACTIONS_BYTES_MAX = limits.BLOCK_BYTES_MAX - limits.HEADER_BYTES_MAX - 1_024 - 4 * limits.BLOCK_TRANSACTIONS_MAX
"""What fits a block beside header, signature and lengths."""


@dataclass(slots=True)
class Draft:
    """An open draft: transactions in order, and the versions they make; it is `ripe` when its interval ends."""

    source: str
    ripe: float
    items: list[Item] = field(default_factory=list)
    versions: set[Version] = field(default_factory=set)
    size_bytes: int = 0

    def has_room_for(self, item: Item) -> bool:
        """Whether `item` still fits a block."""
        return (
            len(self.items) < limits.BLOCK_TRANSACTIONS_MAX
            and self.size_bytes + len(item.data) <= _TRANSACTIONS_BYTES_MAX
        )

    def put(self, item: Item) -> list[Version]:
        """Append `item`; returns the versions it makes."""
        made = [(uri, digest) for uri, digest in item.outputs if digest is not None]
        self.items.append(item)
        self.size_bytes += len(item.data)
        self.versions.update(made)
        return made


@dataclass(slots=True)
class _Held:
    item: Item
    deadline: float
    missing: Version


class Drafter:
    """Holds, packs and seals."""

    def __init__(self, ledger: Lookup, timing: Timing) -> None:
        self._ledger = ledger
        self._timing = timing
        self._held: OrderedDict[bytes, _Held] = OrderedDict()  # in order of their deadlines
        self._waiting: dict[Version, dict[bytes, None]] = {}
        self._open: dict[str, Draft] = {}
        self._full: deque[Draft] = deque()
        self._forced = False
        self._rested = -math.inf

    @property
    def held(self) -> int:
        """Transactions whose inputs' producers are awaited."""
        return len(self._held)

    @property
    def drafted(self) -> int:
        """Transactions in drafts that are not sealed."""
        return sum(len(draft.items) for draft in (*self._full, *self._open.values()))

    @property
    def is_idle(self) -> bool:
        """Whether nothing here becomes ripe, now or later."""
        return not (self._held or self._open or self._full or self._forced)

    def add(self, item: Item, now: float) -> None:
        """Take a transaction: into a draft, or held."""
        missing = self._missing(item)
        if missing is None:
            self._put(item, now)
        else:
            held = self._held[item.id] = _Held(item, now + self._timing.unresolved_after_s, missing)
            self._wait_for(held, missing)

    def linked(self, versions: Iterable[Version], now: float) -> None:
        """These versions are in the ledger now: take what waited for them."""
        self._made(versions, now)

    def expire(self, now: float) -> None:
        """Draft what has been held too long."""
        while self._held and (first := next(iter(self._held.values()))).deadline <= now:
            self._put(self._let_go(first), now)

    def release(self, now: float) -> None:
        """Draft everything that is held: nothing that could resolve it is under way."""
        while self._held:
            self._put(self._let_go(next(iter(self._held.values()))), now)

    def woken(self, slept_s: float) -> None:
        """Time passed in which this node saw nothing: what is held waits so much longer."""
        for held in self._held.values():
            held.deadline += slept_s

    def force(self) -> None:
        """A flush: seal whatever is drafted now, however little."""
        self._forced = True

    def seal(self, in_flight: int, now: float) -> Draft | None:
        """The next draft to propose, or None: nothing is ripe, or too many blocks are in flight."""
        if in_flight >= limits.IN_FLIGHT_BLOCKS_MAX:
            return None
        if self._full:
            return self._full.popleft()
        for source, draft in self._open.items():
            enough = len(draft.items) >= limits.BLOCK_TRANSACTIONS_MIN and in_flight < limits.PIPELINE_BLOCKS
            if enough or self._forced or now >= draft.ripe:
                self._rested = now + self._timing.draft_pause_s
                return self._open.pop(source)
        self._forced = False
        return None

    def next_time(self) -> float | None:
        """When something becomes ripe by itself."""
        times = [draft.ripe for draft in self._open.values()]
        times += [held.deadline for held in list(self._held.values())[:1]]
        return min(times, default=None)

    def _let_go(self, held: _Held) -> Item:
        del self._held[held.item.id]
        self._stop_waiting(held)
        return held.item

    def _wait_for(self, held: _Held, missing: Version) -> None:
        held.missing = missing
        self._waiting.setdefault(missing, {})[held.item.id] = None

    def _stop_waiting(self, held: _Held) -> None:
        waiting = self._waiting[held.missing]
        del waiting[held.item.id]
        if not waiting:
            del self._waiting[held.missing]

    def _put(self, item: Item, now: float) -> None:
        """Into its draft, and whatever waited for what it makes."""
        self._made(self._append(item, now), now)

    def _made(self, versions: Iterable[Version], now: float) -> None:
        """Draft what waited for these versions, and in turn what waited for what that makes."""
        made = deque(versions if self._waiting else ())
        while made:
            for identity in list(self._waiting.get(made.popleft(), ())):
                held = self._held[identity]
                missing = self._missing(held.item)
                if missing == held.missing:
                    continue  # linked, but not in this node's ledger any more: the deadline remains
                if missing is None:
                    made.extend(self._append(self._let_go(held), now))
                else:
                    self._stop_waiting(held)
                    self._wait_for(held, missing)

    def _append(self, item: Item, now: float) -> list[Version]:
        draft = self._open.get(item.source)
        if draft is not None and not draft.has_room_for(item):
            self._full.append(draft)
            draft = None
        if draft is None:
            ripe = max(now + self._timing.draft_interval_s, self._rested)
            draft = self._open[item.source] = Draft(item.source, ripe)
        return draft.put(item)

    def _missing(self, item: Item) -> Version | None:
        """The first input whose producer is to be waited for."""
        if all(declared or origin == facts.SOURCE for _, _, origin, declared in item.facts[4]):
            return None
        draft = self._open.get(item.source)
        here = draft.versions if draft is not None and draft.has_room_for(item) else frozenset()
        for uri, digest, origin in item.needs:
            if (uri, digest) in here or origin == facts.SOURCE:
                continue
            known = self._ledger.lookup(uri, digest)
            if known in (Known.KNOWN, Known.UNHASHED):
                continue
            # Where nobody named a producer, only a recorded other version says that there is one.
            if origin or known is Known.OTHER:
                return uri, digest
        return None
