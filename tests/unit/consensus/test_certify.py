"""Counting votes, and checking them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scichain_wf import limits
from scichain_wf.consensus.certify import Tally, VoteChecker
from scichain_wf.errors import VerificationError
from scichain_wf.model.verdict import Verdict
from tests.unit.consensus.cluster import Cluster
from tests.unit.consensus.kit import roster_of


def test_votes_that_do_not_count_are_not_counted(cluster: Cluster) -> None:
    """Spec: SAFE-4."""
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    tally = Tally(roster_of(build), block.id)
    vote = build.vote(2, block)
    assert tally.add(vote)
    assert not tally.add(vote)  # not newer than what is known
    assert not tally.add(build.vote(3, build.block(1, [build.task("b")])))
    assert not tally.add(replace(vote, header=replace(vote.header, epoch=1)))
    assert not tally.add(replace(vote, header=replace(vote.header, slot=4)))
    assert not tally.add(replace(vote, header=replace(vote.header, chain=bytes(32))))
    assert not tally.has_quorum()
    with pytest.raises(VerificationError, match="1 slots said VALID, 2 are needed"):
        tally.certificate(None)
    tally.drop([2])
    assert not tally.add(build.vote(2, block))
    assert tally.votes() == ()


def test_unknown_leaves_hope_and_invalid_does_not(cluster: Cluster) -> None:
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    tally = Tally(roster_of(build), block.id)
    everybody = frozenset({1, 2, 3})
    assert not tally.is_impossible(everybody)
    assert tally.is_impossible(frozenset({1}))
    tally.add(build.vote(2, block, Verdict.UNKNOWN))
    tally.add(build.vote(3, block, Verdict.INVALID, bytes(32)))
    assert not tally.is_impossible(everybody)
    tally.add(build.vote(2, block, Verdict.INVALID, bytes(32)))
    assert tally.is_impossible(everybody)
    tally.add(build.vote(2, block))  # at a later head it knows better
    assert not tally.is_impossible(frozenset({1}))


def test_a_vote_that_does_not_hold_is_named_and_convicts_nobody_else(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    monkeypatch.setattr(limits, "VERIFIED_BATCHES_MAX", 1)
    checker = VoteChecker(roster_of(build))
    good = [build.vote(slot, block) for slot in (1, 2)]
    assert checker.bad_votes(good) == ()
    assert checker.bad_votes(good[1:]) == ()
    forged = replace(build.vote(3, block), signature=bytes(64))
    moved = replace(good[0], index=5)
    stranger = replace(good[1], header=replace(good[1].header, slot=9))
    assert checker.bad_votes([moved, good[1], forged, stranger]) == (1, 3, 9)
