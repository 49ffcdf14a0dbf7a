"""What the machines want done. Effects are applied in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from scichain_wf.consensus.messages import Committed, Message


@dataclass(frozen=True, slots=True)
class Mine:
    """Find a nonce for a block of `slot` (the own, or in a race a peer's), off the event loop; answered by `Solved`.

    Own searches come first. One for a peer is given up after `attempts_max` nonces; None: never.
    """

    slot: int
    block: bytes
    solver: bytes
    difficulty: int
    attempts_max: int | None = None


@dataclass(frozen=True, slots=True)
class StopMining:
    """This search is of no use any more: end it, and no other for the same block, if it still goes on."""

    slot: int
    block: bytes


@dataclass(frozen=True, slots=True)
class SendPeer:
    """To the agent of `slot`. May be lost: the deadline covers it."""

    slot: int
    message: Message


@dataclass(frozen=True, slots=True)
class SendStorage:
    """To storage. May be lost only together with the channel, which is told."""

    message: Message


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Send a `Tick` at this time. It replaces the timer before it; None ends it."""

    at: float | None


@dataclass(frozen=True, slots=True)
class Settled:
    """These transactions are committed: whoever holds them may let go."""

    ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """These transactions were refused for good and stay where they are."""

    ids: tuple[bytes, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something an operator wants to read."""

    text: str


@dataclass(frozen=True, slots=True)
class Halt:
    """This process must stop: somebody it relies on broke the protocol. It sends nothing more."""

    reason: str


AgentEffect: TypeAlias = Mine | StopMining | SendPeer | SendStorage | SetTimer | Settled | GivenUp | Note | Halt


# --- at the storage node ----------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Replay:
    """Send that slot every durable link from height `next` on with its block, the newest SYNC_LINKS_MAX at most."""

    slot: int
    next: int


@dataclass(frozen=True, slots=True)
class SendSlot:
    """From storage to the agent of `slot`."""

    slot: int
    message: Message


@dataclass(frozen=True, slots=True)
class Announce:
    """From storage to every agent; those in `holders` have the block's body already."""

    message: Committed
    holders: frozenset[int]
