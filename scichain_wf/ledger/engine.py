"""The only contact with LMDB's files: opening, what is checked before opening, and what an error means.

Choices, each for a reason found by trying (ARCHITECTURE.md, "Ledger"):

- `lib_version=0` pins the on-disk format of the 0.9 engine; py-lmdb bundles more than one.
- `writemap=False`: with a writable map a full file system is a SIGBUS, without it an error.
- `lock=False`: LMDB's lock file is a memory map too, which is not coherent across hosts. The single writer is kept
  single by the writer epochs, above this layer. Without the lock file LMDB does not see readers, so a read
  transaction holds only until the second commit after it began; `store` counts and refuses later reads.

Opening a damaged file can abort the process, so `check_file` holds both meta pages against the file's size before LMDB
sees it. That is cheap and not complete: who must survive any file opens it in a child process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeAlias

import lmdb

from scichain_wf import limits
from scichain_wf.errors import LedgerCorrupt, LedgerError, LedgerFull, UnsupportedVersion
from scichain_wf.ledger import keys
from scichain_wf.ledger.layout import DATA_FILE

if TYPE_CHECKING:
    from lmdb import _Database as Database

_ENGINE_VERSION: Final = 0
_DATABASES_MAX: Final = 16
_FILE_MODE: Final = 0o600

# LMDB 0.9, mdb.c: page header (pgno, pad, flags, bounds), then MDB_meta (magic, version, address, map size, two
# MDB_db records of 48 bytes, last page, transaction). Native byte order: another machine's file fails on the magic.
_META = struct.Struct("=8xHHI IIQQ IHHQQQQQ IHHQQQQQ QQ")
_MAGIC: Final = 0xBEEFC0DE
_DATA_VERSION: Final = 1
_META_PAGE_FLAG: Final = 0x08
_NO_PAGE: Final = 2**64 - 1
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FREE_BYTES_TIGHT: Final = 1 << 20

if TYPE_CHECKING:
    Transaction: TypeAlias = lmdb.Transaction[memoryview]
    Cursor: TypeAlias = lmdb.Cursor[memoryview]


@dataclass(frozen=True, slots=True)
class Databases:
    """Handles of the named databases."""

    meta: Database
    links: Database
    blocks: Database
    certificates: Database
    tree: Database
    transactions: Database
    artifacts: Database
    runs: Database
    proposals: Database
    epochs: Database
    subtrees: Database

    @classmethod
    def created(cls, environment: lmdb.Environment, txn: Transaction) -> Self:
        """Make all of them inside the write transaction `txn`."""
        return cls(**{name: environment.open_db(name.encode(), txn=txn) for name in keys.DATABASES})

    @classmethod
    def opened(cls, environment: lmdb.Environment) -> Self:
        """Open all of them; writes nothing.

        Raises:
            lmdb.NotFoundError: one is missing.
        """
        # Without `txn`: py-lmdb drops handles that were opened in a read transaction of the caller's.
        handles = {name: environment.open_db(name.encode(), create=False) for name in keys.DATABASES}
        return cls(**handles)


class FileState(NamedTuple):
    """What the newest meta page says of a data file."""

    page_bytes: int
    last_page: int
    transaction: int


def data_file(directory: Path) -> Path:
    """The environment's data file, if it can be read.

    Raises:
        LedgerError: `directory` is not a directory with a readable regular data file.
    """
    path = directory / DATA_FILE
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if not os.path.exists(directory):  # unlike pathlib, never raises
            reason = "does not exist; check the path"
        elif not os.path.isdir(directory):
            reason = "is not a directory; name the directory that holds data.mdb"
        else:
            reason = "is not a ledger: it holds no data.mdb; check the path, or create a chain there"
        raise LedgerError(f"{directory} {reason}") from None
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror}; the directory needs search permission for this user") from None
    if not stat.S_ISREG(mode):
        raise LedgerError(f"{path} is not a regular file; check the path")
    return path


def check_file(directory: Path) -> FileState:
    """Hold the meta pages against the file, without LMDB.

    A file may end inside a page (a killed or refused write), but not before the last page in use.

    Raises:
        LedgerError: absent or unreadable.
        LedgerCorrupt: not LMDB's format, or shorter than its newest meta page says.
        UnsupportedVersion: of a newer LMDB format.
    """
    path = data_file(directory)
    try:
        with path.open("rb", buffering=0) as file:
            first = file.read(_META.size)
            page_bytes = _meta(path, first)[0] if len(first) == _META.size else 0
            file.seek(page_bytes)
            second = file.read(_META.size)
            size_bytes = os.fstat(file.fileno()).st_size  # after the metas: a live writer extends the file first
    except OSError as error:
        raise LedgerError(f"{path}: cannot be read ({error.strerror}); this user needs read permission") from None
    if not page_bytes or len(second) < _META.size or size_bytes < 2 * page_bytes:
        raise LedgerCorrupt(f"{path}: {size_bytes} bytes are too few for a ledger; restore it from a snapshot")
    newest = max(_meta(path, first), _meta(path, second), key=lambda meta: meta[3])
    page_bytes, root, last_page, transaction = newest
    if root != _NO_PAGE and root > last_page:
        raise LedgerCorrupt(f"{path}: its root page {root} lies beyond its last page {last_page}; restore a snapshot")
    if size_bytes < (last_page + 1) * page_bytes:
        raise LedgerCorrupt(
            f"{path}: truncated: {size_bytes} bytes, its {last_page + 1} pages need {(last_page + 1) * page_bytes}; "
            "restore it from a snapshot"
        )
    return FileState(page_bytes, last_page, transaction)


def _meta(path: Path, data: bytes) -> tuple[int, int, int, int]:
    """Page size, root page of the main database, last page in use and transaction of one meta page."""
    fields = _META.unpack(data)
    flags, magic, version = fields[1], fields[3], fields[4]
    if magic != _MAGIC or not flags & _META_PAGE_FLAG:
        raise LedgerCorrupt(f"{path} is not an LMDB file of this byte order; check the path, or restore a snapshot")
    if version > _DATA_VERSION:
        raise UnsupportedVersion(
            f"{path} is of LMDB format {version}; this scichain-wf reads up to {_DATA_VERSION}: install a newer one"
        )
    page_bytes = fields[7]
    if version != _DATA_VERSION or not (256 <= page_bytes <= 65_536 and page_bytes & (page_bytes - 1) == 0):
        raise LedgerCorrupt(f"{path}: a meta page is damaged; restore it from a snapshot")
    return page_bytes, fields[22], fields[23], fields[24]


def open_environment(
    directory: Path, *, readonly: bool, map_bytes: int, create: bool = False, readahead: bool = False
) -> lmdb.Environment:
    """Open LMDB on `directory`, which must exist.

    Raises:
        lmdb.Error: for `failure` to explain.
    """
    return lmdb.Environment(
        str(directory),
        map_size=map_bytes,
        readonly=readonly,
        create=create,
        mode=_FILE_MODE,
        max_dbs=_DATABASES_MAX,
        writemap=False,
        sync=True,
        metasync=True,
        lock=False,
        readahead=readahead,
        lib_version=_ENGINE_VERSION,
    )


def map_bytes_for(used_bytes: int, reserve_bytes: int) -> int:
    """Smallest map of the growth sequence that leaves `reserve_bytes` free; steps double and are bounded."""
    size = limits.MAP_BYTES_START
    while size < used_bytes + reserve_bytes:
        size += min(size, limits.MAP_BYTES_STEP_MAX)
    return size


def failure(error: lmdb.Error, path: Path, doing: str) -> LedgerError:
    """What an LMDB error means for the user.

    Args:
        error: what LMDB raised.
        path: of the ledger.
        doing: what was being done, for the message.
    """
    if isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError | lmdb.InvalidError):
        return LedgerCorrupt(f"{path}: damaged, found while {doing} ({error}); verify it, and restore a snapshot")
    code = getattr(error, "code", 0)  # errors of py-lmdb itself have none
    free = free_bytes(path)
    if code in _FULL or (code == errno.EIO and _out_of_room(path, free)):
        return LedgerFull(
            f"{path}: no room left while {doing} ({_shown(free)} free); everything acknowledged before is kept and "
            "readable: free space or raise the quota"
        )
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return LedgerError(f"{path}: not permitted while {doing} ({error}); open it read-only, or as its owner")
    if code == errno.EIO:
        return LedgerError(
            f"{path}: input/output error while {doing} ({_shown(free)} free); everything acknowledged before is kept: "
            "check the disk and the quota, then start again"
        )
    return LedgerError(f"{path}: failed while {doing} ({error}); everything acknowledged before is kept: start again")


def free_bytes(path: Path) -> int | None:
    """What an unprivileged user can still write there; None where the file system does not say."""
    try:
        state = os.statvfs(path)
    except OSError:
        return None
    return state.f_bavail * state.f_frsize


def _out_of_room(path: Path, free: int | None) -> bool:
    """Whether an EIO means that there is no room: LMDB calls any short write so, and that fills what is left."""
    if free is not None and free < _FREE_BYTES_TIGHT:
        return True
    try:
        import resource  # not there on Windows, where chains are only read
    except ImportError:  # pragma: no cover
        return False
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    with contextlib.suppress(OSError):
        return limit != resource.RLIM_INFINITY and (path / DATA_FILE).stat().st_size >= limit
    return False


def _shown(free: int | None) -> str:
    return "unknown bytes" if free is None else f"{free} bytes"
