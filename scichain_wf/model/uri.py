"""What an artifact is called: one file has one URI, however a task spells its path.

Forms (RFC 3986 syntax):

- `work:<root id>/<path>`: inside a registered workflow root; two workflows on one chain never collide.
- `file:///<path>`: on a file system every host sees; `file://<host>/<path>`: on one host only.
- `value:<run>/<task>/<try>`: a value that travelled between tasks without a file.
- anything else with a scheme: a remote store's own query (`s3://bucket/key`), taken as it is.

In the first three, every byte outside RFC 3986's unreserved set and `/` is escaped with upper-case hex, and
nothing else is. Empty, `.` and `..` segments do not exist: symlinks and relative spellings are resolved by who
looks at the file system (not here). Paths are bytes: POSIX names need not be text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from scichain_wf import limits
from scichain_wf.crypto.hashing import sha256
from scichain_wf.errors import DecodeError, UsageError
from scichain_wf.model.fast import repeated
from scichain_wf.model.schema import Mismatch, shown

ROOT_ID_CHARS: Final = 16

# An escape may not stand for an unreserved character (it would give a file a second name), for `/` or for NUL.
_ESCAPE = r"%(?!00|2[DEF]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])[0-9A-F]{2}"
# Possessive runs: nothing that a run takes could match otherwise, and not coming back halves the time.
_SEGMENT = r"(?!\.\.?(?:[/\"]|\Z))" + repeated(rf"(?:[A-Za-z0-9._~-]++|{_ESCAPE})", "+")  # a quote ends it in a record
_PATH = _SEGMENT + repeated(f"(?:/{_SEGMENT})", "*")
_HOST = r"[a-z0-9_-][a-z0-9._-]*"  # lower case: host names are the same in both, and a file has one name
_TRY = r"[1-9][0-9]{0,15}(?:\Z|\")"
_FORMS = (
    rf"work:[0-9a-f]{{{ROOT_ID_CHARS}}}/{_PATH}"
    rf"|file://(?:{_HOST})?/{_PATH}"
    rf"|value:[0-9a-f]{{32}}/(?=[^\"]*/{_TRY}){_PATH}"
    r"|(?!(?:work|file|value):)[a-z][a-z0-9+.-]*:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]++"
)
_matches = re.compile(_FORMS).fullmatch
_CACHED_CHARS_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class ArtifactUri:
    """A parsed URI: `scheme`, `authority` (root id, host or run; empty for shared files) and `path` as bytes."""

    scheme: str
    authority: str
    path: bytes


def root_id(host: str, path: bytes) -> str:
    """Id of a workflow root: stable over re-runs, so that versions of a file line up.

    Args:
        host: host name where the root is node-local, or "" on a shared file system.
        path: absolute path with symlinks resolved.
    """
    return sha256(b"scichain-wf/1/root\0" + host.encode() + b"\0" + path).hex()[:ROOT_ID_CHARS]


def work_uri(root: str, relative: bytes) -> str:
    """URI of a file inside a workflow root; `relative` has no leading slash and no dot segments."""
    return _checked(f"work:{root}/{_escape(relative)}")


def file_uri(path: bytes, host: str = "") -> str:
    """URI of a file outside every root; `path` is absolute, `host` empty on shared file systems."""
    if not path.startswith(b"/"):
        raise UsageError(f"{path!r:.90} is not an absolute path")
    return _checked(f"file://{host.lower()}{_escape(path)}")


def value_uri(run: str, task: str, attempt: int) -> str:
    """URI of a value that try `attempt` (from 1) of a task returned; `run` is 32 hex digits."""
    return _checked(f"value:{run}/{_escape(task.encode())}/{attempt}")


def parse(uri: str) -> ArtifactUri:
    """Split a URI; the inverse of `work_uri` and `file_uri`.

    Raises:
        DecodeError: not one of the forms, or not in its one spelling.
    """
    try:
        check_uri(uri)
    except Mismatch as mismatch:
        raise DecodeError(mismatch.reason) from None
    scheme, _, rest = uri.partition(":")
    if scheme == "file":
        host, _, path = rest[2:].partition("/")
        return ArtifactUri("file", host, b"/" + unquote_to_bytes(path))
    if scheme in ("work", "value"):
        authority, _, path = rest.partition("/")
        return ArtifactUri(scheme, authority, unquote_to_bytes(path))
    return ArtifactUri(scheme, "", rest.encode())


def check_uri(uri: object) -> None:
    """Raise `Mismatch` unless `uri` is an artifact URI in its one spelling."""
    if type(uri) is not str:
        raise Mismatch(f"expected an artifact URI, found {type(uri).__name__}")
    if not 3 <= len(uri) <= limits.URI_BYTES_MAX:
        raise Mismatch(f"artifact URI of {len(uri)} characters; allowed are 3 to {limits.URI_BYTES_MAX}")
    if not is_uri(uri):
        raise Mismatch(f"{shown(uri)} is not an artifact URI in canonical spelling")


def is_uri(uri: str) -> bool:
    """Whether `check_uri` has nothing to refuse."""
    if len(uri) > _CACHED_CHARS_MAX:  # so that whoever sends long ones cannot fill the cache with megabytes
        return _is_uri(uri)
    return _is_known_uri(uri)


def _is_uri(uri: str) -> bool:
    return 3 <= len(uri) <= limits.URI_BYTES_MAX and _matches(uri) is not None


_is_known_uri = lru_cache(maxsize=16_384)(_is_uri)  # outputs come back as inputs


class UriField:
    """Schema field of an artifact URI."""

    def check(self, value: object) -> None:
        check_uri(value)

    def regex(self) -> str:
        return rf'"(?![^"]{{{limits.URI_BYTES_MAX + 1}}})(?:{_FORMS})"'

    def json_schema(self) -> dict[str, object]:
        return {"type": "string", "format": "uri", "minLength": 3, "maxLength": limits.URI_BYTES_MAX}


def _escape(path: bytes) -> str:
    if b"\0" in path:
        raise UsageError(f"{path!r:.90} contains a NUL byte")
    return quote_from_bytes(path, safe="/")


def _checked(uri: str) -> str:
    try:
        check_uri(uri)
    except Mismatch as mismatch:
        raise UsageError(mismatch.reason) from None
    return uri
