"""A validator to the last word: what mutation testing (tests/mutation) found no other test to notice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scichain_wf import limits
from scichain_wf.consensus import validator
from scichain_wf.consensus.evidence import Witness, header_statement
from scichain_wf.consensus.roster import Roster
from scichain_wf.consensus.validator import Validator
from scichain_wf.crypto import merkle
from scichain_wf.crypto.hashing import Domain, digest
from scichain_wf.ledger.prepared import PreparedBlock, prepared
from scichain_wf.model import canonical
from scichain_wf.model.verdict import BatchHeader, Entry, Verdict, VerdictBatch
from tests.builders import ChainBuilder
from tests.unit.consensus.cluster import MemoryLedger
from tests.unit.consensus.kit import roster_of, signed

HEAD = b"h" * 32


class Ledger(MemoryLedger):
    """Three links of which only the newest is still here."""

    def link_hash(self, height: int, /) -> bytes | None:
        return HEAD if height == 2 else None


@pytest.fixture
def build() -> ChainBuilder:
    build = ChainBuilder()
    build.chain, build.head, build.height = b"c" * 32, HEAD, 2
    build.join_all()
    return build


@pytest.fixture
def roster(build: ChainBuilder) -> Roster:
    return roster_of(build)


@pytest.fixture
def judge(build: ChainBuilder) -> Validator:
    return a_judge(build)


def a_judge(build: ChainBuilder, ledger: MemoryLedger | None = None) -> Validator:
    return Validator(build.nodes[2], 2, build.chain, ledger or Ledger(), Witness(build.chain, 2, 1.0))


def a_block(build: ChainBuilder, **changes: object) -> PreparedBlock:
    return prepared(signed(build, 1, **changes))


def ticked(judge: Validator, roster: Roster, height: int = 2) -> VerdictBatch:
    given = judge.tick(roster, HEAD, height)
    assert given is not None
    return given[0]


def invalid(block: PreparedBlock, reason: str) -> Entry:
    return Entry(block.block.id, Verdict.INVALID, digest(Domain.REASONS, canonical.dumps([reason])))


def test_a_batch_says_who_judged_what_at_which_head(build: ChainBuilder, roster: Roster, judge: Validator) -> None:
    for number in (1, 2):
        blocks = [a_block(build), prepared(build.block(3, [build.task("b")]))]
        for block in blocks:
            assert judge.judge(block, 1, roster, 2) == ""
        given = judge.tick(roster, b"n" * 32, 7)
        assert given is not None
        batch, slots = given
        entries = tuple(Entry(block.block.id, Verdict.VALID) for block in blocks)
        root = merkle.root([entry.leaf() for entry in entries])
        assert batch.header == BatchHeader(build.chain, roster.number, 2, number, b"n" * 32, 7, 2, root)
        assert batch.entries == entries
        assert build.nodes[2].public.is_valid(Domain.VERDICT_BATCH, batch.signature, batch.header.encode())
        assert slots == {1, 3}
        assert not judge.has_verdicts


def test_what_is_wrong_is_signed_in_words(build: ChainBuilder, roster: Roster, judge: Validator) -> None:
    orphan = a_block(build, parent=bytes(32))
    foreign = a_block(build, source="storage")
    judge.judge(orphan, 1, roster, 2)
    judge.judge(foreign, 1, roster, 2)
    assert ticked(judge, roster).entries == (
        invalid(orphan, "the parent is not the link at its height"),
        invalid(foreign, "only the storage node's own blocks come from storage"),
    )
    first = a_block(build, sequence=7)
    twin = a_block(build, sequence=7)
    judge.judge(first, 1, roster, 2)
    judge.judge(twin, 1, roster, 2)
    assert ticked(judge, roster).entries == (
        Entry(first.block.id, Verdict.VALID),
        invalid(twin, "another block of this sequence number was found valid before"),
    )


def test_a_block_on_this_nodes_head_is_not_ahead_of_it(build: ChainBuilder, roster: Roster, judge: Validator) -> None:
    for height in (1, 2, 3):
        block = a_block(build)
        judge.judge(block, 1, roster, height)
        verdict = Verdict.UNKNOWN if height < 2 else Verdict.VALID
        assert ticked(judge, roster).entries == (Entry(block.block.id, verdict),)


def test_a_parent_that_is_not_held_any_more_is_left_to_storage(
    build: ChainBuilder, roster: Roster, judge: Validator
) -> None:
    old = a_block(build, parent=bytes(32), parent_height=1)
    judge.judge(old, 1, roster, 2)
    assert ticked(judge, roster).entries == (Entry(old.block.id, Verdict.VALID),)


def test_relays_and_reporters_learn_of_each_signed_block_once(
    build: ChainBuilder, roster: Roster, judge: Validator
) -> None:
    first, twin = a_block(build, sequence=7), a_block(build, sequence=7)
    for block in (first, twin, first):
        judge.judge(block, 1, roster, 2)
    assert judge.fresh == [(1, first), (1, twin)]
    assert judge.equivocations == [(1, header_statement(first.block), header_statement(twin.block))]


# --- bounds -------------------------------------------------------------------------------------------
def sized(build: ChainBuilder, count: int, **changes: object) -> tuple[list[PreparedBlock], int]:
    """Blocks of one size, and that size."""
    blocks = [a_block(build, **changes) for _ in range(count)]
    (size,) = {sum(map(len, block.block.transactions)) for block in blocks}
    return blocks, size


@pytest.mark.parametrize("by", ["number", "bytes"])
def test_blocks_of_later_epochs_are_kept_up_to_a_bound(
    build: ChainBuilder, roster: Roster, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    blocks, size = sized(build, 3, epoch=roster.number + 1)
    bound = 2 if by == "number" else 2 * size
    monkeypatch.setattr(limits, "BLOCKS_AHEAD_MAX" if by == "number" else "REMEMBERED_BYTES_MAX", bound)
    judge = a_judge(build)
    for block in (blocks[0], blocks[1], blocks[0], blocks[2]):
        assert judge.judge(block, 1, roster, 2) == ""
    later = Roster(replace(build.epoch, epoch=roster.number + 1), build.chain)
    judge.restated(later, 2)
    assert [entry.block for entry in ticked(judge, later).entries] == [blocks[0].block.id, blocks[2].block.id]


def remembered(judge: Validator, blocks: list[PreparedBlock]) -> list[bool]:
    return [judge.body(block.block.id) is block for block in blocks]


@pytest.mark.parametrize("by", ["number", "bytes"])
def test_the_oldest_of_too_many_blocks_is_forgotten(
    build: ChainBuilder, roster: Roster, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    blocks, size = sized(build, 6, parent_height=99)
    bound = 2 if by == "number" else 2 * size
    monkeypatch.setattr(limits, "REMEMBERED_BLOCKS_MAX" if by == "number" else "REMEMBERED_BYTES_MAX", bound)
    judge = a_judge(build)
    for block in (*blocks[:2], *blocks[:2]):
        judge.judge(block, 1, roster, 2)
    assert remembered(judge, blocks) == [True, True, False, False, False, False]
    judge.judge(blocks[2], 1, roster, 2)
    assert remembered(judge, blocks) == [False, True, True, False, False, False]
    assert [entry.block for entry in ticked(judge, roster).entries] == [block.block.id for block in blocks[1:3]]
    judge.grown(99, blocks[2])  # linked: there is room again
    assert [entry.block for entry in ticked(judge, roster).entries] == [blocks[1].block.id]
    judge.grown(2, None)
    judge.judge(blocks[3], 1, roster, 2)
    assert remembered(judge, blocks) == [False, True, False, True, False, False]
    judge.restated(roster, 2)
    assert remembered(judge, blocks) == [False, True, False, True, False, False]
    for block in blocks[4:]:
        judge.judge(block, 1, roster, 2)
    assert remembered(judge, blocks) == [False, False, False, False, True, True]
    assert [entry.block for entry in ticked(judge, roster).entries] == [block.block.id for block in blocks[4:]]


def test_votes_are_remembered_from_a_floor_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spec: SAFE-2. Below the floor they are forgotten; what is remembered stays allowed for its own block only."""
    monkeypatch.setattr(limits, "SEQUENCES_REMEMBERED_MAX", 2)
    votes = validator._Votes()
    one, two = b"1" * 32, b"2" * 32
    assert votes.allows(0, one)
    assert not votes.forgot(0)
    votes.cast(5, one)
    assert [votes.allows(5, one), votes.allows(5, two), votes.allows(3, two)] == [True, False, True]
    votes.cast(3, two)
    assert not votes.forgot(0)
    votes.cast(9, one)  # forgets 3: the floor is 4
    assert [votes.forgot(number) for number in (2, 3, 4, 5, 6)] == [True, True, False, False, False]
    assert [votes.allows(number, two) for number in (4, 5, 6)] == [True, False, True]
    votes.cast(4, two)  # is forgotten at once: the floor is 5
    assert [votes.forgot(4), votes.forgot(5), votes.allows(5, one), votes.allows(6, two)] == [True, False, True, True]


def test_what_was_found_valid_is_not_judged_again_when_the_ledger_grows(build: ChainBuilder, roster: Roster) -> None:
    """A later head may take back what was VALID; storage judges then, and no slot says two things (SAFE-2)."""
    ledger = Ledger()
    judge = a_judge(build, ledger)
    used = build.artifact("f", b"1")
    uri = str(used["uri"])
    ledger.forgotten.add(uri)
    block = prepared(build.block(1, [build.task("use", [used])]))
    judge.judge(block, 1, roster, 2)
    assert ticked(judge, roster).entries == (Entry(block.block.id, Verdict.UNKNOWN),)
    ledger.forgotten.clear()
    judge.grown(2, None)
    assert ticked(judge, roster).entries == (Entry(block.block.id, Verdict.VALID),)
    ledger.versions[uri] = [b"2" * 32]
    judge.grown(2, None)
    assert not judge.has_verdicts
