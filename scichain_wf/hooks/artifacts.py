"""What is at a path when a hook looks: the artifact records of inputs and outputs.

A FIFO, socket or device is never opened; a file that cannot be read is recorded as `unhashed`, with the reason
collected for the closing line, and never fails a task. How much is read is the policy's (`digests`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from scichain_wf import filehash, limits
from scichain_wf.errors import UsageError
from scichain_wf.filehash import FileDigest, FileKind
from scichain_wf.hooks.digests import Digests, Hashing, HashPolicy
from scichain_wf.hooks.naming import Naming
from scichain_wf.model.bodies import ArtifactState
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.text import digest_text

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
        hashing: how much of a file is read.
        digests: what is known already.
    """

    def __init__(
        self,
        naming: Naming,
        problem: Callable[[str], None],
        hashing: Hashing | None = None,
        digests: Digests | None = None,
    ) -> None:
        self.naming = naming
        self._problem = problem
        self._hashing = hashing or Hashing()
        always = self._hashing.policy is HashPolicy.ALWAYS
        self._file_digest: Callable[..., FileDigest] = filehash.hash_file if always else (digests or Digests()).of

    def look_all(self, paths: Sequence[str | bytes], roles: Sequence[str]) -> list[Artifact]:
        """The records of many paths, in their order, without those that cannot be named; big files side by side."""
        wanted = zip(paths, roles, strict=True)
        looks = ((self.size_bytes(path), partial(self.look, path, role)) for path, role in wanted)
        return [found for found in filehash.in_order(looks) if found is not None]

    def look(
        self,
        path: str | bytes,
        role: str,
        *,
        state: ArtifactState | None = None,
        seen_at: str | bytes | None = None,
        uri: str | None = None,
        inside: dict[bytes, FileDigest] | None = None,
    ) -> Artifact | None:
        """The record of one path; None if it cannot even be named (which is a problem of its own).

        Args:
            path: what the task declares.
            role: what it is to the task.
            state: `pipe` or `unhashed`: not to be opened; any other: recorded in place of `file` and `directory`.
            seen_at: where the content is at the moment, if not at `path` (a shadow directory).
            uri: its name, if not derived from the path (remote storage).
            inside: takes the digests of the files of a directory, for `members`.
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
                fingerprint = self._read(path, where, value, state, inside)
            except (OSError, UsageError) as error:
                value["state"] = ArtifactState.UNHASHED.value
                self._problem(f"{value['uri']} is recorded without its digest: {_reason(error)}")
        return Artifact(where, value, fingerprint)

    def again(
        self, artifact: Artifact, path: str | bytes, state: ArtifactState | None = None, *, touched: bool = False
    ) -> Artifact:
        """The record of the same output a moment later; a file is hashed again only if it is not the same any more.

        Args:
            artifact: what was found before.
            path: what the task declares.
            state: as for `look`.
            touched: whether the engine gives outputs a new time. Then one that has nothing else new is not read again;
                a write in the short while before that looks the same, and is found by whoever verifies.
        """
        where = self.naming.absolute(path)
        if artifact.value["state"] == ArtifactState.PIPE:
            return artifact
        if artifact.fingerprint is None:  # a directory is not read twice, only noticed to be gone
            same = artifact.value["state"] != ArtifactState.ABSENT and os.path.exists(where)
        else:
            same = _fingerprint(where) == artifact.fingerprint
            if touched and not same and (now := _touched(where, artifact.fingerprint)) is not None:
                return Artifact(where, artifact.value | {"mtime_us": now[3] // 1_000}, now)
        if same:
            return artifact
        found = self.look(path, str(artifact.value["role"]), state=state, uri=str(artifact.value["uri"]))
        return found or artifact

    def members(self, inside: Mapping[bytes, FileDigest], role: str) -> list[JsonObject]:
        """Records of files in a directory that was just hashed, the first DIRECTORY_MEMBERS_MAX by name.

        For a directory whose files other tasks read one by one: each of them is then a version of its own.
        """
        values = []
        for path in sorted(inside)[: limits.DIRECTORY_MEMBERS_MAX]:
            value: JsonObject = {"uri": self.naming.uri(path), "role": role}
            self._describe(value, inside[path], ArtifactState.FILE)
            values.append(value)
        return values

    def changed(self, artifact: Artifact) -> bool:
        """Whether the file that was looked at is not the same any more."""
        return artifact.fingerprint is not None and _fingerprint(artifact.path) != artifact.fingerprint

    def _read(
        self,
        path: str | bytes,
        where: bytes,
        value: JsonObject,
        state: ArtifactState | None,
        inside: dict[bytes, FileDigest] | None,
    ) -> Fingerprint | None:
        try:
            status = os.stat(where)
        except (FileNotFoundError, NotADirectoryError):
            value["state"] = ArtifactState.ABSENT.value
            return None
        kind = filehash.kind_of_mode(status.st_mode)
        if kind not in (FileKind.FILE, FileKind.DIRECTORY) or self._hashing.policy is HashPolicy.OFF:
            value["state"] = (ArtifactState.PIPE if kind is FileKind.PIPE else ArtifactState.UNHASHED).value
            return None
        try:
            if self._hashing.of(path, status) is HashPolicy.SIZE_MTIME:
                return _read_nothing(status, value)
            file_digest = self._file_digest if inside is None else partial(_noting, inside, self._file_digest)
            is_file = kind is FileKind.FILE
            found = self._file_digest(where) if is_file else filehash.hash_directory(where, file_digest)
        except FileNotFoundError:
            if filehash.kind_of(where) is not FileKind.ABSENT:
                raise  # something in a directory went
            value["state"] = ArtifactState.ABSENT.value
            return None
        self._describe(value, found, state or ArtifactState(kind.value))
        return None if found.identity is None else found.identity[:4]

    def _describe(self, value: JsonObject, found: FileDigest, state: ArtifactState) -> None:
        value["state"] = state.value
        value["digest"] = digest_text(found.digest)
        value["size_bytes"] = found.size_bytes
        value["mtime_us"] = found.mtime_us
        if found.files is not None:
            value["files"] = found.files
        if not found.stable:
            value["unstable"] = True
        if self._hashing.policy is HashPolicy.ALWAYS:
            value["policy"] = "full"

    def size_bytes(self, path: str | bytes) -> int:
        """What reading it takes, as far as can be told."""
        try:
            status = os.stat(self.naming.absolute(path))
        except (OSError, ValueError):
            return 0
        return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _reason(error: OSError | UsageError) -> str:
    if not isinstance(error, OSError) or error.filename is None:
        return str(error)
    return f"{os.fsdecode(error.filename)}: {error.strerror}"


def _noting(
    inside: dict[bytes, FileDigest], file_digest: Callable[..., FileDigest], path: bytes, **more: bool
) -> FileDigest:
    found = inside[path] = file_digest(path, **more)
    return found


def _read_nothing(status: os.stat_result, value: JsonObject) -> Fingerprint | None:
    value["state"] = ArtifactState.UNHASHED.value
    value["policy"] = HashPolicy.SIZE_MTIME.value
    value["mtime_us"] = status.st_mtime_ns // 1_000
    if not stat.S_ISREG(status.st_mode):
        return None
    value["size_bytes"] = status.st_size
    return filehash.identity(status)[:4]


def _fingerprint(where: bytes) -> Fingerprint | None:
    try:
        status = os.stat(where)
    except OSError:
        return None
    return filehash.identity(status)[:4] if stat.S_ISREG(status.st_mode) else None


def _touched(where: bytes, before: Fingerprint) -> Fingerprint | None:
    """The fingerprint of a file that is as before but for `utime` to the present, which sets both times alike."""
    try:
        status = os.stat(where)
    except OSError:
        return None
    now = filehash.identity(status)[:4]
    return now if now[:3] == before[:3] and status.st_atime_ns == status.st_mtime_ns else None
