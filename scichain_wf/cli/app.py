"""The command table. `--help` imports no command: their one-line summaries stand here."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

_COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "verify": ("verify", "Check the chain, and that files are what the workflow made."),
    "run": ("execute", "Run a command and record what it read and wrote."),
    "audit": ("audit", "Verify everything, and write the report."),
    "runs": ("runs", "List the recorded runs, or show one."),
    "lineage": ("lineage", "Show what a file was made from, or what was made from it."),
    "diff": ("diff", "Compare two runs, task by task."),
    "receipt": ("receipt", "Print a portable proof of a file."),
    "ledger": ("ledger", "Look into a chain: show, proof, fsck, snapshot."),
    "sim": ("sim", "Simulate a cluster that agrees, with faults, liars and any number of nodes."),
    "bench": ("bench", "Measure how fast this is here."),
    "storage": ("storage", "Run a chain's storage node, for agents on several hosts."),
    "node": ("node", "Run the agent of one slot, on a host where tasks run."),
    "init": ("init", "Make a chain before its first run."),
    "key": ("key", "Make a key to sign the ends of runs with."),
    "up": ("up", "Start a service that stays, for several runs at a time."),
    "down": ("down", "End it, after everything is committed."),
    "status": ("status", "Show how the chain stands, who serves it, and what waits."),
    "watch": ("watch", "Show the same again and again, until Ctrl-C."),
    "doctor": ("doctor", "Examine whether recording will work here."),
    "recover": ("recover", "Show what a chain that went back in time lost, and go on from it."),
    "clean": ("clean", "Remove what dead processes left in shared memory."),
    "config": ("config", "Show what is configured, and where."),
    "completion": ("completion", "Print the completion script of a shell."),
    "version": ("version", "Print the version and what it runs on."),
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order of the table: what one needs most comes first."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """The command of a name."""
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"scichain_wf.cli.{_COMMANDS[cmd_name][0]}")
        command = module.command
        if not isinstance(command, click.Command):
            raise TypeError(f"{module.__name__}.command is not a command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, and a misspelled command is told the nearest one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            near = get_close_matches(args[0], _COMMANDS, 1)
            if near:
                raise click.UsageError(f"{error.format_message()} Did you mean {near[0]!r}?", ctx) from None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """The table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


def _print_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from scichain_wf import __version__

        click.echo(f"scichain-wf {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 verified or done, 1 integrity failure, 2 usage or configuration, 3 not checked or reached.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def app() -> None:
    """Provenance for Snakemake and Parsl workflows that can be proved."""
