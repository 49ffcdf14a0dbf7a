"""Counts for the result, while a world runs."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from scichain_wf.consensus import messages
from scichain_wf.model.link import Mark, Mode
from scichain_wf.sim.result import Result

if TYPE_CHECKING:
    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.model.link import Link
    from scichain_wf.sim.kernel import Kernel
    from scichain_wf.sim.ledgers import History


class Tally:
    """What happened so far.

    Attributes:
        hashes: tried for puzzles.
        dropped: what cores of processes that ended had dropped, by reason.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._submitted_at: dict[bytes, float] = {}
        self._proposed_at: dict[bytes, float] = {}
        self._durable_s: dict[bytes, float] = {}
        self._certified_s: dict[bytes, float] = {}
        self._asked: set[bytes] = set()
        self.dropped: Counter[str] = Counter()
        self.hashes = 0.0
        self.malformed = self.crashes = self.restarts = self.halts = self.lost_nodes = self.parks = self.rejects = 0

    def submitted(self, ids: tuple[bytes, ...]) -> None:
        """Transactions are in an outbox."""
        for identity in ids:
            self._submitted_at.setdefault(identity, self._kernel.now)

    def proposed(self, block: bytes) -> None:
        """A block is sent to a peer."""
        self._proposed_at.setdefault(block, self._kernel.now)

    def durable(self, link: Link, block: ParsedBlock) -> None:
        """A link is on the disk."""
        now = self._kernel.now
        if link.mode is not Mode.EPOCH:
            self._certified_s.setdefault(link.block, now - self._proposed_at.get(link.block, now))
        for leaf in block.leaves:
            if leaf in self._submitted_at:
                self._durable_s.setdefault(leaf, now - self._submitted_at[leaf])

    def asked(self, message: messages.Message) -> None:
        """An agent asks something of storage."""
        if isinstance(message, messages.Push | messages.Extend):
            self.parks += message.block.id in self._asked
            self._asked.add(message.block.id)

    def answered(self, message: messages.Message) -> None:
        """Storage answers."""
        self.rejects += isinstance(message, messages.Answer) and message.answer == "refused"

    def ended(self, dropped: Counter[str]) -> None:
        """A process ends: what its core counted ends with it."""
        self.crashes += 1
        self.dropped.update(dropped)

    def result(self, history: History, size: int, dropped: Counter[str]) -> Result:
        """The counts so far, given the chain; nodes, messages and syncs are left open."""
        links = [link for link in history.links[:size] if link.mode is not Mode.EPOCH]
        poet = [json.loads(history.certificates[link.height] or b"{}") for link in links if link.mode is Mode.POET]
        modes = Counter(link.mode.value for link in links)
        marks = Counter(a.mark.value for link in links for a in link.annotations)
        dropped = dropped + Counter(malformed=self.malformed)
        return Result(
            seconds=self._kernel.last,
            events=self._kernel.events,
            submitted=len(self._submitted_at),
            committed=len(self._durable_s),
            blocks=len(links),
            epochs=size - len(links),
            modes=dict(sorted(modes.items())),
            reasons=dict(sorted(Counter(str(certificate["reason"]) for certificate in poet).items())),
            parks=self.parks,
            rejects=self.rejects,
            crashes=self.crashes,
            restarts=self.restarts,
            halts=self.halts,
            lost_nodes=self.lost_nodes,
            marks={mark.value: marks[mark.value] for mark in Mark},
            dropped=dict(sorted(dropped.items())),
            hashes=int(self.hashes),
            durable_s=list(self._durable_s.values()),
            certified_s=list(self._certified_s.values()),
            chain=history.hashes[size - 1].hex(),
        )
