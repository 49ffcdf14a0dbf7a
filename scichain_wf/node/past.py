"""Filters for tails: what was ever produced below a height, gathered from the chain a few blocks at a time.

Each agent has a salt of its own, so each gets a filter of its own. Reading goes through the store's thread in small
pieces, between the group commits of a running chain.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from scichain_wf import limits
from scichain_wf.ledger.filter import MembershipFilter
from scichain_wf.ledger.keys import uri_key
from scichain_wf.model.bodies import Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from scichain_wf.ledger.view import ChainView

    Read = Callable[[Callable[[ChainView], list[bytes]]], Awaitable[list[bytes]]]


class Filters:
    """Filters that agents ask for: one at a time for each. Whoever asks again meanwhile gets what it asked for last.

    Args:
        read: see `filter_below`.
        spawn: runs a coroutine in the background.
        send: takes (slot, height, encoded filter).
    """

    def __init__(
        self, read: Read, spawn: Callable[[Coroutine[Any, Any, None]], object], send: Callable[[int, int, bytes], None]
    ) -> None:
        self._read, self._spawn, self._send = read, spawn, send
        self._wanted: dict[int, tuple[int, bytes] | None] = {}  # None: its last one is being made

    def want(self, slot: int, height: int, salt: bytes) -> None:
        """An agent asks for the filter of what links below `height` record."""
        is_served = slot in self._wanted
        self._wanted[slot] = height, salt
        if not is_served:
            self._spawn(self._serve(slot))

    async def _serve(self, slot: int) -> None:
        while (wanted := self._wanted[slot]) is not None:
            self._wanted[slot] = None
            self._send(slot, wanted[0], await filter_below(self._read, *wanted))
        del self._wanted[slot]


async def filter_below(read: Read, height: int, salt: bytes) -> bytes:
    """The encoded filter of every artifact that a link below `height` records."""
    found = MembershipFilter(salt)
    for start in range(0, height, limits.SYNC_BATCH_LINKS):
        stop = min(height, start + limits.SYNC_BATCH_LINKS)
        for key in await read(partial(_produced, start=start, stop=stop)):
            found.add(key)
    return found.encode()


def _produced(view: ChainView, start: int, stop: int) -> list[bytes]:
    """URI keys of outputs; those of duplicates too, which makes a filter no worse."""
    keys = []
    for height in range(start, stop):
        frame = view.frame(height)
        for index in range(frame.count):
            value: dict[str, Any] = orjson.loads(frame.transaction(index))  # checked when it was appended
            if value["kind"] == Kind.TASK:
                keys += [uri_key(output["uri"]) for output in value["body"]["outputs"]]
    return keys
