"""The storage node to the last word: what mutation testing (tests/mutation) found no other test to notice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from scichain_wf import limits
from scichain_wf.consensus import events, storage
from scichain_wf.consensus.effects import Announce, Halt, SendSlot
from scichain_wf.consensus.messages import Answer, Committed
from scichain_wf.consensus.roster import Roster
from scichain_wf.consensus.storage import Commit, Decided, Outcome, Storage, StorageEffect
from scichain_wf.crypto.hashing import Domain
from scichain_wf.errors import VerificationError
from scichain_wf.ledger.prepared import PreparedBlock, prepared
from scichain_wf.model import certificate
from scichain_wf.model.certificate import PoetCertificate
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from scichain_wf.model.link import Annotation, Link, Mark, Mode, annotations_digest
from scichain_wf.model.verdict import Vote
from tests.builders import ChainBuilder
from tests.unit.consensus.cluster import MemoryLedger
from tests.unit.consensus.kit import decode_quorum, roster_of, signed


@pytest.fixture
def build() -> ChainBuilder:
    """A chain of one link on which three nodes joined; without a puzzle."""
    build = ChainBuilder(settings=Settings(difficulty=Difficulty(value=0)))
    build.chain, build.head, build.height = b"c" * 32, b"h" * 32, 0
    build.join_all()
    return build


@pytest.fixture
def node(build: ChainBuilder) -> Storage:
    made = Storage(build.storage, build.chain, 1)
    assert made.step(events.EpochInForce(roster_of(build)), 0.0) == ()
    return made


def a_block(build: ChainBuilder, slot: int = 1) -> PreparedBlock:
    return prepared(build.block(slot, [build.task("a")]))


def extended(block: PreparedBlock, slot: int = 1, votes: tuple[Vote, ...] = ()) -> events.Extended:
    return events.Extended(slot, block, None, votes, "deadline")


def link_of(block: PreparedBlock, *annotations: Annotation) -> Link:
    return Link(1, bytes(32), block.block.id, bytes(32), Mode.POET, 2, annotations, 1, 1)


def candidates(given: Iterable[StorageEffect]) -> list[storage.Candidate]:
    """Those of the only effect, a group commit."""
    (commit,) = given
    assert isinstance(commit, Commit)
    return list(commit.candidates)


def decided(*outcomes: tuple[storage.Candidate, Link | Answer], against: tuple[bytes, ...] = ()) -> Decided:
    """Links are new ones; `against` as in `storage.Appended`."""
    return Decided(
        tuple(
            Outcome(candidate, result if isinstance(result, Answer) else storage.Appended(result, against))
            for candidate, result in outcomes
        )
    )


# --- the queue ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("blocks", "sizes", "more", "together"),
    [(2, 9, 0, 2), (3, 9, 0, 3), (9, 1, 0, 1), (9, 1, 1, 2), (9, 2, 0, 2), (9, 2, 1, 3)],
)
def test_a_group_commit_takes_just_as_much_as_the_limits_say(
    build: ChainBuilder,
    node: Storage,
    monkeypatch: pytest.MonkeyPatch,
    blocks: int,
    sizes: int,
    more: int,
    together: int,
) -> None:
    """It stops once it has reached the bound of bytes, so that the largest block fits any group."""
    first, *rest = (a_block(build) for _ in range(5))
    size = sum(map(len, first.block.transactions))
    monkeypatch.setattr(limits, "APPEND_BATCH_BLOCKS_MAX", blocks)
    monkeypatch.setattr(limits, "APPEND_BATCH_BYTES", sizes * size + more)
    (one,) = candidates(node.step(extended(first), 0.0))
    for block in rest:
        assert node.step(extended(block), 0.0) == ()
    _, commit = node.step(decided((one, Answer(first.block.id, "wait"))), 0.0)
    assert [candidate.block for candidate in candidates([commit])] == rest[:together]


def test_every_block_of_a_group_is_answered(build: ChainBuilder, node: Storage) -> None:
    blocks = [a_block(build, slot) for slot in (3, 1, 2)]
    (first,) = candidates(node.step(extended(blocks[0], 3), 0.0))
    for slot in (1, 2):
        assert node.step(extended(blocks[slot], slot), 0.0) == ()
    waits = [Answer(block.block.id, "wait") for block in blocks]
    told = [SendSlot(slot, answer) for slot, answer in zip((3, 1, 2), waits, strict=True)]
    answer, commit = node.step(decided((first, waits[0])), 0.0)
    assert answer == told[0]
    group = candidates([commit])
    assert node.step(decided((group[0], waits[1]), (group[1], waits[2])), 0.0) == (told[1], told[2])


def test_what_is_to_be_appended_says_of_which_epoch_its_certificate_is(build: ChainBuilder, node: Storage) -> None:
    block = a_block(build)
    proof = decode_quorum(build, block.block)
    expected = storage.Candidate(block, proof.solution, proof.votes, 2, None, proof.encode(), build.nodes[1].public)
    assert candidates(node.step(events.Pushed(1, block, proof), 0.0)) == [expected]


def test_what_has_no_certificate_says_why(build: ChainBuilder, node: Storage) -> None:
    block = a_block(build)
    expected = storage.Candidate(block, None, (), None, "deadline", None, build.nodes[1].public)
    assert candidates(node.step(extended(block), 0.0)) == [expected]


def test_a_signature_that_was_verified_counts_only_for_the_key_that_is_bound(build: ChainBuilder) -> None:
    """A block waits while another process takes its slot: its signature is no longer that of the slot's key."""
    block = a_block(build)
    forged = replace(block, block=replace(block.block, signature=bytes(64)))
    roster = Roster(build.epoch, build.chain)
    assert roster.check_block(forged, build.nodes[1].public) == 1
    for signer in (None, build.nodes[2].public):
        with pytest.raises(VerificationError, match="signature"):
            roster.check_block(forged, signer)


