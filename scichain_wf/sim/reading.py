"""Links, blocks and certificates as the checkers read them: plain dictionaries from bytes, with code of their own.

Nothing here calls a rule of the core. Bytes are JSON (`json`, not the project's parser), hashes are `hashlib`'s, and
an inclusion path is walked as RFC 9162 §2.1.3.2 says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from scichain_wf.model.block import Block
    from scichain_wf.model.link import Link

Json: TypeAlias = dict[str, Any]
Verify: TypeAlias = "Callable[[bytes, str, bytes, bytes], bool]"
"""(public key of 32 bytes, domain, signature, data) → whether it holds."""


@dataclass(frozen=True, slots=True)
class Record:
    """One transaction: id, kind, inputs (uri, digest or None, origin or "", declared unresolved), outputs."""

    id: bytes
    kind: str
    inputs: tuple[tuple[str, str | None, str, bool], ...]
    outputs: tuple[tuple[str, str | None], ...]
    body: Json


@dataclass(frozen=True, slots=True)
class Fact:
    """A durable link with everything under it. `marks`: annotations, by index of the transaction."""

    height: int
    hash: bytes
    link: Json
    header: Json
    records: tuple[Record, ...]
    marks: dict[int, frozenset[str]]
    certificate: Json | None
    certificate_bytes: bytes | None

    @property
    def mode(self) -> str:
        """`quorum`, `poet` or `epoch`."""
        return str(self.link["mode"])

    def counting(self) -> list[tuple[int, Record]]:
        """Its transactions with their index, without duplicates."""
        return [(i, r) for i, r in enumerate(self.records) if "duplicate" not in self.marks.get(i, ())]


def fact(link: Link, block: Block, certificate: bytes | None) -> Fact:
    """Read a durable link."""
    data = link.encode()
    value = json.loads(data)
    marks: dict[int, set[str]] = {}
    for annotation in value["annotations"]:
        marks.setdefault(annotation["index"], set()).add(annotation["mark"])
    return Fact(
        height=value["height"],
        hash=sha256(b"\0" + data).digest(),
        link=value,
        header=json.loads(block.header_bytes),
        records=tuple(record(item) for item in block.transactions),
        marks={index: frozenset(names) for index, names in marks.items()},
        certificate=None if certificate is None else json.loads(certificate),
        certificate_bytes=certificate,
    )


def record(data: bytes) -> Record:
    """Read a transaction."""
    value = json.loads(data)
    body = value["body"]
    task = value["kind"] == "task"
    return Record(
        id=sha256(b"\0" + data).digest(),
        kind=value["kind"],
        inputs=tuple(
            (item["uri"], item.get("digest"), item.get("origin", ""), bool(item.get("unresolved")))
            for item in (body["inputs"] if task else ())
        ),
        outputs=tuple((item["uri"], item.get("digest")) for item in (body["outputs"] if task else ())),
        body=body,
    )


def dumped(value: Json | list[Json]) -> bytes:
    """Canonical bytes of a value whose keys are ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def tagged_digest(domain: str, data: bytes) -> str:
    """A digest in a domain, as records write it."""
    return "sha256:" + sha256(b"scichain-wf/1/" + domain.encode("ascii") + b"\0" + data).hexdigest()


def root_of(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    """The root that a leaf hash and its path lead to; None if the path does not fit the tree."""
    number, last, value = index, size - 1, leaf
    if not 0 <= number <= last:
        return None
    for node in path:
        if last == 0:
            return None
        if number & 1 or number == last:
            value = sha256(b"\1" + node + value).digest()
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            value = sha256(b"\1" + value + node).digest()
        number, last = number >> 1, last >> 1
    return value if last == 0 else None


def is_quorum(votes: int, slots: int, rule: str) -> bool:
    """Whether so many of `slots` are enough: more than half, or (N+f+1)/2 of them with f < N/3 liars."""
    if rule == "majority":
        return 2 * votes > slots
    return 2 * votes >= slots + (slots - 1) // 3 + 1


def bad_vote(vote: Json, block: str, chain: str, epoch: Json, verify: Verify) -> str | None:
    """Why a vote of a certificate does not count under `epoch`; None if it does."""
    header = vote["header"]
    key = member_key(epoch, header["slot"])
    if key is None:
        return f"slot {header['slot']} has no key"
    if header["chain"] != chain or header["epoch"] != epoch["epoch"]:
        return f"the vote of slot {header['slot']} is of another chain or epoch"
    entry = {"block": block, "verdict": vote["verdict"], "reasons": vote["reasons"]}
    leaf = sha256(b"\0" + dumped(entry)).digest()
    path = [bytes.fromhex(node) for node in vote["path"]]
    root = root_of(leaf, vote["index"], header["count"], path)
    if root is None or "sha256:" + root.hex() != header["root"]:
        return f"the vote of slot {header['slot']} is not in its batch"
    if not verify(key, "verdict-batch", bytes.fromhex(vote["signature"]), dumped(header)):
        return f"slot {header['slot']} did not sign its vote"
    return None


def member_key(epoch: Json, slot: int) -> bytes | None:
    """The key bound to a slot, 32 bytes, or None."""
    for member in epoch["members"]:
        if member["slot"] == slot and "key" in member:
            return key_bytes(member["key"])
    return None


def key_bytes(text: str) -> bytes:
    """A public key from its text, which ends with 64 hex digits."""
    return bytes.fromhex(text[-64:])
