"""One pass over verified blocks: what they say as an `Account`, and findings that only the whole of them shows.

Runs after the verification and in a child process, in commit order. What cannot be read is left out here, since the
verification named it. Memory grows with the runs' tasks up to `TASKS_KEPT_MAX`, not with the chain.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, cast

from scichain_wf.audit.account import TASKS_KEPT_MAX, Account, ArtifactFacts, Flow, Group, RunFacts, TaskFacts
from scichain_wf.audit.epochs import EpochBook
from scichain_wf.audit.producers import check_producers
from scichain_wf.audit.witness import Witness
from scichain_wf.errors import DecodeError
from scichain_wf.ledger import keys
from scichain_wf.ledger.problem import Problem, Problems
from scichain_wf.ledger.rawread import RawLedger, shared
from scichain_wf.ledger.stored import Survey
from scichain_wf.model import transaction
from scichain_wf.model.block import BlockFrame
from scichain_wf.model.link import Link, Mark
from scichain_wf.model.transaction import NO_RUN

_LOST_NAMED: Final = 20
_ENDED_WELL: Final = frozenset({"ok", "cached", "touched"})


@dataclass
class _Run:
    """A run while it is read."""

    number: int
    id: str
    start: dict[str, Any] = field(default_factory=dict)
    end: dict[str, Any] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    finished: int = 0
    late: int = 0
    begun: set[tuple[str, int]] = field(default_factory=set)
    early: set[tuple[str, int]] = field(default_factory=set)
    """Tasks whose end came without their beginning, so far."""

    def attempt(self, kind: str, body: dict[str, Any]) -> None:
        """Pair the beginnings and ends of tasks, whichever comes first."""
        what = body["task"], body["attempt"]
        waiting, other = (self.begun, self.early) if kind == "task" else (self.early, self.begun)
        if what in waiting:
            waiting.discard(what)
        else:
            other.add(what)

    def lost(self) -> list[str]:
        """Tasks that began and have no record of their end, with their attempt if it was not the first."""
        return [name if attempt == 1 else f"{name} (attempt {attempt})" for name, attempt in sorted(self.begun)]

    def facts(self) -> RunFacts:
        """As the account has it."""
        start, end = self.start, self.end
        engine = " ".join(start.get("engine", {}).get(part, "") for part in ("name", "version")).strip()
        return RunFacts(
            self.id, end.get("status", "no end recorded"), engine,
            start.get("user", ""), " ".join(start.get("command", [])), start.get("started_us"), end.get("ended_us"),
            dict(self.kinds), end.get("tally", {}), self.lost(),
        )


def gather(summary: Survey, run: bytes | None, limit: int = TASKS_KEPT_MAX) -> tuple[Account, Problems]:
    """The account of a whole ledger or of one run, and what only it shows. To be run isolated.

    Args:
        summary: of the ledger, whose verification it follows.
        run: only this run's records; None: everything.
        limit: tasks to keep; more are counted.

    Raises:
        LedgerCorrupt: the file's pages do not hold together.
        LedgerError: it is not the file that was surveyed, or was written since.
    """
    ledger = shared(summary.directory, summary.moment)
    reader = _Reader(ledger, Witness(ledger, EpochBook.of(ledger, summary)), run, limit)
    for height in range(summary.size) if run is None else heights_of(ledger, run):
        try:
            reader.height(height)
        except DecodeError:
            continue  # named by the verification, and so is what a reader stumbles over next
    account, problems = reader.conclude()
    problems.merge(check_producers(ledger, run))
    return account, problems


def heights_of(ledger: RawLedger, run: bytes) -> Iterator[int]:
    """Heights of the blocks that hold a run's records."""
    last = -1
    for key, _ in ledger.prefixed(keys.RUNS, run):
        if len(key) == 16 + keys.POSITION.size:
            height = keys.POSITION.unpack_from(key, 16)[0]
            if height != last:
                yield height
            last = height


