"""Puzzles of a simulated world: searching 16^6 hashes takes virtual time only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scichain_wf import limits
from scichain_wf.consensus.roster import Roster
from scichain_wf.crypto import puzzle

if TYPE_CHECKING:
    from random import Random

    from scichain_wf.consensus.effects import Mine
    from scichain_wf.model.epoch import Epoch


class Puzzles:
    """Solutions, real ones or such that only the search gives away.

    Args:
        random: how long a search takes.
        real: search.
    """

    def __init__(self, random: Random, *, real: bool) -> None:
        self._random, self._real = random, real
        self._found: dict[tuple[bytes, bytes, int], int] = {}

    def search(self, wanted: Mine) -> tuple[int | None, int]:
        """The nonce, and how many hashes it takes to find it, or to give up."""
        block, solver, difficulty = wanted.block, wanted.solver, wanted.difficulty
        if self._real:
            found = puzzle.solve(block, solver, difficulty, 0, wanted.attempts_max)
            return found, (wanted.attempts_max or 0) if found is None else found + 1
        attempts = 1 + int(self._random.expovariate(16.0**-difficulty))
        if wanted.attempts_max is not None and attempts > wanted.attempts_max:
            return None, wanted.attempts_max
        nonce = min(attempts, limits.INTEGER_MAX)
        solves = block, solver, nonce
        self._found[solves] = max(difficulty, self._found.get(solves, 0))
        return nonce, attempts

    def solves(self, block: bytes, solver: bytes, nonce: int, difficulty: int) -> bool:
        """See `crypto.puzzle.solves`."""
        if self._real:
            return puzzle.solves(block, solver, nonce, difficulty)
        return self._found.get((block, solver, nonce), -1) >= difficulty


class SimRoster(Roster):
    """A roster that asks the world's puzzles."""

    def __init__(self, epoch: Epoch, chain: bytes, puzzles: Puzzles) -> None:
        super().__init__(epoch, chain)
        self._puzzles = puzzles

    def solves(self, block: bytes, solver: bytes, nonce: int, difficulty: int) -> bool:
        """See `Roster`."""
        return self._puzzles.solves(block, solver, nonce, difficulty)
