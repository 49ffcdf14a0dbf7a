"""How an agent's channel to the storage node begins: what it says of itself, and where the chain begins for it.

An agent says what it has of the chain before it is told anything: a storage node whose ledger went back in time is
noticed by that (SAFE-7; `consensus.rollback`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from scichain_wf import limits
from scichain_wf.consensus import rollback
from scichain_wf.crypto.hashing import DIGEST_BYTES
from scichain_wf.errors import DecodeError, PeerError
from scichain_wf.ledger.batch import full_subtrees
from scichain_wf.model import difficulty
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.node import wire
from scichain_wf.node.lookups import ChainLookup

if TYPE_CHECKING:
    from scichain_wf.consensus.events import Presented
    from scichain_wf.consensus.membership import Join
    from scichain_wf.crypto.signing import VerifyKey
    from scichain_wf.ledger.view import ChainView
    from scichain_wf.transport.link import Address


@dataclass(frozen=True, slots=True)
class Hello:
    """What an agent says first.

    Attributes:
        next: height of the first link that it lacks.
        head: its newest link's height and hash; None before the first.
        checkpoint: the newest it has; None where it has none.
    """

    join: Join
    address: Address
    next: int
    head: tuple[int, bytes] | None
    checkpoint: Checkpoint | None

    @classmethod
    def from_value(cls, value: dict[str, object]) -> Self:
        """From a HELLO message.

        Raises:
            PeerError: it is malformed.
        """
        head = checkpoint = None
        try:
            if "head" in value:
                head = wire.integer(value, "height"), wire.raw(value, "head", DIGEST_BYTES)
            if "checkpoint" in value:
                checkpoint = Checkpoint.parse(wire.text(value, "checkpoint", limits.HELLO_BYTES_MAX).encode())
        except (ValueError, DecodeError) as error:
            raise PeerError(f"an agent's hello is malformed: {error}") from None
        address, following = wire.address(value, "address"), wire.integer(value, "next")
        return cls(wire.join_from(value), address, following, head, checkpoint)


def presented(view: ChainView, hello: Hello, storage: VerifyKey) -> list[Presented]:
    """What the agent has, beside what this chain has there."""
    return rollback.presented(hello.join.slot, hello.head, hello.checkpoint, ChainLookup(view), storage)


def welcome(view: ChainView, start: int) -> dict[str, object]:
    """Where the chain begins for an agent that gets the links from height `start` on."""
    return {
        "size": start,
        "nodes": [view.tree_node(*node).hex() for node in full_subtrees(start)],
        "anchors": [[height, view.link(height).time_us] for height in difficulty.needed(start)],
    }
