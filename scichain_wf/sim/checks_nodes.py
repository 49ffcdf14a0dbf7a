"""Checkers of nodes and of the run as a whole: SAFE-2, SAFE-7, LIVE-1, LIVE-2, CONV-1, LOSS-1 (30-post, Invariants)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar

from scichain_wf.consensus import messages
from scichain_wf.model.verdict import Verdict
from scichain_wf.sim import observe
from scichain_wf.sim.checking import Book, Checker, Handler
from scichain_wf.sim.reading import Fact

if TYPE_CHECKING:
    from scichain_wf.model.link import Link
    from scichain_wf.sim.checking import Premises


class OneValidPerSequence(Checker):
    """SAFE-2: under one key, a validator gives VALID to at most one block per (proposer key, sequence).

    And VALID and INVALID of one block at one head, which would convict an honest key, never come of one.
    """

    tag: ClassVar[str] = "SAFE-2"

    def __init__(self, premises: Premises, book: Book) -> None:
        super().__init__(premises, book)
        self._named: dict[bytes, tuple[bytes, int]] = {}
        self._valid: dict[tuple[bytes, bytes, int], bytes] = {}
        self._decided: dict[tuple[bytes, bytes, bytes], Verdict] = {}

    def handlers(self) -> dict[type, Handler]:
        return {observe.Sent: self._sent, observe.Voted: self._voted}

    def _sent(self, what: observe.Sent, _now: float) -> None:
        if isinstance(what.message, messages.Propose):
            block = what.message.block
            if block.id not in self._named:
                self._named[block.id] = (block.header.proposer, block.header.sequence)

    def _voted(self, what: observe.Voted, _now: float) -> None:
        if what.slot in self._premises.liars:
            return
        for entry in what.batch.entries:
            if entry.verdict is not Verdict.UNKNOWN:
                said = self._decided.setdefault((what.key, what.batch.header.head, entry.block), entry.verdict)
                if said is not entry.verdict:
                    self.fail(f"slot {what.slot} called one block VALID and INVALID at one head")
            named = self._named.get(entry.block)
            if named is None or entry.verdict is not Verdict.VALID:
                continue
            before = self._valid.setdefault((what.key, *named), entry.block)
            if before != entry.block:
                self.fail(f"slot {what.slot} called two blocks of sequence {named[1]} of one proposer VALID")


class RolledBackStops(Checker):
    """SAFE-7: a storage process that was shown a link which its chain does not hold appends nothing more.

    Shown: by its own signed checkpoint, or by so many slots that not all of them can be liars (fewer than half are).
    What was being written at that moment may still become durable.
    """

    tag: ClassVar[str] = "SAFE-7"

    def __init__(self, premises: Premises, book: Book) -> None:
        super().__init__(premises, book)
        self._witnesses: dict[int, set[int]] = {}
        self._shown_us: dict[int, int] = {}  # process → when, in time that links have

    def handlers(self) -> dict[type, Handler]:
        return {observe.PresentedAt: self._presented, observe.LinkDurable: self._durable}

    def _presented(self, what: observe.PresentedAt, now: float) -> None:
        facts, witnesses = self._book.facts, self._witnesses.setdefault(what.process, set())
        if what.height < 0 or (what.height < len(facts) and facts[what.height].hash == what.head):
            witnesses.discard(what.slot)
            return
        witnesses.add(what.slot)
        if what.proven or 2 * len(witnesses) >= self._book.epoch["slots"]:
            self._shown_us.setdefault(what.process, facts[0].link["time_us"] + int(now * 1e6))

    def _durable(self, what: observe.LinkDurable, _now: float) -> None:
        if what.link.time_us > self._shown_us.get(what.process, what.link.time_us):
            self.fail(f"link {what.link.height} was appended by a storage process that had been shown a longer chain")


class EverythingCommitted(Checker):
    """LIVE-1: with storage up and partitions healed, every submitted transaction is committed by the end of the run."""

    tag: ClassVar[str] = "LIVE-1"

    def __init__(self, premises: Premises, book: Book) -> None:
        super().__init__(premises, book)
        self._open: dict[bytes, int] = {}
        self._committed: set[bytes] = set()

    def handlers(self) -> dict[type, Handler]:
        if not self._premises.live:
            return {}
        return {
            observe.Submitted: self._submitted,
            Fact: self._linked,
            observe.NodeLost: self._lost,
            observe.EndOfRun: self._ended,
        }

    def _submitted(self, what: observe.Submitted, _now: float) -> None:
        if what.slot not in self._premises.liars:
            self._open.update((identity, what.slot) for identity in what.ids if identity not in self._committed)

    def _linked(self, entry: Fact, _now: float) -> None:
        for record in entry.records:
            self._committed.add(record.id)
            self._open.pop(record.id, None)

    def _lost(self, what: observe.NodeLost, _now: float) -> None:
        self._open = {identity: slot for identity, slot in self._open.items() if slot != what.slot}

    def _ended(self, _what: observe.EndOfRun, now: float) -> None:
        if self._open and not self._book.is_old:
            slots = sorted(set(self._open.values()))
            self.fail(f"{len(self._open)} transactions of slots {slots} were not committed after {now:.1f} s")


class QuorumSuffices(Checker):
    """LIVE-2: a quorum of honest validators up, with tails that cover → no block needs storage's own verdict."""

    tag: ClassVar[str] = "LIVE-2"

    def __init__(self, premises: Premises, book: Book) -> None:
        super().__init__(premises, book)
        self._proposed: dict[str, float] = {}

    def handlers(self) -> dict[type, Handler]:
        return {} if self._premises.quorate_from is None else {observe.Sent: self._sent, Fact: self._linked}

    def _sent(self, what: observe.Sent, now: float) -> None:
        if isinstance(what.message, messages.Propose):
            self._proposed.setdefault("sha256:" + what.message.block.id.hex(), now)

    def _linked(self, entry: Fact, _now: float) -> None:
        since = self._premises.quorate_from
        proposed = self._proposed.get(entry.link["block"])
        if entry.mode != "poet" or entry.certificate is None or since is None or proposed is None:
            return
        if proposed >= since and entry.certificate["reason"] != "conflict":
            self.fail(f"link {entry.height} needed storage's own verdict: {entry.certificate['reason']}")


