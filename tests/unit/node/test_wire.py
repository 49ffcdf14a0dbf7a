"""What processes say to each other, the log, and the flush board."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, cast

import pytest

from scichain_wf import limits
from scichain_wf.consensus import membership
from scichain_wf.errors import PeerError
from scichain_wf.node import process, wire
from scichain_wf.node.flushing import FlushBoard, Flusher, Status
from scichain_wf.node.log import Log
from tests.builders import signing_key

if TYPE_CHECKING:
    from scichain_wf.node.members import Members


def test_a_join_survives_the_wire() -> None:
    authority, token = signing_key(1, "a"), signing_key(1, "t")
    issued = membership.issue_token(authority, bytes(32), 1, 3, token)
    join = membership.bind(issued, bytes(32), signing_key(1, "k").public, "host")
    assert wire.join_from(wire.decoded(wire.encoded(wire.join_value(join)))) == join


@pytest.mark.parametrize(
    "change",
    [
        {"token": "zz"},
        {"key": "00"},
        {"binding": "00"},
        {"certificate": "00"},
        {"slot": -1},
        {"host": 5},
        {"host": ""},  # could not be recorded: the storage node ended over it
        {"host": "\ud800"},
    ],
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
    assert wire.address({"a": ["fe80::1", 65_535]}, "a") == ("fe80::1", 65_535)
    strange = ["127.0.0.1"], ["a\0b", 5], ["localhost", 5], ["127.0.0.1", 0], ["127.0.0.1", 65_536], "127.0.0.1:5"
    scoped = ["fe80::1%eth0", 5], ["fe80::1%" + "a" * 300, 5], ["fe80::1%\ud800", 5]  # what dials these raises anything
    for wrong in (*strange, *scoped, ["127.0.0.1", True]):
        with pytest.raises(PeerError, match="not an address"):  # others would dial it
            wire.address({"a": wrong}, "a")
    asked = [(bytes([n]) * 16, bytes([n]) * 32) for n in range(3)]
    assert wire.queried(wire.query(asked)) == asked
    for payload in (bytes(47), bytes(48 * (limits.QUERY_TRANSACTIONS_MAX + 1))):
        with pytest.raises(PeerError):
            wire.queried(payload)


@pytest.mark.parametrize("salt", ["", "zz", "00" * 15, "00" * 17, 7, None])
def test_a_filter_is_asked_for_with_a_salt(salt: object) -> None:
    """What is wrong ends the channel that it came over, before anything is begun for it."""
    payload = json.dumps({"height": 3, "salt": salt}).encode()
    with pytest.raises(PeerError):
        wire.filter_wanted(payload)
    assert wire.filter_wanted(json.dumps({"height": 3, "salt": "0a" * 16}).encode()) == (3, b"\n" * 16)


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


class Agents:
    """Stands in for `Members`: who has a channel, and what was sent to whom."""

    size = 6

    def __init__(self, connected: set[int]) -> None:
        self.connected, self.sent = connected, list[tuple[int, int]]()

    def is_connected(self, slot: int) -> bool:
        return slot in self.connected

    def host_of(self, slot: int) -> str:
        return f" on n{slot}"

    def send(self, slot: int, kind: int, _payload: bytes) -> None:
        self.sent.append((slot, kind))


def flushed(agents: Agents, first: dict[int, Status]) -> bool:
    """Whether a flush with these answers still waits after many silences; it ends once everybody is done."""

    async def play() -> bool:
        flusher = Flusher(cast("Members", agents), lambda: False, lambda: {1, 2})
        flush = asyncio.create_task(flusher.run())
        await asyncio.sleep(0)
        for slot, status in first.items():
            flusher.status(slot, asdict(status) | {"flush": 1})
        _, waiting = await asyncio.wait({flush}, timeout=0.2)
        for slot in (1, 2):
            flusher.status(slot, asdict(DONE) | {"flush": 1})
        await flush
        return bool(waiting)

    return asyncio.run(play())


def test_an_agent_that_hears_and_never_answers_does_not_hold_a_flush_for_all_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "FLUSH_SILENCE_S", 0.01)
    with pytest.raises(PeerError, match=r"^slot 2 on n2 does not answer$"):
        flushed(Agents({1, 2}), {1: DONE})
    assert flushed(Agents({1, 2}), {1: IDLE})  # who answers is waited for as long as it needs
    assert flushed(Agents({1}), {1: DONE})  # who was cut off may come back


def test_board_knows_who_is_late() -> None:
    board = FlushBoard(1, {1, 2, 3}, drain=True)
    board.report(1, Status(done=True, pending=0, committed=4, quiet=True, held=0, height=3))
    board.report(2, Status(done=False, pending=7, committed=4, quiet=False, held=0, height=3))
    assert board.late == {2: 7, 3: None}
