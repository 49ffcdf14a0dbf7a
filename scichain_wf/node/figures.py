"""What the storage node and an agent tell of themselves: figures for a scraper, and each slot's state for people."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scichain_wf import limits
from scichain_wf.errors import LedgerError
from scichain_wf.node.metrics import Histogram, Metric, Posted, counter, gauge, labelled, posted

if TYPE_CHECKING:
    from scichain_wf.consensus.agent import Agent
    from scichain_wf.consensus.storage import Storage
    from scichain_wf.ledger.layout import ChainLayout
    from scichain_wf.node.commits import Committer
    from scichain_wf.node.crew import Crew
    from scichain_wf.node.intake import Intake
    from scichain_wf.node.log import Log
    from scichain_wf.node.members import Members
    from scichain_wf.node.peers import Peers
    from scichain_wf.node.tail import Tail
    from scichain_wf.node.writers import Writer

SLOTS_FILE: Final = "slots"
"""In the chain's `run/`: state and host of every slot, as JSON."""


def slot_states(count: int, members: Members, crew: Crew) -> dict[int, tuple[str, str]]:
    """(state, host) of slots 1 to `count`, in words; the host is "" until it is known."""
    known = {member.slot: member for member in members.all}
    states = {}
    for slot in range(1, count + 1):
        member = known.get(slot)
        if slot in members.dismissed:
            state = f"dismissed: {members.dismissed[slot]}"
        elif member is None:
            state = "starting" if slot in crew.slots else "resting" if slot in crew.all_slots else "not here yet"
        elif member.has_left:
            state = "left"
        elif member.channel is None:
            state = "cut off"
        else:
            state = "voting" if member.is_welcome else "joining"
        states[slot] = state, "" if member is None else member.hello.join.host
    return states


class StorageFigures:
    """Everything that a storage node posts.

    Args:
        layout: the chain.
        directory: where its metrics go.
        chain: its id.
        writer: what it writes as; once another has taken over these files are that one's.
        slots: how many there are.
        core, committer, members, crew: its parts.
        log: its log.
    """

    def __init__(
        self,
        layout: ChainLayout,
        directory: Path,
        chain: bytes,
        writer: Writer,
        slots: int,
        parts: tuple[Storage, Committer, Members, Crew],
        log: Log,
    ) -> None:
        self._writer, self._slots = writer, slots
        self._core, self._committer, self._members, self._crew = parts
        self._posted = [
            Posted(layout.run_dir / SLOTS_FILE, self._states, limits.SLOTS_S, log),
            posted(directory, chain, "storage", lambda: self._metrics() if self._is_writer() else None, log),
        ]

    async def keep(self) -> None:
        """Until it is cancelled."""
        await asyncio.gather(*(one.keep() for one in self._posted))

    def remove(self) -> None:
        """The process ends."""
        for one in self._posted:
            one.remove()

    def _is_writer(self) -> bool:
        with suppress(LedgerError):  # it may have slept since it was asked last
            self._writer.check()
        return not self._writer.is_fenced

    def _states(self) -> str | None:
        if not self._is_writer():
            return None
        states = slot_states(self._slots, self._members, self._crew)
        return json.dumps([{"slot": slot, "state": state, "host": host} for slot, (state, host) in states.items()])

    def _metrics(self) -> Iterator[Metric]:
        core, committer = self._core, self._committer
        states = slot_states(self._slots, self._members, self._crew).values()
        by_state = Counter(state.partition(":")[0] for state, _ in states)
        yield gauge("links", "Links of the chain, or of what an agent knows of it", self._members.size)
        yield gauge("writer_epoch", "Writer epoch of the storage process", self._writer.number)
        yield counter("blocks_total", "Blocks appended since the start", "certificate", committer.blocks)
        yield counter(
            "transactions_committed_total",
            "Transactions appended since the start, repeated ones left out",
            "certificate",
            committer.transactions,
        )
        yield Metric(
            "commit_seconds",
            "histogram",
            "Time of a group commit: judging, appending, fsync",
            committer.seconds.samples(),
        )
        yield gauge("queue_blocks", "Blocks that wait for a group commit", len(core.queue))
        yield gauge("queue_bytes", "Their size", core.queue.size_bytes)
        yield Metric("slots", "gauge", "Slots by the state of their agents", labelled("state", by_state))
        credit = "Blocks appended since the start, by the slot that has the credit"
        yield counter("credit_total", credit, "slot", core.credit)
        yield counter("dropped_total", _DROPPED, "reason", core.dropped)


_DROPPED: Final = "Messages that changed nothing, by reason"


def agent_metrics(
    core: Agent, intake: Intake, peers: Peers, tail: Tail, latency: Histogram, has_storage: bool
) -> Iterator[Metric]:
    """An agent's figures."""
    links = core.height + 1
    yield gauge("links", "Links of the chain, or of what an agent knows of it", links)
    yield gauge("tail_links", "Links in the agent's ledger tail", links - tail.covers_from if links else 0)
    yield gauge("pending_transactions", "Transactions taken from outboxes and not committed", intake.pending)
    yield gauge("held_transactions", "Of these, what waits for the record of an input's producer", core.held)
    yield gauge("blocks_in_flight", "Own blocks between proposal and commit", core.in_flight)
    yield Metric(
        "block_latency_seconds", "histogram", "From the draft of an own block to its link", latency.samples()
    )
    yield gauge("peers_up", "Agents that this one has a channel to", len(peers.connected))
    yield gauge("storage_up", "Whether there is a channel to the storage node", int(has_storage))
    yield counter("dropped_total", _DROPPED, "reason", core.dropped)
