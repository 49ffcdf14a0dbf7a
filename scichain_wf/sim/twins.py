"""Two processes in one slot: a second boot of the same node, or a copy of the first with its key.

The second with a key of its own joins, and the epoch that binds it fences the first; a copy with the same key votes
and proposes beside the first. Both hear everything that is sent to the slot.
"""

from __future__ import annotations

from typing import Any, ClassVar

from scichain_wf.sim.agents import AgentProcess

_OTHER_BOOTS = 1_000


class TwinProcess(AgentProcess):
    """A slot whose second process starts `after_s` after the first."""

    same_key: ClassVar[bool]
    after_s: ClassVar[float]
    twin: AgentProcess | None = None

    def boot(self) -> None:
        """The first process starts; the second follows."""
        super().boot()
        boots = self._boots
        self.world.kernel.after(self.after_s, self._split, boots)

    def _split(self, boots: int) -> None:
        if not self.alive or boots != self._boots:
            return
        self.twin = twin = AgentProcess(self.world, self.slot)
        twin._boots = boots - 1 if self.same_key else _OTHER_BOOTS + boots  # noqa: SLF001  a key's name has the number
        twin.boot()
        for other in range(self.world.config.nodes + 1):
            if other != self.slot and self.world.network.is_up(self.slot, other):
                twin.connected(other, True)

    def crash(self) -> None:
        """Both end."""
        if self.twin is not None and self.twin.alive:
            self.twin.crash()
        self.twin = None
        super().crash()

    def connected(self, other: int, up: bool) -> None:
        """Both are told."""
        super().connected(other, up)
        if self.twin is not None:
            self.twin.connected(other, up)

    def receive(self, frm: int, message: Any) -> None:
        """Both hear it."""
        super().receive(frm, message)
        if self.twin is not None and self.twin.alive:
            self.twin.receive(frm, message)


def twinned(same_key: bool, after_s: float) -> type[TwinProcess]:
    """The process of a slot that is filled twice."""
    return type("Twinned", (TwinProcess,), {"same_key": same_key, "after_s": after_s})
