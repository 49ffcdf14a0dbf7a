"""Whom storage slows down: who contradicts more slots than can be liars, and nobody on a liar's word."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from scichain_wf import limits
from scichain_wf.consensus import events, storage
from scichain_wf.consensus.conduct import Record
from scichain_wf.consensus.roster import Roster
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.block import Block
from scichain_wf.model.link import Annotation, Link, Mark, Mode
from tests.unit.consensus.cluster import Cluster
from tests.unit.consensus.kit import roster_of, state_of
from tests.unit.consensus.storage_kit import answers, extended, stepped

SLOW = "too much of what this slot stated lately is contested"


# --- the rule -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("contradicted", "liars_max", "slowed"),
    [
        ([2, 2, 2], 1, False),
        ([2, 2, 2], 0, True),
        ([2, 2, 3], 1, False),
        ([2, 2, 3, 3], 1, True),
        ([2, 3, 4, 5], 2, True),
        ([2, 2, 3, 3, 3], 2, False),
        ([1, 1], 2, True),
        ([1, 2, 2, 2], 1, False),
        ([1, 2, 2, 3], 1, True),
        ([b"gone" * 8, b"gone" * 8, 2], 1, False),
        ([b"gone" * 8, b"gone" * 8, 2, 2], 1, True),
    ],
)
def test_as_many_slots_as_can_be_liars_do_not_count(
    monkeypatch: pytest.MonkeyPatch, contradicted: list[int | bytes], liars_max: int, slowed: bool
) -> None:
    """Those that it contradicts most often; never what the slot recorded itself. One of ten is allowed."""
    monkeypatch.setattr(limits, "CONTESTED_WINDOW", 10)
    record = Record(1)
    record.taken(5.0)
    record.extend(len(contradicted) + 1, contradicted)
    assert record.is_due(5.0 + limits.CONTESTED_PAUSE_S - 0.001, liars_max) == (not slowed)
    assert record.is_due(5.0 + limits.CONTESTED_PAUSE_S, liars_max)


def test_the_first_block_never_waits() -> None:
    record = Record(1)
    record.extend(99, [1] * 99)
    assert record.is_due(0.0, 1)


def test_what_is_contested_cannot_be_pushed_out_by_the_rest_of_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONTESTED_WINDOW", 10)
    record = Record(1)
    record.taken(0.0)
    record.extend(100, [1, 1])
    assert not record.is_due(0.0, 1)
    record.extend(8, [])
    assert not record.is_due(0.0, 1)
    record.extend(1, [])
    assert record.is_due(0.0, 1)


# --- at storage ---------------------------------------------------------------------------------------
def put(cluster: Cluster, block: Block, slot: int) -> str:
    """Extend a block and commit it at once; returns why it was put off, or ""."""
    (effect,) = stepped(cluster, replace(extended(block, slot), solution=cluster.builder.solution(block)))
    if isinstance(effect, storage.Commit):
        cluster.commits.append(effect)
        cluster.commit()
        return ""
    ((_, _, reason),) = answers([effect])
    return reason


def test_readers_of_what_one_slot_claims_to_have_made_are_not_slowed(cluster: Cluster) -> None:
    """Spec: LIVE-1. A liar records a version of everybody's source; who really read it is contested, and goes on."""
    build = cluster.builder
    cluster.submit(3, build.task("liar", (), [build.artifact("genome", b"garbage")]))
    cluster.run(2)
    read = build.artifact("genome", b"real") | {"origin": "source"}
    count = 2 * limits.CONTESTED_PERMILLE_MAX * limits.CONTESTED_WINDOW // 1_000
    for slot in (1, 2):
        for number in range(count):
            block = build.block(slot, [build.task(f"{slot} {number}", [read], [build.artifact(f"{slot}.{number}")])])
            assert put(cluster, block, slot) == ""
    assert Counter(mark.mark for mark in cluster.marks()) == {Mark.CONTESTED: 2 * count}
    assert SLOW not in cluster.storage.dropped


def test_who_contradicts_more_slots_than_can_lie_is_slowed(cluster: Cluster) -> None:
    """Files that slots 1 and 2 recorded: one of them could be the liar, both cannot."""
    build = cluster.builder
    for slot in (1, 2):
        cluster.submit(slot, build.task(f"t{slot}", (), [build.artifact(f"f{slot}", b"real")]))
    cluster.run(2)
    allowed = limits.CONTESTED_PERMILLE_MAX * limits.CONTESTED_WINDOW // 1_000

    def forge(recorder: int) -> str:
        return put(cluster, build.block(3, [build.task("t", [build.artifact(f"f{recorder}", b"forged")])]), 3)

    assert {forge(1) for _ in range(2 * allowed)} == {""}
    assert {forge(2) for _ in range(allowed + 1)} == {""}
    before = state_of(cluster.storage)
    assert forge(2) == SLOW
    assert state_of(cluster.storage) == before
    cluster.now += limits.CONTESTED_PAUSE_S
    assert [forge(1), forge(1)] == ["", SLOW]


