"""`scichain-wf up`: a service that stays until `scichain-wf down`."""

from __future__ import annotations

from pathlib import Path

import click

from scichain_wf import limits
from scichain_wf.cli.locate import chain_option, json_option, wanted_chain
from scichain_wf.cli.output import say, say_fields, say_json
from scichain_wf.config import load_config


@click.command(epilog="Example: scichain-wf up --nodes 3 --chain /srv/project/chain")
@click.option(
    "--nodes",
    type=click.IntRange(1, limits.EMBEDDED_NODES_MAX),
    help="Agents that certify each other's records. Default: configured, or 1.",
)
@chain_option
@json_option
def command(*, nodes: int | None, chain: Path | None, as_json: bool) -> None:
    """Start a chain's storage node and agents on this host, until `scichain-wf down`.

    Runs do not need it: each starts a service of its own. With one that stays, several runs at a time commit to the
    same chain. Makes the chain if there is none. One that is up already is left as it is.
    """
    from scichain_wf.client import standing

    directory = wanted_chain(chain)
    keeper = standing.find(directory)
    already = keeper is not None and not keeper.error
    if keeper is None or keeper.error:
        config = load_config(Path.cwd(), flags={"nodes": nodes})
        keeper = standing.up(directory, config.nodes, config.metrics_dir, config.burst_buffer)
    if as_json:
        made = {"chain": str(directory), "trust_root": f"sha256:{keeper.trust_root}", "already": already}
        say_json(made | {"host": keeper.host, "pid": keeper.pid, "nodes": keeper.nodes})
        return
    agents = "1 agent" if keeper.nodes == 1 else f"{keeper.nodes} agents"
    say(f"{directory} {'is up already' if already else 'is up'}: {agents}, process {keeper.pid} on {keeper.host}")
    say_fields([("trust root", f"sha256:{keeper.trust_root}"), ("end with", f"scichain-wf down --chain {directory}")])
