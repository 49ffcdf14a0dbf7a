"""What a run says at its end: one line that can be checked, and before it whatever is missing and how to get it in.

Text only; printing is the caller's. Names of hosts and files are shown escaped: a terminal is not theirs to write to.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from pathlib import Path

    from scichain_wf.client.summary import Summary

_PREFIX: Final = "scichain: "
_PROBLEMS_SHOWN: Final = 5
_MODES: Final = (("quorum", "quorum"), ("poet", "POET"), ("spool", "spool"))


def shown(text: str) -> str:
    """`text` on one line, with nothing in it that a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def closing_line(run: bytes, summary: Summary, command: str) -> str:
    """The one line of a recorded run: counts, who voted, trust root, head, and how to check it."""
    modes = ", ".join(f"{summary.transactions.get(mode, 0)} {label}" for mode, label in _MODES)
    total = sum(summary.transactions.values())
    voters = ", ".join(shown(voter) for voter in summary.voters) or "nobody"
    counts = f"{_counted(summary.tasks, 'task')}, {_counted(total, 'transaction')} ({modes})"
    return (
        f"{_PREFIX}run {run.hex()[:12]}…: {counts}, "
        f"votes by {voters}; trust root sha256:{summary.trust_root.hex()[:12]}…; "
        f"head {summary.head_height} sha256:{summary.head.hex()[:12]}…; check with: {command}"
    )


def spooled_line(run: bytes, counts: tuple[int, int] | None, spool: Path, refusal: str, command: str) -> str:
    """The one line of a run whose records all went to the spool, and why.

    Args:
        run: its id.
        counts: its tasks and records; None if other processes wrote some, too.
        spool: where they wait.
        refusal: why there is no service.
        command: what verifies the run.
    """
    what = "records" if counts is None else f"{_counted(counts[0], 'task')}, {_counted(counts[1], 'record')}"
    return (
        f"{_PREFIX}run {run.hex()[:12]}…: {what} waiting in "
        f"{shown(str(spool))}, not committed yet: {shown(refusal)}; the run that has the chain commits "
        f"them, or the next one; then check with: {command}"
    )


def detour_lines(records: int, reason: str) -> list[str]:
    """One line if records went through the spool although there are agents: not lost, but somebody may wonder."""
    if not reason:
        return []
    return [f"{_PREFIX}{_counted(records, 'record')} went through the spool: {shown(reason)}"]


def late_lines(records: int, reason: str) -> list[str]:
    """One line if records that were waited for were not committed in time."""
    if not reason:
        return []
    return [f"{_PREFIX}{_counted(records, 'record')} acknowledged locally only, by outbox or spool: {shown(reason)}"]


def joined_lines(agents: int, wanted: int) -> list[str]:
    """One line for a run that has other agents than it asked for: those of the service it joined."""
    there = _counted(agents, "agent")
    return [f"{_PREFIX}the service that runs on this chain has {there}; the {wanted} that were asked for were not made"]


def verify_command(chain_dir: Path, launched_from: Path) -> str:
    """The command that verifies this chain, for somebody who is in `launched_from`."""
    if chain_dir == launched_from / ".scichain":
        return "scichain-wf verify"
    near = chain_dir.relative_to(launched_from) if chain_dir.is_relative_to(launched_from) else chain_dir
    return f"scichain-wf verify --chain {shlex.quote(shown(str(near)))}"


def problem_lines(problems: Sequence[str]) -> list[str]:
    """One line per problem, the first few."""
    lines = [f"{_PREFIX}provenance is incomplete: {shown(problem)}" for problem in problems[:_PROBLEMS_SHOWN]]
    if len(problems) > _PROBLEMS_SHOWN:
        lines.append(f"{_PREFIX}and {len(problems) - _PROBLEMS_SHOWN} more problems")
    return lines


def not_recorded_line(reason: str) -> str:
    """For a run that could not be recorded at all."""
    return f"{_PREFIX}this run is not recorded: {shown(reason)}"


class Progress:
    """Shows on a terminal how many records are committed; on anything else it stays silent."""

    def __init__(self, output: TextIO | None = None) -> None:
        self._output = output or sys.stderr
        self._active = False

    def __call__(self, committed: int, pending: int) -> None:
        """To be told now and then."""
        if self._output is not None and self._output.isatty():
            self._active = True
            self._write(f"\r{_PREFIX}committed {committed} of {committed + pending} records ")

    def done(self) -> None:
        """Give the line back."""
        if self._active:
            self._write("\r\033[K")
            self._active = False

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # the terminal is gone
            self._output.write(text)
            self._output.flush()


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
