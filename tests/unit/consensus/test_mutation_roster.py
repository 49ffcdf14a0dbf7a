"""Rosters to the last word: what mutation testing (tests/mutation) found no other test to notice."""

from __future__ import annotations

from scichain_wf.consensus.roster import Roster, solution_statement
from tests.builders import ChainBuilder, signing_key


def test_a_roster_verifies_with_the_keys_it_is_given_instead_of_those_of_the_epoch() -> None:
    build = ChainBuilder()
    build.join_all()
    key = signing_key(7, "another").public
    roster = Roster(build.epoch, build.chain, {2: key})
    assert roster.keys == {2: key}
    assert roster.slot_of(key.fingerprint) == 2
    assert roster.slot_of(build.nodes[2].public.fingerprint) is None
    assert roster.quorum == 2  # of the three slots that the epoch has


def test_a_solver_signs_the_block_and_the_nonce_in_eight_bytes() -> None:
    """SciChain §4.5: what is signed has one length, so that it can be read in one way only."""
    assert solution_statement(b"b" * 32, 0x0102) == b"b" * 32 + bytes([0, 0, 0, 0, 0, 0, 1, 2])
