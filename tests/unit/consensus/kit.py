"""Small makers that several test modules share."""

from __future__ import annotations

from dataclasses import replace

from scichain_wf.consensus.roster import Roster
from scichain_wf.crypto.hashing import Domain
from scichain_wf.model import certificate
from scichain_wf.model.block import Block
from scichain_wf.model.certificate import QuorumCertificate
from tests.builders import ChainBuilder


def roster_of(build: ChainBuilder) -> Roster:
    return Roster(build.epoch, build.chain)


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
