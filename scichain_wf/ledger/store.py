"""The authoritative chain on disk: one writer, group commits, readers in the same process.

What is promised (tests kill the writer at every phase and fail every system call once):

- `begin` commits all of its blocks or none; when it returns they are fsynced, and nothing is acknowledged before.
- After a failed commit or fsync nobody knows what LMDB's map holds, so the store refuses every later call; reopening
  finds the last durable commit.
- A full disk or quota is `LedgerFull`; a full map grows and is not an error.
- Opening creates and writes nothing.

Not done here: keeping a second writer away (writer epochs), deciding what may be appended (the storage node),
verifying (the audit).
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

import lmdb

from scichain_wf import limits
from scichain_wf.crypto import merkle
from scichain_wf.errors import (
    InvariantViolation,
    LedgerBusy,
    LedgerCorrupt,
    LedgerError,
    LedgerFull,
    UnsupportedVersion,
)
from scichain_wf.ledger import engine, files, keys
from scichain_wf.ledger.batch import AppendBatch
from scichain_wf.ledger.engine import Databases
from scichain_wf.ledger.layout import DATA_FILE
from scichain_wf.ledger.prepared import prepared
from scichain_wf.ledger.view import ChainView, Located, Version
from scichain_wf.model.link import Mode

if TYPE_CHECKING:
    from scichain_wf.ledger.engine import Transaction
    from scichain_wf.model.block import Block

__all__ = ["AppendBatch", "ChainStore", "ChainView", "Located", "Version"]

T = TypeVar("T")

_RESERVE_BYTES: Final = 4 * limits.BLOCK_BYTES_MAX
"""What a batch finds free in the map at least, whatever the batches before it were."""
_DIRECTORY_MODE: Final = 0o700


class _MapFull(LedgerFull):
    """The batch did not fit the map; the map has grown since."""


class ChainStore:
    """A handle on one ledger directory. py-lmdb refuses a second one in a process: pass the store around.

    `begin`, `append_all` and `snapshot` exclude each other across threads; views do not wait for anybody.
    """

    def __init__(self, directory: Path, environment: lmdb.Environment, databases: Databases, *, readonly: bool) -> None:
        self.path, self.readonly = directory, readonly
        self._env, self._dbs = environment, databases
        self._page_bytes = environment.stat()["psize"]
        self._exclusive = threading.RLock()
        self._count_lock = threading.Lock()
        self._writing = False
        self._views = 0
        self._commits = 0
        self._largest_bytes = 0
        self._refusal: str | None = None

    # --- opening and closing ------------------------------------------------------------------------
    @classmethod
    def create(cls, directory: Path, genesis: Block) -> Self:
        """Begin a chain: `genesis` becomes the link at height 0, whose hash is the chain's id.

        The ledger is made aside and moved into place, so that a half-made one is never seen.

        Raises:
            LedgerError: there is a ledger already, or the directory cannot be written.
            DecodeError: the genesis is malformed.
        """
        block = prepared(genesis)
        made = False
        temporary: str | None = None
        try:
            if os.path.lexists(directory / DATA_FILE):
                raise files.exists(directory)
            made = not directory.exists()
            directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
            temporary = tempfile.mkdtemp(prefix=".create-", dir=directory)
            environment = engine.open_environment(
                Path(temporary), readonly=False, create=True, map_bytes=limits.MAP_BYTES_START
            )
            try:
                with environment.begin(write=True, buffers=True) as txn:
                    batch = AppendBatch(txn, Databases.created(environment, txn), lambda: None)
                    link = batch.append(
                        block, mode=Mode.EPOCH, certificate=None, epoch=0, writer=0, time_us=genesis.header.time_us
                    )
                    meta = environment.open_db(keys.META.encode(), txn=txn)
                    txn.put(keys.META_FORMAT, b"%d" % keys.FORMAT, db=meta)
                    txn.put(keys.META_CHAIN, merkle.leaf_hash(link.encode()), db=meta)
            finally:
                environment.close()
            files.move_file(Path(temporary, DATA_FILE), directory)
            made = False
        except lmdb.Error as error:
            raise engine.failure(error, directory, "creating the ledger") from error
        except OSError as error:
            raise files.os_failure(error, directory, "creating the ledger") from error
        finally:
            if temporary is not None:
                files.discard(temporary)
            if made:
                with suppress(OSError):  # the first error is the one to tell
                    directory.rmdir()
        return cls.open(directory)

    @classmethod
    def open(cls, directory: Path, *, readonly: bool = False, readahead: bool = False) -> Self:
        """Open a ledger; writes nothing, so read-only media and files of mode 0444 will do for `readonly`.

        Args:
            directory: the one that holds `data.mdb`.
            readonly: refuse appends, and open the file for reading only.
            readahead: let the system read ahead; for reading the whole chain in order.

        Raises:
            LedgerError: absent, unreadable, or some other LMDB environment.
            LedgerCorrupt: not an LMDB file, or truncated.
            UnsupportedVersion: made by a newer scichain-wf.
        """
        environment, databases = _opened(directory, readonly=readonly, readahead=readahead)
        return cls(directory, environment, databases, readonly=readonly)

    def reopen(self) -> None:
        """After a failed commit: open the file again, as another process would. No view or batch may be open.

        Raises:
            LedgerError: as of `open`; the store refuses every later call.
        """
        with self._exclusive:
            if self._views or self._writing:
                raise InvariantViolation("ledger: opened again while it is in use")
            self.close()
            self._env, self._dbs = _opened(self.path, readonly=self.readonly)
            self._refusal = None

    def close(self) -> None:
        """Release the file. Idempotent; no view or batch may be open."""
        if self._refusal is None:
            self._refusal = "was closed; open it again"
        self._env.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- reading ------------------------------------------------------------------------------------
    @contextmanager
    def view(self) -> Iterator[ChainView]:
        """A consistent view of the newest commit, for a short time.

        LMDB does not see readers here (no lock file), so pages of a view may be reused from the second commit after it
        began: reads are refused from then on. Do not keep views open across commits.

        Raises:
            LedgerError: while reading too, if the ledger was written on meanwhile.
        """
        self._check_usable()
        began, closed = self._commits, False

        def alive() -> None:
            if closed or self._refusal is not None or self._commits - began > 1:
                raise LedgerError(self._refused() if self._refusal else f"{self.path}: this view is over; open another")

        txn = self._begin_reading()
        with self._count_lock:
            self._views += 1
        try:
            yield ChainView(txn, self._dbs, alive)
            overtaken = self._overtaken(txn)
        except LedgerError:  # what a reused page looks like, LMDB has many names for
            if not self._overtaken(txn):
                raise
            overtaken = True
        finally:
            closed = True
            txn.abort()
            with self._count_lock:
                self._views -= 1
        if overtaken:
            raise LedgerBusy(
                f"{self.path}: its storage node wrote on while it was read; read again, or read a snapshot"
            )

    # --- writing ------------------------------------------------------------------------------------
    @contextmanager
    def begin(self) -> Iterator[AppendBatch]:
        """A group commit: leaving normally commits and fsyncs, an exception aborts and nothing has changed.

        Raises:
            LedgerFull: the disk or quota is full; or the batch was larger than the map, which has grown since: run
                it again (`append_all` does).
            LedgerError: the commit failed; the store refuses every later call.
        """
        with self._exclusive:
            self._check_writable()
            self._grow_ahead()
            before = self._env.info()["last_pgno"]
            txn, batch = self._begin_writing()
            try:
                yield batch
                if not batch.whole:
                    raise InvariantViolation("ledger: a batch with a half-done append was about to be committed")
                txn.commit()
            except lmdb.MapFullError as error:
                txn.abort()
                self._grow(self._env.info()["map_size"] + 1)
                raise _MapFull(f"{self.path}: the batch did not fit the map, which has grown; append again") from error
            except lmdb.Error as error:
                self._refusal = f"failed to commit ({error}); open it again to see what is durable"
                raise engine.failure(error, self.path, "appending to the ledger") from error
            finally:
                self._writing = False
                txn.abort()  # does nothing after a commit
            self._commits += 1
            grown = (self._env.info()["last_pgno"] - before) * self._page_bytes
            self._largest_bytes = max(self._largest_bytes, grown)

    def append_all(self, fn: Callable[[AppendBatch], T]) -> T:
        """Run `fn` in a batch, again after the map has grown if it was too small. `fn` must be repeatable."""
        while True:
            try:
                with self.begin() as batch:
                    result = fn(batch)
            except _MapFull:
                continue
            return result

    def snapshot(self, target: Path) -> None:
        """A consistent, compacted copy of the ledger in the new directory `target`, durable when this returns.

        Raises:
            LedgerError: `target` exists, or cannot be written.
            LedgerFull: there is no room for it.
        """
        self._check_usable()
        temporary: str | None = None
        try:
            if os.path.lexists(target):
                raise LedgerError(f"{target} exists already; name a new directory for the snapshot")
            with self._exclusive:  # a commit during the copy would reuse its pages
                self._check_usable()
                if self._writing:
                    raise InvariantViolation("ledger: a snapshot inside a batch")
                temporary = tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent)
                self._env.copy(temporary, compact=True)
            files.sync(Path(temporary, DATA_FILE))
            files.sync(Path(temporary))
            Path(temporary).rename(target)
            temporary = str(target)  # a name that may not last is taken back
            files.sync(target.parent)
            temporary = None
        except lmdb.Error as error:
            raise engine.failure(error, target.parent, "writing a snapshot") from error
        except OSError as error:
            raise files.os_failure(error, target.parent, "writing a snapshot") from error
        finally:
            if temporary is not None:
                files.discard(temporary)

    # --- inside -------------------------------------------------------------------------------------
    def _refused(self) -> str:
        return f"{self.path} {self._refusal}"

    def _check_usable(self) -> None:
        if self._refusal is not None:
            raise LedgerError(self._refused())

    def _check_writable(self) -> None:
        self._check_usable()
        if self.readonly:
            raise LedgerError(f"{self.path} was opened read-only; open it for writing to append")
        if self._writing:
            raise InvariantViolation("ledger: a batch inside a batch")

    def _begin_reading(self) -> Transaction:
        try:
            try:
                return self._env.begin(buffers=True)
            except lmdb.MapResizedError:
                self._env.set_mapsize(0)  # another process made it grow: take over its size
                return self._env.begin(buffers=True)
        except lmdb.Error as error:
            raise engine.failure(error, self.path, "reading the ledger") from error

    def _begin_writing(self) -> tuple[Transaction, AppendBatch]:
        def alive() -> None:
            if not self._writing:
                raise LedgerError(f"{self.path}: this batch is over; begin a new one")

        try:
            txn = self._env.begin(write=True, buffers=True)
        except lmdb.Error as error:
            raise engine.failure(error, self.path, "beginning to append") from error
        self._writing = True
        try:
            return txn, AppendBatch(txn, self._dbs, alive)
        except BaseException:
            self._writing = False
            txn.abort()
            raise

    def _overtaken(self, txn: Transaction) -> bool:
        """Whether pages of `txn` may have been reused; the process that writes checks at every read instead."""
        return self.readonly and self._env.info()["last_txnid"] - txn.id() > 1

    def _grow_ahead(self) -> None:
        info = self._env.info()
        used = (info["last_pgno"] + 1) * self._page_bytes
        wanted = used + max(4 * self._largest_bytes, _RESERVE_BYTES)
        if info["map_size"] < wanted and not self._views:
            self._grow(wanted)

    def _grow(self, wanted_bytes: int) -> None:
        if self._views:
            raise LedgerFull(f"{self.path}: the map is full and cannot grow while it is read; close all views first")
        try:
            self._env.set_mapsize(engine.map_bytes_for(wanted_bytes, 0))
        except lmdb.Error as error:
            self._refusal = f"lost its map, which could not grow ({error}); open it again"
            raise LedgerFull(
                f"{self.path}: the map cannot grow to {wanted_bytes} bytes ({error}); raise the limit of address "
                "space, then open the ledger again"
            ) from error


def _opened(directory: Path, *, readonly: bool, readahead: bool = False) -> tuple[lmdb.Environment, Databases]:
    state = engine.check_file(directory)
    used = (state.last_page + 1) * state.page_bytes
    map_bytes = engine.map_bytes_for(used, 0 if readonly else _RESERVE_BYTES)
    try:
        environment = engine.open_environment(directory, readonly=readonly, map_bytes=map_bytes, readahead=readahead)
        try:
            _check_format(directory, environment)
            return environment, Databases.opened(environment)
        except BaseException:
            environment.close()
            raise
    except lmdb.NotFoundError as error:
        raise LedgerCorrupt(f"{directory}: a database is missing ({error}); restore a snapshot") from None
    except lmdb.Error as error:
        raise engine.failure(error, directory, "opening the ledger") from error


def _check_format(directory: Path, environment: lmdb.Environment) -> None:
    try:
        meta = environment.open_db(keys.META.encode(), create=False)
        with environment.begin() as txn:
            text = txn.get(keys.META_FORMAT, db=meta)
    except lmdb.NotFoundError:
        text = None
    if text is None:
        raise LedgerError(f"{directory} holds an LMDB environment that is not a scichain-wf ledger; check the path")
    if not text.isdigit() or text.startswith(b"0"):
        raise LedgerCorrupt(f"{directory}: {keys.META}: the format is {text!r:.40}; restore a snapshot")
    if int(text) > keys.FORMAT:
        raise UnsupportedVersion(
            f"{directory} is of ledger format {int(text)}; this scichain-wf reads {keys.FORMAT}: install a newer one"
        )
