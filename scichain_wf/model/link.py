"""Links: the chain itself. Only an appended, fsynced link means "committed".

A link is canonical JSON; its hash is the RFC 6962 leaf hash of its bytes. That one hash chains links (`previous`),
is the leaf of the chain's tree, and names the newest link in headers and verdicts. The chain id is the hash of the
genesis link. Nobody signs single links: a checkpoint signs the root of their tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final, Self, cast

from scichain_wf import limits
from scichain_wf.crypto import merkle
from scichain_wf.crypto.hashing import Domain, digest
from scichain_wf.errors import DecodeError
from scichain_wf.model import canonical
from scichain_wf.model.canonical import JsonObject, JsonValue
from scichain_wf.model.schema import (
    COUNT,
    DIGEST,
    FREE_TEXT,
    TIME_US,
    Array,
    Choice,
    Integer,
    Nullable,
    Record,
    check_record,
    refuse_newer,
)
from scichain_wf.model.text import digest_bytes, digest_text

LINK_VERSION: Final = 1


class Mode(StrEnum):
    """Why the block was appended."""

    QUORUM = "quorum"
    POET = "poet"
    EPOCH = "epoch"


class Mark(StrEnum):
    """What a link says of one transaction of its block."""

    CONTESTED = "contested"
    """An input has a digest that no recorded version of it has."""
    UNRESOLVED = "unresolved"
    """An input's producer was not recorded in time; taints, does not contest."""
    KEY_CLASH = "key-clash"
    """Another transaction with this key and other bytes was there before."""
    DUPLICATE = "duplicate"
    """The same bytes were committed before; this copy counts for nothing."""


_ANNOTATION = Record(
    {"index": Integer(0, limits.BLOCK_TRANSACTIONS_MAX - 1), "mark": Choice(*Mark)},
    {"reasons": Array(FREE_TEXT, limits.ARTIFACTS_PER_TASK_MAX, items_min=1)},
)
LINK: Final = Record(
    {
        "version": Choice(LINK_VERSION),
        "height": COUNT,
        "previous": DIGEST,
        "block": DIGEST,
        "certificate": Nullable(DIGEST),
        "mode": Choice(*Mode),
        "epoch": COUNT,  # in force at the append
        "annotations": Array(_ANNOTATION, limits.ANNOTATIONS_PER_LINK_MAX),
        "writer": COUNT,  # writer epoch of the storage process; 0 for the genesis
        "time_us": TIME_US,
    }
)


@dataclass(frozen=True, slots=True, order=True)
class Annotation:
    """A mark on transaction `index` of the block, with its reasons in words."""

    index: int
    mark: Mark
    reasons: tuple[str, ...] = ()

    def value(self) -> JsonObject:
        """The annotation as plain JSON values."""
        value: JsonObject = {"index": self.index, "mark": self.mark.value}
        if self.reasons:
            value["reasons"] = list(self.reasons)
        return value


@dataclass(frozen=True)
class Link:
    """One link. Digests are 32 raw bytes; `certificate` is None in mode `epoch` and there only."""

    height: int
    previous: bytes
    block: bytes
    certificate: bytes | None
    mode: Mode
    epoch: int
    annotations: tuple[Annotation, ...]
    writer: int
    time_us: int

    def value(self) -> JsonObject:
        """The link as plain JSON values."""
        return {
            "version": LINK_VERSION,
            "height": self.height,
            "previous": digest_text(self.previous),
            "block": digest_text(self.block),
            "certificate": None if self.certificate is None else digest_text(self.certificate),
            "mode": self.mode.value,
            "epoch": self.epoch,
            "annotations": [annotation.value() for annotation in self.annotations],
            "writer": self.writer,
            "time_us": self.time_us,
        }

    def encode(self) -> bytes:
        """Canonical bytes.

        Raises:
            DecodeError: a field is out of its bounds, annotations are not in order, or the whole is over its limit.
        """
        return self._bytes

    @cached_property
    def _bytes(self) -> bytes:
        value = self.value()
        check_record(LINK, value, "link")
        self._check()
        return canonical.dumps(value, limits.LINK_BYTES_MAX, "link")

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        """Strict inverse of `encode`.

        Raises:
            UnsupportedVersion, DecodeError: as for every record.
        """
        link = cls.from_value(canonical.parse(data, limits.LINK_BYTES_MAX))
        link.__dict__["_bytes"] = bytes(data)
        return link

    @classmethod
    def from_value(cls, value: JsonValue) -> Self:
        """From plain JSON values; errors as in `decode`."""
        refuse_newer(value, LINK_VERSION, "link")
        check_record(LINK, value, "link")
        v = cast("dict[str, str]", value)
        n = cast("dict[str, int]", value)
        certificate = cast("str | None", v["certificate"])
        link = cls(
            height=n["height"],
            previous=digest_bytes(v["previous"]),
            block=digest_bytes(v["block"]),
            certificate=None if certificate is None else digest_bytes(certificate),
            mode=Mode(v["mode"]),
            epoch=n["epoch"],
            annotations=tuple(_annotation(item) for item in cast("list[dict[str, object]]", v["annotations"])),
            writer=n["writer"],
            time_us=n["time_us"],
        )
        link._check()
        return link

    @cached_property
    def hash(self) -> bytes:
        """RFC 6962 leaf hash of the bytes: chains links, is the tree's leaf."""
        return merkle.leaf_hash(self.encode())

    def _check(self) -> None:
        if (self.certificate is None) != (self.mode is Mode.EPOCH):
            raise DecodeError(f"link {self.height}: mode {self.mode} and certificate do not go together")
        keys = [(annotation.index, annotation.mark) for annotation in self.annotations]
        if keys != sorted(set(keys)):
            raise DecodeError(f"link {self.height}: annotations must be ordered by transaction and not repeat")


def annotations_digest(annotations: tuple[Annotation, ...]) -> bytes:
    """What a POET certificate signs of the link's annotations."""
    return digest(Domain.ANNOTATIONS, canonical.dumps([annotation.value() for annotation in annotations]))


def _annotation(item: dict[str, object]) -> Annotation:
    reasons = cast("list[str]", item.get("reasons", []))
    return Annotation(cast("int", item["index"]), Mark(cast("str", item["mark"])), tuple(reasons))
