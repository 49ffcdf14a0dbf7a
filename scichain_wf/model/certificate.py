"""Certificates: why a block was appended.

`QuorumCertificate`: votes of enough distinct slots, all VALID (SciChain Protocol 1, line 9).
`PoetCertificate`: the storage node's own signature over block, reason, every verdict it saw and the annotations
(SciChain Protocol 2, lines 10-18). An `epoch` link has none: its block is signed by who may change membership.

Votes are ordered by slot and name each slot once, so a certificate has one spelling and its digest names it.
How many votes suffice is the epoch's rule (`Epoch.quorum_slots`), in force at the append.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Final, Self, TypeAlias, cast

from scichain_wf import limits
from scichain_wf.crypto.hashing import Domain, digest
from scichain_wf.errors import DecodeError
from scichain_wf.model import canonical
from scichain_wf.model.canonical import JsonObject, JsonValue
from scichain_wf.model.schema import (
    COUNT,
    DIGEST,
    ORDINAL,
    SIGNATURE,
    Array,
    Choice,
    Field,
    Nullable,
    Record,
    check_record,
    refuse_newer,
)
from scichain_wf.model.text import digest_bytes, digest_text, hex_bytes
from scichain_wf.model.verdict import VOTE, Verdict, Vote

CERTIFICATE_VERSION: Final = 1

_SOLUTION = Record({"solver": DIGEST, "nonce": COUNT, "signature": Nullable(SIGNATURE)})
_COMMON: Final[dict[str, Field]] = {
    "version": Choice(CERTIFICATE_VERSION),
    "type": Choice("quorum"),
    "block": DIGEST,
    "epoch": COUNT,
    "solution": Nullable(_SOLUTION),
    "votes": Array(VOTE, limits.SLOTS_MAX),
}
QUORUM: Final = Record(_COMMON)
POET: Final = Record(
    _COMMON
    | {
        "type": Choice("poet"),
        "writer": ORDINAL,
        "reason": Choice("deadline", "quorum-impossible", "bad-votes", "conflict"),
        "annotations": DIGEST,
        "signature": SIGNATURE,
    }
)


@dataclass(frozen=True, slots=True)
class Solution:
    """Of the puzzle. `signature` (over block id and nonce) only where another than the proposer solved it."""

    solver: bytes
    nonce: int
    signature: bytes | None = None

    def value(self) -> JsonObject:
        """The solution as plain JSON values."""
        return {
            "solver": digest_text(self.solver),
            "nonce": self.nonce,
            "signature": None if self.signature is None else self.signature.hex(),
        }

    @classmethod
    def from_value(cls, value: object) -> Self | None:
        """From plain JSON values that fit the schema; None stays None."""
        if value is None:
            return None
        v = cast("dict[str, object]", value)
        signature = cast("str | None", v["signature"])
        return cls(
            digest_bytes(cast("str", v["solver"])),
            cast("int", v["nonce"]),
            None if signature is None else hex_bytes(signature, 64),
        )


@dataclass(frozen=True)
class QuorumCertificate:
    """Votes that certify a block under an epoch."""

    type: ClassVar[str] = "quorum"
    block: bytes
    epoch: int
    solution: Solution | None
    votes: tuple[Vote, ...]

    def value(self) -> JsonObject:
        """The certificate as plain JSON values."""
        return {
            "version": CERTIFICATE_VERSION,
            "type": "quorum",
            "block": digest_text(self.block),
            "epoch": self.epoch,
            "solution": None if self.solution is None else self.solution.value(),
            "votes": _vote_values(self.votes),
        }

    def encode(self) -> bytes:
        """Canonical bytes.

        Raises:
            DecodeError: a field is out of its bounds, a slot votes twice, votes are out of order or of another
                block, or one is not VALID.
        """
        return self._bytes

    @cached_property
    def _bytes(self) -> bytes:
        value = self.value()
        check_record(QUORUM, value, "certificate")
        _check_votes(self.block, self.votes, valid_only=True)
        return canonical.dumps(value, limits.CERTIFICATE_BYTES_MAX, "certificate")


@dataclass(frozen=True, slots=True)
class PoetCertificate:
    """Storage's own verdict. `annotations` is the digest of the link's annotations."""

    type: ClassVar[str] = "poet"
    block: bytes
    epoch: int
    solution: Solution | None
    votes: tuple[Vote, ...]
    writer: int
    reason: str
    annotations: bytes
    signature: bytes

    def value(self) -> JsonObject:
        """The certificate as plain JSON values."""
        return self._unsigned() | {"signature": self.signature.hex()}

    def statement(self) -> bytes:
        """What the storage node signs (`Domain.STORAGE`): everything but the signature."""
        return canonical.dumps(self._unsigned())

    def encode(self) -> bytes:
        """Canonical bytes; errors as in `QuorumCertificate.encode`, but any verdict may be cited."""
        value = self.value()
        check_record(POET, value, "certificate")
        _check_votes(self.block, self.votes, valid_only=False)
        return canonical.dumps(value, limits.CERTIFICATE_BYTES_MAX, "certificate")

    def _unsigned(self) -> JsonObject:
        return {
            "version": CERTIFICATE_VERSION,
            "type": "poet",
            "block": digest_text(self.block),
            "epoch": self.epoch,
            "solution": None if self.solution is None else self.solution.value(),
            "votes": _vote_values(self.votes),
            "writer": self.writer,
            "reason": self.reason,
            "annotations": digest_text(self.annotations),
        }


Certificate: TypeAlias = QuorumCertificate | PoetCertificate


def decode(data: bytes | memoryview) -> Certificate:
    """Either certificate from its canonical bytes.

    Raises:
        UnsupportedVersion, DecodeError: as for every record; unknown type, wrong shape, or votes not in order.
    """
    made = from_value(canonical.parse(data, limits.CERTIFICATE_BYTES_MAX))
    if isinstance(made, QuorumCertificate):
        made.__dict__["_bytes"] = bytes(data)
    return made


def from_value(value: JsonValue) -> Certificate:
    """Either certificate from plain JSON values; errors as in `decode`."""
    refuse_newer(value, CERTIFICATE_VERSION, "certificate")
    kind = value.get("type") if type(value) is dict else None
    if kind not in ("quorum", "poet"):
        raise DecodeError("certificate.type: neither quorum nor poet")
    check_record(QUORUM if kind == "quorum" else POET, value, "certificate")
    v = cast("dict[str, object]", value)
    block = digest_bytes(cast("str", v["block"]))
    epoch = cast("int", v["epoch"])
    solution = Solution.from_value(v["solution"])
    votes = tuple(Vote.from_value(item, block) for item in cast("list[object]", v["votes"]))
    _check_votes(block, votes, valid_only=kind == "quorum")
    if kind == "quorum":
        return QuorumCertificate(block, epoch, solution, votes)
    return PoetCertificate(
        block,
        epoch,
        solution,
        votes,
        writer=cast("int", v["writer"]),
        reason=cast("str", v["reason"]),
        annotations=digest_bytes(cast("str", v["annotations"])),
        signature=hex_bytes(cast("str", v["signature"]), 64),
    )


def certificate_digest(data: bytes) -> bytes:
    """What a link holds of its certificate."""
    return digest(Domain.CERTIFICATE, data)


def _vote_values(votes: tuple[Vote, ...]) -> list[JsonValue]:
    return [vote.value() for vote in votes]


def _check_votes(block: bytes, votes: tuple[Vote, ...], *, valid_only: bool) -> None:
    slots = [vote.header.slot for vote in votes]
    if slots != sorted(set(slots)):
        raise DecodeError("certificate.votes: slots must ascend and not repeat")
    if any(vote.entry.block != block for vote in votes):
        raise DecodeError("certificate.votes: one is about another block")  # its block id is not written
    if valid_only and any(vote.entry.verdict is not Verdict.VALID for vote in votes):
        raise DecodeError("certificate.votes: a quorum certificate cites VALID verdicts only")
