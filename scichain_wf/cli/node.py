"""`scichain-wf node`: one agent, on the host where tasks run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from scichain_wf import limits
from scichain_wf.cli.locate import chain_option, find_chain
from scichain_wf.cli.output import say
from scichain_wf.cli.place import place, place_options
from scichain_wf.client.outbox import SHARED_MEMORY
from scichain_wf.config import load_config


@click.command(epilog="Example: srun scichain-wf node --slot 1 --interface ib0")
@chain_option
@click.option("--slot", type=click.IntRange(1, limits.SLOTS_MAX), required=True, help="Which slot this agent fills.")
@click.option(
    "--token",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The slot's token, where it was brought here. Default: the one in the chain's directory.",
)
@place_options
@click.option(
    "--tail-dir",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="A directory of this host's own for the copy of the chain's newest blocks that the agent checks others with. "
    "Default: /dev/shm.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0),
    default=limits.START_TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a storage node at first.",
)
def command(
    *,
    chain: Path | None,
    slot: int,
    token: Path | None,
    interface: str | None,
    port_range: str | None,
    tail_dir: Path | None,
    wait_s: float,
) -> int:
    """Run the agent of a slot on this host, until SIGTERM or Ctrl-C.

    It commits what tasks of this host record and certifies what the other agents propose. It finds the storage node
    (`scichain-wf storage`) through the chain's directory. It outlives that: when the storage node is started again,
    this joins again. Told to end it first gets everything committed; told once more it ends at once.
    """
    from scichain_wf.ledger.layout import ChainLayout
    from scichain_wf.node.outpost import Outpost, Plan
    from scichain_wf.node.site import token_file

    layout = ChainLayout(find_chain(chain).absolute())
    config = load_config(Path.cwd())
    metrics = config.metrics_dir or layout.run_dir / "metrics"
    where = place(interface, port_range)
    tails = (tail_dir or SHARED_MEMORY).absolute()
    token = token or token_file(layout, slot)
    plan = Plan(layout, slot, token, *where, metrics, config.burst_buffer, tails, wait_s)
    return Outpost(plan, _say).run()


def _say(text: str) -> None:
    say(text)
    sys.stdout.flush()
