"""`scichain-wf bench`: how fast this is here, with the real parts, and what the design asks for beside it.

Each command measures for seconds, prints a table and leaves nothing behind, after Ctrl-C either. `--output` keeps
every raw sample with machine and versions, so that two machines or two versions can be compared.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from scichain_wf import limits
from scichain_wf.cli import files
from scichain_wf.cli.locate import json_option
from scichain_wf.cli.output import escaped, json_text, say, say_json, say_table
from scichain_wf.cli.terminable import terminable
from scichain_wf.errors import EXIT_INCOMPLETE, EXIT_OK, UsageError

if TYPE_CHECKING:
    from scichain_wf.bench.result import Figure, Result, Target

_HEADINGS: Final = ("FIGURE", "MEDIAN", "P99", "UNIT", "TARGET", "")
_POSITIVE: Final = click.IntRange(min=1)
_EPILOG: Final = """\
\b
Examples:
  scichain-wf bench emit
  scichain-wf bench commit --nodes 1 --directory /fast/disk --output commit.json
"""


@click.group(name="bench", epilog=_EPILOG)
def command() -> None:
    """Measure how fast this is here: emit, hash, commit, latency, verify, scale."""


def _benchmark(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """A command that runs the benchmark `name` with its function's options; the function only describes it."""

    def made(function: Callable[..., Any]) -> click.Command:
        def run(*, as_json: bool, output: Path | None, **options: Any) -> int:
            return _run(name, options, as_json=as_json, output=output)

        run.__doc__ = function.__doc__
        run.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        return command.command(name, epilog=f"Example: scichain-wf bench {name} --json")(json_option(_output(run)))

    return made


_output: Final = click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the JSON document to this file, too."
)
_seed: Final = click.option(
    "--seed", type=click.IntRange(0, limits.INTEGER_MAX), default=1, show_default=True, help="Of names and contents."
)
_directory: Final = click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    metavar="DIR",
    help="Where to make the chain. Default: where temporary files are.",
)
_per_block: Final = click.option(
    "--per-block", type=click.IntRange(1, limits.BLOCK_TRANSACTIONS_MAX), default=500, show_default=True,
    help="Transactions of each block.",
)  # fmt: skip
_nodes: Final = click.option(
    "--nodes", type=click.IntRange(1, limits.EMBEDDED_NODES_MAX), default=4, show_default=True, help="Agents."
)


def _number(name: str, default: int, text: str, least: int = 1, most: int | None = None) -> Callable[..., Any]:
    return click.option(name, type=click.IntRange(least, most), default=default, show_default=True, help=text)


@_benchmark("emit")
@_number("--records", 5_000, "That each process emits.")
@click.option(
    "--processes", type=click.IntRange(1, 64), multiple=True, default=(1, 8), show_default=True,
    help="How many at once; may be given several times.",
)  # fmt: skip
@_number("--files", 0, "Inputs that each record names.", 0, 3)
def emit() -> None:
    """What handing a record to the agent costs the process that runs the task."""


@_benchmark("hash")
@_number("--mib", 256, "Size of each of two files in shared memory.")
@_number("--rounds", 7, "How often.")
@_seed
def hashing() -> None:
    """Hash one file, and two at once."""


@_benchmark("commit")
@_nodes
@_number("--hooks", 2, "Hook processes.", 1, 64)
@_number("--transactions", 20_000, "Of all hooks together, each time.")
@_number("--repeats", 3, "How often, on one chain.")
@_seed
@_directory
def commit() -> None:
    """Transactions a second from hook processes to fsynced links, with real processes and TLS."""


@_benchmark("latency")
@_nodes
@_number("--transactions", limits.BLOCK_TRANSACTIONS_MIN, "Of each block.", 1, limits.BLOCK_TRANSACTIONS_MAX)
@_number("--blocks", 100, "One after another.")
@_seed
@_directory
def latency() -> None:
    """One block on an idle chain, from its proposal to its link in every tail."""


@_benchmark("verify")
@_number("--transactions", 20_000, "Of the chain that is made first.", 100)
@_per_block
@_number("--slots", 4, "Members; a certificate has a quorum of votes.", 1, limits.SLOTS_MAX)
@_number("--jobs", len(os.sched_getaffinity(0)), "Processes that verify.", 1, 256)
@_number("--rounds", 3, "How often the whole chain is verified.")
@_number("--files", 20, "How often one file is.")
@_seed
@_directory
def verify() -> None:
    """Verify a whole chain, and one file."""


@_benchmark("scale")
@_number("--transactions", 60_000, "In all.", 1_000)
@_number("--windows", 6, "Parts to compare.", 2, 1_000)
@_per_block
@_number("--blocks-per-commit", 8, "That one fsync makes durable.", 1, 1_000)
@_number("--slots", 1, "Members; a certificate has a quorum of votes.", 1, limits.SLOTS_MAX)
@_seed
@_directory
def scale() -> None:
    """What an append costs as the chain grows."""


def _run(name: str, options: dict[str, Any], *, as_json: bool, output: Path | None) -> int:
    file = files.writable(str(output)) if output is not None else None
    module = import_module(f"scichain_wf.bench.{name}")
    if options.get("windows", 1) * options.get("per_block", 0) * options.get("blocks_per_commit", 1) > options.get(
        "transactions", limits.INTEGER_MAX
    ):
        raise UsageError("--windows: each has to hold a whole commit; choose fewer, or more --transactions")
    with terminable():
        result: Result = module.run(module.Options(**options))
    code = EXIT_OK
    if file is not None:
        try:
            files.write(file, json_text(result.to_json()))
        except OSError as error:
            click.echo(escaped(f"--output: {file} could not be written: {error.strerror or error}"), err=True)
            code = EXIT_INCOMPLETE
    if as_json:
        say_json(result.to_json())
    else:
        _show(result)
    return code


def _show(result: Result) -> None:
    say_table(_HEADINGS, [row for figure in result.figures for row in _rows(figure)])
    for note in result.notes:
        say(note)
    machine = result.machine
    say(f"On {machine['processor']}, {machine['cpus']} cpus, load {machine['load_1min']}, Python {machine['python']}.")


def _rows(figure: Figure) -> list[tuple[str, ...]]:
    """One row, or one per target."""
    known = figure.name, _short(figure.quantile(0.5)), _short(figure.quantile(0.99)), figure.unit
    if not figure.targets:
        return [(*known, "", "")]
    first, *others = [_target(figure, target) for target in figure.targets]
    return [(*known, *first), *(("", "", "", "", *other) for other in others)]


def _target(figure: Figure, target: Target) -> tuple[str, str]:
    which = "median" if target.share == 0.5 else f"p{100 * target.share:g}"
    sign = "≥" if target.at_least else "≤"
    return f"{which} {sign} {_short(target.bound)}", "met" if figure.met(target) else "MISSED"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
