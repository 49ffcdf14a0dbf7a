"""The pure rules, each alone: who signed, what may be true, how votes are counted, when a draft is ripe."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scichain_wf import limits
from scichain_wf.consensus import events, membership, messages, proposer, storage, validity
from scichain_wf.consensus.certify import Tally, VoteChecker
from scichain_wf.consensus.drafting import Drafter
from scichain_wf.consensus.events import Item
from scichain_wf.consensus.proposer import TRANSITIONS, Move, OwnBlock, Proposal, State
from scichain_wf.consensus.roster import Roster, solution_statement
from scichain_wf.consensus.timing import Timing
from scichain_wf.consensus.validator import Validator
from scichain_wf.consensus.validity import judge
from scichain_wf.crypto import merkle, puzzle
from scichain_wf.crypto.hashing import Domain
from scichain_wf.errors import DecodeError, InvariantViolation, VerificationError
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model import certificate
from scichain_wf.model.block import Block
from scichain_wf.model.certificate import QuorumCertificate, Solution
from scichain_wf.model.epoch import Settings
from scichain_wf.model.link import Mark
from scichain_wf.model.transaction import Transaction
from scichain_wf.model.verdict import BatchHeader, Entry, Verdict, VerdictBatch, Vote
from tests.builders import ChainBuilder, signing_key
from tests.unit.consensus.cluster import Cluster, MemoryLedger, item


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def roster_of(build: ChainBuilder) -> Roster:
    return Roster(build.epoch, build.chain)


def signed(build: ChainBuilder, slot: int, **changes: object) -> Block:
    """A block of `slot` whose header says something else, signed as it is."""
    block = build.block(slot, [build.task("a")])
    header = replace(block.header, **changes).encode()  # type: ignore[arg-type]
    return Block(header, build.nodes[slot].sign(Domain.BLOCK, header), block.transactions)


# --- V2 -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epoch": 9}, "of epoch 9, the newest is 2"),
        ({"proposer": bytes(32)}, "no slot of epoch 2 is bound"),
        ({"difficulty": 0}, "difficulty is 0, epoch 2 asks for 1"),
        ({"source": "storage"}, "only the storage node's own"),
    ],
)
def test_a_block_that_cannot_be_appended_is_refused_by_reason(
    cluster: Cluster, changes: dict[str, object], reason: str
) -> None:
    block = prepared(signed(cluster.builder, 1, **changes))
    with pytest.raises(VerificationError, match=reason):
        roster_of(cluster.builder).check_block(block)


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
    easy = Cluster(settings=Settings(difficulty=0)).builder
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


# --- V3 and V4 ----------------------------------------------------------------------------------------
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
    assert validity.outputs(item(cluster.builder.run_start()).parsed) == []
    assert item(cluster.builder.run_start()).needs == ()


# --- votes --------------------------------------------------------------------------------------------
def test_votes_that_do_not_count_are_not_counted(cluster: Cluster) -> None:
    """Spec: SAFE-4."""
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    tally = Tally(roster_of(build), block.id)
    vote = build.vote(2, block)
    assert tally.add(vote)
    assert not tally.add(vote)  # not newer than what is known
    assert not tally.add(build.vote(3, build.block(1, [build.task("b")])))
    assert not tally.add(replace(vote, header=replace(vote.header, epoch=1)))
    assert not tally.add(replace(vote, header=replace(vote.header, slot=4)))
    assert not tally.add(replace(vote, header=replace(vote.header, chain=bytes(32))))
    assert not tally.has_quorum()
    with pytest.raises(VerificationError, match="1 slots said VALID, 2 are needed"):
        tally.certificate(None)
    tally.drop([2])
    assert not tally.add(build.vote(2, block))
    assert tally.votes() == ()


def test_unknown_leaves_hope_and_invalid_does_not(cluster: Cluster) -> None:
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    tally = Tally(roster_of(build), block.id)
    everybody = frozenset({1, 2, 3})
    assert not tally.is_impossible(everybody)
    assert tally.is_impossible(frozenset({1}))
    tally.add(build.vote(2, block, Verdict.UNKNOWN))
    tally.add(build.vote(3, block, Verdict.INVALID, bytes(32)))
    assert not tally.is_impossible(everybody)
    tally.add(build.vote(2, block, Verdict.INVALID, bytes(32)))
    assert tally.is_impossible(everybody)
    tally.add(build.vote(2, block))  # at a later head it knows better
    assert not tally.is_impossible(frozenset({1}))


def test_a_vote_that_does_not_hold_is_named_and_convicts_nobody_else(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    monkeypatch.setattr(limits, "VERIFIED_BATCHES_MAX", 1)
    checker = VoteChecker(roster_of(build))
    good = [build.vote(slot, block) for slot in (1, 2)]
    assert checker.bad_votes(good) == ()
    assert checker.bad_votes(good[1:]) == ()
    forged = replace(build.vote(3, block), signature=bytes(64))
    moved = replace(good[0], index=5)
    stranger = replace(good[1], header=replace(good[1].header, slot=9))
    assert checker.bad_votes([moved, good[1], forged, stranger]) == (1, 3, 9)


# --- the validator ------------------------------------------------------------------------------------
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


# --- drafts -------------------------------------------------------------------------------------------
@pytest.fixture
def drafter(cluster: Cluster) -> Drafter:
    return Drafter(cluster.chain, Timing())


def of_source(record: Transaction, source: str) -> Item:
    return item(record, source)


def test_a_draft_is_sealed_when_enough_is_in_it_or_its_interval_ends(cluster: Cluster, drafter: Drafter) -> None:
    """SciChain §4.2: at least twelve transactions where they arrive in time."""
    build = cluster.builder
    drafter.add(item(build.task("first")), 0.0)
    assert drafter.seal(0, 0.0) is None
    assert drafter.next_time() == Timing().draft_interval_s
    for number in range(11):
        drafter.add(item(build.task(f"t{number}")), 0.0)
    assert drafter.seal(limits.PIPELINE_BLOCKS, 0.0) is None  # under load blocks may grow
    assert drafter.seal(limits.IN_FLIGHT_BLOCKS_MAX, 1.0) is None
    sealed = drafter.seal(0, 0.0)
    assert sealed is not None
    assert len(sealed.items) == 12
    drafter.add(item(build.task("late")), 1.0)
    assert drafter.seal(limits.PIPELINE_BLOCKS, 2.0) is not None
    assert drafter.next_time() is None


def test_a_full_draft_makes_way_for_the_next_and_sources_do_not_mix(
    cluster: Cluster, drafter: Drafter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BLOCK_TRANSACTIONS_MAX", 2)
    build = cluster.builder
    for number in range(3):
        drafter.add(item(build.task(f"t{number}")), 0.0)
    drafter.add(of_source(build.task("s"), "spool"), 0.0)
    assert drafter.drafted == 4
    sealed = drafter.seal(limits.PIPELINE_BLOCKS, 0.0)
    assert sealed is not None
    assert [len(sealed.items), sealed.source] == [2, "outbox"]
    assert drafter.seal(0, 0.0) is None
    drafter.force()
    assert {draft.source for draft in (drafter.seal(0, 0.0), drafter.seal(0, 0.0)) if draft} == {"outbox", "spool"}
    assert drafter.seal(0, 0.0) is None


def test_a_consumer_waits_for_its_producer_and_then_for_the_next(cluster: Cluster, drafter: Drafter) -> None:
    build = cluster.builder
    a, b = build.artifact("a", b"1"), build.artifact("b", b"1")
    source = build.artifact("s", b"1") | {"origin": "source"}
    drafter.add(item(build.task("use", [a | {"origin": "task:x"}, b | {"origin": "task:y"}, source])), 0.0)
    assert [drafter.held, drafter.drafted] == [1, 0]
    drafter.add(item(build.task("make a", outputs=[a])), 0.0)
    assert [drafter.held, drafter.drafted] == [1, 1]
    drafter.add(item(build.task("make b", outputs=[b])), 0.0)
    assert [drafter.held, drafter.drafted] == [0, 3]


def test_a_long_chain_inside_one_draft_resolves_without_recursion(cluster: Cluster, drafter: Drafter) -> None:
    build = cluster.builder
    size = 900
    for number in range(size - 1, 0, -1):
        before = build.artifact(f"f{number - 1}", b"1") | {"origin": f"task:t{number - 1}"}
        drafter.add(item(build.task(f"t{number}", [before], [build.artifact(f"f{number}", b"1")])), 0.0)
    assert drafter.held == size - 1
    drafter.add(item(build.task("t0", outputs=[build.artifact("f0", b"1")])), 0.0)
    assert [drafter.held, drafter.drafted] == [0, size]


def test_a_version_linked_and_evicted_at_once_leaves_the_deadline(cluster: Cluster, drafter: Drafter) -> None:
    build = cluster.builder
    wanted = build.artifact("f", b"1") | {"origin": "task:x"}
    for name in ("one", "two"):
        drafter.add(item(build.task(name, [wanted])), 0.0)
    ((uri, digest, _),) = item(build.task("x", [wanted])).needs
    drafter.linked([(uri, digest)], 1.0)
    assert drafter.held == 2
    assert drafter.next_time() == Timing().unresolved_after_s
    drafter.expire(Timing().unresolved_after_s)
    assert [drafter.held, drafter.drafted] == [0, 2]


def test_a_known_other_version_is_waited_for_even_without_an_origin(cluster: Cluster, drafter: Drafter) -> None:
    """A re-run makes a new version of a file, and nobody said who: its consumer must not be contested."""
    build = cluster.builder
    cluster.submit(1, build.task("old", outputs=[build.artifact("f", b"1")]))
    cluster.run()
    drafter.add(item(build.task("use", [build.artifact("f", b"2")])), 0.0)
    drafter.add(item(build.task("same", [build.artifact("f", b"1")])), 0.0)
    assert [drafter.held, drafter.drafted] == [1, 1]
    drafter.release(0.0)
    assert [drafter.held, drafter.drafted] == [0, 2]


# --- states -------------------------------------------------------------------------------------------
def a_proposal(cluster: Cluster) -> Proposal:
    block = cluster.builder.block(1, [cluster.builder.task("a")])
    whole = prepared(block)
    return Proposal(OwnBlock(block, whole.parsed, whole.leaves), (), roster_of(cluster.builder), Timing())


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
    proposal = a_proposal(cluster)
    proposal.solved(None)
    proposal.proposed(0.0)
    for answer in ("bad-votes", "refused", "wait"):
        assert proposal.answered(messages.Answer(bytes(32), answer), True, 0.0) == ()
    proposal.storage_lost()
    assert proposal.state is State.PROPOSED


def test_bad_votes_about_an_extended_block_reject_it(cluster: Cluster) -> None:
    """Storage never says so of an extension; one that does is not believed to make progress."""
    proposal = a_proposal(cluster)
    proposal.solved(None)
    proposal.proposed(0.0)
    proposal.review({1: 0.0}, True, 0.0)
    states = [proposal.state]
    proposal.answered(messages.Answer(bytes(32), "bad-votes"), True, 0.0)
    assert [*states, proposal.state] == [State.EXTENDING, State.REJECTED]


def test_pauses_between_attempts_grow_and_are_bounded(cluster: Cluster) -> None:
    proposal = a_proposal(cluster)
    proposal.solved(None)
    proposal.proposed(0.0)
    now, pauses = 0.0, []
    for _ in range(12):
        proposal.review({1: 0.0}, True, now)
        proposal.answered(messages.Answer(bytes(32), "wait"), True, now)
        assert proposal.deadline is not None
        pauses.append(proposal.deadline - now)
        now = proposal.deadline
    assert pauses[0] == pytest.approx(Timing().backoff_s)
    assert pauses == pytest.approx(sorted(pauses))
    assert pauses[-1] == pytest.approx(Timing().backoff_s_max)


def test_a_parked_block_that_reaches_its_quorum_is_pushed(cluster: Cluster) -> None:
    build = cluster.builder
    proposal = a_proposal(cluster)
    proposal.solved(build.solution(proposal.block.block))
    proposal.proposed(0.0)
    assert proposal.review({1: 0.0}, False, 0.0) == ()
    for slot in (1, 2):
        proposal.vote(build.vote(slot, proposal.block.block))
    (effect,) = proposal.review({1: 0.0}, True, 0.0)
    assert proposal.state is State.CERTIFIED
    assert isinstance(effect.message, messages.Push)  # type: ignore[union-attr]


def test_a_solution_that_comes_twice_changes_nothing(cluster: Cluster) -> None:
    cluster.hold_commits = True
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(1)
    (candidate,) = cluster.commits[0].candidates
    before = cluster.nodes[1].agent.in_flight
    cluster.feed(1, events.Solved(candidate.block.block.id, 1))
    assert cluster.nodes[1].agent.in_flight == before


# --- storage ------------------------------------------------------------------------------------------
def pushed(cluster: Cluster, block: Block, **changes: object) -> storage.Decision:
    build = cluster.builder
    votes = tuple(build.vote(slot, block) for slot in (1, 2))
    certificate = build.quorum(block).certificate
    candidate = storage.Candidate(prepared(block), build.solution(block), votes, build.epoch.epoch, None, certificate)
    return cluster.storage.decide(replace(candidate, **changes), cluster.chain)  # type: ignore[arg-type]


def test_storage_refuses_what_is_structurally_wrong(cluster: Cluster) -> None:
    """Spec: SAFE-4."""
    build = cluster.builder
    good = build.block(1, [build.task("a")])
    assert isinstance(pushed(cluster, good), storage.Append)
    for block, reason in (
        (signed(build, 1, parent=bytes(32)), "the parent is not a committed link"),
        (signed(build, 1, parent_height=99), "the parent is not a committed link"),
        (signed(build, 1, epoch=9), "newest"),
    ):
        answer = pushed(cluster, block)
        assert isinstance(answer, messages.Answer)
        assert answer.answer == "refused"
        assert reason in answer.reason
    unsolved = pushed(cluster, good, solution=None)
    assert isinstance(unsolved, messages.Answer)
    assert "not solved" in unsolved.reason


def test_storage_counts_the_votes_itself(cluster: Cluster) -> None:
    """Spec: SAFE-4. The certificate is not trusted."""
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    few = pushed(cluster, block, votes=(build.vote(1, block),))
    assert isinstance(few, messages.Answer)
    assert [few.answer, few.slots] == ["bad-votes", ()]
    forged = pushed(cluster, block, votes=(build.vote(1, block), replace(build.vote(2, block), signature=bytes(64))))
    assert isinstance(forged, messages.Answer)
    assert forged.slots == (2,)
    old = pushed(cluster, block, epoch=1)
    assert isinstance(old, messages.Answer)


def test_a_second_block_of_one_sequence_is_refused_and_the_first_is_itself(cluster: Cluster) -> None:
    build = cluster.builder
    cluster.submit(1, build.task("a"))
    cluster.run()
    proposer_key = build.nodes[1].public.fingerprint
    (sequence,) = [sequence for key, sequence in cluster.chain.proposals if key == proposer_key]
    answer = pushed(cluster, signed(build, 1, sequence=sequence))
    assert isinstance(answer, messages.Answer)
    assert "another block of this sequence number" in answer.reason


def test_a_certificate_of_another_block_is_refused_at_once(cluster: Cluster) -> None:
    build = cluster.builder
    one, two = build.block(1, [build.task("a")]), build.block(1, [build.task("b")])
    push = messages.Push.decode(messages.Push(one, decode_quorum(build, two)).encode())
    (effect,) = cluster.storage.step(events.Pushed(1, prepared(push.block), push.certificate), 0.0)
    assert effect.message.answer == "refused"  # type: ignore[union-attr]


def decode_quorum(build: ChainBuilder, block: Block) -> QuorumCertificate:
    found = certificate.decode(build.quorum(block).certificate or b"")
    assert isinstance(found, QuorumCertificate)
    return found


def test_a_busy_storage_node_says_so(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STORAGE_QUEUE_BYTES_MAX", 1)
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(1)
    assert cluster.modes() == []
    monkeypatch.undo()
    cluster.run()
    assert cluster.modes() == ["quorum"]


def test_a_group_commit_is_bounded(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "APPEND_BATCH_BLOCKS_MAX", 1)
    cluster.hold_commits = True
    for slot in (1, 2, 3):
        cluster.submit(slot, cluster.builder.task(f"t{slot}"))
    cluster.run(1)
    assert [len(commit.candidates) for commit in cluster.commits] == [1]
    assert not cluster.storage.is_idle
    cluster.hold_commits = False
    cluster.run()
    assert cluster.modes() == ["quorum"] * 3


def test_nothing_is_judged_before_an_epoch_is_in_force(cluster: Cluster) -> None:
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    new = storage.Storage(build.storage, build.chain, 1)
    (commit,) = new.step(events.Extended(1, prepared(block), build.solution(block), (), "deadline"), 0.0)
    assert isinstance(commit, storage.Commit)
    with pytest.raises(InvariantViolation, match="before any epoch"):
        new.decide(commit.candidates[0], cluster.chain)


# --- redrafts -----------------------------------------------------------------------------------------
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


# --- membership ---------------------------------------------------------------------------------------
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


# --- messages -----------------------------------------------------------------------------------------
def test_messages_come_back_as_they_were(cluster: Cluster) -> None:
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    vote = build.vote(2, block)
    batch = VerdictBatch(vote.header, vote.signature, (vote.entry,))
    link = cluster.chain.links[-1]
    held = next(b for b in [build.block(1, [build.task("z")])])
    for message in (
        messages.Propose(block),
        messages.Verdicts(batch),
        messages.Push(block, decode_quorum(build, block)),
        messages.Extend(block, build.solution(block), (vote,), "deadline"),
        messages.Extend(block, None, (), "quorum-impossible"),
        messages.Committed(link, None),
        messages.Committed(replace(link, block=held.id), held),
        messages.Answer(block.id, "bad-votes", (1, 2)),
        messages.Answer(block.id, "refused", reason="because"),
    ):
        assert messages.decode(message.kind, message.encode()) == message


def test_malformed_messages_are_refused(cluster: Cluster) -> None:
    build = cluster.builder
    block = build.block(1, [build.task("a")])
    poet = build.poet(block).certificate or b""
    vote = build.vote(2, block)
    twice = messages.Extend(block, None, (vote, vote), "deadline").encode()
    foreign = messages.pack(cluster.chain.links[-1].encode(), block.encode())
    whole = messages.pack(b"ab", b"c")
    for kind, data, reason in (
        (99, b"", "unknown kind 99"),
        (messages.Kind.PUSH, messages.pack(poet, block.encode()), "not a quorum certificate"),
        (messages.Kind.PUSH, whole[:5], "not of 2 parts"),
        (messages.Kind.PUSH, messages.pack(b"ab"), "not of 2 parts"),
        (messages.Kind.PUSH, whole + b"x", "do not add up"),
        (messages.Kind.EXTEND, twice, "must ascend"),
        (messages.Kind.COMMITTED, foreign, "the block is not the one of link"),
        (messages.Kind.ANSWER, b"{}", "missing"),
    ):
        with pytest.raises(DecodeError, match=reason):
            messages.decode(kind, data)


def test_a_batch_of_several_entries_is_counted_entry_by_entry(cluster: Cluster) -> None:
    """One signature for several blocks of one proposer."""
    build = cluster.builder
    cluster.lose = lambda delivery: isinstance(delivery[2], messages.Verdicts)
    for source in ("outbox", "spool"):
        cluster.submit(1, build.task(source), source=source)
    cluster.run(0.5)
    agent = cluster.nodes[1].agent
    assert agent.in_flight == 2
    proposed = list(agent._proposals)
    entries = tuple(Entry(identity, Verdict.VALID) for identity in proposed)
    root = merkle.root([entry.leaf() for entry in entries])
    header = BatchHeader(build.chain, build.epoch.epoch, 2, 99, build.head, build.height, 2, root)
    batch = VerdictBatch(header, build.nodes[2].sign(Domain.VERDICT_BATCH, header.encode()), entries)
    cluster.feed(1, events.VerdictsReceived(2, batch))
    cluster.run()
    assert cluster.modes() == ["quorum", "quorum"]
    assert isinstance(batch.vote(1), Vote)
