"""Recorded outputs against the files on disk: one file, all of a chain, those of one run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from scichain_wf import audit
from scichain_wf.audit import FileState, Verdict
from scichain_wf.audit.artifact import verify_artifact_on
from scichain_wf.filehash import hash_directory
from scichain_wf.ledger import rawread
from scichain_wf.ledger.isolate import Inline
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.text import digest_text
from scichain_wf.model.uri import file_uri
from tests.builders import ChainBuilder
from tests.chains import DiskChain, small_chain, write_files
from tests.unit.audit.support import ids, started

Recorded = tuple[DiskChain, Path]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A workflow's directory."""
    return (tmp_path / "work").resolve()


@pytest.fixture
def recorded(work: Path) -> Recorded:
    """A run of twelve tasks with its outputs on disk."""
    with small_chain(work / ".scichain") as chain:
        write_files(chain)
    return chain, work


def look(root: Path, path: Path, **options: object) -> audit.Result:
    """`verify_artifact` in this process."""
    roots = options.get("roots", {})
    try:
        return verify_artifact_on(Inline(), ChainLayout(root), path, roots, options.get("trust_root"), None)  # type: ignore[arg-type]
    finally:
        rawread.release()


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def recorded_output(work: Path, output: JsonObject, status: str = "ok") -> Path:
    """A chain with one task that made `output`; returns the chain directory."""
    with started(work / ".scichain") as chain:
        chain.block(1, [chain.builder.task("make", [], [output], status=status)])
        chain.checkpoint()
    return chain.root


def test_all_outputs_match(recorded: Recorded) -> None:
    chain, _ = recorded
    result = audit.verify_files(chain.root, jobs=1)
    assert (result.verdict, result.counts["files-match"]) == (Verdict.VERIFIED, 12)
    result = audit.verify_files(chain.root, run=chain.builder.run.hex(), jobs=1)
    assert (result.verdict, result.counts["files-match"]) == (Verdict.VERIFIED, 12)


def test_files_are_found_although_many_records_came_before_their_runs_start(work: Path) -> None:
    """So it is where many tasks begin at once: their outboxes may be read first."""
    with DiskChain(work / ".scichain", ChainBuilder(slots=1, seed=1)) as chain:
        build, chain.contents = chain.builder, {f"out/{number}.txt": b"%d" % number for number in range(100)}
        made = enumerate(chain.contents.items())
        chain.block(1, [build.task(f"make n={number}", [], [build.artifact(*file)]) for number, file in made])
        chain.block(1, [build.run_start(path=str(work), from_chain=".."), build.run_end(100)])
        chain.checkpoint()
        write_files(chain)
    result = audit.verify_files(chain.root, jobs=1)
    assert (result.verdict, result.counts["files-match"]) == (Verdict.VERIFIED, 100)
    assert look(chain.root, work / "out/7.txt").files[0].state is FileState.MATCH


def test_changed_and_missing_files_are_named_with_the_task_that_made_them(recorded: Recorded) -> None:
    chain, work = recorded
    (work / "out/3.txt").write_text("edited")
    (work / "out/4.txt").unlink()
    result = audit.verify_files(chain.root, jobs=1)
    assert (result.exit_code, ids(result)) == (1, {"SC-FILE-001", "SC-FILE-002"})
    assert {(Path(f.path or "").name, f.state, f.task) for f in result.files} == {
        ("3.txt", FileState.CHANGED, "rule n=3"),
        ("4.txt", FileState.MISSING, "rule n=4"),
    }
    assert "3.txt" in result.sentence()


@pytest.mark.usefixtures("children")
def test_one_file_is_proved_by_a_child_process(recorded: Recorded) -> None:
    chain, work = recorded
    result = audit.verify_artifact(chain.root, work / "out/3.txt", trust_root=chain.builder.chain)
    assert (result.verdict, result.findings) == (Verdict.VERIFIED, ())
    (file,) = result.files
    assert (file.state, file.task, file.run) == (FileState.MATCH, "rule n=3", chain.builder.run.hex())


