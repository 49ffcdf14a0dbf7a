"""Writer epochs: which storage process may write a chain, kept by plain files that any shared file system can hold.

    writers/<n, 8 digits>    who took writer epoch n (host, boot, pid namespace, process), for how long its lease lasts,
                             and a line that changes with every heartbeat

Epoch n is taken by giving a complete file that name with `link()`, which one process only can do. Its holder renews
its lease by changing the file, makes that durable, and *then* looks whether n + 1 was taken: if so it is fenced and
never promises anything again. Who takes n + 1 has either proof that all before it are over (they said so, or they ran
on this host and are dead), or has seen no change for a lease and a half on its own clock, *and looks once more after
it took n + 1*. So a lease that was renewed before n + 1 existed is seen and waited for, and none is renewed after.

A lease is counted from the moment before the heartbeat was written, on CLOCK_BOOTTIME, which goes on while a machine
sleeps. `Writer.check` is asked after every fsync and before anything is signed or sent. File locks are not relied on:
where this host's lock can be had, it is one more witness that an earlier process is dead.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Self

from scichain_wf import limits
from scichain_wf.errors import DecodeError, LedgerError, LedgerInUse
from scichain_wf.ledger import files
from scichain_wf.ledger.store import ChainStore
from scichain_wf.node.markers import Identity, Marker, State, first_line, second_line

if TYPE_CHECKING:
    from scichain_wf.ledger.layout import ChainLayout

_NUMBER: Final = re.compile(r"[0-9]{8}\Z")
_NO_LINKS: Final = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def boottime() -> float:
    """Seconds on the clock that leases are counted on."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Writer:
    """A writer epoch that this process took; made by `claimed`.

    Attributes:
        number: the epoch.
        in_place: whether every earlier writer is known to be over, so that this one may write where the last one wrote.
    """

    def __init__(self, layout: ChainLayout, number: int, descriptor: int, offset: int, lease_s: float) -> None:
        self.number, self.in_place = number, False
        self._layout, self._descriptor, self._offset, self._lease_s = layout, descriptor, offset, lease_s
        self._beat_s = min(lease_s / limits.WRITER_BEATS_PER_LEASE, limits.WRITER_BEAT_S_MAX)
        self._renewing = threading.Lock()
        self._state: State = "claimed"
        self._beats = 0
        self._began = boottime()
        self._lost: LedgerError | None = None

    @classmethod
    def take(cls, layout: ChainLayout, number: int, lease_s: float) -> Self | None:
        """Take epoch `number`; None if another process was first.

        Raises:
            OSError: the marker cannot be made.
            LedgerError: the file system has no hard links.
        """
        first = first_line(Identity.own(), lease_s)
        temporary = layout.writers / f".{os.urandom(8).hex()}"
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            writer = cls(layout, number, descriptor, len(first), lease_s)
            rest = first + second_line("claimed", 0)
            while rest:  # a disk that gets full takes a part
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
            os.link(temporary, layout.marker(number))
            files.sync(layout.writers)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, FileExistsError):
                return None
            if isinstance(error, OSError) and error.errno in _NO_LINKS:
                raise LedgerError(
                    f"{layout.writers}: this file system makes no hard links ({error.strerror}), and they are what "
                    "keeps two storage nodes apart; choose another directory for the chain"
                ) from None
            raise
        finally:
            temporary.unlink(missing_ok=True)
        return writer

    @property
    def is_fenced(self) -> bool:
        """Whether it is known that this is the writer no more."""
        return self._lost is not None

    def hold(self) -> None:
        """Say that everybody before is over and the ledger is in place. Errors as of `renew`."""
        self._state = "holding"
        self.renew()

    def check(self) -> None:
        """To be asked after each fsync and before anything is signed or sent: whether this is still the writer.

        Raises:
            LedgerError: it is not, or cannot know.
        """
        if self._lost is not None or boottime() - self._began >= self._lease_s:
            self.renew()

    def renew_if_due(self) -> None:
        """A heartbeat, if it is time for one. Errors as of `renew`."""
        if boottime() - self._began >= self._beat_s:
            self.renew()

    def renew(self) -> None:
        """A heartbeat: the lease begins anew, unless another process took the next epoch.

        Raises:
            LedgerError: it did, or the marker is gone: for good. Or the marker cannot be written.
        """
        with self._renewing:
            if self._lost is not None:
                raise self._lost
            began = boottime()
            self._beats += 1
            try:
                os.pwrite(self._descriptor, second_line(self._state, self._beats), self._offset)
                os.fsync(self._descriptor)
                gone = os.fstat(self._descriptor).st_nlink == 0
                # Looked up by name, a successor may be "not there" for a minute in the cache of a network file system;
                # whoever opens a directory asks its server.
                names = [] if gone else os.listdir(self._layout.writers)
            except OSError as error:
                raise LedgerError(
                    f"{self._layout.marker(self.number)}: the writer's lease cannot be renewed ({error.strerror}); "
                    "nothing is promised until it can"
                ) from None
            own, successor = (self._layout.marker(number).name for number in (self.number, self.number + 1))
            if own not in names or successor in names:
                self._lost = self._fenced(began - self._began, gone=own not in names)
                raise self._lost
            self._began = began

    @contextmanager
    def beating(self, lost: Callable[[LedgerError], object], beat: Callable[[], None] | None = None) -> Iterator[None]:
        """Renew the lease from a thread, which calls `beat` each time, and `lost` once when this is not the writer."""
        end = threading.Event()

        def run() -> None:
            while not end.wait(self._beat_s):
                try:
                    self.renew()
                except LedgerError as error:
                    if self.is_fenced:
                        lost(error)
                        return
                if beat is not None:
                    beat()

        thread = threading.Thread(target=run, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()

    def end(self) -> None:
        """Say that this writer is over, unless it was fenced: nothing is written any more, the next one goes on."""
        with suppress(LedgerError):  # then the next one waits until the lease is over
            self._state = "ended"
            self.renew()
        os.close(self._descriptor)

    def _fenced(self, silent_s: float, *, gone: bool) -> LedgerError:
        path = self._layout.marker(self.number)
        if gone:
            return LedgerError(f"{path} was removed: this storage node is not the writer any more and ends")
        try:
            successor = str(Marker.read(self._layout.marker(self.number + 1)))
        except OSError:
            successor = "another process"
        return LedgerError(
            f"{self._layout.root}: this storage node (writer {self.number}) was not heard of for {silent_s:.1f} s, and "
            f"{successor} took over; what this one had not promised yet it drops, and ends"
        )


@contextmanager
def claimed(
    layout: ChainLayout, lease_s: float = limits.WRITER_LEASE_S, waiting: Callable[[str], None] = lambda _: None
) -> Iterator[Writer]:
    """Be the writer of a chain; the directories for it are made. To be entered by a process with one thread.

    Args:
        layout: the chain.
        lease_s: how long after a heartbeat this writer may promise something; others wait half as long again.
        waiting: told in words, about once a second, what is waited for.

    Raises:
        LedgerError: another process is the writer; or the directory is another user's, or cannot be used for this.
        LedgerFull: no room.
    """
    owner, lock = os.getpid(), -1
    try:
        layout.writers.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(layout)
        lock = _host_lock(layout)
        writer = _claim(layout, lease_s, _Earlier(layout, locked=lock >= 0), waiting)
    except OSError as error:
        raise files.os_failure(error, layout.writers, "taking the chain over for writing") from None
    try:
        yield writer
    finally:
        if os.getpid() == owner:  # a forked agent has closed both already
            writer.end()
            if not writer.is_fenced:
                from scichain_wf.node.pruning import prune_markers  # a start does not wait for it

                prune_markers(layout)
            os.close(lock) if lock >= 0 else None


def _check_owner(layout: ChainLayout) -> None:
    """Whoever may write everywhere must not leave a marker that the chain's own user could not read."""
    owner = layout.writers.stat().st_uid
    if owner != os.geteuid():
        raise LedgerError(
            f"{layout.root} belongs to user id {owner}, not to {os.geteuid()} who runs this: run it as that user, or "
            "choose another directory for the chain"
        )


def _host_lock(layout: ChainLayout) -> int:
    """The descriptor that holds this host's lock on the chain; -1 if it cannot be had."""
    descriptor = os.open(layout.run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return -1
    return descriptor


def _claim(layout: ChainLayout, lease_s: float, earlier: _Earlier, waiting: Callable[[str], None]) -> Writer:
    writer: Writer | None = None
    while writer is None:
        while not earlier.are_over():
            earlier.refuse_if_alive()
            earlier.pause(waiting)
        writer = Writer.take(layout, earlier.newest + 1, lease_s)
    try:
        while not earlier.are_over(below=writer.number):  # a lease renewed just before n was taken is seen only now
            earlier.pause(waiting)
            writer.renew_if_due()
        writer.in_place = earlier.said_so
    except BaseException:
        writer.end()
        raise
    return writer


def _last_writer(layout: ChainLayout) -> int:
    """The highest writer epoch that the ledger knows: markers may be lost, an epoch is never used twice."""
    if not layout.newest_ledger:
        return 0
    with (
        suppress(LedgerError, DecodeError),  # who opens it to write tells
        ChainStore.open(layout.live_ledger(), readonly=True) as store,
        store.view() as view,
    ):
        return max(layout.newest_ledger, view.link(view.size - 1).writer)
    return layout.newest_ledger


class _Earlier:
    """The writers before, back to the first that knew all before it to be over; what was seen of them and when.

    Attributes:
        newest: the highest epoch taken or written in.
        said_so: whether all of them ended in order or are dead, so that nobody had to be waited out.
    """

    def __init__(self, layout: ChainLayout, *, locked: bool) -> None:
        self._layout, self._locked, self._here = layout, locked, Identity.own()
        self._seen: dict[int, tuple[bytes, float]] = {}
        self._floor = _last_writer(layout)
        self._alive: Marker | None = None
        self._open: dict[str, float] = {}
        self._told = float("-inf")
        self.newest, self.said_so = 0, True

    def are_over(self, below: int | None = None) -> bool:
        """Look again; whether none of them can write any more."""
        self._open, self._alive, self.said_so = {}, None, True
        for marker in self._markers(below):
            now = boottime()
            if marker.state == "ended" or (self._locked and marker.who is not None and marker.who.is_dead(self._here)):
                continue
            self.said_so = False
            before, since = self._seen.get(marker.number, (marker.data, now))
            if before != marker.data:
                self._alive, since = marker, now
            self._seen[marker.number] = marker.data, since
            left_s = since + marker.lease_s * limits.WRITER_PATIENCE - now
            if left_s > 0:
                self._open[str(marker)] = left_s
        return not self._open

    def refuse_if_alive(self) -> None:
        """Raise `LedgerError` if the last look saw a heartbeat, `LedgerInUse` if it was one of this host."""
        if self._alive is not None:
            kind = LedgerInUse if self._alive.who is not None and self._alive.who.is_near(self._here) else LedgerError
            raise kind(
                f"{self._layout.root} is in use: its storage node is {self._alive}; wait for that run to end, or "
                "choose another directory for the chain"
            )

    def pause(self, waiting: Callable[[str], None]) -> None:
        """Between two looks; now and then say who is waited for."""
        if boottime() - self._told >= limits.WRITER_BEAT_S_MAX:
            self._told = boottime()
            who = max(self._open, key=lambda name: self._open[name])
            waiting(f"{who} did not end in order and may be alive: going on in {self._open[who]:.0f} s unless it is")
        time.sleep(limits.WRITER_POLL_S)

    def _markers(self, below: int | None) -> Iterator[Marker]:
        names = (name for name in os.listdir(self._layout.writers) if _NUMBER.match(name))
        numbers = sorted((int(name) for name in names if below is None or int(name) < below), reverse=True)
        self.newest = max([self._floor, *numbers[:1]])
        for number in numbers:
            marker = Marker.read(self._layout.marker(number))
            yield marker
            if marker.is_settled:
                return
