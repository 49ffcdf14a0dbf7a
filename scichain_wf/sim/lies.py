"""What a liar sends instead of what an honest agent would: one class per lie.

A liar runs the honest core, since a liar that never gets anything right is easily ignored, and changes what comes out
of it. It can sign only with its own key.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from scichain_wf.consensus import messages
from scichain_wf.consensus.events import Item
from scichain_wf.crypto.hashing import Domain, sha256
from scichain_wf.crypto.merkle import leaf_hash, root
from scichain_wf.errors import DecodeError
from scichain_wf.model import canonical
from scichain_wf.model.block import Block
from scichain_wf.model.certificate import QuorumCertificate
from scichain_wf.model.text import digest_text
from scichain_wf.model.verdict import BatchHeader, Entry, Verdict, VerdictBatch

if TYPE_CHECKING:
    from random import Random

    from scichain_wf.consensus.messages import Message
    from scichain_wf.crypto.signing import SigningKey
    from scichain_wf.model.verdict import Vote

Outgoing: TypeAlias = list[tuple[int, "Message"]]
"""(to whom, what); 0 is storage."""


class Lie:
    """The honest agent, to be changed.

    Args:
        slot: the liar's.
        slots: how many there are.
        key: the only one it can sign with.
        random: its own stream.
    """

    name: ClassVar[str]

    def __init__(self, slot: int, slots: int, key: SigningKey, random: Random) -> None:
        self.slot, self.slots, self.key, self.random = slot, slots, key, random

    def outgoing(self, to: int, message: Message) -> Outgoing:
        """What is sent for `message`."""
        return [(to, message)]

    def heard(self, message: Message) -> Outgoing:  # noqa: ARG002  most lies need not listen
        """What is sent because `message` came."""
        return []

    def submitted(self, items: tuple[Item, ...]) -> tuple[Item, ...]:
        """What goes into blocks for `items`."""
        return items

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


class Withhold(Lie):
    """No verdict for anybody."""

    name = "withhold"

    def outgoing(self, to: int, message: Message) -> Outgoing:
        return [] if isinstance(message, messages.Verdicts) else [(to, message)]


class AllInvalid(Lie):
    """Everything is INVALID."""

    name = "invalid"

    def outgoing(self, to: int, message: Message) -> Outgoing:
        wrong = isinstance(message, messages.Verdicts)
        return [(to, self.verdicts(message, Verdict.INVALID) if wrong else message)]  # type: ignore[arg-type]


class AllValid(Lie):
    """Everything is VALID."""

    name = "valid"

    def outgoing(self, to: int, message: Message) -> Outgoing:
        wrong = isinstance(message, messages.Verdicts)
        return [(to, self.verdicts(message, Verdict.VALID) if wrong else message)]  # type: ignore[arg-type]


class Contradict(Lie):
    """VALID to one half, INVALID to the other."""

    name = "contradict"

    def outgoing(self, to: int, message: Message) -> Outgoing:
        if not isinstance(message, messages.Verdicts):
            return [(to, message)]
        return [(to, self.verdicts(message, Verdict.VALID if to % 2 else Verdict.INVALID))]


class ForgeDigests(Lie):
    """Its tasks say that they read contents which their inputs never had; and it calls everything VALID."""

    name = "forge"

    def submitted(self, items: tuple[Item, ...]) -> tuple[Item, ...]:
        return tuple(self._forged(item) for item in items)

    def _forged(self, item: Item) -> Item:
        if item.parsed["kind"] != "task" or self.random.random() < 0.3:
            return item
        value: dict[str, Any] = json.loads(item.data)
        for entry in value["body"]["inputs"]:
            if "digest" in entry:
                entry["digest"] = digest_text(sha256(self.random.randbytes(8)))
                entry.pop("origin", None)
        data = canonical.dumps(value)
        return replace(item, id=leaf_hash(data), data=data, parsed=value)

    def outgoing(self, to: int, message: Message) -> Outgoing:
        wrong = isinstance(message, messages.Verdicts)
        return [(to, self.verdicts(message, Verdict.VALID) if wrong else message)]  # type: ignore[arg-type]


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


LIES: Final[dict[str, type[Lie]]] = {
    lie.name: lie
    for lie in (
        Equivocate,
        Withhold,
        AllInvalid,
        AllValid,
        Contradict,
        ForgeDigests,
        Impersonate,
        Replay,
        ForgeCertificates,
        Spoil,
    )
}
