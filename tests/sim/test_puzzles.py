"""Puzzles of a simulated world."""

from __future__ import annotations

from random import Random

import pytest

from scichain_wf.consensus.effects import Mine
from scichain_wf.sim.kernel import Kernel
from scichain_wf.sim.puzzles import Puzzles

X, Y, Z = (name * 32 for name in (b"x", b"y", b"z"))


@pytest.mark.parametrize("real", [False, True])
def test_only_a_search_gives_a_solution(real: bool) -> None:
    puzzles = Puzzles(Kernel(1).rng("x"), real=real)
    nonce, attempts = puzzles.search(Mine(1, X, Y, 2))
    assert nonce is not None
    assert attempts >= 1
    assert puzzles.solves(X, Y, nonce, 2)
    assert puzzles.solves(X, Y, nonce, 1)
    assert not puzzles.solves(X, Y, nonce + 1, 2)
    assert not puzzles.solves(X, Z, nonce, 2)
    assert not puzzles.solves(Z, Y, nonce, 2)


def test_a_harder_puzzle_takes_sixteen_times_as_long() -> None:
    puzzles = Puzzles(Kernel(1).rng("x"), real=False)
    means = [sum(puzzles.search(Mine(1, X, Y, d))[1] for _ in range(4_000)) / 4_000 for d in (2, 3, 4)]
    assert means == pytest.approx([16**2, 16**3, 16**4], rel=0.1)


@pytest.mark.parametrize("real", [False, True])
def test_a_search_that_is_bounded_may_end_without_a_solution(real: bool) -> None:
    puzzles = Puzzles(Kernel(1).rng("x"), real=real)
    results = [puzzles.search(Mine(1, bytes([number]) * 32, Y, 2, 256)) for number in range(40)]
    given_up = [attempts for nonce, attempts in results if nonce is None]
    assert given_up == [256] * len(given_up)
    assert 0 < len(given_up) < 40  # one in e
    assert all(1 <= attempts <= 256 for _, attempts in results)


def test_less_work_for_the_same_nonce_does_not_undo_a_solution() -> None:
    class Same(Random):
        def expovariate(self, _rate: float = 1.0) -> float:
            return 4.0

    puzzles = Puzzles(Same(), real=False)
    assert [puzzles.search(Mine(1, X, Y, difficulty)) for difficulty in (2, 1)] == [(5, 5), (5, 5)]
    assert puzzles.solves(X, Y, 5, 2)
