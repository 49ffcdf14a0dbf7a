"""Every checker of safety on hand-made observations: it fires when its promise is broken, and only then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from scichain_wf.consensus import messages
from scichain_wf.crypto.hashing import Domain, sha256
from scichain_wf.crypto.merkle import root
from scichain_wf.model import certificate
from scichain_wf.model.block import Block
from scichain_wf.model.certificate import QuorumCertificate
from scichain_wf.model.link import Annotation, Mark, Mode
from scichain_wf.model.verdict import BatchHeader, Entry, Verdict, VerdictBatch
from scichain_wf.sim import control, observe
from scichain_wf.sim.checking import Premises
from tests.builders import Candidate
from tests.sim.story import Story, broken, verify


def test_an_honest_chain_breaks_nothing() -> None:
    """All checkers at once, over every kind of link."""
    s = Story(Premises(verify, honest=True, live=True, quorate_from=0.0, delta_s=0.1))
    first, second = s.task("a", (), ("x",)), s.task("b", ("x",), ("y",))
    ids = (first.id, second.id)
    s.tell(observe.Submitted(1, ids))
    block = s.builder.block(1, (first, second))
    s.tell(observe.Sent(1, 2, messages.Propose(block)))
    link = s.durable(s.builder.quorum(block))
    again = s.poet(first, marks=[Annotation(0, Mark.DUPLICATE)], reason="conflict")
    s.tell(observe.Sent(0, 1, messages.Committed(link, None)))
    for slot in (1, 2, 3):
        s.tell(*(observe.NodeApplied(slot, one) for one in s.links))
    s.tell(observe.SettledAt(1, ids), observe.PresentedAt(1, again.height, again.hash, True, 0))
    s.now += 9
    s.tell(observe.EndOfRun())


def test_one_link_per_height() -> None:
    """Spec: SAFE-1."""
    s = Story(only="SAFE-1")
    candidate = s.builder.quorum(s.builder.block(1, (s.task("a"),)))
    link = s.durable(candidate)
    with broken("SAFE-1", "a link of height 3 became durable when the chain had 4"):
        s.write(replace(link, time_us=link.time_us + 1), candidate)
    with broken("SAFE-1", "a link of height 5 became durable when the chain had 4"):
        s.write(replace(link, height=5), candidate)
    with broken("SAFE-1", "link 4 does not follow"):
        s.write(replace(link, height=4, previous=s.links[-4].hash), candidate)


def batch(s: Story, slot: int, *verdicts: tuple[Block, Verdict]) -> VerdictBatch:
    reasons = {Verdict.INVALID: sha256(b"why")}
    entries = tuple(Entry(block.id, verdict, reasons.get(verdict)) for block, verdict in verdicts)
    top = root([entry.leaf() for entry in entries])
    header = BatchHeader(s.builder.chain, 2, slot, 1, s.builder.head, s.builder.height, len(entries), top)
    return VerdictBatch(header, s.builder.nodes[slot].sign(Domain.VERDICT_BATCH, header.encode()), entries)


def test_one_valid_per_sequence() -> None:
    """Spec: SAFE-2."""
    s = Story(Premises(verify, liars=frozenset({3})), only="SAFE-2")
    one = s.builder.block(1, (s.task("a"),))
    s.builder.sequences[1] -= 1
    other, unseen = s.builder.block(1, (s.task("b"),)), s.builder.block(1, (s.task("c"),))
    s.tell(*(observe.Sent(1, 2, messages.Propose(block)) for block in (one, other, one)))
    s.tell(observe.Voted(2, b"k", batch(s, 2, (one, Verdict.VALID), (other, Verdict.UNKNOWN), (unseen, Verdict.VALID))))
    s.tell(observe.Voted(2, b"k", batch(s, 2, (one, Verdict.VALID))))
    s.tell(observe.Voted(2, b"later key", batch(s, 2, (other, Verdict.VALID))))
    s.tell(observe.Voted(3, b"liar", batch(s, 3, (one, Verdict.VALID), (other, Verdict.VALID))))
    with broken("SAFE-2", "slot 2 called two blocks of sequence 1"):
        s.tell(observe.Voted(2, b"k", batch(s, 2, (other, Verdict.VALID))))


def test_no_two_verdicts_of_one_block_and_head() -> None:
    """Spec: SAFE-2."""
    s = Story(Premises(verify, liars=frozenset({3})), only="SAFE-2")
    block = s.builder.block(1, (s.task("a"),))
    at = {verdict: batch(s, 2, (block, verdict)) for verdict in Verdict}
    elsewhere = replace(at[Verdict.INVALID], header=replace(at[Verdict.INVALID].header, head=bytes(32)))
    honest = (at[Verdict.VALID], at[Verdict.UNKNOWN], elsewhere, at[Verdict.VALID])
    s.tell(*(observe.Voted(2, b"k", said) for said in honest))
    s.tell(*(observe.Voted(3, b"liar", said) for said in at.values()))
    s.tell(observe.Voted(2, b"later key", at[Verdict.INVALID]))
    with broken("SAFE-2", "slot 2 called one block VALID and INVALID at one head"):
        s.tell(observe.Voted(2, b"k", at[Verdict.INVALID]))


def test_durable_before_sent() -> None:
    """Spec: SAFE-3."""
    s = Story(only="SAFE-3")
    candidate = s.builder.quorum(s.builder.block(1, (s.task("a"),)))
    link = s.link(candidate)
    s.tell(observe.Sent(1, 0, messages.Push(candidate.block, reading_certificate(candidate))))
    with broken("SAFE-3", "link 3 was sent to slot 2 before"):
        s.tell(observe.Sent(0, 2, messages.Committed(link, None)))
    s.write(link, candidate)
    s.tell(observe.Sent(0, 2, messages.Committed(link, candidate.block)))
    with broken("SAFE-3", "link 3 was sent to slot 1 before"):
        s.tell(observe.Sent(0, 1, messages.Committed(replace(link, writer=9), None)))


def test_durable_before_a_query_is_answered() -> None:
    """Spec: SAFE-3."""
    s = Story(only="SAFE-3")
    task, other = s.task("a"), s.task("b")
    s.quorum(task)
    s.tell(observe.Sent(0, 1, control.Known(((task.id, True), (other.id, False)))))
    with broken("SAFE-3", "slot 1 was told of a transaction"):
        s.tell(observe.Sent(0, 1, control.Known(((other.id, True),))))


def reading_certificate(candidate: Candidate) -> QuorumCertificate:
    decoded = certificate.decode(candidate.certificate or b"")
    assert isinstance(decoded, QuorumCertificate)
    return decoded


Break = Callable[[Story, Block], Candidate]


def _few(s: Story, block: Block) -> Candidate:
    return s.builder.quorum(block, [1])


def _other_epoch(s: Story, block: Block) -> Candidate:
    s.builder.epoch = replace(s.builder.epoch, epoch=1)
    return s.builder.quorum(block)


def _votes_of_other_epoch(s: Story, block: Block) -> Candidate:
    s.builder.epoch = replace(s.builder.epoch, epoch=1)
    quorum = reading_certificate(s.builder.quorum(block))
    return Candidate(block, Mode.QUORUM, replace(quorum, epoch=2).encode(), 2)


def _forged_vote(s: Story, block: Block) -> Candidate:
    s.builder.nodes[2] = s.builder.nodes[1]
    return s.builder.quorum(block)


def _wrong_path(s: Story, block: Block) -> Candidate:
    quorum = reading_certificate(s.builder.quorum(block))
    vote = quorum.votes[0]
    votes = (replace(vote, header=replace(vote.header, root=bytes(32))), *quorum.votes[1:])
    return Candidate(block, Mode.QUORUM, replace(quorum, votes=votes).encode(), 2)


def _foreign_slot(s: Story, block: Block) -> Candidate:
    s.builder.nodes[9] = s.builder.nodes[1]
    return s.builder.quorum(block, [1, 9])


def _other_block(s: Story, block: Block) -> Candidate:
    other = s.builder.block(2, (s.task("other"),))
    return Candidate(block, Mode.QUORUM, s.builder.quorum(other).certificate, 2)


def _poet_by_another(s: Story, block: Block) -> Candidate:
    s.builder.storage = s.builder.nodes[1]
    return s.builder.poet(block)


def _other_annotations(s: Story, block: Block) -> Candidate:
    return replace(s.builder.poet(block), annotations=(Annotation(0, Mark.UNRESOLVED, ("x",)),))


def _poet_as_quorum(s: Story, block: Block) -> Candidate:
    return replace(s.builder.poet(block), mode=Mode.QUORUM)


def _of_a_stranger(s: Story, block: Block) -> Candidate:
    s.builder.nodes[1] = s.builder.authority
    stranger = s.builder.block(1, block.transactions)
    return s.builder.quorum(stranger, [2, 3])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (_few, "1 VALID of 3"),
        (_other_epoch, "not of the epoch in force"),
        (_votes_of_other_epoch, "another chain or epoch"),
        (_forged_vote, "slot 2 did not sign"),
        (_wrong_path, "not in its batch"),
        (_foreign_slot, "slot 9 has no key"),
        (_other_block, "another mode or block"),
        (_poet_by_another, "storage did not sign"),
        (_other_annotations, "other annotations"),
        (_poet_as_quorum, "another mode or block"),
        (_of_a_stranger, "not a member"),
    ],
)
def test_certified(make: Break, match: str) -> None:
    """Spec: SAFE-4."""
    s = Story(only="SAFE-4")
    s.quorum(s.task("fine"))
    s.poet(s.task("fine too"))
    candidate = make(s, s.builder.block(1, (s.task("a"),)))
    with broken("SAFE-4", match):
        s.durable(candidate)


def test_certificate_and_block_are_those_the_link_names() -> None:
    """Spec: SAFE-4."""
    s = Story(only="SAFE-4")
    candidate = s.builder.quorum(s.builder.block(1, (s.task("a"),)))
    link = s.link(candidate)
    with broken("SAFE-4", "names another certificate"):
        s.write(replace(link, certificate=bytes(32)), candidate)
    s = Story(only="SAFE-4")
    candidate = s.builder.quorum(s.builder.block(1, (s.task("a"),)))
    with broken("SAFE-4", "another block than the stored one"):
        s.write(s.link(candidate), replace(candidate, block=s.builder.block(2, (s.task("b"),))))


def test_every_input_is_a_source_or_a_recorded_version() -> None:
    """Spec: SAFE-5."""
    s = Story(only="SAFE-5")
    edited = s.task("edited", ("x",), ("y",), b"2")
    unhashed = s.builder.task("unhashed", (), [s.builder.artifact("u")])
    s.quorum(s.task("a", ("source",), ("x",)), s.task("b", ("x",), ("y",)), unhashed)
    s.quorum(s.task("changed source", ("source",), (), b"2"), s.task("any", ("u",), ()))
    s.poet(edited, marks=[Annotation(0, Mark.CONTESTED, ("x",))])
    s.quorum(s.task("an output of what is contested counts", ("y",), (), b"2"))
    s.poet(s.task("a copy adds nothing", (), ("z",), b"3"), marks=[Annotation(0, Mark.DUPLICATE)])
    s.quorum(s.task("so z is a source", ("z",), (), b"9"))
    with broken("SAFE-5", "link 9, transaction 1: .*no recorded version"):
        s.quorum(s.task("fine", ("x",)), s.task("not", ("x",), (), b"7"))


def test_an_input_whose_producer_is_named_and_not_recorded_is_marked() -> None:
    """Spec: SAFE-5."""
    s = Story(only="SAFE-5")
    artifact = s.builder.artifact("f", b"1") | {"origin": "task:" + "0" * 32}
    s.quorum(s.builder.task("declared", [artifact | {"unresolved": True}]))
    s.poet(s.builder.task("marked", [artifact]), marks=[Annotation(0, Mark.UNRESOLVED, ("f",))])
    with broken("SAFE-5", "its producer is not recorded"):
        s.quorum(s.builder.task("neither", [artifact]))


def test_committed_once() -> None:
    """Spec: SAFE-6."""
    s = Story(only="SAFE-6")
    task = s.task("a")
    s.quorum(task, s.task("b"))
    s.poet(task, marks=[Annotation(0, Mark.DUPLICATE)])
    with broken("SAFE-6", "transaction 1 of link 5 was committed in link 3"):
        s.quorum(s.task("c"), task)
    with broken("SAFE-6", "transaction 1 of link 6 was committed in link 6"):
        s.quorum(other := s.task("d"), other)


def test_a_rolled_back_storage_stops() -> None:
    """Spec: SAFE-7."""
    s = Story(only="SAFE-7")
    link = s.quorum(s.task("a"))
    s.tell(observe.PresentedAt(1, link.height, link.hash, True, 0), observe.PresentedAt(2, -1, bytes(32), True, 0))
    s.quorum(s.task("b"))
    s.tell(observe.Restored(3))
    s.links, s.process = s.links[:3], 1
    s.builder.linked(s.links[-1])
    s.quorum(s.task("c"))  # nobody has shown it anything yet
    s.tell(observe.PresentedAt(1, link.height, link.hash, True, 1))
    with broken("SAFE-7", "link 4 was appended"):
        s.quorum(s.task("d"))
    s.process = 2
    s.tell(observe.PresentedAt(1, 99, link.hash, True, 2))
    with broken("SAFE-7", "link 5 was appended"):
        s.quorum(s.task("e"))


def test_words_of_fewer_than_half_do_not_stop_storage() -> None:
    """Spec: SAFE-7. One liar of three may say what it likes."""
    s = Story(only="SAFE-7")
    s.tell(observe.PresentedAt(1, 99, b"1", False, 0), observe.PresentedAt(1, 98, b"2", False, 0))
    s.quorum(s.task("a"))
    s.tell(observe.PresentedAt(1, 0, s.links[0].hash, False, 0), observe.PresentedAt(2, 99, b"3", False, 0))
    s.quorum(s.task("b"))
    s.tell(observe.PresentedAt(3, 99, b"3", False, 0))
    with broken("SAFE-7", "link 5 was appended"):
        s.quorum(s.task("c"))


def test_one_writer() -> None:
    """Spec: SAFE-8."""
    s = Story(only="SAFE-8")
    s.tell(observe.Crashed(1), observe.Restarted(1))
    s.quorum(s.task("a"))
    s.tell(observe.Crashed(0))
    with broken("SAFE-8", "link 4 was written by storage process 0"):
        s.quorum(s.task("b"))
    s.tell(observe.Restarted(0))
    with broken("SAFE-8", "link 5 was written by storage process 0"):
        s.quorum(s.task("c"))
    s.process = 1
    s.quorum(s.task("d"))
    candidate = s.builder.quorum(s.builder.block(1, (s.task("e"),)))
    with broken("SAFE-8", "of writer 0, after one of writer 1"):
        s.write(replace(s.link(candidate), writer=0), candidate)