class OneChainEverywhere(Checker):
    """CONV-1: equal heights hold equal links everywhere, and who can hear storage is not left behind.

    SciChain §3.3: if more than N/2 slots had a storage delay of at most Δ over [t−2Δ, t], more than N/2 hold the head
    that storage had at t−2Δ. Here a slot had it if no fault touched it or storage from t−4Δ on.
    """

    tag: ClassVar[str] = "CONV-1"

    def __init__(self, premises: Premises, book: Book) -> None:
        super().__init__(premises, book)
        self._hashes: dict[int, list[Link]] = {}
        self._heights: dict[int, int] = {}
        self._touched: dict[int, float] = {}  # endpoint → when a fault touched it last; inf while one does
        self._faults: dict[tuple[str, frozenset[int]], int] = {}
        self._heads: deque[tuple[float, int]] = deque()

    def handlers(self) -> dict[type, Handler]:
        return {
            observe.NodeApplied: self._applied,
            observe.LinkDurable: self._durable,
            observe.Crashed: lambda what, now: self._gone(what.endpoint, now),
            observe.Halted: lambda what, now: self._gone(what.endpoint, now),
            observe.NodeLost: lambda what, now: self._gone(what.slot, now),
            observe.Restarted: lambda what, now: self._touch(what.endpoint, now),
            observe.Disturbed: self._disturbed,
            observe.EndOfRun: self._ended,
        }

    def _applied(self, what: observe.NodeApplied, now: float) -> None:
        self._look(now)
        slot, height = what.slot, what.link.height
        if slot in self._premises.liars:
            return
        before = self._heights.get(slot)
        if before is not None and height != before + 1:
            self.fail(f"slot {slot} applied link {height} after link {before}")
        if before is None:
            self._touch(slot, now)  # it joins: what came before this link it learns in its own time
        self._same(what.link, f"slot {slot}")
        self._heights[slot] = height

    def _durable(self, what: observe.LinkDurable, now: float) -> None:
        self._look(now)
        self._same(what.link, "storage")
        self._heads.append((now, what.link.height))

    def _same(self, link: Link, who: str) -> None:
        known = self._hashes.setdefault(link.height, [])
        if link not in known:
            known.append(link)
            if len(known) > 1 and not self._book.is_old:
                self.fail(f"{who} holds another link {link.height} than others do")

    def _gone(self, endpoint: int, now: float) -> None:
        self._look(now)
        self._heights.pop(endpoint, None)
        self._touched[endpoint] = now

    def _touch(self, endpoint: int, now: float) -> None:
        self._touched[endpoint] = now

    def _disturbed(self, what: observe.Disturbed, now: float) -> None:
        self._look(now)
        key = (what.what, what.endpoints)
        count = self._faults[key] = self._faults.get(key, 0) + (-1 if what.over else 1)
        if not count:
            del self._faults[key]
        for endpoint in what.endpoints or {0}:
            self._touch(endpoint, now)

    def _look(self, now: float) -> None:
        """Who holds what storage's head was 2Δ ago; nothing has changed since then but what is told now."""
        delta = self._premises.delta_s
        while delta is not None and self._heads and now > self._heads[0][0] + 2 * delta:
            time, height = self._heads.popleft()
            steady = self._steady(time - 2 * delta)
            holders = [slot for slot, held in self._heights.items() if held >= height]
            slots = self._book.epoch["slots"]
            if 2 * len(steady) > slots and 2 * len(holders) <= slots and not self._book.is_old:
                self.fail(f"only slots {sorted(holders)} hold link {height} after 2Δ; {steady} could hear storage")

    def _steady(self, since: float) -> list[int]:
        disturbed = frozenset().union(*(endpoints or {0} for _, endpoints in self._faults))
        calm = {e for e in (0, *self._heights) if e not in disturbed and self._touched.get(e, -1.0) < since}
        return sorted(calm - {0}) if 0 in calm else []

    def _ended(self, _what: observe.EndOfRun, _now: float) -> None:
        top = len(self._book.facts) - 1
        behind = {slot: height for slot, height in self._heights.items() if height != top}
        if self._premises.live and behind and not self._book.is_old:
            self.fail(f"after healing these slots hold other heights than {top}: {behind}")


