"""The body of each transaction kind, schema version 1: what a workflow, a node or the storage node states.

Field names carry their units. What is unknown is left out, never invented: a reader can tell "no container"
from "nobody looked". Everything a workflow chose freely (`wildcards`, `params`, `arguments`) is typed JSON.
Who checks whether a statement is *true* is the consensus (`SciChain §3.2`) and later the audit, not this file.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from scichain_wf import limits
from scichain_wf.model.schema import (
    COUNT,
    DIGEST,
    FREE_TEXT,
    KEY,
    NAME,
    ORDINAL,
    PUBLIC_KEY,
    SIGNATURE,
    TIME_US,
    AnyOf,
    Array,
    Choice,
    Field,
    Flag,
    Free,
    FreeObject,
    Hex,
    Integer,
    Record,
    Taken,
    Text,
)
from scichain_wf.model.uri import ROOT_ID_CHARS, UriField


class Kind(StrEnum):
    """What a transaction states."""

    TASK = "task"
    """A task ran (or was taken from a cache, or was touched)."""
    INTENT = "intent"
    """A task is about to run, with the outputs it declares."""
    RUN_START = "run-start"
    RUN_END = "run-end"
    """The manifest of a run: our counts and the engine's own tally. What comes after it is late."""
    EPOCH = "epoch"
    """Membership; appended by the storage node only."""
    EVIDENCE = "evidence"
    """Two signed statements that one honest key cannot both have made."""
    ATTESTATION = "attestation"
    """Another node re-hashed an artifact."""
    ANCHOR = "anchor"
    """A time stamp of a checkpoint by a third party."""
    NOTE = "note"


class ArtifactState(StrEnum):
    """What an input or output was when it was looked at."""

    FILE = "file"
    DIRECTORY = "directory"
    PIPE = "pipe"
    ABSENT = "absent"
    TEMPORARY = "temporary"
    """A file the engine deletes once its consumers are done."""
    CACHED = "cached"
    """Taken from a between-workflow cache, not made by this task."""
    TOUCHED = "touched"
    UNHASHED = "unhashed"
    """Present, but by policy or size nobody read its content."""


class TaskStatus(StrEnum):
    """How a task ended."""

    OK = "ok"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    CACHED = "cached"
    TOUCHED = "touched"


HASHED_STATES: Final = frozenset(
    {ArtifactState.FILE, ArtifactState.DIRECTORY, ArtifactState.TEMPORARY, ArtifactState.CACHED, ArtifactState.TOUCHED}
)
"""States whose content a digest describes."""

_URI = UriField()
_ROOT_ID = Hex(ROOT_ID_CHARS)
_PATH_TEXT = Text(3 * limits.PATH_BYTES_MAX)  # percent-escaped bytes
_ENGINE = Record({"name": NAME, "version": NAME})

_ARTIFACT: Final[dict[str, Field]] = {"uri": _URI, "role": NAME, "state": Choice(*ArtifactState)}
_ARTIFACT_MORE: Final[dict[str, Field]] = {
    "digest": DIGEST,
    "size_bytes": COUNT,
    "mtime_us": Integer(-limits.INTEGER_MAX),
    "files": COUNT,  # in a directory
    "policy": Choice("full", "size-mtime"),
    "unstable": Flag(),  # changed while it was read
}
OUTPUT: Final = Record(_ARTIFACT, _ARTIFACT_MORE)
INPUT: Final = Record(
    _ARTIFACT,
    # `origin`: "source", or the task key that produces it, where the engine knows; left out where it does not.
    _ARTIFACT_MORE
    | {"origin": AnyOf(Choice("source"), Text(limits.NAME_CHARS_MAX, prefix="task:")), "unresolved": Flag()},
)

