"""The structural check and the rebuild: what is altered is named, by height or by database and key."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import lmdb
import pytest

from scichain_wf.errors import LedgerCorrupt, LedgerError, UsageError
from scichain_wf.ledger import fsck as fsck_module
from scichain_wf.ledger import isolate, keys, rawread
from scichain_wf.ledger.copying import rebuild
from scichain_wf.ledger.fsck import FsckReport, check, fsck
from scichain_wf.ledger.isolate import Call, Crash, Inline, Pool, isolated, result
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.problem import PROBLEMS_PER_CODE_MAX, Problem, Problems
from scichain_wf.ledger.stored import Walked
from scichain_wf.ledger.walk import survey
from tests.chains import DiskChain, InProcess, small_chain
from tests.unit.audit.support import get, put


@pytest.fixture
def root(tmp_path: Path) -> Path:
    small_chain(tmp_path / "chain").close()
    return tmp_path / "chain"


def codes(root: Path) -> set[str]:
    """Codes of what a check in this process finds."""
    try:
        summary = survey(ChainLayout(root).live_ledger())
        found = check(Inline(), summary)
        return {problem.code for problem in found.problems.kept}
    finally:
        rawread.release()


def height(number: int) -> bytes:
    return keys.height_key(number)


def test_a_sound_chain_has_no_problems(root: Path) -> None:
    seen: list[int] = []
    report = fsck(root, jobs=2, progress=lambda done, _: seen.append(done))
    assert report.sound
    assert (report.size, report.counts["transactions"], seen[-1]) == (6, 17, 6)


def test_problems_are_named_by_place(root: Path) -> None:
    link = get(root, keys.LINKS, height(4))
    put(root, [(keys.LINKS, height(4), link.replace(b'"writer":1', b'"writer":2'))])
    report = fsck(root, jobs=1)
    places = {(problem.code, problem.height) for problem in report.problems}
    assert {("link-previous", 5), ("tree-node", 4)} <= places
    assert not report.sound


@pytest.mark.parametrize(
    ("database", "key", "expected"),
    [
        (keys.LINKS, height(5), {"checkpoint"}),
        (keys.LINKS, height(3), {"link-missing"}),
        (keys.BLOCKS, height(3), {"block-missing"}),
        (keys.CERTIFICATES, height(3), {"certificate-missing"}),
        (keys.TREE, keys.node_key(1, 1), {"tree-node"}),
        (keys.EPOCHS, height(1), {"epoch-order"}),
    ],
)
def test_a_removed_entry_is_named(root: Path, database: str, key: bytes, expected: set[str]) -> None:
    put(root, [(database, key, None)])
    found = codes(root)
    assert found
    assert expected <= found or expected == {"checkpoint"}


@pytest.mark.parametrize("database", [keys.TRANSACTIONS, keys.ARTIFACTS, keys.RUNS, keys.PROPOSALS])
def test_index_entries_removed_altered_and_added_are_named(root: Path, database: str) -> None:
    ledger = rawread.RawLedger(ChainLayout(root).live_ledger())
    key, value = next(ledger.entries(database))
    ledger.close()
    put(root, [(database, key, None)])
    assert "index-missing" in codes(root)
    put(root, [(database, key, b"\x7f" + value)])
    assert codes(root) & {"index-altered"}
    added = bytes([key[0] ^ 1]) + key[1:]
    put(root, [(database, key, value), (database, added, value)])
    report = fsck(root, jobs=1)
    assert {problem.code for problem in report.problems} == {"index-count", "index-surplus"}
    assert any(problem.key == f"{database} {added.hex()}" for problem in report.problems)


def test_surplus_entries_elsewhere_are_named(root: Path) -> None:
    for database, key, value in (
        (keys.META, b"more", b"x"),
        (keys.TREE, keys.node_key(7, 0), bytes(32)),
        (keys.CERTIFICATES, height(0), b"x"),
        (keys.BLOCKS, height(99), b"x"),
        (keys.LINKS, height(99), b"x"),
        (keys.SUBTREES, height(1), b"x"),
        (keys.EPOCHS, height(3), height(3)),
    ):
        put(root, [(database, key, value)])
        assert codes(root), database
        put(root, [(database, key, None)])
    assert codes(root) == set()


def test_blocks_exchanged_dropped_and_inserted_are_found(root: Path) -> None:
    blocks = {h: get(root, keys.BLOCKS, height(h)) for h in (3, 4, 5)}
    put(root, [(keys.BLOCKS, height(3), blocks[4]), (keys.BLOCKS, height(4), blocks[3])])
    assert "block-id" in codes(root)
    put(root, [(keys.BLOCKS, height(3), blocks[3]), (keys.BLOCKS, height(4), blocks[5])])
    assert {"block-id", "proposal-repeated", "transaction-repeated"} <= codes(root)


def test_all_of_everything_wrong_keeps_memory_bounded() -> None:
    problems, other = Problems(), Problems()
    for number in range(2 * PROBLEMS_PER_CODE_MAX):
        other.add(Problem("link-form", f"link {number}", height=number))
    problems.merge(other)
    problems.merge(other)
    assert len(problems.kept) == PROBLEMS_PER_CODE_MAX
    assert problems.counts["link-form"] == 4 * PROBLEMS_PER_CODE_MAX
    assert [problem.height for problem in problems.sorted()[:2]] == [0, 1]


def test_a_rebuilt_chain_is_sound_and_verifies(root: Path, tmp_path: Path) -> None:
    from scichain_wf import audit

    key, _ = _first(root, keys.TRANSACTIONS)
    put(root, [(keys.TRANSACTIONS, key, None), (keys.TREE, keys.node_key(0, 2), b"x")])
    assert rebuild(root, tmp_path / "new").sound
    assert audit.verify_chain(tmp_path / "new", jobs=1).exit_code == 0
    with pytest.raises(UsageError, match="exists"):
        rebuild(root, tmp_path / "new")


def test_what_cannot_be_rebuilt_leaves_nothing(root: Path, tmp_path: Path) -> None:
    for edit in ((keys.BLOCKS, height(4), None), (keys.LINKS, height(4), get(root, keys.LINKS, height(5)))):
        put(root, [edit])
        with pytest.raises((LedgerCorrupt, LedgerError)):
            rebuild(root, tmp_path / "new")
        assert not (tmp_path / "new").exists()


def test_a_ledger_that_this_process_has_open_is_said_to_be(tmp_path: Path) -> None:
    with small_chain(tmp_path / "chain") as chain, pytest.raises(LedgerError, match="open in this process"):
        fsck(chain.root, jobs=1)


def test_a_chain_that_grows_between_two_looks_is_not_judged(tmp_path: Path) -> None:
    with DiskChain(tmp_path / "chain") as chain:
        chain.close()
        summary = survey(chain.layout.live_ledger())
        rawread.release()
        put(chain.root, [(keys.META, b"x", b"y")])
        try:
            with pytest.raises(LedgerError, match="being written"):
                check(Inline(), summary)
        finally:
            rawread.release()


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No child processes: what follows is seen by the coverage measurement."""
    for module in (fsck_module, isolate):
        monkeypatch.setattr(module, "Pool", InProcess)


