"""Before, after and at the end of each job: from Snakemake's calls to `intent` and `task` transactions.

    announce      scheduler's thread   who makes the inputs
    around        worker thread        hash inputs, `intent`, run, hash outputs
    succeeded     scheduler's thread   after post-processing: look again, hash only what changed, `task`;
                                       a service that was told to end and runs yet: by its worker, when it has ended
    failed        scheduler's thread   after incomplete outputs were removed: the same
    interrupted   on Ctrl-C, and at the end: whatever was begun and never ended
    touched       scheduler's thread   `--touch`: nothing ran

Hashing stays in the worker threads: the others hold the scheduler's lock. Trouble is collected and never raised,
unless strict: then a job whose intent could not be kept fails before it runs, on Snakemake's normal path.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from scichain_wf.filehash import FileDigest, in_order
from scichain_wf.hooks.artifacts import Artifact, Artifacts
from scichain_wf.hooks.recorder import Delivery, Recorder
from scichain_wf.hooks.records import Engine, TaskFacts, intent_body, task_body
from scichain_wf.hooks.redaction import Redaction
from scichain_wf.model.bodies import ArtifactState, Kind, TaskStatus
from scichain_wf.model.canonical import JsonObject
from snakemake_executor_plugin_scichain import jobs

_Slot = tuple[str, int]
"""Task key and attempt."""
_WELL = (TaskStatus.OK, TaskStatus.CACHED, TaskStatus.TOUCHED)


@dataclass(frozen=True, slots=True)
class Setting:
    """What the records of one Snakemake process have in common.

    Attributes:
        engine: which Snakemake.
        recorder: takes the transactions.
        artifacts: looks at files.
        user: who runs this.
        strict: whether a job may run whose intent was lost.
        redaction: what is taken for a secret.
    """

    engine: Engine
    recorder: Recorder
    artifacts: Artifacts
    user: str
    strict: bool
    redaction: Redaction


@dataclass(slots=True)
class _Known:
    """What the DAG says of a job's inputs: `jobs.origins`, and those that are never opened."""

    origins: dict[str, str | None] = field(default_factory=dict)
    handed_over: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Attempt:
    """One attempt of one job while it is under way."""

    job: Any
    facts: TaskFacts
    inputs: list[Artifact] = field(default_factory=list)
    outputs: dict[str, Artifact] = field(default_factory=dict)
    members: list[JsonObject] = field(default_factory=list)
    ran: bool = False
    returned: bool = False
    accepted: bool = False
    error: BaseException | None = None


