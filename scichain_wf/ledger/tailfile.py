"""The LMDB file under a ledger tail: bounded, on tmpfs, never in doubt after an error.

The map is as large as the file may ever become, so the bound holds whatever happens. `sync=False`: on tmpfs there is
nothing to sync to, a crash of the process loses nothing that was committed (the kernel has the pages), and a crash of
the host loses tmpfs as a whole. `lock=False`: one process, one thread, reads that end before the next write.

A write can find no room in two ways: the map is full, or tmpfs itself is (LMDB reports a short write as EIO). Either
way the write is undone, the file is opened anew where LMDB's state is in doubt, and `NoRoom` says so; who called makes
room and writes again. LMDB copies pages on write, so even deleting needs a little room: `recreate` begins an empty
file for the case that not even that is left.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import lmdb

from scichain_wf.errors import LedgerError, LedgerFull
from scichain_wf.ledger import engine
from scichain_wf.ledger.layout import DATA_FILE

if TYPE_CHECKING:
    from lmdb import _Database as Database

    from scichain_wf.ledger.engine import Cursor, Transaction

T = TypeVar("T")
_ENGINE_VERSION: Final = 0  # the 0.9 format, as the chain store's
_MODE: Final = 0o600


class NoRoom(Exception):
    """The write was undone: map or tmpfs is full."""


class TailFile:
    """One LMDB environment in `directory` with the named databases, at most `bytes_max` large.

    Raises:
        LedgerError: the directory cannot be used.
        LedgerCorrupt: there is something that is no LMDB file, or a damaged one.
    """

    def __init__(self, directory: Path, bytes_max: int, databases: tuple[str, ...]) -> None:
        self.directory, self.bytes_max = directory, bytes_max
        self._names = databases
        self._reader: Transaction | None = None
        self._cursors: dict[str, Cursor] = {}
        data = directory / DATA_FILE
        if data.exists():
            engine.check_file(directory)
            if data.stat().st_size > bytes_max:
                raise LedgerError(f"{directory} holds a ledger tail of more than {bytes_max} bytes; remove it")
        self._open()

    def _open(self) -> None:
        try:
            self._env = lmdb.Environment(
                str(self.directory),
                map_size=self.bytes_max,
                mode=_MODE,
                max_dbs=len(self._names),
                writemap=False,  # a full tmpfs would be a SIGBUS
                sync=False,
                metasync=False,
                lock=False,
                readahead=False,
                lib_version=_ENGINE_VERSION,
            )
            self.db: dict[str, Database] = {name: self._env.open_db(name.encode()) for name in self._names}
            self._page_bytes = self._env.stat()["psize"]
        except lmdb.Error as error:
            raise engine.failure(error, self.directory, "opening the ledger tail") from error

    def get(self, name: str, key: bytes) -> bytes | None:
        """A copy of the value of `key` in one database; `LedgerError` if the file cannot be read."""
        try:
            data = self._reading().get(key, db=self.db[name])
        except lmdb.Error as error:
            raise engine.failure(error, self.directory, "reading the ledger tail") from error
        return None if data is None else bytes(data)

    def cursor(self, name: str) -> Cursor:
        """A cursor over one database, good until the next write; `LedgerError` if the file cannot be read."""
        cursor = self._cursors.get(name)
        if cursor is None:
            try:
                cursor = self._cursors[name] = self._reading().cursor(self.db[name])
            except lmdb.Error as error:
                raise engine.failure(error, self.directory, "reading the ledger tail") from error
        return cursor

    def _reading(self) -> Transaction:
        """One read transaction for all reads between two writes: beginning one costs more than a read."""
        if self._reader is None:
            self._reader = self._env.begin(buffers=True)
        return self._reader

    def _end_reading(self) -> None:
        self._cursors.clear()
        if self._reader is not None:
            self._reader.abort()
            self._reader = None

    def live_bytes(self) -> int:
        """Bytes of pages in use; the file may be larger by what was freed."""
        reader = self._reading()
        stats = [self._env.stat(), *(reader.stat(db) for db in self.db.values())]
        pages = sum(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"] for stat in stats)
        return int(pages * self._page_bytes)

    def write(self, change: Callable[[Transaction], T]) -> T:
        """Run `change` in a write transaction: all of it or nothing.

        Raises:
            NoRoom: nothing changed; make room and write again.
            LedgerError: nothing changed, for another reason.
        """
        self._end_reading()
        try:
            with self._env.begin(write=True, buffers=True) as txn:
                return change(txn)
        except lmdb.MapFullError:
            raise NoRoom from None
        except lmdb.Error as error:
            reason = engine.failure(error, self.directory, "writing the ledger tail")
            self._env.close()  # LMDB does not say what its memory holds after a failed commit; the file does
            self._open()
            if isinstance(reason, LedgerFull):
                raise NoRoom from error
            raise reason from error

    def recreate(self) -> None:
        """Begin an empty file; gives back what the old one held."""
        self.close()
        (self.directory / DATA_FILE).unlink(missing_ok=True)
        self._open()

    def close(self) -> None:
        """Release the file. Idempotent."""
        self._end_reading()
        self._env.close()
