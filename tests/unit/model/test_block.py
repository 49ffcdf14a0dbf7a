"""Blocks: framing, limits, and what is held against the header."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scichain_wf import limits
from scichain_wf.crypto import merkle
from scichain_wf.crypto.hashing import Domain, digest
from scichain_wf.errors import DecodeError, UsageError
from scichain_wf.model.block import Block, BlockFrame, Header, block_id, transaction_root
from tests.unit.model.samples import chain

HEADER = chain()[0].blocks[3].header


def block(*transactions: bytes, **header: Any) -> Block:
    made = replace(HEADER, count=len(transactions), root=transaction_root(transactions), **header)
    return Block(made.encode(), bytes(range(64)), transactions)


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=20))
def test_a_block_comes_back_and_single_transactions_are_found(transactions: list[bytes]) -> None:
    made = block(*transactions)
    data = made.encode()
    assert Block.decode(data) == made
    assert Block.decode(memoryview(data)) == made
    frame = BlockFrame.of(data)
    assert frame.count == len(transactions)
    assert [frame.transaction(index) for index in range(frame.count)] == transactions
    assert bytes(frame.header) == made.header_bytes
    assert bytes(frame.signature) == made.signature


def test_id_and_leaves_are_computed_from_the_bytes() -> None:
    made = block(b"a", b"b")
    assert made.id == block_id(made.header_bytes) == digest(Domain.BLOCK, made.header_bytes)
    assert made.leaves == [merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")]
    assert made.header.root == merkle.root(made.leaves)


def test_a_header_comes_back() -> None:
    assert Header.decode(HEADER.encode()) == HEADER
    assert Header.decode(memoryview(HEADER.encode())) == HEADER
    assert Header.from_value(HEADER.value()) == HEADER


@pytest.mark.parametrize(
    "change",
    [
        {"chain": b"x"},
        {"epoch": -1},
        {"proposer": bytes(31)},
        {"sequence": True},
        {"parent_height": -2},
        {"count": 0},
        {"count": limits.BLOCK_TRANSACTIONS_MAX + 1},
        {"time_us": 2**53},
        {"difficulty": limits.DIFFICULTY_MAX + 1},
        {"source": "elsewhere"},
    ],
)
def test_a_header_out_of_bounds_is_not_written(change: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        replace(HEADER, **change).encode()


@pytest.mark.parametrize("value", [None, [], "x"])
def test_what_is_no_header_is_refused(value: object) -> None:
    with pytest.raises(DecodeError, match="header"):
        Header.from_value(value)


def test_a_block_is_written_within_its_limits_only() -> None:
    made = block(b"a")
    for wrong in (
        replace(made, transactions=()),
        replace(made, transactions=(b"a",) * (limits.BLOCK_TRANSACTIONS_MAX + 1)),
        replace(made, header_bytes=bytes(limits.HEADER_BYTES_MAX + 1)),
        replace(made, signature=bytes(63)),
        replace(made, signature=bytes(65)),
        replace(made, transactions=(bytes(limits.BLOCK_BYTES_MAX),)),
    ):
        with pytest.raises(UsageError):
            wrong.encode()


def test_count_and_root_are_held_against_what_follows() -> None:
    made = block(b"a", b"b")
    fewer = replace(made, transactions=(b"a",))
    with pytest.raises(DecodeError, match="the header counts 2 transactions, 1 follow"):
        Block.decode(fewer.encode())
    swapped = replace(made, transactions=(b"b", b"a"))
    with pytest.raises(DecodeError, match="root"):
        Block.decode(swapped.encode())
    resplit = replace(made, transactions=(b"ab", b""))
    with pytest.raises(DecodeError, match="root"):
        Block.decode(resplit.encode())


def framed(header_length: int, header: bytes, count: int, lengths: list[int], rest: bytes) -> bytes:
    counts = struct.pack(f">{1 + len(lengths)}I", count, *lengths)
    return struct.pack(">I", header_length) + header + bytes(64) + counts + rest


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0",
        struct.pack(">I", 0),
        struct.pack(">I", 2**32 - 1) + bytes(200),
        framed(limits.HEADER_BYTES_MAX + 1, bytes(limits.HEADER_BYTES_MAX + 1), 1, [1], b"a"),
        framed(2, b"{}", 0, [], b""),
        framed(2, b"{}", limits.BLOCK_TRANSACTIONS_MAX + 1, [0] * (limits.BLOCK_TRANSACTIONS_MAX + 1), b""),
        framed(2, b"{}", 2**32 - 1, [], b""),
        framed(2, b"{}", 2, [1], b""),
        framed(2, b"{}", 1, [2], b"a"),
        framed(2, b"{}", 1, [0], b"a"),
        framed(2, b"{}", 2, [2**32 - 1, 2**32 - 1], b"a"),
        framed(2, b"{}", 1, [1], b"a"),
        bytes(limits.BLOCK_BYTES_MAX + 1),
    ],
)
def test_frames_that_do_not_add_up_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Block.decode(data)
