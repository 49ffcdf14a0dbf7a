"""Small makers for tests of the storage node."""

from __future__ import annotations

from scichain_wf.consensus import effects, events, messages, storage
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.block import Block
from tests.unit.consensus.cluster import Cluster


def stepped(cluster: Cluster, *given: storage.StorageEvent) -> list[storage.StorageEffect]:
    """Effects of events at storage, which nobody carries out."""
    return [effect for event in given for effect in cluster.storage.step(event, cluster.now)]


def extended(block: Block, slot: int = 1) -> events.Extended:
    return events.Extended(slot, prepared(block), None, (), "deadline")


def answers(given: list[storage.StorageEffect]) -> list[tuple[int, str, str]]:
    """(slot, answer, reason) of every effect, all of which must be answers."""
    found = []
    for effect in given:
        assert isinstance(effect, effects.SendSlot)
        assert isinstance(effect.message, messages.Answer)
        found.append((effect.slot, effect.message.answer, effect.message.reason))
    return found
