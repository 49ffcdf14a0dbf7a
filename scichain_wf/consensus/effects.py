"""What the machines want done. Effects are applied in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from scichain_wf.consensus.messages import Committed, Message


@dataclass(frozen=True, slots=True)
class Mine:
    """Find a nonce for an own block, off the event loop; answered by `Solved`."""

    block: bytes
    solver: bytes
    difficulty: int


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


AgentEffect: TypeAlias = Mine | SendPeer | SendStorage | SetTimer | Settled | GivenUp | Note


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
