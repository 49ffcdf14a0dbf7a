"""Who signed a block, who may solve its puzzle, who may join: V2 and membership."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scichain_wf.consensus import membership
from scichain_wf.consensus.roster import Roster, solution_statement
from scichain_wf.crypto import puzzle
from scichain_wf.crypto.hashing import Domain
from scichain_wf.errors import DecodeError, VerificationError
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.block import Block
from scichain_wf.model.certificate import Solution
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from tests.builders import ChainBuilder, signing_key
from tests.unit.consensus.cluster import Cluster
from tests.unit.consensus.kit import roster_of, signed


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epoch": 9}, "of epoch 9, the newest is 2"),
        ({"proposer": bytes(32)}, "no slot of epoch 2 is bound"),
        ({"source": "storage"}, "only the storage node's own"),
    ],
)
def test_a_block_that_cannot_be_appended_is_refused_by_reason(
    cluster: Cluster, changes: dict[str, object], reason: str
) -> None:
    block = prepared(signed(cluster.builder, 1, **changes))
    with pytest.raises(VerificationError, match=reason):
        roster_of(cluster.builder).check_block(block)


def test_a_vote_ignores_the_puzzle(cluster: Cluster) -> None:
    block = prepared(signed(cluster.builder, 1, difficulty=6))
    assert roster_of(cluster.builder).check_block(block) == 1


def test_every_signature_of_a_slot_is_verified_by_the_key_the_roster_was_given(cluster: Cluster) -> None:
    build = cluster.builder
    stranger = signing_key(7, "stranger")
    block = build.block(1, [build.task("a")])
    header = replace(block.header, proposer=stranger.public.fingerprint).encode()
    foreign = prepared(Block(header, stranger.sign(Domain.BLOCK, header), block.transactions))
    with pytest.raises(VerificationError, match="no slot of epoch 2 is bound"):
        roster_of(build).check_block(foreign)
    assert Roster(build.epoch, build.chain, {2: stranger.public}).check_block(foreign) == 2


def test_a_roster_is_read_from_a_record_whose_every_statement_holds(cluster: Cluster) -> None:
    """The settings are the authority's word: storage alone cannot make itself decisive."""
    build = cluster.builder
    read = Roster.read(build.epoch.body(), build.chain)
    assert [read.epoch, read.chain, read.quorum] == [build.epoch, build.chain, 2]
    with pytest.raises(VerificationError, match="membership"):
        Roster.read(replace(build.epoch, settings=Settings(storage_weight=2)).body(), build.chain)
    with pytest.raises(DecodeError):
        Roster.read({"epoch": 1}, build.chain)


def test_a_block_of_another_chain_or_with_a_forged_signature_is_refused(cluster: Cluster) -> None:
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    with pytest.raises(VerificationError, match="another chain"):
        Roster(build.epoch, bytes(32)).check_block(prepared(block))
    with pytest.raises(VerificationError, match="does not hold"):
        roster_of(build).check_block(prepared(Block(block.header_bytes, bytes(64), block.transactions)))


def test_a_node_cannot_state_membership(cluster: Cluster) -> None:
    build = cluster.builder
    record = membership.epoch_transaction(build.epoch, build.chain, "node-1", build.tick(), build.key())
    with pytest.raises(VerificationError, match="membership is stated by the storage node"):
        roster_of(build).check_block(prepared(build.block(1, [record])))


def test_a_puzzle_must_be_solved_by_who_may_and_only_where_there_is_one(cluster: Cluster) -> None:
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    roster, solved = roster_of(build), build.solution(block)
    assert solved is not None
    roster.check_solution(block, solved)
    wrong = next(n for n in range(100) if not puzzle.solves(block.id, solved.solver, n, 1))
    other = build.nodes[2].public.fingerprint
    for solution, reason in (
        (None, "is not solved"),
        (replace(solved, nonce=wrong), "does not solve"),
        (replace(solved, signature=bytes(64)), "carries no signature"),
        (replace(solved, solver=other, signature=bytes(64)), "may not solve it"),
    ):
        with pytest.raises(VerificationError, match=reason):
            roster.check_solution(block, solution)
    easy = Cluster(settings=Settings(difficulty=Difficulty(value=0))).builder
    plain = easy.block(1, [easy.task("a")])
    roster_of(easy).check_solution(plain, None)
    with pytest.raises(VerificationError, match="has no puzzle"):
        roster_of(easy).check_solution(plain, solved)


def test_in_a_race_another_member_may_solve_and_signs_it() -> None:
    """SciChain §3.3, §4.5."""
    build = Cluster(settings=Settings(mining="race")).builder
    block = build.block(1, [build.task("a")])
    solver = build.nodes[2]
    nonce = puzzle.solve(block.id, solver.public.fingerprint, 1)
    assert nonce is not None
    signature = solver.sign(Domain.PUZZLE, solution_statement(block.id, nonce))
    roster = roster_of(build)
    roster.check_solution(block, Solution(solver.public.fingerprint, nonce, signature))
    with pytest.raises(VerificationError, match="signature"):
        roster.check_solution(block, Solution(solver.public.fingerprint, nonce, bytes(64)))
    with pytest.raises(VerificationError, match="may not solve"):
        roster.check_solution(block, Solution(solver.public.fingerprint, nonce))
    with pytest.raises(VerificationError, match="may not solve"):
        roster.check_solution(block, Solution(bytes(32), nonce, signature))


def test_nobody_joins_a_genesis_a_slot_outside_or_twice_under_one_key(cluster: Cluster) -> None:
    build = cluster.builder
    genesis = ChainBuilder().epoch
    with pytest.raises(VerificationError, match="nobody can join the genesis"):
        membership.joined(genesis, build.chain, ())
    key = signing_key(5, "one key")

    def join(slot: int) -> membership.Join:
        token_key = signing_key(5, f"token {slot}")
        token = membership.issue_token(build.authority, build.chain, build.epoch.generation, slot, token_key)
        return membership.bind(token, build.chain, key.public, "host")

    with pytest.raises(VerificationError, match="slot 4 is outside"):
        membership.joined(build.epoch, build.chain, (join(4),))
    with pytest.raises(VerificationError, match="one key cannot fill two slots"):
        membership.joined(build.epoch, build.chain, (join(1), join(2)))
