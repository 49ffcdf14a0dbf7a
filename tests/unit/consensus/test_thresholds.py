"""Quorums of 1 to 200 slots, against counters that build the sets of slots and count what they share."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations

import pytest

from scichain_wf.consensus.certify import Tally
from scichain_wf.consensus.roster import Roster
from scichain_wf.model.epoch import Settings
from scichain_wf.model.verdict import BatchHeader, Entry, Verdict, Vote
from tests.builders import ChainBuilder, signing_key

RULES = ("majority", "byzantine")
SLOTS = range(1, 201)
BLOCK = b"b" * 32


@cache
def roster(slots: int, rule: str) -> Roster:
    """An epoch of so many slots; nothing here checks a signature, so that one key serves them all."""
    build = _builder()
    epoch = replace(build.epoch, slots=slots, settings=Settings(quorum=rule))
    made = Roster(epoch, build.chain)
    made.keys = dict.fromkeys(range(1, slots + 1), signing_key(1, "any slot").public)
    return made


@cache
def _builder() -> ChainBuilder:
    return ChainBuilder(slots=1)


def vote(slots: int, rule: str, slot: int, verdict: Verdict) -> Vote:
    entry = Entry(BLOCK, verdict, bytes(32) if verdict is Verdict.INVALID else None)
    who = roster(slots, rule)
    header = BatchHeader(who.chain, who.number, slot, 1, bytes(32), 1, 1, entry.leaf())
    return Vote(header, bytes(64), entry, 0, ())


def faulty_slots(slots: int) -> int:
    """The largest f with f < N/3, found by trying one more until it is too many."""
    faulty = 0
    while (faulty + 1) * 3 < slots:
        faulty += 1
    return faulty


def fewest_shared(slots: int, quorum: int) -> int:
    """How many slots the two sets of this size share that lie as far apart as they can."""
    return len(set(range(quorum)) & set(range(slots - quorum, slots)))


@pytest.mark.parametrize("slots", range(1, 9))
def test_the_two_ends_of_the_list_are_the_sets_that_share_the_fewest(slots: int) -> None:
    """What `fewest_shared` builds on, with every pair of sets."""
    for quorum in range(1, slots + 1):
        sets = [set(chosen) for chosen in combinations(range(slots), quorum)]
        assert min(len(one & other) for one in sets for other in sets) == fewest_shared(slots, quorum)


def test_majority_is_the_smallest_size_of_which_two_share_a_slot() -> None:
    """Spec: SAFE-4. SciChain Protocol 1, line 9: |VNodes| > N/2."""
    for slots in SLOTS:
        quorum = roster(slots, "majority").quorum
        assert quorum == min(size for size in range(1, slots + 1) if fewest_shared(slots, size) >= 1), slots
        assert quorum == min(size for size in range(1, slots + 1) if size > slots / 2), slots


def test_byzantine_is_the_smallest_size_of_which_two_share_an_honest_slot() -> None:
    """Spec: SAFE-4. With as many liars as f < N/3 allows, all of them in both quorums."""
    for slots in SLOTS:
        quorum, faulty = roster(slots, "byzantine").quorum, faulty_slots(slots)
        assert quorum == min(size for size in range(1, slots + 1) if fewest_shared(slots, size) > faulty), slots
        assert quorum <= slots - faulty, f"the honest ones of {slots} slots must be able to certify alone"


def test_how_many_liars_two_conflicting_majorities_take() -> None:
    """Of odd N one, of even N two: why only the append orders (ARCHITECTURE.md, "What a certificate proves")."""
    for slots in SLOTS:
        assert fewest_shared(slots, roster(slots, "majority").quorum) == (1 if slots % 2 else 2), slots


@pytest.mark.parametrize("rule", RULES)
def test_the_tally_has_its_quorum_with_just_so_many_slots(rule: str) -> None:
    """Spec: SAFE-4."""
    for slots in SLOTS:
        tally, needed = Tally(roster(slots, rule), BLOCK), roster(slots, rule).quorum
        for slot in range(1, needed):
            tally.add(vote(slots, rule, slot, Verdict.VALID))
            tally.add(vote(slots, rule, slot, Verdict.VALID))  # a slot counts once
        assert not tally.has_quorum(), slots
        tally.add(vote(slots, rule, needed, Verdict.VALID))
        assert tally.has_quorum(), slots
        assert [v.header.slot for v in tally.certificate(None).votes] == list(range(1, needed + 1))


@pytest.mark.parametrize("rule", RULES)
def test_the_tally_gives_up_with_just_so_many_refusals(rule: str) -> None:
    """POET begins when too few slots are left, not one refusal earlier (SciChain Protocol 2, line 10)."""
    for slots in SLOTS:
        everybody, tally = range(1, slots + 1), Tally(roster(slots, rule), BLOCK)
        for slot in everybody:
            left = [other for other in everybody if other >= slot]  # those that have not refused yet
            assert tally.is_impossible(everybody) == (len(left) < roster(slots, rule).quorum), (slots, slot)
            tally.add(vote(slots, rule, slot, Verdict.INVALID))
        assert tally.is_impossible(everybody), slots


@pytest.mark.parametrize("rule", RULES)
def test_silence_does_not_shrink_the_quorum(rule: str) -> None:
    """N is how many slots the epoch has, not how many of them have a key (30-post, Membership)."""
    for slots in SLOTS:
        empty = Roster(roster(slots, rule).epoch, bytes(32))
        assert not empty.keys
        assert empty.quorum == roster(slots, rule).quorum
