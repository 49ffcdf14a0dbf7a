"""Patterns over bytes: what they match is canonical and fits, so nothing is accepted that parsing would refuse."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scichain_wf import limits
from scichain_wf.errors import DecodeError
from scichain_wf.model import canonical, facts, fast, transaction
from scichain_wf.model.schema import Array, Field, Free, Integer, Record, check_record
from scichain_wf.model.transaction import record_of
from tests.unit.model.samples import respelled, samples

KINDS = sorted(name.removeprefix("transaction-") for name in samples() if name.startswith("transaction-"))
TASK = samples()["transaction-task"].data
SNIPPETS = [b'"', b"\\", b",", b":", b"{", b"}", b"[", b"]", b" ", b"\n", b"\x00", b"\x1f", b"\x7f", b"0", b"-", b"1.0"]
SNIPPETS += [b"\\/", b"\\n", b"\\u0061", b"\\u000a", b"\\u000b", b"\\u001F", b"\\u007f", b"\\ud800", b"\xff"]
SNIPPETS += [b"\xc3\xa9", b"\xed\xa0\x80", b"\xc0\x80", b"null", b"true", b"{}", b"[]", b'"a":1,', b',"a":1', b"%"]
SNIPPETS += [b"1e3", b'"uri":"', b'"digest":"']
TOKEN = re.compile(rb'"|\\.|[,:{}\[\]]|[^",:{}\[\]\\]+')


@cache
def matches(kind: str) -> fast.Match:
    return record_of(kind).matches


def is_right(kind: str, data: bytes) -> bool:
    """What decides: the parser and the check."""
    try:
        check_record(record_of(kind), canonical.parse(data, limits.TRANSACTION_BYTES_MAX), kind)
    except DecodeError:
        return False
    return True


def agree(kind: str, data: bytes) -> bool:
    """Whether the pattern matches; if so, the bytes are right."""
    if not matches(kind)(data):
        return False
    assert is_right(kind, data), data
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_golden_records_match(kind: str) -> None:
    assert agree(kind, samples()[f"transaction-{kind}"].data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_match_survives_no_token_left_out_doubled_or_swapped_unless_all_is_right(kind: str) -> None:
    data = samples()[f"transaction-{kind}"].data
    tokens = TOKEN.findall(data)
    assert b"".join(tokens) == data
    for at in range(len(tokens)):
        agree(kind, b"".join(tokens[:at] + tokens[at + 1 :]))
        agree(kind, b"".join(tokens[: at + 1] + tokens[at:]))
        agree(kind, b"".join(tokens[:at] + tokens[at : at + 2][::-1] + tokens[at + 2 :]))
        for snippet in SNIPPETS:
            agree(kind, b"".join([*tokens[:at], snippet, *tokens[at:]]))
            agree(kind, b"".join([*tokens[:at], snippet, *tokens[at + 1 :]]))


@given(st.data(), st.sampled_from(KINDS))
def test_a_match_survives_no_damage_unless_all_is_right(data: st.DataObject, kind: str) -> None:
    spoilt = bytearray(samples()[f"transaction-{kind}"].data)
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(spoilt)))
        end = min(begin + data.draw(st.integers(0, 12)), len(spoilt))
        again = st.just(bytes(spoilt[end:][:90]))
        spoilt[begin:end] = data.draw(st.sampled_from(SNIPPETS) | st.binary(max_size=4) | again)
    agree(kind, bytes(spoilt))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"attempt":1,', b'"attempt":01,'),
        (b'"attempt":1,', b'"attempt":1.0,'),
        (b'"attempt":1,', b'"attempt":1e0,'),
        (b'"attempt":1,', b'"attempt": 1,'),
        (b'"attempt":1,', b'"attempt":1,"attempt":1,'),
        (b'"mtime_us":-1', b'"mtime_us":-0'),
        (b'"name":"align"', rb'"name":"\u0061lign"'),
        (b'"name":"align"', rb'"name":"al\/ign"'),
        (b'"name":"align"', rb'"name":"al\u001Fign"'),
        (b'"name":"align"', rb'"name":"al\u000aign"'),
        (b'"name":"align"', rb'"name":"al\u007fign"'),
        (b'"name":"align"', rb'"name":"al\ud800ign"'),
        (b'"name":"align"', b'"name":"al\nign"'),
        (b'"name":"align"', b'"name":"al\xffign"'),
        (b'"name":"align"', b'"name":"al\xed\xa0\x80ign"'),
        (b'"name":"align"', b'"name":"al\xc0\x80ign"'),
        (b'"arguments":["x",{"y":[]}]', b'"arguments":["x",{"y":[],}]'),
        (b'"arguments":["x",{"y":[]}]', b'"arguments":["x",{"y":[]},]'),
        (b'"arguments":["x",{"y":[]}]', b'"arguments":["x",{"y":[],"x":1}]'),
        (b'"arguments":["x",{"y":[]}]', b'"arguments":["x",{"y":[],"y":1}]'),
        (b'"arguments":["x",{"y":[]}]', rb'"arguments":["x",{"y":["\u0061"]}]'),
        (b',"modules":["gcc/13"]}', b',"modules":["gcc/13"],}'),
        (b',"modules":["gcc/13"]}', b',"modules":["gcc/13",]}'),
        (b',"modules":["gcc/13"]}', b',"modules":["gcc/13"],"container":"a"}'),
    ],
)
def test_other_spellings_do_not_match(old: bytes, new: bytes) -> None:
    assert old in TASK
    assert matches("task")(TASK)
    assert not matches("task")(TASK.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"name":"align"', b'"name":"al\\n\\u000b\\u001f\\"\\\\\x7f/\xc3\xa9ign"'),
        (b'"arguments":["x",{"y":[]}]', b'"arguments":["x",{"x":1,"y":[]}]'),
        (b',"modules":["gcc/13"]}', b"}"),
    ],
)
def test_the_one_spelling_matches(old: bytes, new: bytes) -> None:
    assert old in TASK
    assert agree("task", TASK.replace(old, new, 1))


@pytest.mark.parametrize("possessive", [True, False])
def test_a_repetition_keeps_no_half_of_a_round_that_failed(possessive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11 before 3.11.5 does, with possessive groups."""
    monkeypatch.setattr(fast, "_POSSESSIVE", possessive and fast._POSSESSIVE)
    for times in ("*", "+", "?", "{1,3}"):
        pattern = fast.repeated("(?:ab?c)", times)
        assert re.fullmatch(pattern, "ac")
        assert not re.fullmatch(pattern, "aca")
        assert not re.fullmatch(pattern, "a")
        assert not re.fullmatch(f"{pattern}c", "ac")  # and gives nothing back


