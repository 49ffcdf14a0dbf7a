"""The states of a block at its proposer, and what leads out of them."""

from __future__ import annotations

import pytest

from scichain_wf import limits
from scichain_wf.consensus import events, messages, proposer, storage
from scichain_wf.consensus.proposer import TRANSITIONS, Move, Proposal, State
from scichain_wf.consensus.timing import Timing
from scichain_wf.errors import InvariantViolation
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.certificate import Solution
from tests.unit.consensus.cluster import Cluster
from tests.unit.consensus.kit import reach, roster_of


def a_proposal(cluster: Cluster) -> Proposal:
    block = cluster.builder.block(1, [cluster.builder.task("a")])
    return Proposal(prepared(block), (), roster_of(cluster.builder), Timing())


def proposed(cluster: Cluster, solution: Solution | None = None) -> Proposal:
    proposal = a_proposal(cluster)
    proposal.solved(solution)
    proposal.proposed(roster_of(cluster.builder), False, 0.0)
    return proposal


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("move", Move)
def test_an_illegal_move_raises_and_changes_nothing(state: State, move: Move) -> None:
    if move in TRANSITIONS[state]:
        assert proposer.moved(state, move) is TRANSITIONS[state][move]
    else:
        with pytest.raises(InvariantViolation, match=f"in state {state} cannot {move}"):
            proposer.moved(state, move)


def test_every_state_is_reached_and_every_other_ends(cluster: Cluster) -> None:
    reached = {State.DRAFT} | {after for moves in TRANSITIONS.values() for after in moves.values()}
    assert reached == set(State)
    assert [state for state in State if not TRANSITIONS[state]] == [State.REJECTED, State.COMMITTED]
    proposal = a_proposal(cluster)
    with pytest.raises(InvariantViolation):
        proposal.committed()
    assert proposal.state is State.DRAFT


def test_answers_out_of_place_are_ignored(cluster: Cluster) -> None:
    proposal = proposed(cluster)
    for answer in ("bad-votes", "refused", "wait"):
        assert proposal.answered(messages.Answer(bytes(32), answer), True, 0.0) == ()
    proposal.storage_lost()
    assert proposal.state is State.PROPOSED


def test_bad_votes_about_an_extended_block_are_of_the_push_before(cluster: Cluster) -> None:
    """A channel may repeat itself: the block is not given up for an answer that was given before."""
    proposal = proposed(cluster)
    proposal.review(reach(cluster.builder), True, 0.0)
    states = [proposal.state]
    proposal.answered(messages.Answer(bytes(32), "bad-votes"), True, 0.0)
    assert [*states, proposal.state] == [State.EXTENDING, State.EXTENDING]


def test_pauses_between_attempts_grow_and_are_bounded(cluster: Cluster) -> None:
    proposal = proposed(cluster)
    now, pauses = 0.0, []
    for _ in range(12):
        proposal.review(reach(cluster.builder), True, now)
        proposal.answered(messages.Answer(bytes(32), "wait"), True, now)
        assert proposal.deadline is not None
        pauses.append(proposal.deadline - now)
        now = proposal.deadline
    assert pauses[0] == pytest.approx(Timing().backoff_s)
    assert pauses == pytest.approx(sorted(pauses))
    assert pauses[-1] == pytest.approx(Timing().backoff_s_max)


def test_a_parked_block_that_reaches_its_quorum_is_pushed(cluster: Cluster) -> None:
    build = cluster.builder
    proposal = proposed(cluster)
    assert proposal.review(reach(cluster.builder), False, 0.0) == ()
    for slot in (1, 2):
        proposal.vote(build.vote(slot, proposal.block.block))
    (effect,) = proposal.review(reach(cluster.builder), True, 0.0)
    assert proposal.state is State.CERTIFIED
    assert isinstance(effect.message, messages.Push)  # type: ignore[union-attr]


def test_a_solution_that_comes_twice_changes_nothing(cluster: Cluster) -> None:
    cluster.hold_commits = True
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(1)
    (candidate,) = cluster.commits[0].candidates
    before = cluster.nodes[1].agent.in_flight
    cluster.feed(1, events.Solved(1, candidate.block.block.id, 1))
    assert cluster.nodes[1].agent.in_flight == before


def test_a_transaction_whose_blocks_are_refused_again_and_again_is_given_up(cluster: Cluster) -> None:
    (identity,) = cluster.submit(1, cluster.builder.task("a"))
    node = cluster.nodes[1]
    cluster.hold_commits = True
    for _ in range(limits.REDRAFTS_MAX + 1):
        cluster.run(1)
        candidate = cluster.commits.popleft().candidates[0]
        answer = messages.Answer(candidate.block.block.id, "refused", reason="no")
        cluster.tell_storage(storage.Decided((storage.Outcome(candidate, answer),)))
        cluster.run(1)
    assert node.given_up == [identity]
    assert node.agent.in_flight == 0
    assert node.settled == []
