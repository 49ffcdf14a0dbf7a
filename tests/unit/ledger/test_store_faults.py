"""Full maps and disks, closing and snapshots."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from scichain_wf import limits
from scichain_wf.errors import (
    InvariantViolation,
    LedgerCorrupt,
    LedgerError,
    LedgerFull,
)
from scichain_wf.ledger import engine
from scichain_wf.ledger.store import AppendBatch, ChainStore
from tests.builders import Candidate, ChainBuilder
from tests.mounts import tmpfs
from tests.unit.ledger.kit import append, commit, fingerprint, new_chain, size_of

Chain = tuple[ChainBuilder, ChainStore]


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    builder, store = new_chain(tmp_path / "ledger")
    with store:
        yield builder, store


# --- growth ------------------------------------------------------------------------------------------
@pytest.fixture
def small_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAP_BYTES_START", 1 << 20)
    monkeypatch.setattr("scichain_wf.ledger.store._RESERVE_BYTES", 0)


def big(builder: ChainBuilder, size_bytes: int = 600_000) -> Candidate:
    tasks = [builder.task("t", command="x" * 60_000) for _ in range(size_bytes // 60_000)]
    return builder.quorum(builder.block(1, tasks))


@pytest.mark.usefixtures("small_map")
def test_the_map_grows_by_itself_and_append_all_runs_its_batch_again(tmp_path: Path) -> None:
    builder, store = new_chain(tmp_path / "ledger")
    with store:
        candidates = [big(builder) for _ in range(6)]
        runs = []

        def body(batch: AppendBatch) -> int:
            runs.append(batch.size)
            for candidate in candidates:
                append(batch, builder, candidate)
            return batch.size

        assert store.append_all(body) == 9
        assert runs == [3, 3, 3]  # 1 MiB, 2 MiB, 4 MiB
        assert store._env.info()["map_size"] == 4 << 20
        for _ in range(3):
            with store.begin() as batch:  # grows ahead by four times the largest batch
                append(batch, builder, big(builder))
        assert store._env.info()["map_size"] == 32 << 20
    with ChainStore.open(tmp_path / "ledger") as store:
        assert size_of(store) == 12


@pytest.mark.usefixtures("small_map")
def test_begin_says_that_the_map_has_grown_and_the_same_batch_fits_then(tmp_path: Path) -> None:
    builder, store = new_chain(tmp_path / "ledger")
    with store:
        candidates = [big(builder), big(builder)]

        def attempt() -> None:
            with store.begin() as batch:
                for candidate in candidates:
                    append(batch, builder, candidate)

        before = fingerprint(store.path)
        with pytest.raises(LedgerFull, match="the batch did not fit the map, which has grown; append again"):
            attempt()
        assert fingerprint(store.path) == before
        attempt()
        assert size_of(store) == 5


@pytest.mark.usefixtures("small_map")
def test_the_map_does_not_grow_under_an_open_view(tmp_path: Path) -> None:
    builder, store = new_chain(tmp_path / "ledger")
    with store:
        candidates = [big(builder), big(builder)]

        def body(batch: AppendBatch) -> None:
            for candidate in candidates:
                append(batch, builder, candidate)

        with store.view() as view:
            with pytest.raises(LedgerFull, match="close all views first"):
                store.append_all(body)
            assert view.size == 3
        store.append_all(body)
        assert size_of(store) == 5


def test_a_map_that_may_not_grow_is_full(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    builder, store = chain
    monkeypatch.setattr("scichain_wf.ledger.store._RESERVE_BYTES", 1 << 48)
    with pytest.raises(LedgerFull, match=r"the map cannot grow to .* raise the limit of address space"), store.begin():
        pass
    monkeypatch.undo()
    with pytest.raises(LedgerError, match="lost its map"):  # LMDB gives up the old one first
        commit(store, builder, [builder.task("t")])
    store.close()
    with ChainStore.open(store.path) as again:
        assert size_of(again) == 3


def test_the_steps_of_growth_are_bounded() -> None:
    start, step = limits.MAP_BYTES_START, limits.MAP_BYTES_STEP_MAX
    assert engine.map_bytes_for(0, 0) == start
    assert engine.map_bytes_for(start, 1) == 2 * start
    assert engine.map_bytes_for(3 * step, 0) - engine.map_bytes_for(2 * step + 1 - step // 2, 0) in (0, step)
    assert engine.map_bytes_for(100 * step, 1) <= 101 * step


# --- disk faults -------------------------------------------------------------------------------------
@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with tmpfs(tmp_path / "small", "size=2m") as mount:
        yield mount


def fill(builder: ChainBuilder, store: ChainStore) -> tuple[int, LedgerError]:
    """Append until it fails; the acknowledged size and the error."""
    while True:
        size, state = size_of(store), (builder.head, builder.height)
        try:
            with store.begin() as batch:
                append(batch, builder, big(builder, 120_000))
        except LedgerError as error:
            builder.head, builder.height = state
            return size, error


def test_a_full_disk_is_said_to_be_full_and_loses_nothing(small_disk: Path) -> None:
    builder, store = new_chain(small_disk / "ledger")
    with store:
        size, error = fill(builder, store)
        assert type(error) is LedgerFull
        assert re.search(r"no room left while appending to the ledger \(\d+ bytes free\).*free space", str(error))
        with pytest.raises(LedgerError, match=r"failed to commit .* open it again"), store.view():
            pass
        with pytest.raises(LedgerError, match="open it again"), store.begin():
            pass
    with ChainStore.open(small_disk / "ledger") as again:
        assert size_of(again) == size
        with again.view() as view:
            assert view.head_hash() == builder.head
    before = fingerprint(small_disk)
    with pytest.raises(LedgerFull, match="while writing a snapshot"), ChainStore.open(small_disk / "ledger") as again:
        again.snapshot(small_disk / "copy")
    assert fingerprint(small_disk) == before
    with pytest.raises(LedgerFull, match="while creating the ledger"):
        ChainStore.create(small_disk / "second", ChainBuilder(1, 9).genesis)
    assert fingerprint(small_disk) == before
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    with ChainStore.open(small_disk / "ledger") as again:
        commit(again, builder, [builder.task("after")])
        assert size_of(again) == size + 1


def test_a_store_that_was_full_can_be_opened_again_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    builder, store = new_chain(small_disk / "ledger")
    with store:
        size, error = fill(builder, store)
        assert type(error) is LedgerFull
        store.reopen()
        assert size_of(store) == size
        assert fill(builder, store)[0] == size
        store.reopen()
        subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
        commit(store, builder, [builder.task("after")])
        assert size_of(store) == size + 1
        with store.view(), pytest.raises(InvariantViolation, match="while it is in use"):
            store.reopen()
        assert size_of(store) == size + 1


def test_a_store_that_cannot_be_opened_again_refuses_everything(chain: Chain) -> None:
    _, store = chain
    (store.path / "data.mdb").unlink()
    with pytest.raises(LedgerError, match=r"holds no data\.mdb"):
        store.reopen()
    with pytest.raises(LedgerError, match="was closed"), store.view():
        pass


def test_a_limit_of_file_size_is_said_to_be_full(chain: Chain) -> None:
    """LMDB reports a short write as EIO; the limit tells the reason."""
    builder, store = chain
    commit(store, builder, [builder.task("t")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((store.path / "data.mdb").stat().st_size + 150_000, hard))
    try:
        size, error = fill(builder, store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert type(error) is LedgerFull
    store.close()
    with ChainStore.open(store.path) as again:
        assert size_of(again) == size
        commit(again, builder, [builder.task("after")])


def lmdb_error(code: int) -> lmdb.Error:
    error = lmdb.Error("mdb_txn_commit")
    error.code = code  # type: ignore[misc]  # only the engine itself sets it
    return error


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (0, LedgerError, "failed while"),
        (5, LedgerError, "input/output error while"),
        (28, LedgerFull, "no room left while"),
        (122, LedgerFull, "no room left while"),
        (27, LedgerFull, "no room left while"),
        (30, LedgerError, "not permitted while"),
        (12, LedgerError, "failed while"),
    ],
)
def test_lmdbs_errors_become_ours(tmp_path: Path, code: int, kind: type[LedgerError], message: str) -> None:
    error = engine.failure(lmdb_error(code), tmp_path, "testing")
    assert type(error) is kind
    assert message in str(error)


def test_damage_that_lmdb_finds_is_corruption(tmp_path: Path) -> None:
    for error in (lmdb.CorruptedError("x", 1), lmdb.PageNotFoundError("x", 1), lmdb.InvalidError("x", 1)):
        assert type(engine.failure(error, tmp_path, "testing")) is LedgerCorrupt


def test_free_space_that_nobody_knows_is_said_to_be_unknown(tmp_path: Path) -> None:
    assert "unknown bytes free" in str(engine.failure(lmdb_error(5), tmp_path / "absent", "testing"))


# --- closing, snapshots ------------------------------------------------------------------------------
def test_a_closed_store_refuses_everything_and_closes_again(chain: Chain) -> None:
    _, store = chain
    store.close()
    store.close()
    for use in (store.view, store.begin):
        with pytest.raises(LedgerError, match="was closed; open it again"), use():
            pass
    with pytest.raises(LedgerError, match="was closed"):
        store.snapshot(store.path.parent / "copy")


def test_a_snapshot_is_a_ledger_of_its_own(chain: Chain) -> None:
    builder, store = chain
    commit(store, builder, *([builder.task(f"t{n}", [], [builder.artifact("a", b"%d" % n)])] for n in range(20)))
    target = store.path.parent / "copy"
    store.snapshot(target)
    commit(store, builder, [builder.task("later")])
    assert sorted(os.listdir(target.parent)) == ["copy", "ledger"]
    with ChainStore.open(target, readonly=True) as copy, copy.view() as view, store.view() as now:
        assert (view.size, now.size) == (23, 24)
        assert view.root() == now.root(23)
        assert [view.link(height) for height in range(23)] == [now.link(height) for height in range(23)]
        assert len(list(view.versions("work:00112233445566aa/a"))) == 20


@pytest.mark.parametrize("what", ["directory", "file", "dangling"])
def test_a_snapshot_never_replaces_anything(chain: Chain, what: str) -> None:
    _, store = chain
    target = store.path.parent / "copy"
    if what == "directory":
        target.mkdir()
    elif what == "file":
        target.write_text("x")
    else:
        target.symlink_to("nowhere")
    with pytest.raises(LedgerError, match="copy exists already; name a new directory"):
        store.snapshot(target)
    assert sorted(os.listdir(target.parent)) == ["copy", "ledger"]


def test_a_snapshot_into_a_missing_directory_is_refused(chain: Chain) -> None:
    _, store = chain
    with pytest.raises(LedgerError, match="No such file or directory while writing a snapshot"):
        store.snapshot(store.path / "absent" / "copy")
    assert size_of(store) == 3


def test_threads_take_turns_to_append(chain: Chain) -> None:
    builder, store = chain
    turn = threading.Lock()

    def work() -> None:
        for number in range(20):
            with turn:
                candidate = builder.quorum(builder.block(1, [builder.task(f"t{number}")]))
            with store.begin() as batch, turn:
                append(batch, builder, candidate)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert size_of(store) == 83
