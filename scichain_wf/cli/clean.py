"""`scichain-wf clean`: removes what processes that ended left in shared memory and in the chain's directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scichain_wf.cli.locate import chain_option, find_chain, json_option
from scichain_wf.cli.output import say, say_fields, say_json
from scichain_wf.config import load_config
from scichain_wf.errors import UsageError

if TYPE_CHECKING:
    from scichain_wf.node.leftovers import Contains


@click.command(epilog="Example: scichain-wf clean --dry-run")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@chain_option
@json_option
def command(*, dry_run: bool, chain: Path | None, as_json: bool) -> None:
    """Remove what dead processes of yours left in shared memory and in the chain's directory.

    An outbox is removed when no process holds it or may write to it, and every record in it is on the chain; the next
    run on its chain takes in what is not. A ledger tail is removed when its agents are gone. Of the ledgers that
    takeovers copied, the newest and the one before stay. What this host's burst buffer has of the chain goes when no
    record is in it. Whatever is kept is named with the reason.
    """
    from scichain_wf.ledger.layout import ChainLayout
    from scichain_wf.node import leftovers, pruning

    with _known(chain) as (directory, chains):
        verdicts = leftovers.clean(chains, dry_run=dry_run)
        if directory is not None:
            burst = load_config(Path.cwd()).burst_buffer
            if burst is not None:
                verdicts += leftovers.clean_burst(burst, next(iter(chains)), dry_run=dry_run)
            verdicts += pruning.prune(ChainLayout(directory), next(iter(chains)), dry_run=dry_run)
    if as_json:
        listed = [
            {
                "path": str(v.found.path),
                "kind": v.found.kind.value,
                "chain": v.found.chain,
                "size_bytes": v.found.size_bytes,
                "removed": v.removed and not dry_run,
                "removable": v.removed,
                "reason": v.reason,
            }
            for v in verdicts
        ]
        say_json({"dry_run": dry_run, "directories": listed})
        return
    removed = sum(verdict.removed for verdict in verdicts)
    for verdict in verdicts:
        word = "kept" if not verdict.removed else "would remove" if dry_run else "removed"
        say(f"{word} {verdict.found.kind.value} {verdict.found.path}")
        say_fields([("because", verdict.reason)])
    verb = "would be removed" if dry_run else "removed"
    say(f"{removed} {verb}, {len(verdicts) - removed} kept" if verdicts else "there is nothing to remove")


@contextmanager
def _known(chain: Path | None) -> Iterator[tuple[Path | None, dict[str, Contains]]]:
    """The chain that is named or found here, if any; one that is named must be there."""
    from scichain_wf.cli.reading import open_view

    with ExitStack() as opened:
        try:
            directory = find_chain(chain)
        except UsageError:
            if chain is not None:
                raise
            yield None, {}
            return
        view = opened.enter_context(open_view(directory))
        yield directory, {view.chain_id.hex()[:16]: view.contains}
