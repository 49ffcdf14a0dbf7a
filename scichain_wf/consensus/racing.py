"""Helping peers with their puzzles (mining = race): SciChain §4.2, the first node to solve it wins.

A node searches with its own key as the solver, signs what it found and sends it to the proposer; nothing else in the
protocol depends on it. It stops when it sees the block proposed or linked, or when too many puzzles came after it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from scichain_wf import limits
from scichain_wf.consensus.effects import AgentEffect, Mine, SendPeer, StopMining
from scichain_wf.consensus.messages import Found
from scichain_wf.consensus.roster import Roster, solution_statement
from scichain_wf.crypto.hashing import Domain
from scichain_wf.model.certificate import Solution

if TYPE_CHECKING:
    from scichain_wf.consensus.messages import Puzzle
    from scichain_wf.consensus.replica import Replica
    from scichain_wf.crypto.signing import SigningKey


class Helper:
    """The puzzles of others that this node searches."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self._puzzles: OrderedDict[bytes, int] = OrderedDict()

    def refusal(self, slot: int, puzzle: Puzzle, roster: Roster, replica: Replica) -> str:
        """Why a puzzle of `slot` is not to be searched, or ""."""
        if slot not in roster.keys:
            return "not a member"
        if roster.slot_of(self._key.public.fingerprint) == slot:
            return "wrong slot"
        if roster.epoch.settings.mining != "race":
            return "not a race"
        return "wrong difficulty" if puzzle.difficulty > replica.difficulty(roster) else ""

    def search(self, slot: int, puzzle: Puzzle) -> list[AgentEffect]:
        """Begin with a puzzle of `slot`."""
        if puzzle.block in self._puzzles:
            return []
        self._puzzles[puzzle.block] = slot
        stopped = self.stop(next(iter(self._puzzles))) if len(self._puzzles) > limits.PUZZLES_MAX else []
        return [*stopped, Mine(puzzle.block, self._key.public.fingerprint, puzzle.difficulty)]

    def solved(self, block: bytes, nonce: int) -> list[AgentEffect]:
        """A nonce was found."""
        slot = self._puzzles.pop(block, None)
        if slot is None:
            return []  # stopped meanwhile
        signature = self._key.sign(Domain.PUZZLE, solution_statement(block, nonce))
        return [SendPeer(slot, Found(block, Solution(self._key.public.fingerprint, nonce, signature)))]

    def stop(self, block: bytes) -> list[AgentEffect]:
        """The solution of this block's puzzle is of no use any more."""
        return [] if self._puzzles.pop(block, None) is None else [StopMining(block)]

    def lost(self, slot: int) -> list[AgentEffect]:
        """Nobody waits for solutions in `slot` any more."""
        return [effect for block, owner in list(self._puzzles.items()) if owner == slot for effect in self.stop(block)]