TASK: Final = Record(
    {
        "engine": _ENGINE,
        "name": NAME,
        "task": NAME,
        "attempt": ORDINAL,
        "inputs": Taken("inputs", Array(INPUT, limits.ARTIFACTS_PER_TASK_MAX)),
        "outputs": Taken("outputs", Array(OUTPUT, limits.ARTIFACTS_PER_TASK_MAX)),
        "node": NAME,
        "user": NAME,
        "started_us": TIME_US,
        "ended_us": TIME_US,
        "status": Choice(*TaskStatus),
    },
    {
        "submission": ORDINAL,
        "wildcards": FreeObject("wildcards"),
        "params": Free("params"),
        "arguments": Free("arguments"),
        "code": Record({"kind": NAME}, {"digest": DIGEST}),
        "command": FREE_TEXT,
        "environment": Record({}, {"conda": DIGEST, "container": NAME, "modules": Array(NAME, 1_000)}),
        "exit_status": Integer(-256, 255),  # negative: the signal that ended it
        "error": Record({"class": NAME}, {"message": FREE_TEXT}),
        "executor": NAME,  # of the engine, where it has several
        "scheduler": Record({"name": NAME, "job": NAME}),
        "threads": COUNT,
        "redacted": Array(NAME, 1_000),  # the fields in which a secret was replaced
        "truncated": Array(NAME, 1_000),  # the fields cut to a limit
    },
)

INTENT: Final = Record(
    {
        "engine": _ENGINE,
        "name": NAME,
        "task": NAME,
        "attempt": ORDINAL,
        "outputs": Array(_URI, limits.ARTIFACTS_PER_TASK_MAX),
        "node": NAME,
        "started_us": TIME_US,
    },
    {"submission": ORDINAL, "scheduler": Record({"name": NAME, "job": NAME})},
)

RUN_START: Final = Record(
    {
        "engine": _ENGINE,
        # `from_chain`: the root as seen from the chain's own directory, so that a moved copy still resolves.
        "roots": Array(
            Record({"id": _ROOT_ID, "host": NAME, "path": _PATH_TEXT}, {"mount": _PATH_TEXT, "from_chain": _PATH_TEXT}),
            64,
            items_min=1,
        ),
        "user": NAME,
        "started_us": TIME_US,
    },
    {
        "command": Array(FREE_TEXT, 4_096),
        "workflow": Record({"uri": _URI}, {"digest": DIGEST}),
        "settings": FreeObject("settings"),
        "author": NAME,
    },
)

RUN_END: Final = Record(
    {
        "status": Choice("ok", "failed", "interrupted"),
        "ended_us": TIME_US,
        "counts": Record({kind.value: COUNT for kind in (Kind.TASK, Kind.INTENT)}),
    },
    {
        # What the engine itself says it ran, to be held against what was recorded.
        "tally": Record({"planned": COUNT, "finished": COUNT, "failed": COUNT}),
        # Tasks that the engine says it ran and that had left no record when the run ended, the first of them.
        "missing": Array(NAME, limits.MISSING_TASKS_MAX),
        "author_signature": Record({"key": PUBLIC_KEY, "signature": SIGNATURE}),
    },
)

EVIDENCE: Final = Record(
    {
        "about": Choice("header", "verdict"),
        # Sorted, and without a reporter: whoever reports the same pair makes the same transaction.
        "statements": Array(Record({"bytes": Text(limits.TEXT_CHARS_MAX), "signature": SIGNATURE}), 2, items_min=2),
    }
)

ATTESTATION: Final = Record({"uri": _URI, "digest": DIGEST, "size_bytes": COUNT, "node": NAME})

ANCHOR: Final = Record({"checkpoint": FREE_TEXT, "service": NAME, "token": FREE_TEXT})

NOTE: Final = Record({"text": FREE_TEXT}, {"author": NAME, "about": AnyOf(KEY, _URI), "checkpoint": FREE_TEXT})
"""`checkpoint`: a signed note that this chain does not continue, and that its owner gave up (`recover`)."""

BODIES: Final[dict[str, Field]] = {
    Kind.TASK: TASK,
    Kind.INTENT: INTENT,
    Kind.RUN_START: RUN_START,
    Kind.RUN_END: RUN_END,
    Kind.EVIDENCE: EVIDENCE,
    Kind.ATTESTATION: ATTESTATION,
    Kind.ANCHOR: ANCHOR,
    Kind.NOTE: NOTE,
}
"""Body by kind; `epoch.py` adds its own."""
