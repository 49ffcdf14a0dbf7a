"""`scichain-wf init`: a chain before its first run, for those who want to note its trust root beforehand."""

from __future__ import annotations

from pathlib import Path

import click

from scichain_wf.cli.locate import is_chain, json_option
from scichain_wf.cli.output import say, say_fields, say_json
from scichain_wf.config import CHAIN_NAME, load_config
from scichain_wf.errors import UsageError


@click.command(epilog="Example: scichain-wf init /srv/project/chain")
@click.argument("directory", type=click.Path(path_type=Path), required=False)
@click.option("--shared", is_flag=True, help="Let DIRECTORY's group read the chain, to verify it; keys stay private.")
@json_option
def command(*, directory: Path | None, shared: bool, as_json: bool) -> None:
    """Make a chain in DIRECTORY (default: configured, or .scichain here). A first run would do it too."""
    from scichain_wf.client import service
    from scichain_wf.client.trustroot import read_trust_root

    wanted = directory or load_config(Path.cwd()).chain or Path.cwd() / CHAIN_NAME
    if is_chain(wanted):
        raise UsageError(f"{wanted} is a chain already; nothing was changed")
    service.start(wanted).stop()
    if shared:
        from scichain_wf.ledger.layout import ChainLayout
        from scichain_wf.node.chain import share

        share(ChainLayout(wanted))
    root = f"sha256:{read_trust_root(wanted).hex()}"
    if as_json:
        say_json({"chain": str(wanted), "trust_root": root})
        return
    say(f"made a chain in {wanted}")
    say_fields([("trust root", root)])
    say("keep the trust root where nobody can change it, and pass it to `scichain-wf verify --trust-root`", indent=2)
