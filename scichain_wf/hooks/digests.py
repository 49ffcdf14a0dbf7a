"""How much of a file is read for its record, and digests that need not be computed again.

A digest is reused only while device, inode, size, modification and change time are the same, and only if the file had
been at rest for FILE_AT_REST_S when it was hashed: two writes within one tick of a file system's clock would otherwise
look like one. What is not noticed: writes through a memory map that was dirty before (the kernel sets no new time).

Beside what a process remembers there is one table for all processes of this user on this host, in the user's cache
directory (mode 0600), for files worth it:

    table = DIGEST_TABLE_BUCKETS buckets of 4 entries
    entry = device, inode, size, mtime_ns, ctime_ns (8 bytes each, big endian) | digest (32) | CRC-32 of both | 4 zeros

A bucket is found by the CRC-32 of the five numbers. Readers and writers need no lock: a torn entry fails its CRC, and
a lost one is computed again. Nothing that verifies reads this table: `verify` hashes what is there. A table that is
not this user's alone is not used; what the user himself puts in it would be found by the first `verify`.
"""

from __future__ import annotations

import os
import stat
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scichain_wf import filehash, limits
from scichain_wf.filehash import FileDigest, Identity
from scichain_wf.model.canonical import JsonObject

if TYPE_CHECKING:
    from scichain_wf.config import Config

_KEY: Final = struct.Struct(">QQQqq")
_ENTRY: Final = struct.Struct(">40s32sI4x")
_SUMMED_BYTES: Final = 72
_WAYS: Final = 4
_AT_REST_NS: Final = int(limits.FILE_AT_REST_S * 1e9)


class HashPolicy(StrEnum):
    """How much of a file is read for its record."""

    ALWAYS = "always"
    """All of it, each time; the record says `policy: full`."""
    CACHED = "cached"
    """All of it, unless it was read before and has not changed since."""
    SIZE_MTIME = "size-mtime"
    """Nothing: size and time only; the record says `unhashed` and `policy: size-mtime`."""
    OFF = "off"
    """Nothing; the record says `unhashed`."""


@dataclass(frozen=True, slots=True)
class Hashing:
    """Which policy holds for which file.

    Attributes:
        policy: of every file that no exception is made for.
        size_mtime_patterns: of these only size and time are recorded: shell patterns over the path as the workflow
            spells it, or over its last part.
        size_mtime_above_mib: the same for files of more mebibytes; None: for none.
    """

    policy: HashPolicy = HashPolicy.CACHED
    size_mtime_patterns: tuple[str, ...] = ()
    size_mtime_above_mib: int | None = None

    @classmethod
    def configured(cls, config: Config, policy: HashPolicy | None = None) -> Hashing:
        """As configured; `policy`, if given, in place of the configured one."""
        policy = policy or HashPolicy(config.hash_policy)
        return cls(policy, config.size_mtime_patterns, config.size_mtime_above_mib)

    def of(self, path: str | bytes, status: os.stat_result) -> HashPolicy:
        """The policy for what is at `path`; the size counts for regular files only."""
        if self.policy in (HashPolicy.SIZE_MTIME, HashPolicy.OFF):
            return self.policy
        mib_max = self.size_mtime_above_mib
        if mib_max is not None and stat.S_ISREG(status.st_mode) and status.st_size > mib_max << 20:
            return HashPolicy.SIZE_MTIME
        if self.size_mtime_patterns:
            spelled = os.fsdecode(path)
            names = spelled, os.path.basename(spelled.rstrip("/"))
            if any(fnmatchcase(name, pattern) for pattern in self.size_mtime_patterns for name in names):
                return HashPolicy.SIZE_MTIME
        return self.policy

    def value(self) -> JsonObject:
        """As recorded with the run."""
        value: JsonObject = {"hash": self.policy.value}
        if self.size_mtime_patterns:
            value["size_mtime_patterns"] = [*self.size_mtime_patterns]
        if self.size_mtime_above_mib is not None:
            value["size_mtime_above_mib"] = self.size_mtime_above_mib
        return value


