"""Puzzles of a simulated world: searching 16^6 hashes takes virtual time only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scichain_wf import limits
from scichain_wf.consensus.roster import Roster
from scichain_wf.crypto import puzzle

if TYPE_CHECKING:
    from random import Random

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

    def search(self, block: bytes, solver: bytes, difficulty: int) -> tuple[int, int]:
        """The nonce, and how many hashes it takes to find it."""
        if self._real:
            nonce = puzzle.solve(block, solver, difficulty) or 0
            return nonce, nonce + 1
        attempts = 1 + int(self._random.expovariate(16.0**-difficulty))
        nonce = min(attempts, limits.INTEGER_MAX)
        self._found[block, solver, nonce] = difficulty
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
