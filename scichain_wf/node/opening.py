"""What a run waits for: the chain is this process's to write, was found in order, and hooks can hand over records.

All of it happens before there is a secret, an event loop or another process, and with few imports. Agents that
certify what hooks handed over come after it; the workflow does not wait for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scichain_wf.client.outbox import outbox_directory
from scichain_wf.ledger.isolate import isolated
from scichain_wf.model.epoch import Settings
from scichain_wf.node import chain as chains
from scichain_wf.node import process, shm
from scichain_wf.node.launch import Launch

if TYPE_CHECKING:
    from pathlib import Path

    from scichain_wf.ledger.layout import ChainLayout
    from scichain_wf.node.writers import Writer


def opened(layout: ChainLayout, writer: Writer, nodes: int, slots: int) -> list[Path]:
    """Examine the chain, make it if there is none, make the outboxes of `nodes` agents, and say so.

    Args:
        layout: the chain; taken over by `writer`.
        writer: what this process holds.
        nodes: agents that it will start on this host.
        slots: agents in all.

    Returns:
        Outboxes that runs before this one left behind.

    Raises:
        LedgerError, LedgerCorrupt, VerificationError, ConfigError: of `chain.opened`, `chain.check_notes` and `Launch`.
        SubmissionError: an outbox cannot be made.
    """
    # In a child, which takes the keys that it has seen with it: this process is still to be forked.
    chain, notes = isolated(_examined, layout, writer.number, slots)
    # What lies about here is for an agent of this host: one of this node's, if it has any.
    if nodes:
        shm.try_out(chain)
    left = shm.leftovers(chain, ended=writer.in_place) if nodes else []
    outboxes = [outbox_directory(chain, slot) for slot in range(1, nodes + 1)]
    for outbox in outboxes:
        shm.make(outbox)
    spool = str(layout.spool_new.parent)
    said = {"chain": chain.hex(), "outboxes": [str(path) for path in outboxes], "spool": spool, "notes": notes}
    process.reply({"opened": said})
    return left


def _examined(layout: ChainLayout, writer: int, slots: int) -> tuple[bytes, list[str]]:
    """Chain id and notes for the user of a chain that a storage node can go on with."""
    with chains.opened(layout, writer, slots, Settings()) as store:
        doubts = chains.check_notes(store, layout) + chains.withdraw_false(store, layout)
        with store.view() as view:
            chain = view.chain_id
        Launch.of(layout, chain, chains.current_epoch(store), slots)
    return chain, doubts
