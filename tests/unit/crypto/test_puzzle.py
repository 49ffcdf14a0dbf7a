"""The proposer's puzzle."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scichain_wf import limits
from scichain_wf.crypto import puzzle
from scichain_wf.errors import UsageError

BLOCK, SOLVER = bytes(range(32)), bytes(range(32, 64))
identifiers = st.binary(min_size=32, max_size=32)
nonces = st.integers(0, limits.INTEGER_MAX)


def hex_digest(block_id: bytes, solver: bytes, nonce: int) -> str:
    """The definition, spelled out."""
    return hashlib.sha256(b"scichain-wf/1/puzzle\0" + block_id + solver + nonce.to_bytes(8, "big")).hexdigest()


@given(identifiers, identifiers, nonces, st.integers(0, limits.DIFFICULTY_MAX))
def test_a_nonce_solves_when_the_digest_begins_with_enough_zero_digits(
    block_id: bytes, solver: bytes, nonce: int, difficulty: int
) -> None:
    expected = hex_digest(block_id, solver, nonce).startswith("0" * difficulty)
    assert puzzle.solves(block_id, solver, nonce, difficulty) == expected


@given(identifiers, identifiers, st.integers(0, limits.INTEGER_MAX - 100_000), st.integers(0, 2))
def test_solve_finds_the_first_solution(block_id: bytes, solver: bytes, start: int, difficulty: int) -> None:
    nonce = puzzle.solve(block_id, solver, difficulty, start)
    assert nonce is not None
    assert puzzle.solves(block_id, solver, nonce, difficulty)
    assert not any(puzzle.solves(block_id, solver, earlier, difficulty) for earlier in range(start, nonce))


@pytest.mark.parametrize("difficulty", range(4))
def test_a_solution_is_of_no_use_for_another_block_solver_or_difficulty(difficulty: int) -> None:
    nonce = puzzle.solve(BLOCK, SOLVER, difficulty)
    assert nonce is not None
    zeros = len(hex_digest(BLOCK, SOLVER, nonce)) - len(hex_digest(BLOCK, SOLVER, nonce).lstrip("0"))
    assert zeros >= difficulty
    assert not puzzle.solves(BLOCK, SOLVER, nonce, zeros + 1)
    assert not puzzle.solves(SOLVER, BLOCK, nonce, limits.DIFFICULTY_MAX)


@pytest.mark.parametrize("difficulty", range(limits.DIFFICULTY_MAX + 1))
def test_the_largest_solution_has_exactly_its_zero_digits_and_solves(
    difficulty: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = bytes.fromhex("0" * difficulty + "f" * (64 - difficulty))
    assert puzzle._largest(difficulty) == largest
    monkeypatch.setattr(puzzle, "_digest", lambda started, nonce: largest)
    assert puzzle.solves(BLOCK, SOLVER, 7, difficulty)
    assert puzzle.solve(BLOCK, SOLVER, difficulty, start=7) == 7


def test_the_first_and_the_last_nonce_that_can_be_recorded_solve() -> None:
    assert puzzle.solves(BLOCK, SOLVER, 0, 0)
    assert puzzle.solves(BLOCK, SOLVER, limits.INTEGER_MAX, 0)


def test_search_stops_after_its_attempts() -> None:
    nonce = puzzle.solve(BLOCK, SOLVER, 2)
    assert nonce is not None
    assert nonce > 0
    assert puzzle.solve(BLOCK, SOLVER, 2, attempts=nonce) is None
    assert puzzle.solve(BLOCK, SOLVER, 2, attempts=nonce + 1) == nonce
    assert puzzle.solve(BLOCK, SOLVER, 0, attempts=0) is None


def test_search_ends_at_the_last_nonce_that_can_be_recorded() -> None:
    last = limits.INTEGER_MAX
    assert puzzle.solve(BLOCK, SOLVER, 0, start=last) == last
    assert puzzle.solve(BLOCK, SOLVER, 0, start=last + 1) is None
    assert puzzle.solve(BLOCK, SOLVER, limits.DIFFICULTY_MAX, start=last - 9, attempts=1_000_000) is None


@pytest.mark.parametrize("nonce", [-1, limits.INTEGER_MAX + 1, 2**64])
def test_a_nonce_that_cannot_be_recorded_solves_nothing(nonce: int) -> None:
    assert not puzzle.solves(BLOCK, SOLVER, nonce, 0)


@pytest.mark.parametrize("difficulty", [-1, limits.DIFFICULTY_MAX + 1])
def test_difficulty_out_of_bounds_is_refused(difficulty: int) -> None:
    with pytest.raises(UsageError, match="difficulty"):
        puzzle.solves(BLOCK, SOLVER, 0, difficulty)
    with pytest.raises(UsageError, match="difficulty"):
        puzzle.solve(BLOCK, SOLVER, difficulty)


@pytest.mark.parametrize(
    ("block_id", "solver"), [(BLOCK[:-1], SOLVER), (BLOCK, SOLVER + b"x"), (BLOCK + b"x", SOLVER[1:])]
)
def test_identifiers_of_another_length_are_refused(block_id: bytes, solver: bytes) -> None:
    with pytest.raises(UsageError, match="32 bytes"):
        puzzle.solves(block_id, solver, 0, 0)
    with pytest.raises(UsageError, match="32 bytes"):
        puzzle.solve(block_id, solver, 0)


@pytest.mark.parametrize(("start", "attempts"), [(-1, None), (0, -1)])
def test_a_search_out_of_bounds_is_refused(start: int, attempts: int | None) -> None:
    with pytest.raises(UsageError, match="search"):
        puzzle.solve(BLOCK, SOLVER, 1, start, attempts)
