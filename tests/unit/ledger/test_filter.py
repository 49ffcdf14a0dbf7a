"""The membership filter: never a false no, few false yes, stable bytes."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scichain_wf import limits
from scichain_wf.errors import DecodeError, UsageError
from scichain_wf.ledger import filter as filters
from scichain_wf.ledger.filter import MembershipFilter
from scichain_wf.ledger.keys import uri_key

SALT = bytes(range(16))


def uri(number: int) -> bytes:
    return uri_key(f"work:00112233445566aa/results/{number}.bam")


@pytest.fixture(scope="module")
def large() -> MembershipFilter:
    return MembershipFilter(SALT, map(uri, range(100_000)))


def test_everything_added_is_found(large: MembershipFilter) -> None:
    assert all(uri(number) in large for number in range(100_000))


def test_false_positives_are_below_one_in_two_thousand(large: MembershipFilter) -> None:
    tried = 100_000
    wrong = sum(uri(number) in large for number in range(1_000_000, 1_000_000 + tried))
    assert wrong / tried < 1 / 2_000


def test_each_key_has_at_least_the_promised_bits(large: MembershipFilter) -> None:
    assert 8 * large.size_bytes / len(large) >= limits.FILTER_BITS_PER_KEY
    assert len(large) >= 100_000 * (1 - 1 / 2_000)


def test_errors_of_two_salts_are_independent(large: MembershipFilter) -> None:
    other = MembershipFilter(bytes(16), map(uri, range(100_000)))
    candidates = range(1_000_000, 1_200_000)
    wrong = {number for number in candidates if uri(number) in large}
    assert wrong
    assert len([number for number in wrong if uri(number) in other]) <= 1


def test_a_key_added_again_takes_no_room() -> None:
    small = MembershipFilter(SALT)
    for _ in range(3):
        small.add(b"a")
    assert len(small) == 1


def test_bytes_round_trip_and_the_copy_grows_on(large: MembershipFilter) -> None:
    copy = MembershipFilter.decode(large.encode())
    assert copy.encode() == large.encode()
    assert len(copy) == len(large)
    before = len(copy)
    copy.add(b"new")
    assert len(copy) == before + 1
    assert b"new" in copy


@given(st.sets(st.binary(max_size=40)), st.binary(min_size=16, max_size=16))
def test_no_false_no_for_any_key_and_salt(members: set[bytes], salt: bytes) -> None:
    small = MembershipFilter(salt, members)
    assert all(key in small for key in members)
    assert all(key in MembershipFilter.decode(small.encode()) for key in members)


def test_a_damaged_filter_is_refused_wherever_the_damage_is() -> None:
    data = MembershipFilter(SALT, [b"a"]).encode()
    rng = random.Random(5)
    for at in [0, 30, 40, 50, len(data) - 1, *(rng.randrange(len(data)) for _ in range(50))]:
        with pytest.raises(DecodeError):
            MembershipFilter.decode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    for cut in (0, 10, 60, len(data) - 1):
        with pytest.raises(DecodeError):
            MembershipFilter.decode(data[:cut])


@pytest.mark.parametrize(("layers", "keys"), [(0, 0), (2, 0), (33, 0), (255, 0), (1, 4_097)])
def test_a_wrong_head_is_refused_though_its_sum_is_right(layers: int, keys: int) -> None:
    data = bytearray(MembershipFilter(SALT).encode()[:-32])
    at = len(filters._MAGIC)
    data[at : at + filters._HEAD.size] = filters._HEAD.pack(SALT, layers, keys)
    with pytest.raises(DecodeError):
        MembershipFilter.decode(bytes(data) + hashlib.sha256(data).digest())


def test_a_salt_of_another_length_is_refused() -> None:
    with pytest.raises(UsageError):
        MembershipFilter(b"short")


def test_a_full_filter_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "_LAYERS_MAX", 1)
    monkeypatch.setattr(filters, "_FIRST_KEYS", 8)
    small = MembershipFilter(SALT, map(uri, range(8)))
    with pytest.raises(UsageError, match="full"):
        small.add(b"one more")
