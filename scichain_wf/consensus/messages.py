"""What travels between the machines of the protocol, and its bytes.

A message is a kind (one byte of the frame that carries it) and a payload. A payload of several parts is their count
and lengths (u32, big endian), then the parts; single values are canonical JSON. Records inside keep the encoding of
`model`, so what is signed is never written anew. Decoding is strict and bounded; transactions inside a block are
not parsed here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Final, Self, TypeAlias, cast

from scichain_wf import limits
from scichain_wf.errors import DecodeError
from scichain_wf.model import canonical, certificate
from scichain_wf.model.block import Block
from scichain_wf.model.canonical import JsonObject, JsonValue
from scichain_wf.model.certificate import QuorumCertificate, Solution
from scichain_wf.model.link import Link
from scichain_wf.model.schema import (
    COUNT,
    DIGEST,
    FREE_TEXT,
    ORDINAL,
    SIGNATURE,
    Array,
    Choice,
    Integer,
    Nullable,
    Record,
    check_record,
)
from scichain_wf.model.text import digest_bytes, digest_text
from scichain_wf.model.verdict import VOTE, VerdictBatch, Vote

if TYPE_CHECKING:
    from collections.abc import Callable

_SOLUTION: Final = Record({"solver": DIGEST, "nonce": COUNT, "signature": Nullable(SIGNATURE)})
_PUZZLE: Final = Record({"block": DIGEST, "difficulty": Integer(1, limits.DIFFICULTY_MAX)})
_FOUND: Final = Record({"block": DIGEST, "solution": _SOLUTION})
_SYNC: Final = Record({"next": COUNT})
_EXTEND: Final = Record(
    {
        "reason": Choice("deadline", "quorum-impossible", "bad-votes"),
        "solution": Nullable(_SOLUTION),
        "votes": Array(VOTE, limits.SLOTS_MAX),
    }
)
_ANSWER: Final = Record(
    {"block": DIGEST, "answer": Choice("bad-votes", "outdated", "refused", "wait")},
    {"slots": Array(ORDINAL, limits.SLOTS_MAX), "reason": FREE_TEXT},
)


class Kind(IntEnum):
    """First byte of a frame. Numbers from 32 on belong to the processes (`node`), not to the protocol."""

    PROPOSE = 1
    VERDICTS = 2
    PUSH = 3
    EXTEND = 4
    COMMITTED = 5
    ANSWER = 6
    SYNC = 7
    PUZZLE = 8
    FOUND = 9


@dataclass(frozen=True, slots=True)
class Propose:
    """A proposer asks every slot for its verdict (SciChain §4.3, step 4)."""

    kind: ClassVar[Kind] = Kind.PROPOSE
    block: Block

    def encode(self) -> bytes:
        """The payload."""
        return self.block.encode()

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        """Strict inverse of `encode`; `DecodeError` as for every record."""
        return cls(Block.decode(data))


@dataclass(frozen=True, slots=True)
class Verdicts:
    """A validator's signed batch, to the proposers of the blocks in it (step 5)."""

    kind: ClassVar[Kind] = Kind.VERDICTS
    batch: VerdictBatch

    def encode(self) -> bytes:
        """The payload."""
        return self.batch.encode()

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        """Strict inverse of `encode`; `DecodeError` as for every record."""
        return cls(VerdictBatch.decode(data))


@dataclass(frozen=True, slots=True)
class Push:
    """A certified block, to storage (Protocol 1, line 10)."""

    kind: ClassVar[Kind] = Kind.PUSH
    block: Block
    certificate: QuorumCertificate

    def encode(self) -> bytes:
        """The payload."""
        return pack(self.certificate.encode(), self.block.encode())

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        """Strict inverse of `encode`; `DecodeError` as for every record."""
        certified, block = unpack(data, 2)
        decoded = certificate.decode(bytes(certified))
        if not isinstance(decoded, QuorumCertificate):
            raise DecodeError("push: not a quorum certificate")
        return cls(Block.decode(block), decoded)


@dataclass(frozen=True, slots=True)
class Extend:
    """A block that gets no quorum, to storage for its own verdict (Protocol 2)."""

    kind: ClassVar[Kind] = Kind.EXTEND
    block: Block
    solution: Solution | None
    votes: tuple[Vote, ...]
    reason: str

    def encode(self) -> bytes:
        """The payload."""
        votes: list[JsonValue] = [vote.value() for vote in self.votes]
        value: JsonObject = {
            "reason": self.reason,
            "solution": None if self.solution is None else self.solution.value(),
            "votes": votes,
        }
        return pack(_dumped(_EXTEND, value, "extend"), self.block.encode())

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        """Strict inverse of `encode`; `DecodeError` as for every record."""
        head, body = unpack(data, 2)
        v = cast("dict[str, object]", _parsed(_EXTEND, head, "extend"))
        block = Block.decode(body)
        votes = tuple(Vote.from_value(item, block.id) for item in cast("list[object]", v["votes"]))
        slots = [vote.header.slot for vote in votes]
        if slots != sorted(set(slots)):
            raise DecodeError("extend.votes: slots must ascend and not repeat")
        return cls(block, Solution.from_value(v["solution"]), votes, cast("str", v["reason"]))


