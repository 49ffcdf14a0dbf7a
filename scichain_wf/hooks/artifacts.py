"""What is at a path when a hook looks: the artifact records of inputs and outputs.

A FIFO, socket or device is never opened; a file that cannot be read is recorded as `unhashed`, with the reason
collected for the closing line, and never fails a task. A digest is reused inside one process only while device,
inode, size, modification and change time are the same, and only if the file was already at rest when it was
hashed: two writes within one tick of the file system's clock would otherwise look like one.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from scichain_wf import filehash, limits
from scichain_wf.errors import UsageError
from scichain_wf.filehash import FileDigest, FileKind
from scichain_wf.hooks.naming import Naming
from scichain_wf.model.bodies import ArtifactState
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.text import digest_text

_AT_REST_NS: Final = 2_000_000_000
"""Coarsest clock of a file system that is met (FAT, old NFS): younger digests are not reused."""

Fingerprint = tuple[int, int, int, int]
"""Device, inode, size, modification time: whether a file seen twice within one job is the same."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One input or output as it was when looked at; `fingerprint` is None where nothing was read."""

    path: bytes
    value: JsonObject
    fingerprint: Fingerprint | None


class Artifacts:
    """Looks at paths for one run. Safe in threads.

    Args:
        naming: gives paths their URIs.
        problem: is told what could not be looked at.
    """

    def __init__(self, naming: Naming, problem: Callable[[str], None]) -> None:
        self.naming = naming
        self._problem = problem
        self._digests: dict[tuple[int, ...], FileDigest] = {}

    def look(
        self,
        path: str | bytes,
        role: str,
        *,
        state: ArtifactState | None = None,
        seen_at: str | bytes | None = None,
        uri: str | None = None,
    ) -> Artifact | None:
        """The record of one path; None if it cannot even be named (which is a problem of its own).

        Args:
            path: what the task declares.
            role: what it is to the task.
            state: `pipe` or `unhashed`: not to be opened; any other: recorded in place of `file` and `directory`.
            seen_at: where the content is at the moment, if not at `path` (a shadow directory).
            uri: its name, if not derived from the path (remote storage).
        """
        try:
            value: JsonObject = {"uri": uri or self.naming.uri(path), "role": role}
        except (UsageError, OSError, ValueError) as error:
            self._problem(f"{path!r:.200} is not recorded: {error}")
            return None
        where = self.naming.absolute(path if seen_at is None else seen_at)
        fingerprint = None
        if state in (ArtifactState.PIPE, ArtifactState.UNHASHED):
            value["state"] = state.value
        else:
            try:
                fingerprint = self._read(where, value, state)
            except (OSError, UsageError) as error:
                value["state"] = ArtifactState.UNHASHED.value
                self._problem(f"{value['uri']} is recorded without its digest: {error}")
        return Artifact(where, value, fingerprint)

    def again(self, artifact: Artifact, path: str | bytes, state: ArtifactState | None = None) -> Artifact:
        """The record of the same output a moment later, hashed again only if it is not the same file any more."""
        where = self.naming.absolute(path)
        if artifact.fingerprint is not None and _fingerprint(where) == artifact.fingerprint:
            return artifact
        if artifact.value["state"] in (ArtifactState.PIPE, ArtifactState.UNHASHED):
            return artifact
        found = self.look(path, str(artifact.value["role"]), state=state, uri=str(artifact.value["uri"]))
        return found or artifact

    def _read(self, where: bytes, value: JsonObject, state: ArtifactState | None) -> Fingerprint | None:
        kind = filehash.kind_of(where)
        if kind is FileKind.FILE:
            digest, fingerprint = self._hash_file(where)
        elif kind is FileKind.DIRECTORY:
            digest, fingerprint = filehash.hash_directory(where), None
            if digest.files is not None:
                value["files"] = digest.files
        else:
            states = {FileKind.ABSENT: ArtifactState.ABSENT, FileKind.PIPE: ArtifactState.PIPE}
            value["state"] = states.get(kind, ArtifactState.UNHASHED).value
            return None
        value["state"] = (state or ArtifactState(kind.value)).value
        value["digest"] = digest_text(digest.digest)
        value["size_bytes"] = digest.size_bytes
        value["mtime_us"] = digest.mtime_us
        if not digest.stable:
            value["unstable"] = True
        return fingerprint

    def _hash_file(self, where: bytes) -> tuple[FileDigest, Fingerprint]:
        before, now_ns = os.stat(where), time.time_ns()
        key = (before.st_dev, before.st_ino, before.st_size, before.st_mtime_ns, before.st_ctime_ns)
        digest = self._digests.get(key)
        if digest is None:
            digest = filehash.hash_file(where)
            if digest.stable and before.st_ctime_ns < now_ns - _AT_REST_NS:
                if len(self._digests) >= limits.DIGEST_CACHE_MAX:
                    self._digests.clear()
                self._digests[key] = digest
        return digest, key[:4]


def _fingerprint(where: bytes) -> Fingerprint | None:
    try:
        status = os.stat(where)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
