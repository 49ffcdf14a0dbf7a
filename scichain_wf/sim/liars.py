"""Agents' processes that lie: the honest driver around the honest core, with a lie at the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from scichain_wf.consensus import effects, messages
from scichain_wf.sim.agents import AgentProcess
from scichain_wf.sim.lies import LIES
from scichain_wf.sim.lies.lie import Lie

if TYPE_CHECKING:
    from scichain_wf.consensus.events import Item


class LyingProcess(AgentProcess):
    """A node that tells one lie, with whatever key it has."""

    lie_type: ClassVar[type[Lie]]

    def boot(self) -> None:
        """A process starts, and with it the lie."""
        super().boot()
        random = self.world.kernel.rng(f"liar {self.slot}")
        self.lie = self.lie_type(self.slot, self.world.config.nodes, self.key, random)
        self.lie.search = self._search

    def _search(self, block: bytes, solver: bytes, difficulty: int) -> int | None:
        return self.world.puzzles.search(effects.Mine(self.slot, block, solver, difficulty))[0]

    def taken(self, items: tuple[Item, ...]) -> tuple[Item, ...]:
        """What goes into this node's blocks."""
        return self.lie.submitted(items)

    def receive(self, frm: int, message: Any) -> None:
        """A message arrives; the liar may use what it learns."""
        super().receive(frm, message)
        if self.alive and isinstance(message, messages.Message):
            self._emit(self.lie.heard(message))

    def transmit(self, to: list[int], message: Any) -> None:
        """What is sent instead."""
        if isinstance(message, messages.Message):
            self._emit([one for slot in to for one in self.lie.outgoing(slot, message)])
        else:
            super().transmit(to, message)

    def _emit(self, outgoing: list[tuple[int, messages.Message]]) -> None:
        for to, message in outgoing:
            if self.world.network.is_up(self.slot, to):
                super().transmit([to], message)


def lying(name: str) -> type[LyingProcess]:
    """The process that tells the lie of this name."""
    return type(f"Lying_{name}", (LyingProcess,), {"lie_type": LIES[name]})
