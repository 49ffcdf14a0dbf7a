"""What an agent takes in: its outbox, outboxes of the dead, the spools; and when it may let go of it.

A transaction is read, checked, counted as pending and handed to the core; when it is committed its file is let go, and
deleted once everything in it is. What cannot be recorded (malformed, of another chain) is set aside in `refused/` of
the chain directory: nothing is dropped. Files that others left behind may be committed in part, so storage is asked
first which of their transactions it has.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from scichain_wf import limits
from scichain_wf.client.burst import burst_directory, is_burst
from scichain_wf.client.outbox import OutboxReader
from scichain_wf.client.spool import list_spool, read_spool, write_spool
from scichain_wf.consensus.events import Item
from scichain_wf.crypto.merkle import leaf_hash
from scichain_wf.errors import DecodeError, LedgerError, SubmissionError
from scichain_wf.model import facts
from scichain_wf.model.bodies import Kind
from scichain_wf.model.text import digest_text
from scichain_wf.node import shm

if TYPE_CHECKING:
    from scichain_wf.node.log import Log


_EPOCH: Final = Kind.EPOCH.value.encode()


class Source(Protocol):
    """Where transactions come from. `asks`: some of them may be committed already."""

    asks: bool
    label: str
    is_all: bool
    """Whether the last `read` gave everything there was."""

    def read(self) -> list[tuple[str, bytes]]:
        """(file name, transaction bytes) of what is new."""

    def let_go(self, name: str) -> None:
        """One transaction of this file is committed or set aside."""

    def is_finished(self) -> bool:
        """Whether everything was read and let go of."""

    def close(self) -> None:
        """Let others read it."""


class OutboxSource:
    """An outbox directory, held against every other process.

    Raises:
        LedgerError: another process holds it.
        OSError: it is gone.
    """

    label = "outbox"

    def __init__(self, directory: Path, *, asks: bool) -> None:
        self.asks, self.is_all = asks, False
        self._turns_away = False
        self._lock = shm.hold(directory)
        self._reader = OutboxReader(directory)
        self._open: Counter[str] = Counter()

    def read(self) -> list[tuple[str, bytes]]:
        """See `Source`."""
        self._sweep()
        found = [(frame.path.name, frame.data) for frame in self._reader.read()]
        self.is_all = sum(len(data) for _, data in found) < limits.OUTBOX_READ_BYTES_MAX // 2
        self._open.update(name for name, _ in found)
        return found

    def let_go(self, name: str) -> None:
        """See `Source`."""
        self._open[name] -= 1

    def is_finished(self) -> bool:
        """See `Source`."""
        return not +self._open

    def weigh(self, *, takes_more: bool) -> str:
        """Turn hooks away while more than OUTBOX_WAITING_BYTES_MAX waits; what has changed, in words.

        Args:
            takes_more: whether this agent reads on. Then hooks are welcome.

        Raises:
            SubmissionError, OSError: it cannot be looked at.
        """
        before = self._turns_away
        if takes_more and not before:
            return ""
        unread_bytes = self._reader.unread_bytes()
        self._turns_away = not takes_more and (before or unread_bytes > limits.OUTBOX_WAITING_BYTES_MAX)
        if before or self._turns_away:  # each time: hooks that were just beginning have new files
            shm.turn_away(self.directory, away=self._turns_away)
        if before is self._turns_away:
            return ""
        return f"{unread_bytes} bytes wait: hooks are {'turned away' if self._turns_away else 'welcome again'}"

    def remove(self) -> None:
        """Delete it with whatever is in it: everything was read and is committed."""
        shm.remove(self.directory)
        self.close()

    def close(self) -> None:
        """Let others take it over."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def moved(self, directory: Path) -> None:
        """The directory has another name now."""
        self._reader.directory = directory

    @property
    def directory(self) -> Path:
        """Where it is."""
        return self._reader.directory

    def _sweep(self) -> None:
        """Delete files whose every transaction is committed and whose writer is gone."""
        for name in [name for name, count in self._open.items() if count <= 0]:
            if self._reader.remove_drained(name):
                del self._open[name]


class SpoolSource:
    """The spool of the chain directory.

    Attributes:
        has_more: whether the look before this one left something; `Pump` then does not wait for the next.
    """

    label = "spool"
    asks = True
    is_all = has_more = False

    def __init__(self, directory: Path, log: Log) -> None:
        self._directory = directory
        self._log = log
        self._open: dict[str, Path] = {}
        self._unreadable: set[str] = set()
        self._listed: deque[Path] = deque()
        self._is_listed = False

    def read(self) -> list[tuple[str, bytes]]:
        """See `Source`. A bounded number of bytes and files at a time, however many there are."""
        if not self._listed:
            self._listed.extend(list_spool(self._directory, self._open.keys() | self._unreadable))
            self._is_listed = len(self._listed) < limits.SPOOL_LIST_MAX
        found: list[tuple[str, bytes]] = []
        room_bytes, begun = limits.OUTBOX_READ_BYTES_MAX, len(self._listed)
        while self._listed and room_bytes > 0 and begun - len(self._listed) < limits.SPOOL_READ_FILES_MAX:
            path = self._listed.popleft()
            try:
                found.append((path.name, read_spool(path)))
                room_bytes -= len(found[-1][1])
            except SubmissionError as error:
                self._unreadable.add(path.name)
                self._log.warning("a spool file is left where it is", reason=error)
            else:
                self._open[path.name] = path
        self.is_all = self._is_listed and not self._listed
        return found

    def let_go(self, name: str) -> None:
        """See `Source`."""
        self._open.pop(name).unlink(missing_ok=True)

    def is_finished(self) -> bool:
        """See `Source`."""
        return not self._open

    def close(self) -> None:
        """Let others read it."""