def shared_table(host: str) -> Path | None:
    """Where this user's processes on `host` share digests; None if the user has no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.expanduser("~/.cache")
    return Path(base, "scichain-wf", f"digests-1-{host}") if os.path.isabs(base) else None


class Digests:
    """Digests of regular files, computed or known. Safe in threads, over forks and beside other processes.

    Args:
        table: the shared table; None: this process only.
    """

    def __init__(self, table: Path | None = None) -> None:
        self._known: dict[Identity, FileDigest] = {}
        self._table = table
        self._fd: int | None = None

    def __del__(self) -> None:
        if self._fd is not None and self._fd >= 0:
            os.close(self._fd)

    def of(self, path: bytes, *, follow_symlinks: bool = True) -> FileDigest:
        """As `filehash.hash_file`, which says what it raises."""
        begun_ns = time.time_ns()
        identity = filehash.identity(os.stat(path, follow_symlinks=follow_symlinks))
        known = self._known.get(identity) or self._stored(identity)
        if known is not None:
            return known
        found = filehash.hash_file(path) if follow_symlinks else filehash.hash_file(path, follow_symlinks=False)
        if found.identity is not None and found.stable and found.identity[4] < begun_ns - _AT_REST_NS:
            self._remember(found.identity, found)
            self._store(found.identity, found.digest)
        return found

    def _remember(self, identity: Identity, found: FileDigest) -> None:
        if len(self._known) >= limits.DIGEST_CACHE_MAX:
            self._known.clear()
        self._known[identity] = found

    def _stored(self, identity: Identity) -> FileDigest | None:
        fd = self._opened(identity)
        if fd < 0:
            return None
        key, at = _placed(identity)
        for entry in _entries(fd, at):
            found, digest, checksum = _ENTRY.unpack(entry)
            if found == key and checksum == zlib.crc32(entry[:_SUMMED_BYTES]):
                known = FileDigest(digest, identity[2], identity[3] // 1_000, stable=True, identity=identity)
                self._remember(identity, known)
                return known
        return None

    def _store(self, identity: Identity, digest: bytes) -> None:
        """In place of an older state of the same file, else of nothing, else of any."""
        fd = self._opened(identity)
        if fd < 0:
            return
        key, at = _placed(identity)
        entries = list(_entries(fd, at))
        ways = [way for way, entry in enumerate(entries) if entry[:16] == key[:16]]
        ways += [way for way in range(_WAYS) if way >= len(entries) or not any(entries[way])]
        way = ways[0] if ways else digest[0] % _WAYS
        entry = _ENTRY.pack(key, digest, zlib.crc32(key + digest))
        try:
            os.pwrite(fd, entry, at + way * _ENTRY.size)
        except OSError:
            pass  # a full disk or quota: the next one computes it again

    def _opened(self, identity: Identity) -> int:
        """Descriptor of the table if it may serve for such a file, else -1."""
        if identity[2] < limits.DIGEST_SHARED_BYTES_MIN or self._table is None:
            return -1
        if self._fd is None:
            self._fd = _open_table(self._table)
        return self._fd


def _open_table(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError:
        return -1
    status = os.fstat(fd)
    private = status.st_uid == os.geteuid() and not status.st_mode & 0o077 and status.st_nlink == 1
    if not stat.S_ISREG(status.st_mode) or not private:
        os.close(fd)
        return -1
    return fd


def _placed(identity: Identity) -> tuple[bytes, int]:
    """A file's key, and where its bucket begins."""
    key = _KEY.pack(*identity)
    return key, zlib.crc32(key) % limits.DIGEST_TABLE_BUCKETS * _WAYS * _ENTRY.size


def _entries(fd: int, at: int) -> Iterator[bytes]:
    try:
        bucket = os.pread(fd, _WAYS * _ENTRY.size, at)
    except OSError:
        return
    for begin in range(0, len(bucket) - _ENTRY.size + 1, _ENTRY.size):
        yield bucket[begin : begin + _ENTRY.size]
