"""Before, after and at the end of each job: from Snakemake's calls to `intent` and `task` transactions.

    announce      scheduler's thread   who makes the inputs
    around        worker thread        hash inputs, `intent`, run, hash outputs
    succeeded     scheduler's thread   after post-processing: look again, hash only what changed, `task`
    failed        scheduler's thread   after incomplete outputs were removed: the same
    interrupted   on Ctrl-C, and at the end: whatever was begun and never ended

Hashing stays in the worker threads: the others hold the scheduler's lock. Trouble is collected and never raised,
unless strict: then a job whose intent could not be kept fails before it runs, on Snakemake's normal path.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from scichain_wf.hooks.artifacts import Artifact, Artifacts
from scichain_wf.hooks.recorder import Delivery, Recorder
from scichain_wf.hooks.records import Engine, TaskFacts, intent_body, task_body
from scichain_wf.hooks.redaction import Redaction
from scichain_wf.model.bodies import ArtifactState, Kind, TaskStatus
from scichain_wf.model.canonical import JsonObject
from snakemake_executor_plugin_scichain import jobs

_Slot = tuple[str, int]
"""Task key and attempt."""


@dataclass(slots=True)
class _Attempt:
    """One attempt of one job while it is under way."""

    job: Any
    facts: TaskFacts
    inputs: list[Artifact] = field(default_factory=list)
    outputs: dict[str, Artifact] = field(default_factory=dict)
    ran: bool = False
    error: BaseException | None = None


class JobRecording:
    """Records the jobs of one Snakemake process.

    Args:
        engine: which Snakemake.
        recorder: takes the transactions.
        artifacts: looks at files.
        user: who runs this.
        dag: the workflow's graph where it is complete (the main process), else None: inputs then have no origin.
        strict: whether a job may run whose intent was lost.
        redaction: what is taken for a secret.
    """

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        artifacts: Artifacts,
        user: str,
        *,
        dag: Any,
        strict: bool,
        redaction: Redaction,
    ) -> None:
        self.at_end: Callable[[], None] | None = None
        self._engine, self._recorder, self._artifacts, self._user = engine, recorder, artifacts, user
        self._dag, self._strict, self._redaction = dag, strict, redaction
        self._origins: dict[_Slot, dict[str, str | None]] = {}
        self._open: dict[_Slot, _Attempt] = {}
        self._failed: set[str] = set()
        self._directories: set[bytes] = set()
        self._interrupted = False

    def announce(self, job: Any) -> None:
        """A job is about to be given to a worker."""
        if self._dag is None:
            return
        for part in jobs.parts(job):
            try:
                self._origins[_slot(part)] = jobs.origins(self._dag, part)
            except Exception as error:  # noqa: BLE001 - HOOK-1
                self._trouble(part, "the origin of its inputs is unknown", error)

    def around(self, job: Any, run: Callable[..., None], proceed: Callable[[Callable[..., None]], None]) -> None:
        """Run a job through `proceed`, looking at its files before and after.

        Args:
            job: a single job.
            run: what runs it.
            proceed: Snakemake's own path: calls what it is given, or takes the outputs from a cache.

        Raises:
            WorkflowError: strict, and the intent was lost.
        """
        attempt = self._begin(job)
        if attempt is None:
            proceed(run)
            return

        def ran(*args: Any) -> None:
            attempt.ran = True
            run(*args)

        try:
            proceed(ran)
        except BaseException as error:
            attempt.error = error
            raise
        finally:
            self._after(attempt)

    def succeeded(self, job: Any) -> None:
        """Snakemake accepted the job's outputs."""
        for part in jobs.parts(job):
            self._failed.discard(_key(part))  # an earlier attempt
            self._end(part, None)

    def failed(self, job: Any) -> None:
        """Snakemake gave this attempt up."""
        for part in jobs.parts(job):
            self._failed.add(_key(part))
            self._end(part, TaskStatus.FAILED)

    def interrupted(self) -> None:
        """Nothing runs any more: what is still open was interrupted."""
        for attempt in list(self._open.values()):
            self._interrupted = True
            self._end(attempt.job, TaskStatus.INTERRUPTED)

    def ended(self) -> None:
        """Scheduling is over."""
        if self.at_end is not None:
            at_end, self.at_end = self.at_end, None
            at_end()

    def status(self) -> str:
        """How the run ended, as far as can be told from its jobs."""
        if self._interrupted:
            return "interrupted"
        return "failed" if self._failed else "ok"

    def _begin(self, job: Any) -> _Attempt | None:
        if not jobs.is_recorded(job):
            return None
        delivery = None
        try:
            attempt = _Attempt(job, jobs.describe(job))
            slot = _slot(job)
            self._look_at_inputs(attempt, self._origins.pop(slot, None))
            attempt.facts.started_us = _now_us()
            self._open[slot] = attempt
            delivery = self._emit_intent(attempt)
        except Exception as error:  # noqa: BLE001 - HOOK-1
            self._trouble(job, "it is not recorded", error)
            attempt = None
        if self._strict and delivery in (None, Delivery.LOST):
            from snakemake_interface_common.exceptions import WorkflowError

            raise WorkflowError(f"scichain (strict): {self._recorder.problems[-1]}")
        return attempt

    def _look_at_inputs(self, attempt: _Attempt, origins: dict[str, str | None] | None) -> None:
        for role, file in jobs.files(attempt.job.input):
            state = jobs.state_of(file)
            pipe = ArtifactState.PIPE if state is ArtifactState.PIPE else None
            found = self._artifacts.look(str(file), role, state=pipe, uri=jobs.remote_uri(file))
            if found is None:
                continue
            origin = None if origins is None else origins.get(str(file), self._origin_of_undeclared(found.path))
            if origin is not None:
                found.value["origin"] = origin
            attempt.inputs.append(found)

    def _origin_of_undeclared(self, path: bytes) -> str | None:
        """A file that no job declares is a source, unless it lies in a directory that one did: then nobody says."""
        path = os.path.normpath(path)
        while len(path) > 1:
            path = os.path.dirname(path)
            if path in self._directories:
                return None
        return "source"

    def _emit_intent(self, attempt: _Attempt) -> Delivery:
        uris = []
        for _, file in jobs.files(attempt.job.output):
            uris.append(jobs.remote_uri(file) or self._artifacts.naming.uri(str(file)))
        facts, node = attempt.facts, self._recorder.host
        body = intent_body(self._engine, facts.name, facts.task, facts.attempt, uris, node, facts.started_us)
        return self._recorder.emit(Kind.INTENT, body, facts.task)

    def _after(self, attempt: _Attempt) -> None:
        """In the worker's thread, whatever happened: the job's process is done, its outputs are where it left them."""
        try:
            job = attempt.job
            attempt.facts.ended_us = _now_us()
            cached = ArtifactState.CACHED if attempt.error is None and not attempt.ran else None
            for role, file in jobs.files(job.output):
                found = self._artifacts.look(
                    str(file),
                    role,
                    state=jobs.state_of(file) or cached,
                    seen_at=str(job.shadowed_path(file)),
                    uri=jobs.remote_uri(file),
                )
                if found is not None:
                    attempt.outputs[str(file)] = found
        except Exception as error:  # noqa: BLE001 - HOOK-1
            self._trouble(attempt.job, "its outputs are recorded without digests", error)

    def _end(self, job: Any, status: TaskStatus | None) -> None:
        attempt = self._open.pop(_slot(job), None)
        if attempt is None:
            return
        try:
            facts = attempt.facts
            facts.status = status or (TaskStatus.OK if attempt.ran or job.is_norun else TaskStatus.CACHED)
            facts.ended_us = facts.ended_us or _now_us()
            facts.inputs = [artifact.value for artifact in attempt.inputs]
            facts.outputs = self._outputs_at_end(attempt, facts.status)
            _note_fate(facts, attempt.error)
            body = task_body(self._engine, facts, self._recorder.host, self._user, self._redaction)
            self._recorder.emit(Kind.TASK, body, facts.task)
        except Exception as error:  # noqa: BLE001 - HOOK-1
            self._trouble(job, "its end is not recorded", error)

    def _outputs_at_end(self, attempt: _Attempt, status: TaskStatus) -> list[JsonObject]:
        """Outputs as they are now. What a failed attempt did not leave behind is not an output of it."""
        kept = status in (TaskStatus.OK, TaskStatus.CACHED)
        values = []
        for role, file in jobs.files(attempt.job.output):
            path, state = str(file), jobs.state_of(file)
            before = attempt.outputs.get(path)
            if before is None:
                found = self._artifacts.look(path, role, state=state, uri=jobs.remote_uri(file))
            else:
                if status is TaskStatus.CACHED:
                    state = state or ArtifactState.CACHED
                found = self._artifacts.again(before, path, state)
            if found is not None and (kept or found.value["state"] != ArtifactState.ABSENT):
                values.append(found.value)
                if found.value["state"] == ArtifactState.DIRECTORY:
                    self._directories.add(os.path.normpath(found.path))
        return values

    def _trouble(self, job: Any, what: str, error: Exception) -> None:
        self._recorder.problem(f"{_key(job)}: {what}: {str(error) or type(error).__name__}")


def _slot(job: Any) -> _Slot:
    return jobs.key_of(job), int(job.attempt)


def _key(job: Any) -> str:
    try:
        return jobs.key_of(job)
    except Exception:  # noqa: BLE001 - only for a message
        return "a job"


def _note_fate(facts: TaskFacts, error: BaseException | None) -> None:
    if facts.status is TaskStatus.OK and not error:
        facts.exit_status = 0
        return
    if error is None:
        return
    facts.exit_status = jobs.exit_status(error)
    facts.error_class = type(error).__name__
    facts.error_message = str(error)


def _now_us() -> int:
    return time.time_ns() // 1_000


