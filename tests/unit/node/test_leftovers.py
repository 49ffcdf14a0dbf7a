"""What dead processes left in shared memory: nothing goes that anybody may still need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scichain_wf import limits
from scichain_wf.client.burst import burst_directory, write_burst
from scichain_wf.client.outbox import OutboxWriter, create_outbox, outbox_directory
from scichain_wf.client.spool import list_spool
from scichain_wf.node import leftovers, shm
from scichain_wf.node.leftovers import Contains, Kind
from tests.builders import ChainBuilder

BUILD = ChainBuilder()
CHAIN = BUILD.chain
PREFIX = CHAIN.hex()[:16]
RECORD = BUILD.task("t", outputs=[BUILD.artifact("f", b"1")]).encode()

WRITE = """
import sys
from pathlib import Path
from scichain_wf.client.outbox import OutboxWriter
OutboxWriter(Path(sys.argv[1])).append(sys.stdin.buffer.read())
"""


@pytest.fixture(autouse=True)
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything counts as old enough."""
    monkeypatch.setattr(limits, "LEFTOVER_AGE_S", -1.0)


def outbox(base: Path, name: str = "slot-1", record: bytes | None = RECORD) -> Path:
    """An outbox with one record of a process that has ended."""
    directory = outbox_directory(CHAIN, 1, base).with_name(name)
    create_outbox(directory)
    if record is not None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        subprocess.run([sys.executable, "-c", WRITE, directory], input=record, check=True, env=environment)
    return directory


def knowing(answer: bool) -> dict[str, Contains]:
    return {PREFIX: lambda _key, _id: answer}


def cleaned(base: Path, chains: dict[str, Contains], *, dry_run: bool = False) -> dict[str, tuple[bool, str]]:
    verdicts = leftovers.clean(chains, base, dry_run=dry_run)
    return {verdict.found.path.name: (verdict.removed, verdict.reason) for verdict in verdicts}


@pytest.mark.parametrize("name", ["slot-1", "drain.0123456789abcdef"])
def test_outbox_whose_records_are_committed_is_removed_with_its_empty_parents(tmp_path: Path, name: str) -> None:
    outbox(tmp_path, name)
    assert cleaned(tmp_path, knowing(True), dry_run=True)[name][0]
    assert [item.path.name for item in leftovers.found(tmp_path)] == [name]
    assert cleaned(tmp_path, knowing(True))[name] == (True, "its process is gone and its records are committed")
    assert list(tmp_path.iterdir()) == []


def test_record_that_is_not_committed_keeps_its_outbox(tmp_path: Path) -> None:
    directory = outbox(tmp_path)
    removed, reason = cleaned(tmp_path, knowing(False))["slot-1"]
    assert (removed, reason.partition(" records")[0]) == (False, "1")
    assert list(leftovers.waiting(directory)) == [RECORD]
    removed, reason = cleaned(tmp_path, {})["slot-1"]
    assert not removed
    assert "name it: --chain DIR" in reason
    assert list(leftovers.waiting(directory)) == [RECORD]


def test_record_that_makes_no_sense_is_never_taken_for_committed(tmp_path: Path) -> None:
    directory = outbox(tmp_path, record=b"no record")
    assert not cleaned(tmp_path, knowing(True))["slot-1"][0]
    assert list(leftovers.waiting(directory)) == [b"no record"]


def test_outbox_without_records_needs_no_chain(tmp_path: Path) -> None:
    outbox(tmp_path, record=None)
    assert cleaned(tmp_path, {})["slot-1"][0]


def test_outbox_that_an_agent_holds_is_kept_and_so_is_its_tail(tmp_path: Path) -> None:
    lock = shm.hold(outbox(tmp_path))
    tail = outbox(tmp_path, "tail-1", record=None)
    assert {item.kind: item.held for item in leftovers.found(tmp_path)} == {Kind.OUTBOX: True, Kind.TAIL: True}
    assert set(cleaned(tmp_path, knowing(True)).values()) == {(False, "in use by an agent")}
    assert tail.exists()
    os.close(lock)
    assert {item.held for item in leftovers.found(tmp_path)} == {False}
    assert all(removed for removed, _ in cleaned(tmp_path, knowing(True)).values())


def test_outbox_with_a_living_writer_is_kept(tmp_path: Path) -> None:
    directory = outbox(tmp_path, record=None)
    writer = OutboxWriter(directory)
    writer.append(RECORD)
    assert cleaned(tmp_path, knowing(True))["slot-1"] == (False, f"process {os.getpid()} may still write to it")
    assert list(leftovers.waiting(directory)) == [RECORD]