@pytest.mark.usefixtures("in_process")
def test_rebuilding_looks_at_every_record(root: Path, tmp_path: Path) -> None:
    report = rebuild(root, tmp_path / "new")
    assert (report.size, report.chain) == (6, bytes.fromhex((root / "trust-root").read_text().strip()[-64:]))
    link = get(root, keys.LINKS, height(4))
    put(root, [(keys.LINKS, height(4), link.replace(b'"writer":1', b'"writer":2'))])
    with pytest.raises(LedgerCorrupt, match=r"does not follow|cannot be rebuilt"):
        rebuild(root, tmp_path / "newer")
    rawread.release()


@pytest.mark.usefixtures("in_process")
def test_links_that_are_no_links_are_named(root: Path) -> None:
    link = get(root, keys.LINKS, height(4))
    for changed, code in (
        (b"{}", "link-form"),
        (link.replace(b'"height":4', b'"height":7'), "link-height"),
        (link.replace(b'"version":1', b'"version":2'), "newer-version"),
        (link.replace(b'"annotations":[]', b'"annotations":[{"index":900,"mark":"contested"}]'), "annotation-index"),
    ):
        put(root, [(keys.LINKS, height(4), changed)])
        assert code in codes(root)
    put(root, [(keys.LINKS, height(4), link)])
    block = get(root, keys.BLOCKS, height(4))
    for changed, code in (
        (block[:-1], "block-form"),
        (block.replace(b'"count":4', b'"count":3'), "block-count"),
        (block.replace(b'"status":"ok"', b'"status":"no"'), "transaction-form"),
        (block.replace(b'"version":1}', b'"version":2}'), "newer-version"),
    ):
        assert changed != block
        put(root, [(keys.BLOCKS, height(4), changed)])
        assert code in codes(root)


