"""Outboxes that nobody holds go to an agent that lives, so that what is in them gets committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from scichain_wf import limits
from scichain_wf.node import shm, wire

if TYPE_CHECKING:
    from scichain_wf.node.crew import Crew
    from scichain_wf.node.flushing import Flusher
    from scichain_wf.node.members import Members


class Heirs:
    """Finds heirs among the storage node's own agents.

    Args:
        chain: chain id.
        members, crew, flusher: the storage node's.
        is_in_force: whether there is a membership yet.
    """

    def __init__(
        self, chain: bytes, members: Members, crew: Crew, flusher: Flusher, is_in_force: Callable[[], bool]
    ) -> None:
        self._chain, self._members, self._crew, self._flusher = chain, members, crew, flusher
        self._is_in_force = is_in_force

    def find(self) -> None:
        """Give what nobody holds to the first living agent; hooks that wrote there turn elsewhere."""
        heirs = [member.slot for member in self._members.all if member.slot in self._crew.slots]
        living = {slot for slot in self._crew.all_slots if self._crew.is_alive(slot)}
        for directory in shm.orphans(self._chain, living) if heirs and self._is_in_force() else []:
            self._members.send(heirs[0], wire.Kind.ADOPT, wire.encoded({"directory": str(directory)}))
            self._flusher.again(heirs[0])

    async def watch(self) -> None:
        """Agents of a storage node that was taken over from hold their outboxes until it wakes up or dies."""
        while True:
            await asyncio.sleep(limits.ORPHANS_S)
            self.find()
