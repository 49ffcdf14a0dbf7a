"""What became of a run, read from the chain: the figures of the closing line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scichain_wf.model import certificate
from scichain_wf.model.block import Header
from scichain_wf.model.bodies import Kind
from scichain_wf.model.epoch import Epoch
from scichain_wf.model.link import Mode
from scichain_wf.model.transaction import Transaction

if TYPE_CHECKING:
    from scichain_wf.ledger.view import ChainView


def of_run(view: ChainView, run: bytes) -> dict[str, object]:
    """Counts by mode, tasks, voters and head for one run, as JSON values."""
    modes = {"quorum": 0, "poet": 0, "spool": 0}
    tasks = 0
    heights: dict[int, str] = {}
    voters: set[tuple[int, int]] = set()
    for kind, height, _ in view.run(run):
        mode = heights.get(height)
        if mode is None:
            mode = heights[height] = _mode(view, height)
            voters |= _voters(view, height)
        modes[mode] += 1
        tasks += kind == Kind.TASK
    hosts: dict[int, Epoch] = {}
    names = set()
    for epoch, slot in voters:
        if epoch not in hosts:
            hosts[epoch] = Epoch.from_body(Transaction.decode(view.transaction((view.epoch_at(epoch), 0))).body)
        member = hosts[epoch].member_of(slot)
        names.add((slot, member.host if member is not None and member.host is not None else "unknown host"))
    return {
        "transactions": modes,
        "tasks": tasks,
        "voters": [f"slot {slot} ({host})" for slot, host in sorted(names)],
        "head_height": view.size - 1,
        "head": view.head_hash().hex(),
        "trust_root": view.chain_id.hex(),
    }


def _mode(view: ChainView, height: int) -> str:
    if Header.decode(view.frame(height).header).source == "spool":
        return "spool"
    return "quorum" if view.link(height).mode is Mode.QUORUM else "poet"


def _voters(view: ChainView, height: int) -> set[tuple[int, int]]:
    data = view.certificate_bytes(height)
    votes = certificate.decode(data).votes if data is not None else ()
    return {(vote.header.epoch, vote.header.slot) for vote in votes}
