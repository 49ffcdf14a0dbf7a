"""`scichain-wf down`: ends what `scichain-wf up` started."""

from __future__ import annotations

from pathlib import Path

import click

from scichain_wf.cli.locate import chain_option, find_chain, json_option
from scichain_wf.cli.output import say, say_json


@click.command(epilog="Example: scichain-wf down --chain /srv/project/chain")
@chain_option
@json_option
def command(*, chain: Path | None, as_json: bool) -> None:
    """End the service that `scichain-wf up` started on this host, after everything is committed.

    While runs use it, it ends with the last of them instead.
    Exits with 0 if it ended well or there was none, 3 if something could not be committed.
    """
    from scichain_wf.client import service, standing

    directory = find_chain(chain)
    keeper = standing.down(directory)
    stays = service.is_there(directory)
    if as_json:
        say_json({"chain": str(directory), "was_up": keeper is not None, "in_use": stays})
    elif stays:
        say(f"{directory} is used by a run: its service ends with the last one")
    elif keeper is None:
        say(f"{directory} was not up")
    else:
        say(f"{directory} is down; everything is committed")
