"""One run with its service: started by an engine's main process, ended with its closing line.

    start the service → `run-start` → tasks are recorded → `run-end` → flush → stop → closing line

A service that runs already on this host (another run's, or `scichain-wf up`) is joined instead, and ends with the last
run that uses it. One that is gone before the end of the run is started anew.

Only the start may fail (the caller decides whether the workflow goes on unrecorded). A chain that exists but whose
service does not start (another host has it) still takes records: through its spool, from which the other run or the
next one commits them. Everything after the start ends in a message. Interrupting the flush leaves at once: the
service notices that this process is gone, drains and ends, and what it does not commit waits in the outbox for the
next run on this chain.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from scichain_wf import limits
from scichain_wf.client.spool import takes_records
from scichain_wf.client.trustroot import read_trust_root
from scichain_wf.errors import LedgerCorrupt, LedgerError, PeerError, ScichainError, reason_of
from scichain_wf.hooks.artifacts import Artifacts
from scichain_wf.hooks.closing import (
    Progress,
    closing_line,
    detour_lines,
    joined_lines,
    late_lines,
    problem_lines,
    spooled_line,
    verify_command,
)
from scichain_wf.hooks.completeness import missing_line, recorded_tasks
from scichain_wf.hooks.digests import Digests, Hashing, shared_table
from scichain_wf.hooks.join import user_name
from scichain_wf.hooks.naming import Naming
from scichain_wf.hooks.recorder import Delivery, Recorder, new_run_id
from scichain_wf.hooks.records import Engine, run_end_body, run_start_body
from scichain_wf.hooks.redaction import USUAL, Redaction
from scichain_wf.model.bodies import Kind
from scichain_wf.model.canonical import JsonObject

if TYPE_CHECKING:
    from scichain_wf.client.service import Others, Service
    from scichain_wf.client.summary import Summary
    from scichain_wf.crypto.signing import SigningKey


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What is known before a run begins.

    Attributes:
        engine: who runs it.
        directory: the workflow's root: where relative paths start.
        chain_dir: directory of the chain; made if it does not exist.
        nodes: how many agents.
        workflow: path of the workflow's main file, if it is a local file.
        command: the command line.
        settings: what else configures the recording.
        hashing: how much of files is read.
        redaction: what is taken for a secret.
        launched_from: where the user's shell is, for commands in messages.
        flush_timeout_s: how long the end of the run waits for its commits, in all.
        ack, burst_buffer: see `Recorder`.
        others: agents that others start, if this run starts the service.
        author: in whose name it is recorded.
        author_key: file of the key that signs the run's end.
    """

    engine: Engine
    directory: Path
    chain_dir: Path
    nodes: int = 1
    workflow: str | None = None
    command: Sequence[str] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    hashing: Hashing = field(default_factory=Hashing)
    redaction: Redaction = USUAL
    launched_from: Path = field(default_factory=Path.cwd)
    flush_timeout_s: float = 30.0
    ack: str = "local"
    metrics_dir: Path | None = None
    burst_buffer: Path | None = None
    others: Others | None = None
    author: str | None = None
    author_key: Path | None = None

    @property
    def verify_command(self) -> str:
        """What verifies this run."""
        return verify_command(self.chain_dir, self.launched_from)


