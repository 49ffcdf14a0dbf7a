"""Every record type against damage: each field, each byte, arbitrary bytes. Decoding refuses or is lossless."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scichain_wf import limits
from scichain_wf.errors import EXIT_INCOMPLETE, EXIT_INTEGRITY, DecodeError, UnsupportedVersion
from scichain_wf.model.canonical import parse as parse_json
from scichain_wf.model.schema import Record, check_record
from scichain_wf.model.transaction import parse, record_of
from tests.unit.model.samples import Decoder, Encodable, Sample, others, respelled, samples

FREE = {"params", "wildcards", "arguments", "settings"}
"""What the workflow chose: any value of the subset fits there. An epoch's `settings` are not of this kind."""
WRONG: list[Any] = [None, True, -(2**53), 2**53, 2**64 - 1, 1.5, 1e300]
WRONG += ["", "x\n", "\u0663", [], [1], {}, {"a": 1}, [[]], "a" * 70_000]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=8,
)

NAMES = sorted(samples())
OTHERS = sorted(others())


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside `value`, itself included."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in inner:
        yield from places(item, (*path, step))


def changed(value: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    """A copy in which `change(container, step)` was applied where `path` leads."""
    holder = [copy.deepcopy(value)]
    at: Any = holder
    steps = (0, *path)
    for step in steps[:-1]:
        at = at[step]
    change(at, steps[-1])
    return holder[0] if holder else None


def set_to(new: Any) -> Callable[[Any, Any], None]:
    def change(container: Any, step: Any) -> None:
        container[step] = new

    return change


def rename(old: str, new: str) -> Callable[[Any, Any], None]:
    def change(container: Any, step: Any) -> None:
        container[step][new] = container[step].pop(old)

    return change


def remove(container: Any, step: Any) -> None:
    del container[step]


def is_free(sample: Sample, path: tuple[Any, ...]) -> bool:
    steps = [step for step in path if step in FREE]
    return bool(steps) and not (steps == ["settings"] and ("epoch" in sample.name or "epochs" in path))


def outcome(decode: Decoder, data: bytes | memoryview) -> bool:
    """Whether `data` was accepted; then it came back byte by byte. Raises whatever is not a `DecodeError`."""
    try:
        record = decode(data)
    except DecodeError:
        return False
    assert record.encode() == data
    return True


@pytest.mark.parametrize("name", [*NAMES, *OTHERS])
def test_a_record_comes_back_from_its_bytes(name: str) -> None:
    sample = (samples() | others())[name]
    assert outcome(sample.decode, sample.data)
    assert outcome(sample.decode, memoryview(sample.data))


@pytest.mark.parametrize("name", NAMES)
def test_every_field_refuses_what_does_not_fit_it(name: str) -> None:
    sample = samples()[name]
    value = orjson.loads(sample.data)
    paths = list(places(value))
    for path in paths[:: 1 + len(paths) // 200]:  # a receipt repeats the other records' fields
        accepted = []
        for wrong in WRONG:
            mutated = changed(value, path, set_to(wrong))
            if outcome(sample.decode, respelled(mutated)) and mutated != value:
                accepted.append(wrong)
        # Whatever a field is, it is of one or two types: of these sixteen values few can fit.
        assert is_free(sample, path) or len(accepted) <= 4, f"{name} {path}: {accepted!s:.200}"
        assert not any(type(wrong) is float for wrong in accepted)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_field_is_refused_or_optional_and_an_unknown_one_is_refused(name: str) -> None:
    sample = samples()[name]
    value = orjson.loads(sample.data)
    for path in places(value):
        if path:
            outcome(sample.decode, respelled(changed(value, path, remove)))
        inside: Any = value
        for step in path:
            inside = inside[step]
        if isinstance(inside, dict) and not is_free(sample, path):
            mutated = changed(value, path, set_to(inside | {"zzz": 1}))
            assert not outcome(sample.decode, respelled(mutated)), f"{name} {path}: an unknown field was accepted"


@pytest.mark.parametrize("name", NAMES)
def test_every_required_field_is_required(name: str) -> None:
    sample = samples()[name]
    value = orjson.loads(sample.data)
    for key in value:
        with pytest.raises(DecodeError):
            sample.decode(respelled({other: item for other, item in value.items() if other != key}))


@pytest.mark.parametrize("name", NAMES)
def test_every_byte_matters(name: str) -> None:
    """One bit of each byte flipped: refused, or another record that is written exactly so."""
    sample = samples()[name]
    rng = random.Random(name)
    for at in range(len(sample.data)):
        spoilt = sample.data[:at] + bytes([sample.data[at] ^ 1 << rng.randrange(8)]) + sample.data[at + 1 :]
        outcome(sample.decode, spoilt)


@pytest.mark.parametrize("name", OTHERS)
def test_every_bit_of_a_framed_record_matters(name: str) -> None:
    sample = others()[name]
    for at in range(len(sample.data)):
        for bit in range(8):
            spoilt = sample.data[:at] + bytes([sample.data[at] ^ 1 << bit]) + sample.data[at + 1 :]
            outcome(sample.decode, spoilt)


@pytest.mark.parametrize("name", [*NAMES, *OTHERS])
def test_a_cut_record_is_refused(name: str) -> None:
    sample = (samples() | others())[name]
    for size in {*range(min(len(sample.data), 400)), *range(0, len(sample.data), 37)}:
        # A note that is cut after a signature is a note with fewer signatures.
        assert not outcome(sample.decode, sample.data[:size]) or (name == "checkpoint" and sample.data[size - 1] == 10)
    assert not outcome(sample.decode, sample.data + b"\n")
    assert not outcome(sample.decode, sample.data + b"\0")


@pytest.mark.parametrize("name", NAMES)
def test_other_spellings_of_a_record_are_refused(name: str) -> None:
    sample = samples()[name]
    value = orjson.loads(sample.data)
    key = min(value)
    first = orjson.dumps({key: value[key]})[1:-1]
    for spelling in (
        orjson.dumps(value, option=orjson.OPT_INDENT_2),
        orjson.dumps(dict(sorted(value.items(), reverse=True))),
        sample.data.replace(b":", b": ", 1),
        sample.data.replace(first, first + b"," + first, 1),
        sample.data.replace(first, first.split(b":")[0] + b":NaN", 1),
        sample.data.replace(first, first.split(b":")[0] + b":" + b"[" * 500 + b"]" * 500, 1),
    ):
        assert spelling != sample.data
        assert not outcome(sample.decode, spelling)


@given(data=st.data(), name=st.sampled_from([*NAMES, *OTHERS]))
def test_arbitrary_damage_never_raises_anything_but_decode_errors(data: st.DataObject, name: str) -> None:
    sample = (samples() | others())[name]
    spoilt = bytearray(sample.data)
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(spoilt)))
        end = data.draw(st.integers(begin, min(begin + 40, len(spoilt))))
        spoilt[begin:end] = data.draw(st.binary(max_size=40) | st.just(bytes(spoilt[:50])))
    outcome(sample.decode, bytes(spoilt))