def test_what_is_free_or_taken_is_not_looked_for_in_lists() -> None:
    assert Array(Record({"a": Free()}), 3).regex() == fast.NEVER
    optional: Field = Free()
    record = Record({"b": Integer()}, {"a": optional, "c": Free("c")})
    assert record.matches(b'{"a":{"x":1,"y":2},"b":1,"c":[{"x":1}]}')
    assert not record.matches(b'{"a":{"y":1,"x":2},"b":1,"c":[{"x":1}]}')
    assert not record.matches(b'{"a":1,"b":1,"c":[{"x":1,"x":1}]}')
    assert record.matches(b'{"b":1}')


# --- facts ------------------------------------------------------------------------------------------
@pytest.fixture
def with_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction, "_MATCHES", {kind.encode(): matches(kind) for kind in KINDS})


TRAPS = ['"uri":"', '","uri":"x', '"digest":"sha256:', '"unresolved":true', '"origin":"task:']
TEXTS = st.text("abé\"\\\n/:,{}[]", min_size=1, max_size=6) | st.sampled_from(TRAPS)
DIGESTS = st.sampled_from(["sha256:" + "0f" * 32, "sha256:" + "a1" * 32])
URIS = st.sampled_from(["work:00112233445566aa/a%20b", "file:///x/y", "s3://b/k?uri=1:2", "value:" + "0" * 32 + "/t/1"])
STATES = st.sampled_from(["file", "absent"])
OUTPUTS = st.fixed_dictionaries(
    {"uri": URIS, "role": TEXTS, "state": STATES}, optional={"digest": DIGESTS, "size_bytes": st.just(3)}
)
INPUTS = st.fixed_dictionaries(
    {"uri": URIS, "role": TEXTS, "state": STATES},
    optional={
        "digest": DIGESTS,
        "origin": st.just("source") | TEXTS.map(lambda text: f"task:{text}"),
        "unresolved": st.booleans(),
        "unstable": st.booleans(),
    },
)
NAMES = st.sampled_from(["uri", "inputs", "kind"])
FREE = st.recursive(st.integers(-9, 9) | TEXTS, lambda inner: st.dictionaries(NAMES, inner), max_leaves=4)


@pytest.mark.usefixtures("with_patterns")
@pytest.mark.parametrize("kind", KINDS)
def test_the_facts_of_golden_records_are_those_of_the_parsed_value(kind: str) -> None:
    data = samples()[f"transaction-{kind}"].data
    assert transaction.match(data)
    assert facts.read(data) == facts.of(orjson.loads(data))


@given(st.lists(INPUTS, max_size=4), st.lists(OUTPUTS, max_size=4), FREE, TEXTS)
def test_the_facts_in_bytes_are_those_of_the_parsed_value(inputs: Any, outputs: Any, free: Any, name: str) -> None:
    value = orjson.loads(TASK)
    value["body"] |= {"inputs": inputs, "outputs": outputs, "params": free, "name": name}
    data = respelled(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transaction, "_MATCHES", {b"task": matches("task")})
        read, matched, parsed = facts.read(data), transaction.match(data), transaction.parse(data)
    assert matched
    assert parsed == value
    assert read == facts.of(value)
    found = [(item["uri"].encode(), bytes.fromhex(item.get("digest", "")[7:])) for item in outputs]
    assert (read[3], read[5]) == (b"task", found)
    assert read[4] == [
        (
            item["uri"].encode(),
            item["digest"][7:].encode(),
            {"": b"", "source": facts.SOURCE}.get(item.get("origin", ""), facts.TASK),
            item.get("unresolved", False),
        )
        for item in inputs
        if "digest" in item
    ]


@pytest.mark.usefixtures("with_patterns")
def test_a_kind_elsewhere_than_in_its_place_decides_nothing() -> None:
    note = samples()["transaction-note"].data
    assert transaction.match(note)
    for spoilt in (note.replace(b'"kind":"note"', b'"kind":"task"'), note + b'"kind":"note"', b"", b'"kind":"'):
        assert transaction.match(spoilt) is None
        with pytest.raises(DecodeError):
            facts.read(spoilt)
