"""What the tamper drill does to a copy of a recorded workflow, and what is said of it then.

`MANIPULATIONS` is the truth of docs/explanation/tamper-drill.md (docs/generate_tamper_drill.py).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scichain_wf.ledger import keys
from scichain_wf.ledger.layout import ChainLayout
from tests.integration.changed_ledger import Edit, Ledger


@dataclass(frozen=True)
class Manipulation:
    """One thing that can be done, and what is said of it.

    Attributes:
        name: what is done, in words.
        apply: does it to a copy.
        verdict: of `verify`.
        findings: ids that it names, informational ones left out.
        reruns: rules that Snakemake would run again.
        subject: what the findings must name (of the unruly workflow), and the target of the dry-run.
    """

    name: str
    apply: Callable[[Path], object] | None
    verdict: str = "VERIFIED"
    findings: tuple[str, ...] = ()
    reruns: tuple[str, ...] = ()
    subject: str = ""


def _times_kept(path: Path, change: Callable[[Path], object]) -> None:
    status = path.stat()
    change(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replace(name: str, old: bytes, new: bytes, *, times_kept: bool = False) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new, 1))

    return lambda work: _times_kept(work / name, change) if times_kept else change(work / name)


def _swap(work: Path) -> None:
    one, other, between = work / "out/a.count", work / "out/b.count", work / "between"
    one.rename(between)
    other.rename(one)
    between.rename(other)


def _link(work: Path, target: str) -> None:
    (work / "out/a.clean").rename(work / "moved")
    shutil.copy2(work / "moved", work / "equal")
    (work / "out/a.clean").symlink_to(work / target)


def _copied_over(work: Path) -> None:
    path = work / "out/a.count"
    shutil.copy2(path, work / "copy")
    (work / "copy").replace(path)


def _directory_instead(work: Path) -> None:
    (work / "out/kept").unlink()
    (work / "out/kept").mkdir()


def _append_to_protected(work: Path) -> None:
    path = work / "out/kept"
    path.chmod(0o644)
    with path.open("a") as file:
        file.write("more\n")
    path.chmod(0o444)


def _metadata(work: Path, name: str) -> Path:
    return work / ".snakemake/metadata" / base64.b64encode(name.encode()).decode()


def _edit_metadata(work: Path) -> None:
    path = _metadata(work, "out/a.count")
    value = json.loads(path.read_bytes())
    value["shellcmd"] = "sh count.sh elsewhere > out/a.count"
    value["code"] = f"{value['code']}x"
    path.write_text(json.dumps(value))


def _edit_output_and_metadata(work: Path) -> None:
    """A careful forger: content, time and Snakemake's own record agree again."""
    path = work / "out/a.count"
    path.write_text("4\n")
    record = _metadata(work, "out/a.count")
    value = json.loads(record.read_bytes())
    value["endtime"] = path.stat().st_mtime
    record.write_text(json.dumps(value))
    for later in ("out/report.txt", "out/kept"):
        os.utime(work / later)


def _edit_chain(work: Path, edits: Callable[[Ledger], list[Edit]]) -> None:
    ledger = Ledger(ChainLayout(work / ".scichain"))
    try:
        ledger.apply(edits(ledger))
    finally:
        ledger.close()


def _place_of(ledger: Ledger, task: bytes) -> tuple[bytes, bytes]:
    """Height and block of the record of a task."""
    for height in range(ledger.size):
        key = keys.U64.pack(height)
        block = ledger.get(keys.BLOCKS, key)
        assert block is not None
        if b'"exit_status":0' in block and b'"task":"%s"' % task in block:
            return key, block
    raise AssertionError(task)


def _remove_record(ledger: Ledger) -> list[Edit]:
    key, _ = _place_of(ledger, b"report")
    return [Edit(keys.BLOCKS, key, None)]


def _change_record(ledger: Ledger) -> list[Edit]:
    key, block = _place_of(ledger, b"report")
    return [Edit(keys.BLOCKS, key, block.replace(b'"exit_status":0', b'"exit_status":1', 1))]


def _cut_off(ledger: Ledger) -> list[Edit]:
    last = keys.U64.pack(ledger.size - 1)
    return [Edit(name, last, None) for name in (keys.LINKS, keys.BLOCKS)]


def _other_chain(work: Path) -> None:
    shutil.rmtree(work / ".scichain")
    shutil.copytree(work.parent / "unruly" / ".scichain", work / ".scichain")


