"""One run: the blocks that hold its records, checked as in a whole chain's verification, and what its end says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

from scichain_wf.audit import blocks, trust
from scichain_wf.audit.chain import CHECKED, check_signed, gather, head_of, trust_statement
from scichain_wf.audit.files import run_bytes
from scichain_wf.audit.result import Result, dropped_of, findings_of
from scichain_wf.audit.roots import read_transaction
from scichain_wf.crypto import merkle
from scichain_wf.errors import DecodeError, LedgerCorrupt, VerificationError
from scichain_wf.ledger import keys
from scichain_wf.ledger.fsck import Progress, check
from scichain_wf.ledger.isolate import Pool, Runner, result
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.problem import Problem, Problems
from scichain_wf.ledger.rawread import RawLedger, shared
from scichain_wf.ledger.stored import StoredBlock, Survey, Walked
from scichain_wf.ledger.walk import outline
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.link import Mark

_HEIGHTS_PER_CALL = 256


@dataclass
class _Outline:
    """A run as the index has it: how many records of each kind, where, and what its end says."""

    summary: Survey
    heights: list[int] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    late: int = 0
    stated: dict[str, int] | None = None


def verify_run(
    chain_dir: str | Path,
    run: str | bytes,
    *,
    trust_root: str | Path | bytes | None = None,
    checkpoint: str | Path | bytes | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Verify the records of one run.

    Checks every block that holds one of them, every epoch, and that all of these are under the checkpoint. Other
    blocks are not looked at. Counts are of the run's own transactions.

    Args:
        chain_dir: the chain directory; it is only read.
        run: 32 hex digits or 16 bytes.
        trust_root: as in `verify_chain`.
        checkpoint: as in `verify_chain`.
        jobs: child processes.
        progress: told about (links done, links to do).

    Raises:
        UsageError, LedgerError, UnsupportedVersion: as in `verify_chain`.
    """
    layout = ChainLayout(Path(chain_dir))
    pinned, kept = trust.parse_trust_root(trust_root), trust.parse_kept_checkpoint(checkpoint)
    run_id = run_bytes(run)
    with Pool(jobs) as pool:
        return _verify(pool, layout, run_id, pinned, kept, progress)


def _verify(
    runner: Runner,
    layout: ChainLayout,
    run: bytes,
    pinned: bytes | None,
    kept: Checkpoint | None,
    progress: Progress | None,
) -> Result:
    subject = f"run {run.hex()}"
    stated = trust.read_stated(layout)
    try:
        looked = result(runner, _outline, layout.live_ledger(), run)
    except LedgerCorrupt as error:
        return Result(
            subject, findings_of([*stated.problems, Problem("ledger-outline", str(layout.root), "", str(error))])
        )
    summary = looked.summary
    last = max(looked.heights, default=0)
    heights = sorted({*looked.heights, *(height for _, height in summary.epochs if height <= last)})
    found = check(runner, summary, partial(visit, run), heights=heights, progress=progress)
    problems = found.problems
    trust.check_ids(summary.chain, pinned, stated, problems)
    facts = gather(runner, summary, [note for note in (stated.checkpoint, kept) if note is not None], problems)
    if facts is not None:
        check_signed(summary, stated.checkpoint, kept, facts, problems)
    if stated.checkpoint is not None:
        _under_checkpoint(runner, summary, heights, stated.checkpoint, problems)
    _run_findings(looked, run, problems)
    return Result(
        subject=subject,
        findings=findings_of(problems.kept),
        counts={
            name.removeprefix("run-"): number
            for name, number in found.counts.items()
            if name.startswith("run-") and number
        },
        chain=summary.chain,
        head=None if facts is None else head_of(summary, facts, stated.checkpoint),
        trust=trust_statement(summary.chain, facts, pinned),
        checked=CHECKED,
        unchecked=("blocks that hold nothing of this run", "the files on disk"),
        dropped=dropped_of(problems.counts, problems.kept),
    )


