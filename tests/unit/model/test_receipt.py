"""Receipts: shape only; what must hold is the audit's."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from scichain_wf import limits
from scichain_wf.errors import DecodeError, UnsupportedVersion
from scichain_wf.model import canonical
from scichain_wf.model.receipt import Receipt
from tests.golden import vectors
from tests.unit.model.samples import chain, respelled

RECEIPT = vectors.receipt(chain()[0])


def test_a_receipt_comes_back_with_the_bytes_of_every_part() -> None:
    data = RECEIPT.encode()
    copy = Receipt.decode(data)
    assert copy == RECEIPT
    assert copy.encode() == data
    assert copy.proof.parsed().id == chain()[1]["task"].id
    assert copy.proof.header.encode() == chain()[0].blocks[3].header_bytes
    assert copy.epochs[0].certificate is None


@pytest.mark.parametrize(
    "path",
    [("transaction",), ("transaction", "body"), ("header",), ("certificate",), ("link",)],
)
@pytest.mark.parametrize("wrong", [{}, {"a": 1}, {"version": 1}, {"kind": "task"}, {"type": "poet"}])
def test_embedded_records_are_checked_too(path: tuple[str, ...], wrong: object) -> None:
    value = orjson.loads(RECEIPT.encode())
    at = value["proof"]
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = wrong
    with pytest.raises(DecodeError):
        Receipt.decode(respelled(value))


@pytest.mark.parametrize("part", ["transaction", "header", "certificate", "link"])
def test_a_newer_embedded_record_is_told_from_damage(part: str) -> None:
    value = orjson.loads(RECEIPT.encode())
    value["proof"][part]["version"] = 2
    with pytest.raises(UnsupportedVersion):
        Receipt.decode(respelled(value))


def test_an_embedded_transaction_has_its_own_limit() -> None:
    value = orjson.loads(RECEIPT.encode())
    value["proof"]["transaction"]["body"]["arguments"] = ["x" * 1_000] * 1_100
    with pytest.raises(DecodeError, match="over the limit"):
        Receipt.decode(respelled(value))


def test_the_deepest_transaction_fits_a_receipt() -> None:
    deep: canonical.JsonValue = 1
    for _ in range(limits.RECORD_DEPTH_MAX - 4):
        deep = [deep]
    value = orjson.loads(RECEIPT.encode())
    value["proof"]["transaction"]["body"]["arguments"] = deep
    data = respelled(value)
    canonical.decode(data, limits.RECEIPT_BYTES_MAX)
    assert Receipt.decode(data).encode() == data


@pytest.mark.parametrize("chain_id", [b"", bytes(31)])
def test_a_receipt_out_of_bounds_is_not_written(chain_id: bytes) -> None:
    with pytest.raises(DecodeError):
        replace(RECEIPT, chain=chain_id).encode()
    with pytest.raises(DecodeError):
        replace(RECEIPT, epochs=()).encode()
