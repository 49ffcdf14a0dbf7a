"""What observers of a simulated world are told: facts, in the order in which they happen.

The world says each right after it happened and before anything else does. Endpoints are slots; 0 is storage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.model.link import Link
    from scichain_wf.model.verdict import VerdictBatch


@dataclass(frozen=True, slots=True)
class LinkDurable:
    """A link is on storage's disk, synced. `process` counts storage's starts: which of them wrote it."""

    link: Link
    block: ParsedBlock
    certificate: bytes | None
    process: int


@dataclass(frozen=True, slots=True)
class Sent:
    """An endpoint handed a message to the network."""

    frm: int
    to: int
    message: object


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message arrived at a living endpoint."""

    frm: int
    to: int
    message: object


@dataclass(frozen=True, slots=True)
class NodeApplied:
    """A node's ledger took a link."""

    slot: int
    link: Link


@dataclass(frozen=True, slots=True)
class Submitted:
    """A workflow's transactions are in the slot's outbox: acknowledged locally."""

    slot: int
    ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SettledAt:
    """The slot's outbox let go of transactions: they are said to be committed."""

    slot: int
    ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Voted:
    """An agent signed a verdict batch with `key` (32 bytes, public)."""

    slot: int
    key: bytes
    batch: VerdictBatch


@dataclass(frozen=True, slots=True)
class PresentedAt:
    """Storage's process learned that `slot` holds `head` at `height`; `proven`: a checkpoint of its own says so."""

    slot: int
    height: int
    head: bytes
    proven: bool
    process: int


@dataclass(frozen=True, slots=True)
class Crashed:
    """An endpoint's process ended; what it had in memory is gone."""

    endpoint: int


@dataclass(frozen=True, slots=True)
class Restarted:
    """An endpoint's process began again."""

    endpoint: int


@dataclass(frozen=True, slots=True)
class Halted:
    """An endpoint's core stopped itself."""

    endpoint: int
    reason: str


@dataclass(frozen=True, slots=True)
class NodeLost:
    """A node is gone for good with its outbox."""

    slot: int


@dataclass(frozen=True, slots=True)
class Restored:
    """Storage's disk was put back to an older image of `size` links."""

    size: int


@dataclass(frozen=True, slots=True)
class Disturbed:
    """A fault `what` that touches these endpoints began, or is over; no endpoints means all."""

    what: str
    endpoints: frozenset[int]
    over: bool


@dataclass(frozen=True, slots=True)
class EndOfRun:
    """Nothing more will happen."""


Observation: TypeAlias = (
    LinkDurable
    | Sent
    | Delivered
    | NodeApplied
    | Submitted
    | SettledAt
    | Voted
    | PresentedAt
    | Crashed
    | Restarted
    | Halted
    | NodeLost
    | Restored
    | Disturbed
    | EndOfRun
)


class Clock(Protocol):
    """What an observer may ask of the world."""

    @property
    def now(self) -> float:
        """Virtual seconds."""


class Observer(Protocol):
    """Told of everything."""

    def observe(self, world: Clock, what: Observation, /) -> None:
        """`what` just happened."""
