"""A storage node whose disk is full waits for room: nothing is lost, nothing promised, nobody has to start it again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from scichain_wf import limits
from scichain_wf.errors import LedgerFull

if TYPE_CHECKING:
    from scichain_wf.ledger.store import ChainStore
    from scichain_wf.node.log import Log

T = TypeVar("T")


class Room:
    """Runs what writes, in the store's thread, and again until there is room for it.

    Args:
        store: opened again after each failure, since the one that failed can be used for nothing more.
        thread: the store's.
        log: where the beginning and the end of a wait are noted.

    Attributes:
        waits: whether to wait at all; a start that finds no room fails instead.
        lack: what is waited for, in words; empty while nothing is.
    """

    def __init__(self, store: ChainStore, thread: ThreadPoolExecutor, log: Log) -> None:
        self._store, self._thread, self._log = store, thread, log
        self.waits = False
        self.lack = ""

    async def run(self, function: Callable[[], T]) -> T:
        """What `function` returns; it must be repeatable."""
        while True:
            try:
                result = await asyncio.get_running_loop().run_in_executor(self._thread, self._once, function)
            except LedgerFull as error:
                if not self.waits:
                    raise
                if not self.lack:
                    self._log.error("the storage node waits for room on its disk", reason=error)
                self.lack = str(error)
                await asyncio.sleep(limits.FULL_POLL_S)
            else:
                if self.lack:
                    self._log.info("there is room on the disk again")
                self.lack = ""
                return result

    def _once(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except LedgerFull:
            self._store.reopen()  # in the same turn of the thread: nobody finds it closed
            raise