@pytest.mark.parametrize(
    ("change", "state", "exit_code"),
    [
        (lambda path: path.write_text("edited"), FileState.CHANGED, 1),
        (lambda path: path.unlink(), FileState.MISSING, 1),
        (lambda path: (path.unlink(), path.mkdir()), FileState.CHANGED, 1),
        (make_fifo, FileState.CHANGED, 1),
        (lambda path: (path.rename(path.with_name("moved")), path.symlink_to("moved")), FileState.MATCH, 0),
        (lambda path: (path.unlink(), path.symlink_to("nowhere")), FileState.MISSING, 1),
        (lambda path: (path.unlink(), path.symlink_to(path.name)), FileState.UNREADABLE, 3),
    ],
    ids=["edited", "removed", "directory", "fifo", "moved behind a link", "dangling link", "link to itself"],
)
def test_what_became_of_one_file(recorded: Recorded, change: object, state: FileState, exit_code: int) -> None:
    chain, work = recorded
    change(work / "out/3.txt")  # type: ignore[operator]
    result = look(chain.root, work / "out/3.txt")
    assert (result.files[0].state, result.exit_code) == (state, exit_code)


def test_a_file_behind_a_link_is_named(recorded: Recorded) -> None:
    chain, work = recorded
    (work / "out/3.txt").rename(work / "moved")
    (work / "out/3.txt").symlink_to(work / "moved")
    result = look(chain.root, work / "out/3.txt")
    assert (result.verdict, ids(result)) == (Verdict.WARNINGS, {"SC-FILE-003"})


def test_a_file_nobody_recorded_is_unknown(recorded: Recorded) -> None:
    chain, work = recorded
    for path in (work / "out/nothing.txt", work / "with space\n\x1b[1m", Path("/")):
        result = look(chain.root, path)
        assert (result.exit_code, result.files[0].state) == (3, FileState.UNKNOWN)
        assert "\x1b" not in result.sentence() + result.findings[0].line()


