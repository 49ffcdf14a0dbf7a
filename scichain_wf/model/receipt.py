"""Receipts: everything a stranger needs to check one transaction with the trust root alone.

A receipt holds the transaction, its path to the block's root, the header and its signature, the certificate, the
link and its path to a checkpoint's root, the checkpoint, and every epoch the verification leans on (genesis, the
one the block was made in, the one in force at the append, and the ones that delegate the storage key), each with
its own proof. Records are embedded as JSON values: canonical form has one spelling, so the bytes are rebuilt.

This module only gives a receipt its shape; what must hold is checked by `scichain_wf.audit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self, cast

from scichain_wf import limits
from scichain_wf.model import canonical, certificate
from scichain_wf.model import transaction as transactions
from scichain_wf.model.block import Header
from scichain_wf.model.canonical import JsonObject, JsonValue
from scichain_wf.model.certificate import Certificate
from scichain_wf.model.link import Link
from scichain_wf.model.schema import (
    COUNT,
    DIGEST,
    NODE_HASH,
    SIGNATURE,
    Array,
    Choice,
    Embedded,
    Field,
    Nullable,
    Record,
    Text,
    check_record,
    refuse_newer,
)
from scichain_wf.model.text import digest_bytes, digest_text, hex_bytes
from scichain_wf.model.transaction import Transaction

RECEIPT_VERSION: Final = 1
_PATH = Array(NODE_HASH, limits.PROOF_NODES_MAX)
_PROVEN: Final[dict[str, Field]] = {
    # Each embedded record is held against its own schema after this.
    "transaction": Embedded("transaction"),
    "index": COUNT,
    "path": _PATH,
    "header": Embedded("header"),
    "signature": SIGNATURE,
    "certificate": Nullable(Embedded("certificate")),
    "link": Embedded("link"),
    "link_path": _PATH,
}
RECEIPT: Final = Record(
    {
        "version": Choice(RECEIPT_VERSION),
        "chain": DIGEST,
        "checkpoint": Text(limits.NOTE_BYTES_MAX),
        "proof": Record(_PROVEN),
        "epochs": Array(Record(_PROVEN), 1_000, items_min=1),
    }
)


@dataclass(frozen=True, slots=True)
class ProvenTransaction:
    """A transaction with its way up to the chain's tree."""

    transaction: bytes
    index: int
    path: tuple[bytes, ...]
    header: Header
    signature: bytes
    certificate: Certificate | None
    link: Link
    link_path: tuple[bytes, ...]

    def value(self) -> JsonObject:
        """As plain JSON values."""
        return {
            "transaction": transactions.parse(self.transaction),
            "index": self.index,
            "path": _hex(self.path),
            "header": self.header.value(),
            "signature": self.signature.hex(),
            "certificate": None if self.certificate is None else self.certificate.value(),
            "link": self.link.value(),
            "link_path": _hex(self.link_path),
        }

    @classmethod
    def from_value(cls, value: object) -> Self:
        """From plain JSON values that fit the schema.

        Raises:
            DecodeError: an embedded record is not well-formed.
        """
        v = cast("dict[str, JsonValue]", value)
        transactions.check(v["transaction"])
        return cls(
            transaction=transactions.dumps(cast("JsonObject", v["transaction"])),
            index=cast("int", v["index"]),
            path=_unhex(v["path"]),
            header=Header.from_value(v["header"]),
            signature=hex_bytes(cast("str", v["signature"]), 64),
            certificate=None if v["certificate"] is None else certificate.from_value(v["certificate"]),
            link=Link.from_value(v["link"]),
            link_path=_unhex(v["link_path"]),
        )

    def parsed(self) -> Transaction:
        """The transaction's typed view."""
        return Transaction.decode(self.transaction)


@dataclass(frozen=True, slots=True)
class Receipt:
    """A portable proof. `checkpoint` is a signed note's text; `epochs` ascend by height, genesis first."""

    chain: bytes
    checkpoint: str
    proof: ProvenTransaction
    epochs: tuple[ProvenTransaction, ...]

    def encode(self) -> bytes:
        """Canonical bytes.

        Raises:
            DecodeError: a field is out of its bounds, or the whole is over its limit.
        """
        value: JsonObject = {
            "version": RECEIPT_VERSION,
            "chain": digest_text(self.chain),
            "checkpoint": self.checkpoint,
            "proof": self.proof.value(),
            "epochs": [epoch.value() for epoch in self.epochs],
        }
        check_record(RECEIPT, value, "receipt")
        return canonical.dumps(value, limits.RECEIPT_BYTES_MAX, "receipt")

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        """Strict inverse of `encode`.

        Raises:
            UnsupportedVersion, DecodeError: as for every record.
        """
        value = canonical.parse(data, limits.RECEIPT_BYTES_MAX)
        refuse_newer(value, RECEIPT_VERSION, "receipt")
        check_record(RECEIPT, value, "receipt")
        v = cast("dict[str, object]", value)
        return cls(
            chain=digest_bytes(cast("str", v["chain"])),
            checkpoint=cast("str", v["checkpoint"]),
            proof=ProvenTransaction.from_value(v["proof"]),
            epochs=tuple(ProvenTransaction.from_value(item) for item in cast("list[object]", v["epochs"])),
        )


def _hex(nodes: tuple[bytes, ...]) -> list[JsonValue]:
    return [node.hex() for node in nodes]


def _unhex(value: JsonValue) -> tuple[bytes, ...]:
    return tuple(hex_bytes(node, 32) for node in cast("list[str]", value))