def test_a_transaction_of_another_chain_is_named(root: Path, tmp_path: Path) -> None:
    small_chain(tmp_path / "other", seed=2).close()
    put(root, [(keys.BLOCKS, height(4), get(tmp_path / "other", keys.BLOCKS, height(4)))])
    assert {"transaction-chain", "block-id"} <= codes(root)


def test_an_outline_that_cannot_be_read(root: Path) -> None:
    put(root, [(keys.LINKS, height(number), None) for number in range(6)])
    with pytest.raises(LedgerCorrupt, match="genesis"):
        codes(root)
    rawread.release()


def test_a_database_of_somebody_elses_is_named(root: Path) -> None:
    with lmdb.open(os.fsdecode(ChainLayout(root).live_ledger()), max_dbs=16, lock=False, lib_version=0) as env:
        env.open_db(b"more")
    assert codes(root) == {"index-surplus"}


def test_a_changed_chain_id_is_named(root: Path) -> None:
    put(root, [(keys.META, keys.META_CHAIN, bytes(32))])
    assert codes(root) == {"meta-chain"}


def test_entries_that_say_no_place_are_named(root: Path) -> None:
    for database, key, value in (
        (keys.TRANSACTIONS, b"short", b""),
        (keys.ARTIFACTS, b"short", b""),
        (keys.RUNS, b"short", b""),
        (keys.PROPOSALS, b"short", b""),
        (keys.TREE, b"\xff" * 9, bytes(32)),
        (keys.TREE, b"short", bytes(32)),
        (keys.CERTIFICATES, b"short", b""),
    ):
        put(root, [(database, key, value)])
        assert {"index-surplus", "index-count"} <= codes(root)
        put(root, [(database, key, None)])


def _crash_always(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGBUS)


def test_a_file_that_kills_every_reader_is_given_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsck_module, "CRASHES_MAX", 3)
    directory = ChainLayout(root).live_ledger()
    with Pool(1) as pool:
        found = check(pool, result(pool, survey, directory), _crash_always)
    assert any("was not looked at" in problem.actual for problem in found.problems.kept)


# --- children -----------------------------------------------------------------------------------------
def _die(number: int) -> int:
    os.kill(os.getpid(), number)
    time.sleep(10)
    return 0


def _leave(status: int) -> None:
    os._exit(status)


def _double(number: int) -> int:
    return 2 * number


def _refuse() -> None:
    raise LedgerError("no")


def _break() -> None:
    raise ZeroDivisionError("a bug")