class RunSession:
    """A run that is being recorded.

    Attributes:
        recorder: takes its transactions.
        artifacts: looks at its files.
        complete: whether the run is on the chain with everything that it should have recorded; known after `finish`.
        user: who runs it.
    """

    def __init__(self, plan: RunPlan, service: Service | None, recorder: Recorder, refusal: str = "") -> None:
        self.plan = plan
        self.recorder = recorder
        self.naming = Naming([plan.directory])
        digests = Digests(shared_table(self.naming.host))
        self.artifacts = Artifacts(self.naming, self.recorder.problem, plan.hashing, digests)
        self.user = user_name()
        self._service = service
        self._refusal = refusal
        self._lost: Exception | None = None
        self._nodes = plan.nodes if service is None else len(service.outboxes)
        self._notes = [] if self._nodes == plan.nodes else joined_lines(self._nodes, plan.nodes)
        self.complete = False
        self._author_key = self._load_author_key()
        self.recorder.emit(Kind.RUN_START, self._run_start())

    @classmethod
    def start(cls, plan: RunPlan, *, may_spool: bool) -> Self:
        """Start the service and record that the run begins.

        Args:
            plan: the run.
            may_spool: if the service does not start, use the spool of the chain, if there is one already, and it is
                this user's.

        Raises:
            ScichainError: the service did not start; the message says why.
        """
        run = new_run_id()
        try:
            running = _attended(plan, wait=plan.ack == "committed")  # who waits for commits needs somebody to ask
        except (LedgerError, PeerError) as refusal:
            spool = plan.chain_dir / "spool"
            if not may_spool or isinstance(refusal, LedgerCorrupt) or not takes_records(spool):
                raise
            try:
                chain = read_trust_root(plan.chain_dir)
            except LedgerError:
                raise refusal from None
            return cls(plan, None, Recorder(chain, run, (), spool, plan.ack), str(refusal))
        taken = running.outboxes, running.spool, plan.ack, plan.burst_buffer
        return cls(plan, running, Recorder(running.chain, run, *taken))

    def finish(
        self, status: str, tally: Mapping[str, int] | None, *, alone: bool = True, expected: Collection[str] = ()
    ) -> list[str]:
        """Record that the run ended, wait until everything is committed, leave the service; within the plan's time.

        Args:
            status: `ok`, `failed` or `interrupted`.
            tally: what the engine counted: planned, finished, failed.
            alone: whether this process recorded every task itself; if not, the chain is asked how many there are.
            expected: keys of tasks that the engine says it ran and that this process did not record.

        Returns:
            Lines for the user; the last one is the closing line if everything could be committed.
        """
        recorder, deadline = self.recorder, time.monotonic() + self.plan.flush_timeout_s
        tasks, intents = recorder.count(Kind.TASK), recorder.count(Kind.INTENT)
        if not alone:
            tasks, intents = self._count_all(tasks, intents, deadline)
        missing = self._missing(expected, alone)
        body = run_end_body(status, time.time_ns() // 1_000, tasks, intents, tally, missing)
        recorder.emit(Kind.RUN_END, self._signed(body), waits=False)  # the flush waits for it
        if self._service is None:
            spooled = recorder.count_all(Delivery.SPOOL) + recorder.count_all(Delivery.LOCAL)
            spool, command = self.plan.chain_dir / "spool", self.plan.verify_command
            counts = (tasks, spooled) if alone else None
            closing = [spooled_line(recorder.run, counts, spool, self._refusal, command)]
        else:
            closing = self._close(self._service, deadline)
        self.complete = self._service is not None and not recorder.problems
        detour = detour_lines(recorder.count_all(Delivery.SPOOL), recorder.detour)
        detour += late_lines(recorder.count_all(Delivery.LOCAL), recorder.late)
        return problem_lines(recorder.problems) + self._notes + detour + closing

    def _missing(self, expected: Collection[str], alone: bool) -> list[str]:
        """Those of `expected` that left no record, which is a problem."""
        if not expected or (self._service is None and not alone):  # others' records wait in the spool: nobody can tell
            return []
        try:
            there = set() if alone else recorded_tasks(self.plan.chain_dir, self.recorder.run)
        except Exception as error:  # noqa: BLE001 - HOOK-1
            self.recorder.problem(f"whether every task left a record cannot be told: {reason_of(error)}")
            return []
        missing = sorted(set(expected) - there)
        if missing:
            self.recorder.problem(missing_line(missing))
        return missing

    def _load_author_key(self) -> SigningKey | None:
        if self.plan.author_key is None:
            return None
        from scichain_wf import keystore

        try:
            return keystore.load(self.plan.author_key)
        except ScichainError as error:
            self.recorder.problem(f"the run's end is not signed: {error}")
            return None

    def _signed(self, body: JsonObject) -> JsonObject:
        if self._author_key is None:
            return body
        from scichain_wf.model import manifest  # signing takes long to import, and few have a key

        return manifest.sign(self._author_key, self.recorder.chain, self.recorder.run, body)

    def _count_all(self, tasks: int, intents: int, deadline: float) -> tuple[int, int]:
        """Tasks and intents of all processes of the run, as far as they have arrived; at least our own."""
        if self._service is None:
            return tasks, intents
        try:
            summary = self._flushed(self._service, deadline)
        except Exception:  # noqa: BLE001 - HOOK-1
            return tasks, intents  # the flush that follows says what is wrong
        others = sum(summary.transactions.values()) - summary.tasks - 1  # the run's start
        return max(tasks, summary.tasks), max(intents, others)

    def _close(self, service: Service, deadline: float) -> list[str]:
        """Wait for the commits and leave; the closing line, or nothing and a problem more."""
        closing = []
        try:
            summary = self._flushed(service, deadline)
            closing.append(closing_line(self.recorder.run, summary, self.plan.verify_command))
        except Exception as error:  # noqa: BLE001 - HOOK-1
            self.recorder.problem(reason_of(error))
        try:
            (self._service or service).stop(timeout_s=max(deadline - time.monotonic(), limits.ANSWER_GRACE_S))
        except Exception as error:  # noqa: BLE001 - HOOK-1
            if closing:  # else the flush has said it
                self.recorder.problem(reason_of(error))
        return closing

    def _flushed(self, service: Service, deadline: float) -> Summary:
        """Everything is committed; by another service if this one is gone."""
        run, progress = self.recorder.run, Progress()
        if self._lost is not None:
            raise self._lost
        try:
            return service.flush(run, timeout_s=max(0.0, deadline - time.monotonic()), progress=progress)
        except PeerError:
            if not service.is_lost:
                raise
            service = self._replaced(service, deadline)
            return service.flush(run, timeout_s=max(0.0, deadline - time.monotonic()), progress=progress)
        finally:
            progress.done()

    def _replaced(self, lost: Service, deadline: float) -> Service:
        with suppress(ScichainError):  # that it did not end in order is known
            lost.stop(timeout_s=limits.ANSWER_GRACE_S)
        try:
            self._service = _attended(self.plan, wait=True, deadline=deadline)
        except Exception as error:
            self._lost = error  # whoever asks again shall hear the reason
            raise
        return self._service

    def _run_start(self) -> JsonObject:
        plan = self.plan
        workflow: JsonObject | None = None
        if plan.workflow is not None:
            found = self.artifacts.look(plan.workflow, "workflow")
            if found is not None:
                workflow = {name: found.value[name] for name in ("uri", "digest") if name in found.value}
        chain_dir = os.path.realpath(os.fsencode(plan.chain_dir))
        roots = [root.value(chain_dir) for root in self.naming.roots]
        settings = {"nodes": self._nodes, **plan.hashing.value(), **plan.settings}
        now_us = time.time_ns() // 1_000
        return run_start_body(
            plan.engine, roots, self.user, now_us, plan.command, workflow, settings, plan.redaction, plan.author
        )


def _attended(plan: RunPlan, *, wait: bool, deadline: float = math.inf) -> Service:
    from scichain_wf.client import service  # it starts processes: only an engine's main process needs it

    with_them = plan.nodes, plan.metrics_dir, plan.burst_buffer
    return service.attend(plan.chain_dir, *with_them, others=plan.others, wait=wait, deadline=deadline)
