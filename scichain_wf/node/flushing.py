"""Flushes: everything that is in the outboxes now gets committed, and whoever asked is told.

A flush is done when every living agent says so. The board (no I/O) also notices when nothing is under way anywhere
and transactions are still held for inputs whose producers nobody will record: then they are released at once instead
of after their time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scichain_wf import limits
from scichain_wf.errors import PeerError
from scichain_wf.node import wire

if TYPE_CHECKING:
    from scichain_wf.node.members import Members

_NAMED_MAX: Final = 5
"""Slots that a message names one by one."""
Progress = Callable[[int, int], None]
"""(committed, pending)."""


@dataclass(frozen=True, slots=True)
class Status:
    """One agent's report."""

    done: bool
    pending: int
    committed: int
    quiet: bool
    held: int
    height: int

    @classmethod
    def from_value(cls, value: dict[str, object]) -> Status:
        """From a STATUS message; `PeerError` if it is malformed."""
        pending, committed, held = (wire.integer(value, name) for name in ("pending", "committed", "held"))
        height = wire.integer(value, "height")
        return cls(value.get("done") is True, pending, committed, value.get("quiet") is True, held, height)


class FlushBoard:
    """One flush over the agents in `slots`."""

    def __init__(self, number: int, slots: set[int], *, drain: bool) -> None:
        self.number, self.drain = number, drain
        self._waiting = set(slots)
        self._reports: dict[int, Status] = {}

    def report(self, slot: int, status: Status) -> None:
        """An agent says how it stands."""
        if slot in self._waiting:
            self._reports[slot] = status

    def again(self, slot: int) -> None:
        """The agent has to begin anew: it has taken over something, or its channel was interrupted."""
        self._waiting.add(slot)
        self._reports.pop(slot, None)

    def lost(self, slot: int) -> None:
        """The agent is gone."""
        self._waiting.discard(slot)
        self._reports.pop(slot, None)

    def is_done(self) -> bool:
        """Whether every agent is done."""
        return all(slot in self._reports and self._reports[slot].done for slot in self._waiting)

    @property
    def late(self) -> dict[int, int | None]:
        """Slots that are not done, and how many records each had pending when it was heard last."""
        reports = {slot: self._reports.get(slot) for slot in sorted(self._waiting)}
        return {slot: None if r is None else r.pending for slot, r in reports.items() if r is None or not r.done}

    @property
    def progress(self) -> tuple[int, int]:
        """Transactions committed since the agents started, and pending now."""
        return sum(r.committed for r in self._reports.values()), sum(r.pending for r in self._reports.values())

    def should_release(self, height: int) -> bool:
        """Whether held transactions wait for nothing, given storage's head; each report counts once for this."""
        reports = [self._reports.get(slot) for slot in self._waiting]
        settled = all(r is not None and (r.done or r.quiet) and r.height == height for r in reports)
        if not settled or not any(r is not None and r.held for r in reports):
            return False
        self._reports = {slot: r for slot, r in self._reports.items() if r.done}
        return True


class Flusher:
    """Runs flushes, one at a time.

    Args:
        members: the agents.
        is_idle: whether storage has nothing queued.
        slots: agents that live or are being started again.
    """

    def __init__(self, members: Members, is_idle: Callable[[], bool], slots: Callable[[], set[int]]) -> None:
        self._members, self._is_idle, self._slots = members, is_idle, slots
        self._board: FlushBoard | None = None
        self._number = 0
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()
        self.late = ""

    async def run(self, *, drain: bool = False, progress: Progress | None = None) -> None:
        """Wait until everything in the outboxes is committed; with `drain` the agents close them, too.

        If it is cancelled, `late` says in words who was waited for.

        Raises:
            PeerError: no agent is left; or all others are done, and for some time the rest said nothing: drained
                (DRAIN_SILENCE_S), who cannot be reached; else (FLUSH_SILENCE_S) who hears and does not answer.
        """
        async with self._turn:
            self._number += 1
            slots = self._slots()
            board = self._board = FlushBoard(self._number, slots, drain=drain)
            try:
                for slot in slots:
                    self._say(slot)
                await self._wait(board, progress)
            finally:
                self.late = self._described(board.late)
                self._board = None

    @property
    def grown(self) -> asyncio.Event:
        """Set with the next durable link."""
        return self._members.grown

    def status(self, slot: int, value: dict[str, object]) -> None:
        """An agent reports."""
        if self._board is not None and wire.integer(value, "flush") == self._board.number:
            self._board.report(slot, Status.from_value(value))
            self._changed.set()

    def again(self, slot: int) -> None:
        """Ask this agent (again): it was interrupted, or has taken over something."""
        if self._board is not None:
            self._board.again(slot)
            self._say(slot)
            self._changed.set()  # it has its time to answer

    def lost(self, slot: int) -> None:
        """This agent is gone."""
        if self._board is not None:
            self._board.lost(slot)
            self._changed.set()

    async def _wait(self, board: FlushBoard, progress: Progress | None) -> None:
        said = (-1, -1)
        while self._slots():
            if board.is_done():
                return
            if self._is_idle() and board.should_release(self._members.size - 1):
                self._members.broadcast(wire.Kind.RELEASE, b"")
            if progress is not None and board.progress != said:
                said = board.progress
                progress(*said)
            self._changed.clear()
            try:
                async with asyncio.timeout(limits.DRAIN_SILENCE_S if board.drain else limits.FLUSH_SILENCE_S):
                    await self._changed.wait()
            except TimeoutError:
                self._give_up(board)
        raise PeerError("every agent has ended")

    def _give_up(self, board: FlushBoard) -> None:
        """Nobody said anything for a while: if nobody will any more who is waited for, it is over."""
        late = board.late
        connected = {slot for slot in late if self._members.is_connected(slot)}
        mute = {slot for slot, pending in late.items() if pending is None}
        if late and (not connected if board.drain else late.keys() == connected & mute):
            raise PeerError(self._described(late))

    def _described(self, late: dict[int, int | None]) -> str:
        said = []
        for slot, pending in list(late.items())[: _NAMED_MAX]:
            state = "does not answer" if pending is None else f"has {pending} records to commit"
            if not self._members.is_connected(slot):
                state = "cannot be reached; what its host holds waits there for its next agent"
            said.append(f"slot {slot}{self._members.host_of(slot)} {state}")
        more = len(late) - len(said)
        return "; ".join(said) + (f"; and {more} more" if more else "")

    def _say(self, slot: int) -> None:
        if self._board is not None:
            value: dict[str, object] = {"flush": self._board.number, "drain": self._board.drain}
            self._members.send(slot, wire.Kind.FLUSH, wire.encoded(value))
