"""One file on disk against one record of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, cast

from scichain_wf import limits
from scichain_wf.audit.result import FileState
from scichain_wf.errors import UsageError
from scichain_wf.filehash import FileKind, hash_directory, hash_file, kind_of
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.text import digest_bytes

_LEAVES: Final = frozenset({"temporary", "absent", "pipe"})
"""States whose file may be gone."""
_FAILED: Final = frozenset({"failed", "interrupted"})
"""Engines delete the outputs of such tasks."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a file stands to its record. `code` names the finding it makes, if any; `actual` says what was found."""

    state: FileState
    code: str = ""
    expected: str = ""
    actual: str = ""
    digest: bytes | None = None


def compare(path: bytes, record: JsonObject, task: JsonObject) -> Comparison:
    """Look at `path` and hold it against an output record of `task` (a task's body)."""
    try:
        return _compare(path, record, task)
    except (OSError, UsageError) as error:
        return Comparison(FileState.UNREADABLE, "file-unreadable", "", str(error))


def recorded_digest(record: JsonObject) -> bytes | None:
    """The digest an output record states."""
    text = cast("str | None", record.get("digest"))
    return None if text is None else digest_bytes(text)


def _compare(path: bytes, record: JsonObject, task: JsonObject) -> Comparison:
    state, wanted = record["state"], recorded_digest(record)
    kind = kind_of(path, follow_symlinks=False)
    is_link = kind is FileKind.SYMLINK
    if is_link:
        kind = kind_of(path)
    if kind is FileKind.ABSENT:
        if state in _LEAVES or task["status"] in _FAILED:
            return Comparison(FileState.GONE)
        return Comparison(FileState.MISSING, "file-missing", "" if wanted is None else wanted.hex(), "nothing")
    if state == "pipe" and kind is FileKind.PIPE:
        return Comparison(FileState.GONE)
    if state == "pipe":
        return Comparison(FileState.CHANGED, "file-kind", "a pipe", f"a {kind.value}")
    if state == "absent":
        return Comparison(FileState.UNHASHED, "file-present", "nothing", kind.value)
    if wanted is None:
        return _without_digest(path, record)
    is_directory = state == "directory" or "files" in record
    if kind is not (FileKind.DIRECTORY if is_directory else FileKind.FILE):
        return Comparison(
            FileState.CHANGED, "file-kind", "a directory" if is_directory else "a file", f"a {kind.value}"
        )
    size, there = cast("int | None", record.get("size_bytes")), os.stat(path).st_size
    if not is_directory and size is not None and there > max(size, limits.HASH_OTHER_SIZE_BYTES_MAX):
        return Comparison(FileState.CHANGED, "file-changed", _shown(wanted, size), f"{there} bytes, which are not read")
    found = hash_directory(path) if is_directory else hash_file(path)
    if found.digest != wanted:
        if not found.stable:
            return Comparison(FileState.UNREADABLE, "file-unstable")
        return Comparison(
            FileState.CHANGED,
            "file-changed",
            _shown(wanted, record.get("size_bytes")),
            _shown(found.digest, found.size_bytes),
            found.digest,
        )
    return Comparison(
        FileState.MATCH, "file-replaced" if is_link else "", "", "a symbolic link" if is_link else "", found.digest
    )


def _without_digest(path: bytes, record: JsonObject) -> Comparison:
    """All that is recorded is a size, if that."""
    size = record.get("size_bytes")
    if size is not None and kind_of(path) is FileKind.FILE:
        found = os.stat(path).st_size
        if found != size:
            return Comparison(FileState.CHANGED, "file-changed", f"{size} bytes", f"{found} bytes")
    return Comparison(FileState.UNHASHED)


def _shown(digest: bytes, size: object) -> str:
    return f"sha256:{digest.hex()}" + (f" ({size} bytes)" if size is not None else "")
