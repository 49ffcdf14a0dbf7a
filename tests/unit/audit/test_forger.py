"""What a forger who knows this program tried, and what passed once: whoever verifies one file sees only a few records.

Nothing here needs a key that its forger would not have: most need none, only to write to the ledger's file.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from scichain_wf import audit
from scichain_wf.audit import FileState, Verdict
from scichain_wf.audit.lineage import lineage
from scichain_wf.consensus import membership
from scichain_wf.crypto.hashing import sha256
from scichain_wf.errors import LedgerError
from scichain_wf.ledger import keys
from scichain_wf.ledger.layout import DATA_FILE, ChainLayout
from scichain_wf.ledger.rawread import release, shared
from scichain_wf.model.uri import work_uri
from tests.builders import ROOT_ID, ChainBuilder, signing_key
from tests.chains import DiskChain
from tests.unit.audit.support import audited, found, get, ids, put, started, verify_here
from tests.unit.audit.test_chain import rewrite_last_link

EVIL = b"EVIL"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A workflow's directory."""
    path = (tmp_path / "work").resolve()
    path.mkdir()
    return path


def finish(chain: DiskChain) -> Path:
    chain.checkpoint()
    chain.close()
    return chain.root


def version_key(name: str, height: int, index: int = 0, output: int = 0) -> bytes:
    return keys.uri_key(work_uri(ROOT_ID, name.encode())) + keys.OUTPUT.pack(height, index, output)


def rewrite(root: Path, height: int, *changes: tuple[bytes, bytes]) -> None:
    """Change stored bytes of a block, at equal lengths."""
    data = get(root, keys.BLOCKS, keys.height_key(height))
    for old, new in changes:
        assert len(old) == len(new)
        assert old in data
        data = data.replace(old, new)
    put(root, [(keys.BLOCKS, keys.height_key(height), data)])


# --- what leads to a record, and the record itself ---------------------------------------------------------
def two_files(work: Path) -> Path:
    """`o.txt` holds EVIL and was recorded as A; `p.txt`, made after it and committed before it, is recorded as EVIL."""
    chain = started(work / ".scichain")
    build = chain.builder
    first = build.task("make", outputs=[build.artifact("o.txt", b"A")])
    chain.block(1, [build.task("late", outputs=[build.artifact("p.txt", EVIL)])])
    chain.block(2, [first])
    (work / "o.txt").write_bytes(EVIL)
    return finish(chain)


def test_an_index_entry_makes_no_later_version_of_a_changed_file(work: Path) -> None:
    """It led to another file's record; its digest was believed."""
    root = two_files(work)
    put(root, [(keys.ARTIFACTS, version_key("o.txt", 4), sha256(EVIL))])
    result = audit.verify_artifact(root, work / "o.txt")
    assert (result.files[0].state, result.verdict) == (FileState.CHANGED, Verdict.FAILED)


def test_a_record_that_was_made_last_is_proved_like_the_newest(work: Path) -> None:
    """The earlier record that the file is was not: rewriting its block sufficed."""
    root = two_files(work)
    put(root, [(keys.ARTIFACTS, version_key("o.txt", 4), sha256(EVIL))])
    rewrite(root, 4, (b"p.txt", b"o.txt"))
    assert "SC-CHAIN-111" in ids(audit.verify_artifact(root, work / "o.txt"))


def test_where_a_workflow_lay_is_proved_like_what_it_made(work: Path) -> None:
    """The `run-start` that ties names to places was not: another directory's file passed for the recorded one."""
    chain = DiskChain(work / ".scichain")
    build = chain.builder
    chain.block(1, [build.run_start(path=str(work / "b"), from_chain="../b")])
    chain.block(1, [build.task("make", outputs=[build.artifact("o.txt", EVIL)])])
    root = finish(chain)
    for name in ("a", "b"):
        (work / name).mkdir()
        (work / name / "o.txt").write_bytes(EVIL)
    assert audit.verify_artifact(root, work / "b" / "o.txt").verdict is Verdict.VERIFIED
    assert ids(audit.verify_artifact(root, work / "a" / "o.txt")) == {"SC-FILE-008"}
    rewrite(root, 3, (b'/b"', b'/a"'))
    assert "SC-CHAIN-111" in ids(audit.verify_artifact(root, work / "a" / "o.txt"))


# --- a kept checkpoint, against who holds every key ---------------------------------------------------------
def history(root: Path, contents: bytes, blocks: int = 7) -> DiskChain:
    """A chain from the same keys; only what its tasks made differs."""
    chain = DiskChain(root, ChainBuilder(slots=3, seed=3))
    build = chain.builder
    chain.block(1, [build.run_start(path=str(root.parent), from_chain="..")])
    for number in range(blocks):
        chain.block(1, [build.task(f"n={number}", outputs=[build.artifact(f"{number}.txt", contents)])])
    return chain


