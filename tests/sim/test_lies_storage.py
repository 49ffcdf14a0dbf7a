"""What liars tell storage is false in the way their names say, and storage lets nobody else suffer for it."""

from __future__ import annotations

import json
from random import Random

import pytest

from scichain_wf import limits
from scichain_wf.consensus import messages
from scichain_wf.crypto.hashing import Domain
from scichain_wf.sim import observe
from scichain_wf.sim.config import SimConfig
from scichain_wf.sim.lies import LIES
from scichain_wf.sim.lies.storage import Flood
from scichain_wf.sim.lies.tasks import Claim
from scichain_wf.sim.scenario import QUICK, Scenario, build
from scichain_wf.sim.world import World
from tests.sim.test_lies import SLOT, Truth
from tests.unit.consensus.cluster import item


def test_floods() -> None:
    """Blocks of one number each, all of the liar's own name, most well signed; votes of slots that there are not."""
    t = Truth()
    lie = Flood(SLOT, 3, t.builder.nodes[SLOT], Random(1))
    assert lie.outgoing(1, t.propose) == [(1, t.propose)]
    sent = [one for truth in (t.push, t.extend) * 5 for one in lie.outgoing(0, truth)]
    junk = [message for to, message in sent if to == 0 and message not in (t.push, t.extend)]
    blocks = [message.block for message in junk if isinstance(message, messages.Push | messages.Extend)]
    assert len(blocks) == len(junk) == len({block.header.sequence for block in blocks}) == len(sent) - 10
    assert {block.header.proposer for block in blocks} == {t.builder.nodes[SLOT].public.fingerprint}
    key = t.builder.nodes[SLOT].public
    assert {key.is_valid(Domain.BLOCK, block.signature, block.header_bytes) for block in blocks} == {True, False}
    assert {block.header.parent == t.block.header.parent for block in blocks} == {True, False}
    assert {type(message) for message in junk} == {messages.Push, messages.Extend}
    for message in junk:
        assert messages.decode(message.kind, message.encode()) == message
        votes = message.certificate.votes if isinstance(message, messages.Push) else message.votes  # type: ignore[union-attr]
        assert max(vote.header.slot for vote in votes) > 3


def test_claims() -> None:
    """It learns what others read as a source, and says that it made it; nothing else changes."""
    t = Truth()
    lie = Claim(SLOT, 3, t.builder.nodes[SLOT], Random(1))
    honest, note = item(t.task), item(t.builder.run_start())
    assert lie.submitted((honest,)) == (honest,)
    assert lie.heard(t.verdicts) == []
    assert lie.heard(t.propose) == []
    claimed, same = lie.submitted((honest, note))
    assert same == note
    assert claimed.needs == honest.needs
    *own, (uri, digest) = claimed.outputs
    assert tuple(own) == honest.outputs
    assert uri == json.loads(honest.data)["body"]["inputs"][0]["uri"]
    assert digest != honest.needs[0][1]
    assert claimed.id != honest.id


class Waits:
    """An observer of whom storage answered, by reason."""

    def __init__(self) -> None:
        self.seen: dict[str, set[int]] = {}

    def observe(self, _clock: observe.Clock, what: observe.Observation, /) -> None:
        if isinstance(what, observe.Sent) and isinstance(what.message, messages.Answer):
            self.seen.setdefault(what.message.reason, set()).add(what.to)


def world_with(lie: str, **config: object) -> tuple[Waits, World]:
    usual: dict[str, object] = {"nodes": 3, "seed": 5, "duration_s": 4.0, "drain_s": 12.0, "rate": 16.0}
    config = usual | {"difficulty": 0, "checkpoint_s": 1.0, "timing": QUICK, "sources": 1.0} | config
    world = build(Scenario(SimConfig(**config), lies=((3, lie),)))  # type: ignore[arg-type]
    waits = Waits()
    world.observers.append(waits)
    world.run()
    return waits, world


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both lies can be told, whether or not seeds tell them."""
    for lie in (Flood, Claim):
        monkeypatch.setitem(LIES, lie.name, lie)


def test_a_flood_hits_only_who_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spec: LIVE-1. With room for some twenty blocks."""
    monkeypatch.setattr(limits, "STORAGE_QUEUE_BYTES_MAX", 3 << 16)
    monkeypatch.setattr(limits, "STORAGE_SHARE_BYTES_MIN", 0)
    monkeypatch.setattr(limits, "APPEND_BATCH_BLOCKS_MAX", 4)
    waits, _ = world_with("flood", sync_s=0.05)
    assert waits.seen["storage is busy"] == {3}
    assert waits.seen["the block's signature does not hold"] == {3}


def test_claims_slow_down_nobody_who_is_honest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spec: LIVE-1. The liar may be, since it claims again what it claimed before; and who forges what it read is."""
    monkeypatch.setattr(limits, "CONTESTED_WINDOW", 20)
    slow = "too much of what this slot stated lately is contested"
    waits, world = world_with("claim")
    marks = [a for link in world.disk.history.links for a in link.annotations]
    assert len(marks) > 20
    assert waits.seen.get(slow, set()) <= {3}
    waits, _ = world_with("forge", fan_in=6)
    assert waits.seen[slow] == {3}
