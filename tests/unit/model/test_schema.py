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
from scichain_wf.model import canonical, schema
from scichain_wf.model.schema import (
    AnyOf,
    Array,
    Choice,
    Embedded,
    Field,
    Flag,
    Free,
    FreeObject,
    Hex,
    Integer,
    Nullable,
    Record,
    Text,
    check_record,
)
from scichain_wf.model.uri import UriField


class Colour(StrEnum):
    RED = "red"


FIELDS: dict[str, tuple[Field, list[Any], list[Any]]] = {
    "text": (Text(3), ["a", "abc", "é\n"], ["", "abcd", None, 1, b"a", Colour.RED]),
    "empty text": (Text(3, chars_min=0), ["", "abc"], ["abcd"]),
    "long text": (Text(9, chars_min=3), ["abc", "ééé"], ["ab", "éé", "\n\n"]),
    "prefix": (Text(2, prefix="a.c:"), ["a.c:x", "a.c:\n", "a.c:éé"], ["a.c:", "abc:x", "x", "a.c:xyz"]),
    "hex": (Hex(4, "x:"), ["x:00ff"], ["x:00fF", "x:00f", "00ff", "x:00ff\n", "x:00ff0", "x:00f\u0663", 1, None, ""]),
    "integer": (Integer(-2, 5), [-2, 0, 5], [-3, 6, True, False, 1.0, "1", None, 2**63]),
    "count": (Integer(), [0, 1, 9, 10, 2**53 - 1, 1_750_000_000_000_000], [-1, 2**53, 1.0, 1e3, True]),
    "signed": (Integer(-(2**53) + 1), [0, -1, 7, 2**53 - 1, -(2**53) + 1], [2**53, -(2**53), -1.5]),
    "from one": (Integer(1, 2_345), [1, 9, 10, 2_000, 2_345], [0, -1, 2_346, 10_000]),
    "from minus one": (Integer(-1), [-1, 0, 10], [-2, -10]),
    "small": (Integer(-256, 255), [-256, -99, -1, 0, 99, 199, 255], [-257, 256, 1_000, -1_000]),
    "only below zero": (Integer(-99, -50), [-99, -50], [-100, -49, 0, 50]),
    "from far": (Integer(50, 99), [50, 99], [49, 100, 5]),
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


def matches(record: Record, value: object) -> bool:
    """Whether the record's pattern matches the canonical bytes of `value`; they are accepted by the parser first."""
    data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    canonical.parse(data, 1 << 20)
    return bool(record.matches(data))


LEFT_TO_THE_CHECK = {"long text", "embedded", "from far", "only below zero"}


@pytest.mark.parametrize("name", FIELDS)
def test_the_pattern_of_a_field_never_matches_what_does_not_fit(name: str) -> None:
    field, good, bad = FIELDS[name]
    for record in (Record({"x": field}), Record({"x": field, "y": Flag()}), Record({}, {"x": field})):
        more = {"y": True} if "y" in record.regex() else {}
        matched = [matches(record, {"x": value} | more) for value in good]
        assert any(matched) is (name not in LEFT_TO_THE_CHECK)
        json_values = [value for value in bad if not isinstance(value, (bytes, tuple, Colour)) and value != {1: 1}]
        assert not any(matches(record, {"x": value} | more) for value in json_values)


WORDS, NAMES = st.text("abcx.:é\n\"\\/", max_size=5), st.sampled_from(["a", "b", "é", '"', "\\"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-300, 3_000) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=6,
)


@given(JSON, st.sampled_from(sorted(FIELDS)), st.booleans())
def test_the_pattern_never_matches_what_the_check_refuses(value: object, name: str, required: bool) -> None:
    fields = {"x": FIELDS[name][0]}
    record = Record(fields) if required else Record({}, fields)
    parsed = orjson.loads(orjson.dumps({"x": value}))
    if matches(record, parsed):
        check_record(record, parsed, "it")


@given(JSON)
def test_free_values_of_the_subset_match_unless_they_are_deep_or_odd(value: object) -> None:
    record = Record({"x": Free()})
    fits = canonical.is_subset(value)
    matched = matches(record, {"x": value})
    assert fits or not matched
    if fits and not isinstance(value, (dict, list)):
        assert matched


@given(
    st.dictionaries(st.sampled_from("abcdz"), st.integers(-1, 3) | st.just("x"), max_size=5),
    st.sets(st.sampled_from("abcd")),
)
def test_the_pattern_of_a_record_knows_which_fields_are_required(value: dict[str, object], required: set[str]) -> None:
    record = Record({name: Integer() for name in required}, {name: Integer() for name in set("abcd") - required})
    try:
        check_record(record, value, "it")
    except DecodeError:
        assert not matches(record, value)
    else:
        assert matches(record, value)


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
    for field in (Text(9), Free(), Text(9, prefix="a")):
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
