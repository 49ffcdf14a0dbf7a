"""A proposer's blocks to the last word: what mutation testing (tests/mutation) found no other test to notice."""

from __future__ import annotations

import pytest

from scichain_wf import limits
from scichain_wf.consensus import messages
from scichain_wf.consensus.effects import Note, SendPeer, SendStorage
from scichain_wf.consensus.proposer import Proposal, State
from scichain_wf.consensus.timing import Timing
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.verdict import Verdict
from tests.builders import ChainBuilder
from tests.unit.consensus.kit import reach, roster_of

TIMING = Timing()


@pytest.fixture
def build() -> ChainBuilder:
    """Five slots, so that a quorum is three and two of its votes can be wrong."""
    build = ChainBuilder(slots=5)
    build.chain, build.head, build.height = b"c" * 32, b"h" * 32, 0
    build.join_all()
    return build


def proposed(build: ChainBuilder, *, is_relayed: bool = False, at: float = 0.0) -> Proposal:
    block = build.block(1, [build.task("a")])
    proposal = Proposal(prepared(block), (), roster_of(build), TIMING)
    proposal.solved(build.solution(block))
    proposal.proposed(roster_of(build), is_relayed, at)
    return proposal


def certified(build: ChainBuilder, proposal: Proposal, *slots: int) -> None:
    for slot in slots:
        assert not proposal.vote(build.vote(slot, proposal.block.block))
    (push,) = proposal.review(reach(build, *range(2, 6)), True, proposal.deadline or 0.0)
    assert isinstance(push, SendStorage)
    assert isinstance(push.message, messages.Push)


def bad_votes(proposal: Proposal, *slots: int) -> messages.Answer:
    return messages.Answer(proposal.block.block.id, "bad-votes", slots)


@pytest.mark.parametrize("named", [(), (1, 2, 3), (1, 2, 3, 4)])
def test_a_certificate_of_which_nothing_holds_is_sent_again_a_few_times(
    build: ChainBuilder, named: tuple[int, ...]
) -> None:
    """Its epoch is over; should it not be, the block is extended in the end (LIVE-1)."""
    proposal = proposed(build)
    certified(build, proposal, 1, 2, 3)
    for _ in range(limits.REPROPOSALS_MAX):
        assert proposal.answered(bad_votes(proposal, *named), True, 0.0) == ()
        assert proposal.state is State.PARKED
        certified(build, proposal)
    note, extend = proposal.answered(bad_votes(proposal, *named), True, 0.0)
    assert note == Note(f"storage says that votes of slots {list(named)} do not hold")
    assert isinstance(extend, SendStorage)
    assert isinstance(extend.message, messages.Extend)
    assert extend.message.reason == "bad-votes"
    assert proposal.state is State.EXTENDING


def test_without_the_votes_that_do_not_hold_it_waits_for_others(build: ChainBuilder) -> None:
    """A slot that signs its votes badly costs a round, and no extension. Spec: LIVE-2."""
    proposal = proposed(build)
    certified(build, proposal, 1, 2, 3)
    note = Note("storage says that votes of slots [3] do not hold")
    assert proposal.answered(bad_votes(proposal, 3), True, 5.0) == (note,)
    assert proposal.state is State.PROPOSED
    assert proposal.review(reach(build, 2, 3, 4, 5), True, 5.0) == ()
    assert proposal.vote(build.vote(3, proposal.block.block)) == "votes do not hold"
    proposal.vote(build.vote(5, proposal.block.block))
    (push,) = proposal.review(reach(build, 2, 3, 4, 5), True, 5.0)
    assert isinstance(push, SendStorage)
    assert isinstance(push.message, messages.Push)
    assert [vote.header.slot for vote in push.message.certificate.votes] == [1, 2, 5]
    assert push.message.certificate.solution == build.solution(proposal.block.block)


def test_votes_that_came_meanwhile_are_enough_at_once(build: ChainBuilder) -> None:
    proposal = proposed(build)
    certified(build, proposal, 1, 2, 3)
    proposal.vote(build.vote(4, proposal.block.block))
    proposal.answered(bad_votes(proposal, 3), True, 5.0)
    certified(build, proposal)
    assert proposal.state is State.CERTIFIED


def test_the_wait_for_other_votes_asks_again_half_way_and_ends(build: ChainBuilder) -> None:
    """Who came back while storage looked at the certificate was not shown the block. Spec: LIVE-1."""
    proposal = proposed(build)
    certified(build, proposal, 1, 2, 3)
    proposal.answered(bad_votes(proposal, 3), True, 5.0)
    everybody, half = reach(build, 2, 3, 4, 5), 5.0 + TIMING.deadline_s / 2
    assert proposal.deadline == half
    asked = proposal.review(everybody, True, half)
    assert asked == tuple(SendPeer(slot, messages.Propose(proposal.block.block)) for slot in (3, 4, 5))
    assert proposal.deadline == 5.0 + TIMING.deadline_s
    (extend,) = proposal.review(everybody, True, proposal.deadline)
    assert isinstance(extend, SendStorage)
    assert isinstance(extend.message, messages.Extend)
    assert extend.message.reason == "deadline"
    assert [vote.header.slot for vote in extend.message.votes] == [1, 2]


