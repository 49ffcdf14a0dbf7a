"""One file: its newest record, whether it still is that, and the record's proof. O(log n) in the chain's length."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple, cast

from scichain_wf.audit import trust
from scichain_wf.audit.chain import ChainFacts, check_signed, head_of, read_facts, trust_statement
from scichain_wf.audit.epochs import EpochBook
from scichain_wf.audit.files import FileLooker, FilesFound, Item
from scichain_wf.audit.proof import check_proof, make_proof, marks_of
from scichain_wf.audit.result import FileResult, FileState, Result, findings_of
from scichain_wf.audit.roots import RUNS_LOOKED_AT_MAX, Place, Roots, absolute, run_starts, runs_newest_first
from scichain_wf.errors import DecodeError, LedgerCorrupt, UsageError, VerificationError
from scichain_wf.ledger.isolate import Pool, Runner, isolated, result
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.problem import Problem, Problems
from scichain_wf.ledger.rawread import RawLedger, RawVersion, shared
from scichain_wf.ledger.stored import Survey
from scichain_wf.ledger.walk import outline
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.link import Mark

CHECKED = (
    "the file's content against its newest record",
    "the record: in a block that its maker signed, certified under the epoch in force, linked, under the checkpoint",
    "the checkpoint: signed by the storage key that the genesis' authority delegated",
)
UNCHECKED = ("the rest of the chain: run the chain's verification to know that no newer record of this file is hidden",)


@dataclass
class _Looked:
    """What a child found of one file."""

    summary: Survey
    facts: ChainFacts
    problems: Problems = field(default_factory=Problems)
    files: list[FileResult] = field(default_factory=list)
    places: set[Place] = field(default_factory=set)
    """Every transaction whose word was taken."""


def verify_artifact(
    chain_dir: str | Path,
    path: str | bytes | Path,
    *,
    roots: Mapping[str, str | bytes | Path] | None = None,
    trust_root: str | Path | bytes | None = None,
    checkpoint: str | Path | bytes | None = None,
) -> Result:
    """Verify one file against its newest record, and prove the record up to the checkpoint.

    Args:
        chain_dir: the chain directory; it is only read.
        path: the file or directory.
        roots: as in `verify_files`.
        trust_root: as in `verify_chain`.
        checkpoint: as in `verify_chain`.

    Returns:
        A result whose `files` has the one file, with its state and the task that made it.

    Raises:
        UsageError, LedgerError, UnsupportedVersion: as in `verify_chain`.
    """
    with Pool(1) as pool:
        return verify_artifact_on(pool, ChainLayout(Path(chain_dir)), path, roots or {}, trust_root, checkpoint)


def verify_artifact_on(
    runner: Runner,
    layout: ChainLayout,
    path: str | bytes | Path,
    roots: Mapping[str, str | bytes | Path],
    trust_root: str | Path | bytes | None,
    checkpoint: str | Path | bytes | None,
) -> Result:
    """`verify_artifact` with a place to run."""
    pinned, kept = trust.parse_trust_root(trust_root), trust.parse_kept_checkpoint(checkpoint)
    place, stated = absolute(path), trust.read_stated(layout)
    subject = place.decode("utf-8", "backslashreplace")
    arguments = (layout.live_ledger(), str(layout.root.absolute()), place, dict(roots), stated.checkpoint, kept)
    try:
        looked = result(runner, _look, *arguments)
    except LedgerCorrupt as error:
        return Result(
            subject, findings_of([*stated.problems, Problem("ledger-outline", str(layout.root), "", str(error))])
        )
    summary, facts, problems = looked.summary, looked.facts, looked.problems
    trust.check_ids(summary.chain, pinned, stated, problems)
    check_signed(summary, stated.checkpoint, kept, facts, problems)
    size = None if stated.checkpoint is None else stated.checkpoint.size
    return Result(
        subject=subject,
        findings=findings_of(_settled(problems, looked.places, size)),
        counts={f"files-{file.state}": 1 for file in looked.files},
        chain=summary.chain,
        head=head_of(summary, facts, stated.checkpoint),
        trust=trust_statement(summary.chain, facts, pinned),
        checked=CHECKED,
        unchecked=UNCHECKED,
        files=tuple(looked.files),
    )


def _settled(problems: Problems, places: set[Place], size: int | None) -> list[Problem]:
    """Links after the checkpoint do not matter to a file whose records lie before it."""
    if size is None or not places or max(places)[0] >= size:
        return problems.kept
    return [problem for problem in problems.kept if problem.code != "checkpoint-behind"]


class Recorded(NamedTuple):
    """Where the newest record of a file is, and what it says: its digest (empty: none), run and task."""

    uri: str
    digest: bytes
    height: int
    transaction: int
    run: bytes
    task: str


def newest_record(
    chain_dir: str | Path, path: str | bytes | Path, roots: Mapping[str, str | bytes | Path] | None = None
) -> Recorded:
    """The newest record of a file. Nothing is verified, and the file itself is not looked at.

    Raises:
        UsageError: nothing is recorded of this file.
        LedgerError: not a chain, or not readable.
    """
    layout = ChainLayout(Path(chain_dir))
    arguments = (layout.live_ledger(), str(layout.root.absolute()), absolute(path), dict(roots or {}))
    found = isolated(_recorded, *arguments)
    if found is None:
        raise UsageError(f"{os.fsdecode(path)!r:.200}: no task on this chain says that it made such a file")
    return found


# --- in the child -----------------------------------------------------------------------------------
def _look(
    directory: Path,
    chain_dir: str,
    path: bytes,
    roots: dict[str, str | bytes | Path],
    checkpoint: Checkpoint | None,
    kept: Checkpoint | None,
) -> _Looked:
    summary = outline(directory)
    ledger = shared(directory, summary.moment)
    sizes = tuple(note.size for note in (checkpoint, kept) if note is not None)
    looked = _Looked(summary, read_facts(summary, sizes))
    item = find_record(ledger, chain_dir, path, roots)
    if item is None:
        shown = path.decode("utf-8", "backslashreplace")
        looked.problems.add(Problem("file-unknown", shown))
        looked.files.append(FileResult("", FileState.UNKNOWN, shown))
        return looked
    _compare(ledger, item, looked)
    for place in sorted(looked.places):
        _prove(ledger, summary, checkpoint, place, item.uri, looked)
    return looked


def _recorded(
    directory: Path, chain_dir: str, path: bytes, roots: dict[str, str | bytes | Path]
) -> Recorded | None:
    summary = outline(directory)
    item = find_record(shared(directory, summary.moment), chain_dir, path, roots)
    if item is None:
        return None
    version, producer = item.version, item.producer
    run, task = bytes.fromhex(cast("str", producer.value["run"])), cast("str", producer.body["task"])
    return Recorded(item.uri, version.digest, version.height, version.index, run, task)


def find_record(ledger: RawLedger, chain_dir: str, path: bytes, roots: Mapping[str, str | bytes | Path]) -> Item | None:
    """The newest record of the file at an absolute path; None if nothing is recorded of it.

    Raises:
        LedgerCorrupt: the index leads to no record, or to another file's.
    """
    places = Roots(os.fsencode(chain_dir), roots)
    for start in run_starts(ledger, islice(runs_newest_first(ledger), RUNS_LOOKED_AT_MAX)):
        places.learn(*start)
    newest: tuple[RawVersion, str, Place | None] | None = None
    for uri, told in dict.fromkeys(_uris(places, path)):
        version = next(ledger.versions_before(uri, 2**63, 0), None)
        if version is not None and (newest is None or version > newest[0]):
            newest = version, uri, told
    if newest is None:
        return None
    version, uri, told = newest
    try:
        producer = FileLooker(ledger).producer(version)
    except DecodeError as error:
        raise LedgerCorrupt(f"the record of {uri:.200} cannot be read: {error}") from None
    if producer.output["uri"] != uri:
        raise LedgerCorrupt(f"the index leads from {uri:.200} to the record of another file")
    return Item(uri, version, producer, path, told)


def _uris(places: Roots, path: bytes) -> list[tuple[str, Place | None]]:
    try:
        return list(places.uris_of(path))
    except (UsageError, OSError):
        return []  # what cannot be named was not recorded


def _compare(ledger: RawLedger, item: Item, looked: _Looked) -> None:
    looker, found = FileLooker(ledger), FilesFound()
    file = looker.note(item, looker.look(item), found)
    looked.files.append(file)
    looked.problems.merge(found.problems)
    if file.state is FileState.UNHASHED:
        looked.problems.add(Problem("file-unproved", item.uri, height=item.version.height, index=item.version.index))
    looked.places.add((item.version.height, item.version.index))
    if file.height is not None and file.index is not None:
        looked.places.add((file.height, file.index))  # an earlier record, where that was made last
    if item.root is not None:
        looked.places.add(item.root)


def _prove(
    ledger: RawLedger, summary: Survey, checkpoint: Checkpoint | None, place: Place, uri: str, looked: _Looked
) -> None:
    height, index = place
    if checkpoint is None or height >= checkpoint.size:
        return  # that it is absent, behind or ahead is a finding already
    try:
        receipt = make_proof(ledger, summary, checkpoint, height, index)
    except VerificationError as error:
        looked.problems.add(Problem("proof", uri, "", str(error), height, index))
        return
    looked.problems.merge(check_proof(receipt, None, EpochBook.of(ledger, summary).signatures, "proof"))
    for mark in marks_of(receipt.proof.link, index):
        if mark in (Mark.CONTESTED, Mark.UNRESOLVED):
            looked.problems.add(Problem(f"trace-{mark}", uri, height=height, index=index))
