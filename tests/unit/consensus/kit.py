"""Small makers that several test modules share."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from enum import Enum

from scichain_wf.consensus import effects
from scichain_wf.consensus.dissemination import Reach
from scichain_wf.consensus.roster import Roster
from scichain_wf.consensus.timing import Timing
from scichain_wf.crypto.hashing import Domain
from scichain_wf.model import certificate
from scichain_wf.model.block import Block
from scichain_wf.model.certificate import QuorumCertificate
from tests.builders import ChainBuilder


def roster_of(build: ChainBuilder) -> Roster:
    return Roster(build.epoch, build.chain)


def reach(build: ChainBuilder, *others: int, timing: Timing | None = None) -> Reach:
    """What slot 1 can reach in a full mesh."""
    made = Reach(1, timing or Timing())
    for slot in others:
        made.up(slot, 0.0)
    made.restated(roster_of(build))
    return made


def sent(given: tuple[effects.AgentEffect, ...], kind: type) -> list[tuple[int, object]]:
    """(slot, message) of every message of a kind that an agent sends its peers."""
    return [(e.slot, e.message) for e in given if isinstance(e, effects.SendPeer) and isinstance(e.message, kind)]


def signed(build: ChainBuilder, slot: int, **changes: object) -> Block:
    """A block of `slot` whose header says something else, signed as it is."""
    block = build.block(slot, [build.task("a")])
    header = replace(block.header, **changes).encode()  # type: ignore[arg-type]
    return Block(header, build.nodes[slot].sign(Domain.BLOCK, header), block.transactions)


def decode_quorum(build: ChainBuilder, block: Block) -> QuorumCertificate:
    """A quorum certificate of the block."""
    found = certificate.decode(build.quorum(block).certificate or b"")
    assert isinstance(found, QuorumCertificate)
    return found


def state_of(value: object, _above: tuple[int, ...] = ()) -> object:
    """Everything a machine remembers, as plain values that can be compared. Counters of what it dropped are not it."""
    if id(value) in _above:
        return "itself"
    above = (*_above, id(value))
    if isinstance(value, dict):
        return [(state_of(key, above), state_of(item, above)) for key, item in value.items()]
    if isinstance(value, (list, tuple, deque)):
        return [state_of(item, above) for item in value]
    if type(value).__module__.startswith(("scichain_wf.consensus", "tests.")) and not isinstance(value, Enum):
        names = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
        fields = {name: getattr(value, name) for name in names} | getattr(value, "__dict__", {})
        left_out = ("dropped", "_stepped", "_handlers", "_prepare", "_read_epoch", "_judge", "_halted")
        return [(name, state_of(item, above)) for name, item in sorted(fields.items()) if name not in left_out]
    return repr(value)