class BurstSource(SpoolSource):
    """The spool of this chain in the burst buffer of this host: of the agents here, the one that locks it reads it."""

    def __init__(self, base: Path, chain: bytes, log: Log) -> None:
        super().__init__(burst_directory(base, chain), log)
        self._base, self._chain, self._lock = base, chain, -1

    def read(self) -> list[tuple[str, bytes]]:
        """See `Source`; nothing where another agent reads it, or nobody has made it.

        Raises:
            SubmissionError: it is not safe.
        """
        self.is_all = True
        if not is_burst(self._base, self._chain):
            return []
        if self._lock < 0:
            try:
                self._lock = shm.hold(self._directory)
            except LedgerError:
                return []
            except OSError as error:
                raise SubmissionError(f"burst buffer {self._directory}: {error.strerror}") from None
        return super().read()

    def close(self) -> None:
        """Let another agent of this host read it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


@dataclass(slots=True)
class _Pending:
    number: int
    size_bytes: int
    files: list[tuple[Source, str]]


@dataclass(slots=True)
class _Backlog:
    """What one call to a source gave and was not taken yet; `is_all`: the source has no more as of this look."""

    frames: deque[tuple[str, bytes]]
    is_all: bool

    @classmethod
    def of(cls, source: Source) -> _Backlog:
        return cls(deque(source.read()), source.is_all)


class Intake:
    """Everything an agent has taken in and not seen committed."""

    def __init__(self, chain: bytes, refused: Path, log: Log) -> None:
        self._chain_text = digest_text(chain).encode()
        self._refused = refused
        self._log = log
        self._pending: dict[bytes, _Pending] = {}  # in the order they were read
        self._questions: dict[bytes, Item] = {}
        self._backlog: dict[Source, _Backlog] = {}
        self._pending_bytes = 0
        self.sources: list[Source] = []
        self.taken = 0
        self.settled_count = 0

    @property
    def pending(self) -> int:
        """Transactions taken in and not settled."""
        return len(self._pending)

    @property
    def is_full(self) -> bool:
        """Whether the outbox has to wait."""
        return len(self._pending) >= limits.POOL_TRANSACTIONS_MAX or self._pending_bytes >= limits.POOL_BYTES_MAX

    def is_settled(self, number: int) -> bool:
        """Whether everything up to the `number`-th transaction is settled."""
        first = next(iter(self._pending.values()), None)
        return first is None or first.number > number

    def read(self, source: Source) -> tuple[list[Item], bool]:
        """New transactions of one source that may be proposed, and whether there may be more.

        A few at a time: whoever waits for this node's verdicts shall not wait for its own hooks.
        """
        if self.is_full:
            return [], True
        backlog = self._backlog.pop(source, None) or _Backlog.of(source)
        count = min(len(backlog.frames), limits.LOOK_TRANSACTIONS_MAX)
        taken = [self._take(source, *backlog.frames.popleft()) for _ in range(count)]
        more = bool(backlog.frames) or not backlog.is_all
        if more:
            backlog.is_all = False  # what is left over says nothing of what has come meanwhile
        if backlog.frames:
            self._backlog[source] = backlog
        return [item for item in taken if item is not None], more

    def questions(self) -> list[tuple[bytes, bytes]]:
        """(key, id) of transactions storage is to be asked about."""
        asked = list(self._questions.values())[: limits.QUERY_TRANSACTIONS_MAX]
        return [(item.key, item.id) for item in asked]

    def answered(self, known: dict[bytes, bool]) -> list[Item]:
        """Storage's answer; returns what it does not have."""
        items = []
        for identity, committed in known.items():
            item = self._questions.pop(identity, None)
            if item is not None and committed:
                self.settled((identity,))
            elif item is not None:
                items.append(item)
        return items

    def settled(self, ids: tuple[bytes, ...]) -> None:
        """These transactions are committed."""
        for identity in ids:
            pending = self._pending.pop(identity, None)
            if pending is not None:
                self._pending_bytes -= pending.size_bytes
                self.settled_count += 1
                for source, name in pending.files:
                    source.let_go(name)

    def given_up(self, refused: dict[bytes, bytes], reason: str) -> None:
        """These (id → bytes) were refused for good: set aside."""
        self.settled(tuple(identity for identity, data in refused.items() if self._set_aside(data, reason)))

    def _take(self, source: Source, name: str, data: bytes) -> Item | None:
        identity = leaf_hash(data)
        self.taken += 1
        pending = self._pending.get(identity)
        if pending is not None:
            pending.files.append((source, name))
            return None
        try:
            known = facts.read(data)
            chain, _, _, kind, _, _ = known
            if chain != self._chain_text:
                raise DecodeError(f"it is of chain {chain.decode()}")
            if kind == _EPOCH:
                raise DecodeError("membership is not submitted through an outbox")
        except DecodeError as error:
            if self._set_aside(data, str(error)):
                source.let_go(name)
            return None
        item = Item(identity, data, known, source.label)
        self._pending[identity] = _Pending(self.taken, len(data), [(source, name)])
        self._pending_bytes += len(data)
        if source.asks:
            self._questions[identity] = item
            return None
        return item

    def _set_aside(self, data: bytes, reason: str) -> bool:
        """Whether it could be; where there is no room it stays where it was, for the next agent."""
        try:
            path = write_spool(self._refused, data)
        except SubmissionError as error:
            self._log.error("a transaction cannot be recorded, nor set aside", reason=f"{reason}; {error}")
            return False
        self._log.error("a transaction cannot be recorded and was set aside", file=path, reason=reason)
        return True

