"""Provenance for any Python program: `with scichain_wf.task(...)`.

    import scichain_wf

    with scichain_wf.run():                                   # optional: several tasks, one run
        with scichain_wf.task("align", inputs=["reads.fq"], outputs=["out.bam"], params={"threads": 4}):
            ...

A task belongs to the innermost of: the run that is open in this process; the run whose id an outer process left in
the environment (so programs that a recorded program starts record into its run); a run of its own, begun and ended
with it. Whatever goes wrong with recording ends in a line on standard error and changes nothing else, unless `strict`:
then a task does not begin, or fails at its end, if its record was lost (HOOK-1). An exception of the body is recorded
and goes on its way.

Safe in threads. A forked child records its tasks into its parent's run; only the process that began a run ends it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Literal, Self

from scichain_wf.errors import ScichainError, SubmissionError, UsageError, reason_of
from scichain_wf.hooks.artifacts import Artifact
from scichain_wf.hooks.environment import add_environment
from scichain_wf.hooks.recorder import Delivery
from scichain_wf.hooks.records import TaskFacts, intent_body, task_body
from scichain_wf.hooks.runs import ENGINE, Run, State
from scichain_wf.model.bodies import ArtifactState, Kind, TaskStatus

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class Task:
    """One task while it runs, to be used with `with`, once.

    Args:
        run: the run it belongs to; None: the one that is open, or one of its own.
        name, inputs, outputs, params: see `task`.
        arguments: the command line of the program that is the task.

    Attributes:
        facts: what is going to be recorded; an adapter may say more than it found out by itself.
        delivery: where the record went; None until it ended, or if the run is not recorded.
    """

    def __init__(
        self,
        run: Run | None,
        name: str,
        *,
        inputs: Iterable[AnyPath] = (),
        outputs: Iterable[AnyPath] = (),
        params: object = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self._run, self._pid = run, 0
        self._inputs, self._outputs = _paths(inputs), _paths(outputs)
        self.facts = TaskFacts(name, name, params=params, arguments=arguments)
        self.delivery: Delivery | None = None

    def add_inputs(self, *paths: AnyPath) -> None:
        """Name inputs that were not known before; they are looked at now."""
        self._look_at_inputs(_paths(paths))

    def add_outputs(self, *paths: AnyPath) -> None:
        """Name outputs that were not known before; they are looked at when the task ends."""
        self._outputs += _paths(paths)

    def __enter__(self) -> Self:
        """Look at the inputs, and record that the task is about to run."""
        run = self._run = State.enter(self._run)
        self._pid, facts = os.getpid(), self.facts
        try:
            self._begin(run, facts)
        except BaseException:
            State.leave(run, None, None, None)
            raise
        return self

    def _begin(self, run: Run, facts: TaskFacts) -> None:
        run.began()
        facts.started_us = _now_us()
        if run.recorder is None:
            return
        delivery = Delivery.LOST
        try:
            facts.task = run.key(facts.name)
            add_environment(facts)
            self._look_at_inputs(self._inputs)
            uris = [uri for path in self._outputs if (uri := self._uri(path)) is not None]
            body = intent_body(ENGINE, facts.name, facts.task, 1, uris, run.recorder.host, facts.started_us)
            delivery = run.recorder.emit(Kind.INTENT, body, facts.task)
        except Exception as error:  # noqa: BLE001 - HOOK-1
            run.recorder.problem(f"{facts.name}: it is recorded without its inputs: {reason_of(error)}")
        if run.strict and not delivery.is_enough:
            raise SubmissionError(f"{facts.name}: not begun, since it cannot be recorded: {run.recorder.trouble}")
        facts.started_us = _now_us()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Look at the outputs, and record how the task ended."""
        run = self._run
        if run is None or self._pid != os.getpid():
            return False  # a fork leaves its copy of the block
        try:
            self._end(run, error)
            if run.strict and error is None and self.delivery and not self.delivery.is_enough and run.recorder:
                what = "lost" if self.delivery is Delivery.LOST else "not committed"
                raise SubmissionError(f"{self.facts.name}: its record was {what}: {run.recorder.trouble}")
        finally:
            State.leave(run, kind, error, trace)
        return False

    def _end(self, run: Run, error: BaseException | None) -> None:
        facts = self.facts
        facts.ended_us = _now_us()
        if facts.status is TaskStatus.OK:
            _note_fate(facts, error)
        outputs: list[Artifact] = []
        if run.recorder is not None and run.artifacts is not None:
            try:
                outputs = run.artifacts.look_all(self._outputs, _roles(self._outputs))
                if facts.status is not TaskStatus.OK:  # what a failed task did not leave behind is not an output of it
                    outputs = [found for found in outputs if found.value["state"] != ArtifactState.ABSENT]
                facts.outputs = [artifact.value for artifact in outputs]
                body = task_body(ENGINE, facts, run.recorder.host, run.user, run.redaction)
                self.delivery = run.recorder.emit(Kind.TASK, body, facts.task)
            except Exception as trouble:  # noqa: BLE001 - HOOK-1
                run.recorder.problem(f"{facts.name}: its end is not recorded: {reason_of(trouble)}")
                self.delivery = Delivery.LOST
        run.ended(facts.task, facts.status, outputs)

    def _look_at_inputs(self, paths: list[str | bytes]) -> None:
        run = self._run
        if run is None or run.artifacts is None:
            return
        first = len(self.facts.inputs)
        for artifact in run.artifacts.look_all(paths, _roles(paths, first)):
            maker = run.made_by(str(artifact.value["uri"]))
            if maker is not None:
                artifact.value["origin"] = f"task:{maker}"
            self.facts.inputs.append(artifact.value)

    def _uri(self, path: str | bytes) -> str | None:
        run = self._run
        try:
            return None if run is None or run.artifacts is None else run.artifacts.naming.uri(path)
        except (ScichainError, OSError, ValueError):
            return None  # looking at it at the end says so


