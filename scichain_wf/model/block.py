"""Blocks: what one node vouches for in one signature.

The header is canonical JSON; the block id is its hash under `Domain.BLOCK`, and the proposer signs the header's
bytes under the same domain. Transactions follow as bytes, exactly as the hooks made them. Encoding (big endian):

    u32 header length | header | 64 signature | u32 count | count x u32 length | transactions

so that transaction *i* is found without touching the others. A block is immutable once signed. Shown to people
as `Block 4_2`: slot 4's second block (SciChain Figure 5). The solution of the puzzle is not part of the block,
since with `mining = race` somebody else may find it: it is in the certificate.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Final, Self, cast

from scichain_wf import limits
from scichain_wf.crypto import merkle
from scichain_wf.crypto.hashing import Domain, digest
from scichain_wf.errors import DecodeError, UsageError
from scichain_wf.model import canonical
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.schema import (
    COUNT,
    DIGEST,
    TIME_US,
    Choice,
    Integer,
    Record,
    check_record,
    refuse_newer,
)
from scichain_wf.model.text import digest_bytes, digest_text

BLOCK_VERSION: Final = 1
_U32 = struct.Struct(">I")
_SIGNATURE_BYTES = 64

HEADER: Final = Record(
    {
        "version": Choice(BLOCK_VERSION),
        "chain": DIGEST,
        "epoch": COUNT,  # the newest its maker knew
        "proposer": DIGEST,  # hash of its public key
        "sequence": COUNT,
        "parent": DIGEST,  # the newest committed link its maker knew, and its height
        "parent_height": Integer(-1),
        "root": DIGEST,
        "count": Integer(1, limits.BLOCK_TRANSACTIONS_MAX),
        "time_us": TIME_US,
        "difficulty": Integer(0, limits.DIFFICULTY_MAX),
        # Who brought the transactions: the node's own outbox, or adopted files from the spool.
        "source": Choice("outbox", "spool", "storage"),
    }
)


@dataclass(frozen=True, slots=True)
class Header:
    """What the proposer signs. Digests are 32 raw bytes; `parent_height` is -1 before the genesis."""

    chain: bytes
    epoch: int
    proposer: bytes
    sequence: int
    parent: bytes
    parent_height: int
    root: bytes
    count: int
    time_us: int
    difficulty: int
    source: str = "outbox"

    def value(self) -> JsonObject:
        """The header as plain JSON values."""
        return {
            "version": BLOCK_VERSION,
            "chain": digest_text(self.chain),
            "epoch": self.epoch,
            "proposer": digest_text(self.proposer),
            "sequence": self.sequence,
            "parent": digest_text(self.parent),
            "parent_height": self.parent_height,
            "root": digest_text(self.root),
            "count": self.count,
            "time_us": self.time_us,
            "difficulty": self.difficulty,
            "source": self.source,
        }

    def encode(self) -> bytes:
        """Canonical bytes.

        Raises:
            DecodeError: a field is out of its bounds.
        """
        value = self.value()
        check_record(HEADER, value, "header")
        return canonical.dumps(value, limits.HEADER_BYTES_MAX, "header")

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        """Strict inverse of `encode`.

        Raises:
            UnsupportedVersion, DecodeError: as for every record.
        """
        return cls.from_value(canonical.parse(data, limits.HEADER_BYTES_MAX))

    @classmethod
    def from_value(cls, value: object) -> Self:
        """From plain JSON values; errors as in `decode`."""
        refuse_newer(value, BLOCK_VERSION, "block")
        check_record(HEADER, value, "header")
        v = cast("dict[str, str]", value)
        n = cast("dict[str, int]", value)
        return cls(
            chain=digest_bytes(v["chain"]),
            epoch=n["epoch"],
            proposer=digest_bytes(v["proposer"]),
            sequence=n["sequence"],
            parent=digest_bytes(v["parent"]),
            parent_height=n["parent_height"],
            root=digest_bytes(v["root"]),
            count=n["count"],
            time_us=n["time_us"],
            difficulty=n["difficulty"],
            source=v["source"],
        )


@dataclass(frozen=True)
class Block:
    """Header bytes, the proposer's signature over them, and the transactions' bytes."""

    header_bytes: bytes
    signature: bytes
    transactions: tuple[bytes, ...]

    @cached_property
    def header(self) -> Header:
        """The parsed header."""
        return Header.decode(self.header_bytes)

    @cached_property
    def id(self) -> bytes:
        """Block id: hash of the header's bytes."""
        return block_id(self.header_bytes)

    @cached_property
    def leaves(self) -> list[bytes]:
        """Transaction ids in order: the leaves of the block's tree."""
        return merkle.leaf_hashes(self.transactions)

    @classmethod
    def of(cls, header_bytes: bytes, signature: bytes, transactions: tuple[bytes, ...], leaves: list[bytes]) -> Self:
        """A block whose transactions' ids are known."""
        block = cls(header_bytes, signature, transactions)
        block.__dict__["leaves"] = leaves
        return block

    def encode(self) -> bytes:
        """The block's bytes, as sent and stored.

        Raises:
            UsageError: over a limit, or the signature has not 64 bytes.
        """
        lengths = [len(data) for data in self.transactions]
        if not 1 <= len(lengths) <= limits.BLOCK_TRANSACTIONS_MAX:
            raise UsageError(f"a block has 1 to {limits.BLOCK_TRANSACTIONS_MAX} transactions, not {len(lengths)}")
        if len(self.header_bytes) > limits.HEADER_BYTES_MAX or len(self.signature) != _SIGNATURE_BYTES:
            raise UsageError(
                f"a block has a header of at most {limits.HEADER_BYTES_MAX} bytes, not {len(self.header_bytes)}, "
                f"and a signature of {_SIGNATURE_BYTES}, not {len(self.signature)}"
            )
        data = b"".join(
            (
                _U32.pack(len(self.header_bytes)),
                self.header_bytes,
                self.signature,
                struct.pack(f">{len(lengths) + 1}I", len(lengths), *lengths),
                *self.transactions,
            )
        )
        if len(data) > limits.BLOCK_BYTES_MAX:
            raise UsageError(f"block of {len(data)} bytes is over the limit of {limits.BLOCK_BYTES_MAX}")
        return data

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        """Split a block's bytes. Checks framing and limits, and that the root is that of the transactions.

        Raises:
            UnsupportedVersion, DecodeError: framing, a limit, the header's shape, count or root is wrong.
        """
        frame = BlockFrame.of(data)
        block = cls(bytes(frame.header), bytes(frame.signature), tuple(frame.transactions()))
        if block.header.count != frame.count:
            raise DecodeError(f"block: the header counts {block.header.count} transactions, {frame.count} follow")
        if merkle.root(block.leaves) != block.header.root:
            raise DecodeError("block: the header's root is not that of the transactions that follow")
        return block


