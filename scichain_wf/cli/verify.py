"""`scichain-wf verify`: is the record what was committed, and are the files what it says? The verdict comes first.

Every line and the exit code come from one result of `scichain_wf.audit`; nothing is judged here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from scichain_wf import errors, limits
from scichain_wf.cli.locate import chain_option, find_chain, is_chain, is_path, json_option
from scichain_wf.cli.output import escaped, say, say_fields, say_json
from scichain_wf.cli.reading import run_named
from scichain_wf.config import load
from scichain_wf.errors import DecodeError, UsageError
from scichain_wf.filehash import read_regular

if TYPE_CHECKING:
    from scichain_wf.audit import FileResult, Finding, Result

_FINDINGS_SHOWN: Final = 20
_BLAST_SHOWN: Final = 3
_STATES: Final = ("match", "changed", "missing", "unreadable", "unknown", "unhashed", "gone", "elsewhere")
_SELF_RECORDED: Final = frozenset({"SC-CONF-002", "SC-CONF-003"})
"""All votes came from one host, or from one slot: whoever held that held them all."""


def trust_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--trust-root` and `--checkpoint`: what the caller knows of the chain from elsewhere."""
    root = click.option(
        "--trust-root",
        metavar="sha256:HEX|FILE",
        help="The chain you mean, kept where its owner cannot write. Default: configured, else the chain's word.",
    )
    kept = click.option(
        "--checkpoint",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="A checkpoint you kept: shows rollback and rewrite.",
    )
    return root(kept(function))


