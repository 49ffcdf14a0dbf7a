"""The chain's file system: everything the ledger relies on, tried for real in a directory of its own.

The trials use a second process, because that is what they are about: a lock that two processes get, or a memory map
that does not show what another process wrote, damages chains without any error.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scichain_wf import limits
from scichain_wf.cli.doctor.check import Check, fail, ok, size, warn
from scichain_wf.hooks.naming import Mounts

_ELSEWHERE: Final = "put the chain on another file system: --chain DIR"
_FLEETING: Final = {
    "tmpfs": "memory: it is gone when this machine restarts, or the job ends",
    "ramfs": "memory: it is gone when this machine restarts",
    "overlay": "a container's own layer: it is gone with the container",
}
_PURGED: Final = re.compile(
    r"(?:^|[-_.\d])(?:scratch|tmp|temp|purged?|volatile|flush|shortterm)\d*(?:$|[-_.])", re.IGNORECASE
)
_HELPER: Final = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
for line in sys.stdin:
    try:
        if line.startswith("lock"):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(fd, fcntl.LOCK_UN)
            answer = "granted"
        else:
            os.pwrite(fd, line.split()[1].encode() * 4096, 0)
            answer = "written"
    except BlockingIOError:
        answer = "refused"
    except OSError as error:
        answer = error.strerror
    print(answer, flush=True)
"""
_ROUNDS: Final = 8


def place_checks(chain_dir: Path) -> Iterator[Check]:
    """Examine where the chain is, or would be made; leaves nothing behind."""
    place = chain_dir
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        yield fail("chain directory", f"{place} is not a directory", "name another: --chain DIR")
        return
    yield _kind(place, chain_dir)
    yield _purge(Path(os.path.realpath(chain_dir)))
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=place) as trials:
            yield from _tried(Path(trials))
            yield _room(Path(trials))
    except OSError as error:
        remedy = f"verifying works, recording does not; {_ELSEWHERE}"
        yield fail("chain directory", f"{place}: nothing can be written there: {error.strerror}", remedy)


def _kind(place: Path, chain_dir: Path) -> Check:
    mount = Mounts().of(os.fsencode(os.path.realpath(place)))
    whose = ", shared between hosts" if mount.shared else ""
    found = f"{chain_dir} on {mount.kind or 'an unknown file system'} at {os.fsdecode(mount.point)}{whose}"
    if mount.kind in _FLEETING:
        remedy = f"keep a snapshot elsewhere (`scichain-wf ledger snapshot`), or {_ELSEWHERE}"
        return warn("file system", f"{found}, {_FLEETING[mount.kind]}", remedy)
    return ok("file system", found)


def _purge(path: Path) -> Check:
    """Whether the path's name says that files there are removed after a while."""
    suspicious = [part for part in path.parts if _PURGED.search(part)]
    if not suspicious:
        return ok("purge", "no part of the path sounds like scratch space")
    remedy = f"keep checkpoints and snapshots elsewhere (`scichain-wf ledger snapshot`), or {_ELSEWHERE}"
    return warn("purge", f"{suspicious[0]!r} sounds like space that is purged", remedy)


def _tried(trials: Path) -> Iterator[Check]:
    for name, trial in _TRIALS:
        try:
            wrong = trial(trials)
        except OSError as error:
            wrong = error.strerror or str(error)
        yield ok(name, _GOOD[name]) if wrong is None else fail(name, wrong, _ELSEWHERE)


def _exclusive(trials: Path) -> str | None:
    path, flags = trials / "exclusive", os.O_CREAT | os.O_EXCL | os.O_WRONLY
    os.close(os.open(path, flags, 0o600))
    try:
        os.close(os.open(path, flags, 0o600))
    except FileExistsError:
        return None
    return "a file could be created twice (O_EXCL)"


def _links(trials: Path) -> str | None:
    source, target = trials / "source", trials / "target"
    source.touch()
    os.link(source, target)
    if os.stat(source).st_ino != os.stat(target).st_ino:
        return "a hard link is another file"
    try:
        os.link(source, target)
    except FileExistsError:
        return None
    return "a hard link was made over an existing file"


def _locks(trials: Path) -> str | None:
    path = trials / "lock"
    path.touch()
    with path.open("rb+") as file, _second_process(path) as ask:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        while_held = ask("lock")
        fcntl.flock(file, fcntl.LOCK_UN)
        after = ask("lock")
    if (while_held, after) == ("refused", "granted"):
        return None
    return f"two processes locked one file: while it was locked {while_held}, then {after}"


def _maps(trials: Path) -> str | None:
    path = trials / "map"
    path.write_bytes(bytes(mmap.PAGESIZE))
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), mmap.PAGESIZE, access=mmap.ACCESS_READ) as seen,
        _second_process(path) as ask,
    ):
        for number in range(_ROUNDS):
            letter = chr(ord("a") + number)
            answer = ask(f"write {letter}")
            if answer != "written":
                return f"a second process could not write: {answer}"
            if seen[:4096] != letter.encode() * 4096:
                return "a memory map does not show what another process wrote"
    return None


def _synced(trials: Path) -> str | None:
    with (trials / "synced").open("wb") as file:
        file.write(bytes(limits.TRIAL_BYTES))
        file.flush()
        os.fsync(file.fileno())
    descriptor = os.open(trials, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return None


_TRIALS: Final[tuple[tuple[str, Callable[[Path], str | None]], ...]] = (
    ("exclusive creation", _exclusive),
    ("hard links", _links),
    ("locks", _locks),
    ("memory maps", _maps),
    ("fsync", _synced),
)
_GOOD: Final = {
    "exclusive creation": "a file is created once only",
    "hard links": "made, and never over another file",
    "locks": "a second process is kept out until the first lets go",
    "memory maps": f"show what a second process writes ({_ROUNDS} times)",
    "fsync": f"{size(limits.TRIAL_BYTES)} and its directory are on disk",
}


def _room(place: Path) -> Check:
    room = shutil.disk_usage(place)
    inodes = os.statvfs(place)
    found = f"{size(room.free)} of {size(room.total)} free; a quota would not show before it is reached"
    if inodes.f_files and not inodes.f_favail:
        return fail("room", f"{found}; no inode is left", "remove files, or have the quota raised")
    if room.free < limits.DISK_FREE_BYTES_MIN:
        return fail("room", found, f"free space or have the quota raised; or {_ELSEWHERE}")
    if room.free < limits.DISK_FREE_BYTES_LOW:
        return warn("room", found, "a chain grows by about a kilobyte per task; free space in time")
    return ok("room", found)


@contextmanager
def _second_process(path: Path) -> Iterator[Callable[[str], str]]:
    """A process that has `path` open; asked by line, it answers by line."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", _HELPER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    stdin, stdout = process.stdin, process.stdout
    if stdin is None or stdout is None:
        raise OSError("no pipes")

    def ask(line: str) -> str:
        stdin.write(line + "\n")
        stdin.flush()
        return stdout.readline().strip()

    try:
        yield ask
    finally:
        process.communicate()
