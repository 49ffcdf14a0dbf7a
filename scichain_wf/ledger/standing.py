"""What an index says of an artifact or a transaction key, read from a cursor. Shared formats: see `keys`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from scichain_wf.crypto.hashing import DIGEST_BYTES
from scichain_wf.errors import LedgerCorrupt
from scichain_wf.ledger.keys import ARTIFACTS, OUTPUT, successor

if TYPE_CHECKING:
    from scichain_wf.ledger.engine import Cursor


class Standing(StrEnum):
    """What a ledger can say of (URI, digest)."""

    KNOWN = "known"
    """A recorded version has this digest."""
    OTHER = "other"
    """A task produced it, and no recorded version has this digest."""
    UNHASHED = "unhashed"
    """No version seen has this digest, and one was recorded without any."""
    NEW = "new"
    """No task ever produced it."""
    UNKNOWN = "unknown"
    """Not decidable from the tail and its filter."""


class Standings:
    """What the `artifacts` index says of artifacts, remembered: to be thrown away when the index grows.

    Whoever asks about anything but the newest version has all of them read, once: a block may name an artifact with
    many versions many times.
    """

    def __init__(self) -> None:
        self._digests: dict[bytes, set[bytes]] = {}

    def of(self, cursor: Cursor, key: bytes, digest: bytes) -> Standing:
        """What the index under `cursor` says; never `UNKNOWN`.

        Args:
            cursor: of the index.
            key: `keys.uri_key` of the artifact.
            digest: 32 bytes.

        Raises:
            LedgerCorrupt: a version is malformed.
        """
        digests = self._digests.get(key)
        if digests is None:
            if not cursor.set_range(key) or cursor.key()[: len(key)] != key:
                return Standing.NEW
            if _is_newest(cursor, key, digest):
                return Standing.KNOWN
            digests = _digests(cursor, key)
            if not digests:
                return Standing.NEW
            self._digests[key] = digests
        if digest in digests:
            return Standing.KNOWN
        return Standing.UNHASHED if b"" in digests else Standing.OTHER


def _is_newest(cursor: Cursor, key: bytes, digest: bytes) -> bool:
    found = cursor.prev() if cursor.set_range(successor(key)) else cursor.last()
    return found and cursor.key()[: -OUTPUT.size] == key and cursor.value() == digest


def _digests(cursor: Cursor, key: bytes) -> set[bytes]:
    """Digests of every version; an empty one stands for those without."""
    digests: set[bytes] = set()
    for name, value in cursor.iternext() if cursor.set_range(key) else ():
        if name[: len(key)] != key:
            break
        if len(name) == len(key) + OUTPUT.size:  # else it belongs to another URI
            digests.add(bytes(value))
    if any(len(digest) not in (0, DIGEST_BYTES) for digest in digests):
        raise LedgerCorrupt(f"{ARTIFACTS}: the digest of a version of {key!r} is malformed")
    return digests


def clashes(cursor: Cursor, key: bytes, transaction: bytes) -> bool:
    """Whether the `transactions` index under `cursor` holds another transaction with this key."""
    found = cursor.set_range(key)
    while found and bytes(cursor.key()[: len(key)]) == key:
        if bytes(cursor.key()[len(key) :]) != transaction:
            return True
        found = cursor.next()
    return False