def visit(run: bytes, ledger: RawLedger, summary: Survey, block: StoredBlock, found: Walked) -> None:
    """`blocks.visit`, and a count of the run's own transactions."""
    blocks.visit(ledger, summary, block, found)
    counts = found.counts
    duplicates = block.marks[Mark.DUPLICATE]
    for index, (_, _, of_run, kind, _, _) in enumerate(block.facts):
        if of_run == run and index not in duplicates:
            counts["run-transactions"] += 1
            counts[f"run-transactions-{block.link.mode}"] += 1
            counts["run-tasks"] += kind == b"task"
            counts["run-transactions-spool"] += block.header.source == "spool"
            counts["run-contested"] += index in block.marks[Mark.CONTESTED]
            counts["run-unresolved"] += index in block.marks[Mark.UNRESOLVED]


def _run_findings(looked: _Outline, run: bytes, problems: Problems) -> None:
    where, kinds = f"run {run.hex()}", looked.kinds
    if not kinds:
        problems.add(Problem("run-unknown", where))
        return
    if not kinds["run-start"]:
        problems.add(Problem("run-no-start", where))
    if looked.stated is None:
        problems.add(Problem("run-no-end", where))
        return
    for kind, number in looked.stated.items():
        if number != kinds[kind]:
            problems.add(Problem("run-tally", f"{kind} records of {where}", str(number), str(kinds[kind])))
    if looked.late:
        problems.add(Problem("run-late", where, "", f"{looked.late} records"))


def _under_checkpoint(
    runner: Runner, summary: Survey, heights: list[int], note: Checkpoint, problems: Problems
) -> None:
    for start in range(0, len(heights), _HEIGHTS_PER_CALL):
        part = heights[start : start + _HEIGHTS_PER_CALL]
        try:
            problems.merge(result(runner, _included, summary, part, note))
        except LedgerCorrupt as error:
            problems.add(Problem("unreadable", f"tree above heights {part[0]} to {part[-1]}", "", str(error)))


# --- in the child -----------------------------------------------------------------------------------
def _outline(directory: Path, run: bytes) -> _Outline:
    summary = outline(directory)
    ledger = shared(directory, summary.moment)
    looked = _Outline(summary)
    end: tuple[int, int] | None = None
    for key, value in ledger.prefixed(keys.RUNS, run):
        if len(key) != 16 + keys.POSITION.size:
            raise LedgerCorrupt(f"the index entry {key.hex():.100} of run {run.hex()} is malformed")
        height, index = keys.POSITION.unpack_from(key, 16)
        kind = value.decode("ascii", "replace")
        looked.kinds[kind] += 1
        looked.late += end is not None
        if kind == "run-end" and end is None:
            end = height, index
        if not looked.heights or looked.heights[-1] != height:
            looked.heights.append(height)
    if end is not None:
        try:
            body = cast("dict[str, dict[str, int]]", read_transaction(ledger, *end)["body"])
            looked.stated = body.get("counts")
        except DecodeError:
            looked.stated = None  # named where that height is walked
    return looked


def _included(summary: Survey, heights: list[int], note: Checkpoint) -> Problems:
    """Each height's link is a leaf of the tree that the checkpoint signs."""
    ledger, problems = shared(summary.directory, summary.moment), Problems()
    if note.size > summary.size:
        return problems  # named already
    for height in heights:
        if height >= note.size:
            problems.add(Problem("checkpoint-behind", f"link {height}", f"{height + 1} links", str(note.size), height))
            continue
        try:
            path = merkle.inclusion_path_from(ledger.node, height, note.size)
            merkle.verify_inclusion(ledger.link_hash(height) or bytes(32), height, note.size, path, note.root)
        except VerificationError as error:
            problems.add(Problem("checkpoint-root", f"link {height}", note.root.hex(), str(error), height))
    return problems
