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
    assert not validator.judge(prepared(block), 1, roster, height)
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
    assert validator.judge(twin, 1, later, build.height) == ""
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
    """Spec: SAFE-2. Spec: HONEST-1. Memory is bounded; below the bound nothing is VALID any more, nor INVALID.

    Else a liar who overflows it would have this node's INVALID beside its VALID of the same block and head.
    """
    monkeypatch.setattr(limits, "SEQUENCES_REMEMBERED_MAX", 2)
    build = cluster.builder
    blocks = [build.block(1, [build.task(f"t{n}")]) for n in range(4)]
    assert [verdict_of(validator, cluster, block) for block in blocks] == [Verdict.VALID] * 4
    assert verdict_of(validator, cluster, blocks[0]) is Verdict.UNKNOWN
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
    validator.judge(block, 1, roster, build.height)
    validator.tick(roster, build.head, build.height)
    validator.grown(build.height, None)
    assert not validator.has_verdicts  # nothing new to say
    cluster.chain.forgotten.clear()
    validator.grown(build.height, None)
    given = validator.tick(roster, build.head, build.height)
    assert given is not None
    assert given[0].entries[0].verdict is Verdict.VALID
    assert validator.tick(roster, build.head, build.height) is None


def test_a_linked_block_is_not_judged_again(cluster: Cluster, validator: Validator) -> None:
    build = cluster.builder
    block = prepared(signed(build, 1, parent_height=99))
    validator.judge(block, 1, roster_of(build), build.height)
    validator.tick(roster_of(build), build.head, build.height)
    validator.grown(200, block)
    assert not validator.has_verdicts