CHANGED: Final = ("FAILED", ("SC-FILE-001",))
AFTER_CLEAN: Final = ("count", "kept", "report", "scratch")
ALL: Final = ("clean", *AFTER_CLEAN)
MANIPULATIONS: Final = (
    Manipulation("nothing", lambda work: None),
    # --- contents
    Manipulation("a line appended to the last output", _replace("out/report.txt", b"3", b"3\n3"), *CHANGED, ("kept",)),
    Manipulation(
        "one digit of the last output changed, its time put back",
        _replace("out/report.txt", b"3", b"2", times_kept=True),
        *CHANGED,
    ),
    Manipulation(
        "one digit of an intermediate output changed", _replace("out/a.clean", b"2", b"4"), *CHANGED, AFTER_CLEAN
    ),
    Manipulation("the same, its time put back", _replace("out/a.clean", b"2", b"4", times_kept=True), *CHANGED),
    Manipulation(
        "an output emptied",
        lambda work: (work / "out/a.count").write_bytes(b""),
        *CHANGED,
        ("kept", "report", "scratch"),
    ),
    Manipulation("two outputs swapped", _swap, *CHANGED),
    Manipulation("a protected output changed and protected again", _append_to_protected, *CHANGED),
    Manipulation("an output rewritten with the same content", _copied_over),
    # --- names
    Manipulation(
        "the last output deleted",
        lambda work: (work / "out/report.txt").unlink(),
        "FAILED",
        ("SC-FILE-002",),
        ("kept", "report", "scratch"),
    ),
    Manipulation(
        "an intermediate output deleted", lambda work: (work / "out/a.clean").unlink(), "FAILED", ("SC-FILE-002",)
    ),
    Manipulation(
        "an output replaced by a symbolic link to itself elsewhere",
        lambda work: _link(work, "moved"),
        "VERIFIED WITH WARNINGS",
        ("SC-FILE-003",),
    ),
    Manipulation(
        "an output replaced by a symbolic link to an equal file",
        lambda work: _link(work, "equal"),
        "VERIFIED WITH WARNINGS",
        ("SC-FILE-003",),
    ),
    Manipulation(
        "an output replaced by a symbolic link to another output",
        lambda work: _link(work, "out/b.clean"),
        *CHANGED,
        AFTER_CLEAN,
    ),
    Manipulation("an output replaced by a directory", _directory_instead, "FAILED", ("SC-FILE-004",)),
    Manipulation(
        "a removed temporary output put back with other content",
        lambda work: (work / "out/scratch").write_text("other\n"),
        *CHANGED,
        ("kept", "report"),
    ),
    Manipulation(
        "a file that nobody made laid beside the outputs", lambda work: (work / "out/c.count").write_text("7\n")
    ),
    # --- directories
    Manipulation(
        "a file added to a directory output", lambda work: (work / "out/folder/4").write_text("4\n"), *CHANGED
    ),
    Manipulation("a file of a directory output removed", lambda work: (work / "out/folder/2").unlink(), *CHANGED),
    Manipulation(
        "a file of a directory output renamed",
        lambda work: (work / "out/folder/2").rename(work / "out/folder/5"),
        *CHANGED,
    ),
    Manipulation(
        "a file of a directory output changed, its time put back",
        _replace("out/folder/2", b"2", b"3", times_kept=True),
        *CHANGED,
    ),
    # --- what is no content
    Manipulation("an intermediate output touched", lambda work: os.utime(work / "out/a.clean")),
    Manipulation("an output's time set to 1970", lambda work: os.utime(work / "out/a.count", (1, 1))),
    Manipulation("an output made executable for everybody", lambda work: (work / "out/a.count").chmod(0o777)),
    # --- what the workflow started from
    Manipulation("a source changed", _replace("data/a.csv", b"2", b"4"), "VERIFIED", (), ALL),
    Manipulation("a source changed, its time put back", _replace("data/a.csv", b"2", b"4", times_kept=True)),
    Manipulation("a source deleted", lambda work: (work / "data/a.csv").unlink()),
    Manipulation("a script that is an input changed", _replace("count.sh", b"-l", b"-c"), "VERIFIED", (), AFTER_CLEAN),
    Manipulation(
        "a command in the Snakefile changed",
        _replace("Snakefile", b"sort {input}", b"sort -r {input}"),
        "VERIFIED",
        (),
        ALL,
    ),
    # --- Snakemake's own records
    Manipulation("Snakemake's metadata edited", _edit_metadata, "VERIFIED", (), AFTER_CLEAN),
    Manipulation("Snakemake's metadata deleted", lambda work: shutil.rmtree(work / ".snakemake/metadata")),
    Manipulation(
        "an output changed, later times and Snakemake's metadata made to fit", _edit_output_and_metadata, *CHANGED
    ),
    # --- the chain
    Manipulation(
        "a record removed from the chain", lambda work: _edit_chain(work, _remove_record), "FAILED", ("SC-CHAIN-006",)
    ),
    Manipulation(
        "a record changed in the chain",
        lambda work: _edit_chain(work, _change_record),
        "FAILED",
        ("SC-CHAIN-010", "SC-CHAIN-030"),
    ),
    Manipulation(
        "the newest link cut off the chain", lambda work: _edit_chain(work, _cut_off), "FAILED", ("SC-CHAIN-097",)
    ),
    Manipulation(
        "the checkpoint deleted", lambda work: (work / ".scichain/checkpoint").unlink(), "INCOMPLETE", ("SC-CHAIN-093",)
    ),
    Manipulation("the whole chain replaced by another one", _other_chain, "FAILED", ("SC-CHAIN-090",)),
    # --- while the workflow ran
    Manipulation(
        "while it ran: an output changed after its job, before its reader",
        None,
        "FAILED",
        ("SC-TRACE-001",),
        subject="second",
    ),
    Manipulation("while it ran: a source changed between its two readers", None, "FAILED", subject="third"),
    Manipulation("while it ran: a later rule overwrote an output", None, *CHANGED, subject="good"),
)
