"""The honest agent, to be changed: what every lie begins from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from scichain_wf.consensus import messages
from scichain_wf.crypto import puzzle
from scichain_wf.crypto.hashing import Domain, sha256
from scichain_wf.crypto.merkle import root
from scichain_wf.model.certificate import Solution
from scichain_wf.model.verdict import BatchHeader, Entry, Verdict, VerdictBatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from scichain_wf.consensus.events import Item
    from scichain_wf.consensus.messages import Message
    from scichain_wf.crypto.signing import SigningKey
    from scichain_wf.model.block import Block


Outgoing: TypeAlias = list[tuple[int, "Message"]]
"""(to whom, what); 0 is storage."""
Search: TypeAlias = "Callable[[bytes, bytes, int], int | None]"
"""See `crypto.puzzle.solve`."""

class Lie:
    """The honest agent, to be changed.

    Args:
        slot: the liar's.
        slots: how many there are.
        key: the only one it can sign with.
        random: its own stream.

    Attributes:
        search: how it finds solutions.
    """

    name: ClassVar[str]

    def __init__(self, slot: int, slots: int, key: SigningKey, random: Random) -> None:
        self.slot, self.slots, self.key, self.random = slot, slots, key, random
        self.search: Search = puzzle.solve

    def outgoing(self, to: int, message: Message) -> Outgoing:
        """What is sent for `message`."""
        return [(to, message)]

    def heard(self, message: Message) -> Outgoing:  # noqa: ARG002  most lies need not listen
        """What is sent because `message` came."""
        return []

    def submitted(self, items: tuple[Item, ...]) -> tuple[Item, ...]:
        """What goes into blocks for `items`."""
        return items

    def solved(self, block: Block) -> Solution | None:
        """The solution of a block of its own, at once; None where there is no puzzle."""
        mine, difficulty = self.key.public.fingerprint, block.header.difficulty
        nonce = self.search(block.id, mine, difficulty) if difficulty else None
        return None if nonce is None else Solution(mine, nonce)

    def batch(self, header: BatchHeader, entries: tuple[Entry, ...]) -> VerdictBatch:
        """A batch with other entries, signed with the liar's key."""
        top = root([entry.leaf() for entry in entries])
        changed = replace(header, count=len(entries), root=top)
        return VerdictBatch(changed, self.key.sign(Domain.VERDICT_BATCH, changed.encode()), entries)

    def verdicts(self, message: messages.Verdicts, verdict: Verdict) -> messages.Verdicts:
        """The same verdict on everything."""
        reasons = sha256(b"no reason") if verdict is Verdict.INVALID else None
        entries = tuple(Entry(entry.block, verdict, reasons) for entry in message.batch.entries)
        return messages.Verdicts(self.batch(message.batch.header, entries))
