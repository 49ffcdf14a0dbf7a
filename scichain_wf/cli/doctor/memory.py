"""Shared memory: where hooks leave their records for the agent, and agents keep what they know of the chain."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scichain_wf import limits
from scichain_wf.cli.doctor.check import Check, fail, ok, size, warn
from scichain_wf.client.outbox import user_directory
from scichain_wf.hooks.naming import Mounts

_ROOM: Final = "shared memory"
_OURS: Final = "outboxes"
_MEMORY_KINDS: Final = ("tmpfs", "ramfs")
_NO_AGENTS: Final = "without it no agent can run here, and records wait in the chain's spool"


def memory_checks(base: Path) -> Iterator[Check]:
    """Examine the shared memory that is mounted at `base`."""
    try:
        status = os.stat(base)
        room = os.statvfs(base)
    except OSError as error:
        yield fail(_ROOM, f"{base}: {error.strerror}", f"mount a tmpfs there; {_NO_AGENTS}")
        return
    yield _room(base, status, room)
    yield _ours(user_directory(base))


def _room(base: Path, status: os.stat_result, room: os.statvfs_result) -> Check:
    kind = Mounts().of(os.fsencode(base)).kind
    free, total = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    owner = "" if status.st_uid == 0 else f", owned by user {status.st_uid}"
    noexec = ", noexec (nothing is executed there)" if room.f_flag & os.ST_NOEXEC else ""
    found = f"{kind or 'unknown file system'} at {base}, {size(free)} of {size(total)} free{owner}{noexec}"
    if not stat.S_ISDIR(status.st_mode):
        return fail(_ROOM, f"{base} is not a directory", f"mount a tmpfs there; {_NO_AGENTS}")
    if not os.access(base, os.W_OK | os.X_OK) or room.f_flag & os.ST_RDONLY:
        return fail(_ROOM, f"{found}; it may not be written", f"have it mounted writable; {_NO_AGENTS}")
    if room.f_files and not room.f_favail:
        return fail(_ROOM, f"{found}; no file can be made (no inodes)", "`scichain-wf clean`, or remove files there")
    if free < limits.SHM_FREE_BYTES_MIN:
        remedy = f"remove what others left there, or enlarge it (Docker: --shm-size=256m); {_NO_AGENTS}"
        return fail(_ROOM, found, remedy)
    if kind not in _MEMORY_KINDS:
        return warn(_ROOM, f"{found}; that is not memory", "mount a tmpfs there: tasks write their records to it")
    if free < limits.SHM_FREE_BYTES_LOW:
        return warn(_ROOM, found, "enlarge it (Docker: --shm-size=256m): what does not fit goes the slower way")
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        return warn(_ROOM, f"{found}; without the sticky bit", f"chmod +t {base}: others can move our directories")
    return ok(_ROOM, found)


def _ours(directory: Path) -> Check:
    """The directory of this user's outboxes, which somebody else may have made first."""
    try:
        status = os.lstat(directory)
    except FileNotFoundError:
        return ok(_OURS, f"{directory} is made when a run begins")
    except OSError as error:
        return fail(_OURS, f"{directory}: {error.strerror}", "records go to the spool until it can be looked at")
    remedy = "have it removed: records are not written to it and go to the spool meanwhile"
    if not stat.S_ISDIR(status.st_mode):
        return fail(_OURS, f"{directory} is not a directory", remedy)
    if status.st_uid != os.geteuid():
        return fail(_OURS, f"{directory} belongs to user {status.st_uid}", remedy)
    if status.st_mode & 0o077:
        mode = f"{status.st_mode & 0o777:o}"
        return fail(_OURS, f"{directory} is open to other users (mode {mode})", f"chmod 700 {directory}; {remedy}")
    return ok(_OURS, f"{directory} is private")