def test_a_rewritten_chain_does_not_pass_for_the_one_a_kept_checkpoint_signs(work: Path) -> None:
    """Its tree's node above the kept links was set to the kept root; one file's proof goes past that node."""
    honest = history(work.parent / "honest" / ".scichain", b"A", blocks=4)
    kept = honest.checkpoint()
    honest.close()
    forged = history(work / ".scichain", EVIL, blocks=12)  # 16 links: no root of theirs needs the node above
    root = finish(forged)
    assert (kept.size, forged.builder.chain) == (8, honest.builder.chain)
    (work / "1.txt").write_bytes(EVIL)
    assert audit.verify_artifact(root, work / "1.txt", trust_root=forged.builder.chain).exit_code == 0
    put(root, [(keys.TREE, keys.node_key(3, 0), kept.root)])
    result = audit.verify_artifact(root, work / "1.txt", trust_root=forged.builder.chain, checkpoint=kept.text())
    assert ids(result) == {"SC-CHAIN-101"}
    run = audit.verify_run(root, forged.builder.run, checkpoint=kept.text(), jobs=1)
    assert "SC-CHAIN-101" in ids(run)


@pytest.mark.parametrize("older", [True, False])
def test_an_honest_chain_continues_every_checkpoint_of_it(work: Path, older: bool) -> None:
    """The kept one may be older, or newer than the one beside the chain."""
    chain = history(work / ".scichain", b"A", blocks=3)
    first = chain.checkpoint()
    chain.block(1, [chain.builder.task("last")])
    last = chain.checkpoint()
    chain.close()
    chain.layout.checkpoint.write_text((last if older else first).text())
    (work / "1.txt").write_bytes(b"A")
    result = audit.verify_artifact(chain.root, work / "1.txt", checkpoint=(first if older else last).text())
    assert ids(result) == set()


# --- receipts ---------------------------------------------------------------------------------------------
def test_a_receipt_that_states_no_content_proves_no_file(work: Path) -> None:
    """Any file passed with the receipt of a task whose output nobody hashed."""
    chain = started(work / ".scichain")
    chain.block(1, [chain.builder.task("make", outputs=[chain.builder.artifact("a")])])
    receipt = audit.make_receipt(finish(chain), work / "a")
    (work / "paper.pdf").write_bytes(EVIL)
    result = audit.verify_receipt(receipt, chain.builder.chain, work / "paper.pdf")
    assert (ids(result), result.verdict) == ({"SC-FILE-013"}, Verdict.INCOMPLETE)


def test_a_receipt_under_a_storage_key_that_was_retired_before_its_block_is_found(work: Path) -> None:
    """Its link named the epoch before; who had stolen the old key could go on signing."""
    chain = started(work / ".scichain")
    build, old, new = chain.builder, signing_key(1, "storage"), signing_key(9, "storage")
    build.storage = old
    before = build.epoch
    epoch = membership.restated(before, build.authority, build.chain, 3, storage=new.public)
    chain.append(build.epoch_candidate(epoch))
    build.epoch = before
    stolen = build.poet(build.block(1, [build.task("make", outputs=[build.artifact("o.txt", EVIL)])]))
    link = chain.append(replace(stolen, epoch=epoch.epoch))
    build.storage = new
    chain.close()
    rewrite_last_link(chain.root, chain, replace(link, epoch=before.epoch))
    receipt = audit.make_receipt(chain.root, work / "o.txt")
    result = audit.verify_receipt(receipt, build.chain)
    assert ids(result) == {"SC-CHAIN-110"}
    assert "was not in force" in result.findings[0].actual
    assert "SC-CHAIN-082" in ids(verify_here(chain.root))


# --- records that hide others -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("state", "finding"), [("pipe", "SC-FILE-004"), ("absent", "SC-FILE-012"), ("unhashed", "SC-FILE-012")]
)
def test_a_later_record_does_not_hide_that_a_file_changed(work: Path, state: str, finding: str) -> None:
    chain = started(work / ".scichain")
    build = chain.builder
    chain.block(1, [build.task("make", outputs=[build.artifact("o.txt", b"A")])])
    chain.block(1, [build.task("hide", outputs=[build.artifact("o.txt") | {"state": state}])])
    (work / "o.txt").write_bytes(EVIL)
    result = audit.verify_files(finish(chain), jobs=1)
    assert ids(result) == {finding}
    assert result.exit_code


