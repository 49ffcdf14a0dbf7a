"""Reading a ledger file as plain bytes, for who trusts none of them.

`RawLedger` opens the file read-only (it works on read-only media, makes no lock file and never writes) and reads the
named databases of `keys` by key and in order. It knows how keys are spelled and nothing of what is stored: every answer
may be wrong, and `fsck` finds out. A broken file can end the process that reads it: see `isolate`.

It shares no code with the store's own opening and reading, which it checks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import lmdb

from scichain_wf import limits
from scichain_wf.crypto import merkle
from scichain_wf.errors import LedgerBusy, LedgerCorrupt, LedgerError, UnsupportedVersion
from scichain_wf.ledger import keys
from scichain_wf.ledger.layout import DATA_FILE

_PAGE: Final = 4_096

Moment = tuple[int, int, int]
"""What was read: device and inode of the file, and the number of the last transaction in it."""


@dataclass(frozen=True, slots=True, order=True)
class RawVersion:
    """One recorded version of an artifact, as the index has it; `digest` is empty where none was recorded."""

    height: int
    index: int
    output: int
    digest: bytes

    @classmethod
    def of(cls, key: bytes, digest: bytes) -> Self:
        """From an entry of the index, whose key ends with the place."""
        height, index, output = keys.OUTPUT.unpack(key[-keys.OUTPUT.size :])
        return cls(height, index, output, digest)


class RawLedger:
    """One read transaction over a ledger file: every read sees the same moment, `moment`.

    Raises:
        LedgerError: the operating system does not let it be opened, or this process has it open already.
        LedgerCorrupt: it is not an LMDB file, or lacks a database.
    """

    def __init__(self, directory: Path) -> None:
        self.path: Final = directory / DATA_FILE
        self.state: Final[dict[str, Any]] = {}  # what a visitor of `fsck.walk` keeps from block to block
        for _ in range(limits.READ_ATTEMPTS_MAX):
            if self._opened():
                return
        raise LedgerBusy(f"{self.path} is written faster than it can be opened; read it when less is going on")

    def _opened(self) -> bool:
        """Open the file and begin to read; False if somebody wrote at that moment, so that it must be done anew."""
        self._environment, status = _open(self.path)
        try:
            self.databases = {name: self._database(name) for name in keys.DATABASES}
            self.transaction: Any = self._environment.begin()
            self._views: Any = self._environment.begin(buffers=True)  # blocks are large: they are not copied
            self.moment: Moment = status.st_dev, status.st_ino, self.transaction.id()
            self._artifacts: Any = self.transaction.cursor(db=self.databases[keys.ARTIFACTS])
        except (lmdb.Error, LedgerCorrupt) as error:
            self._environment.close()
            if isinstance(error, LedgerCorrupt):
                raise
            if isinstance(error, lmdb.MapResizedError) and self.path.stat().st_size > status.st_size:
                return False
            raise LedgerCorrupt(f"{self.path} cannot be read: {error}") from None
        now = self.path.stat()
        if (now.st_dev, now.st_ino, self._views.id()) == self.moment:
            return True
        self.close()
        return False

    def _database(self, name: str) -> Any:
        try:
            return self._environment.open_db(name.encode(), create=False)
        except lmdb.NotFoundError:
            raise LedgerCorrupt(
                f"{self.path} has no database {name!r}: it is not a ledger, or it was cut or altered"
            ) from None

    def surplus_names(self) -> list[bytes]:
        """Names in the file that are no database of ours; errors as in `entries`."""
        try:
            with self.transaction.cursor() as cursor:
                found = list(cursor.iternext(keys=True, values=False))
        except lmdb.Error as error:
            raise LedgerCorrupt(f"the names of {self.path}'s databases cannot be read: {error}") from None
        return sorted(set(found) - {name.encode() for name in keys.DATABASES})

    def is_overtaken(self) -> bool:
        """Whether somebody has written to the file since it was opened here."""
        newest: int = self._environment.info()["last_txnid"]
        return newest != self.moment[2]

    def is_reused(self) -> bool:
        """Whether pages of this moment may hold something else by now: from the second commit after it."""
        newest: int = self._environment.info()["last_txnid"]
        return newest > self.moment[2] + 1

    def close(self) -> None:
        """Release the file."""
        self._artifacts.close()
        self._views.abort()
        self.transaction.abort()
        self._environment.close()

    # --- by key -----------------------------------------------------------------------------------
    def get(self, database: str, key: bytes) -> bytes | None:
        """Value of `key`, or None.

        Raises:
            LedgerCorrupt: the file's pages do not hold together there.
        """
        try:
            value: bytes | None = self.transaction.get(key, db=self.databases[database])
        except lmdb.Error as error:
            raise LedgerCorrupt(f"database {database!r} cannot be read at key {key.hex():.80}: {error}") from None
        return value

    def get_many(self, database: str, wanted: list[bytes]) -> list[tuple[bytes, bytes]]:
        """(key, value) of those of `wanted` that are there, in that order; errors as in `get`."""
        try:
            with self.transaction.cursor(db=self.databases[database]) as cursor:
                found: list[tuple[bytes, bytes]] = cursor.getmulti(wanted)
        except lmdb.Error as error:
            raise LedgerCorrupt(f"database {database!r} cannot be read at {len(wanted)} keys: {error}") from None
        return found

    def block(self, height: int) -> memoryview | None:
        """Bytes of a block, or None; they live as long as this object. Errors as in `get`."""
        try:
            data: memoryview | None = self._views.get(keys.height_key(height), db=self.databases[keys.BLOCKS])
        except lmdb.Error as error:
            raise LedgerCorrupt(f"the block at height {height} cannot be read: {error}") from None
        return data

    def node(self, level: int, index: int) -> bytes:
        """Stored hash of a completed subtree; 32 zero bytes where there is none (which no subtree hashes to)."""
        return self.get(keys.TREE, keys.node_key(level, index)) or bytes(32)

    def link_hash(self, height: int) -> bytes | None:
        """Hash of a link's stored bytes."""
        data = self.get(keys.LINKS, keys.height_key(height))
        return None if data is None else merkle.leaf_hash(data)

    def root(self, size: int) -> bytes:
        """Root over the first `size` links, from the stored subtrees."""
        return merkle.root_from(self.node, size)

    # --- in order ---------------------------------------------------------------------------------
    def entries(self, database: str, start: bytes = b"", *, values: bool = True) -> Iterator[tuple[bytes, bytes]]:
        """Entries from the first key not below `start` on, as the file orders them; values are empty if not wanted.

        Raises:
            LedgerCorrupt: the file's pages do not hold together.
        """
        try:
            with self.transaction.cursor(db=self.databases[database]) as cursor:
                if not (cursor.set_range(start) if start else cursor.first()):
                    return
                if values:
                    yield from cursor.iternext(keys=True, values=True)
                else:
                    for key in cursor.iternext(keys=True, values=False):
                        yield key, b""
        except lmdb.Error as error:
            raise LedgerCorrupt(f"database {database!r} cannot be read in order: {error}") from None

    def prefixed(self, database: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Entries whose key begins with `prefix`; errors as in `entries`."""
        for key, value in self.entries(database, prefix):
            if not key.startswith(prefix):
                return
            yield key, value

    def backwards(self, database: str, before: bytes) -> Iterator[bytes]:
        """Keys smaller than `before` (empty: all), greatest first; errors as in `entries`."""
        try:
            with self.transaction.cursor(db=self.databases[database]) as cursor:
                found = cursor.prev() if before and cursor.set_range(before) else cursor.last()
                while found:
                    yield cursor.key()
                    found = cursor.prev()
        except lmdb.Error as error:
            raise LedgerCorrupt(f"database {database!r} cannot be read backwards: {error}") from None

    def last_key(self, database: str) -> bytes | None:
        """The greatest key, or None; errors as in `entries`."""
        try:
            with self.transaction.cursor(db=self.databases[database]) as cursor:
                return cursor.key() if cursor.last() else None
        except lmdb.Error as error:
            raise LedgerCorrupt(f"database {database!r} cannot be read at its end: {error}") from None

    def versions_before(self, uri: str, height: int, index: int) -> Iterator[RawVersion]:
        """Versions of `uri` that transaction (height, index) could know, newest first; errors as in `entries`."""
        prefix = keys.uri_key(uri)
        size = len(prefix)
        try:
            with self.transaction.cursor(db=self.databases[keys.ARTIFACTS]) as cursor:
                found = cursor.set_range(prefix + keys.OUTPUT.pack(height, index, 0))
                found = cursor.prev() if found else cursor.last()
                while found:
                    key, value = cursor.item()
                    if not key.startswith(prefix) or len(key) != size + keys.OUTPUT.size:
                        return
                    yield RawVersion.of(key, value)
                    found = cursor.prev()
        except lmdb.Error as error:
            raise LedgerCorrupt(f"the versions of {uri:.200} cannot be read: {error}") from None

    def standing_of(self, uri: bytes, digest: bytes, height: int, index: int) -> int:
        """How an artifact with `digest` stands among the versions before transaction (height, index).

        Returns:
            0: a version has this digest. 1: there is no version. 2: none has it, but one has no digest at all.
            3: there are versions, and none has it.
        """
        cursor = self._artifacts
        prefix = keys.uri_key(uri)
        try:
            if not (cursor.prev() if cursor.set_range(prefix + keys.OUTPUT.pack(height, index, 0)) else cursor.last()):
                return 1
            key, value = cursor.item()
            if not key.startswith(prefix):
                return 1
            if value == digest:
                return 0
        except lmdb.Error as error:
            raise LedgerCorrupt(f"the versions of {uri[:200]!r} cannot be read: {error}") from None
        digests = [version.digest for version in self.versions_before(uri.decode(), height, index)]
        if not digests:
            return 1
        return 0 if digest in digests else 2 if b"" in digests else 3


class _Current:
    """The one ledger this process works on: LMDB lets a process open a file once only."""

    ledger: RawLedger | None = None


def shared(directory: Path, moment: Moment | None) -> RawLedger:
    """The ledger in `directory`, opened once and kept for the next call.

    Args:
        directory: the ledger's directory.
        moment: what another process saw (`RawLedger.moment`); None for whatever is newest.

    Raises:
        LedgerError: somebody wrote, or put another file there, so that two processes would not see the same chain.
    """
    ledger = _Current.ledger
    if ledger is None or ledger.path.parent != directory:
        release()
        ledger = _Current.ledger = RawLedger(directory)
    if moment is not None and ledger.moment != moment:
        raise LedgerError(f"{ledger.path} is being written or exchanged; check it after the run, or check a snapshot")
    return ledger


def release() -> None:
    """Close what `shared` keeps open."""
    if _Current.ledger is not None:
        _Current.ledger.close()
        _Current.ledger = None


@contextmanager
def told_apart(ledger: RawLedger) -> Iterator[RawLedger]:
    """What looks damaged because it is being written, from what is damaged.

    Raises:
        LedgerBusy: instead of `LedgerCorrupt`, where pages may have been reused while they were read.
    """
    try:
        yield ledger
    except LedgerCorrupt:
        if ledger.is_reused():
            raise LedgerBusy(
                f"{ledger.path} was written while it was read; read it after the run, or read a snapshot"
            ) from None
        raise


def read_format(ledger: RawLedger) -> None:
    """Refuse a layout newer than this program reads.

    Raises:
        UnsupportedVersion: it is.
        LedgerCorrupt: the layout's version is missing or no number.
    """
    data = ledger.get(keys.META, keys.META_FORMAT)
    if data is None or not data.isdigit() or data.startswith(b"0") or len(data) > 9:
        raise LedgerCorrupt(f"{ledger.path} does not say which format it has: it is not a ledger, or it was altered")
    if int(data) > keys.FORMAT:
        raise UnsupportedVersion(
            f"{ledger.path} has format {int(data)}; this scichain-wf reads up to {keys.FORMAT}: install a newer one"
        )


def _open(path: Path) -> tuple[Any, os.stat_result]:
    try:
        status = path.stat()
        if not path.is_file():  # a FIFO would be waited for, without end
            raise LedgerError(f"{path} is no regular file; check the path, or restore a snapshot")
        with path.open("rb"):  # LMDB says less clearly why a file may not be read
            pass
    except OSError as error:
        remedy = "check that the copy is complete and readable to you"
        raise LedgerError(f"{path} cannot be opened: {error.strerror}; {remedy}") from None
    if status.st_size < 2 * _PAGE:
        raise LedgerCorrupt(
            f"{path} has {status.st_size} bytes and is no ledger: it was cut off, or never completely written"
        )
    try:
        # The map's size is taken from the file, not from what the file says of itself. lib_version=0: the 0.9 engine.
        environment = lmdb.open(
            os.fsdecode(path.parent),
            map_size=-(-status.st_size // _PAGE) * _PAGE,
            readonly=True,
            lock=False,
            create=False,
            max_dbs=len(keys.DATABASES) + 1,
            lib_version=0,
        )
    except lmdb.Error as error:
        if "already open" in str(error):
            raise LedgerError(
                f"{path} is open in this process: close the store first, or check it from another process"
            ) from None
        raise LedgerCorrupt(f"{path} cannot be opened as a ledger: {error}") from None
    return environment, status
