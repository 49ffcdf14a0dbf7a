"""Canonical bytes: equal to RFC 8785 inside the subset, refused outside."""

from __future__ import annotations

import tracemalloc

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from scichain_wf import limits
from scichain_wf.errors import DecodeError
from scichain_wf.model import canonical
from tests.oracles import canonical as oracle

INTEGERS = st.integers(-limits.INTEGER_MAX, limits.INTEGER_MAX)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
KEYS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=30,
)
BIG = 1 << 20


@given(DOCUMENTS)
def test_bytes_equal_rfc8785_and_come_back(document: canonical.JsonValue) -> None:
    data = canonical.encode(document)
    assert data == rfc8785.dumps(document)
    assert canonical.decode(data, BIG) == document
    assert canonical.decode(memoryview(data), BIG) == document


def test_the_oracle_command_covers_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert oracle.main(["--documents", "500", "--seed", "3"]) == 0
    assert "500 random documents equal rfc8785" in capsys.readouterr().out


@pytest.mark.parametrize("name", oracle.foreign_values())
def test_what_is_outside_the_subset_is_refused_when_built(name: str) -> None:
    value = oracle.foreign_values()[name]
    for document in (value, [value], {"a": [{"b": value}]}):
        with pytest.raises(DecodeError):
            canonical.encode(document)
        assert not canonical.is_subset(document)


@pytest.mark.parametrize("name", oracle.respellings())
def test_other_spellings_are_refused_when_read(name: str) -> None:
    with pytest.raises(DecodeError):
        canonical.decode(oracle.respellings()[name]({"a": 1, "b": "x"}), BIG)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_document_or_a_decode_error(data: bytes) -> None:
    try:
        value = canonical.decode(data, BIG)
    except DecodeError:
        return
    assert canonical.encode(value) == data


@given(st.text(st.sampled_from('[]{}":,0123456789.eE+-truefalsn\\u /a'), max_size=40))
def test_nearly_json_is_a_document_or_a_decode_error(text: str) -> None:
    try:
        value = canonical.decode(text.encode(), BIG)
    except DecodeError:
        return
    assert rfc8785.dumps(value) == text.encode()


def test_the_limit_is_in_bytes_whatever_the_buffer_counts() -> None:
    data = b"[" + b",".join([b"1"] * 8) + b",10]"
    wide = memoryview(data).cast("I")
    assert len(data) == 20
    assert canonical.decode(data, 20)
    assert canonical.decode(wide, 20)
    for spelling in (data, wide):
        with pytest.raises(DecodeError, match="over the limit"):
            canonical.decode(spelling, 19)


def test_the_deepest_document_allowed_is_allowed() -> None:
    assert canonical.encode(oracle.nested(limits.RECORD_DEPTH_MAX)).startswith(b"[[")


def test_nesting_beyond_the_parsers_own_limit_is_a_decode_error() -> None:
    for depth in (300, 1_000, 1_100, 200_000):
        with pytest.raises(DecodeError):
            canonical.parse(b"[" * depth + b"]" * depth, BIG)


def test_a_document_over_its_limit_is_refused_before_it_is_written() -> None:
    with pytest.raises(DecodeError, match="header of 4 bytes is over the limit of 3"):
        canonical.dumps("ab", 3, "header")
    assert canonical.dumps("a", 3, "header") == b'"a"'


def test_text_without_a_utf8_form_is_not_written_even_where_it_was_not_checked() -> None:
    with pytest.raises(DecodeError, match="header cannot be written"):
        canonical.dumps({"a": "\ud800"}, what="header")


def test_any_value_can_be_shown_in_a_message() -> None:
    for value in (*oracle.foreign_values().values(), "x" * 1_000, 2**64, None, True, []):
        assert 0 < len(canonical.shown(value)) < 600


def test_what_is_written_takes_no_more_memory_than_it_needs() -> None:
    """Headers and votes are remembered by the ten thousand; each took 4 KiB."""
    value, count = {"name": "x" * 300}, 100
    tracemalloc.start()
    try:
        kept = [canonical.dumps(value) for _ in range(count)]
        assert tracemalloc.get_traced_memory()[0] < 512 * count
    finally:
        tracemalloc.stop()
    assert len(kept[0]) == 311
