"""The parts of the processes that can be looked at alone: wire, flush board, replica, intake, shared memory."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scichain_wf import limits
from scichain_wf.client.outbox import OutboxWriter, create_outbox, outbox_directory
from scichain_wf.client.spool import write_spool
from scichain_wf.consensus import membership, messages
from scichain_wf.crypto.merkle import CompactRange
from scichain_wf.errors import LedgerError, PeerError, VerificationError
from scichain_wf.ledger.filter import MembershipFilter
from scichain_wf.ledger.keys import uri_key
from scichain_wf.ledger.prepared import prepared
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.link import Link, Mode
from scichain_wf.node import past, process, shm, wire
from scichain_wf.node.flushing import FlushBoard, Status
from scichain_wf.node.intake import Intake, OutboxSource, SpoolSource
from scichain_wf.node.log import Log
from scichain_wf.node.replica import Replica
from scichain_wf.node.tail import Tail
from tests.builders import Candidate, ChainBuilder, signing_key


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another place than the host's shared memory."""
    monkeypatch.setattr(shm, "outbox_directory", lambda chain, slot: outbox_directory(chain, slot, tmp_path))
    return tmp_path


# --- wire ---------------------------------------------------------------------------------------------
def test_a_join_survives_the_wire() -> None:
    authority, token = signing_key(1, "a"), signing_key(1, "t")
    issued = membership.issue_token(authority, bytes(32), 1, 3, token)
    join = membership.bind(issued, bytes(32), signing_key(1, "k").public, "host")
    assert wire.join_from(wire.decoded(wire.encoded(wire.join_value(join)))) == join


@pytest.mark.parametrize(
    "change",
    [{"token": "zz"}, {"key": "00"}, {"binding": "00"}, {"certificate": "00"}, {"slot": -1}, {"host": 5}],
)
def test_a_malformed_join_is_the_peers_fault(change: dict[str, object]) -> None:
    authority, token = signing_key(1, "a"), signing_key(1, "t")
    issued = membership.issue_token(authority, bytes(32), 1, 3, token)
    value = wire.join_value(membership.bind(issued, bytes(32), signing_key(1, "k").public, "host"))
    with pytest.raises(PeerError):
        wire.join_from(value | change)


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b"1" * 5_000, b"[" * 100_000])
def test_what_is_no_object_is_refused(payload: bytes) -> None:
    with pytest.raises(PeerError):
        wire.decoded(payload)
    with pytest.raises(PeerError):
        process.decoded(payload[:1_000])


def test_addresses_and_queries_are_checked() -> None:
    assert wire.address({"a": ["127.0.0.1", 5]}, "a") == ("127.0.0.1", 5)
    with pytest.raises(PeerError):
        wire.address({"a": ["127.0.0.1"]}, "a")
    asked = [(bytes([n]) * 16, bytes([n]) * 32) for n in range(3)]
    assert wire.queried(wire.query(asked)) == asked
    for payload in (bytes(47), bytes(48 * (limits.QUERY_TRANSACTIONS_MAX + 1))):
        with pytest.raises(PeerError):
            wire.queried(payload)


# --- log ----------------------------------------------------------------------------------------------
def test_log_lines_are_json_and_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log("slot-1")
    log.info("a\nb", path="x\ny")
    log.warning("w" * 10_000)
    log.error("e", reason=ValueError("no"))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["level"] for line in lines] == ["info", "warning", "error"]
    assert lines[0]["event"] == "a\nb"
    assert len(lines[1]["event"]) == 2_000
    assert lines[2]["reason"] == "no"


# --- flush board --------------------------------------------------------------------------------------
IDLE = Status(done=False, pending=1, committed=0, quiet=True, held=1, height=5)
DONE = Status(done=True, pending=0, committed=3, quiet=True, held=0, height=5)


def test_a_flush_is_done_when_every_living_agent_says_so() -> None:
    board = FlushBoard(1, {1, 2, 3}, drain=False)
    board.report(9, DONE)
    board.report(1, DONE)
    board.report(2, IDLE)
    assert not board.is_done()
    assert board.progress == (3, 1)
    board.report(2, DONE)
    board.lost(3)
    assert board.is_done()
    board.again(1)
    assert not board.is_done()


def test_held_transactions_are_released_once_nothing_is_under_way_anywhere() -> None:
    board = FlushBoard(1, {1, 2}, drain=False)
    board.report(1, IDLE)
    assert not board.should_release(5)  # slot 2 has not said
    board.report(2, replace(DONE, height=4))
    assert not board.should_release(5)  # it has not seen the newest link
    board.report(2, DONE)
    assert not board.should_release(6)
    assert board.should_release(5)
    assert not board.should_release(5)  # each report counts once
    board.report(1, replace(IDLE, quiet=False))
    assert not board.should_release(5)
    board.report(1, DONE)
    assert not board.should_release(5)  # nobody holds anything
    assert board.is_done()


# --- replica and tail ---------------------------------------------------------------------------------
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


# --- intake -------------------------------------------------------------------------------------------
@pytest.fixture
def outbox(private: Path) -> Path:
    directory = outbox_directory(bytes(32), 1, private)
    create_outbox(directory)
    return directory


