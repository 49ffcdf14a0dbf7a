"""A few kills and failed system calls of a real writer; the whole table: `python -m tests.integration.store_crash -h`.

What holds: a killed or failing writer loses nothing acknowledged and leaves nothing half done.
"""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

from scichain_wf.ledger.store import ChainStore
from tests.integration import store_child
from tests.integration.store_child import BASE
from tests.integration.store_crash import Broken, Reference, disturbances, kills, strace_works

SEED = 20_260_101

needs_strace = pytest.mark.skipif(not strace_works(), reason="strace is not installed, or may not trace here")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return Reference.make(tmp_path_factory.mktemp("crash"), SEED, 90)


def test_a_killed_writer_leaves_every_acknowledged_append_and_nothing_half_done(reference: Reference) -> None:
    phases = ("put", "commit")  # fsync takes no time where the temporary directory is in memory
    hits = kills(reference, 2, SEED, phases)
    assert all(hits[phase] >= 2 for phase in phases)


@needs_strace
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
def test_a_writer_killed_on_entering_a_write_or_sync_loses_nothing(reference: Reference, call: str) -> None:
    ends = disturbances(reference, [(call, "signal=KILL")], first=2)
    assert set(ends) == {f"{call} signal=KILL: killed"}


@needs_strace
@pytest.mark.parametrize(
    ("call", "error", "end"),
    [
        ("fdatasync", "EIO", "LedgerError"),
        ("pwrite64", "EIO", "LedgerError"),
        ("pwrite64", "ENOSPC", "LedgerFull"),
        ("mmap", "ENOMEM", "LedgerError"),
    ],
)
def test_a_failed_system_call_is_reported_and_loses_nothing(
    reference: Reference, call: str, error: str, end: str
) -> None:
    assert set(disturbances(reference, [(call, error)], first=1)) == {f"{call} {error}: refused: {end}"}


def test_the_check_itself_notices_lost_halved_and_altered_batches(reference: Reference, tmp_path: Path) -> None:
    with pytest.raises(Broken, match="4 links were acknowledged, 3 are there"):
        reference.check(reference.base, BASE + 1)
    directory = tmp_path / "ledger"
    shutil.copytree(reference.base, directory)
    first = pickle.loads(reference.candidates.read_bytes())[0]  # noqa: S301 - written above
    with ChainStore.open(directory) as store, store.begin() as batch:
        store_child.append(batch, first)
    with pytest.raises(Broken, match="4 links: part of a batch"):
        reference.check(directory, BASE)
    assert reference.check(directory, BASE + 1) == BASE + 1
    with ChainStore.open(directory) as store, store._env.begin(write=True, db=store._dbs.runs) as txn:
        txn.put(bytes(28), b"task")
    with pytest.raises(Broken, match="runs at 4 links"):
        reference.check(directory, BASE + 1)
