"""Proof of traceability: may what a block states be true?  SciChain §3.2; V3 and V4 of the design.

V3  A transaction that was committed before is a duplicate; another one under its key is a key clash.
V4  For each input with a digest: never produced by a task → a source. Produced → the digest must be one of its
    recorded versions; known and never with this digest → contested. Not decidable from what this node holds →
    unknown. An input declared `unresolved`, or whose producer is named but was never recorded, taints and is not
    contested.

Only committed state counts, plus earlier transactions of the same block. The same function serves a validator with
its tail and the storage node with the whole chain; they differ in what their `Lookup` can decide. Nothing here
rejects a block: what is wrong is annotated, so that the record of what happened is never lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from scichain_wf import limits
from scichain_wf.crypto.hashing import Domain, digest
from scichain_wf.model import canonical
from scichain_wf.model.bodies import Kind
from scichain_wf.model.link import Annotation, Mark
from scichain_wf.model.text import digest_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scichain_wf.model.block import Block
    from scichain_wf.model.canonical import JsonObject


class Known(StrEnum):
    """What a ledger can say of (URI, digest)."""

    KNOWN = "known"
    """A recorded version of the artifact has this digest."""
    OTHER = "other"
    """A task produced the artifact, and no recorded version has this digest."""
    UNHASHED = "unhashed"
    """No version has this digest, but one was recorded without any: it can be neither confirmed nor refuted."""
    NEW = "new"
    """No task ever produced it."""
    UNKNOWN = "unknown"
    """Not decidable from what this ledger holds."""


class Lookup(Protocol):
    """Committed state, as much of it as a node holds."""

    def lookup(self, uri: str, digest: bytes, /) -> Known:
        """What is known of the artifact `uri` having `digest`."""

    def contains(self, key: bytes, transaction: bytes, /) -> bool:
        """Whether the transaction with this key and id is known to be committed."""

    def clashes(self, key: bytes, transaction: bytes, /) -> bool:
        """Whether another transaction is known to be committed under this key."""


class ParsedBlock(Protocol):
    """A block whose every transaction passed the strict parser (V1); `leaves` are the transactions' ids."""

    @property
    def block(self) -> Block:
        """The block."""

    @property
    def parsed(self) -> Sequence[JsonObject]:
        """Its transactions as checked dictionaries."""

    @property
    def leaves(self) -> Sequence[bytes]:
        """Their ids."""


class Hung(NamedTuple):
    """An input that a judgement hangs on.

    Attributes:
        transaction: its place in the block.
        item: the input, as parsed.
        known: OTHER where it makes the transaction contested, UNKNOWN where it could not be decided.
    """

    transaction: int
    item: dict[str, str]
    known: Known

    def holds(self, block: ParsedBlock, ledger: Lookup) -> bool:
        """Whether, after `ledger` grew, the judgement of `block` still hangs on it: then the verdict is the same."""
        key = bytes.fromhex(cast("str", block.parsed[self.transaction]["key"]))
        if ledger.contains(key, block.leaves[self.transaction]):
            return False
        known = ledger.lookup(self.item["uri"], digest_bytes(self.item["digest"]))
        return known is Known.UNKNOWN or (self.known is Known.OTHER and known in (Known.OTHER, Known.NEW))


@dataclass(frozen=True, slots=True)
class Judgement:
    """What V3 and V4 found.

    Attributes:
        annotations: by transaction.
        unknown: not everything could be decided.
        contradicted: for each contested transaction, in order, the artifact of its first input that makes it so.
        hung: every input that makes it a conflict; where there is none, every one that could not be decided.
    """

    annotations: tuple[Annotation, ...] = ()
    unknown: bool = False
    contradicted: tuple[str, ...] = ()
    hung: tuple[Hung, ...] = ()

    @property
    def conflict(self) -> bool:
        """Whether a transaction is contested: then a quorum cannot have said VALID of this state.

        A duplicate is none: it says nothing that is not in the chain already, and who could make a block invalid by
        being first with a copy of one of its transactions could do so to everybody's blocks (decision 7).
        """
        return any(annotation.mark is Mark.CONTESTED for annotation in self.annotations)

    def reasons_digest(self) -> bytes:
        """What a validator signs with INVALID."""
        return digest(Domain.REASONS, canonical.dumps([annotation.value() for annotation in self.annotations]))


