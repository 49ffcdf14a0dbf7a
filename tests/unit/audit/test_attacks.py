"""Ways to pass a changed file off as recorded that an adversarial review found; each was open once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scichain_wf import audit
from scichain_wf.audit import FileState, Verdict, roots
from scichain_wf.errors import LedgerError, UsageError
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.model.canonical import JsonObject
from tests.chains import DiskChain
from tests.unit.audit.support import started


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A workflow's directory."""
    path = (tmp_path / "work").resolve()
    path.mkdir()
    return path


def finish(chain: DiskChain) -> None:
    chain.checkpoint()
    chain.close()


def test_a_receipt_does_not_take_a_file_for_its_sibling(work: Path) -> None:
    chain = started(work / ".scichain")
    build = chain.builder
    chain.block(1, [build.task("make", outputs=[build.artifact("a.txt", b"A"), build.artifact("b.txt", b"B")])])
    finish(chain)
    (work / "a.txt").write_bytes(b"A")
    receipt = audit.make_receipt(work / ".scichain", work / "a.txt")
    assert audit.verify_receipt(receipt, None, work / "a.txt").exit_code == 0
    (work / "a.txt").write_bytes(b"B")
    result = audit.verify_receipt(receipt, None, work / "a.txt")
    assert (result.verdict, result.files[0].state) == (Verdict.FAILED, FileState.CHANGED)
    (work / "renamed").write_bytes(b"B")
    assert "b.txt" in audit.verify_receipt(receipt, None, work / "renamed").subject


def test_a_later_run_cannot_point_away_from_changed_files(work: Path) -> None:
    chain = started(work / ".scichain")
    build = chain.builder
    chain.block(1, [build.task("make", outputs=[build.artifact("o.txt", b"A")])])
    chain.block(2, [build.run_start(path=str(work), from_chain="../../copy")])
    finish(chain)
    copy = work.parent / "copy"
    copy.mkdir()
    (copy / "o.txt").write_bytes(b"A")
    (work / "o.txt").write_bytes(b"EVIL")
    result = audit.verify_files(work / ".scichain", jobs=1)
    # The first run's place may win, which finds the change; where the later one's wins, that nothing is certain.
    assert result.verdict in (Verdict.FAILED, Verdict.INCOMPLETE)
    chain_roots = roots.Roots(os.fsencode(work / ".scichain"))
    for place in ("..", "../../copy"):
        root: JsonObject = {"id": "00112233445566aa", "host": "n", "path": str(work), "from_chain": place}
        chain_roots.learn({"roots": [root]}, (3, 0))
    assert [root for root, _ in chain_roots.moved()] == ["00112233445566aa"]


def test_a_version_that_is_neither_committed_nor_made_last_is_stale(work: Path) -> None:
    chain = started(work / ".scichain")
    build = chain.builder
    tasks = {name: build.task(name, outputs=[build.artifact("o.txt", name.encode())]) for name in ("C", "A", "B")}
    for name in ("A", "B", "C"):  # made in the order C, A, B
        chain.block(1, [tasks[name]])
    finish(chain)
    for content, state in ((b"A", FileState.CHANGED), (b"B", FileState.MATCH), (b"C", FileState.MATCH)):
        (work / "o.txt").write_bytes(content)
        result = audit.verify_files(work / ".scichain", jobs=1)
        assert (result.counts.get(f"files-{state}"), content) == (1, content)


@pytest.mark.parametrize("name", ["checkpoint", "trust-root", "data.mdb"])
def test_a_fifo_in_a_chain_directory_is_refused_and_not_waited_for(work: Path, name: str) -> None:
    chain = started(work / ".scichain")
    finish(chain)
    layout = ChainLayout(work / ".scichain")
    path = layout.live_ledger() / name if name == "data.mdb" else layout.root / name
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(LedgerError, match=r"(?:not a|no) regular file"):
        audit.verify_chain(layout.root, jobs=1)


def test_a_fifo_for_a_trust_root_is_refused_and_not_waited_for(work: Path) -> None:
    finish(started(work / ".scichain"))
    os.mkfifo(work / "pipe")
    for option in ("trust_root", "checkpoint"):
        with pytest.raises(UsageError, match="not a regular file"):
            audit.verify_chain(work / ".scichain", **{option: work / "pipe"})  # type: ignore[arg-type]


def test_a_host_name_in_capitals_is_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roots.socket, "gethostname", lambda: "Node-A")  # type: ignore[attr-defined]
    assert roots.Roots(b"/").path_of("file://node-a/tmp/x") == b"/tmp/x"
