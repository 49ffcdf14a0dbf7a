"""What a validator says, how often, and what it remembers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scichain_wf import limits
from scichain_wf.consensus import events
from scichain_wf.consensus.evidence import Witness
from scichain_wf.consensus.roster import Roster
from scichain_wf.consensus.validator import Validator
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.block import Block
from scichain_wf.model.verdict import Verdict
from tests.builders import ChainBuilder
from tests.unit.consensus.cluster import Cluster
from tests.unit.consensus.kit import roster_of, signed


def verdict_of(validator: Validator, cluster: Cluster, block: Block, slot: int = 1) -> Verdict:
    roster, height = roster_of(cluster.builder), cluster.builder.height
    assert not validator.judge(prepared(block), roster, height)
    given = validator.tick(roster, cluster.builder.head, height)
    assert given is not None
    batch, slots = given
    assert slots == {slot}
    assert batch.vote(0).verify(cluster.builder.nodes[2].public) is None  # type: ignore[func-returns-value]
    return batch.entries[0].verdict


@pytest.fixture
def validator(cluster: Cluster) -> Validator:
    return a_validator(cluster)


def a_validator(cluster: Cluster) -> Validator:
    chain = cluster.builder.chain
    return Validator(cluster.builder.nodes[2], 2, chain, cluster.chain, Witness(chain, 2, 1.0))


def test_validator_never_votes_twice_for_one_sequence(cluster: Cluster, validator: Validator) -> None:
    """Spec: SAFE-2."""
    build = cluster.builder
    first = build.block(1, [build.task("a")])
    build.sequences[1] -= 1
    twin = build.block(1, [build.task("b")])
    assert verdict_of(validator, cluster, first) is Verdict.VALID
    assert verdict_of(validator, cluster, twin) is Verdict.INVALID
    assert verdict_of(validator, cluster, first) is Verdict.VALID


def test_in_another_epoch_the_same_block_may_be_valid_again_and_its_twin_may_not(
    cluster: Cluster, validator: Validator
) -> None:
    """Spec: SAFE-2."""
    build = cluster.builder
    first = build.block(1, [build.task("a")])
    build.sequences[1] -= 1
    twin = prepared(build.block(1, [build.task("b")]))
    assert verdict_of(validator, cluster, first) is Verdict.VALID
    later = Roster(replace(build.epoch, epoch=build.epoch.epoch + 1), build.chain)
    validator.restated(later, build.height)
    assert validator.judge(twin, later, build.height) == ""
    given = validator.tick(later, build.head, build.height)
    assert given is not None
    assert given[0].header.epoch == later.number
    assert {entry.block: entry.verdict for entry in given[0].entries} == {
        first.id: Verdict.VALID,
        twin.block.id: Verdict.INVALID,
    }


def test_validator_does_not_vote_for_sequences_it_has_forgotten(
    cluster: Cluster, validator: Validator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec: SAFE-2. Memory is bounded; below the bound nothing is VALID any more."""
    monkeypatch.setattr(limits, "SEQUENCES_REMEMBERED_MAX", 2)
    build = cluster.builder
    blocks = [build.block(1, [build.task(f"t{n}")]) for n in range(4)]
    assert [verdict_of(validator, cluster, block) for block in blocks] == [Verdict.VALID] * 4
    assert verdict_of(validator, cluster, blocks[0]) is Verdict.INVALID
    assert verdict_of(validator, cluster, blocks[3]) is Verdict.VALID


def test_validator_says_unknown_where_it_lags_and_invalid_where_something_is_wrong(
    cluster: Cluster, validator: Validator
) -> None:
    build = cluster.builder
    assert verdict_of(validator, cluster, signed(build, 1, parent_height=99)) is Verdict.UNKNOWN
    assert verdict_of(validator, cluster, signed(build, 1, parent=bytes(32))) is Verdict.INVALID
    assert verdict_of(validator, cluster, signed(build, 1, source="storage")) is Verdict.INVALID
    assert verdict_of(validator, cluster, signed(build, 1, difficulty=2)) is Verdict.VALID  # votes ignore the puzzle
    assert verdict_of(validator, cluster, build.block(3, [build.task("a")]), 3) is Verdict.VALID
    cluster.chain.heights_forgotten = 99
    assert verdict_of(validator, cluster, signed(build, 1, parent=bytes(32))) is Verdict.VALID  # storage checks it
    cluster.chain.forgotten.add(str(build.artifact("f")["uri"]))
    block = build.block(1, [build.task("b", [build.artifact("f", b"1")])])
    assert verdict_of(validator, cluster, block) is Verdict.UNKNOWN


def test_a_verdict_that_changes_with_the_ledger_is_sent_again(cluster: Cluster, validator: Validator) -> None:
    build = cluster.builder
    roster = roster_of(build)
    cluster.chain.forgotten.add(str(build.artifact("f")["uri"]))
    block = prepared(build.block(1, [build.task("b", [build.artifact("f", b"1")])]))
    validator.judge(block, roster, build.height)
    validator.tick(roster, build.head, build.height)
    validator.grown(build.height, bytes(32))
    assert not validator.has_verdicts  # nothing new to say
    cluster.chain.forgotten.clear()
    validator.grown(build.height, bytes(32))
    given = validator.tick(roster, build.head, build.height)
    assert given is not None
    assert given[0].entries[0].verdict is Verdict.VALID
    assert validator.tick(roster, build.head, build.height) is None


