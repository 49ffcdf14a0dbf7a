"""Moves transactions from outboxes and spools into the core, and reports when a flush is done.

A bell makes it look at once, a clock makes it look anyway. A flush is done when everything that was in the outboxes
when it began is committed; with `drain` the outbox is first renamed, so that hooks turn elsewhere, and removed at the
end. Adopted outboxes are removed when everything in them is committed.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scichain_wf import limits
from scichain_wf.client.outbox import BELL, URGENT, outbox_directory
from scichain_wf.errors import LedgerError, SubmissionError
from scichain_wf.node import shm
from scichain_wf.node.intake import BurstSource, Intake, OutboxSource, SpoolSource

if TYPE_CHECKING:
    from scichain_wf.consensus.events import Item
    from scichain_wf.node.intake import Source
    from scichain_wf.node.log import Log


@dataclass(slots=True)
class _Flush:
    number: int
    drain: bool
    target: int | None = None
    """Transactions up to this number belong to it; None until everything was read once."""


class Pump:
    """One agent's intake in motion.

    Args:
        chain: chain id.
        slot: whose outbox.
        intake: what counts them.
        submit: takes transactions that may be proposed.
        ask: takes (key, id) pairs that storage is to be asked about; False if it cannot be asked now.
        log: for what goes wrong.
    """

    def __init__(
        self,
        chain: bytes,
        slot: int,
        intake: Intake,
        submit: Callable[[list[Item]], None],
        ask: Callable[[list[tuple[bytes, bytes]]], bool],
        log: Log,
    ) -> None:
        self.intake = intake
        self._submit, self._ask, self._log = submit, ask, log
        self._chain, self._directory = chain, outbox_directory(chain, slot)
        self._own: OutboxSource | None = None
        self._bell: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._looked = self._spool_looked = self._weighed = -math.inf  # not 0: that is when this machine started
        self._asked = False
        self._flush: _Flush | None = None
        self._begun = self._urged = False

    def open(self, spool: Path | None, adopted: list[Path], burst: Path | None = None) -> None:
        """Make the outbox and listen for its bell; take over what is adopted. Nothing is read before `begin`."""
        self._loop = asyncio.get_running_loop()
        shm.make(self._directory)
        bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        (self._directory / BELL).unlink(missing_ok=True)
        bell.bind(os.fspath(self._directory / BELL))
        self._loop.add_reader(bell, self._rung)
        self._bell = bell
        self._own = OutboxSource(self._directory, asks=False)
        self.intake.sources.append(self._own)
        if spool is not None:
            self.intake.sources.append(SpoolSource(spool, self._log))
        if burst is not None:
            self.intake.sources.append(BurstSource(burst, self._chain, self._log))
        for directory in adopted:
            self.adopt(directory)

    def begin(self) -> None:
        """Read from here on: there are enough agents to certify it, or enough time went by."""
        if not self._begun:
            self._begun = True
            self.look()

    def adopt(self, directory: Path) -> None:
        """Take over the outbox of an agent that is gone."""
        try:
            source = OutboxSource(directory, asks=True)
        except (LedgerError, OSError) as error:
            self._log.warning("an outbox cannot be taken over", reason=error)
            return
        self.intake.sources.append(source)
        self._log.info("outbox taken over", directory=directory)

    def flush(self, number: int, *, drain: bool) -> None:
        """Begin flush `number`, and to read."""
        self._flush, self._begun = _Flush(number, drain), True
        if drain and self._own is not None and self._own.directory == self._directory:
            self._own.moved(shm.set_aside(self._directory))
            self._close_bell()  # before it is read for the last time: who is not heard any more looks where it is
        self._spool_looked = -math.inf
        self.look()

    def answered(self, known: list[tuple[bytes, bool]]) -> None:
        """Storage said which transactions it has."""
        self._asked = False
        items = self.intake.answered(dict(known))
        if items:
            self._submit(items)
        self._question()

    def storage_lost(self) -> None:
        """A question may have got no answer: it is asked again."""
        self._asked = False

    def look(self) -> None:
        """Read whatever is new now."""
        if not self._begun:
            return
        now = self._loop.time()
        self._looked = now
        more = False
        for source in list(self.intake.sources):
            if not isinstance(source, SpoolSource):
                more = self._read(source) or more
            elif source.has_more or now - self._spool_looked >= limits.SPOOL_POLL_S:
                source.has_more = self._read(source)
                more = source.has_more or more
        if now - self._spool_looked >= limits.SPOOL_POLL_S:
            self._spool_looked = now
        self._question()
        self._weigh(now)
        if self._flush is not None and self._flush.target is None and not more:
            self._flush.target = self.intake.taken
        self._urged = self._urged and more
        self._schedule(limits.LOOK_PAUSE_S if more and not self.intake.is_full else limits.POLL_S)

    def flush_done(self) -> int | None:
        """Number of the flush that is done, once."""
        flush = self._flush
        if flush is None or flush.target is None or not self.intake.is_settled(flush.target):
            return None
        if flush.drain and not self._removed_all():
            flush.target = self.intake.taken
            return None
        self._flush = None
        return flush.number

    @property
    def flush_number(self) -> int | None:
        """Number of the flush under way."""
        return self._flush.number if self._flush is not None else None

    @property
    def hurries(self) -> bool:
        """Whether somebody waits for what is read now."""
        return self._urged or self._flush is not None

    @property
    def has_read_all(self) -> bool:
        """Whether the flush under way has read what it must."""
        return self._flush is not None and self._flush.target is not None

    def close(self) -> None:
        """Stop looking. What is in the outbox stays there."""
        if self._timer is not None:
            self._timer.cancel()
        self._close_bell()
        for source in self.intake.sources:
            source.close()

    def _weigh(self, now: float) -> None:
        """Turn hooks away while this agent can take no more and too much waits in its outbox."""
        if self._own is None or now - self._weighed < limits.POLL_S:
            return
        self._weighed = now
        try:
            told = self._own.weigh(takes_more=not self.intake.is_full)
        except (SubmissionError, OSError):
            return  # it is being renamed or gone: `_read` says so
        if told:
            self._log.warning("outbox", reason=told)

    def _close_bell(self) -> None:
        if self._bell is not None:
            self._loop.remove_reader(self._bell)
            self._bell.close()
            self._bell = None
            if self._own is not None:
                (self._own.directory / BELL).unlink(missing_ok=True)

    def _removed_all(self) -> bool:
        """Remove every outbox, own and adopted, once nothing new is in it: hooks may have written to the last."""
        before = self.intake.taken
        for source in [source for source in self.intake.sources if isinstance(source, OutboxSource)]:
            more = self._read(source)
            if more or self.intake.taken != before:
                return False
            if source is self._own:
                source.remove()
                self.intake.sources.remove(source)
                self._own = None
        return not any(isinstance(source, OutboxSource) for source in self.intake.sources)

    def _rung(self) -> None:
        try:
            while self._bell is not None:
                self._urged = self._bell.recv(16) == URGENT or self._urged
        except OSError:  # BlockingIOError: all taken
            rest_s = 0.0 if self._urged else limits.BELL_S - (self._loop.time() - self._looked)
            self._schedule(max(0.0, rest_s))

    def _schedule(self, delay_s: float) -> None:
        at = self._loop.time() + delay_s
        if self._timer is not None and not self._timer.cancelled():
            if self._looked < self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self.look)

    def _read(self, source: Source) -> bool:
        try:
            items, more = self.intake.read(source)
        except SubmissionError as error:
            self._log.error("records cannot be read", reason=error)
            if isinstance(source, OutboxSource) and source is not self._own:
                self.intake.sources.remove(source)
                source.close()
            return False
        if items:
            self._submit(items)
        if isinstance(source, OutboxSource) and source is not self._own and not more and source.is_finished():
            source.remove()
            self.intake.sources.remove(source)
        return more

    def _question(self) -> None:
        questions = self.intake.questions()
        if questions and not self._asked:
            self._asked = self._ask(questions)