def fail_on_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--fail-on`: from which severity on a finding is a failure."""
    return click.option(
        "--fail-on",
        type=click.Choice(["error", "warning", "info"]),
        default="error",
        show_default=True,
        help="Exit with 1 from this severity of finding on.",
    )(function)


@click.command(epilog="Example: scichain-wf verify results/plot.pdf")
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@chain_option
@trust_options
@click.option(
    "--receipt",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Verify against this receipt; no chain is needed.",
)
@fail_on_option
@json_option
def command(
    *,
    targets: tuple[str, ...],
    chain: Path | None,
    trust_root: str | None,
    receipt: Path | None,
    checkpoint: Path | None,
    fail_on: str,
    as_json: bool,
) -> int:
    """Check the chain, and that files are what the workflow made.

    Without TARGET: the whole chain found here or above, and every file it records. A TARGET is a file or directory
    that a workflow made, a run id (or the beginning of one), or a chain's directory.

    Exits with 0 if verified, 1 if something is not what was committed, 3 if something could not be checked.
    """
    trust_root = pinned(trust_root)
    if receipt is not None:
        if chain is not None or checkpoint is not None:
            raise UsageError("a receipt is held against its trust root alone: leave --chain and --checkpoint out")
        results = _by_receipt(targets, receipt, trust_root)
    elif not targets:
        results = [_whole(find_chain(chain), trust_root, checkpoint)]
    else:
        results = [_target(target, chain, trust_root, checkpoint) for target in targets]
    if as_json:
        say_json(results[0].to_json() if len(results) == 1 else [result.to_json() for result in results])
    else:
        for result in results:
            show(result)
    return worst(result.exit_code_for(fail_on) for result in results)


def pinned(named: str | None) -> str | None:
    """The trust root that the caller names, or has configured; who wrote a project's file is said to have chosen it."""
    if named is not None:
        return named
    loaded = load(Path.cwd())
    if loaded.config.trust_root is not None and loaded.is_projects("trust_root"):
        told = f"trust root taken from {loaded.origins['trust_root']}: whoever wrote that file chose it"
        click.echo(escaped(told), err=True)
    return loaded.config.trust_root


def worst(codes: Iterable[int]) -> int:
    """Integrity failure outweighs everything, then what could not be checked."""
    found = set(codes)
    return next((code for code in (errors.EXIT_INTEGRITY, errors.EXIT_INCOMPLETE) if code in found), errors.EXIT_OK)


def show(result: Result) -> None:
    """A result as text: verdict, where and how much, findings, trust."""
    say(headline(result), _style(result))
    say_fields(
        [
            ("chain", "" if result.chain is None else f"sha256:{result.chain.hex()}"),
            ("head", "" if result.head is None else f"{result.head.size - 1} sha256:{result.head.link.hex()}"),
            ("counted", _counts(result, ("links", "transactions", "tasks", "contested", "unresolved"))),
            ("agreed by", _counts(result, [f"transactions-{mode}" for mode in ("quorum", "poet", "epoch")])),
            ("files", _counts(result, [f"files-{state}" for state in _STATES])),
        ]
    )
    shown = [finding for finding in result.findings if finding.severity != "info"]
    files = {(file.height, file.index): file for file in result.files}
    for finding in shown[:_FINDINGS_SHOWN]:
        _show_finding(finding, files.get((finding.height, finding.index)))
    hidden = len(shown) - _FINDINGS_SHOWN + sum(result.dropped.values())
    if hidden > 0:
        say(f"and {hidden} more findings (--json has them all)", indent=2)
    for line in result.trust:
        say(line, indent=2)


def headline(result: Result) -> str:
    """The verdict, and what it is worth."""
    sentence = result.sentence()
    if result.exit_code == errors.EXIT_OK and _SELF_RECORDED & {finding.id for finding in result.findings}:
        return sentence.replace(result.verdict.value, f"{result.verdict.value} (self-recorded: one principal)", 1)
    return sentence


def _show_finding(finding: Finding, file: FileResult | None) -> None:
    file = file if finding.height is not None else None
    say(f"{finding.id} {finding.severity}: {finding.title}: {finding.subject}", indent=2)
    fields = [("expected", finding.expected), ("found", finding.actual)]
    if file is not None and file.task is not None:
        run = f", run {file.run[:12]}…" if file.run else ""
        fields.append(("made by", f"{file.task}{run}"))
    if finding.blast_count:
        named = ", ".join(finding.blast[:_BLAST_SHOWN]) + (", …" if finding.blast_count > _BLAST_SHOWN else "")
        fields.append(("affects", f"{finding.blast_count} artifacts made from it: {named}"))
    if finding.height is not None:
        at = f"height {finding.height}" + ("" if finding.index is None else f", transaction {finding.index}")
        fields.append(("evidence", at))
    say_fields([*fields, ("remedy", finding.remedy)], indent=6)


def _whole(chain_dir: Path, trust_root: str | None, checkpoint: Path | None) -> Result:
    from scichain_wf.audit import verify_files

    with Meter() as meter:
        return verify_files(chain_dir, trust_root=trust_root, checkpoint=checkpoint, progress=meter)


def _target(target: str, chain: Path | None, trust_root: str | None, checkpoint: Path | None) -> Result:
    from scichain_wf.audit import verify_artifact, verify_files

    path = Path(target)
    if is_chain(path):
        return _whole(path, trust_root, checkpoint)
    if is_path(target):
        return verify_artifact(find_chain(chain, target), path, trust_root=trust_root, checkpoint=checkpoint)
    chain_dir = find_chain(chain)
    try:
        run = run_named(chain_dir, target)
    except UsageError as error:
        raise UsageError(f"{target} is neither a file nor a run: {error}") from None
    with Meter() as meter:
        return verify_files(chain_dir, run=run, trust_root=trust_root, checkpoint=checkpoint, progress=meter)


def _by_receipt(targets: tuple[str, ...], receipt: Path, trust_root: str | None) -> list[Result]:
    from scichain_wf.audit import verify_receipt

    if len(targets) > 1:
        raise UsageError("a receipt proves one file: name that file only, or none")
    try:
        data = read_regular(receipt, limits.RECEIPT_BYTES_MAX)
    except OSError as error:
        raise UsageError(f"{receipt}: {error.strerror}") from None
    try:
        return [verify_receipt(data, trust_root, targets[0] if targets else None)]
    except DecodeError as error:
        raise type(error)(f"{receipt}: {error}") from None


def _counts(result: Result, names: Iterable[str]) -> str:
    """Counts by name; of `files-match` and its like the part after the dash is said."""
    counted = [(result.counts[name], name.partition("-")[2] or name) for name in names if name in result.counts]
    return ", ".join(f"{number} {name}" for number, name in counted)


def _style(result: Result) -> str:
    return {errors.EXIT_OK: "good", errors.EXIT_INTEGRITY: "bad"}.get(result.exit_code, "odd")


class Meter:
    """Progress on standard error, if that is a terminal."""

    def __init__(self) -> None:
        self._update: Callable[[int, int], None] | None = None
        self._stop: Callable[[], None] = lambda: None

    def __enter__(self) -> Callable[[int, int], None] | None:
        if not sys.stderr.isatty():
            return None
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        progress = Progress(*columns, console=Console(stderr=True), transient=True)
        task = progress.add_task("verifying", total=None)
        progress.start()
        self._stop = progress.stop
        return lambda done, total: progress.update(task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        self._stop()