def test_a_linked_block_is_not_judged_again(cluster: Cluster, validator: Validator) -> None:
    build = cluster.builder
    block = prepared(signed(build, 1, parent_height=99))
    validator.judge(block, roster_of(build), build.height)
    validator.tick(roster_of(build), build.head, build.height)
    validator.grown(200, block.block.id)
    assert not validator.has_verdicts


def test_what_a_validator_remembers_is_bounded(
    cluster: Cluster, validator: Validator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REMEMBERED_BLOCKS_MAX", 2)
    monkeypatch.setattr(limits, "VERDICTS_PER_BATCH_MAX", 2)
    build, roster = cluster.builder, roster_of(cluster.builder)
    blocks = [prepared(signed(build, 1, parent_height=99, sequence=number)) for number in range(3)]
    given = [validator.judge(block, roster, build.height) for block in blocks]
    assert given == ["", "", "too many verdicts at once"]
    batch = validator.tick(roster, build.head, build.height)
    assert batch is not None
    assert batch[0].header.count == 2
    for block in blocks:
        validator.judge(block, roster, build.height)
        validator.silence()
    assert [validator.body(block.block.id) is not None for block in blocks] == [False, True, True]
    validator.judge(prepared(build.block(1, [build.task("x")])), roster, build.height)
    validator.judge(prepared(build.block(1, [build.task("y")])), roster, build.height)
    validator.grown(200, bytes(32))  # the batch is full: what a changed verdict says is not added to it
    batch = validator.tick(roster, build.head, 200)
    assert batch is not None
    assert batch[0].header.count == 2


def test_a_changed_verdict_waits_while_the_batch_is_full(
    cluster: Cluster, validator: Validator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "VERDICTS_PER_BATCH_MAX", 1)
    build, roster = cluster.builder, roster_of(cluster.builder)
    late = prepared(signed(build, 1, parent_height=99))
    validator.judge(late, roster, build.height)
    validator.silence()
    validator.judge(prepared(build.block(1, [build.task("x")])), roster, build.height)
    validator.grown(99, None)
    assert validator.tick(roster, build.head, build.height)[0].header.count == 1  # type: ignore[index]
    validator.grown(99, None)
    assert validator.has_verdicts


def test_what_comes_ahead_of_its_epoch_is_kept_within_bounds(
    cluster: Cluster, validator: Validator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BLOCKS_AHEAD_MAX", 2)
    build, roster = cluster.builder, roster_of(cluster.builder)
    blocks = [prepared(signed(build, 1, epoch=9, sequence=number)) for number in range(3)]
    given = [validator.judge(block, roster, build.height) for block in (blocks[0], *blocks)]
    assert given == ["", "", "", "too far ahead"]
    assert validator.tick(roster, build.head, build.height) is None
    assert validator.body(blocks[0].block.id) is None  # nobody knows whose it is
    later = Roster(replace(build.epoch, epoch=9), build.chain)
    validator.restated(later, build.height)
    assert validator.has_verdicts
    assert validator.body(blocks[0].block.id) is not None


def test_a_block_whose_signature_does_not_hold_is_dropped_and_the_true_one_is_kept(
    cluster: Cluster, validator: Validator
) -> None:
    build, roster = cluster.builder, roster_of(cluster.builder)
    block = build.block(1, [build.task("a")])
    forged = prepared(Block(block.header_bytes, bytes(64), block.transactions))
    assert validator.judge(forged, roster, build.height) == "bad signature"
    assert validator.tick(roster, build.head, build.height) is None
    assert verdict_of(validator, cluster, block) is Verdict.VALID
    assert validator.judge(forged, roster, build.height) == "bad signature"
    kept = validator.body(block.id)
    assert kept is not None
    assert kept.block.signature == block.signature


def test_blocks_of_others_than_members_of_this_chain_are_dropped(cluster: Cluster, validator: Validator) -> None:
    build, roster = cluster.builder, roster_of(cluster.builder)
    other = Cluster(2).builder
    stranger = type(other)(slots=1, seed=5)
    stranger.chain, stranger.epoch = build.chain, build.epoch
    foreign = replace_chain(build)
    assert validator.judge(prepared(foreign), roster, build.height) == "wrong chain"
    assert validator.judge(prepared(stranger.block(1, [build.task("a")])), roster, build.height) == "not a member"
    assert not validator.has_verdicts


def replace_chain(build: ChainBuilder) -> Block:
    """A block of the same proposer, in another chain."""
    before, build.chain = build.chain, bytes(32)
    block = build.block(1, [build.task("a")])
    build.chain = before
    return block


def test_an_agent_sends_changed_verdicts_after_a_link() -> None:
    """A validator behind the proposer says UNKNOWN, and VALID when the link has come. Spec: LIVE-2."""
    cluster = Cluster()
    build = cluster.builder
    held = []

    def late(delivery: tuple[int, int, object]) -> bool:
        slow = delivery[1] in (2, 3) and isinstance(delivery[2], events.CommittedReceived)
        if slow:
            held.append(delivery)
        return slow

    cluster.lose = late
    cluster.submit(1, build.task("a", outputs=[build.artifact("f", b"1")]))
    cluster.run(0.5)
    cluster.submit(1, build.task("b", [build.artifact("f", b"1") | {"origin": "task:a"}]))
    cluster.run(0.5)
    assert cluster.modes() == ["quorum"]
    cluster.lose = lambda _: False
    cluster.network.extend(held)
    cluster.run(1)
    assert cluster.modes() == ["quorum", "quorum"]
