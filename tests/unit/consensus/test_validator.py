"""What a validator says, how often, and what it remembers."""

from __future__ import annotations

import pytest

from scichain_wf import limits
from scichain_wf.consensus import events
from scichain_wf.consensus.validator import Validator
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.block import Block
from scichain_wf.model.verdict import Verdict
from tests.unit.consensus.cluster import Cluster
from tests.unit.consensus.kit import roster_of, signed


def verdict_of(validator: Validator, cluster: Cluster, block: Block, slot: int = 1) -> Verdict:
    roster, height = roster_of(cluster.builder), cluster.builder.height
    validator.judge(slot, prepared(block), roster, height)
    given = validator.tick(roster, cluster.builder.head, height)
    assert given is not None
    batch, slots = given
    assert slots == {slot}
    assert batch.vote(0).verify(cluster.builder.nodes[2].public) is None  # type: ignore[func-returns-value]
    return batch.entries[0].verdict


@pytest.fixture
def validator(cluster: Cluster) -> Validator:
    return Validator(cluster.builder.nodes[2], 2, cluster.chain)


def test_validator_never_votes_twice_for_one_sequence(cluster: Cluster, validator: Validator) -> None:
    """Spec: SAFE-2."""
    build = cluster.builder
    first = build.block(1, [build.task("a")])
    build.sequences[1] -= 1
    twin = build.block(1, [build.task("b")])
    assert verdict_of(validator, cluster, first) is Verdict.VALID
    assert verdict_of(validator, cluster, twin) is Verdict.INVALID
    assert verdict_of(validator, cluster, first) is Verdict.VALID


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
    assert verdict_of(validator, cluster, signed(build, 1, epoch=9)) is Verdict.UNKNOWN
    assert verdict_of(validator, cluster, signed(build, 1, parent_height=99)) is Verdict.UNKNOWN
    assert verdict_of(validator, cluster, signed(build, 1, parent=bytes(32))) is Verdict.INVALID
    assert verdict_of(validator, cluster, signed(build, 1, difficulty=2)) is Verdict.INVALID
    assert verdict_of(validator, cluster, build.block(3, [build.task("a")])) is Verdict.INVALID  # sent by slot 1
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
    validator.judge(1, block, roster, build.height)
    validator.tick(roster, build.head, build.height)
    validator.grown(roster, build.height, bytes(32))
    assert not validator.has_verdicts  # nothing new to say
    cluster.chain.forgotten.clear()
    validator.grown(roster, build.height, bytes(32))
    given = validator.tick(roster, build.head, build.height)
    assert given is not None
    assert given[0].entries[0].verdict is Verdict.VALID
    assert validator.tick(roster, build.head, build.height) is None


def test_a_linked_block_is_not_judged_again(cluster: Cluster, validator: Validator) -> None:
    build = cluster.builder
    block = prepared(signed(build, 1, parent_height=99))
    validator.judge(1, block, roster_of(build), build.height)
    validator.tick(roster_of(build), build.head, build.height)
    validator.grown(roster_of(build), 200, block.block.id)
    assert not validator.has_verdicts


def test_what_a_validator_remembers_is_bounded(
    cluster: Cluster, validator: Validator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REJUDGED_BLOCKS_MAX", 1)
    monkeypatch.setattr(limits, "VERDICTS_PER_BATCH_MAX", 2)
    build, roster = cluster.builder, roster_of(cluster.builder)
    for number in range(3):
        block = prepared(signed(build, 1, parent_height=99, sequence=number))
        validator.judge(1, block, roster, build.height)
    given = validator.tick(roster, build.head, build.height)
    assert given is not None
    assert given[0].header.count == 2
    validator.judge(1, prepared(build.block(1, [build.task("x")])), roster, build.height)
    validator.judge(1, prepared(build.block(1, [build.task("y")])), roster, build.height)
    validator.grown(roster, 200, bytes(32))  # the batch is full: the changed verdict is not added to it
    given = validator.tick(roster, build.head, 200)
    assert given is not None
    assert given[0].header.count == 2


def test_an_agent_sends_changed_verdicts_after_a_link() -> None:
    """A validator behind the proposer says UNKNOWN, and VALID when the link has come. Spec: LIVE-2."""
    cluster = Cluster()
    build = cluster.builder
    held = []

    def late(delivery: tuple[int, int, object]) -> bool:
        slow = delivery[1] in (2, 3) and isinstance(delivery[2], events.Linked)
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