# --- what is read after the verification -------------------------------------------------------------------
def test_a_ledger_that_was_exchanged_is_not_taken_for_the_verified_one(work: Path) -> None:
    layout = ChainLayout(finish(history(work / ".scichain", b"A")))
    directory = layout.live_ledger()
    moment = shared(directory, None).moment
    release()
    shutil.copy(directory / DATA_FILE, directory / "new")
    os.replace(directory / "new", directory / DATA_FILE)
    with pytest.raises(LedgerError, match="exchanged"):
        shared(directory, moment)
    release()


def test_an_account_is_of_the_ledger_that_was_verified(work: Path) -> None:
    """Another one was looked up when the first had been verified: what appeared meanwhile was told unverified."""
    root = finish(history(work / ".scichain", b"A"))
    other = ChainLayout(finish(history(work.parent / "other" / ".scichain", EVIL, blocks=2)))
    newer = ChainLayout(root).ledger_dir(7)

    def swap(_done: int, _total: int) -> None:
        if not newer.exists():
            shutil.copytree(other.live_ledger(), newer)

    result = audit.audit(root, jobs=1, progress=swap)
    assert result.account is not None
    assert result.account.tasks_total == 7
    assert ChainLayout(root).live_ledger() == newer


# --- what a report says of files ---------------------------------------------------------------------------
def disks(result: audit.Result) -> dict[str, str]:
    assert result.account is not None
    return {artifact.uri.rpartition("/")[2]: artifact.disk for artifact in result.account.artifacts}


def test_files_that_are_not_there_are_not_called_matching(work: Path) -> None:
    chain = history(work / ".scichain", b"A", blocks=2)
    finish(chain)
    copy = work.parent / "copy"
    shutil.copytree(work, copy)
    (copy / "0.txt").write_bytes(b"not looked at")
    work.rename(work.parent / "gone")
    (copy / "0.txt").unlink()
    result = audit.audit(copy / ".scichain", jobs=1)
    assert "SC-FILE-006" in ids(result)
    assert disks(result) == {"0.txt": "elsewhere", "1.txt": "elsewhere"}


def test_what_a_later_run_overwrote_is_not_called_matching(work: Path) -> None:
    chain = started(work / ".scichain")
    build, first = chain.builder, chain.builder.run
    outputs = [build.artifact(name, b"A") for name in ("o.txt", "p.txt")]
    chain.block(1, [build.task("make", outputs=outputs)])
    later = build.task("again", outputs=[build.artifact("o.txt", b"B")])
    build.run = type(first)(build.key())
    chain.block(1, [build.transaction(later.kind, later.body)])
    (work / "o.txt").write_bytes(b"B")
    (work / "p.txt").write_bytes(b"A")
    result = audited(chain, run=first.hex(), jobs=1)
    assert disks(result) == {"o.txt": "superseded", "p.txt": "match"}
    assert "SC-FILE-001" not in found(result)


# --- entries that are none ---------------------------------------------------------------------------------
@pytest.mark.parametrize("key", [b"x", b"x" * 8, bytes(64)])
def test_entries_of_no_shape_are_named_and_end_nothing(work: Path, key: bytes) -> None:
    root = finish(history(work / ".scichain", b"A", blocks=2))
    for number in range(2):
        (work / f"{number}.txt").write_bytes(b"A")
    put(root, [(keys.ARTIFACTS, key, sha256(b"A")), (keys.RUNS, key, b"task"), (keys.TRANSACTIONS, key, b"")])
    assert "SC-CHAIN-032" in ids(audit.audit(root, jobs=1))
    for up in (True, False):
        assert lineage(root, work / "1.txt", up=up).artifact.uri.endswith("/1.txt")


def test_a_lineage_by_an_index_that_leads_astray_is_cut_and_ends_nothing(work: Path) -> None:
    chain = started(work / ".scichain")
    build = chain.builder
    chain.block(1, [build.task("make", [build.artifact("raw", b"raw")], [build.artifact("o.txt", b"A")])])
    root = finish(chain)
    for place in ((3, 0, 0), (4, 0, 9), (4, 9, 0), (99, 0, 0)):  # a run-start; no such output, transaction, block
        put(root, [(keys.ARTIFACTS, version_key("raw", *place), sha256(b"raw"))])
    assert [step.task for step in lineage(root, work / "o.txt", up=True).steps] == ["make"]
    put(root, [(keys.ARTIFACTS, version_key("other", 3), sha256(b"new")), (keys.ARTIFACTS, b"x", sha256(b"new"))])
    assert lineage(root, work / "o.txt", up=False).steps == []