def test_a_file_is_found_under_every_spelling_of_its_path(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    chain, work = recorded
    (work.parent / "alias").symlink_to(work)
    monkeypatch.chdir(work / "out")
    for path in (Path("3.txt"), Path("../out/3.txt"), work.parent / "alias/out/3.txt"):
        assert look(chain.root, path).files[0].state is FileState.MATCH


def test_a_copy_of_workflow_and_chain_still_resolves(recorded: Recorded, tmp_path: Path) -> None:
    _, work = recorded
    shutil.copytree(work, tmp_path / "copy")
    (tmp_path / "copy/out/3.txt").write_text("edited in the copy")
    assert look(tmp_path / "copy/.scichain", tmp_path / "copy/out/3.txt").files[0].state is FileState.CHANGED
    assert look(tmp_path / "copy/.scichain", tmp_path / "copy/out/4.txt").files[0].state is FileState.MATCH
    shutil.rmtree(work)
    result = audit.verify_files(tmp_path / "copy/.scichain", jobs=1)
    assert {Path(f.path or "") for f in result.files} == {tmp_path / "copy/out/3.txt"}


def test_a_chain_whose_files_are_elsewhere_is_incomplete_unless_the_root_is_given(
    recorded: Recorded, tmp_path: Path
) -> None:
    chain, work = recorded
    shutil.copytree(chain.root, tmp_path / "a/b/chain")
    work.rename(tmp_path / "elsewhere")
    result = audit.verify_files(tmp_path / "a/b/chain", jobs=1)
    assert (result.verdict, ids(result), result.counts["files-elsewhere"]) == (Verdict.INCOMPLETE, {"SC-FILE-006"}, 12)
    roots = {"00112233445566aa": tmp_path / "elsewhere"}
    assert audit.verify_files(tmp_path / "a/b/chain", roots=roots, jobs=1).exit_code == 0


def test_directories_are_compared_as_a_whole(work: Path) -> None:
    made = work / "made"
    (made / "empty").mkdir(parents=True)
    (made / "a").write_text("a")
    digest = hash_directory(made)
    output: JsonObject = {
        "uri": file_uri(os.fsencode(made)),
        "role": "out",
        "state": "directory",
        "digest": digest_text(digest.digest),
        "files": 1,
        "size_bytes": 1,
    }
    root = recorded_output(work, output)
    assert look(root, made).files[0].state is FileState.MATCH
    (made / "empty").rmdir()
    assert look(root, made).files[0].state is FileState.CHANGED


@pytest.mark.parametrize(
    ("output", "status", "present", "expected"),
    [
        ({"state": "temporary", "digest": digest_text(bytes(32))}, "ok", False, FileState.GONE),
        ({"state": "temporary", "digest": digest_text(bytes(32))}, "ok", True, FileState.CHANGED),
        ({"state": "file", "digest": digest_text(bytes(32))}, "failed", False, FileState.GONE),
        ({"state": "unhashed"}, "ok", True, FileState.UNHASHED),
        ({"state": "unhashed", "size_bytes": 7}, "ok", True, FileState.UNHASHED),
        ({"state": "unhashed", "size_bytes": 8}, "ok", True, FileState.CHANGED),
        ({"state": "absent"}, "ok", False, FileState.GONE),
        ({"state": "absent"}, "ok", True, FileState.UNHASHED),
        ({"state": "pipe"}, "ok", False, FileState.GONE),
        ({"state": "pipe"}, "ok", True, FileState.CHANGED),
    ],
)
def test_states_other_than_a_plain_file(
    work: Path, output: JsonObject, status: str, present: bool, expected: FileState
) -> None:
    path = work / "x"
    root = recorded_output(work, {"uri": file_uri(os.fsencode(path)), "role": "out", **output}, status)
    if present:
        path.write_text("content")
    assert look(root, path).files[0].state is expected


def test_a_file_on_another_host_is_not_looked_for_here(work: Path) -> None:
    uri = file_uri(b"/data/x", "another-host.invalid")
    root = recorded_output(work, {"uri": uri, "role": "out", "state": "file", "digest": digest_text(bytes(32))})
    result = audit.verify_files(root, jobs=1)
    assert (result.counts["files-elsewhere"], ids(result)) == (1, {"SC-FILE-006"})
    assert "another-host.invalid" in result.findings[0].actual


def test_two_tries_committed_in_the_other_order_than_they_ran_do_not_alarm(work: Path) -> None:
    with started(work / ".scichain") as chain:
        builder = chain.builder
        first = builder.task("x", [], [builder.artifact("out.txt", b"first")])
        second = builder.task("x", [], [builder.artifact("out.txt", b"second")])
        chain.block(1, [second])
        chain.block(2, [first])
        chain.checkpoint()
    (work / "out.txt").write_text("second")
    assert look(chain.root, work / "out.txt").files[0].state is FileState.MATCH
    (work / "out.txt").write_text("first")
    assert look(chain.root, work / "out.txt").files[0].state is FileState.MATCH  # the newest record on the chain
    (work / "out.txt").write_text("third")
    assert look(chain.root, work / "out.txt").files[0].state is FileState.CHANGED


def test_an_earlier_version_on_disk_is_named_as_such(work: Path) -> None:
    with started(work / ".scichain") as chain:
        builder = chain.builder
        for content in (b"first", b"second"):
            chain.block(1, [builder.task("x", [], [builder.artifact("out.txt", content)])])
        chain.checkpoint()
    (work / "out.txt").write_text("first")
    result = look(chain.root, work / "out.txt")
    assert result.files[0].state is FileState.CHANGED
    assert "an earlier version" in result.findings[0].actual


def test_a_record_after_the_checkpoint_is_not_proved_yet(work: Path) -> None:
    with started(work / ".scichain") as chain:
        chain.checkpoint()
        chain.block(1, [chain.builder.task("x", [], [chain.builder.artifact("out.txt", b"x")])])
    (work / "out.txt").write_text("x")
    result = look(chain.root, work / "out.txt")
    assert (result.verdict, ids(result)) == (Verdict.INCOMPLETE, {"SC-CHAIN-098"})


def test_files_recorded_without_content_are_one_line(work: Path) -> None:
    uri = file_uri(os.fsencode(work / "x"))
    root = recorded_output(work, {"uri": uri, "role": "out", "state": "unhashed"})
    (work / "x").write_text("x")
    result = audit.verify_files(root, jobs=1)
    assert (result.verdict, result.counts["files-unhashed"]) == (Verdict.VERIFIED, 1)
    assert "SC-FILE-007" in {finding.id for finding in result.findings}


def test_values_are_not_looked_for_on_disk(work: Path) -> None:
    uri = f"value:{'0' * 32}/task/1"
    value: JsonObject = {"uri": uri, "role": "out", "state": "file", "digest": digest_text(bytes(32))}
    result = audit.verify_files(recorded_output(work, value), jobs=1)
    assert result.verdict is Verdict.VERIFIED
    assert not any(name.startswith("files-") for name in result.counts)
