"""Links applied in order, checked against checkpoints; tails that begin late."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scichain_wf import limits
from scichain_wf.consensus import messages
from scichain_wf.crypto.merkle import CompactRange
from scichain_wf.errors import PeerError, VerificationError
from scichain_wf.ledger.filter import MembershipFilter
from scichain_wf.ledger.keys import uri_key
from scichain_wf.ledger.prepared import prepared
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.link import Link, Mode
from scichain_wf.node import past
from scichain_wf.node.replica import Replica
from scichain_wf.node.tail import Tail
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

    def checkpoint(self) -> bytes:
        note = Checkpoint(self.build.chain, self.tree.size, self.tree.root()).sign(self.build.storage)
        return note.text().encode()


@pytest.fixture
def links() -> Chain:
    return Chain()


@pytest.fixture
def tail(private: Path) -> Iterator[Tail]:
    tail = Tail(private / "a" / "b" / "tail-1")
    yield tail
    tail.close()


def nothing(_: bytes) -> None:
    return None


def test_links_are_applied_in_order_and_checked_against_checkpoints(links: Chain, tail: Tail) -> None:
    replica = Replica(links.build.chain, tail)
    replica.begin(0, [])
    links.block("a")
    for committed in links.sent:
        assert replica.take(committed, nothing) is not None
    assert replica.take(links.sent[0], nothing) is None  # old
    assert not replica.is_behind
    replica.check(links.checkpoint(), links.build.storage.public)
    stale = links.checkpoint()
    replica.take(links.block("b"), nothing)
    replica.check(stale, links.build.storage.public)  # of fewer links: passed over
    assert replica.height == len(links.sent) - 1


def test_a_storage_node_that_shows_another_chain_is_noticed(links: Chain, tail: Tail) -> None:
    replica = Replica(links.build.chain, tail)
    replica.begin(0, [])
    for committed in links.sent:
        replica.take(committed, nothing)
    forged = Checkpoint(links.build.chain, len(links.sent), bytes(32)).sign(links.build.storage).text().encode()
    with pytest.raises(VerificationError, match="signed another chain"):
        replica.check(forged, links.build.storage.public)
    with pytest.raises(VerificationError, match="not signed"):
        replica.check(links.checkpoint(), links.build.authority.public)
    other = links.block("a")
    fork = messages.Committed(replace(other.link, previous=bytes(32)), other.block)
    with pytest.raises(PeerError, match="does not follow"):
        replica.take(fork, nothing)


def test_a_body_comes_from_own_or_remembered_blocks_and_else_is_asked_for(
    links: Chain, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = Replica(links.build.chain, tail)
    replica.begin(0, [])
    for committed in links.sent:
        replica.take(committed, nothing)
    foreign, own, lost = links.block("foreign"), links.block("own"), links.block("lost")
    assert foreign.block is not None
    assert own.block is not None
    for _ in range(2):
        replica.remember(prepared(foreign.block))
    made = prepared(own.block)
    assert replica.take(messages.Committed(foreign.link, None), nothing) is not None
    assert replica.take(messages.Committed(own.link, None), lambda _: made) is not None
    assert replica.take(messages.Committed(lost.link, None), nothing) is None
    behind = [replica.is_behind]
    replica.begin(0, [])
    assert [*behind, replica.is_behind] == [True, False]
    assert replica.take(lost, nothing) is not None
    gap, after = links.block("gap"), links.block("after")
    assert replica.take(after, nothing) is None
    assert replica.is_behind
    assert replica.take(gap, nothing) is not None
    monkeypatch.setattr(limits, "REMEMBERED_BLOCKS_MAX", 0)
    assert after.block is not None
    replica.remember(prepared(after.block))
    assert replica.take(messages.Committed(after.link, None), nothing) is None


def test_a_tail_that_begins_late_knows_nothing_is_new_only_with_a_filter(links: Chain, tail: Tail) -> None:
    build = links.build
    first = links.block("a")
    assert [tail.needs_filter] == [False]  # empty: nothing is asked for yet
    later = links.block("b")
    assert later.block is not None
    replica = Replica(build.chain, tail)
    before = CompactRange()
    for committed in links.sent[: later.link.height]:
        before.append(committed.link.hash)
    replica.begin(later.link.height, list(before.nodes))
    assert replica.take(later, nothing) is not None
    replica.check(links.checkpoint(), build.storage.public)
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
