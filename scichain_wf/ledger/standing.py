"""What an index says of an artifact or a transaction key, read from a cursor. Shared formats: see `keys`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from scichain_wf.ledger.keys import successor

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


def standing(cursor: Cursor, key: bytes, digest: bytes) -> Standing:
    """What the `artifacts` index under `cursor` says, from the newest version backwards; never `UNKNOWN`.

    Args:
        cursor: of the index.
        key: `keys.uri_key` of the artifact.
        digest: 32 bytes; an empty one is never `KNOWN`.
    """
    seen = Standing.NEW
    found = cursor.prev() if cursor.set_range(successor(key)) else cursor.last()
    while found and bytes(cursor.key()[: len(key)]) == key:  # no URI's key continues into another's
        value = bytes(cursor.value())
        if value and value == digest:
            return Standing.KNOWN
        if not value:
            seen = Standing.UNHASHED
        elif seen is Standing.NEW:
            seen = Standing.OTHER
        found = cursor.prev()
    return seen


def clashes(cursor: Cursor, key: bytes, transaction: bytes) -> bool:
    """Whether the `transactions` index under `cursor` holds another transaction with this key."""
    found = cursor.set_range(key)
    while found and bytes(cursor.key()[: len(key)]) == key:
        if bytes(cursor.key()[len(key) :]) != transaction:
            return True
        found = cursor.next()
    return False
