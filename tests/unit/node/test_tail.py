"""A tail under the core's replica; tails that begin late, and the filter of what was before them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from scichain_wf.consensus import messages
from scichain_wf.consensus.replica import Replica
from scichain_wf.consensus.timing import Timing
from scichain_wf.crypto.merkle import CompactRange
from scichain_wf.ledger.filter import MembershipFilter
from scichain_wf.ledger.keys import uri_key
from scichain_wf.ledger.prepared import prepared
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.link import Link, Mode
from scichain_wf.node import past
from scichain_wf.node.tail import Tail
from scichain_wf.node.tasks import Tasks
from tests.builders import Candidate, ChainBuilder


class Chain:
    """Links as storage would send them."""

    def __init__(self) -> None:
        self.build = ChainBuilder()
        self.sent: list[messages.Committed] = []
        self.tree = CompactRange()
        self.add(Candidate(self.build.genesis, Mode.EPOCH, None, 0))
        for candidate in self.build.join_all():
            self.add(candidate)

    def add(self, candidate: Candidate) -> messages.Committed:
        previous = self.sent[-1].link.hash if self.sent else bytes(32)
        digest = None if candidate.certificate is None else bytes(32)
        link = Link(len(self.sent), previous, candidate.block.id, digest, candidate.mode, candidate.epoch, (), 1, 1)
        self.build.linked(link)
        self.tree.append(link.hash)
        self.sent.append(messages.Committed(link, candidate.block))
        return self.sent[-1]

    def block(self, name: str) -> messages.Committed:
        build = self.build
        return self.add(build.quorum(build.block(1, [build.task(name, outputs=[build.artifact(name, b"1")])])))


@pytest.fixture
def links() -> Chain:
    return Chain()


@pytest.fixture
def tail(private: Path) -> Iterator[Tail]:
    tail = Tail(private / "a" / "b" / "tail-1")
    yield tail
    tail.close()


def test_a_tail_that_begins_late_knows_nothing_is_new_only_with_a_filter(links: Chain, tail: Tail) -> None:
    build = links.build
    first = links.block("a")
    assert [tail.needs_filter] == [False]  # empty: nothing is asked for yet
    later = links.block("b")
    assert later.block is not None
    replica = Replica(build.chain, tail, Timing())
    before = CompactRange()
    for committed in links.sent[: later.link.height]:
        before.append(committed.link.hash)
    replica.begin(later.link.height, before.nodes, ())
    replica.take(later.link, prepared(later.block))
    ready = replica.ready(lambda _: None)
    assert ready is not None
    replica.apply(*ready)
    assert tail.covers_from == later.link.height
    uris = {name: str(build.artifact(name)["uri"]) for name in ("a", "b", "c")}
    needed = [tail.needs_filter]
    assert tail.lookup(uris["c"], bytes(32)) == "unknown"
    produced = MembershipFilter(tail.salt, [uri_key(uris["a"])])
    assert not tail.adopt(produced.encode(), 0)
    assert tail.adopt(produced.encode(), later.link.height)
    assert [*needed, tail.needs_filter] == [True, False]
    assert [str(tail.lookup(uris[name], bytes(32))) for name in "abc"] == ["unknown", "other", "new"]
    record = prepared(later.block)
    key = bytes.fromhex(str(record.parsed[0]["key"]))
    assert tail.contains(key, record.leaves[0])
    assert not tail.clashes(key, record.leaves[0])
    assert tail.clashes(key, bytes(32))
    assert tail.link_hash(-1) is None
    assert tail.link_hash(first.link.height) is None


def test_the_filter_of_the_past_holds_exactly_what_was_produced_before(tmp_path: Path) -> None:
    build = ChainBuilder()
    with ChainStore.create(tmp_path / "ledger", build.genesis) as store:
        with store.view() as view:
            build.linked(view.head())

        def append(candidate: Candidate) -> None:
            with store.begin() as batch:
                link = batch.append(
                    prepared(candidate.block),
                    mode=candidate.mode,
                    certificate=candidate.certificate,
                    epoch=candidate.epoch,
                    writer=1,
                    time_us=1,
                )
            build.linked(link)

        for candidate in build.join_all():
            append(candidate)
        for number in range(40):
            task = build.task(f"t{number}", outputs=[build.artifact(f"f{number}", b"1")])
            append(build.quorum(build.block(1, [task])))

        async def read(function: object) -> list[bytes]:
            with store.view() as view:
                return function(view)  # type: ignore[operator, no-any-return]

        encoded = asyncio.run(past.filter_below(read, 23, bytes(16)))
    found = MembershipFilter.decode(encoded)
    keys = [uri_key(str(build.artifact(f"f{number}")["uri"])) for number in range(40)]
    assert [key in found for key in keys] == [True] * 20 + [False] * 20


def test_filters_are_made_one_at_a_time_for_each_agent() -> None:
    """Of what an agent asks meanwhile, the last counts."""

    async def play() -> list[tuple[int, int]]:
        sent: list[tuple[int, int]] = []
        failed: list[BaseException] = []
        reads: list[int] = []
        may_read = asyncio.Event()

        async def read(_: object) -> list[bytes]:
            reads.append(len(sent))
            await may_read.wait()
            return []

        tasks = Tasks(failed.append)
        filters = past.Filters(read, tasks.spawn, lambda slot, height, _: sent.append((slot, height)))
        for height in range(1, 10):
            filters.want(1, height, bytes(16))
            await asyncio.sleep(0)
        filters.want(2, 5, bytes(16))
        await asyncio.sleep(0)
        assert len(reads) == 2
        may_read.set()
        for _ in range(20):
            await asyncio.sleep(0)
        filters.want(1, 11, bytes(16))
        for _ in range(20):
            await asyncio.sleep(0)
        assert (len(reads), failed) == (4, [])
        return sent

    sent = asyncio.run(play())
    assert sorted(sent[:3]) == [(1, 1), (1, 9), (2, 5)]
    assert sent[3] == (1, 11)
