"""The searches of one agent: whose turn it is, and what ends them."""

from __future__ import annotations

import pytest

from scichain_wf import limits
from scichain_wf.consensus.effects import Mine, StopMining
from scichain_wf.consensus.events import Solved
from scichain_wf.crypto import puzzle
from scichain_wf.node.mining import Miner

OWN, PEER, OTHER = 1, 2, 3
A, B, SOLVER = b"a" * 32, b"b" * 32, b"s" * 32
HARD = limits.DIFFICULTY_MAX


@pytest.fixture(autouse=True)
def _few_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MINING_ATTEMPTS", 8)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, int]]:
    """(block, first nonce) of every part of a search."""
    tried: list[tuple[bytes, int]] = []
    real = puzzle.solve

    def solve(block: bytes, solver: bytes, difficulty: int, start: int, attempts: int) -> int | None:
        tried.append((block, start))
        return real(block, solver, difficulty, start, attempts)

    monkeypatch.setattr(puzzle, "solve", solve)
    return tried


def test_a_search_finds_the_first_nonce_and_ends() -> None:
    miner = Miner(OWN)
    assert miner.is_idle
    assert miner.advance() is None
    miner.begin(Mine(OWN, A, SOLVER, 2))
    nonce = puzzle.solve(A, SOLVER, 2)
    assert nonce is not None
    found = [miner.advance() for _ in range(nonce // 8 + 1)]
    assert found == [*[None] * (nonce // 8), Solved(OWN, A, nonce)]
    assert miner.is_idle


def test_own_puzzles_come_first_in_order_and_peers_take_turns(turns: list[tuple[bytes, int]]) -> None:
    miner = Miner(OWN)
    for slot, block in ((PEER, A), (OTHER, B), (OTHER, A)):
        miner.begin(Mine(slot, block, SOLVER, HARD))
    for _ in range(4):
        assert miner.advance() is None
    assert turns == [(A, 0), (B, 0), (A, 0), (A, 8)]
    turns.clear()
    miner.begin(Mine(OWN, B, SOLVER, HARD))
    miner.begin(Mine(OWN, A, SOLVER, HARD))
    for _ in range(2):
        miner.advance()
    miner.stop(StopMining(OWN, B))
    miner.advance()
    miner.stop(StopMining(OWN, A))
    miner.advance()
    assert turns == [(B, 0), (B, 8), (A, 0), (B, 8)]


def test_what_is_stopped_and_begun_again_is_searched_once(turns: list[tuple[bytes, int]]) -> None:
    """A peer that asks, is forgotten and asks again must not multiply the work."""
    miner = Miner(OWN)
    for _ in range(5):
        miner.begin(Mine(PEER, A, SOLVER, HARD))
        miner.begin(Mine(PEER, A, SOLVER, HARD))
        miner.advance()
        miner.stop(StopMining(PEER, A))
        miner.stop(StopMining(PEER, A))
        assert miner.is_idle
        assert miner.advance() is None
    assert turns == [(A, 0)] * 5
    miner.begin(Mine(PEER, A, SOLVER, HARD))
    miner.advance()
    miner.begin(Mine(PEER, A, SOLVER, HARD))
    miner.advance()
    assert turns[5:] == [(A, 0), (A, 8)]  # it goes on where it was


def test_one_stop_ends_exactly_one_search(turns: list[tuple[bytes, int]]) -> None:
    miner = Miner(OWN)
    for slot in (OWN, PEER, OTHER):
        miner.begin(Mine(slot, A, SOLVER, HARD))
    miner.stop(StopMining(OWN, A))
    miner.stop(StopMining(OTHER, A))
    miner.advance()
    miner.advance()
    assert turns == [(A, 0), (A, 8)]
    miner.stop(StopMining(PEER, A))
    assert miner.is_idle


@pytest.mark.parametrize(("attempts_max", "parts"), [(8, 1), (9, 2), (16, 2)])
def test_a_bounded_search_is_given_up(turns: list[tuple[bytes, int]], attempts_max: int, parts: int) -> None:
    miner = Miner(OWN)
    miner.begin(Mine(PEER, A, SOLVER, HARD, attempts_max))
    assert [miner.advance() for _ in range(parts)] == [*[None] * (parts - 1), Solved(PEER, A, None)]
    assert len(turns) == parts
    assert miner.is_idle
