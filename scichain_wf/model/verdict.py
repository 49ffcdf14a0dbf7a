"""Verdicts: what a validator says of the blocks it judged, signed once per tick.

A batch has a header (chain, epoch, slot, batch number, the head it was judged at, count) and one entry per block:
VALID, INVALID with a digest of the reasons, or UNKNOWN. The header carries the RFC 6962 root of the entries and
is what is signed (`Domain.VERDICT_BATCH`), so one signature serves every block of the tick, and a certificate
cites an entry by its path. The proof-of-traceability behind a verdict is SciChain §3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final, Self, cast

from scichain_wf import limits
from scichain_wf.crypto import merkle
from scichain_wf.crypto.hashing import Domain
from scichain_wf.crypto.signing import VerifyKey
from scichain_wf.errors import DecodeError, VerificationError
from scichain_wf.model import canonical
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.schema import (
    COUNT,
    DIGEST,
    NODE_HASH,
    ORDINAL,
    SIGNATURE,
    Array,
    Choice,
    Integer,
    Nullable,
    Record,
    check_record,
    refuse_newer,
)
from scichain_wf.model.text import digest_bytes, digest_text, hex_bytes

BATCH_BYTES_MAX: Final = limits.VERDICTS_PER_BATCH_MAX * 256 + 4_096


class Verdict(StrEnum):
    """What a validator can say of a block."""

    VALID = "VALID"
    INVALID = "INVALID"
    UNKNOWN = "UNKNOWN"
    """Not decidable from this node's tail and filter; another node, or storage, may know."""


BATCH_VERSION: Final = 1