class JobRecording:
    """Records the jobs of one Snakemake process.

    Args:
        setting: what they have in common.
        dag: the workflow's graph.
        submission: in an inner process, which try of the outer one it is; there the graph is a part only.

    Attributes:
        at_end: to be called when scheduling is over.
        commands: by task key: what need not be formatted once more.
        recorded: keys of the tasks whose end was recorded.
        is_strict: whether what cannot be recorded may not run.
    """

    def __init__(self, setting: Setting, dag: Any, submission: int | None = None) -> None:
        self.at_end: Callable[[], None] | None = None
        self.commands: Mapping[str, str] = {}
        self.recorded: set[str] = set()
        self.is_strict = setting.strict
        self._setting, self._recorder, self._artifacts = setting, setting.recorder, setting.artifacts
        self._dag, self._submission = dag, submission
        self._known: dict[_Slot, _Known] = {}
        self._open: dict[_Slot, _Attempt] = {}
        self._failed: set[str] = set()
        self._directories: set[bytes] = set()
        self._members: dict[str, str] = {}
        self._interrupted = False

    def announce(self, job: Any) -> None:
        """A job is about to be given to a worker."""
        for part in jobs.parts(job):
            try:
                self._known[_slot(part)] = _Known(jobs.origins(self._dag, part), jobs.handed_over(self._dag, part))
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
            attempt.returned = True
            if attempt.accepted:  # each of the two sets its own mark before it reads the other's; `_end` ends once
                self._end(_slot(job), None)

    def succeeded(self, job: Any) -> None:
        """Snakemake accepted the job's outputs."""
        for part in jobs.parts(job):
            slot = _slot(part)
            self._failed.discard(slot[0])  # an earlier attempt
            attempt = self._open.get(slot)
            if attempt is None:
                continue
            attempt.accepted = True
            if attempt.returned:  # Snakemake does not wait for the end of a service
                self._end(slot, None)

    def failed(self, job: Any) -> None:
        """Snakemake gave this attempt up."""
        for part in jobs.parts(job):
            slot = _slot(part)
            self._failed.add(slot[0])
            self._end(slot, TaskStatus.FAILED)

    def touched(self, job: Any) -> None:
        """Snakemake gave a job's outputs a new time, and ran nothing."""
        for part in jobs.parts(job):
            if jobs.is_recorded(part):
                try:
                    attempt = _Attempt(part, jobs.describe(part, self.commands))
                    attempt.facts.started_us = _now_us()
                    self._emit(attempt, TaskStatus.TOUCHED)
                except Exception as error:  # noqa: BLE001 - HOOK-1
                    self._trouble(part, "it is not recorded", error)

    def interrupted(self) -> None:
        """Nothing runs any more: what is still open was interrupted."""
        for slot, attempt in list(self._open.items()):
            if attempt.accepted:
                self._end(slot, None)
                continue
            self._interrupted = True
            self._end(slot, TaskStatus.INTERRUPTED)

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
            attempt = _Attempt(job, jobs.describe(job, self.commands))
            attempt.facts.submission = self._submission
            slot = attempt.facts.task, int(job.attempt)
            self._look_at_inputs(attempt, self._known.pop(slot, None))
            attempt.facts.started_us = _now_us()
            self._open[slot] = attempt
            delivery = self._emit_intent(attempt)
        except Exception as error:  # noqa: BLE001 - HOOK-1
            self._trouble(job, "it is not recorded", error)
            attempt = None
        if self._setting.strict and not (delivery and delivery.is_enough):
            from snakemake_interface_common.exceptions import WorkflowError

            raise WorkflowError(f"scichain (strict): {self._recorder.trouble}")
        return attempt

    def _look_at_inputs(self, attempt: _Attempt, known: _Known | None) -> None:
        handed_over = set() if known is None else known.handed_over
        wanted = list(jobs.files(attempt.job.input))
        wanted += [(role, file) for role, file in jobs.files(attempt.job.output) if jobs.is_kept_for(file)]
        calls = []
        for role, file in wanted:
            pipe = str(file) in handed_over or jobs.state_of(file) is ArtifactState.PIPE
            state = ArtifactState.PIPE if pipe else None
            look = partial(self._artifacts.look, str(file), role, state=state, uri=jobs.remote_uri(file))
            calls.append((0 if pipe else self._artifacts.size_bytes(str(file)), look))
        for (_, file), found in zip(wanted, in_order(calls), strict=True):
            if found is None:
                continue
            origin = self._origin(str(file), found, known)
            if origin is not None:
                found.value["origin"] = origin
            attempt.inputs.append(found)

    def _origin(self, file: str, found: Artifact, known: _Known | None) -> str | None:
        """Who made an input; a file that no job declares is a source, unless it lies in a directory that one did."""
        if known is None or file in known.origins:
            return None if known is None else known.origins[file]
        member_of = self._members.get(str(found.value["uri"]))
        if member_of is not None or self._submission is not None:
            return member_of
        path = os.path.normpath(found.path)
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
        body = intent_body(
            self._setting.engine, facts.name, facts.task, facts.attempt, uris, node, facts.started_us, facts.submission
        )
        return self._recorder.emit(Kind.INTENT, body, facts.task)

    def _after(self, attempt: _Attempt) -> None:
        """In the worker's thread, whatever happened: the job's process is done, its outputs are where it left them."""
        try:
            attempt.facts.ended_us = _now_us()
            for artifact in attempt.inputs:
                if self._artifacts.changed(artifact):
                    artifact.value["unstable"] = True
            self._look_at_outputs(attempt)
        except Exception as error:  # noqa: BLE001 - HOOK-1
            self._trouble(attempt.job, "its outputs are recorded without digests", error)

    def _look_at_outputs(self, attempt: _Attempt) -> None:
        job = attempt.job
        cached = ArtifactState.CACHED if attempt.error is None and not attempt.ran else None
        wanted = list(jobs.outputs(job))
        inside: dict[str, dict[bytes, FileDigest]] = {}
        calls = []
        for role, file in wanted:
            seen_at = str(job.shadowed_path(file))
            if jobs.is_scattered(job, file):
                inside[role] = {}
            look = partial(
                self._artifacts.look,
                str(file),
                role,
                state=jobs.state_of(file) or cached,
                seen_at=seen_at,
                uri=jobs.remote_uri(file),
                inside=inside.get(role),
            )
            calls.append((self._artifacts.size_bytes(seen_at), look))
        for (_, file), found in zip(wanted, in_order(calls), strict=True):
            if found is not None:
                attempt.outputs[str(file)] = found
        for role, digests in inside.items():
            attempt.members += self._artifacts.members(digests, f"{role}/")

    def _end(self, slot: _Slot, status: TaskStatus | None) -> None:
        attempt = self._open.pop(slot, None)
        if attempt is None:
            return
        job = attempt.job
        try:
            attempt.facts.inputs = [artifact.value for artifact in attempt.inputs]
            _note_fate(attempt, status)
            self._emit(attempt, status or (TaskStatus.OK if attempt.ran or job.is_norun else TaskStatus.CACHED))
        except Exception as error:  # noqa: BLE001 - HOOK-1
            self._trouble(job, "its end is not recorded", error)
        except BaseException:  # Ctrl-C in between: then `interrupted` ends it
            if attempt.facts.task not in self.recorded:
                self._open[slot] = attempt
            raise

    def _emit(self, attempt: _Attempt, status: TaskStatus) -> None:
        facts, setting = attempt.facts, self._setting
        facts.status = status
        facts.ended_us = facts.ended_us or _now_us()
        facts.outputs = self._outputs_at_end(attempt, status)
        body = task_body(setting.engine, facts, self._recorder.host, setting.user, setting.redaction)
        if self._recorder.emit(Kind.TASK, body, facts.task) is not Delivery.LOST:
            self.recorded.add(facts.task)

    def _outputs_at_end(self, attempt: _Attempt, status: TaskStatus) -> list[JsonObject]:
        """Outputs as they are now. What a failed attempt did not leave behind is not an output of it."""
        of_status = {TaskStatus.CACHED: ArtifactState.CACHED, TaskStatus.TOUCHED: ArtifactState.TOUCHED}.get(status)
        values = []
        for role, file in jobs.outputs(attempt.job):
            path, state = str(file), jobs.state_of(file) or of_status
            before = attempt.outputs.get(path)
            if before is None:
                found = self._artifacts.look(path, role, state=state, uri=jobs.remote_uri(file))
            else:
                found = self._artifacts.again(before, path, state, touched=True)
            if found is not None and (status in _WELL or found.value["state"] != ArtifactState.ABSENT):
                values.append(found.value)
        if status is TaskStatus.OK:
            self._note_directories(attempt)
            values += attempt.members
        return values

    def _note_directories(self, attempt: _Attempt) -> None:
        for _, file in jobs.files(attempt.job.output):
            if jobs.flagged(file, "directory"):
                self._directories.add(os.path.normpath(self._artifacts.naming.absolute(str(file))))
        self._members.update((str(value["uri"]), f"task:{attempt.facts.task}") for value in attempt.members)

    def _trouble(self, job: Any, what: str, error: Exception) -> None:
        self._recorder.problem(f"{_key(job)}: {what}: {str(error) or type(error).__name__}")


def _slot(job: Any) -> _Slot:
    return jobs.key_of(job), int(job.attempt)


def _key(job: Any) -> str:
    try:
        return jobs.key_of(job)
    except Exception:  # noqa: BLE001 - only for a message
        return "a job"


def _note_fate(attempt: _Attempt, status: TaskStatus | None) -> None:
    """Exit status and error. A service ends by a signal of Snakemake's, which is how it should end."""
    facts, error = attempt.facts, attempt.error
    if error is not None:
        facts.exit_status = jobs.exit_status(error)
        if status is not None:
            facts.error_class, facts.error_message = type(error).__name__, str(error)
    elif status is None and attempt.ran and attempt.returned:
        facts.exit_status = 0


def _now_us() -> int:
    return time.time_ns() // 1_000
