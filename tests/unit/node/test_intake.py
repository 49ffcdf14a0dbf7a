"""Outboxes and spool: nothing is let go of before it is committed; directories on shared memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scichain_wf import limits
from scichain_wf.client.outbox import OutboxWriter, create_outbox, outbox_directory
from scichain_wf.client.spool import write_spool
from scichain_wf.errors import LedgerError
from scichain_wf.node import shm
from scichain_wf.node.intake import Intake, OutboxSource, SpoolSource
from scichain_wf.node.log import Log
from tests.builders import ChainBuilder


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


def test_a_spool_of_any_size_is_taken_in_by_bites_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spec: LOSS-1. A flush may only believe to have read everything when it has."""
    monkeypatch.setattr(limits, "SPOOL_LIST_MAX", 10)
    monkeypatch.setattr(limits, "SPOOL_READ_FILES_MAX", 4)
    build = ChainBuilder()
    intake, spool = Intake(build.chain, tmp_path / "refused", Log("test")), SpoolSource(tmp_path / "spool", Log("test"))
    records = [build.task(f"t{number}") for number in range(25)]
    for record in records:
        write_spool(tmp_path / "spool", record.encode())
    for number in range(11):  # more of them than are listed at once
        (tmp_path / "spool" / "new" / f"0{number}.tx").symlink_to(tmp_path / "elsewhere")
    more = True
    while more:
        before = intake.taken
        _, more = intake.read(spool)
        assert intake.taken - before <= 4
    assert intake.taken == 25
    items = intake.answered({record.id: False for record in records})
    assert {item.id for item in items} == {record.id for record in records}
    intake.settled(tuple(item.id for item in items))
    assert spool.is_finished()
    assert len(list((tmp_path / "spool" / "new").iterdir())) == 11


def test_a_bite_of_the_spool_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OUTBOX_READ_BYTES_MAX", 5)
    for _ in range(5):
        write_spool(tmp_path / "spool", b"1234")
    spool, sizes = SpoolSource(tmp_path / "spool", Log("test")), []
    while not spool.is_all:
        sizes.append(len(spool.read()))
    assert sizes == [2, 2, 1]


def test_an_outbox_is_held_by_one_process(outbox: Path) -> None:
    first = OutboxSource(outbox, asks=False)
    with pytest.raises(LedgerError, match="in use by another agent"):
        OutboxSource(outbox, asks=True)
    first.close()
    first.close()
    OutboxSource(outbox, asks=True).close()


def test_leftovers_of_the_dead_are_set_aside_and_tails_removed(private: Path) -> None:
    chain = bytes(32)
    assert shm.leftovers(chain, ended=True) == []
    assert not shm.has_outboxes(chain)
    for slot in (1, 2):
        shm.make(outbox_directory(chain, slot, private))
    shm.make(shm.tail_directory(chain, 1))
    held = shm.hold(outbox_directory(chain, 2, private))
    assert shm.orphans(chain, {1, 2}) == []
    assert [path.name[:6] for path in shm.orphans(chain, {2})] == ["drain."]
    assert shm.has_outboxes(chain)
    os.close(held)
    found = shm.leftovers(chain, ended=True)
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
        shm.leftovers(chain, ended=True)
    assert outbox_directory(chain, 1, private).exists()
    os.close(held)


def test_an_outbox_that_is_still_held_is_set_aside_and_found_when_it_is_free(private: Path) -> None:
    """Its storage node was taken over from, and sleeps."""
    chain = bytes(32)
    shm.make(outbox_directory(chain, 1, private))
    held = shm.hold(outbox_directory(chain, 1, private))
    assert shm.leftovers(chain, ended=False) == []
    assert not outbox_directory(chain, 1, private).exists()
    shm.make(outbox_directory(chain, 1, private))  # the next agent's
    assert shm.orphans(chain, {1}) == []
    os.close(held)
    assert [path.name[:6] for path in shm.orphans(chain, {1})] == ["drain."]


def test_an_agent_inherits_its_predecessors_outbox_and_what_nobody_drains(
    private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "AGENT_END_TIMEOUT_S", 0.05)
    chain = bytes(32)
    assert shm.inherited(chain, 1) == []
    for slot in (1, 2):
        shm.make(outbox_directory(chain, slot, private))
    (outbox_directory(chain, 1, private) / "1-00.outbox").touch()
    draining = shm.set_aside(outbox_directory(chain, 2, private))
    held = shm.hold(draining)
    shm.make(outbox_directory(chain, 2, private))
    (own,) = shm.inherited(chain, 1)
    assert (own / "1-00.outbox").exists()
    assert outbox_directory(chain, 2, private).exists()  # another agent's, whether it lives or not
    os.close(held)
    assert shm.inherited(chain, 1) == sorted([own, draining])
    shm.make(outbox_directory(chain, 1, private))
    held = shm.hold(outbox_directory(chain, 1, private))
    with pytest.raises(LedgerError, match="does not end"):
        shm.inherited(chain, 1)
    os.close(held)
    assert outbox_directory(chain, 1, private).exists()