def test_who_sent_a_block_is_answered_once_with_its_id(build: ChainBuilder, node: Storage) -> None:
    blocks = [a_block(build, 3), a_block(build, 2)]
    (one,) = candidates(node.step(extended(blocks[0], 3), 0.0))
    for _ in range(2):
        assert node.step(extended(blocks[1], 2), 0.0) == ()
    refused = Answer(blocks[0].block.id, "refused", reason="no")
    answer, commit = node.step(decided((one, refused)), 0.0)
    assert answer == SendSlot(3, refused)
    (two,) = candidates([commit])
    refused = Answer(blocks[1].block.id, "refused", reason="no")
    assert node.step(decided((two, refused)), 0.0) == (SendSlot(2, refused),)
    assert node.dropped == {"refused": 2}
    assert node.is_idle


def test_who_sent_a_block_and_whose_votes_certify_it_have_its_body(build: ChainBuilder, node: Storage) -> None:
    """Votes that nobody verified prove nothing: forged ones would keep a block from whom they name."""
    block, other = a_block(build), a_block(build)
    certificate = decode_quorum(build, block.block)
    link = link_of(block)
    (candidate,) = candidates(node.step(events.Pushed(1, block, certificate), 0.0))
    holders = frozenset({1, *(vote.header.slot for vote in certificate.votes)})
    assert len(holders) > 1
    assert node.step(decided((candidate, link)), 0.0) == (Announce(Committed(link, block.block), holders),)
    (candidate,) = candidates(node.step(extended(other, 1, (build.vote(3, other.block),)), 0.0))
    link = link_of(other)
    given = node.step(decided((candidate, link)), 0.0)
    assert given == (Announce(Committed(link, other.block), frozenset({1})),)


def test_a_refusal_goes_to_who_sent_the_block_with_the_reason(build: ChainBuilder, node: Storage) -> None:
    block, other = a_block(build, 2), a_block(build, 2)
    why = "the certificate is of another block"
    push = events.Pushed(2, block, decode_quorum(build, other.block))
    assert node.step(push, 0.0) == (SendSlot(2, Answer(block.block.id, "refused", reason=why)),)
    build.chain = b"o" * 32
    foreign = a_block(build, 3)
    why = "the block belongs to another chain"
    assert node.step(extended(foreign, 3), 0.0) == (SendSlot(3, Answer(foreign.block.id, "refused", reason=why)),)


