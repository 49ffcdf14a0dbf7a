"""Drafts to the last word: what mutation testing (tests/mutation) found no other test to notice."""

from __future__ import annotations

import pytest

from scichain_wf.consensus import drafting
from scichain_wf.consensus.drafting import Drafter
from scichain_wf.consensus.events import Item
from scichain_wf.consensus.timing import Timing
from scichain_wf.consensus.validity import Known
from scichain_wf.model import facts
from scichain_wf.model.canonical import JsonObject
from tests.builders import ChainBuilder
from tests.unit.consensus.cluster import item


class Ledger:
    """Knows the artifacts it is told of, in any version."""

    def __init__(self) -> None:
        self.known: set[str] = set()

    def lookup(self, uri: str, _digest: bytes, /) -> Known:
        return Known.KNOWN if uri in self.known else Known.NEW

    def contains(self, _key: bytes, _transaction: bytes, /) -> bool:
        raise AssertionError("a drafter does not ask for transactions")

    clashes = contains


TIMING = Timing()


@pytest.fixture
def build() -> ChainBuilder:
    return ChainBuilder()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def drafter(ledger: Ledger) -> Drafter:
    return Drafter(ledger, TIMING)


def made(build: ChainBuilder, name: str) -> JsonObject:
    """An artifact that a task made, as its consumers name it."""
    return build.artifact(name, b"1") | {"origin": f"task:make-{name}"}


def sealed(drafter: Drafter) -> list[list[bytes]]:
    """The ids in each draft, all of them sealed."""
    drafter.force()
    drafts = []
    while (draft := drafter.seal(0, 0.0)) is not None:
        drafts.append([i.id for i in draft.items])
    return drafts


def test_a_draft_takes_just_as_many_bytes_as_fit_a_block(
    build: ChainBuilder, drafter: Drafter, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [item(build.task(f"task {number}")) for number in range(4)]
    (size,) = {len(i.data) for i in items}
    monkeypatch.setattr(drafting, "_TRANSACTIONS_BYTES_MAX", 3 * size)
    for i in items:
        drafter.add(i, 0.0)
    assert sealed(drafter) == [[i.id for i in items[:3]], [items[3].id]]


def test_what_is_released_waits_for_its_draft_from_then_on(build: ChainBuilder, drafter: Drafter) -> None:
    drafter.add(item(build.task("use", [made(build, "a")])), 0.0)
    drafter.release(5.0)
    assert drafter.next_time() == 5.0 + TIMING.draft_interval_s


def test_what_a_producer_sets_free_waits_for_its_draft_from_then_on(
    build: ChainBuilder, ledger: Ledger, drafter: Drafter
) -> None:
    """Also in a draft of its own, where its source is another."""
    drafter.add(item(build.task("use", [made(build, "a")]), "spool"), 0.0)
    ledger.known.add(str(build.artifact("a")["uri"]))
    drafter.add(item(build.task("make a again", outputs=[build.artifact("a", b"1")])), 5.0)
    drafts = [draft for draft in (drafter.seal(0, 9.0), drafter.seal(0, 9.0)) if draft is not None]
    assert [(draft.source, draft.ripe) for draft in drafts] == [("outbox", 5.05), ("spool", 5.05)]


def test_one_that_still_waits_does_not_keep_the_next_from_going(build: ChainBuilder, drafter: Drafter) -> None:
    """A draft holds transactions of one source: what one makes is not there yet for those of another."""
    use = [item(build.task(f"use from {source}", [made(build, "a")]), source) for source in ("spool", "outbox")]
    for i in use:
        drafter.add(i, 0.0)
    producer = item(build.task("make a", outputs=[build.artifact("a", b"1")]))
    drafter.add(producer, 0.0)
    assert drafter.held == 1
    assert sealed(drafter) == [[producer.id, use[1].id]]


@pytest.mark.parametrize("before", ["a source", "in the draft", "in the ledger"])
def test_an_input_that_is_there_does_not_hide_the_next_that_is_not(
    build: ChainBuilder, ledger: Ledger, drafter: Drafter, before: str
) -> None:
    first = made(build, "a")
    if before == "a source":
        first["origin"] = "source"
    elif before == "in the draft":
        drafter.add(item(build.task("make a", outputs=[build.artifact("a", b"1")])), 0.0)
    else:
        ledger.known.add(str(first["uri"]))
    drafter.add(item(build.task("use", [first, made(build, "b")])), 0.0)
    assert drafter.held == 1


def test_an_item_states_what_it_needs_and_makes(build: ChainBuilder) -> None:
    record = build.task(
        "t",
        [build.artifact("dir"), build.artifact("u", b"1") | {"unresolved": True}, made(build, "a")],
        [build.artifact("o", b"1"), build.artifact("p")],
    )
    found: Item = item(record)
    (need,) = found.needs
    assert need[0] == build.artifact("a")["uri"]
    assert need[2] == facts.TASK
    assert [digest is None for _, digest in found.outputs] == [False, True]
