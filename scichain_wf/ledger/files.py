"""Moving what was made aside into its place, durably; what an operating system's error means."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from scichain_wf.errors import LedgerError, LedgerFull
from scichain_wf.ledger.layout import DATA_FILE


def exists(directory: Path) -> LedgerError:
    """The refusal to create over a ledger."""
    return LedgerError(f"{directory} holds a ledger already, left as it is: open it, or choose another directory")


def move_file(source: Path, directory: Path) -> None:
    """Give a complete file its name, never over another, and make the name durable."""
    target = directory / DATA_FILE
    try:
        os.link(source, target)
    except FileExistsError:
        raise exists(directory) from None
    except OSError:  # no hard links here (FAT, some FUSE)
        if os.path.lexists(target):
            raise exists(directory) from None
        source.rename(target)
    try:
        sync(directory)
        sync(directory.parent)
    except OSError:  # a name that may not last is taken back: the caller is told that nothing was created
        target.unlink()
        raise


def discard(path: str) -> None:
    """Remove what was being made; what resists stays, under a name that nobody takes for a ledger."""
    with suppress(OSError):  # rmtree raises some of them even so
        shutil.rmtree(path, ignore_errors=True)


def sync(path: Path) -> None:
    """Make the content of a file, or the names in a directory, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def os_failure(error: OSError, path: Path, doing: str) -> LedgerError:
    """What an error of the operating system means for the user."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return LedgerFull(f"{path}: no room left while {doing} ({error.strerror}); free space or raise the quota")
    return LedgerError(f"{path}: {error.strerror} while {doing}; check that the directory exists and may be written")
