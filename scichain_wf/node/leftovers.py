"""What processes that ended left on this host's tmpfs: found, counted, and removed once nobody can need it.

    outbox, drained outbox   needed until each of its records is on the chain; then it is removed
    ledger tail              worth nothing without its process

An agent holds a lock on its outbox, which the kernel lets go of when the process dies, however it dies and whatever
container it was in. Looking (`found`) takes no lock, since an agent that starts at that moment would be refused its
own. Symbolic links are not followed, and nothing outside this user's own private directory is touched.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, cast

from scichain_wf import limits
from scichain_wf.client.burst import burst_directory, is_burst
from scichain_wf.client.outbox import SERVICE, SHARED_MEMORY, SUFFIX, OutboxReader, user_directory, writer_is_alive
from scichain_wf.client.spool import list_spool
from scichain_wf.crypto.merkle import leaf_hash
from scichain_wf.errors import DecodeError, LedgerError, SubmissionError
from scichain_wf.model import transaction
from scichain_wf.node import shm

_CHAIN: Final = re.compile(r"[0-9a-f]{16}\Z")
_NAME: Final = re.compile(r"(slot|drain|tail)[-.][0-9a-f]{1,32}\Z")
_LOCKS: Final = Path("/proc/locks")

Contains = Callable[[bytes, bytes], bool]
"""Whether the transaction of (key, id) is on a chain."""


class Kind(StrEnum):
    """What a directory is."""

    OUTBOX = "outbox"
    DRAIN = "drained outbox"
    TAIL = "ledger tail"
    LEDGER = "superseded ledger"
    """In the chain's directory, as what follows: see `pruning`."""
    MARKER = "writer's marker"
    BURST = "burst buffer"
    """A chain's own, on a disk of this host."""


_KINDS: Final = {"slot": Kind.OUTBOX, "drain": Kind.DRAIN, "tail": Kind.TAIL}


@dataclass(frozen=True, slots=True)
class Found:
    """One directory of this user on tmpfs.

    Attributes:
        path: where.
        chain: first 16 hex digits of the chain's id.
        kind: what it is.
        held: whether a process of this pid namespace holds it (a tail: any outbox of its chain).
        size_bytes: of the files in it.
    """

    path: Path
    chain: str
    kind: Kind
    held: bool
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one directory: removed (in a dry run: would be), or kept, and why."""

    found: Found
    removed: bool
    reason: str


def found(base: Path = SHARED_MEMORY) -> list[Found]:
    """Everything of this user, in order of name; nothing if the user's directory is not private."""
    listed: list[Found] = []
    locked = _locked()
    for chain in _directories(user_directory(base)):
        if not _CHAIN.match(chain.name):
            continue
        entries = [(entry, match[1]) for entry in _directories(chain) if (match := _NAME.match(entry.name))]
        held = {entry: _identity(entry) in locked for entry, _ in entries}
        anybody = any(held.values())
        for entry, kind in entries:
            is_held = anybody if kind == "tail" else held[entry]
            listed.append(Found(entry, chain.name, _KINDS[kind], is_held, _size_bytes(entry)))
    return listed


def waiting(directory: Path) -> Iterator[bytes]:
    """The transactions in an outbox; those of one that is in use may be committed already.

    Raises:
        SubmissionError: it is gone or not private.
    """
    reader = OutboxReader(directory)
    while frames := reader.read():
        for frame in frames:
            yield frame.data


def clean(chains: dict[str, Contains], base: Path = SHARED_MEMORY, *, dry_run: bool) -> list[Verdict]:
    """Remove what nobody can need any more.

    Args:
        chains: the chains that can be looked into, by the first 16 hex digits of their ids.
        base: the shared memory.
        dry_run: only say what would be done.
    """
    every = found(base)
    verdicts = [
        _clean_outbox(item, chains.get(item.chain), dry_run=dry_run) for item in every if item.kind is not Kind.TAIL
    ]
    in_use = {verdict.found.chain for verdict in verdicts if not verdict.removed and verdict.reason == _IN_USE}
    for item in every:
        if item.kind is Kind.TAIL:
            reason = _IN_USE if item.chain in in_use else _YOUNG if _is_young(item.path) else ""
            verdicts.append(_removed(item, dry_run=dry_run) if not reason else Verdict(item, False, reason))
    if not dry_run:
        _remove_empty(user_directory(base))
    return sorted(verdicts, key=lambda verdict: verdict.found.path)


