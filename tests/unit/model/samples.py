"""Valid records of every type, as bytes, with the strict decoder of each: what the mutation tests start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import orjson

from scichain_wf.model import certificate
from scichain_wf.model.block import Block, Header
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.epoch import Epoch
from scichain_wf.model.link import Link
from scichain_wf.model.receipt import Receipt
from scichain_wf.model.transaction import Transaction
from scichain_wf.model.verdict import VerdictBatch
from tests.golden import vectors
from tests.golden.vectors import Chain


class Encodable(Protocol):
    """A record that gives its bytes back."""

    def encode(self) -> bytes:
        """Its bytes."""


Decoder = Callable[[bytes | memoryview], Encodable]


@dataclass(frozen=True)
class Sample:
    """A valid record."""

    name: str
    data: bytes
    decode: Decoder


@cache
def chain() -> tuple[Chain, dict[str, Transaction]]:
    """The chain of the golden vectors."""
    return vectors.build_chain()


def _epoch(data: bytes | memoryview) -> Transaction:
    transaction = Transaction.decode(data)
    Epoch.from_body(transaction.body)
    return transaction


@cache
def samples() -> dict[str, Sample]:
    """Every JSON record by name."""
    built, kinds = chain()
    found = [
        Sample(f"transaction-{kind}", transaction.encode(), _epoch if kind == "epoch" else Transaction.decode)
        for kind, transaction in kinds.items()
    ]
    quorum, poet = built.certificates[3], built.certificates[4]
    assert quorum is not None
    assert poet is not None
    found += [
        Sample("header", built.blocks[3].header_bytes, Header.decode),
        Sample("verdict-batch", vectors.verdict_batch(built).encode(), VerdictBatch.decode),
        Sample("certificate-quorum", quorum, certificate.decode),
        Sample("certificate-poet", poet, certificate.decode),
        Sample("link-epoch", built.links[0].encode(), Link.decode),
        Sample("link-quorum", built.links[3].encode(), Link.decode),
        Sample("link-poet", built.links[4].encode(), Link.decode),
        Sample("receipt", vectors.receipt(built).encode(), Receipt.decode),
    ]
    return {sample.name: sample for sample in found}


class _Note:
    def __init__(self, data: bytes | memoryview) -> None:
        self.note = Checkpoint.parse(data)

    def encode(self) -> bytes:
        return self.note.text().encode()


@cache
def others() -> dict[str, Sample]:
    """Records that are not JSON."""
    built, _ = chain()
    return {
        "block": Sample("block", built.blocks[4].encode(), Block.decode),
        "checkpoint": Sample("checkpoint", built.checkpoint().text().encode(), _Note),
    }


def respelled(value: object) -> bytes:
    """Canonical spelling of any value that orjson takes, inside the subset or not."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
