"""On the worker: look at what a try reads, run it, look at what it wrote and returned, record it.

Imported by name wherever a traced app runs: in a thread of the main process or in a worker on another host. Whatever
goes wrong with recording leaves the app's result as it is, unless the run is strict (HOOK-1).
"""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parsl.app.errors import AppTimeout, BashExitFailure, RemoteExceptionWrapper

from scichain_parsl import arguments
from scichain_parsl.arguments import Context
from scichain_wf.errors import ScichainError, SubmissionError, reason_of
from scichain_wf.hooks.artifacts import Artifacts
from scichain_wf.hooks.closing import shown
from scichain_wf.hooks.join import join_run
from scichain_wf.hooks.recorder import Delivery, Recorder
from scichain_wf.hooks.records import Engine, TaskFacts, intent_body, task_body
from scichain_wf.hooks.redaction import Redaction
from scichain_wf.hooks.saying import say
from scichain_wf.model.bodies import ArtifactState, Kind, TaskStatus
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.text import digest_text
from scichain_wf.model.uri import value_uri


@dataclass(frozen=True, slots=True)
class Joined:
    """A run that this process takes part in: what all its tries need."""

    run: str
    recorder: Recorder
    artifacts: Artifacts
    user: str
    redaction: Redaction
    engine: Engine


class _Runs:
    """By what their tries are told of them."""

    lock = threading.Lock()
    joined: dict[bytes, Joined] = {}  # noqa: RUF012 - state of the process, as it says