def task(
    name: str, *, inputs: Iterable[AnyPath] = (), outputs: Iterable[AnyPath] = (), params: object = None
) -> Task:
    """Record what a block of code reads and writes, to be used with `with`.

    Args:
        name: of the step; a second task of the same name in a run gets a number.
        inputs: files and directories it reads; looked at when the block begins.
        outputs: files and directories it writes; looked at when the block ends. Relative paths are against the
            directory that is current now.
        params: whatever else its result depends on; what looks like a secret is replaced.

    Returns:
        The task, in the run that is open, or in one of its own.
    """
    return Task(None, name, inputs=inputs, outputs=outputs, params=params)


def _note_fate(facts: TaskFacts, error: BaseException | None) -> None:
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return
    facts.status = TaskStatus.INTERRUPTED if isinstance(error, KeyboardInterrupt) else TaskStatus.FAILED
    facts.error_class = type(error).__name__
    try:
        facts.error_message = str(error)
    except Exception:  # noqa: BLE001 - a foreign exception's own text may fail
        facts.error_message = None
    if isinstance(error, SystemExit):
        facts.exit_status = error.code if isinstance(error.code, int) else 1


def _paths(paths: Iterable[AnyPath]) -> list[str | bytes]:
    if isinstance(paths, (str, bytes, os.PathLike)):
        raise UsageError(f"inputs and outputs are lists of paths, not the path {paths!r:.200}")
    return [_absolute(os.fsencode(path)) for path in paths]


def _absolute(path: bytes) -> bytes:
    """Against the directory that is current now; as it is where that has been removed: looking at it says so."""
    try:
        return os.path.join(os.getcwdb(), path)
    except OSError:
        return path


def _roles(paths: Sequence[object], first: int = 0) -> list[str]:
    return [str(number) for number in range(first, first + len(paths))]


def _now_us() -> int:
    return time.time_ns() // 1_000