def test_a_verdict_that_changes_while_a_batch_is_full_is_sent(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else would tell the proposer. Spec: LIVE-2."""
    monkeypatch.setattr(limits, "VERDICTS_PER_BATCH_MAX", 2)
    monkeypatch.setattr(limits, "REMEMBERED_BLOCKS_MAX", 2)
    build, roster, validator = cluster.builder, roster_of(cluster.builder), a_validator(cluster)
    late = prepared(signed(build, 1, parent_height=99))
    validator.judge(late, 1, roster, build.height)
    validator.silence()
    other = prepared(build.block(1, [build.task("x")]))
    validator.judge(other, 1, roster, build.height)
    validator.grown(99, None)
    given = validator.tick(roster, build.head, build.height)
    assert given is not None
    assert [(entry.block, entry.verdict) for entry in given[0].entries] == [
        (other.block.id, Verdict.VALID),
        (late.block.id, Verdict.VALID),
    ]
    validator.grown(99, None)
    assert not validator.has_verdicts


def test_a_proposer_that_floods_this_node_displaces_its_own_blocks_only(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others propose is judged, sent, and judged again, however much comes of one. Spec: LIVE-2."""
    monkeypatch.setattr(limits, "REMEMBERED_BLOCKS_MAX", 4)
    build, roster, validator = cluster.builder, roster_of(cluster.builder), a_validator(cluster)
    honest = [prepared(signed(build, 1, parent_height=99)) for _ in range(2)]
    flood = [prepared(signed(build, 3, parent_height=99)) for _ in range(20)]
    for block in (honest[0], *flood[:10], honest[1], *flood[10:]):
        assert validator.judge(block, 3, roster, build.height) == ""
    kept = [block.block.id for block in (*honest, *flood[-2:])]
    assert [validator.body(block.block.id) is block for block in (*honest, *flood)].count(True) == 4
    for head, verdict in ((build.height, Verdict.UNKNOWN), (99, Verdict.VALID)):
        validator.grown(head, None)
        given = validator.tick(roster, build.head, head)
        assert given is not None
        assert {(entry.block, entry.verdict) for entry in given[0].entries} == {(block, verdict) for block in kept}


def test_of_the_blocks_of_epochs_to_come_each_sender_has_its_share(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows yet whose they are: who sent them must do, and one who sends many displaces its own."""
    monkeypatch.setattr(limits, "BLOCKS_AHEAD_MAX", 4)
    build, roster, validator = cluster.builder, roster_of(cluster.builder), a_validator(cluster)
    honest = [prepared(signed(build, 1, epoch=9)) for _ in range(2)]
    assert validator.judge(honest[0], 1, roster, build.height) == ""
    for number in range(20):
        assert validator.judge(prepared(signed(build, 3, epoch=9, sequence=number)), 3, roster, build.height) == ""
    forged = prepared(replace(honest[1].block, signature=bytes(64)))
    validator.judge(forged, 3, roster, build.height)
    validator.judge(honest[1], 1, roster, build.height)  # another sent the same before, badly signed
    assert validator.tick(roster, build.head, build.height) is None
    assert validator.body(honest[0].block.id) is None
    later = Roster(replace(build.epoch, epoch=9), build.chain)
    validator.restated(later, build.height)
    given = validator.tick(later, build.head, build.height)
    assert given is not None
    assert [entry.verdict for entry in given[0].entries] == [Verdict.VALID] * 3
    assert {block.block.id for block in honest} < {entry.block for entry in given[0].entries}
    assert validator.body(honest[1].block.id) is honest[1]


def test_who_sent_what_is_still_ahead_is_known_after_another_epoch(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BLOCKS_AHEAD_MAX", 4)
    build, validator = cluster.builder, a_validator(cluster)
    rosters = [Roster(replace(build.epoch, epoch=epoch), build.chain) for epoch in (8, 9)]
    blocks = [prepared(signed(build, slot, epoch=9)) for slot in (1, 1, 3, 3, 3, 3)]
    for block, sender in zip(blocks[:4], (1, 1, 3, 3), strict=True):
        validator.judge(block, sender, roster_of(build), build.height)
    validator.restated(rosters[0], build.height)
    for block in blocks[4:]:
        validator.judge(block, 3, rosters[0], build.height)
    validator.restated(rosters[1], build.height)
    assert [validator.body(block.block.id) is block for block in blocks] == [True, True, False, False, True, True]


def test_blocks_of_far_epochs_are_not_kept(cluster: Cluster, validator: Validator) -> None:
    """They would stay for good. Before the first epoch a node cannot tell; then they go, too."""
    build, roster = cluster.builder, roster_of(cluster.builder)
    last = roster.number + limits.EPOCHS_AHEAD_MAX
    near, far, never = (prepared(signed(build, 1, epoch=epoch)) for epoch in (last, last + 1, limits.INTEGER_MAX))
    assert [validator.judge(block, 1, None, -1) for block in (near, far, never)] == ["", "", ""]
    validator.restated(roster, build.height)
    assert validator.judge(far, 1, roster, build.height) == "too far ahead"
    later = Roster(replace(build.epoch, epoch=limits.INTEGER_MAX), build.chain)
    validator.restated(later, build.height)
    given = validator.tick(later, build.head, build.height)
    assert given is not None
    assert [entry.block for entry in given[0].entries] == [near.block.id]


def test_a_block_whose_signature_does_not_hold_is_dropped_and_the_true_one_is_kept(
    cluster: Cluster, validator: Validator
) -> None:
    build, roster = cluster.builder, roster_of(cluster.builder)
    block = build.block(1, [build.task("a")])
    forged = prepared(Block(block.header_bytes, bytes(64), block.transactions))
    assert validator.judge(forged, 1, roster, build.height) == "bad signature"
    assert validator.tick(roster, build.head, build.height) is None
    assert verdict_of(validator, cluster, block) is Verdict.VALID
    assert validator.judge(forged, 1, roster, build.height) == "bad signature"
    kept = validator.body(block.id)
    assert kept is not None
    assert kept.block.signature == block.signature


def test_blocks_of_others_than_members_of_this_chain_are_dropped(cluster: Cluster, validator: Validator) -> None:
    build, roster = cluster.builder, roster_of(cluster.builder)
    other = Cluster(2).builder
    stranger = type(other)(slots=1, seed=5)
    stranger.chain, stranger.epoch = build.chain, build.epoch
    foreign = replace_chain(build)
    assert validator.judge(prepared(foreign), 1, roster, build.height) == "wrong chain"
    assert validator.judge(prepared(stranger.block(1, [build.task("a")])), 1, roster, build.height) == "not a member"
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