def clean_burst(base: Path, chain: str, *, dry_run: bool) -> list[Verdict]:
    """Remove what is left of a chain in this host's burst buffer `base`, if nothing waits there.

    Args:
        base: the setting `burst_buffer`.
        chain: first 16 hex digits of the chain's id.
        dry_run: only say what would be done.

    Raises:
        SubmissionError: it is not safe to look at.
    """
    directory = burst_directory(base, bytes.fromhex(chain))
    if not is_burst(base, bytes.fromhex(chain)):
        return []
    held = _identity(directory) in _locked()
    item = Found(directory, chain, Kind.BURST, held, _size_bytes(directory / "new"))
    count = len(list_spool(directory))
    if count:
        return [Verdict(item, False, f"{count} records not on the chain yet; the next run on that chain takes them in")]
    if held or any(_is_young(path) for path in (directory, directory / "tmp", directory / "new")):
        return [Verdict(item, False, _IN_USE if held else _YOUNG)]
    if not dry_run:
        try:
            for torn in (directory / "tmp").iterdir():  # who still writes it finds it gone, and turns elsewhere
                torn.unlink()
            for level in (directory / "tmp", directory / "new", directory):
                level.rmdir()
        except OSError as error:
            return [Verdict(item, False, f"cannot be removed: {error.strerror}")]
    return [Verdict(item, True, "nothing waits in it")]


_IN_USE: Final = "in use by an agent"
_YOUNG: Final = f"younger than {limits.LEFTOVER_AGE_S:.0f} s: an agent may be starting"
_GONE: Final = "gone meanwhile"


def _clean_outbox(item: Found, contains: Contains | None, *, dry_run: bool) -> Verdict:
    if _is_young(item.path):
        return Verdict(item, False, _IN_USE if item.held else _YOUNG)
    try:
        lock = shm.hold(item.path)
    except LedgerError:
        return Verdict(item, False, _IN_USE)
    except OSError:
        return Verdict(item, False, _GONE)
    try:
        reason = _needed(item.path, contains)
        return _removed(item, dry_run=dry_run) if not reason else Verdict(item, False, reason)
    except SubmissionError:
        return Verdict(item, False, _GONE)
    finally:
        os.close(lock)


def _needed(directory: Path, contains: Contains | None) -> str:
    """Why an outbox that no agent holds must stay; empty if it need not."""
    names = [entry.name for entry in os.scandir(directory) if entry.name.endswith(SUFFIX)]
    alive = sorted(name.partition("-")[0] for name in names if writer_is_alive(name))
    if alive:
        return f"process {alive[0]} may still write to it"
    missing = sum(contains is None or not _is_linked(data, contains) for data in waiting(directory))
    if not missing:
        return ""
    where = "of a chain that is not known here (name it: --chain DIR)" if contains is None else "not on the chain yet"
    return f"{missing} records {where}; the next run on that chain takes them in"


def _is_linked(data: bytes, contains: Contains) -> bool:
    try:
        key = bytes.fromhex(cast("str", transaction.parse(data)["key"]))
    except DecodeError:
        return False  # an agent sets it aside where its owner sees it
    return contains(key, leaf_hash(data))


def _removed(item: Found, *, dry_run: bool) -> Verdict:
    if not dry_run:
        try:
            shutil.rmtree(item.path)  # never through a symbolic link
        except OSError as error:
            return Verdict(item, False, f"cannot be removed: {error.strerror}")
    reason = "its process is gone" if item.kind is Kind.TAIL else "its process is gone and its records are committed"
    return Verdict(item, True, reason)


def _remove_empty(user: Path) -> None:
    for directory in [*_directories(user), user]:
        try:
            if [entry.name for entry in directory.iterdir()] == [SERVICE]:
                _remove_dead(directory / SERVICE)
            directory.rmdir()
        except OSError:
            continue  # something is in it


def _remove_dead(path: Path) -> None:
    """Remove a storage node's socket if nobody listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        try:
            trial.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)


def _directories(directory: Path) -> list[Path]:
    """Directories of this user alone in a directory of this user alone."""
    if not _is_private(directory):
        return []
    try:
        entries = sorted(directory.iterdir())
    except OSError:
        return []
    return [entry for entry in entries if _is_private(entry)]


def _is_private(directory: Path) -> bool:
    try:
        status = os.lstat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _is_young(directory: Path) -> bool:
    try:
        return time.time() - os.lstat(directory).st_ctime < limits.LEFTOVER_AGE_S
    except OSError:
        return True


def _size_bytes(directory: Path) -> int:
    try:
        with os.scandir(directory) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except OSError:
        return 0


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = os.lstat(path)
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def _locked() -> set[tuple[int, int]]:
    """(device, inode) of every locked file, as far as the kernel tells."""
    try:
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return set()
    places = [word.split(":") for line in lines for word in line.split() if word.count(":") == 2]
    return {(os.makedev(int(major, 16), int(minor, 16)), int(inode)) for major, minor, inode in places}