@dataclass(frozen=True, slots=True)
class BlockFrame:
    """Where things are inside a block's bytes; reads single transactions without parsing the rest."""

    data: memoryview
    header: memoryview
    signature: memoryview
    ends: tuple[int, ...]
    start: int

    @property
    def count(self) -> int:
        """Number of transactions."""
        return len(self.ends)

    def transaction(self, index: int) -> bytes:
        """Bytes of transaction `index`."""
        begin = self.ends[index - 1] if index else 0
        return bytes(self.data[self.start + begin : self.start + self.ends[index]])

    def transactions(self) -> list[bytes]:
        """Bytes of all transactions in order."""
        data, begins = bytes(self.data[self.start :]), (0, *self.ends)
        return [data[begin:end] for begin, end in zip(begins, self.ends, strict=False)]

    @classmethod
    def of(cls, data: bytes | memoryview) -> Self:
        """Find the parts.

        Raises:
            DecodeError: the lengths do not add up to the data, or a limit is passed.
        """
        view = memoryview(data)
        if not _U32.size <= len(view) <= limits.BLOCK_BYTES_MAX:
            raise DecodeError(f"block of {len(view)} bytes; allowed are up to {limits.BLOCK_BYTES_MAX}")
        header_end = _U32.size + _U32.unpack_from(view)[0]
        counted = header_end + _SIGNATURE_BYTES
        if header_end > _U32.size + limits.HEADER_BYTES_MAX or counted + _U32.size > len(view):
            raise DecodeError("block: the header's length does not fit the data")
        count = _U32.unpack_from(view, counted)[0]
        start = counted + _U32.size * (count + 1)
        if not 1 <= count <= limits.BLOCK_TRANSACTIONS_MAX or start > len(view):
            raise DecodeError(f"block: a count of {count} transactions does not fit the data")
        ends = tuple(accumulate(struct.unpack_from(f">{count}I", view, counted + _U32.size)))
        if start + ends[-1] != len(view):
            raise DecodeError("block: the transactions' lengths do not add up to the data")
        return cls(view, view[_U32.size : header_end], view[header_end:counted], ends, start)


def block_id(header_bytes: bytes | memoryview) -> bytes:
    """Hash of a header's bytes."""
    return digest(Domain.BLOCK, bytes(header_bytes))


def transaction_root(transactions: Sequence[bytes]) -> bytes:
    """RFC 6962 root over transactions' bytes."""
    return merkle.root(merkle.leaf_hashes(transactions))
