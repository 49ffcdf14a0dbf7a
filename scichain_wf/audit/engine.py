"""The audit: everything `verify_files` does, what only the records of a whole run or chain show, and what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from scichain_wf.audit.account import Account
from scichain_wf.audit.difference import Difference, compare_runs
from scichain_wf.audit.files import STATES_KEPT_MAX, FilesFound, run_bytes, verify_with_files
from scichain_wf.audit.gather import gather
from scichain_wf.audit.result import FileResult, Finding, Result, dropped_of, findings_of, order_of
from scichain_wf.errors import LedgerCorrupt
from scichain_wf.ledger.fsck import Progress
from scichain_wf.ledger.isolate import Pool, result
from scichain_wf.ledger.problem import Problem, Problems

CHECKED: Final = (
    "every run: begun, ended, with as many records as it and its engine counted, no task without its end",
    "every artifact: made by one task of a run, or overwritten by one that read it",
    "every piece of evidence against a node, and how often each node judged otherwise than the chain",
)
"""What an audit checks besides a verification."""
_BLASTS_MAX: Final = 50
_BLAST_NAMED: Final = 20
_SPREADING: Final = ("SC-FILE-", "SC-TRACE-")


def audit(
    chain_dir: str | Path,
    *,
    run: str | bytes | None = None,
    baseline: str | bytes | None = None,
    roots: Mapping[str, str | bytes | Path] | None = None,
    trust_root: str | Path | bytes | None = None,
    checkpoint: str | Path | bytes | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Audit a chain with its files, or one of its runs. The chain is verified as a whole in both cases.

    Args:
        chain_dir: the chain directory; it is only read.
        run: only this run's records and outputs (32 hex digits or 16 bytes).
        baseline: a run to compare `run` with; needs `run`.
        roots: as in `verify_files`.
        trust_root: as in `verify_chain`.
        checkpoint: as in `verify_chain`.
        jobs: child processes for the chain, threads for hashing.
        progress: told about (links done, links in all) of the chain.

    Returns:
        A result with `account`, with `difference` where there is a baseline, and with findings that say what was made
        from what they are about. Without an account where there is no readable ledger.

    Raises:
        UsageError, LedgerError, UnsupportedVersion: as in `verify_chain`.
    """
    run_id = None if run is None else run_bytes(run)
    before = None if baseline is None else run_bytes(baseline)
    account: Account | None = None
    difference: Difference | None = None
    problems = Problems()
    with Pool(jobs) as pool:
        found, files, summary = verify_with_files(
            pool, chain_dir, run_id, roots or {}, trust_root, checkpoint, progress
        )
        if summary is None:
            return found
        try:
            account, problems = result(pool, gather, summary, run_id)
            if run_id is not None and before is not None:
                difference = result(pool, compare_runs, summary.directory, summary.moment, before, run_id)
        except LedgerCorrupt as error:
            problems.add(Problem("unreadable", "the records", "", str(error)))
    return concluded(found, files, account, difference, problems)


def concluded(
    found: Result, files: FilesFound, account: Account | None, difference: Difference | None, problems: Problems
) -> Result:
    """One result of verification and account."""
    findings = sorted((*found.findings, *findings_of(problems.kept)), key=order_of)
    if account is not None:
        _mark_files(account, files)
        findings = _with_blast(findings, found.files, account)
    return replace(
        found,
        findings=tuple(findings),
        checked=(*found.checked, *CHECKED),
        dropped=dict(Counter(found.dropped) + Counter(dropped_of(problems.counts, problems.kept))),
        account=account,
        difference=difference,
    )


def _mark_files(account: Account, files: FilesFound) -> None:
    """Say of each newest artifact how its file compares; what is not told apart any more stays unsaid."""
    rest = "match" if files.counts["files-match"] and len(files.states) < STATES_KEPT_MAX else ""
    for place, artifact in enumerate(account.artifacts):
        if not artifact.disk:
            disk = "value" if artifact.uri.startswith("value:") else files.states.get(artifact.uri, rest)
            account.artifacts[place] = artifact._replace(disk=disk)


def _with_blast(findings: list[Finding], files: tuple[FileResult, ...], account: Account) -> list[Finding]:
    """Findings of files and traces, the first of them with what was made from what they are about."""
    tasks = {(task.height, task.transaction): task for task in account.tasks}
    readers = account.readers()
    uris = {(file.height, file.index, file.path or file.uri): file.uri for file in files}
    told, all_ = 0, []
    for finding in findings:
        place = finding.height, finding.index
        task = tasks.get(place) if finding.id.startswith(_SPREADING) and told < _BLASTS_MAX else None  # type: ignore[arg-type]
        if task is None:
            all_.append(finding)
        else:
            uri = uris.get((*place, finding.subject.partition(" (made by ")[0]))
            begun = [output for output in task.outputs if uri in (None, account.artifacts[output].uri)]
            made = list(account.downstream(begun, readers))
            if uri is None:  # it is the task that is in doubt, and with it all it made
                made = [*begun, *made]
            names = tuple(account.artifacts[output].uri for output in made[:_BLAST_NAMED])
            all_.append(replace(finding, blast=names, blast_count=len(made)))
            told += 1
    return all_
