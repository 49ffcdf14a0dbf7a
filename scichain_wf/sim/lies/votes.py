"""Lies in verdicts: none, all alike, one for each, not signed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scichain_wf.consensus import messages
from scichain_wf.model.verdict import Verdict
from scichain_wf.sim.lies.lie import Lie, Outgoing

if TYPE_CHECKING:

    from scichain_wf.consensus.messages import Message




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


class BadSignatures(Lie):
    """Half of its votes are not signed, or their signature is wrong in one bit."""

    name = "bad-signatures"

    def outgoing(self, to: int, message: Message) -> Outgoing:
        if not isinstance(message, messages.Verdicts) or self.random.random() < 0.5:
            return [(to, message)]
        signature = bytearray(message.batch.signature)
        signature[self.random.randrange(len(signature))] ^= 1 << self.random.randrange(8)
        forged = self.random.choice((bytes(64), bytes(signature)))
        return [(to, messages.Verdicts(replace(message.batch, signature=forged)))]
