"""Verdict batches and votes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scichain_wf import limits
from scichain_wf.crypto import merkle
from scichain_wf.crypto.hashing import Domain, sha256
from scichain_wf.errors import DecodeError, VerificationError
from scichain_wf.model import verdict
from scichain_wf.model.verdict import BatchHeader, Entry, Verdict, VerdictBatch
from tests.builders import signing_key
from tests.golden import vectors
from tests.unit.model.samples import chain

BATCH = vectors.verdict_batch(chain()[0])
KEY = chain()[0].builder.nodes[2]


def batch(count: int) -> VerdictBatch:
    entries = tuple(Entry(sha256(bytes([number % 256, number // 256])), Verdict.VALID) for number in range(count))
    root = merkle.root([entry.leaf() for entry in entries])
    header = replace(BATCH.header, count=count, root=root)
    return VerdictBatch(header, KEY.sign(Domain.VERDICT_BATCH, header.encode()), entries)


@pytest.mark.parametrize("count", [1, 2, 3, 64, 65])
def test_every_entry_is_a_vote_that_verifies_alone(count: int) -> None:
    made = batch(count)
    assert VerdictBatch.decode(made.encode()) == made
    for index in range(count):
        vote = made.vote(index)
        vote.verify(KEY.public)
        assert verdict.Vote.from_value(vote.value(), vote.entry.block) == vote


def test_a_vote_for_another_block_verdict_slot_or_index_does_not_verify() -> None:
    vote = batch(5).vote(3)
    for wrong in (
        replace(vote, entry=Entry(sha256(b"other"), Verdict.VALID)),
        replace(vote, entry=replace(vote.entry, verdict=Verdict.UNKNOWN)),
        replace(vote, entry=Entry(vote.entry.block, Verdict.INVALID, bytes(32))),
        replace(vote, index=2),
        replace(vote, index=5),
        replace(vote, path=vote.path[:-1]),
        replace(vote, path=(*vote.path, bytes(32))),
        replace(vote, header=replace(vote.header, slot=1)),
        replace(vote, header=replace(vote.header, count=6)),
        replace(vote, header=replace(vote.header, chain=bytes(32))),
        replace(vote, signature=bytes(64)),
    ):
        with pytest.raises(VerificationError):
            wrong.verify(KEY.public)
    with pytest.raises(VerificationError):
        vote.verify(signing_key(1, "another").public)
    vote.verify_path()


@pytest.mark.parametrize(
    ("verdict_", "reasons"), [(Verdict.VALID, bytes(32)), (Verdict.UNKNOWN, bytes(32)), (Verdict.INVALID, None)]
)
def test_reasons_come_with_invalid_and_only_with_it(verdict_: Verdict, reasons: bytes | None) -> None:
    with pytest.raises(DecodeError, match="reasons"):
        Entry(bytes(32), verdict_, reasons)


@pytest.mark.parametrize("change", [{"count": 2}, {"root": bytes(32)}])
def test_a_header_that_does_not_describe_its_entries_is_neither_written_nor_read(change: dict[str, Any]) -> None:
    wrong = replace(BATCH, header=replace(BATCH.header, **change))
    with pytest.raises(DecodeError, match="does not describe"):
        wrong.encode()
    spoilt = BATCH.encode()
    header, other = BATCH.header.encode(), wrong.header.encode()
    with pytest.raises(DecodeError, match="does not describe"):
        VerdictBatch.decode(spoilt.replace(header, other))


@pytest.mark.parametrize(
    "change", [{"slot": 0}, {"epoch": -1}, {"count": limits.VERDICTS_PER_BATCH_MAX + 1}, {"batch": 2**53}]
)
def test_a_header_out_of_bounds_is_not_signed(change: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        replace(BATCH.header, **change).encode()


def test_the_largest_batch_fits_its_limit() -> None:
    entries = tuple(
        Entry(sha256(number.to_bytes(2, "big")), Verdict.INVALID, bytes(32))
        for number in range(limits.VERDICTS_PER_BATCH_MAX)
    )
    root = merkle.root([entry.leaf() for entry in entries])
    header = BatchHeader(bytes(32), 2**53 - 1, limits.SLOTS_MAX, 2**53 - 1, bytes(32), 2**53 - 1, len(entries), root)
    made = VerdictBatch(header, bytes(64), entries)
    assert VerdictBatch.decode(made.encode()) == made
    with pytest.raises(DecodeError):
        replace(made, entries=(*entries, entries[0])).encode()


@pytest.mark.parametrize("data", [b"[]", b"1", b'{"header":1}', b'{"header":{}}'])
def test_what_is_no_batch_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        VerdictBatch.decode(data)
