"""Lies in whose word a message is: others' names, other times, puzzles that are nobody's."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from scichain_wf.consensus import messages
from scichain_wf.crypto.hashing import Domain, sha256
from scichain_wf.errors import DecodeError
from scichain_wf.model.block import Block
from scichain_wf.sim.lies.lie import Lie, Outgoing

if TYPE_CHECKING:
    from random import Random

    from scichain_wf.consensus.messages import Message
    from scichain_wf.crypto.signing import SigningKey




class Impersonate(Lie):
    """Beside the truth: messages in others' names, of old epochs and other chains, and random bytes."""

    name = "impersonate"

    def outgoing(self, to: int, message: Message) -> Outgoing:
        false = (self._renamed, self._aged, self._moved, self._garbled)[self.random.randrange(4)](message)
        return [(to, message)] if false is None else [(to, false), (to, message)]

    def _renamed(self, message: Message) -> Message | None:
        other = self.random.randint(1, self.slots)
        if isinstance(message, messages.Verdicts):
            header = replace(message.batch.header, slot=other)
            return messages.Verdicts(self.batch(header, message.batch.entries))
        return self._block(message, proposer=sha256(bytes([other])))

    def _aged(self, message: Message) -> Message | None:
        if isinstance(message, messages.Verdicts):
            header = replace(message.batch.header, epoch=max(0, message.batch.header.epoch - 1))
            return messages.Verdicts(self.batch(header, message.batch.entries))
        return self._block(message, epoch=self.random.choice((0, 1_000)))

    def _moved(self, message: Message) -> Message | None:
        chain = sha256(b"another chain")
        if isinstance(message, messages.Verdicts):
            return messages.Verdicts(self.batch(replace(message.batch.header, chain=chain), message.batch.entries))
        return self._block(message, chain=chain)

    def _block(self, message: Message, **changed: bytes | int) -> Message | None:
        if not isinstance(message, messages.Propose | messages.Push | messages.Extend):
            return None
        header = replace(message.block.header, **changed).encode()  # type: ignore[arg-type]
        block = Block(header, self.key.sign(Domain.BLOCK, header), message.block.transactions)
        return replace(message, block=block)

    def _garbled(self, message: Message) -> Message | None:
        data = bytearray(message.encode())
        if data:
            data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
        try:
            return messages.decode(message.kind, bytes(data))
        except DecodeError:
            return None


class Replay(Lie):
    """Sends again, to anybody, what it sent before."""

    name = "replay"

    def __init__(self, slot: int, slots: int, key: SigningKey, random: Random) -> None:
        super().__init__(slot, slots, key, random)
        self._sent: deque[Message] = deque(maxlen=32)

    def outgoing(self, to: int, message: Message) -> Outgoing:
        self._sent.append(message)
        again = self.random.choice(tuple(self._sent))
        others = [slot for slot in range(1, self.slots + 1) if slot != self.slot]
        at_storage = isinstance(again, messages.Push | messages.Extend | messages.Sync)
        return [(to, message), (0 if at_storage else self.random.choice(others), again)]


class Puzzles(Lie):
    """Asks everybody for help with blocks that there are not, and with others' as if they were its own."""

    name = "puzzles"

    def __init__(self, slot: int, slots: int, key: SigningKey, random: Random) -> None:
        super().__init__(slot, slots, key, random)
        self._copied: set[bytes] = set()

    def outgoing(self, to: int, message: Message) -> Outgoing:
        if not isinstance(message, messages.Propose | messages.Verdicts):
            return [(to, message)]
        return [(to, messages.Puzzle(self.random.randbytes(32), self.random.randint(1, 2))), (to, message)]

    def heard(self, message: Message) -> Outgoing:
        if not isinstance(message, messages.Puzzle) or message.block in self._copied:
            return []
        self._copied.add(message.block)
        copy = replace(message, difficulty=self.random.randint(1, message.difficulty))
        return [(slot, copy) for slot in range(1, self.slots + 1) if slot != self.slot]