_BATCH = Record(
    {
        "version": Choice(BATCH_VERSION),
        "chain": DIGEST,
        "epoch": COUNT,
        "slot": ORDINAL,
        "batch": COUNT,
        "head": DIGEST,
        "head_height": COUNT,
        "count": Integer(1, limits.VERDICTS_PER_BATCH_MAX),
        "root": DIGEST,
    }
)
_ENTRY = Record({"block": DIGEST, "verdict": Choice(*Verdict), "reasons": Nullable(DIGEST)})
SIGNED_BATCH: Final = Record(
    {"header": _BATCH, "signature": SIGNATURE, "entries": Array(_ENTRY, limits.VERDICTS_PER_BATCH_MAX, items_min=1)}
)
VOTE: Final = Record(
    {
        "header": _BATCH,
        "signature": SIGNATURE,
        "verdict": Choice(*Verdict),
        "reasons": Nullable(DIGEST),
        "index": COUNT,
        "path": Array(NODE_HASH, limits.PROOF_NODES_MAX),
    }
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One block's verdict; `reasons` is the digest (`Domain.REASONS`) of what is wrong, for INVALID only."""

    block: bytes
    verdict: Verdict
    reasons: bytes | None = None

    def __post_init__(self) -> None:
        if (self.reasons is not None) != (self.verdict is Verdict.INVALID):
            raise DecodeError("verdict: reasons come with INVALID, and only with it")

    def value(self) -> JsonObject:
        """The entry as plain JSON values."""
        return {
            "block": digest_text(self.block),
            "verdict": self.verdict.value,
            "reasons": None if self.reasons is None else digest_text(self.reasons),
        }

    def leaf(self) -> bytes:
        """Leaf of the batch's tree."""
        return merkle.leaf_hash(canonical.dumps(self.value()))


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """What a validator signs. `head` and `head_height` name the newest link it had when it judged."""

    chain: bytes
    epoch: int
    slot: int
    batch: int
    head: bytes
    head_height: int
    count: int
    root: bytes

    def value(self) -> JsonObject:
        """The header as plain JSON values."""
        return {
            "version": BATCH_VERSION,
            "chain": digest_text(self.chain),
            "epoch": self.epoch,
            "slot": self.slot,
            "batch": self.batch,
            "head": digest_text(self.head),
            "head_height": self.head_height,
            "count": self.count,
            "root": digest_text(self.root),
        }

    def encode(self) -> bytes:
        """The bytes that are signed.

        Raises:
            DecodeError: a field is out of its bounds.
        """
        value = self.value()
        check_record(_BATCH, value, "verdict batch header")
        return canonical.dumps(value)

    @classmethod
    def from_value(cls, value: object) -> Self:
        """From plain JSON values that fit the schema."""
        v = cast("dict[str, str]", value)
        n = cast("dict[str, int]", value)
        return cls(
            chain=digest_bytes(v["chain"]),
            epoch=n["epoch"],
            slot=n["slot"],
            batch=n["batch"],
            head=digest_bytes(v["head"]),
            head_height=n["head_height"],
            count=n["count"],
            root=digest_bytes(v["root"]),
        )


@dataclass(frozen=True)
class VerdictBatch:
    """A signed batch with all its entries: what travels from validator to proposers."""

    header: BatchHeader
    signature: bytes
    entries: tuple[Entry, ...]

    def encode(self) -> bytes:
        """Canonical bytes.

        Raises:
            DecodeError: a field is out of its bounds, or the header does not describe the entries.
        """
        value: JsonObject = {
            "header": self.header.value(),
            "signature": self.signature.hex(),
            "entries": [entry.value() for entry in self.entries],
        }
        check_record(SIGNED_BATCH, value, "verdict batch")
        self._check()
        return canonical.dumps(value, BATCH_BYTES_MAX, "verdict batch")

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        """Strict inverse of `encode`; also holds count and root against the entries.

        Raises:
            UnsupportedVersion, DecodeError: as for every record; shape, count or root is wrong.
        """
        value = canonical.parse(data, BATCH_BYTES_MAX)
        refuse_newer(value.get("header") if type(value) is dict else None, BATCH_VERSION, "verdict batch")
        check_record(SIGNED_BATCH, value, "verdict batch")
        v = cast("dict[str, object]", value)
        entries = tuple(_entry(item) for item in cast("list[JsonObject]", v["entries"]))
        batch = cls(BatchHeader.from_value(v["header"]), hex_bytes(cast("str", v["signature"]), 64), entries)
        batch._check()
        return batch

    def about(self, block: bytes) -> Sequence[int]:
        """Which entries are about this block: none or one, unless the validator contradicts itself."""
        return self._places.get(block, ())

    def vote(self, index: int) -> Vote:
        """The citation of one entry, for a certificate."""
        path = merkle.inclusion_path_from(self._node, index, len(self.entries))
        return Vote(self.header, self.signature, self.entries[index], index, tuple(path))

    @cached_property
    def _places(self) -> dict[bytes, list[int]]:
        places: dict[bytes, list[int]] = {}
        for index, entry in enumerate(self.entries):
            places.setdefault(entry.block, []).append(index)
        return places

    @cached_property
    def _levels(self) -> list[list[bytes]]:
        """Complete nodes of the entries' tree: a batch is checked once and cited once for each of its entries."""
        levels = [[entry.leaf() for entry in self.entries]]
        while len(levels[-1]) > 1:
            pairs = zip(levels[-1][::2], levels[-1][1::2], strict=False)  # not strict: an odd last node has no partner
            levels.append([merkle.node_hash(left, right) for left, right in pairs])
        return levels

    def _node(self, level: int, index: int) -> bytes:
        return self._levels[level][index]

    def _check(self) -> None:
        header, count = self.header, len(self.entries)
        if header.count != count or merkle.root_from(self._node, count) != header.root:
            raise DecodeError("verdict batch: the header does not describe the entries that follow")


@dataclass(frozen=True, slots=True)
class Vote:
    """One entry of one validator's batch, with its path: verifiable alone."""

    header: BatchHeader
    signature: bytes
    entry: Entry
    index: int
    path: tuple[bytes, ...]

    def value(self) -> JsonObject:
        """The vote as plain JSON values; the block id is left to the certificate that cites it."""
        entry = self.entry.value()
        return {
            "header": self.header.value(),
            "signature": self.signature.hex(),
            "verdict": entry["verdict"],
            "reasons": entry["reasons"],
            "index": self.index,
            "path": [node.hex() for node in self.path],
        }

    @classmethod
    def from_value(cls, value: object, block: bytes) -> Self:
        """From plain JSON values that fit `VOTE`."""
        v = cast("dict[str, object]", value)
        return cls(
            header=BatchHeader.from_value(v["header"]),
            signature=hex_bytes(cast("str", v["signature"]), 64),
            entry=_entry({"block": digest_text(block), "verdict": v["verdict"], "reasons": v["reasons"]}),
            index=cast("int", v["index"]),
            path=tuple(hex_bytes(node, 32) for node in cast("list[str]", v["path"])),
        )

    def verify(self, key: VerifyKey) -> None:
        """Check the path and the signature.

        Raises:
            VerificationError: either does not hold.
        """
        self.verify_path()
        key.verify(Domain.VERDICT_BATCH, self.signature, self.header.encode())

    def verify_path(self) -> None:
        """Check only that the entry is in the batch (for callers that verified the batch's signature before).

        Raises:
            VerificationError: it is not.
        """
        if self.index >= self.header.count:
            raise VerificationError(f"vote of slot {self.header.slot}: index {self.index} is outside its batch")
        merkle.verify_inclusion(self.entry.leaf(), self.index, self.header.count, list(self.path), self.header.root)


def _entry(item: dict[str, object] | JsonObject) -> Entry:
    reasons = cast("str | None", item["reasons"])
    verdict = Verdict(cast("str", item["verdict"]))
    return Entry(digest_bytes(cast("str", item["block"])), verdict, None if reasons is None else digest_bytes(reasons))