# --- going back in time -------------------------------------------------------------------------------
@pytest.mark.parametrize(("own", "how"), [(None, "does not reach"), (bytes(32), "contradicts")])
def test_a_node_that_halts_says_why_and_answers_who_waits(
    build: ChainBuilder, node: Storage, own: bytes | None, how: str
) -> None:
    """Spec: SAFE-7."""
    under_way, queued = a_block(build), a_block(build, 2)
    (candidate,) = candidates(node.step(extended(under_way, 1), 0.0))
    for _ in range(2):
        node.step(extended(queued, 2), 0.0)
    why = (
        f"slot 2 holds link 9, which this chain {how}: the ledger was rolled back or exchanged, "
        "and nothing is appended to it"
    )

    def put_off(slot: int, block: PreparedBlock) -> SendSlot:
        return SendSlot(slot, Answer(block.block.id, "wait", reason=why))

    given = node.step(events.Presented(2, 9, b"x" * 32, own), 0.0)
    assert given == (put_off(2, queued), Halt(why))
    assert node.step(decided((candidate, link_of(under_way))), 0.0) == (put_off(1, under_way),)
    assert node.step(extended(queued, 2), 0.0) == (put_off(2, queued),)
    assert node.dropped == {why: 3}


@pytest.mark.parametrize(("slots", "enough"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_more_slots_than_can_lie_have_to_say_it(slots: int, enough: int) -> None:
    """Spec: LIVE-1, SAFE-7. Fewer than half of the slots can be liars."""
    build = ChainBuilder(slots=slots)
    build.chain, build.head, build.height = b"c" * 32, b"h" * 32, 0
    build.join_all()
    node = Storage(build.storage, build.chain, 1)
    node.step(events.EpochInForce(Roster(build.epoch, build.chain)), 0.0)
    for slot in range(1, enough + 1):
        given = node.step(events.Presented(slot, 9, b"x" * 32, None, proven=False), 0.0)
        assert [type(effect) for effect in given] == ([Halt] if slot == enough else [])


# --- slots whose transactions are contested -----------------------------------------------------------
def committed(build: ChainBuilder, node: Storage, block: PreparedBlock, now: float, *contested: int) -> None:
    """Take the block, and commit it with these of its transactions contested."""
    slot = roster_of(build).slot_of(block.block.header.proposer)
    assert slot is not None
    (candidate,) = candidates(node.step(extended(block, slot), now))
    marks = [Annotation(index, Mark.CONTESTED) for index in contested]
    link = link_of(block, Annotation(0, Mark.UNRESOLVED), *marks)
    node.step(decided((candidate, link), against=(block.block.header.proposer,) * len(marks)), now)


def test_a_slot_is_slowed_when_more_is_contested_than_the_limit_and_not_before(
    build: ChainBuilder, node: Storage
) -> None:
    """Spec: LIVE-1. The next block is taken a pause after the last, pushed or extended."""
    allowed = limits.CONTESTED_PERMILLE_MAX * limits.CONTESTED_WINDOW // 1_000
    full = prepared(build.block(1, [build.task("a") for _ in range(allowed + 2)]))  # against what it recorded itself
    committed(build, node, full, 0.0, *range(2, allowed + 2))
    for _ in range(4):
        committed(build, node, a_block(build), 0.0)
    committed(build, node, a_block(build), 0.0, 0)
    late = a_block(build)
    slow = Answer(late.block.id, "wait", reason="too much of what this slot stated lately is contested")
    for event in (extended(late), events.Pushed(1, late, decode_quorum(build, late.block))):
        assert node.step(event, limits.CONTESTED_PAUSE_S - 0.001) == (SendSlot(1, slow),)
    committed(build, node, a_block(build, 2), 0.0)
    committed(build, node, late, limits.CONTESTED_PAUSE_S)
    assert node.credit == {1: 7, 2: 1}


# --- the difficulty -----------------------------------------------------------------------------------
class Chain(MemoryLedger):
    """33 links, one a second, of which the newest is the builder's head."""

    def link_hash(self, height: int, /) -> bytes | None:
        return b"h" * 32 if height == 32 else None

    def link_time_us(self, height: int, /) -> int:
        return height * 1_000_000

    def head_height(self) -> int:
        return 32


@pytest.mark.parametrize(("mining", "wanted"), [("own", 0), ("race", 1)])
def test_the_difficulty_counts_on_all_slots_only_where_all_mine(mining: str, wanted: int) -> None:
    """SciChain §4.5: three nodes that race find in a second what one needs three for (18 hashes, 6 each)."""
    settings = Settings(difficulty=Difficulty("adaptive", 0, 1_000, 6), mining=mining)
    build = ChainBuilder(settings=settings)
    build.chain, build.head, build.height = b"c" * 32, b"h" * 32, 32
    build.link_times_us = [height * 1_000_000 for height in range(33)]
    build.join_all()
    node = Storage(build.storage, build.chain, 1)
    node.step(events.EpochInForce(roster_of(build)), 0.0)
    for difficulty in (0, 1):
        block = prepared(signed(build, 1, difficulty=difficulty))
        candidate = storage.Candidate(block, build.solution(block.block), (), 2, "deadline", None)
        decision = node.decide(candidate, Chain())
        assert isinstance(decision, storage.Append) == (difficulty == wanted)


# --- what storage decides -----------------------------------------------------------------------------
class Head(MemoryLedger):
    """A chain of one link."""

    def head_height(self) -> int:
        return 0

    def link_hash(self, height: int, /) -> bytes | None:
        return b"h" * 32 if height == 0 else None


def with_puzzle(settings: Settings) -> tuple[ChainBuilder, Storage]:
    build = ChainBuilder(settings=settings)
    build.chain, build.head, build.height = b"c" * 32, b"h" * 32, 0
    build.join_all()
    node = Storage(build.storage, build.chain, 7)
    node.step(events.EpochInForce(roster_of(build)), 0.0)
    return build, node


def test_a_poet_certificate_says_what_storage_saw() -> None:
    """SciChain Protocol 2: votes that do not hold are left out; the rest is signed."""
    build, node = with_puzzle(Settings())
    block = a_block(build)
    vote, forged = build.vote(2, block.block), replace(build.vote(3, block.block), signature=bytes(64))
    solution = build.solution(block.block)
    candidate = storage.Candidate(block, solution, (vote, forged), 2, "quorum-impossible", None)
    decision = node.decide(candidate, Head())
    assert isinstance(decision, storage.Append)
    found = certificate.decode(decision.certificate)
    assert isinstance(found, PoetCertificate)
    unsigned = (block.block.id, 2, solution, (vote,), 7, "quorum-impossible", annotations_digest(()))
    assert found == PoetCertificate(*unsigned, found.signature)
    assert build.storage.public.is_valid(Domain.STORAGE, found.signature, found.statement())
    assert decision == storage.Append(Mode.POET, decision.certificate, (), 2)


def test_a_conflict_turns_a_certified_block_into_a_poet_link_with_that_reason() -> None:
    """Spec: SAFE-5."""
    build, node = with_puzzle(Settings())
    used = build.artifact("f", b"1")
    chain = Head()
    chain.versions[str(used["uri"])] = [b"2" * 32]
    block = prepared(build.block(1, [build.task("use", [used])]))
    pushed = decode_quorum(build, block.block)
    candidate = storage.Candidate(block, pushed.solution, pushed.votes, 2, None, pushed.encode())
    decision = node.decide(candidate, chain)
    assert isinstance(decision, storage.Append)
    found = certificate.decode(decision.certificate)
    assert isinstance(found, PoetCertificate)
    assert [found.reason, found.votes, decision.mode] == ["conflict", pushed.votes, Mode.POET]
    assert found.annotations == annotations_digest(decision.annotations)
    assert [annotation.mark for annotation in decision.annotations] == [Mark.CONTESTED]


def test_where_slots_have_to_agree_with_storage_the_answer_says_so() -> None:
    """SciChain §3.2. One of three agrees and one more counts for storage: enough; without it, wait."""
    build, node = with_puzzle(Settings(storage_weight=1))
    block = a_block(build)
    candidate = storage.Candidate(block, build.solution(block.block), (), 2, "deadline", None)
    why = "too few slots agree for storage to decide with them"
    assert node.decide(candidate, Head()) == Answer(block.block.id, "wait", reason=why)
    with_vote = replace(candidate, votes=(build.vote(2, block.block),))
    assert isinstance(node.decide(with_vote, Head()), storage.Append)


def test_a_node_that_halted_puts_off_what_it_was_about_to_append() -> None:
    """Spec: SAFE-7."""
    build, node = with_puzzle(Settings())
    block = a_block(build)
    (halt,) = node.step(events.Presented(2, 9, b"x" * 32, None), 0.0)
    assert isinstance(halt, Halt)
    candidate = storage.Candidate(block, build.solution(block.block), (), 2, "deadline", None)
    assert node.decide(candidate, Head()) == Answer(block.block.id, "wait", reason=halt.reason)
