"""The burst buffer: a spool on a disk of this host, for what the outboxes of its agents do not take.

    DIR                           the setting `burst_buffer`: the user's own, or the system's with a sticky bit
        scichain-<uid>/<chain>/   ours alone (0700), a maildir as in `spool`

It comes before the spool on shared storage, which is slower, but only on a host that has agents: nobody else reads it.
One of them does, the one that holds a lock on the directory. Unlike an outbox it survives a restart of the machine:
each record is synced before it counts as kept. Standard library only.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from scichain_wf.client.outbox import check_private, create_outbox, outbox_directory
from scichain_wf.client.spool import keep
from scichain_wf.errors import SubmissionError

_LEVELS: Final = 2
"""scichain-<uid> and the chain's, below DIR."""


def burst_directory(base: Path, chain: bytes) -> Path:
    """The spool of `chain` (32 bytes) below the configured directory."""
    return outbox_directory(chain, 0, base).parent


def write_burst(base: Path, chain: bytes, data: bytes) -> None:
    """Keep the canonical bytes of one transaction, synced.

    Raises:
        SubmissionError: the place is not safe, or there is no room.
    """
    check_base(base)
    directory = burst_directory(base, chain)
    create_outbox(directory, _LEVELS)
    try:
        keep(directory, data, sync=True)
    except OSError as error:
        raise SubmissionError(f"burst buffer {base}: {error.strerror}") from None


def is_burst(base: Path, chain: bytes) -> bool:
    """Whether there is a spool of `chain` that can be read safely.

    Raises:
        SubmissionError: there is one that cannot.
    """
    check_base(base)
    directory = burst_directory(base, chain)
    if not os.path.lexists(directory):
        return False
    check_private(directory, _LEVELS)
    return True


def check_base(base: Path) -> None:
    """Whether nobody else can put something else in the place of what we make in `base`.

    Raises:
        SubmissionError: it is missing, no directory, another user's, or others can rename what is in it.
    """
    try:
        status = os.lstat(base)
    except OSError as error:
        raise _refused(base, f"{error.strerror}; make it, or name another directory") from None
    if not stat.S_ISDIR(status.st_mode):
        raise _refused(base, "not a directory (a symlink is not followed); name the directory itself")
    if status.st_uid not in (0, os.geteuid()):
        raise _refused(base, f"belongs to user {status.st_uid}; name one of your own or of root's")
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        raise _refused(base, f"others can rename what is in it; chmod +t {base}, or name another directory")


def _refused(base: Path, why: str) -> SubmissionError:
    return SubmissionError(f"burst buffer {base}: {why}")
