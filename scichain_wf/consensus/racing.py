"""Helping peers with their puzzles (mining = race): SciChain §4.2, the first node to solve it wins.

A node searches with its own key as the solver, signs what it found and sends it to who asked; nothing else in the
protocol depends on it. It stops when it sees the block proposed or linked, or after many times the work that a puzzle
takes. A peer may ask for help with what is no block, or with another's: so what is asked for is known by slot and
block, each slot gets its share of searches, and none ends those of another.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from scichain_wf import limits
from scichain_wf.consensus.effects import AgentEffect, Mine, SendPeer, StopMining
from scichain_wf.consensus.messages import Found
from scichain_wf.consensus.roster import Roster, solution_statement
from scichain_wf.crypto.hashing import Domain
from scichain_wf.model.certificate import Solution

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scichain_wf.consensus.messages import Puzzle
    from scichain_wf.consensus.replica import Replica
    from scichain_wf.crypto.signing import SigningKey


class Helper:
    """The puzzles of others that this node searches, or will when it has done with earlier ones."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self._puzzles: dict[tuple[int, bytes], Puzzle] = {}  # in the order they came; the first of them are searched

    def refusal(self, slot: int, puzzle: Puzzle, roster: Roster, replica: Replica) -> str:
        """Why a puzzle of `slot` is not to be searched, or ""."""
        if slot not in roster.keys:
            return "not a member"
        if roster.slot_of(self._key.public.fingerprint) == slot:
            return "wrong slot"
        if roster.epoch.settings.mining != "race":
            return "not a race"
        if (slot, puzzle.block) in self._puzzles:
            return "puzzle replayed"
        if sum(asked == slot for asked, _ in self._puzzles) >= limits.PUZZLES_PER_SLOT_MAX:
            return "too many puzzles"
        return "wrong difficulty" if puzzle.difficulty > replica.difficulty(roster) else ""

    def search(self, slot: int, puzzle: Puzzle) -> list[AgentEffect]:
        """Begin with a puzzle of `slot`, now or when others are done."""
        self._puzzles[slot, puzzle.block] = puzzle
        return [self._mine(slot, puzzle)] if len(self._puzzles) <= limits.PUZZLES_MAX else []

    def ended(self, slot: int, block: bytes, nonce: int | None) -> list[AgentEffect]:
        """A nonce was found, or the search given up."""
        if (slot, block) not in self._puzzles:
            return []  # stopped meanwhile
        effects = self._end([(slot, block)])
        if nonce is not None:
            signature = self._key.sign(Domain.PUZZLE, solution_statement(block, nonce))
            effects.append(SendPeer(slot, Found(block, Solution(self._key.public.fingerprint, nonce, signature))))
        return effects

    def stop(self, block: bytes) -> list[AgentEffect]:
        """The solution of this block's puzzle is of no use any more, whoever asked for it."""
        return self._end([key for key in self._puzzles if key[1] == block])

    def lost(self, slot: int) -> list[AgentEffect]:
        """Nobody waits for solutions in `slot` any more."""
        return self._end([key for key in self._puzzles if key[0] == slot])

    def _end(self, keys: Iterable[tuple[int, bytes]]) -> list[AgentEffect]:
        """Let go of these; others take their turn."""
        searched = set(islice(self._puzzles, limits.PUZZLES_MAX))
        stopped: list[AgentEffect] = []
        for key in keys:
            del self._puzzles[key]
            if key in searched:
                stopped.append(StopMining(*key))
        begun = [key for key in islice(self._puzzles, limits.PUZZLES_MAX) if key not in searched]
        return [*stopped, *(self._mine(slot, self._puzzles[slot, block]) for slot, block in begun)]

    def _mine(self, slot: int, puzzle: Puzzle) -> Mine:
        attempts_max = limits.PUZZLE_ATTEMPTS_FACTOR * 16**puzzle.difficulty
        return Mine(slot, puzzle.block, self._key.public.fingerprint, puzzle.difficulty, attempts_max)