def test_what_is_young_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEFTOVER_AGE_S", 60.0)
    outbox(tmp_path)
    outbox(tmp_path, "tail-1", record=None)
    assert not any(removed for removed, _ in cleaned(tmp_path, knowing(True)).values())
    assert len(leftovers.found(tmp_path)) == 2


def test_strangers_and_symbolic_links_are_left_alone(tmp_path: Path) -> None:
    chain = outbox(tmp_path, record=None).parent
    target = tmp_path / "precious"
    target.mkdir(mode=0o700)
    (target / "file").write_text("x")
    (chain / "slot-2").symlink_to(target)
    (chain / "tail-1").symlink_to(target)
    (chain / "notes").mkdir(mode=0o700)
    open_to_all = chain / "slot-3"
    open_to_all.mkdir(mode=0o777)
    open_to_all.chmod(0o777)
    (chain.parent / "ffff").mkdir(mode=0o700)
    (chain / "slot-1" / "1999999999-0.outbox").symlink_to(target / "file")
    assert cleaned(tmp_path, knowing(True)).keys() == {"slot-1"}
    assert (target / "file").read_text() == "x"
    assert sorted(path.name for path in chain.iterdir()) == ["notes", "slot-2", "slot-3", "tail-1"]


def test_directory_that_is_not_private_is_not_looked_into(tmp_path: Path) -> None:
    user = outbox(tmp_path).parents[1]
    user.chmod(0o755)
    assert leftovers.found(tmp_path) == []
    assert leftovers.clean(knowing(True), tmp_path, dry_run=False) == []
    assert user.exists()
    assert leftovers.found(tmp_path / "absent") == []


def test_what_cannot_be_removed_is_kept_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_path: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    outbox(tmp_path)
    monkeypatch.setattr(shutil, "rmtree", refused)  # root could not be refused for real
    assert cleaned(tmp_path, knowing(True))["slot-1"] == (False, "cannot be removed: Operation not permitted")


def test_lost_lock_table_means_that_nobody_is_seen_and_cleaning_asks_the_lock_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_LOCKS", tmp_path / "none")
    lock = shm.hold(outbox(tmp_path))
    assert [item.held for item in leftovers.found(tmp_path)] == [False]
    assert cleaned(tmp_path, knowing(True))["slot-1"] == (False, "in use by an agent")
    os.close(lock)


def test_burst_buffer_is_removed_only_when_nothing_waits_and_nobody_reads_it(tmp_path: Path) -> None:
    assert leftovers.clean_burst(tmp_path, PREFIX, dry_run=False) == []
    write_burst(tmp_path, CHAIN, RECORD)
    directory = burst_directory(tmp_path, CHAIN)
    (directory / "tmp" / "torn").write_bytes(b"x")

    def verdict(*, dry_run: bool = False) -> tuple[bool, str]:
        [one] = leftovers.clean_burst(tmp_path, PREFIX, dry_run=dry_run)
        assert (one.found.kind, one.found.path) == (Kind.BURST, directory)
        return one.removed, one.reason

    assert verdict() == (False, "1 records not on the chain yet; the next run on that chain takes them in")
    [path] = list_spool(directory)
    path.unlink()
    lock = shm.hold(directory)
    assert verdict() == (False, "in use by an agent")
    os.close(lock)
    assert verdict(dry_run=True) == (True, "nothing waits in it")
    assert (directory / "tmp" / "torn").exists()
    assert verdict() == (True, "nothing waits in it")
    assert not directory.exists()


def test_burst_buffer_that_hooks_may_be_writing_to_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEFTOVER_AGE_S", 3_600.0)
    write_burst(tmp_path, CHAIN, RECORD)
    [path] = list_spool(burst_directory(tmp_path, CHAIN))
    path.unlink()
    [one] = leftovers.clean_burst(tmp_path, PREFIX, dry_run=False)
    assert not one.removed
    assert path.parent.exists()


def test_burst_buffer_with_something_of_a_stranger_in_it_is_kept(tmp_path: Path) -> None:
    write_burst(tmp_path, CHAIN, RECORD)
    [path] = list_spool(burst_directory(tmp_path, CHAIN))
    path.rename(path.with_name("strange"))
    [one] = leftovers.clean_burst(tmp_path, PREFIX, dry_run=False)
    assert (one.removed, one.reason) == (False, "cannot be removed: Directory not empty")
    assert path.with_name("strange").exists()
