"""Fields: what each takes, what its message says, and that its compiled test agrees with its check."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scichain_wf import limits
from scichain_wf.errors import DecodeError, UnsupportedVersion
from scichain_wf.model import fast, schema
from scichain_wf.model.schema import (
    AnyOf,
    Array,
    Choice,
    Embedded,
    Field,
    Flag,
    Free,
    FreeObject,
    Integer,
    Nullable,
    Record,
    Text,
    check_parsed,
    check_record,
)
from scichain_wf.model.uri import UriField


class Colour(StrEnum):
    RED = "red"


FIELDS: dict[str, tuple[Field, list[Any], list[Any]]] = {
    "text": (Text(3), ["a", "abc", "é\n"], ["", "abcd", None, 1, b"a", Colour.RED]),
    "empty text": (Text(3, chars_min=0), ["", "abc"], ["abcd"]),
    "pattern": (Text(9, "a|bc+"), ["a", "bcc"], ["ab", "a\n", "abc", "xa", "bcx"]),
    "prefix": (Text(6, prefix="a.c:"), ["a.c:x", "a.c:\n"], ["a.c:", "abc:x", "x", "a.c:xyz"]),
    "integer": (Integer(-2, 5), [-2, 0, 5], [-3, 6, True, False, 1.0, "1", None, 2**64]),
    "flag": (Flag(), [True, False], [0, 1, None, "true"]),
    "choice": (Choice("a", 1), ["a", 1], ["b", True, 2, 1.0, None, [], {}]),
    "enum choice": (Choice(*Colour), ["red"], ["RED", Colour.RED, None, ["red"]]),
    "number choice": (Choice(1), [1], [True, 1.0, "1", 2]),
    "nullable": (Nullable(Integer()), [None, 0], [-1, "a", False]),
    "either": (AnyOf(Choice("a"), Integer()), ["a", 3], ["b", -1, None]),
    "array": (Array(Integer(), 2, items_min=1), [[1], [1, 2]], [[], [1, 2, 3], ["a"], (1,), None, {}]),
    "empty array": (Array(Integer(), 2), [[], [1]], [[1, 2, 3], [None]]),
    "array of arrays": (Array(Array(Flag(), 2), 2), [[], [[]], [[True], [False, True]]], [[1], [[1]], [[True] * 3]]),
    "record": (
        Record({"a": Integer()}, {"b": Flag()}),
        [{"a": 1}, {"a": 1, "b": True}],
        [{}, {"b": True}, {"a": "x"}, {"a": 1, "c": 1}, {"a": 1, "b": 1}, [], None, {1: 1}],
    ),
    "empty record": (Record({}), [{}], [{"a": 1}, []]),
    "array of records": (Array(Record({"a": Integer()}), 2), [[], [{"a": 1}]], [[{}], [1], [{"a": 1}, {"a": -1}]]),
    "free": (Free(), [1, "a", [{"a": None}], {}], [1.5, 2**53, {"é": 1}, [1.5]]),
    "free object": (FreeObject(), [{}, {"a": [1]}], [[], 1, None, {"a": 1.5}]),
    "embedded": (Embedded("it"), [{}, {"a": 1}], [[], None, "a"]),
    "uri": (UriField(), ["file:///a", "s3:" + "a" * 600], ["file:///", "", 1, None, "s3:" + "a" * 9_000]),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_takes_and_refuses_what_it_says(name: str) -> None:
    field, good, bad = FIELDS[name]
    for value in good:
        check_record(field, value, "it")
    for value in bad:
        with pytest.raises(DecodeError, match="it"):
            check_record(field, value, "it")


@pytest.mark.parametrize("name", FIELDS)
def test_the_compiled_test_of_a_field_agrees(name: str) -> None:
    field, good, bad = FIELDS[name]
    record = Record({"x": field})
    assert all(record.fits({"x": value}) for value in good)
    assert not any(record.fits({"x": value}) for value in bad)
    assert not record.fits({})
    assert not record.fits([])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 7) | st.floats(allow_nan=False) | st.text("abcé.:\n", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "é"]), inner, max_size=2),
    max_leaves=6,
)


@given(JSON, st.sampled_from(sorted(FIELDS)))
def test_the_compiled_test_agrees_on_any_value(value: object, name: str) -> None:
    record = Record({"x": FIELDS[name][0]})
    parsed = orjson.loads(orjson.dumps({"x": value}))
    try:
        check_record(record, parsed, "it")
    except DecodeError:
        assert not record.fits(parsed)
    else:
        assert record.fits(parsed)


@pytest.mark.parametrize("name", FIELDS)
def test_the_json_schema_takes_what_the_field_takes(name: str) -> None:
    field, good, bad = FIELDS[name]
    rendered = field.json_schema()
    if name == "embedded":
        assert rendered == {"$ref": "it.schema.json"}
        return
    jsonschema.Draft202012Validator.check_schema(rendered)
    validator = jsonschema.Draft202012Validator(rendered)
    assert all(validator.is_valid(value) for value in good)
    if name not in {"free", "free object", "uri"}:  # those say more than JSON Schema can
        # A float without a fraction is an integer to JSON Schema, and to Python's `$` a final newline is nothing.
        plain = (int, bool, str, list, type(None), dict)
        refused = [value for value in bad if type(value) in plain and value not in ({1: 1}, "a\n")]
        assert not any(validator.is_valid(value) for value in refused)


def test_lone_surrogates_are_refused_in_every_text() -> None:
    for field in (Text(9), Text(9, r"[\s\S]+"), Free(), Text(9, prefix="a")):
        with pytest.raises(DecodeError, match="surrogate"):
            check_record(field, "a\udcff", "it")


def test_a_message_names_the_path_and_the_rule() -> None:
    record = Record({"a": Array(Record({"b": Integer(0, 9)}), 5)})
    with pytest.raises(DecodeError, match=r"^it\.a\[1\]\.b: 10 is outside 0 to 9$"):
        check_record(record, {"a": [{"b": 1}, {"b": 10}]}, "it")
    with pytest.raises(DecodeError, match=r"^it\.a\[0\]: missing b$"):
        check_record(record, {"a": [{}]}, "it")
    with pytest.raises(DecodeError, match=r"^it: unknown field 'c'$"):
        check_record(record, {"a": [], "c": 1}, "it")


@pytest.mark.parametrize("sign", [1, -1])
def test_integers_that_python_will_not_print_are_refused(sign: int) -> None:
    value = sign * 10**5_000
    for field in (Integer(), Choice(1), Text(3), Free(), Array(Flag(), 1), Record({})):
        with pytest.raises(DecodeError):
            check_record(field, value, "it")
    with pytest.raises(DecodeError):
        check_record(Record({}), {value: 1}, "it")
    with pytest.raises(UnsupportedVersion):
        schema.refuse_newer({"version": 10**5_000}, 1, "it")


def test_free_values_leave_room_for_the_levels_around_them() -> None:
    value: object = 1
    for _ in range(limits.RECORD_DEPTH_MAX - 4):
        value = [value]
    check_record(Free(), value, "it")
    with pytest.raises(DecodeError, match="deep"):
        check_record(Free(), [value], "it")


def test_only_so_many_shapes_are_compiled_and_the_others_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "SHAPES_MAX", 2)
    record = Record({}, {name: Integer() for name in "abcd"})
    shapes: list[dict[str, object]] = [{"a": 1}, {"b": 1}, {"c": 1}]
    assert [record.fits(shape) for shape in shapes] == [True, True, False]
    for shape in shapes:
        check_parsed(record, shape, "it")
    with pytest.raises(DecodeError):
        check_parsed(record, {"c": -1}, "it")


def test_nothing_of_a_record_becomes_code() -> None:
    record = Record({"a": Text(99)})
    hostile = "__import__('os')._exit(1)"
    assert record.fits({"a": hostile})
    assert not record.fits({hostile: "a"})
    assert not record.fits({"a": "x", hostile: "a"})
