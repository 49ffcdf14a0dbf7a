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

from binascii import unhexlify
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from scichain_wf import limits
from scichain_wf.crypto.hashing import Domain, digest
from scichain_wf.model import canonical, facts
from scichain_wf.model.link import Annotation, Mark

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scichain_wf.model.block import Block
    from scichain_wf.model.canonical import JsonObject
    from scichain_wf.model.facts import Facts, Input, Output


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
        """Whether another transaction is known to be committed under this key; b"" stands for none."""


class ParsedBlock(Protocol):
    """A block whose every transaction passed the strict parser (V1); `leaves` are the transactions' ids."""

    @property
    def block(self) -> Block:
        """The block."""

    @property
    def facts(self) -> Sequence[Facts]:
        """What its transactions state, as far as these rules look at it."""

    @property
    def leaves(self) -> Sequence[bytes]:
        """Their ids."""

    @property
    def parsed(self) -> Sequence[JsonObject]:
        """All that they state, as checked dictionaries."""


class Hung(NamedTuple):
    """An input that a judgement hangs on.

    Attributes:
        transaction: its place in the block.
        uri, digest: of the input; the digest as 32 bytes.
        known: OTHER where it makes the transaction contested, UNKNOWN where it could not be decided.
    """

    transaction: int
    uri: str
    digest: bytes
    known: Known

    def holds(self, block: ParsedBlock, ledger: Lookup) -> bool:
        """Whether, after `ledger` grew, the judgement of `block` still hangs on it: then the verdict is the same."""
        if ledger.contains(block.facts[self.transaction][1], block.leaves[self.transaction]):
            return False
        known = ledger.lookup(self.uri, self.digest)
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
    versions: dict[bytes, set[bytes]] = field(default_factory=dict)
    contested: list[Hung] = field(default_factory=list)
    undecided: list[Hung] = field(default_factory=list)


def judge(block: ParsedBlock, ledger: Lookup) -> Judgement:
    """V3 and V4 for every transaction of `block`, in order."""
    annotations: list[Annotation] = []
    earlier = _Block()
    for index, ((_, key, _, _, inputs, outputs), leaf) in enumerate(zip(block.facts, block.leaves, strict=True)):
        is_repeated = key in earlier.keys or ledger.clashes(key, b"")  # nearly always nothing has this key yet
        if is_repeated and ((key, leaf) in earlier.ids or ledger.contains(key, leaf)):
            annotations.append(Annotation(index, Mark.DUPLICATE))
            continue
        if inputs:
            annotations += _judge_inputs(index, inputs, earlier, ledger)
        for uri, recorded in outputs:
            earlier.versions.setdefault(uri, set()).add(recorded)
        if is_repeated and (key in earlier.keys or ledger.clashes(key, leaf)):
            annotations.append(Annotation(index, Mark.KEY_CLASH))
        earlier.ids.add((key, leaf))
        earlier.keys.add(key)
    ordered = sorted(annotations, key=lambda a: (a.index, a.mark))
    first = {hung.transaction: hung.uri for hung in reversed(earlier.contested)}
    contradicted = tuple(first[index] for index in sorted(first))
    hung = tuple(earlier.contested or earlier.undecided)
    return Judgement(tuple(ordered), bool(earlier.undecided), contradicted, hung)


def versions(outputs: Iterable[Output]) -> list[tuple[str, bytes | None]]:
    """(URI, digest or None) of outputs."""
    return [(uri.decode(), digest or None) for uri, digest in outputs]


def _judge_inputs(index: int, inputs: list[Input], earlier: _Block, ledger: Lookup) -> list[Annotation]:
    contested: list[str] = []
    unresolved: list[str] = []
    for spelled, hexadecimal, origin, declared in inputs:  # without a digest one states nothing that could be traced
        uri = spelled.decode()
        if declared:
            unresolved.append(_shown(uri))
            continue
        wanted = unhexlify(hexadecimal)
        known = _known(earlier.versions.get(spelled), uri, wanted, ledger)
        if known is Known.OTHER:
            earlier.contested.append(Hung(index, uri, wanted, known))
            contested.append(f"{_shown(uri)}: no recorded version has sha256:{hexadecimal.decode()}")
        elif known is Known.UNKNOWN:
            earlier.undecided.append(Hung(index, uri, wanted, known))
        elif known is Known.NEW and origin == facts.TASK:
            unresolved.append(f"{_shown(uri)}: its producer is not recorded")
    found = []
    if contested:
        found.append(Annotation(index, Mark.CONTESTED, _bounded(contested)))
    if unresolved:
        found.append(Annotation(index, Mark.UNRESOLVED, _bounded(unresolved)))
    return found


def _known(here: set[bytes] | None, uri: str, wanted: bytes, ledger: Lookup) -> Known:
    """What `ledger` knows, and the versions `here` in the same block; an empty digest there is of one without any."""
    if here is None:
        return ledger.lookup(uri, wanted)
    if wanted in here:
        return Known.KNOWN
    known = ledger.lookup(uri, wanted)
    if known in (Known.NEW, Known.OTHER):
        return Known.UNHASHED if b"" in here else Known.OTHER
    return known


def _shown(uri: str) -> str:
    """A URI short enough that the annotations of a full block fit a link."""
    return uri if len(uri) <= limits.REASON_URI_CHARS_MAX else uri[: limits.REASON_URI_CHARS_MAX] + "..."


def _bounded(reasons: list[str]) -> tuple[str, ...]:
    kept = reasons[: limits.REASONS_PER_ANNOTATION_MAX]
    if len(reasons) > len(kept):
        kept.append(f"and {len(reasons) - len(kept)} more")
    return tuple(kept)
