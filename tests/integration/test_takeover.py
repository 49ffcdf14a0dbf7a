"""Storage nodes that stop, wake up or find another past than they left: never two writers, never a shorter chain."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from scichain_wf.client import kept
from scichain_wf.client.service import start
from scichain_wf.errors import LedgerCorrupt, PeerError, VerificationError
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.model.transaction import Transaction
from tests.integration.service_kit import Records, assert_committed_once, assert_verifies, emit, running
from tests.integration.sleeps import LEASE_S, run_sleep, stopped_under_load, woken, writers_of_links


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    return tmp_path / "chain"


def files(chain: Path) -> dict[str, bytes]:
    """Every file of a chain but logs and the figures of agents, which outlive a storage node that sleeps."""
    passed_over = "*.log", "scichain-*-slot-*.prom"
    paths = sorted(path for path in chain.rglob("*") if path.is_file() and not any(map(path.match, passed_over)))
    return {str(path.relative_to(chain)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("seed", range(4))
def test_a_storage_node_stopped_past_its_lease_is_taken_over_from_and_fenced(chain: Path, seed: int) -> None:
    """Spec: SAFE-8, LOSS-1, SAFE-6. It wakes up while its successor works, whose agents take its outbox over."""
    run_sleep(chain, seed)


def test_a_storage_node_that_wakes_up_last_changes_nothing_that_anybody_sees(chain: Path) -> None:
    """Spec: SAFE-8. What its agents hold is not lost either: the next start takes it in."""
    stopped, first = stopped_under_load(chain, 99)
    service = start(chain, 1, lease_s=LEASE_S)
    records = Records(service.chain)
    second = records.tasks(5, prefix="second")
    emit(service, second)
    assert service.flush(records.run).tasks == 5
    with pytest.raises(PeerError, match=r"ended with code 3.*wait in"):  # the first one's outbox is still held
        service.stop()
    before = files(chain)
    woken(stopped)
    after = files(chain)
    own = {"ledger/00000001/data.mdb", "writers/00000001"}  # where nobody looks any more
    assert {name: data for name, data in after.items() if name not in own} == {
        name: data for name, data in before.items() if name not in own
    }
    with running(chain, 1):
        pass
    assert_committed_once(chain, first + second)


def test_a_ledger_that_is_damaged_is_not_taken_over(chain: Path) -> None:
    stopped, emitted = stopped_under_load(chain, 7)
    data = ChainLayout(chain).live_ledger() / "data.mdb"
    whole = data.read_bytes()  # it is mapped: written in place, never cut
    links = re.compile(rb'("previous":"sha256:)(..)')
    with data.open("r+b") as file:
        file.write(links.sub(lambda found: found[1] + (b"00" if found[2] != b"00" else b"11"), whole))
    try:
        with pytest.raises(LedgerCorrupt, match=r"is damaged .* and was not taken over"):
            start(chain, 1, lease_s=LEASE_S)
        assert [path.name for path in (chain / "ledger").iterdir()] == ["00000001"]
    finally:
        with data.open("r+b") as file:
            file.write(whole)
        os.kill(stopped.pids["storage"], signal.SIGCONT)
        with pytest.raises(PeerError, match="code 3"):
            stopped.stop()
    with running(chain, 1):
        pass
    assert_committed_once(chain, emitted)


# --- what clients keep ---------------------------------------------------------------------------------
def recorded(chain: Path, prefix: str) -> list[Transaction]:
    with running(chain) as service:
        records = Records(service.chain)
        emitted = records.tasks(4, prefix)
        emit(service, emitted)
        service.flush(records.run)
    return emitted


def test_yesterdays_copy_put_back_between_two_runs_is_refused(chain: Path, tmp_path: Path) -> None:
    """Spec: SAFE-7. With everything that belongs to it, so only what the client kept elsewhere tells."""
    first = recorded(chain, "first")
    shutil.copytree(chain, tmp_path / "yesterday")
    second = recorded(chain, "second")
    chain.rename(tmp_path / "today")
    shutil.copytree(tmp_path / "yesterday", chain)
    before = files(chain)
    with pytest.raises(VerificationError, match=r"/scichain/.*/checkpoint \(of \d+ links\) is not of this ledger \(of"):
        start(chain)
    after = files(chain)
    assert {name for name in after if after[name] != before.get(name)} == {"writers/00000002"}
    shutil.rmtree(chain)
    (tmp_path / "today").rename(chain)
    assert_committed_once(chain, first + second + recorded(chain, "third"))


def test_another_history_of_the_same_chain_is_refused(chain: Path, tmp_path: Path, state_home: Path) -> None:
    """Spec: SAFE-7. Longer than what was kept, and whole: a fork."""
    recorded(chain, "first")
    shutil.copytree(chain, tmp_path / "fork")
    recorded(chain, "second")
    state_home.rename(tmp_path / "kept")
    for prefix in ("other", "and more"):
        recorded(tmp_path / "fork", prefix)
    shutil.rmtree(state_home)
    (tmp_path / "kept").rename(state_home)
    with pytest.raises(VerificationError, match="is not of this ledger"):
        start(tmp_path / "fork")
    assert_verifies(tmp_path / "fork")


def test_a_missing_record_is_reported_and_begun(chain: Path, state_home: Path) -> None:
    recorded(chain, "first")
    shutil.rmtree(state_home)
    with running(chain) as service:
        assert [note for note in service.notes if "a rollback would not be noticed at this start" in note]
        path = kept.path(service.chain)
        service.flush(bytes(16))
        assert path.read_bytes() == ChainLayout(chain).checkpoint.read_bytes()
    with running(chain) as service:
        assert service.notes == []


@pytest.mark.parametrize("content", [b"", b"not a note", b"\xff" * 2_000_000])
def test_a_record_that_cannot_be_read_is_reported(chain: Path, content: bytes) -> None:
    recorded(chain, "first")
    with running(chain) as service:
        path = kept.path(service.chain)
    path.write_bytes(content)
    with running(chain) as service:
        assert [note for note in service.notes if f"{path} cannot be used" in note]


def test_a_state_directory_that_cannot_be_written_is_reported(chain: Path, state_home: Path) -> None:
    (state_home / "scichain").write_text("mine")
    with running(chain) as service:
        records = Records(service.chain)
        emit(service, records.tasks(1))
        assert service.flush(records.run).tasks == 1
        assert any("no checkpoint is kept outside of the chain" in note for note in service.notes)
    assert (state_home / "scichain").read_text() == "mine"


def test_a_writer_epoch_is_not_used_twice_though_its_marker_is_lost(chain: Path) -> None:
    """Spec: SAFE-8."""
    layout = ChainLayout(chain)
    for prefix in ("first", "second"):
        recorded(chain, prefix)
    layout.marker(2).unlink()
    recorded(chain, "third")
    assert sorted(path.name for path in layout.writers.iterdir()) == ["00000001", "00000003"]
    shutil.rmtree(layout.writers)
    recorded(chain, "fourth")
    assert [path.name for path in layout.writers.iterdir()] == ["00000004"]
    assert sorted(set(writers_of_links(chain))) == [0, 1, 2, 3, 4]
    assert_verifies(chain)