class NothingLost(Checker):
    """LOSS-1: what was said to be committed survives every crash, and what is called a duplicate was there before."""

    tag: ClassVar[str] = "LOSS-1"

    def __init__(self, premises: Premises, book: Book) -> None:
        super().__init__(premises, book)
        self._durable: set[bytes] = set()
        self._said: dict[bytes, int] = {}

    def handlers(self) -> dict[type, Handler]:
        return {
            Fact: self._linked,
            Book: lambda _book, _now: self._durable.clear(),
            observe.SettledAt: self._settled,
            observe.Crashed: lambda what, _now: self._look(f"the crash of {what.endpoint}"),
            observe.NodeLost: lambda what, _now: self._look(f"the loss of slot {what.slot}"),
            observe.EndOfRun: lambda _what, _now: self._look("the run"),
        }

    def _linked(self, entry: Fact, _now: float) -> None:
        for index, record in enumerate(entry.records):
            if "duplicate" in entry.marks.get(index, ()) and record.id not in self._durable:
                self.fail(f"transaction {index} of link {entry.height} is a duplicate of nothing")
            self._durable.add(record.id)
            self._said.pop(record.id, None)

    def _settled(self, what: observe.SettledAt, _now: float) -> None:
        if what.slot not in self._premises.liars:
            self._said.update((identity, what.slot) for identity in what.ids if identity not in self._durable)

    def _look(self, after: str) -> None:
        if self._said and not self._book.is_old:
            self.fail(f"{len(self._said)} transactions were said to be committed and are not durable after {after}")