def test_a_pool_runs_calls_and_survives_those_that_die() -> None:
    calls: list[Call[Any]] = [
        Call(_double, (1,)),
        Call(_die, (signal.SIGSEGV,)),
        Call(_double, (2,)),
        Call(_leave, (7,)),
        Call(_double, (3,)),
    ]
    with Pool(2) as pool:
        outcomes = [outcome for _, outcome in pool.run(calls)]
        again = [outcome for _, outcome in pool.run([Call(_double, (4,))])]
    assert {outcome for outcome in outcomes if isinstance(outcome, int)} == {2, 4, 6}
    assert {outcome.cause for outcome in outcomes if isinstance(outcome, Crash)} == {"SIGSEGV", "exit status 7"}
    assert again == [8]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_that_somebody_else_ended_says_nothing_of_the_file(number: signal.Signals) -> None:
    """The kernel kills where memory is short: that is no reason to call a ledger altered."""
    with Pool(2) as pool:
        with pytest.raises(LedgerError, match=number.name) as caught:
            list(pool.run([Call(_double, (1,)), Call(_die, (number,)), *[Call(_double, (2,))] * 9]))
        assert [outcome for _, outcome in pool.run([Call(_double, (4,))])] == [8]
    assert not isinstance(caught.value, LedgerCorrupt)


def test_errors_of_a_call_come_back_as_they_are() -> None:
    with pytest.raises(LedgerError, match="no"):
        isolated(_refuse)
    with pytest.raises(ZeroDivisionError):
        isolated(_break)
    with pytest.raises(LedgerCorrupt, match="SIGSEGV"):
        isolated(_die, signal.SIGSEGV)
    with pytest.raises(TypeError):
        isolated(_double, number=1)
    with pytest.raises(LedgerError):
        result(Inline(), _refuse)


def test_an_abandoned_run_ends_its_children() -> None:
    with Pool(1) as pool:
        run = pool.run([Call(time.sleep, (0,)), Call(time.sleep, (60,))])
        next(run)
        run.close()  # type: ignore[attr-defined]
        started = time.monotonic()
        assert result(pool, _double, 2) == 4
    assert time.monotonic() - started < 20


def _kill_at_four(ledger: rawread.RawLedger, summary: object, block: object, found: Walked) -> None:
    if block.height == 4:  # type: ignore[attr-defined]
        os.kill(os.getpid(), signal.SIGBUS)


def test_the_one_height_that_kills_its_reader_is_named(root: Path) -> None:
    directory = ChainLayout(root).live_ledger()
    with Pool(1) as pool:
        found = check(pool, result(pool, survey, directory), _kill_at_four)
    assert [(p.code, p.height) for p in found.problems.kept if p.code == "unreadable"] == [("unreadable", 4)]


def test_the_auditor_needs_no_fcntl(tmp_path: Path) -> None:
    """It verifies on Windows and macOS too."""
    import subprocess

    code = "import sys; sys.modules['fcntl'] = None; import scichain_wf.audit, scichain_wf.ledger.fsck"
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def _first(root: Path, database: str) -> tuple[bytes, bytes]:
    ledger = rawread.RawLedger(ChainLayout(root).live_ledger())
    try:
        return next(ledger.entries(database))
    finally:
        ledger.close()


def test_a_report_says_where_it_looked(root: Path) -> None:
    report = fsck(root, jobs=1)
    assert isinstance(report, FsckReport)
    assert report.directory == ChainLayout(root).live_ledger()
    assert report.chain == bytes.fromhex((root / "trust-root").read_text().strip()[-64:])


def test_a_childs_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: a call, an error, one answer nobody waits for, and the end."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("faulthandler.disable", lambda: None)
    ours, theirs = multiprocessing.Pipe()
    spare, _ = multiprocessing.Pipe()
    calls: list[Call[Any]] = [Call(_double, (21,)), Call(_refuse)]
    for call in calls:
        ours.send(call)
    closing = threading.Timer(0.3, ours.close)
    closing.start()
    isolate._serve(theirs, spare)
    closing.join()


def test_causes_of_death_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isolate._cause(-signal.SIGBUS) == "SIGBUS"
    assert isolate._cause(-120) == "signal 120"
    assert isolate._cause(3) == "exit status 3"
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert isolate._cores() >= 1
