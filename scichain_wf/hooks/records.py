"""Bodies of the transactions that hooks make. What is unknown is left out, never invented.

Every text is cleaned and every free value bounded here, so that a record of a hostile or merely odd workflow fits
the schema; what was cut or replaced is listed in the record itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from scichain_wf import limits
from scichain_wf.hooks.redaction import USUAL, Redaction
from scichain_wf.hooks.values import Fitting, name
from scichain_wf.model.bodies import TaskStatus
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.text import digest_text

_ODD: Final = re.compile(r"[%,=\[\]]")
_SCHEDULERS: Final = (
    ("slurm", "SLURM_JOB_ID"),
    ("pbs", "PBS_JOBID"),
    ("lsf", "LSB_JOBID"),
)


@dataclass(frozen=True, slots=True)
class Engine:
    """The workflow engine and its version."""

    name: str
    version: str

    def value(self) -> JsonObject:
        """As recorded."""
        return {"name": name(self.name), "version": name(self.version)}


@dataclass(slots=True)
class TaskFacts:
    """What an engine's adapter knows of one attempt of one task, before it is made to fit a record.

    `task` names the task within its run (see `task_key`); times are microseconds since 1970; `code_digest` is 32
    bytes; `submission` numbers the engine's own processes for it where each counts attempts anew; `command` is what a
    shell was given, `arguments` what a program was. Fields left at None are not recorded.
    """

    name: str
    task: str
    attempt: int = 1
    submission: int | None = None
    started_us: int = 0
    ended_us: int = 0
    status: TaskStatus = TaskStatus.OK
    inputs: list[JsonObject] = field(default_factory=list)
    outputs: list[JsonObject] = field(default_factory=list)
    wildcards: Mapping[str, object] | None = None
    params: object = None
    code_kind: str | None = None
    code_digest: bytes | None = None
    command: str | None = None
    arguments: Sequence[str] = ()
    conda_digest: bytes | None = None
    container: str | None = None
    modules: Sequence[str] = ()
    exit_status: int | None = None
    error_class: str | None = None
    error_message: str | None = None
    executor: str | None = None
    threads: int | None = None


def task_key(rule: str, wildcards: Mapping[str, str]) -> str:
    """A name for a task that is its own within a run and the same in a re-run.

    Characters that could confuse one task with another, or a terminal, are escaped; what is too long is hashed.
    """
    if not wildcards:
        return name(rule)
    inside = ",".join(f"{_escaped(key)}={_escaped(str(value))}" for key, value in wildcards.items())
    key = f"{name(rule)}[{inside}]"
    if len(key) <= limits.NAME_CHARS_MAX // 2:
        return key
    import hashlib

    return f"{name(rule)[: limits.NAME_CHARS_MAX // 4]}[#{hashlib.sha256(inside.encode()).hexdigest()}]"


def run_start_body(
    engine: Engine,
    roots: Iterable[JsonObject],
    user: str,
    started_us: int,
    command: Sequence[str],
    workflow: JsonObject | None,
    settings: Mapping[str, object],
    redaction: Redaction = USUAL,
    author: str | None = None,
) -> JsonObject:
    """A run begins: under which roots, from which workflow file, by which command line, in whose name."""
    fitting = Fitting(redaction)
    body: JsonObject = {
        "engine": engine.value(),
        "roots": list(roots),
        "user": name(user),
        "started_us": started_us,
        "command": [*fitting.command("command", command)],
        "settings": fitting.free("settings", dict(settings)),
    }
    if workflow is not None:
        body["workflow"] = workflow
    if author is not None:
        body["author"] = name(author)
    return body


def intent_body(
    engine: Engine,
    rule: str,
    task: str,
    attempt: int,
    outputs: Sequence[str],
    node: str,
    started_us: int,
    submission: int | None = None,
) -> JsonObject:
    """A task is about to run and may leave these outputs."""
    body: JsonObject = {
        "engine": engine.value(),
        "name": name(rule),
        "task": task,
        "attempt": attempt,
        "outputs": list(outputs[: limits.ARTIFACTS_PER_TASK_MAX]),
        "node": node,
        "started_us": started_us,
    }
    if submission is not None:
        body["submission"] = submission
    return _with_scheduler(body)


def task_body(engine: Engine, facts: TaskFacts, node: str, user: str, redaction: Redaction = USUAL) -> JsonObject:
    """One attempt of a task, as it ended."""
    fitting = Fitting(redaction)
    body: JsonObject = {
        "engine": engine.value(),
        "name": name(facts.name),
        "task": facts.task,
        "attempt": facts.attempt,
        "inputs": list(facts.inputs),
        "outputs": list(facts.outputs),
        "node": node,
        "user": name(user),
        "started_us": facts.started_us,
        "ended_us": max(facts.started_us, facts.ended_us),
        "status": facts.status.value,
    }
    if facts.submission is not None:
        body["submission"] = facts.submission
    if facts.wildcards:
        body["wildcards"] = fitting.free("wildcards", dict(facts.wildcards))
    if facts.params:
        body["params"] = fitting.free("params", facts.params)
    if facts.code_kind:
        body["code"] = {"kind": name(facts.code_kind), **_digest(facts.code_digest)}
    if facts.command:
        body["command"] = fitting.text("command", facts.command)
    if facts.arguments:
        body["command"] = fitting.typed("command", facts.arguments)
    if environment := _environment(facts):
        body["environment"] = environment
    if facts.exit_status is not None and -256 <= facts.exit_status <= 255:
        body["exit_status"] = facts.exit_status
    if facts.error_class:
        error: JsonObject = {"class": name(facts.error_class)}
        if facts.error_message:
            error["message"] = fitting.text("error", facts.error_message, limits.FREE_TEXT_CHARS_MAX)
        body["error"] = error
    if facts.executor:
        body["executor"] = name(facts.executor)
    if facts.threads is not None and facts.threads >= 0:
        body["threads"] = facts.threads
    _cut_artifacts(body, fitting)
    if fitting.redacted:
        body["redacted"] = [*sorted(fitting.redacted)]
    if fitting.truncated:
        body["truncated"] = [*sorted(fitting.truncated)]
    return _with_scheduler(body)


def run_end_body(
    status: str,
    ended_us: int,
    tasks: int,
    intents: int,
    tally: Mapping[str, int] | None,
    missing: Sequence[str] = (),
) -> JsonObject:
    """The manifest of a run: how many records there are to find, what the engine itself counted, and what it misses."""
    body: JsonObject = {"status": status, "ended_us": ended_us, "counts": {"task": tasks, "intent": intents}}
    if tally is not None:
        body["tally"] = dict(tally)
    if missing:
        body["missing"] = [*missing[: limits.MISSING_TASKS_MAX]]
    return body


def shrunk(body: JsonObject) -> JsonObject | None:
    """A task body that was too large, with less in it and saying so; None if nothing more can be left out."""
    cut = dict(body)
    listed = cut.get("truncated")
    truncated = set(listed) if isinstance(listed, list) else set()
    for field_name in ("params", "arguments", "command", "wildcards", "error"):
        if field_name in cut:
            del cut[field_name]
            truncated.add(field_name)
    if not truncated - {str(item) for item in (listed if isinstance(listed, list) else [])}:
        for field_name in ("inputs", "outputs"):
            items = cut.get(field_name)
            if isinstance(items, list) and len(items) > 1:
                cut[field_name] = items[: len(items) // 2]
                truncated.add(field_name)
                break
        else:
            return None
    cut["truncated"] = [*sorted(str(item) for item in truncated)]
    return cut


def _cut_artifacts(body: JsonObject, fitting: Fitting) -> None:
    """Outputs first: what a task made is what its record is for."""
    left = limits.ARTIFACTS_PER_TASK_MAX
    for field_name in ("outputs", "inputs"):
        items = body[field_name]
        if isinstance(items, list):
            if len(items) > left:
                fitting.truncated.add(field_name)
                body[field_name] = items[:left]
            left -= min(len(items), left)


def _environment(facts: TaskFacts) -> JsonObject:
    environment: JsonObject = {}
    if facts.conda_digest is not None:
        environment["conda"] = digest_text(facts.conda_digest)
    if facts.container:
        environment["container"] = name(facts.container)
    if facts.modules:
        environment["modules"] = [name(module) for module in facts.modules[:1_000]]
    return environment


def _digest(digest: bytes | None) -> JsonObject:
    return {} if digest is None else {"digest": digest_text(digest)}


def _with_scheduler(body: JsonObject) -> JsonObject:
    for scheduler, variable in _SCHEDULERS:
        job = os.environ.get(variable)
        if job:
            body["scheduler"] = {"name": scheduler, "job": name(job)}
            break
    return body


def _escaped(text: str) -> str:
    if text.isprintable() and not _ODD.search(text):
        return text
    plain = (c.isprintable() and not _ODD.match(c) for c in text)
    return "".join(c if kept else quote(c, "", errors="surrogatepass") for c, kept in zip(text, plain, strict=True))
