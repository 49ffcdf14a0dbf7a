"""Spelling of the indexes' keys."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scichain_wf.ledger.keys import DATABASES, OUTPUT, height_key, node_key, position, successor, uri_key
from scichain_wf.model.uri import work_uri

ROOT = "00112233445566aa"
NUMBERS = st.integers(0, 2**64 - 1)


@given(NUMBERS, NUMBERS)
def test_heights_sort_as_numbers(a: int, b: int) -> None:
    assert (height_key(a) < height_key(b)) == (a < b)


@given(st.tuples(NUMBERS, st.integers(0, 2**32 - 1)), st.tuples(NUMBERS, st.integers(0, 2**32 - 1)))
def test_positions_sort_in_commit_order(a: tuple[int, int], b: tuple[int, int]) -> None:
    assert (position(*a) < position(*b)) == (a < b)


def test_tree_nodes_sort_by_level_then_index() -> None:
    assert node_key(0, 2**40) < node_key(1, 0) < node_key(1, 1)


PATHS = st.binary(min_size=1, max_size=600).filter(
    lambda path: b"\0" not in path and all(part not in (b"", b".", b"..") for part in path.split(b"/"))
)


@given(PATHS, PATHS)
def test_no_uri_key_begins_another_and_each_fits_lmdb(a: bytes, b: bytes) -> None:
    first, second = uri_key(work_uri(ROOT, a)), uri_key(work_uri(ROOT, b))
    assert len(first) + OUTPUT.size <= 511
    assert (first == second) == (a == b)
    if a != b:
        assert not first.startswith(second)


def test_uri_keys_change_form_at_401_bytes() -> None:
    short, long = work_uri(ROOT, b"x" * (400 - 22)), work_uri(ROOT, b"x" * (401 - 22))
    assert (len(short), len(long)) == (400, 401)
    assert uri_key(short) == b"s" + short.encode() + b"\0"
    assert uri_key(long)[:1] == b"l"
    assert uri_key(long)[1:369] == long.encode()[:368]
    assert len(uri_key(long)) == 1 + 368 + 32


@given(st.binary(max_size=5), st.binary(max_size=7))
def test_the_successor_is_the_first_key_after_all_with_the_prefix(prefix: bytes, other: bytes) -> None:
    after = successor(prefix)
    if not after:
        assert prefix.strip(b"\xff") == b""
    elif other.startswith(prefix):
        assert other < after
    else:
        assert (other < prefix) != (other >= after)


def test_database_names_are_distinct() -> None:
    assert len(set(DATABASES)) == len(DATABASES) == 11
