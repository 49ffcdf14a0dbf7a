"""The one result object of every verification. Text, JSON, HTML and SARIF are renderings of it and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

from scichain_wf import errors
from scichain_wf.audit.account import Account
from scichain_wf.audit.catalogue import entry_of
from scichain_wf.audit.difference import Difference
from scichain_wf.audit.entry import Severity
from scichain_wf.ledger.problem import Problem
from scichain_wf.model.text import digest_text

RESULT_VERSION: Final = 1


class Verdict(StrEnum):
    """What a verification comes to."""

    VERIFIED = "VERIFIED"
    WARNINGS = "VERIFIED WITH WARNINGS"
    FAILED = "FAILED"
    INCOMPLETE = "INCOMPLETE"
    """Something could not be checked; that is not a pass."""


class FileState(StrEnum):
    """How a file on disk compares with its newest record."""

    MATCH = "match"
    CHANGED = "changed"
    MISSING = "missing"
    UNKNOWN = "unknown"
    """Nothing is recorded of it."""
    UNHASHED = "unhashed"
    """Recorded without its content."""
    GONE = "gone"
    """Not there, and not meant to be: temporary, recorded as absent, or of a failed task."""
    ELSEWHERE = "elsewhere"
    """On another host or a remote store; not seen from here."""
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a reader should know. `height`, `index` and `key` are the evidence's place on the chain."""

    id: str
    severity: Severity
    title: str
    subject: str
    meaning: str = ""
    expected: str = ""
    actual: str = ""
    height: int | None = None
    index: int | None = None
    key: str | None = None
    remedy: str = ""
    blast: tuple[str, ...] = ()
    """What was made from it, directly or not: the nearest artifacts' URIs, of `blast_count` in all."""
    blast_count: int = 0

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """A problem in words."""
        entry = entry_of(problem.code)
        return cls(
            entry.id,
            entry.severity,
            entry.title,
            problem.subject,
            entry.meaning,
            problem.expected,
            problem.actual,
            problem.height,
            problem.index,
            problem.key,
            entry.remedy,
        )

    def line(self) -> str:
        """One line of text. Names on a chain are hostile input: control characters are shown escaped."""
        parts = [f"{self.id} {self.severity}: {self.title}: {self.subject}"]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.actual:
            parts.append(f"found {self.actual}")
        return printable("; ".join(parts))

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is empty is left out."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: str(value) if isinstance(value, StrEnum) else list(value) if name == "blast" else value
            for name, value in fields.items()
            if value not in ("", None, ()) and (value != 0 or name != "blast_count")
        }


@dataclass(frozen=True, slots=True)
class FileResult:
    """One file against its record. `transaction` is the producing transaction's id, `task` its name."""

    uri: str
    state: FileState
    path: str | None = None
    recorded: bytes | None = None
    actual: bytes | None = None
    task: str | None = None
    run: str | None = None
    key: str | None = None
    transaction: bytes | None = None
    height: int | None = None
    index: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is unknown is left out."""
        value: dict[str, Any] = {"uri": self.uri, "state": self.state.value}
        for name in ("path", "task", "run", "key", "height", "index"):
            if getattr(self, name) is not None:
                value[name] = getattr(self, name)
        for name in ("recorded", "actual", "transaction"):
            if getattr(self, name) is not None:
                value[name] = digest_text(getattr(self, name))
        return value


@dataclass(frozen=True, slots=True)
class Head:
    """The chain as it was verified: its size in links, its newest link and the root of its tree."""

    size: int
    link: bytes
    root: bytes
    checkpoint_size: int | None = None
    """Links that the checkpoint covers; None without one."""
    cosigned: tuple[int, ...] = ()
    """Slots that signed the checkpoint besides the storage node."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "size": self.size,
            "link": digest_text(self.link),
            "root": digest_text(self.root),
            "checkpoint_size": self.checkpoint_size,
            "cosigned": list(self.cosigned),
        }


