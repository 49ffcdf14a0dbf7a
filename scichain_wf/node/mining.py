"""The searches for puzzles of one agent, a few attempts at a time: votes and hooks never wait for a puzzle.

Own puzzles come first, in order; peers' (mining = race) take turns when there is none. However many searches there
are, a look at everything else is never more than one part of one of them away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from scichain_wf import limits
from scichain_wf.consensus.effects import Mine, StopMining
from scichain_wf.consensus.events import Solved
from scichain_wf.crypto import puzzle

_Searches: TypeAlias = "dict[tuple[int, bytes], _Search]"


@dataclass(slots=True)
class _Search:
    wanted: Mine
    tried: int = 0


class Miner:
    """What the agent of `slot` searches."""

    def __init__(self, slot: int) -> None:
        self._slot = slot
        self._own: _Searches = {}
        self._peers: _Searches = {}

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to search."""
        return not self._own and not self._peers

    def begin(self, wanted: Mine) -> None:
        """Begin a search; the one of the same slot and block goes on."""
        self._of(wanted.slot).setdefault((wanted.slot, wanted.block), _Search(wanted))

    def stop(self, unwanted: StopMining) -> None:
        """End a search, if it still goes on."""
        self._of(unwanted.slot).pop((unwanted.slot, unwanted.block), None)

    def advance(self) -> Solved | None:
        """Try `limits.MINING_ATTEMPTS` nonces of the search whose turn it is; returns how it ended, if it did."""
        searches = self._own or self._peers
        if not searches:
            return None
        key, search = next(iter(searches.items()))
        wanted, start = search.wanted, search.tried
        nonce = puzzle.solve(wanted.block, wanted.solver, wanted.difficulty, start, limits.MINING_ATTEMPTS)
        search.tried += limits.MINING_ATTEMPTS
        is_given_up = wanted.attempts_max is not None and search.tried >= wanted.attempts_max
        if nonce is not None or is_given_up:
            del searches[key]
            return Solved(wanted.slot, wanted.block, nonce)
        if searches is self._peers:
            searches[key] = searches.pop(key)  # to the end of the line
        return None

    def _of(self, slot: int) -> _Searches:
        return self._own if slot == self._slot else self._peers
