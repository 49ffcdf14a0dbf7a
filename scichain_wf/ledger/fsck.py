"""fsck: is a ledger what its own bytes say it must be?

`fsck` recomputes everything that follows from stored bytes and asks no question of trust: no signature, certificate or
epoch is judged. `check` is the same walk with a visitor for every block, which is how the auditor adds its questions.

The file is only ever opened in child processes (`isolate`): what kills them is reported, height by height.
Memory is flat in the length of the chain; heights are checked in parallel, in chunks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar, cast

from scichain_wf.errors import LedgerCorrupt, LedgerError, ScichainError
from scichain_wf.ledger import keys
from scichain_wf.ledger.isolate import Call, Crash, Pool, Runner, result
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.problem import Problem, Problems
from scichain_wf.ledger.rawread import shared
from scichain_wf.ledger.stored import Survey, Walked
from scichain_wf.ledger.walk import INDEXES, Visit, scan, surplus, survey, walk

CRASHES_MAX: Final = 64
"""After this many dead children the rest of the heights is not looked at: the file is beyond naming every place."""
_CHUNK_MAX: Final = 64
_CHUNKS_PER_JOB: Final = 8

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""(links checked, links in all)"""


@dataclass(frozen=True, slots=True)
class FsckReport:
    """What `fsck` found. `root` is that of the stored tree over `size` links; without problems only."""

    directory: Path
    size: int
    chain: bytes
    head: bytes
    root: bytes
    counts: Counter[str]
    problems: tuple[Problem, ...]
    problem_counts: Counter[str] = field(default_factory=Counter)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def fsck(chain_dir: Path, *, jobs: int | None = None, progress: Progress | None = None) -> FsckReport:
    """Check a chain directory's live ledger.

    Args:
        chain_dir: the chain directory.
        jobs: child processes; default: one per core.
        progress: told about links done.

    Raises:
        LedgerError: not a chain, not readable, or written while it was checked.
        LedgerCorrupt: so broken that there is no outline to report on.
        UnsupportedVersion: of a format newer than this program reads.
    """
    directory = ChainLayout(Path(chain_dir)).live_ledger()
    with Pool(jobs) as pool:
        summary = result(pool, survey, directory)
        found = check(pool, summary, progress=progress)
        head, root = result(pool, head_and_root, summary, summary.size)
    return FsckReport(
        directory,
        summary.size,
        summary.chain,
        head,
        root,
        found.counts,
        tuple(found.problems.sorted()),
        found.problems.counts,
    )


def head_and_root(summary: Survey, size: int) -> tuple[bytes, bytes]:
    """Hash of the last of `size` links, and root over them, from the stored tree. To be run isolated."""
    ledger = shared(summary.directory, summary.moment)
    return ledger.link_hash(size - 1) or bytes(32), ledger.root(size)