@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_are_no_record(data: bytes) -> None:
    for sample in (samples() | others()).values():
        outcome(sample.decode, data)


def with_version(name: str, version: object) -> bytes:
    value = orjson.loads(samples()[name].data)
    (value["header"] if name == "verdict-batch" else value)["version"] = version
    return respelled(value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("version", [2, 3, 2**53, 2**64 - 1])
def test_a_newer_version_is_told_from_damage(name: str, version: int) -> None:
    with pytest.raises(UnsupportedVersion, match="install a newer one") as caught:
        samples()[name].decode(with_version(name, version))
    assert caught.value.exit_code == EXIT_INCOMPLETE


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("version", [0, -1, True, "1", "2", None, [2], 2.5])
def test_any_other_version_is_damage(name: str, version: object) -> None:
    with pytest.raises(DecodeError) as caught:
        samples()[name].decode(with_version(name, version))
    assert caught.value.exit_code == EXIT_INTEGRITY
    assert not isinstance(caught.value, UnsupportedVersion)


@pytest.mark.parametrize("name", NAMES)
def test_an_oversize_record_is_refused_unread(name: str) -> None:
    with pytest.raises(DecodeError, match="over the limit"):
        samples()[name].decode(b"[" * (limits.RECEIPT_BYTES_MAX + 1))


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("transaction-")])
def test_the_pattern_matches_golden_records_and_nothing_that_the_check_refuses(name: str) -> None:
    value = orjson.loads(samples()[name].data)
    record = record_of(name.removeprefix("transaction-"))
    assert record.matches(samples()[name].data)
    for path in places(value):
        for wrong in WRONG:
            agrees(record, orjson.loads(respelled(changed(value, path, set_to(wrong)))))
        if path:
            agrees(record, changed(value, path, remove))
            agrees(record, changed(value, path[:-1], set_to({"zzz": 1})))


def agrees(record: Record, value: Any) -> None:
    try:
        check_record(record, value, "transaction")
    except DecodeError:
        data = respelled(value)
        try:
            parse_json(data, limits.TRANSACTION_BYTES_MAX)
        except DecodeError:
            return
        assert not record.matches(data)


@given(data=st.data(), name=st.sampled_from([name for name in NAMES if name.startswith("transaction-")]))
def test_a_pattern_never_matches_a_damaged_record_that_the_check_refuses(data: st.DataObject, name: str) -> None:
    value = orjson.loads(samples()[name].data)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(value))[1:]))
        change = data.draw(st.sampled_from(["set", "remove", "rename"]))
        if change == "set":
            value = changed(value, path, set_to(data.draw(JSON)))
        elif change == "remove":
            value = changed(value, path, remove)
        elif type(path[-1]) is str:
            value = changed(value, path[:-1], rename(path[-1], data.draw(st.text(max_size=3))))
        if not isinstance(value, dict):
            return
    agrees(record_of(name.removeprefix("transaction-")), value)


@given(st.binary(max_size=200), st.sampled_from(NAMES))
def test_parsing_transactions_agrees_with_decoding_them(noise: bytes, name: str) -> None:
    data = samples()[name].data
    spoilt = data.replace(data[10:20], noise, 1)
    assert outcome(_parsed, spoilt) is outcome(samples()["transaction-task"].decode, spoilt)


class _Parsed:
    def __init__(self, data: bytes | memoryview) -> None:
        self.value = parse(data)

    def encode(self) -> bytes:
        return respelled(self.value)


def _parsed(data: bytes | memoryview) -> Encodable:
    return _Parsed(data)