def test_a_new_key_does_not_make_another_slot(cluster: Cluster) -> None:
    """Else a liar that restarts would be contradicted as two slots, which one liar cannot be."""
    build = cluster.builder
    cluster.submit(3, build.task("one", (), [build.artifact("a", b"garbage")]))
    cluster.run(2)
    old = cluster.chain.recorder(str(build.artifact("a")["uri"]))
    cluster.restart(3)
    block = build.block(1, [build.task("reads", [build.artifact("a", b"real")])])
    (commit,) = stepped(cluster, extended(block, 1))
    assert isinstance(commit, storage.Commit)
    link = Link(9, bytes(32), block.id, bytes(32), Mode.POET, 3, (Annotation(0, Mark.CONTESTED),), 1, 1)
    appended = storage.Appended(link, (old or b"", b"never bound"))
    stepped(cluster, storage.Decided((storage.Outcome(commit.candidates[0], appended),)))
    (record,) = [record for slot, record in cluster.storage._records.items() if slot == 1]
    assert list(record._contradicted)[-2:] == [3, b"never bound"]
    assert len(cluster.storage._slots) == 4
    for candidate in build.join_all():
        cluster.append_epoch(candidate.block)
    assert cluster.storage._records == {}
    assert len(cluster.storage._slots) == 3


def test_what_slots_of_before_stated_counts_against_none_of_today(cluster: Cluster) -> None:
    """Spec: LIVE-1. Their block was being committed when others took their places."""
    build = cluster.builder
    block = build.block(2, [build.task("a")])
    (commit,) = stepped(cluster, extended(block, 2))
    assert isinstance(commit, storage.Commit)
    remaining = {slot: key for slot, key in roster_of(build).keys.items() if slot != 2}
    newer = Roster(replace(build.epoch, generation=build.epoch.generation + 1), build.chain, remaining)
    link = Link(9, bytes(32), block.id, bytes(32), Mode.POET, 3, (Annotation(0, Mark.CONTESTED),), 1, 1)
    appended = storage.Appended(link, (block.header.proposer,))
    stepped(cluster, events.EpochInForce(newer), storage.Decided((storage.Outcome(commit.candidates[0], appended),)))
    assert not set(cluster.storage._records) & {1, 2, 3}


def test_the_append_says_whose_word_each_contested_transaction_is_against(cluster: Cluster) -> None:
    """The first contested input counts; against what the block itself records, its own proposer's."""
    build = cluster.builder
    for slot in (1, 2):
        cluster.submit(slot, build.task(f"t{slot}", (), [build.artifact(f"f{slot}", b"real")]))
    cluster.run(2)
    one, two, own = (build.artifact(name, b"forged") for name in ("f1", "f2", "own"))
    records = [
        build.task("makes", (), [build.artifact("own", b"real")]),
        build.task("a", [build.artifact("f1", b"real"), two, one]),
        build.task("b", [one, two]),
        build.task("c", [own, one]),
    ]
    block = build.block(3, records)
    candidate = storage.Candidate(prepared(block), build.solution(block), (), 2, "deadline", None)
    decision = cluster.storage.decide(candidate, cluster.chain)
    assert isinstance(decision, storage.Append)
    assert [annotation.index for annotation in decision.annotations] == [1, 2, 3]
    slots = {key.public.fingerprint: slot for slot, key in build.nodes.items()}
    assert [slots[key] for key in decision.against] == [2, 1, 3]


# --- credit -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("duplicates", "credit"), [((), {1: 1}), ((0,), {1: 1}), ((0, 1), {})])
def test_a_block_that_states_nothing_new_earns_no_credit(
    cluster: Cluster, duplicates: tuple[int, ...], credit: dict[int, int]
) -> None:
    """SciChain §4.5. Else copies of old transactions would be as good as work."""
    build = cluster.builder
    block = build.block(1, [build.task("a"), build.task("b")])
    (commit,) = stepped(cluster, extended(block))
    assert isinstance(commit, storage.Commit)
    marks = (*(Annotation(index, Mark.DUPLICATE) for index in duplicates), Annotation(1, Mark.KEY_CLASH))
    link = Link(9, bytes(32), block.id, bytes(32), Mode.POET, 2, marks, 1, 1)
    stepped(cluster, storage.Decided((storage.Outcome(commit.candidates[0], storage.Appended(link)),)))
    assert cluster.storage.credit == credit