@pytest.mark.parametrize("storage_up", [True, False])
def test_after_so_many_doubts_storage_decides(
    build: ChainBuilder, monkeypatch: pytest.MonkeyPatch, storage_up: bool
) -> None:
    """Liars that spoil one certificate each do not keep a block for ever. Spec: LIVE-1."""
    monkeypatch.setattr(limits, "REPROPOSALS_MAX", 1)
    proposal = proposed(build)
    certified(build, proposal, 1, 2, 3)
    proposal.answered(bad_votes(proposal, 3), True, 0.0)
    certified(build, proposal, 4)
    note, *sent = proposal.answered(bad_votes(proposal, 4), storage_up, 0.0)
    assert note == Note("storage says that votes of slots [4] do not hold")
    if not storage_up:
        assert (sent, proposal.state) == ([], State.PARKED)
        sent = [*proposal.review(reach(build), True, 0.0)]
    (extend,) = sent
    assert isinstance(extend, SendStorage)
    assert isinstance(extend.message, messages.Extend)
    assert extend.message.reason == "bad-votes"
    assert [vote.header.slot for vote in extend.message.votes] == [1, 2]
    assert extend.message.solution == build.solution(proposal.block.block)
    assert proposal.state is State.EXTENDING


@pytest.mark.parametrize(("reason", "told"), [("no room", "no room"), ("", "refused")])
def test_a_refusal_is_noted_with_its_reason(build: ChainBuilder, reason: str, told: str) -> None:
    proposal = proposed(build)
    certified(build, proposal, 1, 2, 3)
    identity = proposal.block.block.id
    given = proposal.answered(messages.Answer(identity, "refused", reason=reason), True, 0.0)
    assert given == (Note(f"storage refused block {identity.hex()[:16]}: {told}"),)
    assert proposal.is_rejected


def test_when_storage_is_lost_a_parked_block_waits_for_it_and_a_proposed_one_for_its_votes(
    build: ChainBuilder,
) -> None:
    waiting, parked = proposed(build, at=1.0), proposed(build)
    certified(build, parked, 1, 2, 3)
    parked.answered(messages.Answer(parked.block.block.id, "wait"), True, 5.0)
    assert parked.state is State.PARKED
    assert parked.deadline == 5.0 + TIMING.backoff_s
    for proposal in (waiting, parked):
        proposal.storage_lost()
    assert waiting.deadline == 1.0 + TIMING.deadline_s
    assert parked.deadline is None


def test_each_pause_is_twice_the_one_before(build: ChainBuilder) -> None:
    proposal = proposed(build)
    certified(build, proposal, 1, 2, 3)
    pauses = []
    for _ in range(3):
        proposal.answered(messages.Answer(proposal.block.block.id, "wait"), True, 0.0)
        assert proposal.deadline is not None
        pauses.append(proposal.deadline)
        proposal.review(reach(build), True, proposal.deadline)
    assert pauses == [TIMING.backoff_s, 2 * TIMING.backoff_s, 4 * TIMING.backoff_s]


def test_a_committed_block_waits_for_nothing(build: ChainBuilder) -> None:
    proposal = proposed(build)
    proposal.committed()
    assert proposal.deadline is None


def test_half_way_a_relayed_block_is_sent_to_who_did_not_answer_and_then_waited_for(build: ChainBuilder) -> None:
    """A relay that keeps a block to itself costs half a deadline, and no extension (LIVE-2)."""
    proposal = proposed(build, is_relayed=True, at=1.0)
    everybody = reach(build, 2, 3, 4, 5)
    half, whole = 1.0 + TIMING.deadline_s / 2, 1.0 + TIMING.deadline_s
    assert proposal.deadline == half
    proposal.vote(build.vote(2, proposal.block.block))
    assert proposal.review(everybody, True, half - 0.001) == ()
    given = proposal.review(everybody, True, half)
    assert given == tuple(SendPeer(slot, messages.Propose(proposal.block.block)) for slot in (3, 4, 5))
    assert proposal.deadline == whole
    assert proposal.review(everybody, True, half) == ()
    (extend,) = proposal.review(everybody, True, whole)
    assert isinstance(extend, SendStorage)
    assert isinstance(extend.message, messages.Extend)
    assert extend.message.reason == "deadline"


def test_nobody_is_waited_for_who_has_judged_the_block(build: ChainBuilder) -> None:
    proposal = proposed(build)
    everybody = reach(build, 2, 3, 4, 5)
    everybody.heard.clear()
    everybody.heard[2] = 1.5
    proposal.vote(build.vote(2, proposal.block.block, Verdict.UNKNOWN))
    (extend,) = proposal.review(everybody, True, TIMING.deadline_s)
    assert isinstance(extend, SendStorage)
    assert isinstance(extend.message, messages.Extend)
    assert extend.message.reason == "deadline"


def test_who_is_still_judging_others_is_waited_for_within_bounds(build: ChainBuilder) -> None:
    proposal = proposed(build)
    everybody = reach(build, 2, 3, 4, 5)
    now = TIMING.deadline_s
    everybody.heard[3] = now - 0.5
    assert proposal.review(everybody, True, now) == ()
    assert proposal.deadline == now - 0.5 + TIMING.deadline_s
    everybody.heard[3] = 100.0
    assert proposal.review(everybody, True, proposal.deadline) == ()
    assert proposal.deadline == TIMING.patience_s
    assert proposal.review(everybody, True, TIMING.patience_s) != ()


def test_a_vote_on_a_block_that_nobody_was_asked_about_yet_counts_like_any_other(build: ChainBuilder) -> None:
    """In a race peers learn of a block before it is proposed."""
    block = build.block(1, [build.task("a")])
    proposal = Proposal(prepared(block), (), roster_of(build), TIMING)
    vote = build.vote(2, block)
    assert [proposal.vote(vote), proposal.vote(vote)] == ["", "verdict replayed"]
    assert proposal.vote(build.vote(2, build.block(1, [build.task("b")]))) == "unknown block"
    assert proposal.vote_of(2) is vote
