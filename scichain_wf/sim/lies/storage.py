"""Lies to the storage node: certificates that are none, others' blocks spoilt, more than its share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from scichain_wf.consensus import messages
from scichain_wf.crypto.hashing import Domain, sha256
from scichain_wf.model.block import Block
from scichain_wf.model.certificate import QuorumCertificate
from scichain_wf.model.verdict import BatchHeader, Entry, Verdict
from scichain_wf.sim.lies.lie import Lie, Outgoing

if TYPE_CHECKING:
    from random import Random

    from scichain_wf.consensus.messages import Message
    from scichain_wf.crypto.signing import SigningKey
    from scichain_wf.model.verdict import Vote


_JUNK_BLOCKS: Final = 8
"""For each message of its own to storage."""
_JUNK_VOTES: Final = 64

class ForgeCertificates(Lie):
    """Pushes its blocks at once, with votes of others that it made up, or with too few of its own."""

    name = "push"

    def outgoing(self, to: int, message: Message) -> Outgoing:
        if isinstance(message, messages.Push):
            few = replace(message.certificate, votes=message.certificate.votes[:1])
            return [(to, messages.Push(message.block, few)), (to, message)]
        if isinstance(message, messages.Extend):
            votes = tuple(self._vote(slot, message) for slot in range(1, self.slots + 1))
            forged = QuorumCertificate(message.block.id, message.block.header.epoch, message.solution, votes)
            return [(to, messages.Push(message.block, forged)), (to, message)]
        return [(to, message)]

    def _vote(self, slot: int, message: messages.Extend) -> Vote:
        header = message.block.header
        height = max(0, header.parent_height)
        false = BatchHeader(header.chain, header.epoch, slot, 1, header.parent, height, 1, bytes(32))
        return self.batch(false, (Entry(message.block.id, Verdict.VALID),)).vote(0)


class Spoil(Lie):
    """Brings others' proposals to storage before they can: without votes or solution, or with a broken signature."""

    name = "spoil"

    def heard(self, message: Message) -> Outgoing:
        if not isinstance(message, messages.Propose):
            return []
        block = message.block
        if self.random.random() < 0.5:
            block = replace(block, signature=bytes(64))
        if self.random.random() < 0.3:
            return [(0, messages.Push(block, QuorumCertificate(block.id, block.header.epoch, None, ())))]
        return [(0, messages.Extend(block, None, (), "deadline"))]


class Flood(Lie):
    """Beside each block of its own many more, with votes of slots that may not even exist."""

    name = "flood"

    def __init__(self, slot: int, slots: int, key: SigningKey, random: Random) -> None:
        super().__init__(slot, slots, key, random)
        self._sequence = 1 << 40

    def outgoing(self, to: int, message: Message) -> Outgoing:
        if not isinstance(message, messages.Push | messages.Extend):
            return [(to, message)]
        return [*((0, self._junk(message.block)) for _ in range(_JUNK_BLOCKS)), (to, message)]

    def _junk(self, block: Block) -> Message:
        """What storage refuses only at the append, or appends as duplicates; or what it refuses at the door."""
        self._sequence += 1
        header, signature = replace(block.header, sequence=self._sequence), None
        match self.random.randrange(4):
            case 0:
                header = replace(header, parent=sha256(b"no link"))
            case 1:
                signature = bytes(64)
        data = header.encode()
        junk = Block(data, signature or self.key.sign(Domain.BLOCK, data), block.transactions)
        votes = tuple(self._vote(slot, junk) for slot in range(1, _JUNK_VOTES + 1))
        if self.random.random() < 0.3:
            return messages.Push(junk, QuorumCertificate(junk.id, header.epoch, None, votes))
        return messages.Extend(junk, None, votes, "deadline")

    def _vote(self, slot: int, block: Block) -> Vote:
        header = block.header
        false = BatchHeader(header.chain, header.epoch, slot, 1, header.parent, header.parent_height, 1, bytes(32))
        return self.batch(false, (Entry(block.id, Verdict.VALID),)).vote(0)
