"""The proposer's puzzle: proof of work of adjustable, deliberately small difficulty (SciChain §3.3, §5.4).

A nonce solves a block's puzzle when SHA-256(tagged(PUZZLE, block id ‖ solver ‖ nonce)) begins with `difficulty`
zero hex digits; block id and solver are 32 bytes each and the nonce is 8 bytes big endian, so the input can be
read in one way only. The solver is part of it: a solution is of no use to anybody else. The work expected is
16^difficulty hashes. What makes a block final is its certificate and the append, never this.

It does not choose where to start: `start` comes from the caller, and equal arguments give equal answers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from scichain_wf import limits
from scichain_wf.crypto.hashing import DIGEST_BYTES, Domain, tagged
from scichain_wf.errors import UsageError

if TYPE_CHECKING:
    from hashlib import _Hash


def solves(block_id: bytes, solver: bytes, nonce: int, difficulty: int) -> bool:
    """Whether `nonce` solves the puzzle; one outside 0..2^53-1 cannot be recorded and solves none.

    Args:
        block_id: 32 bytes.
        solver: fingerprint of the solver's key, 32 bytes.
        nonce: the claimed solution.
        difficulty: leading zero hex digits, 0 (every nonce solves) to `limits.DIFFICULTY_MAX`.

    Raises:
        UsageError: an identifier is not 32 bytes, or the difficulty is out of bounds.
    """
    started, largest = _started(block_id, solver), _largest(difficulty)
    return 0 <= nonce <= limits.INTEGER_MAX and _digest(started, nonce) <= largest


def solve(block_id: bytes, solver: bytes, difficulty: int, start: int = 0, attempts: int | None = None) -> int | None:
    """The first nonce from `start` on that solves the puzzle.

    Args:
        block_id: 32 bytes.
        solver: fingerprint of the solver's key, 32 bytes.
        difficulty: leading zero hex digits, 0 to `limits.DIFFICULTY_MAX`.
        start: first nonce to try, from 0 on.
        attempts: how many nonces to try; None goes on to the last one. Bound it to stay interruptible.

    Returns:
        The nonce, or None when none was found among those tried.

    Raises:
        UsageError: an identifier is not 32 bytes, or the difficulty, start or attempts are out of bounds.
    """
    if start < 0 or (attempts is not None and attempts < 0):
        raise UsageError(f"a search starts at 0 or later and makes 0 or more attempts, not {start} and {attempts}")
    started, largest = _started(block_id, solver), _largest(difficulty)
    end = limits.INTEGER_MAX + 1
    if attempts is not None:
        end = min(end, start + attempts)
    return next((nonce for nonce in range(start, end) if _digest(started, nonce) <= largest), None)


def _started(block_id: bytes, solver: bytes) -> _Hash:
    """The hash up to the nonce: shared by all attempts, it saves each of them the first of two compressions."""
    if len(block_id) != DIGEST_BYTES or len(solver) != DIGEST_BYTES:
        raise UsageError(f"block id and solver have {DIGEST_BYTES} bytes each, not {len(block_id)} and {len(solver)}")
    return hashlib.sha256(tagged(Domain.PUZZLE, block_id + solver))


def _digest(started: _Hash, nonce: int) -> bytes:
    attempt = started.copy()
    attempt.update(nonce.to_bytes(8, "big"))
    return attempt.digest()


def _largest(difficulty: int) -> bytes:
    """The largest digest that begins with `difficulty` zero hex digits."""
    if not 0 <= difficulty <= limits.DIFFICULTY_MAX:
        raise UsageError(f"difficulty is 0 to {limits.DIFFICULTY_MAX} hex digits, not {difficulty}")
    return ((1 << (8 * DIGEST_BYTES - 4 * difficulty)) - 1).to_bytes(DIGEST_BYTES, "big")
