"""The checkers of liveness, convergence, honesty and loss: each fires when its promise is broken, and only then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scichain_wf.consensus import messages
from scichain_wf.crypto.merkle import inclusion_path, leaf_hash, root
from scichain_wf.model.bodies import Kind
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.link import Annotation, Mark
from scichain_wf.sim import observe, reading
from scichain_wf.sim.checking import Premises
from tests.sim.story import Story, broken, verify


def test_everything_is_committed() -> None:
    """Spec: LIVE-1."""
    s = Story(Premises(verify, live=True, liars=frozenset({3})), only="LIVE-1")
    task, late, gone = s.task("a"), s.task("b"), s.task("c")
    s.tell(observe.Submitted(1, (task.id, late.id)), observe.Submitted(2, (gone.id,)), observe.Submitted(3, (b"l",)))
    s.quorum(task)
    s.tell(observe.NodeLost(2))
    with broken("LIVE-1", r"1 transactions of slots \[1\]"):
        s.tell(observe.EndOfRun())
    s.quorum(late)
    s.tell(observe.Submitted(1, (late.id,)), observe.EndOfRun())
    unpromised = Story(only="LIVE-1")
    unpromised.tell(observe.Submitted(1, (b"x",)), observe.EndOfRun())


def test_a_quorum_suffices() -> None:
    """Spec: LIVE-2."""
    s = Story(Premises(verify, quorate_from=5.0), only="LIVE-2")
    early = s.builder.block(1, (s.task("a"),))
    s.tell(observe.Sent(1, 2, messages.Propose(early)))
    s.now = 6.0
    s.durable(s.builder.poet(early))
    conflict = s.builder.block(1, (s.task("b"),))
    s.tell(observe.Sent(1, 2, messages.Propose(conflict)))
    s.durable(s.builder.poet(conflict, reason="conflict"))
    late = s.builder.block(1, (s.task("c"),))
    s.tell(observe.Sent(1, 2, messages.Propose(late)), observe.Sent(1, 3, messages.Propose(late)))
    with broken("LIVE-2", "storage's own verdict: deadline"):
        s.durable(s.builder.poet(late))


def test_equal_heights_hold_equal_links() -> None:
    """Spec: CONV-1."""
    s = Story(Premises(verify, liars=frozenset({3})), only="CONV-1")
    link = s.quorum(s.task("a"))
    s.tell(observe.NodeApplied(1, link), observe.NodeApplied(3, replace(link, writer=7)))
    with broken("CONV-1", "slot 2 holds another link 3"):
        s.tell(observe.NodeApplied(2, replace(link, writer=7)))
    s.quorum(s.task("b"))
    with broken("CONV-1", "slot 1 applied link 5 after link 3"):
        s.tell(observe.NodeApplied(1, s.quorum(s.task("c"))))
    s.tell(observe.Crashed(1), observe.NodeApplied(1, s.links[-1]))


def test_all_hold_the_same_chain_after_healing() -> None:
    """Spec: CONV-1."""
    s = Story(Premises(verify, live=True), only="CONV-1")
    link = s.quorum(s.task("a"))
    for slot in (1, 2, 3):
        s.tell(observe.NodeApplied(slot, link))
    s.tell(observe.EndOfRun())
    newest = s.quorum(s.task("b"))
    s.tell(observe.NodeApplied(1, newest), observe.NodeApplied(3, newest), observe.Crashed(3))
    with broken("CONV-1", r"other heights than 4: \{2: 3\}"):
        s.tell(observe.EndOfRun())


def delayed() -> Story:
    """Three slots hold the head since long; storage is at most 0.1 s away."""
    s = Story(Premises(verify, delta_s=0.1), only="CONV-1")
    for slot in (1, 2, 3):
        s.tell(observe.NodeApplied(slot, s.links[-1]))
    s.now += 9
    return s


def test_more_than_half_hold_what_storage_had() -> None:
    """Spec: CONV-1. SciChain §3.3."""
    s = delayed()
    link = s.quorum(s.task("a"))
    s.tell(observe.NodeApplied(1, link))
    s.now += 0.19
    s.tell(observe.NodeApplied(2, link))
    s.now += 0.2
    s.quorum(s.task("b"))
    s.now += 0.3
    with broken("CONV-1", r"only slots \[\] hold link 4 after 2Δ; \[1, 2, 3\] could hear storage"):
        s.tell(observe.NodeApplied(3, link))


@pytest.mark.parametrize("endpoints", [{0}, {2, 3}, set()])
def test_a_disturbed_half_may_lag(endpoints: set[int]) -> None:
    """Spec: CONV-1."""
    s = delayed()
    s.tell(observe.Disturbed("cut", frozenset(endpoints), over=False))
    s.quorum(s.task("a"))
    s.now += 0.3
    s.tell(observe.Disturbed("cut", frozenset(endpoints), over=True))
    s.quorum(s.task("b"))
    s.now += 5
    s.tell(*(observe.NodeApplied(slot, link) for link in s.links[-2:] for slot in (1, 2, 3)))
    s.quorum(s.task("c"))
    s.now += 0.3
    with broken("CONV-1", "hold link 5 after 2Δ"):
        s.tell(observe.Restarted(1), observe.Crashed(2))


def test_nothing_is_contested_among_honest_nodes() -> None:
    """Spec: HONEST-1."""
    s = Story(Premises(verify, honest=True), only="HONEST-1")
    s.poet(s.task("a"), marks=[Annotation(0, Mark.UNRESOLVED, ("x",))])
    s.poet(s.task("a"), marks=[Annotation(0, Mark.DUPLICATE)])
    with broken("HONEST-1", "transaction 0 of link 5 is contested"):
        s.poet(s.task("b"), marks=[Annotation(0, Mark.CONTESTED, ("x",))])
    statement: JsonObject = {"bytes": "{}", "signature": "0" * 128}
    body: JsonObject = {"about": "header", "statements": [statement, statement]}
    with broken("HONEST-1", "link 6 holds evidence"):
        s.quorum(s.builder.transaction(Kind.EVIDENCE, body))
    liars = Story(only="HONEST-1")
    liars.poet(liars.task("b"), marks=[Annotation(0, Mark.CONTESTED, ("x",))])
    liars.quorum(liars.builder.transaction(Kind.EVIDENCE, body))


@pytest.mark.parametrize("end", [observe.Crashed(0), observe.NodeLost(2), observe.EndOfRun()])
def test_what_was_said_to_be_committed_is_durable(end: observe.Observation) -> None:
    """Spec: LOSS-1."""
    s = Story(Premises(verify, liars=frozenset({3})), only="LOSS-1")
    task = s.task("a")
    s.tell(observe.SettledAt(3, (b"liar",)), observe.SettledAt(1, (task.id,)))
    s.quorum(task)
    s.tell(end)
    s.tell(observe.SettledAt(1, (task.id, b"never")))
    with broken("LOSS-1", "1 transactions were said to be committed"):
        s.tell(end)


def test_a_duplicate_of_nothing_would_be_a_loss() -> None:
    """Spec: LOSS-1."""
    s = Story(only="LOSS-1")
    task = s.task("a")
    s.quorum(task)
    s.poet(task, marks=[Annotation(0, Mark.DUPLICATE)])
    with broken("LOSS-1", "transaction 0 of link 5 is a duplicate of nothing"):
        s.poet(s.task("b"), marks=[Annotation(0, Mark.DUPLICATE)])


def test_storage_put_back_excuses_what_it_must() -> None:
    """What an older image makes impossible is not held against anybody; the rest is."""
    s = Story(Premises(verify, live=True, honest=True))
    lost = s.task("lost")
    s.tell(observe.Submitted(1, (lost.id,)))
    link = s.quorum(lost)
    s.tell(observe.NodeApplied(1, link), observe.SettledAt(1, (lost.id,)))
    s.tell(observe.Crashed(0), observe.Restored(3), observe.Restarted(0))
    s.links, s.process = s.links[:3], 1
    s.builder.linked(s.links[-1])
    other = s.quorum(again := s.task("b"), lost)
    s.tell(observe.NodeApplied(2, other), observe.EndOfRun())
    with broken("SAFE-6", "was committed in link 3"):
        s.quorum(again)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 13])
def test_a_path_is_walked_to_its_root(size: int) -> None:
    """The checkers' own walk agrees with the trees of the product, and refuses what does not fit."""
    leaves = [leaf_hash(bytes([n])) for n in range(size)]
    for index, leaf in enumerate(leaves):
        path = inclusion_path(leaves, index)
        assert reading.root_of(leaf, index, size, path) == root(leaves)
        assert reading.root_of(leaf, index, size, [*path, leaf]) is None
        assert reading.root_of(leaf, size, size, path) is None
        assert size == 1 or reading.root_of(leaf, index, size, path[:-1]) is None


@pytest.mark.parametrize("slots", range(1, 201))
def test_quorums_are_counted(slots: int) -> None:
    """More than half; and under the byzantine rule any two quorums share more slots than can lie."""
    majority = next(votes for votes in range(slots + 1) if reading.is_quorum(votes, slots, "majority"))
    assert majority > slots - majority
    assert majority - 1 <= slots - (majority - 1)
    byzantine = next(votes for votes in range(slots + 1) if reading.is_quorum(votes, slots, "byzantine"))
    liars = max(f for f in range(slots) if 3 * f < slots)
    assert 2 * byzantine - slots > liars
    assert 2 * (byzantine - 1) - slots <= liars
