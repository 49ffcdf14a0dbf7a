"""A node's ledger tail as the core and the replica see it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from scichain_wf import limits
from scichain_wf.ledger.filter import SALT_BYTES, MembershipFilter
from scichain_wf.ledger.tail import LedgerTail
from scichain_wf.node import shm
from scichain_wf.node.lookups import known

if TYPE_CHECKING:
    from pathlib import Path

    from scichain_wf.consensus.validity import Known
    from scichain_wf.ledger.prepared import PreparedBlock
    from scichain_wf.model.link import Link

_SHARE_OF_FREE: Final = 4


class Tail:
    """`consensus.validator.NodeLedger` over a `LedgerTail` in `directory`, begun anew."""

    def __init__(self, directory: Path) -> None:
        shm.remove(directory)
        shm.make(directory)
        free = shm.free_bytes(directory.parent) // _SHARE_OF_FREE
        size_bytes = max(limits.TAIL_BYTES_MIN, min(limits.TAIL_BYTES_DEFAULT, free))
        self.salt = os.urandom(SALT_BYTES)
        self._tail = LedgerTail.open(directory, size_bytes, self.salt)

    @property
    def covers_from(self) -> int:
        """Height of the oldest block kept."""
        return self._tail.covers_from

    @property
    def needs_filter(self) -> bool:
        """Whether a miss decides nothing, for want of what was produced before the tail begins."""
        return self._tail.head() is not None and not self._tail.filter_covers

    def adopt(self, data: bytes, height: int) -> bool:
        """Take over a filter of everything produced below `height`; False if it does not reach the tail any more.

        Raises:
            DecodeError: it is damaged.
        """
        return self._tail.adopt(MembershipFilter.decode(data), height)

    def apply(self, link: Link, block: PreparedBlock) -> None:
        """Append a committed block.

        Raises:
            LedgerError: it does not follow, or tmpfs has no room at all.
        """
        self._tail.append(link, block)

    def lookup(self, uri: str, digest: bytes, /) -> Known:
        """See `Lookup`."""
        return known(self._tail.lookup(uri, digest))

    def contains(self, key: bytes, transaction: bytes, /) -> bool:
        """See `Lookup`."""
        return self._tail.contains(key, transaction)

    def clashes(self, key: bytes, transaction: bytes, /) -> bool:
        """See `Lookup`."""
        return self._tail.clashes(key, transaction)

    def link_hash(self, height: int, /) -> bytes | None:
        """See `NodeLedger`."""
        return self._tail.link_hash(height) if height >= 0 else None

    def close(self) -> None:
        """Release the file."""
        self._tail.close()
