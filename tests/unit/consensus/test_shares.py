"""Room that slots share: nobody loses anything to one that takes more."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from scichain_wf.consensus.shares import Shares

ROOM = 12


def kept(shares: Shares[str, str], keys: str) -> str:
    return "".join(key for key in keys if shares.get(key) is not None)


def test_the_oldest_of_the_slot_that_takes_most_goes() -> None:
    shares: Shares[str, str] = Shares(4, 4)
    for key, slot in zip("abcd", (1, 2, 1, 1), strict=True):
        assert shares.put(key, slot, key.upper(), 0) == []
    assert shares.put("e", 1, "E", 1) == ["a"]
    assert shares.put("f", 2, "F", 1) == ["c"]
    assert shares.put("g", 3, "G", 1) == ["d"]  # slots 1 and 2 take as much as each other
    assert shares.put("h", 3, "H", 1) == ["g"]  # and so would slot 3, who asks
    assert kept(shares, "abcdefgh") == "befh"
    assert shares.get("e") == "E"


def test_a_slot_that_takes_as_much_as_any_displaces_its_own() -> None:
    shares: Shares[str, str] = Shares(4, 4)
    for key, slot in zip("abcd", (1, 1, 2, 2), strict=True):
        shares.put(key, slot, key, 1)
    assert shares.put("e", 2, "e", 1) == ["c"]
    shares.discard("a")
    assert shares.put("f", 2, "f", 3) == ["d", "e"]  # room for one was there, not for three
    assert kept(shares, "abcdef") == "bf"


def test_large_items_take_more_room_and_small_ones_no_less_than_their_part() -> None:
    shares: Shares[str, str] = Shares(10, 3)  # none counts for less than four
    assert shares.put("a", 1, "a", 1) == []
    assert shares.put("b", 1, "b", 6) == []
    assert shares.put("c", 1, "c", 4) == ["a"]
    assert shares.put("d", 1, "d", 11) == ["b", "c", "d"]
    assert shares.put("e", 1, "e", 10) == []
    small: Shares[str, str] = Shares(10, 3)
    assert [small.put(key, 1, key, 0) for key in "abc"] == [[], [], ["a"]]


def test_an_item_that_comes_again_takes_the_place_of_the_first_and_is_the_newest() -> None:
    shares: Shares[str, str] = Shares(2, 2)
    for key, item in (("a", "first"), ("b", "b"), ("a", "second")):
        assert shares.put(key, 1, item, 1) == []
    assert shares.get("a") == "second"
    assert shares.put("c", 1, "c", 1) == ["b"]


def test_everything_is_taken_in_order_of_arrival_and_there_is_room_again() -> None:
    shares: Shares[str, str] = Shares(2, 2)
    shares.discard("none")
    shares.put("a", 2, "A", 1)
    shares.put("b", 1, "B", 1)
    assert shares.take() == [(2, "A"), (1, "B")]
    assert shares.take() == []
    assert shares.get("a") is None
    assert shares.put("c", 1, "C", 1) == shares.put("d", 2, "D", 1) == []


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 4), st.integers(0, 7), st.booleans())))
def test_a_slot_loses_something_only_to_one_that_takes_no_more(puts: list[tuple[int, int, int, bool]]) -> None:
    """A liar that sends as much as it likes takes nothing from those that take less."""
    shares: Shares[int, int] = Shares(ROOM, ROOM)
    costs: dict[int, tuple[int, int]] = {}
    for key, slot, size, goes in puts:
        if goes:
            shares.discard(key)
            costs.pop(key, None)
            continue
        costs.pop(key, None)
        costs[key] = slot, max(1, size)
        for gone in shares.put(key, slot, key, size):
            takes: Counter[int] = Counter()
            for owner, cost in costs.values():
                takes[owner] += cost
            owner = costs.pop(gone)[0]
            assert takes[owner] == max(takes.values())
            assert owner == slot or takes[owner] > takes[slot]
        assert sum(cost for _, cost in costs.values()) <= ROOM
        assert [key for key in range(21) if shares.get(key) is not None] == sorted(costs)
    assert shares.take() == [(costs[key][0], key) for key in costs]