@dataclass(frozen=True, slots=True)
class Committed:
    """A durable link, to everybody. `block` is None for who has it already."""

    kind: ClassVar[Kind] = Kind.COMMITTED
    link: Link
    block: Block | None

    def encode(self) -> bytes:
        """The payload."""
        return pack(self.link.encode(), b"" if self.block is None else self.block.encode())

    @classmethod
    def decode(cls, data: bytes | memoryview, knows: Callable[[bytes], bool] | None = None) -> Self:
        """Strict inverse of `encode`; `DecodeError` as for every record.

        Args:
            data: the payload.
            knows: says of a block's id whether the block is here already: then what was sent of it is not read.
        """
        link, body = unpack(data, 2)
        if knows is not None and knows((known := Link.decode(bytes(link))).block):
            return cls(known, None)
        decoded = cls(Link.decode(bytes(link)), Block.decode(body) if len(body) else None)
        if decoded.block is not None and decoded.block.id != decoded.link.block:
            raise DecodeError(f"committed: the block is not the one of link {decoded.link.height}")
        return decoded


@dataclass(frozen=True, slots=True)
class Answer:
    """What storage says of a block that it did not append.

    Attributes:
        block: block id.
        answer: `bad-votes` (of `slots`; it convicts nobody), `refused` (structurally wrong, see `reason`) or `wait`.
        slots: whose votes do not hold.
        reason: in words.
    """

    kind: ClassVar[Kind] = Kind.ANSWER
    block: bytes
    answer: str
    slots: tuple[int, ...] = ()
    reason: str = ""

    def encode(self) -> bytes:
        """The payload."""
        value: JsonObject = {"block": digest_text(self.block), "answer": self.answer, "reason": self.reason}
        value["slots"] = list(self.slots)
        return _dumped(_ANSWER, value, "answer")

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        """Strict inverse of `encode`; `DecodeError` as for every record."""
        v = cast("dict[str, str]", _parsed(_ANSWER, data, "answer"))
        slots = cast("list[int]", v.get("slots", []))
        return cls(digest_bytes(v["block"]), v["answer"], tuple(slots), v.get("reason", ""))


@dataclass(frozen=True, slots=True)
class Sync:
    """An agent lacks the links from height `next` on, to storage (SciChain §3.1)."""

    kind: ClassVar[Kind] = Kind.SYNC
    next: int

    def encode(self) -> bytes:
        """The payload."""
        return _dumped(_SYNC, {"next": self.next}, "sync")

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        """Strict inverse of `encode`; `DecodeError` as for every record."""
        return cls(cast("dict[str, int]", _parsed(_SYNC, data, "sync"))["next"])


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A proposer asks its peers to solve its block's puzzle with it (mining = race; SciChain §4.2)."""

    kind: ClassVar[Kind] = Kind.PUZZLE
    block: bytes
    difficulty: int

    def encode(self) -> bytes:
        """The payload."""
        return _dumped(_PUZZLE, {"block": digest_text(self.block), "difficulty": self.difficulty}, "puzzle")

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        """Strict inverse of `encode`; `DecodeError` as for every record."""
        value = _parsed(_PUZZLE, data, "puzzle")
        return cls(digest_bytes(cast("str", value["block"])), cast("int", value["difficulty"]))


@dataclass(frozen=True, slots=True)
class Found:
    """A peer solved the puzzle of `block`, to its proposer; signed as `roster.solution_statement` says."""

    kind: ClassVar[Kind] = Kind.FOUND
    block: bytes
    solution: Solution

    def encode(self) -> bytes:
        """The payload."""
        return _dumped(_FOUND, {"block": digest_text(self.block), "solution": self.solution.value()}, "found")

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        """Strict inverse of `encode`; `DecodeError` as for every record."""
        value = _parsed(_FOUND, data, "found")
        return cls(digest_bytes(cast("str", value["block"])), cast("Solution", Solution.from_value(value["solution"])))


Message: TypeAlias = Propose | Verdicts | Push | Extend | Committed | Answer | Sync | Puzzle | Found
_DECODERS: Final = {
    cls.kind: cls.decode for cls in (Propose, Verdicts, Push, Extend, Committed, Answer, Sync, Puzzle, Found)
}


def decode(kind: int, data: bytes | memoryview) -> Message:
    """The message of a frame.

    Raises:
        DecodeError: unknown kind, over the size of a frame, or not its shape.
    """
    if len(data) > limits.FRAME_BYTES_MAX:
        raise DecodeError(f"message of {len(data)} bytes; allowed are up to {limits.FRAME_BYTES_MAX}")
    if kind not in _DECODERS:
        raise DecodeError(f"message of unknown kind {kind}")
    return _DECODERS[Kind(kind)](data)


def _dumped(record: Record, value: JsonObject, what: str) -> bytes:
    check_record(record, value, what)
    return canonical.dumps(value)


def _parsed(record: Record, data: bytes | memoryview, what: str) -> JsonObject:
    value = canonical.parse(bytes(data), limits.CERTIFICATE_BYTES_MAX)
    check_record(record, value, what)
    return cast("JsonObject", value)


def pack(*parts: bytes) -> bytes:
    """Several byte strings as one."""
    return struct.pack(f">{len(parts) + 1}I", len(parts), *map(len, parts)) + b"".join(parts)


def unpack(data: bytes | memoryview, count: int) -> list[memoryview]:
    """The parts that `pack` joined.

    Raises:
        DecodeError: not exactly `count` parts that fill the data.
    """
    view, start = memoryview(data), 4 * (count + 1)
    if len(view) < start or struct.unpack_from(">I", view)[0] != count:
        raise DecodeError(f"message: not of {count} parts")
    parts = []
    for length in struct.unpack_from(f">{count}I", view, 4):
        parts.append(view[start : start + length])
        start += length
    if start != len(view):
        raise DecodeError("message: the parts' lengths do not add up to the data")
    return parts
