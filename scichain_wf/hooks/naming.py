"""From paths to artifact URIs: one file, one name, however a task spells its path.

A path is made absolute against the workflow's own directory (a job may have changed the process's), its symlinks
are resolved, and it is named inside the innermost registered root, or by its absolute path. A path on a file
system that only this host sees carries the host's name; which ones those are is read from the mount table.
Paths are bytes throughout. Nothing is cached: a symlink may point elsewhere in the next task.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from scichain_wf import limits
from scichain_wf.errors import UsageError
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.uri import ROOT_ID_CHARS, file_uri, root_id, work_uri

SHARED_FILE_SYSTEMS: Final = frozenset(
    [
        *("9p", "acfs", "afs", "beegfs", "ceph", "cifs", "daos", "fhgfs", "fuse.ceph", "fuse.cvmfs2", "fuse.dfuse"),
        *("fuse.glusterfs", "fuse.juicefs", "fuse.s3fs", "fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "nfs"),
        *("nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs"),
    ]
)
"""File systems on which a path means the same file on every host."""

_MOUNTS: Final = Path("/proc/self/mountinfo")
_MOUNT_BYTES_MAX: Final = 8 << 20
_O_PATH: Final = getattr(os, "O_PATH", 0)
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")
_ROOT_ID: Final = re.compile(rf"[0-9a-f]{{{ROOT_ID_CHARS}}}")
_HOST_CHARS: Final = re.compile(r"[^A-Za-z0-9._-]")


def host_name() -> str:
    """This host's name in the characters a URI's authority takes."""
    return _HOST_CHARS.sub("_", socket.gethostname())[: limits.NAME_CHARS_MAX] or "localhost"


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a file system is mounted, and its type."""

    point: bytes
    kind: str

    @property
    def shared(self) -> bool:
        """Whether every host sees the same files there."""
        return self.kind in SHARED_FILE_SYSTEMS


@dataclass(frozen=True, slots=True)
class Root:
    """A registered workflow root: `path` is absolute and resolved; `host` is where it was registered."""

    id: str
    host: str
    path: bytes
    mount: bytes

    def value(self, chain_dir: bytes) -> JsonObject:
        """As recorded in `run-start`, with the root as seen from the chain's directory."""
        return {
            "id": self.id,
            "host": self.host,
            "path": _escaped(self.path),
            "mount": _escaped(self.mount),
            "from_chain": _escaped(os.path.relpath(self.path, chain_dir)),
        }

    def handed_over(self) -> str:
        """For a process on another host that takes part in the run: there the mount types may say something else."""
        return f"{self.id}:{_escaped(self.path)}"


class Mounts:
    """The mount table of this process, read once; every path is node-local where there is none."""

    def __init__(self, table: bytes | None = None) -> None:
        self._mounts = _parse_mounts(_read_table() if table is None else table)

    def of(self, path: bytes) -> Mount:
        """The mount that holds an absolute, resolved path."""
        for mount in self._mounts:
            if path == mount.point or path.startswith(mount.point.rstrip(b"/") + b"/"):
                return mount
        return Mount(b"/", "unknown")


class Naming:
    """Names paths for one run.

    Attributes:
        host: this host's name.
        roots: the registered roots, innermost first.
    """

    def __init__(
        self,
        directories: Sequence[str | bytes | os.PathLike[str]],
        mounts: Mounts | None = None,
        handed_over: str = "",
    ) -> None:
        """Register roots; the first is what relative paths start from.

        Args:
            directories: the roots.
            mounts: default: this process's.
            handed_over: what `Root.handed_over` said of a root elsewhere: the same path is the same root here.
        """
        self.host = host_name()
        known, _, path = handed_over.partition(":")
        self._known = {unquote_to_bytes(path): known} if _ROOT_ID.fullmatch(known) else {}
        self._mounts = mounts or Mounts()
        resolved = [os.path.realpath(os.fsencode(directory)) for directory in directories]
        self._inside = resolved[0].rstrip(b"/") + b"/"
        self.roots = tuple(self._root(path) for path in sorted(set(resolved), key=len, reverse=True))

    def absolute(self, path: str | bytes) -> bytes:
        """`path` against the workflow's directory, symlinks kept."""
        path = os.fsencode(path)
        return path if path.startswith(b"/") else self._inside + path

    def uri(self, path: str | bytes) -> str:
        """The artifact URI of `path`, whether or not something is there.

        Raises:
            UsageError: the path cannot be named (NUL, longer than URI_BYTES_MAX).
        """
        resolved = _resolved(self.absolute(path))
        for root in self.roots:
            inside = root.path.rstrip(b"/") + b"/"
            if resolved.startswith(inside) and len(resolved) > len(inside):
                return work_uri(root.id, resolved[len(inside) :])
        if resolved == b"/":
            raise UsageError("the root directory of the file system cannot be an artifact")
        return file_uri(resolved, "" if self._mounts.of(resolved).shared else self.host)

    def _root(self, path: bytes) -> Root:
        mount = self._mounts.of(path)
        known = self._known.get(path) or root_id("" if mount.shared else self.host, path)
        return Root(known, self.host, path, mount.point)


def _resolved(path: bytes) -> bytes:
    """`os.path.realpath` of an absolute path, mostly by asking the kernel once instead of for every component."""
    found = _kernels(path)
    if found is None:
        directory, name = os.path.split(path)
        if name not in (b"", b".", b"..") and not os.path.lexists(path):  # what a task is going to make
            found = _kernels(directory)
            found = None if found is None else os.path.join(found, name)
    return os.path.realpath(path) if found is None else found


def _kernels(path: bytes) -> bytes | None:
    """What the kernel calls what is at `path`; None if nothing is there, or it cannot be asked."""
    if not _O_PATH:
        return None
    try:
        descriptor = os.open(path, _O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.readlink(b"/proc/self/fd/%d" % descriptor)
        # Of what was just removed it would add a word.
        return found if found.startswith(b"/") and os.fstat(descriptor).st_nlink else None
    except OSError:
        return None  # no /proc here
    finally:
        os.close(descriptor)


def _read_table() -> bytes:
    try:
        with _MOUNTS.open("rb") as table:
            return table.read(_MOUNT_BYTES_MAX)
    except OSError:
        return b""


def _parse_mounts(table: bytes) -> list[Mount]:
    """Mounts, longest mount point first; of two on one point the later one covers the earlier."""
    mounts: dict[bytes, Mount] = {}
    for line in table.splitlines():
        fields, separator, source = line.partition(b" - ")
        parts = fields.split(b" ")
        if separator and len(parts) > 4:
            point = _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), parts[4])
            mounts[point] = Mount(point, source.split(b" ")[0].decode("ascii", "replace"))
    return sorted(mounts.values(), key=lambda mount: len(mount.point), reverse=True)


def _escaped(path: bytes) -> str:
    return quote_from_bytes(path, safe="/")
