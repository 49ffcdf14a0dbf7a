"""Recorded outputs against the files on disk: all of a chain, or those of one run.

The newest record of each artifact counts ("newest" in commit order). Two tries of a task on two hosts may be committed
in the other order than they ran; so where the newest record does not match and an earlier one does, the transaction
keys, which are ordered by time, decide. Files are hashed in threads: SHA-256 runs without the interpreter's lock.
"""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, cast

from scichain_wf.audit import trust
from scichain_wf.audit.chain import verify_surveyed
from scichain_wf.audit.compare import Comparison, compare, recorded_digest
from scichain_wf.audit.result import FileResult, FileState, Result, dropped_of, findings_of, order_of
from scichain_wf.audit.roots import Place, Roots, run_starts, runs_newest_first
from scichain_wf.crypto import merkle
from scichain_wf.errors import DecodeError, LedgerCorrupt, UsageError
from scichain_wf.ledger import keys
from scichain_wf.ledger.fsck import Progress
from scichain_wf.ledger.isolate import Pool, Runner, result
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.problem import Problem, Problems
from scichain_wf.ledger.rawread import RawLedger, RawVersion, shared
from scichain_wf.ledger.stored import Survey
from scichain_wf.model import transaction
from scichain_wf.model.block import BlockFrame
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.text import hex_bytes

FILES_KEPT_MAX: Final = 10_000
"""Results of files that do not match; more are counted only."""
STATES_KEPT_MAX: Final = 400_000
VERSIONS_LOOKED_AT_MAX: Final = 1_000
_BATCH: Final = 256
_BLOCKS_KEPT: Final = 16


class Producer(NamedTuple):
    """The transaction that an index entry leads to, with the output it is about."""

    value: JsonObject
    body: JsonObject
    output: JsonObject
    id: bytes


@dataclass
class FilesFound:
    """What the comparison of files came to."""

    problems: Problems = field(default_factory=Problems)
    counts: Counter[str] = field(default_factory=Counter)
    files: list[FileResult] = field(default_factory=list)
    elsewhere: Counter[str] = field(default_factory=Counter)
    """Files that cannot be seen from here, by host, store or root."""
    states: dict[str, str] = field(default_factory=dict)
    """By URI, how a file compares that is no match; of `STATES_KEPT_MAX` files."""

    def merge(self, other: FilesFound) -> None:
        """Add another's."""
        self.problems.merge(other.problems)
        self.counts.update(other.counts)
        self.elsewhere.update(other.elsewhere)
        self.files += other.files[: FILES_KEPT_MAX - len(self.files)]
        self.states |= other.states

    def unless_absent(self, place: bytes) -> FilesFound:
        """This, or, if not one file is at a place that was only guessed, the statement that they are elsewhere."""
        there = sum(self.counts[f"files-{state}"] for state in ("match", "changed", "unhashed", "unreadable"))
        missing = self.counts["files-missing"]
        if there or not missing:
            return self
        found = FilesFound(counts=Counter({"files-elsewhere": missing, "files-gone": self.counts["files-gone"]}))
        changed = {FileState.MISSING.value: FileState.ELSEWHERE.value}
        found.states = {uri: changed.get(state, state) for uri, state in self.states.items()}
        found.elsewhere[f"not in {place.decode('utf-8', 'backslashreplace')}, nor where it was recorded"] = missing
        return found

    def summarise(self) -> None:
        """What concerns many files alike becomes one finding."""
        for place, number in sorted(self.elsewhere.items()):
            self.problems.add(Problem("file-elsewhere", f"{number} files", "", place))
        if self.counts["files-unhashed"]:
            self.problems.add(Problem("file-unhashed", f"{self.counts['files-unhashed']} files"))


