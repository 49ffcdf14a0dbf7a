"""Ledgers as the core's rules see them."""

from __future__ import annotations

from scichain_wf.consensus.validity import Known
from scichain_wf.ledger.standing import Standing
from scichain_wf.ledger.view import ChainView
from scichain_wf.model.link import Link


def known(standing: Standing) -> Known:
    """What a ledger says, as the core calls it."""
    if standing is Standing.NEW:  # nearly always one of these two, and an enum's own conversion takes as long as a read
        return Known.NEW
    return Known.KNOWN if standing is Standing.KNOWN else Known(standing.value)


class ChainLookup:
    """The whole chain, or a batch on top of it (`consensus.storage.WholeChain`)."""

    def __init__(self, view: ChainView) -> None:
        self._view = view

    def lookup(self, uri: str, digest: bytes, /) -> Known:
        """See `Lookup`."""
        return known(self._view.standing(uri, digest))

    def contains(self, key: bytes, transaction: bytes, /) -> bool:
        """See `Lookup`."""
        return self._view.contains(key, transaction)

    def clashes(self, key: bytes, transaction: bytes, /) -> bool:
        """See `Lookup`."""
        return self._view.clashes(key, transaction)

    def link_hash(self, height: int, /) -> bytes | None:
        """See `WholeChain`."""
        return self._view.tree_node(0, height) if 0 <= height < self._view.size else None

    def link(self, height: int, /) -> Link:
        """See `WholeChain`."""
        return self._view.link(height)

    def link_time_us(self, height: int, /) -> int:
        """See `WholeChain`."""
        return self._view.link(height).time_us

    def head_height(self) -> int:
        """See `WholeChain`."""
        return self._view.size - 1

    def root(self, size: int, /) -> bytes | None:
        """See `consensus.rollback.DurableChain`."""
        return self._view.root(size) if size <= self._view.size else None

    def recorder(self, uri: str, /) -> bytes | None:
        """See `WholeChain`."""
        first = next(self._view.versions(uri), None)
        return None if first is None else self._view.header(first.height).proposer

    def proposal(self, proposer: bytes, sequence: int, /) -> tuple[int, bytes] | None:
        """See `WholeChain`."""
        return self._view.proposal(proposer, sequence)
