"""Lies in blocks: two of one number, others' as its own, many, of other epochs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from scichain_wf import limits
from scichain_wf.consensus import messages
from scichain_wf.crypto.hashing import Domain
from scichain_wf.model import canonical
from scichain_wf.model.block import Block, transaction_root
from scichain_wf.sim.lies.lie import Lie, Outgoing

if TYPE_CHECKING:
    from random import Random

    from scichain_wf.consensus.messages import Message
    from scichain_wf.crypto.signing import SigningKey


_LATER: Final = 1_000_000
"""Sequence numbers from here on are none of the honest core's."""
_COPIES: Final = 2**40
"""Likewise, of copies."""
_NO_SIGNATURE: Final = bytes(64)

class Equivocate(Lie):
    """Two blocks of one sequence number: one to half of the slots, both to the others and to storage."""

    name = "equivocate"

    def outgoing(self, to: int, message: Message) -> Outgoing:
        if not isinstance(message, messages.Propose) or message.block.header.proposer != self.key.public.fingerprint:
            return [(to, message)]
        if to % 2 == 0:
            return [(to, message)]
        other = self._other(message.block)
        return [(to, messages.Propose(other)), (0, messages.Extend(other, None, (), "deadline")), (to, message)]

    def _other(self, block: Block) -> Block:
        header = replace(block.header, time_us=block.header.time_us + 1).encode()
        return Block(header, self.key.sign(Domain.BLOCK, header), block.transactions)


class Copy(Lie):
    """Takes what others propose into blocks of its own and has these appended at once, before theirs."""

    name = "copy"

    def heard(self, message: Message) -> Outgoing:
        if not isinstance(message, messages.Propose):
            return []
        mine = self.key.public.fingerprint
        if message.block.header.proposer == mine or self.random.random() < 0.3:
            return []
        sequence = _COPIES + self.random.getrandbits(32)
        header = replace(message.block.header, proposer=mine, sequence=sequence).encode()
        copy = Block(header, self.key.sign(Domain.BLOCK, header), message.block.transactions)
        return [(0, messages.Extend(copy, self.solved(copy), (), "deadline"))]


class MakeForget(Lie):
    """Asks one validator about a block, then about so many that it forgets the first, then about the first again."""

    name = "forget"

    def __init__(self, slot: int, slots: int, key: SigningKey, random: Random) -> None:
        super().__init__(slot, slots, key, random)
        self._asked: tuple[int, Block] | None = None
        self._is_done = False

    def outgoing(self, to: int, message: Message) -> Outgoing:
        if self._asked is not None or not isinstance(message, messages.Propose):
            return [(to, message)]
        self._asked = to, self._invented(message.block)
        return [(to, message), (to, messages.Propose(self._asked[1]))]

    def heard(self, message: Message) -> Outgoing:
        if self._asked is None or self._is_done or not isinstance(message, messages.Verdicts):
            return []
        to, block = self._asked
        if not message.batch.about(block.id):
            return []
        self._is_done = True
        later = range(_LATER + 1, _LATER + 1 + limits.SEQUENCES_REMEMBERED_MAX)
        blocks = [*(signed(self.key, block, sequence=number) for number in later), block]
        return [(to, messages.Propose(one)) for one in blocks]

    def _invented(self, block: Block) -> Block:
        """With a transaction that nobody commits."""
        value: dict[str, Any] = json.loads(block.transactions[0])
        value["key"] = value["key"][:12] + self.random.randbytes(10).hex()
        data = (canonical.dumps(value),)
        return signed(
            self.key, Block(block.header_bytes, b"", data), sequence=_LATER, count=1, root=transaction_root(data)
        )


class Ahead(Lie):
    """Beside the truth: blocks of epochs to come, some of which never will, and others' blocks, badly signed."""

    name = "ahead"

    def outgoing(self, to: int, message: Message) -> Outgoing:
        if not isinstance(message, messages.Propose) or message.block.header.proposer != self.key.public.fingerprint:
            return [(to, message)]
        epoch = message.block.header.epoch
        far = (epoch + 1, epoch + limits.EPOCHS_AHEAD_MAX, epoch + limits.EPOCHS_AHEAD_MAX + 1, limits.INTEGER_MAX)
        ahead = [(to, messages.Propose(signed(self.key, message.block, epoch=one))) for one in far]
        return [*ahead, (to, message)]

    def heard(self, message: Message) -> Outgoing:
        if not isinstance(message, messages.Propose) or message.block.signature == _NO_SIGNATURE:
            return []  # not another liar's, either: it would come back for ever
        false = messages.Propose(replace(message.block, signature=_NO_SIGNATURE))
        return [(slot, false) for slot in range(1, self.slots + 1) if slot != self.slot]


def signed(key: SigningKey, block: Block, **changed: bytes | int) -> Block:
    """The block with another header."""
    header = replace(block.header, **changed).encode()  # type: ignore[arg-type]
    return Block(header, key.sign(Domain.BLOCK, header), block.transactions)
