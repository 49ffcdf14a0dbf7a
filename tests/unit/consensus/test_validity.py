"""Proof of traceability, rule by rule: V3 and V4."""

from __future__ import annotations

from dataclasses import replace

from scichain_wf import limits
from scichain_wf.consensus import validity
from scichain_wf.consensus.validity import judge
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.link import Mark
from scichain_wf.model.transaction import Transaction
from tests.builders import ChainBuilder
from tests.unit.consensus.cluster import Cluster, MemoryLedger, item


def judged(build: ChainBuilder, ledger: MemoryLedger, *records: Transaction) -> validity.Judgement:
    return judge(prepared(build.block(1, records)), ledger)


def test_inputs_without_content_or_never_produced_are_sources(cluster: Cluster) -> None:
    """Spec: SAFE-5."""
    build = cluster.builder
    task = build.task("a", [build.artifact("dir"), build.artifact("f", b"1")])
    assert judged(build, cluster.chain, task) == validity.Judgement()


def test_earlier_transactions_of_the_same_block_count(cluster: Cluster) -> None:
    build = cluster.builder
    makes = build.task("make", outputs=[build.artifact("f", b"1"), build.artifact("g")])
    uses = build.task("use", [build.artifact("f", b"1"), build.artifact("g", b"any")])
    other = build.task("other", [build.artifact("f", b"2")])
    assert judged(build, cluster.chain, makes, uses) == validity.Judgement()
    found = judged(build, cluster.chain, makes, other)
    assert [(a.index, a.mark) for a in found.annotations] == [(1, Mark.CONTESTED)]
    assert found.conflict
    assert not judged(build, cluster.chain, other, makes).conflict


def test_a_version_without_digest_neither_confirms_nor_refutes(cluster: Cluster) -> None:
    build = cluster.builder
    cluster.submit(1, build.task("make", outputs=[build.artifact("f")]))
    cluster.run()
    assert judged(build, cluster.chain, build.task("use", [build.artifact("f", b"1")])) == validity.Judgement()


def test_what_the_ledger_cannot_decide_is_unknown(cluster: Cluster) -> None:
    cluster.chain.forgotten.add(str(cluster.builder.artifact("f")["uri"]))
    found = judged(cluster.builder, cluster.chain, cluster.builder.task("a", [cluster.builder.artifact("f", b"1")]))
    assert found.unknown
    assert not found.annotations


def test_unresolved_inputs_taint_and_do_not_contest(cluster: Cluster) -> None:
    build = cluster.builder
    declared = build.artifact("f", b"1") | {"unresolved": True}
    missing = build.artifact("g", b"1") | {"origin": "task:gone"}
    found = judged(build, cluster.chain, build.task("a", [declared, missing]))
    (mark,) = found.annotations
    assert mark.mark is Mark.UNRESOLVED
    assert len(mark.reasons) == 2
    assert not found.conflict


def test_duplicates_and_key_clashes_are_told_apart(cluster: Cluster) -> None:
    """Spec: SAFE-6."""
    build = cluster.builder
    first = build.task("a", outputs=[build.artifact("f", b"1")])
    clash = replace(first, host="elsewhere")
    found = judged(build, cluster.chain, first, first, clash)
    assert [(a.index, a.mark) for a in found.annotations] == [(1, Mark.DUPLICATE), (2, Mark.KEY_CLASH)]
    cluster.submit(1, first)
    cluster.run()
    found = judged(build, cluster.chain, first, clash)
    assert [(a.index, a.mark) for a in found.annotations] == [(0, Mark.DUPLICATE), (1, Mark.KEY_CLASH)]


def test_annotations_of_a_full_block_are_bounded(cluster: Cluster) -> None:
    build = cluster.builder
    long = "d" * 400
    many = limits.REASONS_PER_ANNOTATION_MAX + 5
    makes = build.task("make", outputs=[build.artifact(f"{long}{n}", b"1") for n in range(many)])
    uses = build.task("use", [build.artifact(f"{long}{n}", b"2") for n in range(many)])
    (mark,) = judged(build, cluster.chain, makes, uses).annotations
    assert len(mark.reasons) == limits.REASONS_PER_ANNOTATION_MAX + 1
    assert mark.reasons[-1] == "and 5 more"
    assert all(len(reason) < limits.REASON_URI_CHARS_MAX + 120 for reason in mark.reasons)


def test_only_tasks_make_versions(cluster: Cluster) -> None:
    assert judged(cluster.builder, cluster.chain, cluster.builder.run_start()) == validity.Judgement()
    assert item(cluster.builder.run_start()).outputs == ()
    assert item(cluster.builder.run_start()).needs == ()