def verify_files(
    chain_dir: str | Path,
    *,
    run: str | bytes | None = None,
    roots: Mapping[str, str | bytes | Path] | None = None,
    trust_root: str | Path | bytes | None = None,
    checkpoint: str | Path | bytes | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Verify the chain, then every newest recorded output against the file on disk.

    Args:
        chain_dir: the chain directory; it is only read.
        run: only the outputs of this run (32 hex digits or 16 bytes), where they are still the newest.
        roots: where a workflow root is on this machine, by root id, if not where it was.
        trust_root: as in `verify_chain`.
        checkpoint: as in `verify_chain`.
        jobs: child processes for the chain, threads for hashing.
        progress: told about (links done, links in all) of the chain.

    Raises:
        UsageError, LedgerError, UnsupportedVersion: as in `verify_chain`.
    """
    with Pool(jobs) as pool:
        return verify_with_files(pool, chain_dir, run, roots or {}, trust_root, checkpoint, progress)[0]


def verify_with_files(
    pool: Pool,
    chain_dir: str | Path,
    run: str | bytes | None,
    roots: Mapping[str, str | bytes | Path],
    trust_root: str | Path | bytes | None,
    checkpoint: str | Path | bytes | None,
    progress: Progress | None,
) -> tuple[Result, FilesFound, Survey | None]:
    """`verify_files` with a place to run, what it found of files, and what it read: None if that is no ledger."""
    layout = ChainLayout(Path(chain_dir))
    pinned, kept = trust.parse_trust_root(trust_root), trust.parse_kept_checkpoint(checkpoint)
    directory, run_id = layout.live_ledger(), None if run is None else run_bytes(run)
    chain, summary = verify_surveyed(pool, layout, directory, pinned, kept, progress)
    if chain.head is None or summary is None:
        return chain, FilesFound(), None  # there is no ledger to compare with
    found = compare_all(pool, layout, summary, run_id, roots, pool.jobs)
    return _joined(chain, found, layout), found, summary


def compare_all(
    runner: Runner,
    layout: ChainLayout,
    summary: Survey,
    run: bytes | None,
    roots: Mapping[str, str | bytes | Path],
    threads: int,
) -> FilesFound:
    """`_compare_all` in a child; what kills it is a problem."""
    try:
        return result(runner, _compare_all, summary, str(layout.root), run, dict(roots), threads)
    except LedgerCorrupt as error:
        found = FilesFound()
        found.problems.add(Problem("unreadable", "the index of artifacts", "", str(error)))
        return found


def run_bytes(run: str | bytes) -> bytes:
    """A run id as bytes.

    Raises:
        UsageError: not 32 hex digits.
    """
    try:
        return run if isinstance(run, bytes) else hex_bytes(run, 16)
    except DecodeError:
        raise UsageError(f"{run!r:.80} is no run id: that is 32 hex digits") from None


# --- in the child -----------------------------------------------------------------------------------
def _compare_all(
    summary: Survey, chain_dir: str, run: bytes | None, roots: dict[str, str | bytes | Path], threads: int
) -> FilesFound:
    ledger = shared(summary.directory, summary.moment)
    places = Roots(os.fsencode(chain_dir), roots)
    for start in run_starts(ledger, runs_newest_first(ledger)):
        places.learn(*start)
    looker = FileLooker(ledger)
    by_place: dict[bytes | None, FilesFound] = {None: FilesFound()}
    items = looker.current(places, run)
    with ThreadPoolExecutor(max(1, threads)) as executor:
        while batch := list(islice(items, _BATCH)):
            for item, comparison in zip(batch, executor.map(looker.look, batch), strict=True):
                looker.note(item, comparison, by_place.setdefault(places.guessed(item.uri), FilesFound()))
    found = by_place.pop(None)
    for root, stated in places.moved():
        found.problems.add(Problem("root-moved", f"workflow root {root}", "one directory", ", ".join(stated)))
    for place, part in by_place.items():
        found.merge(part if place is None else part.unless_absent(place))
    found.summarise()
    return found


class Item(NamedTuple):
    """A newest recorded output and where it should be; `path` None where that is not on this machine."""

    uri: str
    version: RawVersion
    producer: Producer
    path: bytes | None
    root: Place | None = None
    """The `run-start` by whose word this is the place of that name."""


class FileLooker:
    """Finds records of artifacts and compares files with them. One per opened ledger."""

    def __init__(self, ledger: RawLedger) -> None:
        self._ledger = ledger
        self._frames: OrderedDict[int, BlockFrame] = OrderedDict()

    def producer(self, version: RawVersion) -> Producer:
        """The transaction behind an index entry.

        Raises:
            DecodeError: it is not there, or is no task with such an output.
        """
        frame = self._frames.get(version.height)
        if frame is None:
            data = self._ledger.block(version.height)
            frame = self._frames[version.height] = BlockFrame.of(data if data is not None else b"")
            if len(self._frames) > _BLOCKS_KEPT:
                self._frames.popitem(last=False)
        if version.index >= frame.count:
            raise DecodeError(f"the block at height {version.height} has no transaction {version.index}")
        stored = frame.transaction(version.index)
        value = transaction.parse(stored)
        body = cast("JsonObject", value["body"])
        outputs = cast("list[JsonObject]", body.get("outputs", []))
        if value["kind"] != "task" or version.output >= len(outputs):
            raise DecodeError(
                f"transaction {version.index} at height {version.height} is no task with output {version.output}"
            )
        return Producer(value, body, outputs[version.output], merkle.leaf_hash(stored))

    def current(self, places: Roots, run: bytes | None) -> Iterator[Item]:
        """Newest version of every artifact (or of those that `run` made); values that are no files are left out."""
        for version in self._of_run(run) if run is not None else self._newest():
            try:
                producer = self.producer(version)
            except DecodeError:
                continue  # the chain's verification names what is wrong there
            if run is not None and producer.value["run"] != run.hex():
                continue
            uri = cast("str", producer.output["uri"])
            if not uri.startswith("value:"):
                yield Item(uri, version, producer, places.path_of(uri))

    def look(self, item: Item) -> Comparison:
        """Compare; safe in threads (the ledger is not touched)."""
        if item.path is None:
            return Comparison(FileState.ELSEWHERE)
        return compare(item.path, item.producer.output, item.producer.body)

    def note(self, item: Item, comparison: Comparison, found: FilesFound) -> FileResult:
        """Count one comparison, and keep it if it is not a match."""
        if comparison.state is FileState.CHANGED and comparison.digest is not None:
            item, comparison = self._other_version(item, comparison, comparison.digest)
        elif comparison.state is FileState.UNHASHED:
            comparison = self._hidden(item) or comparison
        outcome = _file_result(item, comparison)
        found.counts[f"files-{comparison.state}"] += 1
        if comparison.state is not FileState.MATCH and len(found.states) < STATES_KEPT_MAX:
            found.states[item.uri] = comparison.state.value
        if comparison.state is FileState.ELSEWHERE:
            scheme, _, rest = item.uri.partition(":")
            found.elsewhere[f"{scheme}:{rest.removeprefix('//').partition('/')[0]}"] += 1
        if comparison.code:
            actual = comparison.actual
            subject = outcome.path or item.uri
            if outcome.task is not None:
                subject += f" (made by {outcome.task!r:.200})"
            found.problems.add(
                Problem(
                    comparison.code, subject, comparison.expected, actual, outcome.height, outcome.index, outcome.key
                )
            )
        if comparison.state not in (FileState.MATCH, FileState.GONE) and len(found.files) < FILES_KEPT_MAX:
            found.files.append(outcome)
        return outcome

    def _other_version(self, item: Item, comparison: Comparison, digest: bytes) -> tuple[Item, Comparison]:
        """The record that a file is, if an earlier one: fine if that was only committed earlier, but made last.

        What counts is what the records say; the index, which nobody may have verified, only leads to them.
        """
        latest, matching = item, ""
        for version in islice(self._ledger.versions_before(item.uri, 2**63, 0), VERSIONS_LOOKED_AT_MAX):
            try:
                other = item._replace(version=version, producer=self.producer(version))
            except DecodeError:
                continue
            if other.producer.output["uri"] == item.uri:
                latest = max(latest, other, key=_made)
                if recorded_digest(other.producer.output) == digest:
                    matching = max(matching, _made(other))
        if recorded_digest(latest.producer.output) == digest:
            return latest, Comparison(FileState.MATCH, digest=digest)
        if not matching:
            return item, comparison
        actual = f"{comparison.actual}: an earlier version, made by transaction {matching}"
        return item, replace(comparison, actual=actual)

    def _hidden(self, item: Item) -> Comparison | None:
        """What is wrong with a file whose newest record has no digest: it is not what an older one states."""
        versions = islice(self._ledger.versions_before(item.uri, 2**63, 0), VERSIONS_LOOKED_AT_MAX)
        older = next((version for version in versions if version.digest), None)
        if older is None or item.path is None:
            return None
        try:
            producer = self.producer(older)
        except DecodeError:
            return None  # named by the chain's verification
        stated = compare(item.path, producer.output, producer.body)
        return replace(stated, state=FileState.UNHASHED, code="file-hidden") if stated.digest and stated.code else None

    def _newest(self) -> Iterator[RawVersion]:
        last: tuple[bytes, bytes] | None = None
        size = keys.OUTPUT.size
        for key, value in self._ledger.entries(keys.ARTIFACTS):
            if len(key) <= size:
                continue  # named by the chain's verification
            if last is not None and last[0][:-size] != key[:-size]:
                yield RawVersion.of(*last)
            last = key, value
        if last is not None:
            yield RawVersion.of(*last)

    def _of_run(self, run: bytes) -> Iterator[RawVersion]:
        seen: set[bytes] = set()
        for key, kind in self._ledger.prefixed(keys.RUNS, run):
            if kind != b"task" or len(key) != 16 + keys.POSITION.size:
                continue
            height, index = keys.POSITION.unpack_from(key, 16)
            try:
                outputs = self._outputs(height, index)
            except DecodeError:
                continue  # named by the chain's verification
            for uri in outputs:
                prefix = keys.uri_key(uri)
                if prefix not in seen:
                    seen.add(prefix)
                    newest = next(self._ledger.versions_before(uri, 2**63, 0), None)
                    if newest is not None:
                        yield newest

    def _outputs(self, height: int, index: int) -> list[str]:
        data = self._ledger.block(height)
        frame = BlockFrame.of(data if data is not None else b"")
        body = cast("dict[str, list[dict[str, str]]]", transaction.parse(frame.transaction(index))["body"])
        return [output["uri"] for output in body["outputs"]]


def _made(item: Item) -> str:
    """The record's key: keys ascend with the time at which their records were made."""
    return cast("str", item.producer.value["key"])


def _file_result(item: Item, comparison: Comparison) -> FileResult:
    value = cast("dict[str, str]", item.producer.value)
    return FileResult(
        uri=item.uri,
        state=comparison.state,
        path=None if item.path is None else item.path.decode("utf-8", "backslashreplace"),
        recorded=recorded_digest(item.producer.output),
        actual=comparison.digest,
        task=cast("str", item.producer.body["task"]),
        run=value["run"],
        key=value["key"],
        transaction=item.producer.id,
        height=item.version.height,
        index=item.version.index,
    )


def _joined(chain: Result, found: FilesFound, layout: ChainLayout) -> Result:
    """One result of both."""
    kept = found.problems.kept
    dropped = Counter(chain.dropped)
    dropped.update(dropped_of(found.problems.counts, kept))
    joined = sorted((*chain.findings, *findings_of(kept)), key=order_of)
    return replace(
        chain,
        subject=f"the chain in {layout.root} and its files",
        findings=tuple(joined),
        counts={**chain.counts, **found.counts},
        checked=(*chain.checked, "every newest recorded output against the file on disk"),
        unchecked=tuple(item for item in chain.unchecked if item != "the files on disk"),
        files=tuple(found.files),
        dropped=dict(dropped),
    )
