"""The agents of one storage node as processes: told who they are, watched, and started again when they die.

An agent that ended by itself (code 0: it was told to) is not started again. Nobody waits any longer for one that died
too often before it could join, and others adopt its outbox; it is started again after pauses that grow up to a minute.
The first agents were forked by who made them; later ones are started as programs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from scichain_wf import limits
from scichain_wf.node.children import Child

if TYPE_CHECKING:
    from pathlib import Path

    from scichain_wf.node.log import Log


class Crew:
    """See the module.

    Args:
        children: one per slot, forked, waiting for their first line.
        spawn: runs a coroutine in the background.
        gone: called with (slot, whether it is waited for) when an agent's process has ended.
        log: where that is noted.

    Attributes:
        slots: agents that live, or are waited for.
    """

    def __init__(
        self,
        children: list[Child],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        gone: Callable[[int, bool], None],
        log: Log,
    ) -> None:
        self._children = {child.slot: child for child in children}
        self._spawn, self._gone, self._log = spawn, gone, log
        self._failures: Counter[int] = Counter()
        self._ending = False
        self._changed = asyncio.Event()
        self.slots = set(self._children)

    @property
    def all_slots(self) -> list[int]:
        """Every slot, whatever became of its agent."""
        return sorted(self._children)

    @property
    def pids(self) -> dict[int, int]:
        """Process id by slot."""
        return {slot: child.pid for slot, child in self._children.items()}

    def start(self, line: Callable[[int, list[Path]], dict[str, object]], adopted: list[Path]) -> None:
        """Tell everybody their first line: `line` makes it of a slot and the outboxes that agent shall adopt."""
        self._line = line
        for slot, child in self._children.items():
            self._tell(child, adopted if slot == 1 else [])

    def joined(self, slot: int) -> None:
        """This agent said HELLO."""
        self._failures[slot] = 0
        if slot in self._children:
            self.slots.add(slot)

    def is_alive(self, slot: int) -> bool:
        """Whether this slot has a process."""
        return self._children[slot].alive

    async def end(self, *, now: bool) -> None:
        """End all of them; `now`: kill them, so that they tidy nothing up."""
        self._ending = True
        for child in self._children.values():
            child.kill() if now else child.end()
        try:
            async with asyncio.timeout(limits.AGENT_END_TIMEOUT_S):
                while any(child.alive for child in self._children.values()):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            for child in self._children.values():
                child.kill()

    def _tell(self, child: Child, adopted: list[Path]) -> None:
        self._spawn(child.watch(self._ended))
        child.tell(self._line(child.slot, adopted))

    def _ended(self, child: Child, code: int) -> None:
        self._changed.set()
        slot = child.slot
        if self._ending and code == 0:
            return
        self._failures[slot] += 1
        again = code != 0 and not self._ending
        pause_s = limits.RESTART_PAUSE_S * 2 ** min(self._failures[slot] - 1, limits.RESTART_DOUBLINGS_MAX)
        self._log.warning("an agent ended", slot=slot, code=code, again=again, pause_s=pause_s if again else None)
        if again:
            self._spawn(self._restart(slot, pause_s))
        is_awaited = again and self._failures[slot] <= limits.RESTARTS_MAX
        if not is_awaited:
            self.slots.discard(slot)
        self._gone(slot, is_awaited)

    async def _restart(self, slot: int, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        if not self._ending:
            child = self._children[slot] = Child.started(slot)
            self._tell(child, [])
