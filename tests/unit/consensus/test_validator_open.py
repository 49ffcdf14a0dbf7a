"""What a validator does not call VALID, and when it is judged again."""

from __future__ import annotations

import pytest

from scichain_wf import limits
from scichain_wf.consensus.evidence import Witness
from scichain_wf.consensus.validator import Validator
from scichain_wf.consensus.validity import Known, judge
from scichain_wf.ledger.prepared import PreparedBlock, prepared
from scichain_wf.model.link import Link, Mode
from scichain_wf.model.text import digest_bytes
from scichain_wf.model.verdict import Verdict
from tests.builders import ChainBuilder
from tests.unit.consensus.cluster import Cluster, MemoryLedger
from tests.unit.consensus.kit import roster_of, signed

ONE = digest_bytes("sha256:" + "1" * 64)


class Asked(MemoryLedger):
    """Counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.questions = 0

    def lookup(self, uri: str, digest: bytes, /) -> Known:
        self.questions += 1
        return super().lookup(uri, digest)

    def link_hash(self, height: int, /) -> bytes | None:
        self.questions += 1
        return super().link_hash(height)


@pytest.fixture
def asked(cluster: Cluster) -> Asked:
    """A ledger in which the files f0 to f39 were made, and which holds no link that a parent could be compared with."""
    ledger = Asked()
    ledger.heights_forgotten = 99
    for number in range(40):
        ledger.versions[str(cluster.builder.artifact(f"f{number}")["uri"])] = [ONE]
    return ledger


def a_validator(cluster: Cluster, ledger: MemoryLedger) -> Validator:
    build = cluster.builder
    return Validator(build.nodes[2], 2, build.chain, ledger, Witness(build.chain, 2, 1.0))


def said(validator: Validator, build: ChainBuilder) -> list[Verdict]:
    given = validator.tick(roster_of(build), build.head, build.height)
    return [] if given is None else [entry.verdict for entry in given[0].entries]


def link(ledger: Asked, block: PreparedBlock) -> PreparedBlock:
    ledger.apply(Link(1, bytes(32), block.block.id, None, Mode.EPOCH, 1, (), 1, 1), block)
    return block


@pytest.mark.parametrize("verdict", [Verdict.INVALID, Verdict.UNKNOWN])
@pytest.mark.parametrize(("step", "questions"), [(1, 0), (-1, 2)])
def test_what_stays_invalid_or_unknown_costs_next_to_nothing_with_each_link(
    cluster: Cluster, asked: Asked, verdict: Verdict, step: int, questions: int
) -> None:
    """Spec: LIVE-2. Else who sends such blocks, and records one of their inputs at a time, keeps validators busy."""
    build, validator = cluster.builder, a_validator(cluster, asked)
    inputs = [build.artifact(f"f{number}", b"2") for number in range(40)]
    if verdict is Verdict.UNKNOWN:
        asked.forgotten.update(str(item["uri"]) for item in inputs)
    block = prepared(build.block(1, [build.task(f"t{at}", inputs[at : at + 10]) for at in range(0, 40, 10)]))
    validator.judge(block, 1, roster_of(build), build.height)
    assert said(validator, build) == [verdict]
    whole = asked.questions
    for number, item in enumerate(inputs[::step]):
        asked.questions = 0
        validator.grown(build.height, link(asked, prepared(build.block(3, [build.task(f"none {number}")]))))
        assert said(validator, build) == []
        assert asked.questions == 0
        made = link(asked, prepared(build.block(3, [build.task(f"made {number}", (), [item])])))
        asked.forgotten.discard(str(item["uri"]))
        validator.grown(build.height, made)
        if number < len(inputs) - 1:
            assert said(validator, build) == []
            assert asked.questions == questions
    assert said(validator, build) == [Verdict.VALID]
    assert asked.questions == whole + (1 if questions else len(inputs))
    asked.questions = 0
    validator.grown(build.height, None)
    assert asked.questions == 0


def test_what_another_digest_is_recorded_for_is_still_contested(cluster: Cluster, asked: Asked) -> None:
    build, validator = cluster.builder, a_validator(cluster, asked)
    block = prepared(build.block(1, [build.task("t", [build.artifact("f1", b"2")])]))
    validator.judge(block, 1, roster_of(build), build.height)
    assert said(validator, build) == [Verdict.INVALID]
    for content, after in ((b"3", []), (b"2", [Verdict.VALID])):
        made = build.task("made", (), [build.artifact("f1", content)])
        validator.grown(build.height, link(asked, prepared(build.block(3, [made]))))
        assert said(validator, build) == after


def test_what_no_link_can_change_is_not_judged_again(
    cluster: Cluster, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SEQUENCES_REMEMBERED_MAX", 1)
    build, validator = cluster.builder, a_validator(cluster, asked)
    asked.heights_forgotten = 0
    asked.apply(Link(0, bytes(32), bytes(32), None, Mode.EPOCH, 1, (), 1, 1), prepared(build.genesis))
    for block in (
        signed(build, 1, source="storage"),
        signed(build, 1, parent=bytes(32), parent_height=0),
        signed(build, 1, sequence=7, parent_height=50),
        signed(build, 1, sequence=7, parent_height=51),
        signed(build, 1, sequence=8, parent_height=52),
        signed(build, 1, sequence=7, parent_height=53),
    ):
        validator.judge(prepared(block), 1, roster_of(build), 99)
    assert said(validator, build) == [
        *[Verdict.INVALID] * 2,
        Verdict.VALID,
        Verdict.INVALID,
        Verdict.VALID,
        Verdict.UNKNOWN,
    ]
    asked.questions = 0
    validator.grown(99, None)
    assert asked.questions == 0


def test_a_block_is_valid_once_another_block_linked_what_was_contested_in_it(cluster: Cluster, asked: Asked) -> None:
    """It is a duplicate then, which is no conflict."""
    build, validator = cluster.builder, a_validator(cluster, asked)
    tasks = [build.task(f"t{number}", [build.artifact(f"f{number}", b"2")]) for number in (1, 2)]
    block = prepared(build.block(1, tasks))
    validator.judge(block, 1, roster_of(build), build.height)
    assert said(validator, build) == [Verdict.INVALID]
    for task, after in zip(tasks, ([], [Verdict.VALID]), strict=True):
        validator.grown(build.height, link(asked, prepared(build.block(3, [task]))))
        assert said(validator, build) == after


def test_what_a_judgement_hangs_on_holds_until_the_ledger_confirms_it(cluster: Cluster, asked: Asked) -> None:
    """Also where only an earlier transaction of the block contradicts it, and where the version went out of sight."""
    build = cluster.builder
    made, edited = build.artifact("new", b"1"), build.artifact("new", b"2")
    other, gone, clear = (build.artifact(name, b"2") for name in ("f1", "gone", "clear"))
    asked.forgotten.add(str(gone["uri"]))
    block = prepared(build.block(1, [build.task("a", [gone], [made]), build.task("b", [clear, other, edited, gone])]))
    found = judge(block, asked)
    assert found.conflict
    assert found.unknown
    assert [(hung.transaction, hung.uri) for hung in found.hung] == [(1, other["uri"]), (1, edited["uri"])]
    assert found.contradicted == (other["uri"],)
    for uri in (str(other["uri"]), str(edited["uri"])):
        hung = next(hung for hung in found.hung if hung.uri == uri)
        assert hung.holds(block, asked)
        asked.forgotten.add(uri)
        assert hung.holds(block, asked)
        asked.forgotten.discard(uri)
        asked.versions.setdefault(uri, []).append(None)  # recorded without a digest
        assert not hung.holds(block, asked)
    undecided = judge(block, asked)
    assert not undecided.conflict
    assert [(hung.transaction, hung.uri) for hung in undecided.hung] == [(0, gone["uri"]), (1, gone["uri"])]
    assert all(hung.holds(block, asked) for hung in undecided.hung)
    asked.forgotten.clear()
    assert not any(hung.holds(block, asked) for hung in undecided.hung)
