"""Votes and certificates to the last word: what mutation testing (tests/mutation) found no other test to notice."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from scichain_wf import limits
from scichain_wf.consensus.certify import Tally, VoteChecker
from scichain_wf.consensus.roster import Roster
from scichain_wf.crypto import merkle
from scichain_wf.crypto.hashing import Domain
from scichain_wf.crypto.signing import VerifyKey
from scichain_wf.model.block import Block
from scichain_wf.model.verdict import BatchHeader, Entry, Verdict, VerdictBatch, Vote
from tests.builders import ChainBuilder


@pytest.fixture
def build() -> ChainBuilder:
    """A chain of one link on which three nodes joined, as far as a vote says."""
    build = ChainBuilder()
    build.chain, build.head, build.height = b"c" * 32, b"h" * 32, 0
    build.join_all()
    return build


@pytest.fixture
def roster(build: ChainBuilder) -> Roster:
    return Roster(build.epoch, build.chain)


@pytest.fixture
def block(build: ChainBuilder) -> Block:
    return build.block(1, [build.task("a")])


def batch(build: ChainBuilder, signer: int, *blocks: bytes, **changes: Any) -> VerdictBatch:
    """VALID for each of these, in a batch whose header says something else, signed as it is."""
    entries = tuple(Entry(identity, Verdict.VALID) for identity in blocks)
    root = merkle.root([entry.leaf() for entry in entries])
    header = BatchHeader(build.chain, build.epoch.epoch, signer, 1, build.head, build.height, len(entries), root)
    header = replace(header, **changes)
    return VerdictBatch(header, build.nodes[signer].sign(Domain.VERDICT_BATCH, header.encode()), entries)


def reasons(tally: Tally, *votes: Vote) -> list[str]:
    return [tally.refusal(vote) for vote in votes]


def test_a_vote_that_does_not_count_says_why(build: ChainBuilder, roster: Roster, block: Block) -> None:
    """Spec: SAFE-4. Each vote is wrong in one thing only, and signed."""
    tally = Tally(roster, block.id)
    assert reasons(
        tally,
        batch(build, 2, bytes(32)).vote(0),
        batch(build, 2, block.id, chain=bytes(range(32))).vote(0),
        batch(build, 2, block.id, epoch=roster.number + 1).vote(0),
        batch(build, 2, block.id, epoch=roster.number - 1).vote(0),
        batch(build, 2, block.id, slot=4).vote(0),
        batch(build, 2, block.id).vote(0),
    ) == ["unknown block", "wrong chain", "wrong epoch", "wrong epoch", "not a member", ""]
    second = batch(build, 2, block.id, batch=2).vote(0)
    assert tally.add(second)
    assert reasons(tally, batch(build, 2, block.id).vote(0), second) == ["verdict replayed"] * 2
    assert reasons(tally, batch(build, 2, block.id, batch=3).vote(0)) == [""]


def test_a_slot_that_was_dropped_stays_out_whether_it_voted_or_not(
    build: ChainBuilder, roster: Roster, block: Block
) -> None:
    tally = Tally(roster, block.id)
    tally.add(build.vote(1, block))
    tally.drop([1, 2])
    assert tally.votes() == tally.valid() == ()
    assert tally.voters == frozenset()
    assert reasons(tally, build.vote(1, block), build.vote(2, block)) == ["votes do not hold"] * 2
    assert tally.is_impossible({1, 2, 3})  # one of three is left


def test_the_last_vote_of_a_slot_is_the_one_that_counts(build: ChainBuilder, roster: Roster, block: Block) -> None:
    tally = Tally(roster, block.id)
    last = None
    for verdict in (Verdict.VALID, Verdict.UNKNOWN, Verdict.INVALID, Verdict.VALID, Verdict.INVALID):
        last = build.vote(2, block, verdict, bytes(32) if verdict is Verdict.INVALID else None)
        assert tally.add(last)
        assert tally.vote_of(2) is last
        assert tally.votes() == (last,)
        assert tally.valid() == ((last,) if verdict is Verdict.VALID else ())
        assert tally.is_impossible({2, 3}) == (verdict is Verdict.INVALID)
    assert tally.vote_of(1) is None


def test_a_vote_of_another_chain_or_epoch_does_not_hold_however_well_it_is_signed(
    build: ChainBuilder, roster: Roster, block: Block
) -> None:
    """Spec: SAFE-4."""
    checker = VoteChecker(roster)
    assert checker.bad_votes([batch(build, 1, block.id).vote(0)]) == ()
    assert checker.bad_votes([batch(build, 2, block.id, chain=bytes(range(32))).vote(0)]) == (2,)
    assert checker.bad_votes([batch(build, 3, block.id, epoch=roster.number - 1).vote(0)]) == (3,)


def test_one_signature_is_verified_once_for_all_blocks_of_its_batch(
    build: ChainBuilder, roster: Roster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30-post: verdicts of one tick share one signature."""
    verified: list[bytes] = []

    def counting(key: VerifyKey, domain: Domain, signature: bytes, data: bytes) -> bool:
        verified.append(data)
        return is_valid(key, domain, signature, data)

    is_valid = VerifyKey.is_valid
    monkeypatch.setattr(VerifyKey, "is_valid", counting)
    checker = VoteChecker(roster)
    whole = batch(build, 1, *(bytes([number]) * 32 for number in range(4)))
    assert checker.bad_votes(whole.vote(index) for index in range(4)) == ()
    assert verified == [whole.header.encode()]
    forged = replace(whole, signature=bytes(64))
    for _ in range(2):
        assert checker.bad_votes([forged.vote(0)]) == (1,)
    assert len(verified) == 2


def test_what_a_checker_remembers_is_bounded(
    build: ChainBuilder, roster: Roster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "VERIFIED_BATCHES_MAX", 3)
    checker, remembered = VoteChecker(roster), []
    for number in range(5):
        assert checker.bad_votes([batch(build, 1, bytes(32), batch=number).vote(0)]) == ()
        remembered.append(len(checker._verified))
    assert remembered == [1, 2, 3, 1, 2]


def test_what_a_checker_remembers_is_small(build: ChainBuilder, roster: Roster) -> None:
    """It was 4 KiB for each vote: a storage process grew by 12 KiB with every link."""
    checker, count = VoteChecker(roster), 200
    votes = [batch(build, 1, bytes(32), batch=number).vote(0) for number in range(count)]
    tracemalloc.start()
    try:
        assert checker.bad_votes(votes) == ()
        assert len(checker._verified) == count
        assert tracemalloc.get_traced_memory()[0] < 512 * count
    finally:
        tracemalloc.stop()
