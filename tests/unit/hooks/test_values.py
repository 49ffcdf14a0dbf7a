"""Free values fit the record, and the usual secrets are not in it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scichain_wf import limits
from scichain_wf.hooks.redaction import REDACTED
from scichain_wf.hooks.values import Fitting, clean, name
from scichain_wf.model import canonical
from scichain_wf.model.schema import Free

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.characters(categories=["Cs"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
)


@given(VALUES)
def test_any_value_fits_a_free_field(value: object) -> None:
    fitted = Fitting().free("params", value)
    Free().check(fitted)
    canonical.encode(fitted)


def test_types_are_kept_where_the_record_has_them() -> None:
    value = {"a": 1, "b": True, "c": None, "d": "text", "e": [1, (2,)], "f": {"g": -1}}
    assert Fitting().free("p", value) == {"a": 1, "b": True, "c": None, "d": "text", "e": [1, [2]], "f": {"g": -1}}
    odd = [1.5, 2**60, b"\xff", Path("x/y"), {3, 1}, "\udcff"]
    assert Fitting().free("p", odd) == ["1.5", str(2**60), "ff", "x/y", [1, 3], "\\xff"]


def test_deep_long_and_many_values_are_cut_and_listed() -> None:
    deep: list[object] = []
    for _ in range(100):
        deep = [deep]
    for value in (deep, "x" * 10_000, list(range(50_000)), {"k" * 1000: 1}):
        fitting = Fitting()
        canonical.encode(fitting.free("params", value))
        assert fitting.truncated == {"params"}
    fitting = Fitting()
    assert len(fitting.text("command", "x" * 100_000)) == limits.TEXT_CHARS_MAX
    assert fitting.truncated == {"command"}


def test_a_parameter_whose_repr_fails_is_named_by_its_type() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    assert Fitting().free("p", Odd()) == "<Odd: RuntimeError>"


def test_values_whose_own_methods_fail_are_named_by_their_type() -> None:
    class Odd(PurePosixPath):
        def fails(self, *_: object) -> NoReturn:
            raise RuntimeError

        __str__ = __repr__ = __eq__ = __bool__ = fails
        __hash__ = PurePosixPath.__hash__

    named = "<Odd: RuntimeError>"
    found = Fitting().free("p", {"path": Odd(), "set": {Odd("a")}, Odd("b"): 1, "password": Odd()})
    assert found == {"path": named, "set": [named], named: 1, "password": REDACTED}


def test_text_is_listed_where_a_secret_was_replaced() -> None:
    fitting = Fitting()
    assert fitting.text("command", "curl --password hunter2 x") == f"curl --password {REDACTED} x"
    assert fitting.text("other", "curl x") == "curl x"
    assert fitting.redacted == {"command"}


def test_values_under_secret_names_are_replaced() -> None:
    fitting = Fitting()
    value = fitting.free(
        "params", {"db_password": "x", "Token": ["y"], "nested": {"API-KEY": 3}, "password": "", "n": 1}
    )
    assert value == {
        "db_password": REDACTED,
        "Token": REDACTED,
        "nested": {"API-KEY": REDACTED},
        "password": "",
        "n": 1,
    }
    assert fitting.redacted == {"params"}


def test_names_are_one_line_of_valid_unicode_and_never_empty() -> None:
    assert name("a\nb\x1b[1m") == "a?b?[1m"
    assert name("") == "?"
    assert len(name("x" * 10_000)) == limits.NAME_CHARS_MAX


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain", "plain"), ("ü", "ü"), ("a\udcff", "a\\xff"), ("a\ud800b", "a\\ud800b"), ("\udcc3\udcbc", "ü")],
)
def test_text_becomes_valid_unicode(text: str, shown: str) -> None:
    assert clean(text) == shown