def call(inner: Callable[..., Any], about: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run `inner` as the try that its context says it is.

    Raises:
        SubmissionError: the run is strict, and the try cannot be recorded; `inner` was not run, or its result is lost.
    """
    context = kwargs.pop(arguments.CONTEXT, None)
    if not isinstance(context, tuple):
        return inner(*args, **kwargs)
    attempt = Try.begun(context, about, args, kwargs)
    if attempt is None:
        return inner(*args, **kwargs)
    try:
        result = inner(*args, **kwargs)
    except BaseException as error:
        attempt.ended(None, error)
        raise
    attempt.ended(result, _wrapped_error(result))
    return result


class Try:
    """One try of a task while it runs."""

    def __init__(self, context: Context, about: Mapping[str, Any], kwargs: Mapping[str, Any]) -> None:
        _, self._strict, told, own = context
        self._own: dict[str, Any] = pickle.loads(own)  # noqa: S301 - the main process's, as the task itself is
        self._kwargs = dict(kwargs)
        self._facts = TaskFacts(about["name"], self._own["task"], self._own["try"], code_kind=about["kind"])
        self._facts.code_digest = about["code"]
        self._run = joined(told)
        self._recorder, self._artifacts = self._run.recorder, self._run.artifacts

    @classmethod
    def begun(
        cls, context: Context, about: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Try | None:
        """Look at the inputs and record the intent; None if it cannot be recorded, which has been said."""
        _, strict, _, own = context
        attempt = None
        try:
            attempt = cls(context, about, kwargs)
            delivery = attempt._begin(args)
            if strict and not delivery.is_enough:
                raise SubmissionError(attempt._recorder.trouble)
        except AppTimeout as error:  # the walltime counts this, too
            if attempt is not None:
                attempt.ended(None, error)
            raise
        except Exception as error:  # noqa: BLE001 - HOOK-1
            reason, task = reason_of(error), pickle.loads(own)["task"]  # noqa: S301 - as above
            if strict:
                raise SubmissionError(f"{task}: not begun, since it cannot be recorded: {reason}") from None
            say(f"scichain: {shown(f'{task} is not recorded: {reason}')}")
            return None
        return attempt

    def _begin(self, args: tuple[Any, ...]) -> Delivery:
        facts, own = self._facts, self._own
        origins: Mapping[str, str] = own["origins"]
        facts.params = arguments.free(args, self._kwargs)
        facts.executor = own["executor"]
        for role, file in arguments.reads(args, self._kwargs):
            found = looked(self._artifacts, role, file)
            if found is not None:
                maker = origins.get(str(file.url))
                found["origin"] = "source" if maker is None else f"task:{maker}"
                facts.inputs.append(found)
        by_role = dict(arguments.values(args, self._kwargs))
        for role, (uri, maker) in own["values"].items():
            value = value_record(uri, role, by_role.get(role))
            if value is not None:
                facts.inputs.append(value | {"origin": f"task:{maker}"})
        outputs = [uri for _, file in arguments.writes(self._kwargs) if (uri := self._uri(file)) is not None]
        facts.started_us = _now_us()
        node = self._recorder.host
        body = intent_body(self._run.engine, facts.name, facts.task, facts.attempt, outputs, node, facts.started_us)
        return self._recorder.emit(Kind.INTENT, body, facts.task)

    def ended(self, result: Any, error: BaseException | None) -> None:
        """Look at the outputs and record how it ended."""
        facts = self._facts
        facts.ended_us = _now_us()
        delivery = Delivery.LOST
        try:
            try:
                delivery = self._end(result, error)
            except AppTimeout:  # the task was in time; its timer strikes once
                delivery = self._end(result, error)
        except Exception as trouble:  # noqa: BLE001 - HOOK-1
            self._recorder.problem(f"{facts.task}: its end is not recorded: {reason_of(trouble)}")
        if not delivery.is_enough:
            what = "lost" if delivery is Delivery.LOST else "not committed"
            said = f"{facts.task}: its record was {what}: {self._recorder.trouble}"
            if self._strict and error is None:
                raise SubmissionError(said)
            say(f"scichain: {shown(said)}")

    def _end(self, result: Any, error: BaseException | None) -> Delivery:
        facts, run = self._facts, self._run
        _note_fate(facts, error)
        facts.outputs = []
        for role, file in arguments.writes(self._kwargs):
            found = looked(self._artifacts, role, file)
            if found is not None and (error is None or found["state"] != ArtifactState.ABSENT):
                facts.outputs.append(found)
        if error is None and facts.code_kind == "python":
            value = value_record(value_uri(run.run, facts.task, facts.attempt), "result", result)
            facts.outputs += [] if value is None else [value]
        body = task_body(run.engine, facts, self._recorder.host, run.user, run.redaction)
        return self._recorder.emit(Kind.TASK, body, facts.task)

    def _uri(self, file: Any) -> str | None:
        try:
            return arguments.remote_uri(file) or self._artifacts.naming.uri(arguments.path_of(file))
        except (ScichainError, OSError, ValueError):
            return None  # looking at it at the end says so


def joined(told: bytes) -> Joined:
    """What records tries of the run of which they are told this.

    Raises:
        LedgerError: its chain cannot be seen from this host.
    """
    with _Runs.lock:
        found = _Runs.joined.get(told)
        if found is None:
            of: dict[str, Any] = pickle.loads(told)  # noqa: S301 - as above
            parts = join_run(
                bytes.fromhex(of["run"]),
                Path(of["chain"]),
                Path.cwd(),
                of["hashing"],
                of["root"],
                of["ack"],
                of["burst"],
            )
            found = Joined(of["run"], *parts, Redaction(of["redact"]), Engine("parsl", of["version"]))
            _Runs.joined[told] = found
        return found


def forget(told: bytes) -> None:
    """A run of this process is over."""
    with _Runs.lock:
        _Runs.joined.pop(told, None)


def looked(artifacts: Artifacts, role: str, file: Any) -> JsonObject | None:
    """The record of a file as it is now; None if it cannot be named, which is a problem of its own."""
    uri = arguments.remote_uri(file)
    try:
        path = arguments.path_of(file)
    except ValueError:
        return None if uri is None else {"uri": uri, "role": role, "state": ArtifactState.UNHASHED.value}
    found = artifacts.look(path, role, uri=uri)
    return None if found is None else found.value


def value_record(uri: str, role: str, value: Any) -> JsonObject | None:
    """The record of a value that travels between tasks; None for None, which says nothing."""
    if value is None:
        return None
    digest = arguments.value_digest(value)
    if digest is None:
        return {"uri": uri, "role": role, "state": ArtifactState.UNHASHED.value}
    return {
        "uri": uri,
        "role": role,
        "state": ArtifactState.FILE.value,
        "digest": digest_text(digest[0]),
        "size_bytes": digest[1],
    }


def _wrapped_error(result: Any) -> BaseException | None:
    """The exception that Parsl carries back in place of a result."""
    return result.e_value if isinstance(result, RemoteExceptionWrapper) else None


def _note_fate(facts: TaskFacts, error: BaseException | None) -> None:
    if error is None:
        facts.exit_status = 0 if facts.code_kind == "bash" else None
        return
    facts.status = TaskStatus.INTERRUPTED if isinstance(error, KeyboardInterrupt | SystemExit) else TaskStatus.FAILED
    note_error(facts, error)
    facts.exit_status = error.exitcode if isinstance(error, BashExitFailure) else None


def note_error(facts: TaskFacts, error: BaseException) -> None:
    """Its class, and what it says if it says something."""
    facts.error_class, said = type(error).__name__, reason_of(error)
    facts.error_message = said if said != facts.error_class else None


def _now_us() -> int:
    return time.time_ns() // 1_000


def _renew_lock() -> None:
    """In a forked worker: a thread of the parent may have held it."""
    _Runs.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