@dataclass(frozen=True, slots=True)
class Result:
    """What was checked, what was found, and whom one must trust for it to mean anything.

    `counts` keys are stable: `links`, `transactions`, `transactions-quorum`, `-poet`, `-epoch`, `blocks-spool`,
    `tasks`, `contested`, `unresolved`, `duplicates`, `files-match`, `files-changed`, ... `dropped` counts findings
    that were too many to keep, by id.
    """

    subject: str
    findings: tuple[Finding, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    chain: bytes | None = None
    head: Head | None = None
    trust: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    files: tuple[FileResult, ...] = ()
    """Files that do not match; all of them only where one file was asked for."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    account: Account | None = None
    """What the records say, where it was asked for (`audit`)."""
    difference: Difference | None = None
    """How the audited run differs from a baseline, where one was named."""

    @property
    def verdict(self) -> Verdict:
        """The worst finding decides."""
        severities = {finding.severity for finding in self.findings}
        if Severity.ERROR in severities:
            return Verdict.FAILED
        if Severity.UNCHECKED in severities:
            return Verdict.INCOMPLETE
        return Verdict.WARNINGS if Severity.WARNING in severities else Verdict.VERIFIED

    @property
    def exit_code(self) -> int:
        """0 verified (also with warnings), 1 failed, 3 incomplete; 2 (usage) is only ever raised."""
        if self.verdict is Verdict.FAILED:
            return errors.EXIT_INTEGRITY
        return errors.EXIT_INCOMPLETE if self.verdict is Verdict.INCOMPLETE else errors.EXIT_OK

    def exit_code_for(self, fail_on: str) -> int:
        """`exit_code`, but 1 as well where a finding is as bad as `fail_on`: `error`, `warning` or `info`."""
        if self.exit_code:
            return self.exit_code
        worst = min((_ORDER[finding.severity] for finding in self.findings), default=len(_ORDER))
        return errors.EXIT_INTEGRITY if worst <= _ORDER[Severity(fail_on)] else errors.EXIT_OK

    def sentence(self) -> str:
        """The verdict in one sentence."""
        worst = next((f for f in self.findings if f.severity in (Severity.ERROR, Severity.UNCHECKED)), None)
        if worst is not None:
            others = sum(f.severity is worst.severity for f in self.findings) - 1 + sum(self.dropped.values())
            more = f" (and {others} more)" if others else ""
            return printable(f"{self.verdict}: {worst.title}: {worst.subject}{more}")
        return printable(f"{self.verdict}: {self.subject}")

    def to_json(self) -> dict[str, Any]:
        """The whole result as plain values; see the published JSON Schema."""
        return {
            "version": RESULT_VERSION,
            "verdict": self.verdict.value,
            "exit_code": self.exit_code,
            "sentence": self.sentence(),
            "subject": self.subject,
            "chain": None if self.chain is None else digest_text(self.chain),
            "head": None if self.head is None else self.head.to_json(),
            "counts": dict(sorted(self.counts.items())),
            "trust": list(self.trust),
            "checked": list(self.checked),
            "unchecked": list(self.unchecked),
            "findings": [finding.to_json() for finding in self.findings],
            "dropped": dict(sorted(self.dropped.items())),
            "files": [file.to_json() for file in self.files],
            "account": None if self.account is None else self.account.to_json(),
            "difference": None if self.difference is None else self.difference.to_json(),
        }


_ORDER: Final = {severity: number for number, severity in enumerate(Severity)}


def findings_of(problems: Iterable[Problem]) -> tuple[Finding, ...]:
    """Problems in words, the worst first, then in the order of the chain."""
    return tuple(sorted(map(Finding.of, problems), key=order_of))


def order_of(finding: Finding) -> tuple[int, int, int, str]:
    """Sort key: the worst first, then by place."""
    height = -1 if finding.height is None else finding.height
    return _ORDER[finding.severity], height, -1 if finding.index is None else finding.index, finding.id


def dropped_of(counts: Counter[str], kept: Iterable[Problem]) -> dict[str, int]:
    """By id, how many problems were counted and not kept."""
    rest = counts - Counter(problem.code for problem in kept)
    return {entry_of(code).id: number for code, number in rest.items()}


def printable(text: str) -> str:
    """`text` with everything that could move a cursor, ring a bell or break a line shown as an escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
