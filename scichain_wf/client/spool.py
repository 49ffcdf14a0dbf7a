"""The spool: where a transaction waits on shared storage when no agent of this host takes it.

A maildir beside the chain: a file is written in `tmp/` and renamed into `new/`, so a reader sees whole files only.
The storage host's agent adopts them. Writing neither waits nor syncs (the hook path never does), except to the disk of
a host (`burst`). What is read back is held to be hostile: only a regular file with one link, of the expected user, of
bounded size, never through a symlink. Standard library only.
"""

from __future__ import annotations

import heapq
import os
import socket
import stat
import time
from collections.abc import Container
from pathlib import Path
from typing import Final

from scichain_wf import limits
from scichain_wf.errors import SubmissionError

SUFFIX: Final = ".tx"


def write_spool(spool_dir: Path, data: bytes, mark: str = "") -> Path:
    """Keep the canonical bytes of one transaction; returns the file, whose name begins with `mark`.

    Raises:
        SubmissionError: it could not be kept: no room, no permission, or over the limit.
    """
    try:
        return keep(spool_dir, data, mark=mark)
    except OSError as error:
        raise SubmissionError(
            f"spool {spool_dir}: {error.strerror}; the record is lost unless there is room again: free space or quota, "
            "then re-run the task"
        ) from None


def keep(spool_dir: Path, data: bytes, *, sync: bool = False, mark: str = "") -> Path:
    """As `write_spool`, but raises OSError for what the file system says; `sync`: survives a restart of the machine."""
    if not 0 < len(data) <= limits.TRANSACTION_BYTES_MAX:
        raise SubmissionError(f"a transaction has 1 to {limits.TRANSACTION_BYTES_MAX} bytes, not {len(data)}")
    host = "".join(c if c.isalnum() or c in "-." else "_" for c in socket.gethostname())[:64]
    name = f"{mark}{time.time_ns() // 1000:016d}.{os.getpid()}.{os.urandom(4).hex()}.{host}{SUFFIX}"
    temporary, final = spool_dir / "tmp" / name, spool_dir / "new" / name
    try:
        for directory in (spool_dir, temporary.parent, final.parent):
            directory.mkdir(mode=0o700, exist_ok=True)
        _write_new(temporary, data, sync=sync)
        os.rename(temporary, final)
    except OSError:
        _remove(temporary)
        raise
    if sync:
        _sync(final.parent)
    return final


def takes_records(spool_dir: Path) -> bool:
    """Whether records of this user would be kept here, and read: they have to be those of the chain's own user."""
    chain = spool_dir.parent
    try:
        # Its storage nodes are of whom `writers` is, which need not be whose directory it was made in.
        owners = {path.stat().st_uid for path in (chain, chain / "writers", spool_dir) if path.exists()}
    except OSError:
        return False
    return owners == {os.geteuid()} and os.access(chain, os.W_OK)


def list_spool(spool_dir: Path, skip: Container[str] = ()) -> list[Path]:
    """Files that wait, oldest first, at most SPOOL_LIST_MAX; none if there is no spool.

    Args:
        spool_dir: the spool.
        skip: names that are known already.

    Raises:
        SubmissionError: it cannot be read.
    """
    try:
        with os.scandir(spool_dir / "new") as entries:
            wanted = (entry.name for entry in entries if entry.name.endswith(SUFFIX) and entry.name not in skip)
            names = heapq.nsmallest(limits.SPOOL_LIST_MAX, wanted)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise SubmissionError(f"spool {spool_dir}: {error.strerror}") from None
    return [spool_dir / "new" / name for name in names]


def read_spool(path: Path, owner: int | None = None) -> bytes:
    """Bytes of one spool file.

    Args:
        path: what `list_spool` gave.
        owner: the user id it must belong to; this process's by default.

    Raises:
        SubmissionError: it is not a regular file with one link, not the owner's, empty or over the limit.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SubmissionError(f"spool file {path}: {error.strerror} (a symlink is not followed)") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise SubmissionError(f"spool file {path}: not a regular file with one link")
        if status.st_uid != (os.geteuid() if owner is None else owner):
            raise SubmissionError(f"spool file {path}: belongs to user {status.st_uid}")
        if not 0 < status.st_size <= limits.TRANSACTION_BYTES_MAX:
            raise SubmissionError(f"spool file {path}: has {status.st_size} bytes")
        data = os.read(fd, limits.TRANSACTION_BYTES_MAX + 1)
    except OSError as error:
        raise SubmissionError(f"spool file {path}: {error.strerror}") from None
    finally:
        os.close(fd)
    if len(data) != status.st_size:
        raise SubmissionError(f"spool file {path}: changed while it was read")
    return data


def _write_new(path: Path, data: bytes, *, sync: bool) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if os.write(fd, data) != len(data):
            raise OSError(28, "no space left on device")
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass  # it is in tmp/, where nobody reads