@dataclass(slots=True)
class _Block:
    """What earlier transactions of the block being judged added, and the inputs that are against it."""

    ids: set[tuple[bytes, bytes]] = field(default_factory=set)
    keys: set[bytes] = field(default_factory=set)
    versions: dict[str, set[bytes | None]] = field(default_factory=dict)
    contested: list[Hung] = field(default_factory=list)
    undecided: list[Hung] = field(default_factory=list)


def judge(block: ParsedBlock, ledger: Lookup) -> Judgement:
    """V3 and V4 for every transaction of `block`, in order."""
    annotations: list[Annotation] = []
    earlier = _Block()
    for index, (value, leaf) in enumerate(zip(block.parsed, block.leaves, strict=True)):
        key = bytes.fromhex(cast("str", value["key"]))
        if (key, leaf) in earlier.ids or ledger.contains(key, leaf):
            annotations.append(Annotation(index, Mark.DUPLICATE))
            continue
        if value["kind"] == Kind.TASK:
            annotations += _judge_task(index, cast("JsonObject", value["body"]), earlier, ledger)
        if key in earlier.keys or ledger.clashes(key, leaf):
            annotations.append(Annotation(index, Mark.KEY_CLASH))
        earlier.ids.add((key, leaf))
        earlier.keys.add(key)
    ordered = sorted(annotations, key=lambda a: (a.index, a.mark))
    first = {hung.transaction: hung.item["uri"] for hung in reversed(earlier.contested)}
    contradicted = tuple(first[index] for index in sorted(first))
    hung = tuple(earlier.contested or earlier.undecided)
    return Judgement(tuple(ordered), bool(earlier.undecided), contradicted, hung)


def outputs(value: JsonObject) -> list[tuple[str, bytes | None]]:
    """(URI, digest or None) of everything a parsed transaction says a task made."""
    if value["kind"] != Kind.TASK:
        return []
    body = cast("dict[str, list[dict[str, str]]]", value["body"])
    return [(item["uri"], digest_bytes(item["digest"]) if "digest" in item else None) for item in body["outputs"]]


def _judge_task(index: int, body: JsonObject, earlier: _Block, ledger: Lookup) -> list[Annotation]:
    contested: list[str] = []
    unresolved: list[str] = []
    for item in cast("list[dict[str, str]]", body["inputs"]):
        if "digest" not in item:
            continue  # it states no content that could be traced
        if item.get("unresolved"):
            unresolved.append(_shown(item["uri"]))
            continue
        known = _known(item["uri"], digest_bytes(item["digest"]), earlier, ledger)
        if known is Known.OTHER:
            earlier.contested.append(Hung(index, item, known))
            contested.append(f"{_shown(item['uri'])}: no recorded version has {item['digest']}")
        elif known is Known.UNKNOWN:
            earlier.undecided.append(Hung(index, item, known))
        elif known is Known.NEW and item.get("origin", "").startswith("task:"):
            unresolved.append(f"{_shown(item['uri'])}: its producer is not recorded")
    for output in cast("list[dict[str, str]]", body["outputs"]):
        digest_of_output = digest_bytes(output["digest"]) if "digest" in output else None
        earlier.versions.setdefault(output["uri"], set()).add(digest_of_output)
    found = []
    if contested:
        found.append(Annotation(index, Mark.CONTESTED, _bounded(contested)))
    if unresolved:
        found.append(Annotation(index, Mark.UNRESOLVED, _bounded(unresolved)))
    return found


def _known(uri: str, wanted: bytes, earlier: _Block, ledger: Lookup) -> Known:
    here = earlier.versions.get(uri, set())
    if wanted in here:
        return Known.KNOWN
    known = ledger.lookup(uri, wanted)
    if known in (Known.NEW, Known.OTHER) and here:
        return Known.UNHASHED if None in here else Known.OTHER
    return known


def _shown(uri: str) -> str:
    """A URI short enough that the annotations of a full block fit a link."""
    return uri if len(uri) <= limits.REASON_URI_CHARS_MAX else uri[: limits.REASON_URI_CHARS_MAX] + "..."


def _bounded(reasons: list[str]) -> tuple[str, ...]:
    kept = reasons[: limits.REASONS_PER_ANNOTATION_MAX]
    if len(reasons) > len(kept):
        kept.append(f"and {len(reasons) - len(kept)} more")
    return tuple(kept)