def test_files_are_removed_when_everything_in_them_is_committed(outbox: Path, tmp_path: Path) -> None:
    """Spec: LOSS-1."""
    build = ChainBuilder()
    intake = Intake(build.chain, tmp_path / "refused", Log("test"))
    source = OutboxSource(outbox, asks=False)
    records = [build.task(f"t{number}") for number in range(3)]
    child = os.fork()
    if child == 0:
        writer = OutboxWriter(outbox)
        for record in records:
            writer.append(record.encode())
        os._exit(0)
    os.waitpid(child, 0)
    items, more = intake.read(source)
    assert [item.id for item in items] == [record.id for record in records]
    assert not more
    assert [intake.pending, intake.taken] == [3, 3]
    intake.settled(tuple(item.id for item in items[:2]))
    intake.read(source)
    assert list(outbox.iterdir())
    assert not source.is_finished()
    assert intake.is_settled(2)
    assert not intake.is_settled(3)
    intake.settled((items[2].id, items[2].id))
    intake.read(source)
    assert not list(outbox.iterdir())
    assert source.is_finished()
    source.remove()
    assert not outbox.exists()


def test_an_outbox_is_taken_in_by_small_bites_and_whole(
    outbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec: LOSS-1. A flush may only believe to have read everything when it has."""
    monkeypatch.setattr(limits, "LOOK_TRANSACTIONS_MAX", 4)
    monkeypatch.setattr(limits, "OUTBOX_READ_BYTES_MAX", 6_000)  # about ten records: a call does not give all
    build = ChainBuilder()
    intake = Intake(build.chain, tmp_path / "refused", Log("test"))
    source = OutboxSource(outbox, asks=False)
    writer = OutboxWriter(outbox)
    for number in range(30):
        writer.append(build.task(f"t{number}").encode())
    sizes, more = [], True
    while more:
        items, more = intake.read(source)
        sizes.append(len(items))
    assert sum(sizes) == 30
    assert max(sizes) == 4
    for number in range(5):
        writer.append(build.task(f"u{number}").encode())
    assert len(intake.read(source)[0]) == 4
    writer.append(build.task("came meanwhile").encode())
    assert [(len(items), more) for items, more in (intake.read(source), intake.read(source))] == [(1, True), (1, False)]
    source.close()


def test_a_full_intake_lets_the_outbox_wait(outbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "POOL_TRANSACTIONS_MAX", 1)
    build = ChainBuilder()
    intake = Intake(build.chain, tmp_path / "refused", Log("test"))
    source = OutboxSource(outbox, asks=False)
    writer = OutboxWriter(outbox)
    writer.append(build.task("a").encode())
    (item,), _ = intake.read(source)
    writer.append(build.task("b").encode())
    assert intake.read(source) == ([], True)
    intake.settled((item.id,))
    items, _ = intake.read(source)
    assert len(items) == 1


def test_what_others_left_is_asked_about_first(private: Path, tmp_path: Path) -> None:
    """Spec: SAFE-6."""
    build = ChainBuilder()
    intake = Intake(build.chain, tmp_path / "refused", Log("test"))
    spool = SpoolSource(tmp_path / "spool", Log("test"))
    records = [build.task("a"), build.task("b")]
    for record in records:
        write_spool(tmp_path / "spool", record.encode())
    link = tmp_path / "spool" / "new" / "0.tx"
    link.symlink_to(tmp_path / "elsewhere")
    assert intake.read(spool) == ([], False)
    assert intake.questions() == [(bytes(record.key), record.id) for record in records]
    assert intake.read(spool) == ([], False)  # known already, and the symlink is left where it is
    (item,) = intake.answered({records[0].id: True, records[1].id: False, bytes(32): True})
    assert [item.id, item.source] == [records[1].id, "spool"]
    assert intake.questions() == []
    assert not spool.is_finished()
    intake.given_up({item.id: item.data}, "no")
    assert spool.is_finished()
    assert len(list((tmp_path / "refused" / "new").iterdir())) == 1
    assert list((tmp_path / "spool" / "new").iterdir()) == [link]


def test_an_outbox_is_held_by_one_process(outbox: Path) -> None:
    first = OutboxSource(outbox, asks=False)
    with pytest.raises(LedgerError, match="in use by another agent"):
        OutboxSource(outbox, asks=True)
    first.close()
    first.close()
    OutboxSource(outbox, asks=True).close()


# --- shared memory ------------------------------------------------------------------------------------
def test_leftovers_of_the_dead_are_set_aside_and_tails_removed(private: Path) -> None:
    chain = bytes(32)
    assert shm.leftovers(chain) == []
    assert not shm.has_outboxes(chain)
    for slot in (1, 2):
        shm.make(outbox_directory(chain, slot, private))
    shm.make(shm.tail_directory(chain, 1))
    held = shm.hold(outbox_directory(chain, 2, private))
    assert [path.name[:6] for path in shm.orphans(chain)] == ["drain."]
    assert shm.has_outboxes(chain)
    os.close(held)
    found = shm.leftovers(chain)
    assert len(found) == 2
    assert all(path.name.startswith("drain.") for path in found)
    assert not shm.tail_directory(chain, 1).exists()
    shm.remove_empty(chain)
    assert shm.chain_directory(chain).exists()  # something is in it
    for path in found:
        shm.remove(path)
    shm.remove_empty(chain)
    assert not shm.chain_directory(chain).parent.exists()


def test_an_outbox_whose_owner_does_not_end_stops_the_start(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AGENT_END_TIMEOUT_S", 0.05)
    chain = bytes(32)
    shm.make(outbox_directory(chain, 1, private))
    held = shm.hold(outbox_directory(chain, 1, private))
    with pytest.raises(LedgerError, match="an agent of an earlier run does not end"):
        shm.leftovers(chain)
    os.close(held)

