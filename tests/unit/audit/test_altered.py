"""One file, one run, all files: on a chain whose stored entries were altered."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from scichain_wf import audit
from scichain_wf.audit import FileState, Verdict
from scichain_wf.audit.epochs import Signatures
from scichain_wf.audit.roots import Roots, absolute, runs_newest_first
from scichain_wf.crypto.hashing import Domain
from scichain_wf.errors import LedgerCorrupt, LedgerError, UsageError
from scichain_wf.ledger import keys
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.rawread import RawLedger
from scichain_wf.model.bodies import Kind
from scichain_wf.model.link import Annotation, Mark
from scichain_wf.model.transaction import Transaction
from scichain_wf.model.uri import work_uri
from tests.builders import ROOT_ID, signing_key
from tests.chains import DiskChain, small_chain, write_files
from tests.unit.audit.support import get, ids, put, started


@pytest.fixture
def root(tmp_path: Path) -> Path:
    chain = small_chain((tmp_path / "work").resolve() / ".scichain")
    chain.close()
    write_files(chain)
    return chain.root


def file_of(root: Path, name: str) -> Path:
    return root.parent / "out" / name


def version_key(name: str, height: int, index: int) -> bytes:
    return keys.uri_key(work_uri(ROOT_ID, name.encode())) + keys.OUTPUT.pack(height, index, 0)


def altered(root: Path, database: str, key: bytes, old: bytes, new: bytes) -> None:
    value = get(root, database, key)
    assert old in value
    put(root, [(database, key, value.replace(old, new, 1))])


def test_an_index_that_leads_nowhere_fails_the_file(root: Path) -> None:
    for place in ((3, 900), (900, 0), (3, 0)):  # no such transaction, no such block, a transaction that is no task
        key = version_key("out/3.txt", place[0], place[1])
        put(root, [(keys.ARTIFACTS, version_key("out/3.txt", 3, 4), None), (keys.ARTIFACTS, key, bytes(32))])
        assert ids(audit.verify_artifact(root, file_of(root, "3.txt"))) == {"SC-CHAIN-020"}
        assert audit.verify_files(root, jobs=1).exit_code == 1
        put(root, [(keys.ARTIFACTS, key, None), (keys.ARTIFACTS, version_key("out/3.txt", 3, 4), bytes(32))])


def test_an_index_that_leads_to_another_files_record_fails_the_file(root: Path) -> None:
    put(root, [(keys.ARTIFACTS, version_key("out/3.txt", 5, 2), bytes(32))])
    assert ids(audit.verify_artifact(root, file_of(root, "3.txt"))) == {"SC-CHAIN-020"}


def test_a_record_that_was_altered_is_not_proved(root: Path) -> None:
    altered(root, keys.BLOCKS, keys.height_key(3), b'"exit_status":0', b'"exit_status":1')
    result = audit.verify_artifact(root, file_of(root, "3.txt"))
    assert "SC-CHAIN-111" in ids(result)
    assert result.exit_code == 1
    run = audit.verify_run(root, small_run(root), jobs=1)
    assert "SC-CHAIN-010" in ids(run)


def small_run(root: Path) -> bytes:
    """The only run of the chain."""
    ledger = RawLedger(ChainLayout(root).live_ledger())
    try:
        (run,) = runs_newest_first(ledger)
    finally:
        ledger.close()
    return run


def test_missing_parts_of_a_proof_fail_the_file(root: Path) -> None:
    for database in (keys.LINKS, keys.CERTIFICATES):
        value = get(root, database, keys.height_key(3))
        put(root, [(database, keys.height_key(3), None)])
        assert audit.verify_artifact(root, file_of(root, "3.txt")).exit_code == 1
        put(root, [(database, keys.height_key(3), b"{}")])
        assert audit.verify_artifact(root, file_of(root, "3.txt")).exit_code == 1
        put(root, [(database, keys.height_key(3), value)])
    assert audit.verify_artifact(root, file_of(root, "3.txt")).exit_code == 0


def test_an_epoch_that_cannot_be_read_fails_everything_that_leans_on_it(root: Path) -> None:
    altered(root, keys.BLOCKS, keys.height_key(2), b'"kind":"epoch"', b'"kind":"epoxy"')
    assert audit.verify_chain(root, jobs=1).exit_code == 1
    assert audit.verify_artifact(root, file_of(root, "3.txt")).exit_code == 1
    assert audit.verify_run(root, small_run(root), jobs=1).exit_code == 1
    with pytest.raises(LedgerCorrupt):
        audit.make_receipt(root, file_of(root, "3.txt"))


def test_a_tree_that_was_altered_fails_a_run(root: Path) -> None:
    put(root, [(keys.TREE, keys.node_key(1, 0), bytes(32))])
    assert "SC-CHAIN-096" in ids(audit.verify_run(root, small_run(root), jobs=1))


def test_a_run_with_a_broken_index_cannot_be_outlined(root: Path) -> None:
    run = small_run(root)
    put(root, [(keys.RUNS, run + b"short", b"task")])
    assert ids(audit.verify_run(root, run, jobs=1)) == {"SC-CHAIN-020"}
    assert audit.verify_files(root, run=run, jobs=1).exit_code == 1


def test_a_run_after_its_checkpoint_or_before_an_older_one(root: Path, tmp_path: Path) -> None:
    with started(tmp_path / "behind") as chain:
        chain.checkpoint()
        chain.block(1, [chain.builder.run_end(0)])
    result = audit.verify_run(chain.root, chain.builder.run, jobs=1)
    assert (result.verdict, ids(result)) == (Verdict.INCOMPLETE, {"SC-CHAIN-098"})
    for height in (5, 4, 3):
        for database in (keys.LINKS, keys.BLOCKS):
            put(root, [(database, keys.height_key(height), None)])
    assert "SC-CHAIN-097" in ids(audit.verify_run(root, small_run(root), jobs=1))


def test_marks_of_the_producing_task_are_warnings_of_the_file(tmp_path: Path) -> None:
    root = (tmp_path / "work").resolve() / ".scichain"
    with started(root) as chain:
        builder = chain.builder
        chain.block(1, [builder.task("make", [], [builder.artifact("a", b"made")])])
        reads = [builder.artifact("a", b"changed"), builder.artifact("b", b"b") | {"unresolved": True}]
        task = builder.task("read", reads, [builder.artifact("c", b"c")])
        marks = (Annotation(0, Mark.CONTESTED, ("a",)), Annotation(0, Mark.UNRESOLVED, ("b",)))
        chain.append(builder.poet(builder.block(2, [task]), marks, reason="conflict"))
        chain.checkpoint()
    (root.parent / "c").write_text("c")
    result = audit.verify_artifact(root, root.parent / "c")
    assert (result.verdict, ids(result)) == (Verdict.WARNINGS, {"SC-TRACE-001", "SC-TRACE-004"})
    receipt = audit.make_receipt(root, root.parent / "c")
    result = audit.verify_receipt(receipt, chain.builder.chain, root.parent / "c")
    assert (result.verdict, ids(result)) == (Verdict.WARNINGS, {"SC-TRACE-001", "SC-TRACE-004"})


def test_an_unhashed_file_is_said_to_be(tmp_path: Path) -> None:
    root = (tmp_path / "work").resolve() / ".scichain"
    with started(root) as chain:
        builder = chain.builder
        chain.block(1, [builder.task("make", [], [builder.artifact("a")])])
        chain.checkpoint()
    (root.parent / "a").write_text("a")
    result = audit.verify_artifact(root, root.parent / "a")
    assert result.files[0].state is FileState.UNHASHED
    assert (ids(result), result.verdict) == ({"SC-FILE-013"}, Verdict.INCOMPLETE)
    receipt = audit.make_receipt(root, root.parent / "a")
    result = audit.verify_receipt(receipt, chain.builder.chain, root.parent / "a")
    assert (result.files[0].state, ids(result), result.exit_code) == (FileState.UNHASHED, {"SC-FILE-013"}, 3)


def test_a_receipt_of_a_file_that_may_be_gone_says_missing(tmp_path: Path) -> None:
    root = (tmp_path / "work").resolve() / ".scichain"
    with started(root) as chain:
        builder = chain.builder
        chain.block(1, [builder.task("make", [], [builder.artifact("a", b"a") | {"state": "temporary"}])])
        chain.checkpoint()
    receipt = audit.make_receipt(root, root.parent / "a")
    assert ids(audit.verify_receipt(receipt, chain.builder.chain, root.parent / "a")) == {"SC-FILE-002"}


def test_no_receipt_is_made_beyond_the_checkpoint(tmp_path: Path) -> None:
    root = (tmp_path / "work").resolve() / ".scichain"
    with started(root) as chain:
        chain.checkpoint()
        chain.block(1, [chain.builder.task("make", [], [chain.builder.artifact("a", b"a")])])
    with pytest.raises(LedgerError, match="no receipt can be made yet"):
        audit.make_receipt(root, root.parent / "a")


def test_without_a_checkpoint_one_file_is_incomplete(root: Path) -> None:
    (root / "checkpoint").unlink()
    assert ids(audit.verify_artifact(root, file_of(root, "3.txt"))) == {"SC-CHAIN-093"}


def test_a_checkpoint_ahead_of_the_chain_fails_one_file(root: Path) -> None:
    for height in (5, 4):
        for database in (keys.LINKS, keys.BLOCKS):
            put(root, [(database, keys.height_key(height), None)])
    assert {"SC-CHAIN-097", "SC-CHAIN-111"} <= ids(audit.verify_artifact(root, file_of(root, "3.txt")))


def test_a_run_without_a_start_or_with_a_broken_one_has_no_roots(tmp_path: Path) -> None:
    root = (tmp_path / "work").resolve() / ".scichain"
    with started(root) as chain:
        builder = chain.builder
        other = Transaction(
            builder.chain, builder.key(), Kind.NOTE, type(builder.run)(b"r" * 16), "node-1", 1, {"text": "x"}
        )
        chain.block(1, [builder.task("make", [], [builder.artifact("a", b"a")]), other])
        chain.checkpoint()
    (root.parent / "a").write_text("a")
    assert audit.verify_artifact(root, root.parent / "a").exit_code == 0
    put(root, [(keys.RUNS, b"r" * 16 + keys.POSITION.pack(99, 0), b"run-start")])
    assert audit.verify_artifact(root, root.parent / "a").files[0].state is FileState.MATCH


def test_paths_that_are_none() -> None:
    for path in ("", "a\0b"):
        with pytest.raises(UsageError):
            absolute(path)
    assert Roots(b"/").path_of("no uri") is None
    assert Roots(b"/").path_of("s3://bucket/key") is None
    assert Roots(b"/").path_of(work_uri(ROOT_ID, b"x")) is None


def test_signatures_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scichain_wf.audit.epochs.BATCHES_KEPT", 2)
    key, memory = signing_key(1, "x"), Signatures()
    for number in range(5):
        data = bytes([number])
        for _ in range(2):
            assert memory.hold(key.public, Domain.BLOCK, key.sign(Domain.BLOCK, data), data)
    assert not memory.hold(key.public, Domain.BLOCK, bytes(64), b"x")


def test_a_checkpoint_that_cannot_be_read_is_an_error_of_the_system(root: Path) -> None:
    (root / "checkpoint").unlink()
    (root / "checkpoint").mkdir()
    with pytest.raises(LedgerError, match=os.fspath(root)):
        audit.verify_chain(root, jobs=1)


def test_hosts_and_slots_are_weighed_in_the_trust_statement(root: Path, tmp_path: Path) -> None:
    small_chain(tmp_path / "one", slots=1, seed=3).close()
    result = audit.verify_chain(tmp_path / "one", jobs=1)
    assert "SC-CONF-003" in {finding.id for finding in result.findings}
    assert any("Self-recorded" in line for line in result.trust)
    with DiskChain(tmp_path / "host") as chain:
        builder = chain.builder
        members = tuple(replace(member, host="node-1") for member in builder.epoch.members)
        chain.append(builder.epoch_candidate(replace(builder.epoch, epoch=builder.epoch.epoch + 1, members=members)))
        chain.checkpoint()
    result = audit.verify_chain(tmp_path / "host", jobs=1)
    assert "SC-CONF-002" in {finding.id for finding in result.findings}
    assert result.exit_code == 0
