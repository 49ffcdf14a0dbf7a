"""How a proposal reaches every slot: directly, or in a large chain down a k-ary tree over the slot list.

In the tree the proposer is position 0, the slot p places after it in the epoch's list (which is a ring) is position p,
and the children of position p are k·p+1 … k·p+k. So every proposer has a tree of its own, nobody has to agree on one,
and each slot sends a proposal k times instead of N. A child that cannot be reached is replaced by its children.
Verdicts always go straight to the proposer.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from scichain_wf.consensus.roster import Roster
    from scichain_wf.consensus.timing import Timing


def children(slots: int, proposer: int, slot: int, fanout: int, reachable: Collection[int]) -> list[int]:
    """Whom `slot` passes a block of `proposer` on to.

    Args:
        slots: N, the length of the slot list.
        proposer: slot of the block's maker: the root.
        slot: whose children.
        fanout: k, at least 1.
        reachable: slots that are not known to be out of reach.
    """
    found: list[int] = []
    positions = deque([(slot - proposer) % slots])
    while positions:
        first = fanout * positions.popleft() + 1
        for position in range(first, min(first + fanout, slots)):
            child = (proposer - 1 + position) % slots + 1
            if child in reachable:
                found.append(child)
            else:
                positions.append(position)
    return found


class Reach:
    """Which slots this node can reach.

    Up to `timing.mesh_slots` slots every pair has a channel, so a slot without one is out of reach. Beyond, channels
    are made when something is to be sent: a slot is out of reach once the driver said `PeerDown`.

    Attributes:
        slot: this node's.
        heard: slots with a channel, and when each last sent verdicts, on whatever block.
        slots: bound slots that can be reached, this node's included; empty before the first epoch.
        is_tree: whether proposals go down a tree.
    """

    def __init__(self, slot: int, timing: Timing) -> None:
        self.slot, self._timing = slot, timing
        self._down: set[int] = set()
        self._roster: Roster | None = None
        self.heard: dict[int, float] = {slot: 0.0}
        self.slots: frozenset[int] = frozenset()
        self.is_tree = False

    @property
    def others(self) -> list[int]:
        """Reachable slots but this one."""
        return sorted(self.slots - {self.slot})

    def restated(self, roster: Roster) -> None:
        """Another epoch is in force. Who booted anew may be reachable again."""
        before = self._roster
        if before is not None:
            self._down = {slot for slot in self._down if before.keys.get(slot) == roster.keys.get(slot)}
        self._roster = roster
        self.is_tree = roster.epoch.slots > self._timing.mesh_slots
        self._look()

    def up(self, slot: int, now: float) -> None:
        """A channel to `slot` stands."""
        self.heard[slot] = now
        self._down.discard(slot)
        self._look()

    def down(self, slot: int) -> None:
        """`slot` cannot be reached."""
        self.heard.pop(slot, None)
        self._down.add(slot)
        self._look()

    def judged(self, slot: int, now: float) -> None:
        """Verdicts of `slot` came."""
        if slot in self.heard or self.is_tree:
            self.heard[slot] = now

    def targets(self, proposer: int) -> list[int]:
        """Whom this node passes a block of `proposer` on to (its own: to whom it proposes it)."""
        if self.is_tree and self._roster is not None:
            return children(self._roster.epoch.slots, proposer, self.slot, self._timing.fanout, self.slots)
        return self.others if proposer == self.slot else []

    def _look(self) -> None:
        bound = frozenset() if self._roster is None else self._roster.bound
        if self.is_tree:
            self.slots = bound - self._down if self._down else bound
        else:
            self.slots = frozenset(bound & self.heard.keys())
