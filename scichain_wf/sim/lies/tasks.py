"""Lies in what tasks read and made."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from scichain_wf.consensus import messages
from scichain_wf.consensus.events import Item
from scichain_wf.crypto.hashing import sha256
from scichain_wf.crypto.merkle import leaf_hash
from scichain_wf.model import canonical, facts
from scichain_wf.model.text import digest_text
from scichain_wf.model.verdict import Verdict
from scichain_wf.sim.lies.lie import Lie, Outgoing

if TYPE_CHECKING:
    from random import Random

    from scichain_wf.consensus.messages import Message
    from scichain_wf.crypto.signing import SigningKey


_CLAIMS: Final = 4
"""Files of others in each of its tasks."""

class ForgeDigests(Lie):
    """Its tasks say that they read contents which their inputs never had; and it calls everything VALID."""

    name = "forge"

    def submitted(self, items: tuple[Item, ...]) -> tuple[Item, ...]:
        return tuple(self._forged(item) for item in items)

    def _forged(self, item: Item) -> Item:
        if item.facts[3] != b"task" or self.random.random() < 0.3:
            return item
        value: dict[str, Any] = json.loads(item.data)
        for entry in value["body"]["inputs"]:
            if "digest" in entry:
                entry["digest"] = digest_text(sha256(self.random.randbytes(8)))
                entry.pop("origin", None)
        data = canonical.dumps(value)
        return replace(item, id=leaf_hash(data), data=data, facts=facts.of(value))

    def outgoing(self, to: int, message: Message) -> Outgoing:
        wrong = isinstance(message, messages.Verdicts)
        return [(to, self.verdicts(message, Verdict.VALID) if wrong else message)]  # type: ignore[arg-type]


class Claim(Lie):
    """Its tasks say that they made what others read and no task made: then others seem to read something else."""

    name = "claim"

    def __init__(self, slot: int, slots: int, key: SigningKey, random: Random) -> None:
        super().__init__(slot, slots, key, random)
        self._read: dict[str, None] = {}

    def heard(self, message: Message) -> Outgoing:
        if isinstance(message, messages.Propose):
            for data in message.block.transactions:
                inputs = json.loads(data)["body"].get("inputs", ())
                self._read |= dict.fromkeys(item["uri"] for item in inputs if item.get("origin") == "source")
        return []

    def submitted(self, items: tuple[Item, ...]) -> tuple[Item, ...]:
        return tuple(self._claiming(item) for item in items)

    def _claiming(self, item: Item) -> Item:
        if item.facts[3] != b"task" or not self._read:
            return item
        value: dict[str, Any] = json.loads(item.data)
        for uri in self.random.sample(sorted(self._read), min(_CLAIMS, len(self._read))):
            digest = digest_text(sha256(self.random.randbytes(8)))
            value["body"]["outputs"].append({"uri": uri, "role": "file", "state": "file", "digest": digest})
        data = canonical.dumps(value)
        return replace(item, id=leaf_hash(data), data=data, facts=facts.of(value))
