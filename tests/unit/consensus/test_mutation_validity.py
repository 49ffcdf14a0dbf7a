"""Traceability to the last word: what mutation testing (tests/mutation) found no other test to notice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from scichain_wf import limits
from scichain_wf.consensus import validity
from scichain_wf.consensus.validity import Judgement, Known, judge
from scichain_wf.crypto.hashing import Domain, digest
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model import canonical
from scichain_wf.model.block import Block
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.facts import Facts
from scichain_wf.model.link import Annotation, Mark
from scichain_wf.model.transaction import Transaction
from tests.builders import ChainBuilder


@dataclass
class Ledger:
    """Knows what it is told, and remembers what it was asked."""

    known: dict[str, Known] = field(default_factory=dict)
    asked: list[tuple[bytes, bytes]] = field(default_factory=list)
    taken: set[bytes] = field(default_factory=set)

    def lookup(self, uri: str, _digest: bytes, /) -> Known:
        return self.known.get(uri, Known.NEW)

    def contains(self, key: bytes, transaction: bytes, /) -> bool:
        self.asked.append((key, transaction))
        return False

    def clashes(self, key: bytes, transaction: bytes, /) -> bool:
        self.asked.append((key, transaction))
        return key in self.taken


@dataclass
class Fewer:
    """A block that lost the last of its ids."""

    whole: validity.ParsedBlock

    @property
    def block(self) -> Block:
        return self.whole.block

    @property
    def parsed(self) -> Sequence[JsonObject]:
        return self.whole.parsed

    @property
    def facts(self) -> Sequence[Facts]:
        return self.whole.facts

    @property
    def leaves(self) -> Sequence[bytes]:
        return self.whole.leaves[:-1]


@pytest.fixture
def build() -> ChainBuilder:
    return ChainBuilder()


def judged(build: ChainBuilder, ledger: Ledger, *records: Transaction) -> Judgement:
    return judge(prepared(build.block(1, records)), ledger)


def test_the_digest_of_reasons_is_that_of_the_annotations_as_they_are_stored() -> None:
    """30-post: reasons are signed; what a validator signs with INVALID binds index, mark and words."""
    marks = (Annotation(0, Mark.CONTESTED, ("why",)), Annotation(3, Mark.DUPLICATE))
    stored = b'[{"index":0,"mark":"contested","reasons":["why"]},{"index":3,"mark":"duplicate"}]'
    assert Judgement(marks).reasons_digest() == digest(Domain.REASONS, stored)
    assert canonical.dumps([mark.value() for mark in marks]) == stored


def test_a_block_with_another_number_of_ids_than_transactions_is_a_mistake_of_the_caller(build: ChainBuilder) -> None:
    block = prepared(build.block(1, [build.task("a"), build.task("b")]))
    with pytest.raises(ValueError, match="shorter"):
        judge(Fewer(block), Ledger())


def test_the_ledger_is_asked_for_the_transaction_by_its_key_and_id(build: ChainBuilder) -> None:
    """Spec: SAFE-6."""
    ledger = Ledger()
    block = prepared(build.block(1, [build.task("a")]))
    judge(block, ledger)
    key, leaf = bytes.fromhex(str(block.parsed[0]["key"])), block.leaves[0]
    assert ledger.asked == [(key, b"")]
    ledger = Ledger(taken={key})
    judge(block, ledger)
    assert ledger.asked == [(key, b""), (key, leaf), (key, leaf)]


def test_an_input_after_one_without_content_is_judged_too(build: ChainBuilder) -> None:
    """Spec: SAFE-5."""
    edited = build.artifact("f", b"2")
    ledger = Ledger({str(edited["uri"]): Known.OTHER})
    (mark,) = judged(build, ledger, build.task("a", [build.artifact("dir"), edited])).annotations
    assert mark == Annotation(0, Mark.CONTESTED, (f"{edited['uri']}: no recorded version has {edited['digest']}",))


def test_an_input_after_one_that_is_declared_unresolved_is_judged_too(build: ChainBuilder) -> None:
    """Spec: SAFE-5."""
    declared = build.artifact("e", b"1") | {"unresolved": True}
    edited = build.artifact("f", b"2")
    ledger = Ledger({str(edited["uri"]): Known.OTHER})
    found = judged(build, ledger, build.task("a", [declared, edited]))
    assert [mark.mark for mark in found.annotations] == [Mark.CONTESTED, Mark.UNRESOLVED]


def test_reasons_name_the_artifact(build: ChainBuilder) -> None:
    declared = build.artifact("e", b"1") | {"unresolved": True}
    gone = build.artifact("g", b"1") | {"origin": "task:gone"}
    (mark,) = judged(build, Ledger(), build.task("a", [declared, gone])).annotations
    assert mark.reasons == (str(declared["uri"]), f"{gone['uri']}: its producer is not recorded")


def test_a_transaction_after_a_duplicate_is_judged_too(build: ChainBuilder) -> None:
    first = build.task("a")
    found = judged(build, Ledger(), first, first, replace(first, host="elsewhere"), first)
    assert [(mark.index, mark.mark) for mark in found.annotations] == [
        (1, Mark.DUPLICATE),
        (2, Mark.KEY_CLASH),
        (3, Mark.DUPLICATE),
    ]


def test_one_undecided_input_leaves_the_block_undecided(build: ChainBuilder) -> None:
    """Whatever comes after it, in the same task or in another."""
    unclear, clear = build.artifact("f", b"1"), build.artifact("g", b"1")
    ledger = Ledger({str(unclear["uri"]): Known.UNKNOWN})
    assert judged(build, ledger, build.task("a", [unclear, clear])).unknown
    assert judged(build, ledger, build.task("a", [unclear]), build.task("b", [clear])).unknown
    assert not judged(build, ledger, build.task("b", [clear])).unknown


@pytest.mark.parametrize("more", [0, 1])
def test_a_uri_is_cut_only_when_it_is_too_long(more: int) -> None:
    uri = "u" * (limits.REASON_URI_CHARS_MAX + more)
    assert validity._shown(uri) == (uri[:-1] + "..." if more else uri)
    assert validity._shown("short") == "short"


@pytest.mark.parametrize("more", [0, 1])
def test_reasons_are_counted_only_when_they_are_too_many(more: int) -> None:
    reasons = [str(number) for number in range(limits.REASONS_PER_ANNOTATION_MAX + more)]
    assert validity._bounded(reasons) == (*reasons[: limits.REASONS_PER_ANNOTATION_MAX], *["and 1 more"] * more)
