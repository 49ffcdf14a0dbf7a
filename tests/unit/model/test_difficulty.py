"""The difficulty of a block: fixed, or from the pace of the chain."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scichain_wf import limits
from scichain_wf.errors import DecodeError
from scichain_wf.model.difficulty import DIFFICULTY, Difficulty, anchors, expected, needed
from scichain_wf.model.schema import check_record

ADAPTIVE = Difficulty("adaptive", 1, 100, 500_000)
MINING = st.sampled_from(["own", "race"])
RULES = st.builds(
    Difficulty,
    st.just("adaptive"),
    st.integers(0, limits.DIFFICULTY_MAX),
    st.integers(1, 1_000),
    st.integers(1, limits.HASHES_PER_S_MAX),
)
SLOTS = st.integers(1, limits.SLOTS_MAX)
TOOK_US = st.integers(-limits.INTEGER_MAX, limits.INTEGER_MAX)


def after(took_us: int, rule: Difficulty = ADAPTIVE, mining: str = "own", slots: int = 1) -> int:
    """The difficulty on a parent whose anchors are so far apart."""
    times = {0: 7, limits.RETARGET_LINKS: 7 + took_us}
    return expected(rule, mining, slots, limits.RETARGET_LINKS, times.__getitem__)


def no_times(height: int) -> int:
    raise AssertionError(f"the time of link {height} was asked for")


@pytest.mark.parametrize("height", [-1, 0, 31, 32, 10**9])
def test_a_fixed_difficulty_asks_for_no_times(height: int) -> None:
    assert [expected(Difficulty(value=v), "race", 9, height, no_times) for v in range(7)] == list(range(7))


@pytest.mark.parametrize("height", [-1, 0, limits.RETARGET_LINKS - 1])
def test_before_there_are_anchors_the_stated_value_holds(height: int) -> None:
    assert anchors(height) is None
    assert expected(replace(ADAPTIVE, value=4), "own", 3, height, no_times) == 4


@given(st.integers(limits.RETARGET_LINKS, limits.INTEGER_MAX))
def test_anchors_are_a_period_apart_at_or_below_the_parent(height: int) -> None:
    found = anchors(height)
    assert found is not None
    first, second = found
    assert second - first == limits.RETARGET_LINKS
    assert first % limits.RETARGET_LINKS == 0
    assert second <= height < second + limits.RETARGET_LINKS


@given(st.integers(0, 10 * limits.RETARGET_LINKS), st.integers(0, 3 * limits.RETARGET_LINKS))
def test_who_begins_with_some_links_needs_two_anchors_at_most(size: int, later: int) -> None:
    """What a block on any parent from the newest link on follows from is told, or comes as a link."""
    told = set(needed(size))
    assert len(told) <= 2
    assert all(height < size for height in told)
    heights = anchors(max(size - 1, 0) + later) or ()
    assert {height for height in heights if height < size} <= told


def test_an_empty_chain_has_no_anchors() -> None:
    assert list(needed(0)) == []
    assert list(needed(1)) == list(needed(limits.RETARGET_LINKS)) == [0]


@pytest.mark.parametrize(
    ("interval_us", "mining", "slots", "wanted"),
    [
        # 16^d hashes at 500,000 a second within a tenth of the interval: 2 to 5.12 ms, 3 to 81.92 ms, 4 to 1.31 s.
        (0, "own", 1, 2),
        (50_000, "own", 1, 2),
        (81_919, "own", 1, 2),
        (81_920, "own", 1, 3),
        (10**9, "own", 1, 3),
        (-5, "own", 1, 2),
        (10_000, "own", 20, 3),
        (10_000, "race", 20, 4),
        (1_000_000, "race", 1_024, 6),
        (1_000_000, "race", 4, 4),
    ],
)
def test_the_difficulty_follows_the_interval_between_one_nodes_blocks(
    interval_us: int, mining: str, slots: int, wanted: int
) -> None:
    assert after(interval_us * limits.RETARGET_LINKS, mining=mining, slots=slots) == wanted


def test_where_not_even_one_hash_fits_there_is_no_puzzle() -> None:
    assert after(0, Difficulty("adaptive", 6, 1, 1)) == 0


@given(RULES, MINING, SLOTS, TOOK_US, TOOK_US)
def test_it_never_falls_when_links_take_longer(rule: Difficulty, mining: str, slots: int, one: int, other: int) -> None:
    assert after(min(one, other), rule, mining, slots) <= after(max(one, other), rule, mining, slots)


@given(RULES, MINING, SLOTS, TOOK_US, st.integers(1, limits.HASHES_PER_S_MAX), st.integers(1, 1_000))
def test_it_never_falls_with_a_faster_node_or_a_larger_share(
    rule: Difficulty, mining: str, slots: int, took_us: int, hashes_per_s: int, share: int
) -> None:
    faster = replace(rule, hashes_per_s=max(rule.hashes_per_s, hashes_per_s))
    larger = replace(rule, share_permille=max(rule.share_permille, share))
    found = after(took_us, rule, mining, slots)
    assert type(found) is int
    assert 0 <= found <= limits.DIFFICULTY_MAX
    assert found <= after(took_us, faster, mining, slots)
    assert found <= after(took_us, larger, mining, slots)
    assert found <= after(took_us, rule, "race", slots)


@given(st.one_of(RULES, st.builds(Difficulty, st.just("fixed"), st.integers(0, limits.DIFFICULTY_MAX))))
def test_a_rule_comes_back_from_its_record(rule: Difficulty) -> None:
    value = rule.as_value()
    check_record(DIFFICULTY, value, "difficulty")
    assert Difficulty.from_value(value) == rule


@pytest.mark.parametrize(
    "change",
    [
        {"rule": "other"},
        {"rule": "fixed"},
        {"value": limits.DIFFICULTY_MAX + 1},
        {"value": -1},
        {"value": None},
        {"share_permille": 0},
        {"share_permille": 1_001},
        {"share_permille": None},
        {"hashes_per_s": 0},
        {"hashes_per_s": limits.HASHES_PER_S_MAX + 1},
        {"hashes_per_s": None},
        {"more": 1},
    ],
)
def test_a_rule_of_the_wrong_shape_is_refused(change: dict[str, Any]) -> None:
    value = copy.deepcopy(ADAPTIVE.as_value()) | change
    with pytest.raises(DecodeError):
        check_record(DIFFICULTY, {name: item for name, item in value.items() if item is not None}, "difficulty")
