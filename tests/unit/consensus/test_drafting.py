"""When a transaction is drafted, and when a draft is sealed."""

from __future__ import annotations

import pytest

from scichain_wf import limits
from scichain_wf.consensus.drafting import Drafter
from scichain_wf.consensus.events import Item
from scichain_wf.consensus.timing import Timing
from scichain_wf.model.transaction import Transaction
from tests.unit.consensus.cluster import Cluster, item


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


def test_what_trickles_in_shares_a_block_with_what_comes_soon_after(cluster: Cluster, drafter: Drafter) -> None:
    """A block costs the same with one transaction as with twelve; who waits is not made to."""
    build, timing = cluster.builder, Timing()
    drafter.add(item(build.task("a")), 0.0)
    assert drafter.seal(0, timing.draft_interval_s) is not None
    rested = timing.draft_interval_s + timing.draft_pause_s
    for number, source in enumerate(("outbox", "spool", "outbox")):
        drafter.add(of_source(build.task(f"b{number}"), source), 0.1)
    assert drafter.seal(0, 0.2) is None
    assert drafter.next_time() == rested
    sealed = [drafter.seal(0, rested), drafter.seal(0, rested)]
    assert [len(draft.items) for draft in sealed if draft] == [2, 1]
    drafter.add(item(build.task("c")), rested + timing.draft_pause_s)  # after a rest it goes as quickly as the first
    assert drafter.next_time() == rested + timing.draft_pause_s + timing.draft_interval_s
    drafter.force()
    assert drafter.seal(0, rested + timing.draft_pause_s) is not None


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


def test_who_waits_for_a_second_producer_keeps_the_deadline_of_the_first(cluster: Cluster, drafter: Drafter) -> None:
    build = cluster.builder
    a, b, c = (build.artifact(name, b"1") for name in "abc")
    drafter.add(item(build.task("two", [a | {"origin": "task:x"}, b | {"origin": "task:y"}])), 0.0)
    drafter.add(item(build.task("one", [c | {"origin": "task:z"}])), 5.0)
    drafter.add(item(build.task("make a", outputs=[a])), 6.0)
    assert [drafter.held, drafter.drafted] == [2, 1]
    drafter.expire(Timing().unresolved_after_s)
    assert [drafter.held, drafter.drafted] == [1, 2]
    drafter.woken(100.0)
    drafter.expire(Timing().unresolved_after_s + 100.0)
    assert [drafter.held, drafter.drafted] == [1, 2]
    drafter.expire(Timing().unresolved_after_s + 105.0)
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