class _Reader:
    """Everything that is kept from block to block."""

    def __init__(self, ledger: RawLedger, witness: Witness, run: bytes | None, limit: int) -> None:
        self._ledger, self._witness, self._limit = ledger, witness, limit
        self._only = None if run is None else run.hex()
        self._runs: dict[str, _Run] = {}
        self._account = Account()
        self._places: dict[tuple[str, str], int] = {}
        self._newest: dict[str, int] = {}
        self._weak: Counter[str] = Counter()

    def height(self, height: int) -> None:
        """Take in one block; errors as in `Witness.block`."""
        link = Link.decode(self._ledger.get(keys.LINKS, keys.height_key(height)) or b"")
        frame = BlockFrame.of(self._ledger.block(height) or b"")
        block = self._witness.block(link, frame)
        marks = {(a.index, a.mark) for a in link.annotations}
        for index in range(frame.count):
            if (index, Mark.DUPLICATE) in marks:
                continue
            value = cast("dict[str, Any]", transaction.parse(frame.transaction(index)))
            if value["kind"] == "evidence" and self._only is None:
                self._witness.evidence(value, height, index)
            if value["run"] == NO_RUN.hex() or self._only not in (None, value["run"]):
                continue
            run = self._run_of(value)
            if value["kind"] == "task":
                self._witness.transaction(block, value["body"]["node"])
                mark = next((m.value for m in (Mark.CONTESTED, Mark.UNRESOLVED) if (index, m) in marks), "")
                self._task(run, value, height, index, mark)

    def _run_of(self, value: dict[str, Any]) -> _Run:
        """The transaction's run, which takes note of it."""
        run = self._runs.get(value["run"])
        if run is None:
            run = self._runs[value["run"]] = _Run(len(self._runs), value["run"])
        kind, body = value["kind"], value["body"]
        run.late += bool(run.end)
        run.kinds[kind] += 1
        if kind == "run-start":
            run.start = run.start or body
        elif kind == "run-end":
            run.end = run.end or body
        elif kind in ("task", "intent"):
            run.attempt(kind, body)
        return run

    def _task(self, run: _Run, value: dict[str, Any], height: int, index: int, mark: str) -> None:
        body, account = value["body"], self._account
        account.tasks_total += 1
        run.finished += body["status"] in _ENDED_WELL
        self._weak["size-mtime"] += sum(item.get("policy") == "size-mtime" for item in body["outputs"])
        if len(account.tasks) >= self._limit:
            return
        number = len(account.tasks)
        inputs = [self._place(item, None) for item in body["inputs"]]
        outputs = [self._place(item, number) for item in body["outputs"]]
        account.tasks.append(
            TaskFacts(
                run.number, body["name"], body["task"], body["attempt"], body["status"], body["node"],
                body["started_us"], body["ended_us"], value["time_us"], height, index, inputs, outputs, mark,
            )
        )

    def _place(self, item: dict[str, Any], producer: int | None) -> int:
        """Where in the account's list an artifact is, now."""
        uri, digest, artifacts = item["uri"], item.get("digest", "")[7:], self._account.artifacts
        if not digest and producer is None and uri in self._newest:
            return self._newest[uri]  # read without being hashed: what was there last
        place = self._places.setdefault((uri, digest), len(artifacts))
        if place == len(artifacts):
            artifacts.append(ArtifactFacts(uri, digest, item.get("size_bytes"), item["state"], producer, ""))
        elif producer is not None:
            artifacts[place] = artifacts[place]._replace(producer=producer, recorded=item["state"])
        if producer is not None:
            self._newest[uri] = place
        return place

    def _is_newest(self, artifact: ArtifactFacts) -> bool:
        """Whether no other run recorded it later."""
        if self._only is None:
            return True
        newest = next(self._ledger.versions_before(artifact.uri, 2**63, 0), None)
        return newest is None or newest.digest.hex() == artifact.digest

    def conclude(self) -> tuple[Account, Problems]:
        """The account, and the findings."""
        account, problems = self._account, self._witness.conclude()
        for place, artifact in enumerate(account.artifacts):
            if artifact.producer is None:
                known = self._only is not None and next(self._ledger.versions_before(artifact.uri, 2**63, 0), None)
                account.artifacts[place] = artifact._replace(disk="elsewhere" if known else "source")
            elif self._newest[artifact.uri] != place or not self._is_newest(artifact):
                account.artifacts[place] = artifact._replace(disk="superseded")
        account.runs = [run.facts() for run in self._runs.values()]
        account.blocks, account.slots = self._witness.blocks, self._witness.slots()
        account.agreement = self._witness.agreement()
        account.groups, account.flows = _grouped(account)
        for run in self._runs.values():
            _judge_run(run, problems)
        if self._weak["size-mtime"]:
            problems.add(Problem("conf-size-mtime", f"{self._weak['size-mtime']} outputs"))
        unsigned = sum("author_signature" not in run.end for run in self._runs.values())
        if unsigned:
            problems.add(Problem("conf-no-author", f"{unsigned} of {len(self._runs)} runs"))
        return account, problems


def _judge_run(run: _Run, problems: Problems) -> None:
    where, kinds, lost = f"run {run.id}", run.kinds, run.lost()
    if not run.start:
        problems.add(Problem("run-no-start", where))
    if not run.end:
        problems.add(Problem("run-no-end", where))
    for kind, number in run.end.get("counts", {}).items():
        if number != kinds[kind]:
            problems.add(Problem("run-tally", f"{kind} records of {where}", str(number), str(kinds[kind])))
    engine = run.end.get("tally", {}).get("finished", 0)
    if engine > run.finished:
        missing = run.end.get("missing", [])
        found = f"{run.finished}, none of {_named(missing)}" if missing else str(run.finished)
        problems.add(Problem("run-engine-tally", where, f"{engine} finished tasks", found))
    if run.late:
        problems.add(Problem("run-late", where, "", f"{run.late} records"))
    if lost:
        problems.add(Problem("run-lost", f"{len(lost)} tasks of {where}", "", _named(lost)))


def _named(tasks: list[str]) -> str:
    more = f" and {len(tasks) - _LOST_NAMED} more" if len(tasks) > _LOST_NAMED else ""
    return ", ".join(tasks[:_LOST_NAMED]) + more


def _grouped(account: Account) -> tuple[list[Group], list[Flow]]:
    """Tasks by name, and how many artifacts go from which to which."""
    places: dict[str, int] = {}
    counts: defaultdict[int, list[float]] = defaultdict(lambda: [0, 0, 0.0])
    flows: Counter[tuple[int, int]] = Counter()
    for task in account.tasks:
        reader = places.setdefault(task.name, len(places))
        count = counts[reader]
        count[0] += 1
        count[1] += task.status not in _ENDED_WELL
        count[2] += max(0, task.ended_us - task.started_us) / 1e6
        for maker in _makers(account, task.inputs):
            flows[places.setdefault(maker, len(places)), reader] += 1
    groups = [Group(name, int(counts[p][0]), int(counts[p][1]), round(counts[p][2], 3)) for name, p in places.items()]
    return groups, [Flow(*pair, number) for pair, number in sorted(flows.items())]


def _makers(account: Account, inputs: Iterable[int]) -> Iterator[str]:
    for place in inputs:
        producer = account.artifacts[place].producer
        if producer is not None:
            yield account.tasks[producer].name
