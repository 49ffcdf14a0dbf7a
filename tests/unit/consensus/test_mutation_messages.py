"""Messages to the last byte: what mutation testing (tests/mutation) found no other test to notice."""

from __future__ import annotations

import struct

import pytest

from scichain_wf import limits
from scichain_wf.consensus import messages
from scichain_wf.consensus.messages import Answer, Extend, Found, Kind, Puzzle, Sync
from scichain_wf.errors import DecodeError
from scichain_wf.model.block import Block
from scichain_wf.model.certificate import Solution
from scichain_wf.model.text import digest_text
from tests.builders import ChainBuilder

ID = bytes(range(32))


@pytest.fixture
def block() -> Block:
    build = ChainBuilder()
    build.head, build.height = ID, 0
    return build.block(1, [build.task("a")])


@pytest.mark.parametrize("kind", [Kind.EXTEND, Kind.ANSWER, Kind.SYNC, Kind.PUZZLE, Kind.FOUND])
def test_a_message_that_is_not_of_its_shape_is_refused_by_name(kind: Kind) -> None:
    data = messages.pack(b"{}", b"") if kind is Kind.EXTEND else b"{}"
    with pytest.raises(DecodeError, match=f"^{kind.name.lower()}\\b.*missing"):
        messages.decode(kind, data)


def test_a_message_that_nobody_could_read_is_not_made(block: Block) -> None:
    for message, name in (
        (Extend(block, None, (), "whim"), "extend"),
        (Answer(ID, "perhaps"), "answer"),
        (Sync(-1), "sync"),
        (Puzzle(ID, limits.DIFFICULTY_MAX + 1), "puzzle"),
        (Found(ID, Solution(ID, -1)), "found"),
    ):
        with pytest.raises(DecodeError, match=f"^{name}\\."):
            message.encode()


def test_payloads_are_these_bytes() -> None:
    """Another program has to be able to talk to this one."""
    name = digest_text(ID)
    for message, data in (
        (Sync(7), '{"next":7}'),
        (Puzzle(ID, 2), f'{{"block":"{name}","difficulty":2}}'),
        (Answer(ID, "wait", (1,), "busy"), f'{{"answer":"wait","block":"{name}","reason":"busy","slots":[1]}}'),
    ):
        assert message.encode() == data.encode()
    assert messages.pack(b"ab", b"", b"c") == struct.pack(">4I", 3, 2, 0, 1) + b"abc"


def test_an_answer_may_leave_out_what_it_has_nothing_to_say_of() -> None:
    data = f'{{"answer":"wait","block":"{digest_text(ID)}"}}'.encode()
    assert messages.decode(Kind.ANSWER, data) == Answer(ID, "wait", (), "")


def test_parts_are_taken_apart_where_they_were_joined() -> None:
    data = messages.pack(b"ab", b"", b"c")
    assert [bytes(part) for part in messages.unpack(data, 3)] == [b"ab", b"", b"c"]
    assert [bytes(part) for part in messages.unpack(messages.pack(b"", b""), 2)] == [b"", b""]
    for count in (2, 4):
        with pytest.raises(DecodeError, match=f"not of {count} parts"):
            messages.unpack(data, count)
    for cut in (data[:-1], data + b"x"):
        with pytest.raises(DecodeError, match="do not add up"):
            messages.unpack(cut, 3)
    with pytest.raises(DecodeError, match="not of 3 parts"):
        messages.unpack(data[:15], 3)


def test_a_message_may_be_just_as_long_as_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Sync(7).encode()
    monkeypatch.setattr(limits, "FRAME_BYTES_MAX", len(data))
    assert messages.decode(Kind.SYNC, data) == Sync(7)
    monkeypatch.setattr(limits, "FRAME_BYTES_MAX", len(data) - 1)
    with pytest.raises(DecodeError, match=f"of {len(data)} bytes"):
        messages.decode(Kind.SYNC, data)


def test_a_message_without_block_is_read_with_the_bound_of_a_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extensions carry the votes of all slots."""
    data = Sync(7).encode()
    monkeypatch.setattr(limits, "CERTIFICATE_BYTES_MAX", len(data) - 1)
    with pytest.raises(DecodeError):
        messages.decode(Kind.SYNC, data)
