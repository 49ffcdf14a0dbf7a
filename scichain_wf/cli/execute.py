"""`scichain-wf run -- CMD`: provenance for any command."""

from __future__ import annotations

import os
from pathlib import Path

import click

_POLICIES = ("always", "cached", "size-mtime", "off")


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog="Exit code: that of CMD, 128 + n if signal n ended it, 127 or 126 if it could not be started; with --strict "
    "2 or 3 if it cannot be recorded, in which case it was not started or the last line says what is missing.",
)
@click.argument("arguments", metavar="[--] CMD [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("-i", "--input", "inputs", metavar="PATH", multiple=True, help="File or directory that CMD reads.")
@click.option("-o", "--output", "outputs", metavar="PATH", multiple=True, help="File or directory that CMD writes.")
@click.option("--name", help="Name of the step.  [default: name of the program]")
@click.option("--chain", metavar="DIR", type=click.Path(path_type=Path), help="Directory of the chain; made if absent.")
@click.option("--nodes", type=int, metavar="N", help="Agents that validate the records.")
@click.option(
    "--hash", "hashing", type=click.Choice(_POLICIES), help="How much is read. [default: configured, or cached]"
)
@click.option("--redact", metavar="TEXT*", multiple=True, help="A secret beside the usual; `*`: any characters.")
@click.option(
    "--strict/--no-strict", default=None, help="Do not run what cannot be recorded. [default: configured, or not]"
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but trouble.")
def command(
    *,
    arguments: tuple[str, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    name: str | None,
    chain: Path | None,
    nodes: int | None,
    hashing: str | None,
    redact: tuple[str, ...],
    strict: bool | None,
    quiet: bool,
) -> int:
    r"""Run a command and record what it read and wrote.

    CMD keeps its standard input and output, gets every signal, and its exit code is the result. Inputs are looked at
    before it starts, outputs after it ended; it is recorded whether it succeeds or fails. Inside a recorded run, and
    inside a CMD, the record becomes part of that run. Example:

    \b
      scichain-wf run -i reads.fq -o out.bam -- sh -c 'bwa mem ref.fa reads.fq | samtools sort -o out.bam'
    """
    from scichain_wf.cli.output import complain
    from scichain_wf.errors import SubmissionError
    from scichain_wf.hooks.command import run_command
    from scichain_wf.hooks.runs import Run
    from scichain_wf.hooks.tasks import Task
    from scichain_wf.model.bodies import TaskStatus

    run = Run(
        chain=chain, nodes=nodes, strict=strict, hashing=hashing, redact=redact, command=arguments, quiet=quiet
    )
    step = name or os.path.basename(arguments[0]) or arguments[0]
    fate = None
    try:
        with run, Task(run, step, inputs=inputs, outputs=outputs, arguments=arguments) as task:
            fate = run_command(arguments)
            task.facts.exit_status = fate.exit_status
            if fate.exit_status:
                task.facts.status = TaskStatus.INTERRUPTED if fate.interrupted else TaskStatus.FAILED
            if fate.reason:
                task.facts.error_class, task.facts.error_message = "OSError", fate.reason
    except SubmissionError as error:
        if fate is None or not fate.exit_status:
            raise
        complain(str(error))  # what is wrong with the command matters more
    except KeyboardInterrupt:
        if fate is None:
            raise
        complain("left before everything was committed; the records wait, and the next recorded run takes them in")
    if fate.reason:
        complain(fate.reason)
    return fate.exit_code
