"""`scichain-wf status`: how the chain stands, who serves it, and what waits to be committed."""

from __future__ import annotations

from pathlib import Path

import click

from scichain_wf.cli.locate import chain_option, find_chain, json_option
from scichain_wf.cli.output import say, say_fields, say_json
from scichain_wf.config import load_config


@click.command(epilog="Example: scichain-wf status --chain /srv/project/chain")
@chain_option
@json_option
def command(*, chain: Path | None, as_json: bool) -> None:
    """Show how the chain stands, who serves it, and what waits to be committed. Verifies nothing."""
    from scichain_wf.cli.standing import look

    standing = look(find_chain(chain), load_config(Path.cwd()).burst_buffer)
    if as_json:
        say_json(standing.to_json())
        return
    say(f"chain {standing.chain}")
    say_fields(standing.fields())