def check(
    runner: Runner,
    summary: Survey,
    visit: Visit | None = None,
    *,
    heights: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Walked:
    """Walk the chain, and compare all indexes.

    Args:
        runner: where the file is read.
        summary: `survey` of the ledger.
        visit: a further check of each block.
        heights: only these; then what is surplus in the indexes is not looked for.
        progress: told about links done.

    Raises:
        LedgerError: the ledger was written since the survey.
    """
    found = Walked()
    for problem in summary.problems:
        found.problems.add(problem)
    places = range(summary.size) if heights is None else heights
    queue = _Queue(summary, visit, places, getattr(runner, "jobs", 1), scans=heights is None)
    scanned: Counter[str] = Counter()
    done = crashes = 0
    for call, outcome in runner.run(queue):
        if isinstance(outcome, Crash):
            crashes += 1
            done += _crashed(call, outcome, queue, found.problems, crashes)
        elif isinstance(outcome, ScichainError):
            raise outcome
        elif call.function is scan:
            scanned.update(outcome.entries)
            found.problems.merge(outcome.problems)
        else:
            found.merge(outcome)
            done += len(_heights_of(call))
        if progress is not None:
            progress(done, len(places))
    if heights is None:
        _compare_counts(runner, summary, found, scanned)
    if found.problems.kept:
        _require_still(runner, summary)
    return found


def is_overtaken(summary: Survey) -> bool:
    """Whether the ledger was written since the survey. To be run isolated."""
    ledger = shared(summary.directory, None)
    return ledger.moment != summary.moment or ledger.is_overtaken()


def _require_still(runner: Runner, summary: Survey) -> None:
    """Without a lock, which read-only media cannot have, a writer reuses the pages under a reader's feet."""
    try:
        overtaken: bool = result(runner, is_overtaken, summary)
    except LedgerCorrupt:
        return  # what kills its reader was not written by a storage node
    if overtaken:
        where = summary.directory
        raise LedgerError(f"{where} was written while it was checked; check it after the run, or check a snapshot")


class _Queue(Iterator[Call[Walked]]):
    """Calls still to make; a chunk that killed its child comes back in halves."""

    def __init__(self, summary: Survey, visit: Visit | None, heights: Sequence[int], jobs: int, *, scans: bool) -> None:
        self._summary, self._visit = summary, visit
        step = max(1, min(_CHUNK_MAX, len(heights) // (jobs * _CHUNKS_PER_JOB)))
        self._chunks = (heights[start : start + step] for start in range(0, len(heights), step))
        self._scans = [keys.LINKS, *INDEXES] if scans else []
        self._again: list[Sequence[int]] = []
        self._stopped = False

    def __next__(self) -> Call[Walked]:
        if self._stopped:
            raise StopIteration
        if self._again:
            return self._walk(self._again.pop())
        if self._scans:
            return Call(scan, (self._summary, self._scans.pop()))
        return self._walk(next(self._chunks))

    def _walk(self, heights: Sequence[int]) -> Call[Walked]:
        return Call(walk, (self._summary, heights, self._visit))

    def again(self, heights: Sequence[int]) -> None:
        """Look at these heights one half at a time."""
        middle = len(heights) // 2
        self._again += [heights[middle:], heights[:middle]]

    def stop(self) -> None:
        """Hand out nothing more."""
        self._stopped = True


def _heights_of(call: Call[Walked]) -> Sequence[int]:
    return cast("Sequence[int]", call.arguments[1])


def _crashed(call: Call[Walked], crash: Crash, queue: _Queue, problems: Problems, crashes: int) -> int:
    """Name what killed a child, or cut it smaller; returns how many heights are done with."""
    if call.function is scan:
        problems.add(
            Problem("unreadable", f"database {call.arguments[1]}", "", f"reading it ended a process with {crash.cause}")
        )
        return 0
    heights = _heights_of(call)
    if crashes > CRASHES_MAX:
        problems.add(
            Problem(
                "unreadable", "the ledger file", "", f"reading it ended {crashes} processes; the rest was not looked at"
            )
        )
        queue.stop()
        return len(heights)
    if len(heights) > 1:
        queue.again(heights)
        return 0
    problems.add(
        Problem("unreadable", f"height {heights[0]}", "", f"reading it ended a process with {crash.cause}", heights[0])
    )
    return 1


def _compare_counts(runner: Runner, summary: Survey, found: Walked, scanned: Counter[str]) -> None:
    """No database has more entries than follow from the blocks; see `walk` for why counting suffices."""
    expected = found.entries
    expected[keys.LINKS] = expected[keys.BLOCKS] = summary.size
    expected[keys.TREE] = sum(summary.size >> level for level in range(summary.size.bit_length()))
    for database in (keys.LINKS, *INDEXES):
        if database not in scanned or scanned[database] == expected[database]:
            continue
        wanted, actual = f"{expected[database]} entries", str(scanned[database])
        found.problems.add(Problem("index-count", database, wanted, actual, key=database))
        for call, outcome in runner.run([Call(surplus, (summary, database))]):
            if isinstance(outcome, Problems):
                found.problems.merge(outcome)
            else:
                found.problems.add(Problem("unreadable", f"database {call.arguments[1]}", "", str(outcome)))
