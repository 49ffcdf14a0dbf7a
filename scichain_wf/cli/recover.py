"""`scichain-wf recover`: what a ledger that went back in time has lost, and going on from what is left."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from scichain_wf.cli.locate import chain_option, find_chain, json_option
from scichain_wf.cli.output import say, say_fields, say_json
from scichain_wf.errors import EXIT_INTEGRITY, EXIT_OK, UsageError
from scichain_wf.model.text import digest_text

if TYPE_CHECKING:
    from scichain_wf.model.transaction import Transaction
    from scichain_wf.node.recovery import Contradiction

_REMEDY: Final = (
    "put the newest copy of the chain back. If there is none: `scichain-wf recover --accept-fork` goes on from here, "
    "and the chain says for good that it did"
)


@click.command(epilog="Example: scichain-wf recover --chain /srv/project/chain --accept-fork")
@click.option("--accept-fork", is_flag=True, help="Give the lost links up, record that, and go on from this ledger.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@chain_option
@json_option
def command(*, accept_fork: bool, yes: bool, chain: Path | None, as_json: bool) -> int:
    """Show whether this ledger continues every checkpoint known here, and what is lost if not.

    With --accept-fork the storage node goes on from the ledger as it is. Each checkpoint that is given up becomes part
    of the chain, in a note; its file is moved aside. An audit names it from then on, and who kept such a checkpoint
    elsewhere is still told that this chain does not continue it.
    """
    from scichain_wf.ledger.layout import ChainLayout
    from scichain_wf.node import recovery

    layout = ChainLayout(find_chain(chain).absolute())
    found = recovery.contradictions(layout)
    notes: list[Transaction] = []
    if not as_json:
        _show(layout.root, found)
    if found and accept_fork:
        if not yes:
            _ask()
        from scichain_wf.hooks.join import user_name

        notes = recovery.accept(layout, found, user_name())
    if as_json:
        say_json({"chain": str(layout.root), "contradictions": [_json(c) for c in found], "accepted": bool(notes)})
    elif notes:
        say(f"accepted: the chain goes on, and says so in {', '.join(f'transaction {n.key.hex()}' for n in notes)}")
    elif found:
        say_fields([("remedy:", _REMEDY)])
    return EXIT_INTEGRITY if found and not notes else EXIT_OK


def _show(root: Path, found: list[Contradiction]) -> None:
    if not found:
        say(f"{root}: the ledger continues every checkpoint that is known here; there is nothing to recover")
    for contradiction in found:
        say(f"{root}: the ledger of {contradiction.links} links does not continue {contradiction.path}", "bad")
        covers = f"{contradiction.checkpoint.size} links, {digest_text(contradiction.checkpoint.root)}"
        say_fields([("covers", covers), ("lost", contradiction.lost)])


def _ask() -> None:
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here; nothing was changed: add --yes if the lost links are given up")
    click.confirm("Give up what is lost, for good?", abort=True, err=True)


def _json(found: Contradiction) -> dict[str, object]:
    note = found.checkpoint
    root = digest_text(note.root)
    return {"path": str(found.path), "size": note.size, "root": root, "links": found.links, "lost": found.lost}
