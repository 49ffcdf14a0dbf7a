"""What can happen to the machines. Times are arguments of `step`, never part of an event."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias, cast

from scichain_wf.consensus import validity

if TYPE_CHECKING:
    from scichain_wf.consensus.messages import Answer
    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.model.canonical import JsonObject
    from scichain_wf.model.certificate import QuorumCertificate, Solution
    from scichain_wf.model.epoch import Epoch
    from scichain_wf.model.link import Link
    from scichain_wf.model.verdict import VerdictBatch, Vote


@dataclass(frozen=True)
class Item:
    """One transaction that waits to be committed. `source` is what its block's header will say."""

    id: bytes
    data: bytes
    parsed: JsonObject
    source: str = "outbox"

    @cached_property
    def needs(self) -> tuple[tuple[str, bytes, str], ...]:
        """(URI, digest, origin or "") of every input that states a content and is not declared unresolved."""
        if self.parsed["kind"] != "task":
            return ()
        body = cast("dict[str, list[dict[str, str]]]", self.parsed["body"])
        return tuple(
            (item["uri"], bytes.fromhex(item["digest"][7:]), item.get("origin", ""))
            for item in body["inputs"]
            if "digest" in item and not item.get("unresolved")
        )

    @cached_property
    def outputs(self) -> tuple[tuple[str, bytes | None], ...]:
        """(URI, digest or None) of every output."""
        return tuple(validity.outputs(self.parsed))


# --- at an agent ------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Submitted:
    """Transactions came out of the outbox or the spool; each passed the strict parser."""

    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Solved:
    """The puzzle of an own block is solved."""

    block: bytes
    nonce: int


@dataclass(frozen=True, slots=True)
class ProposalReceived:
    """The agent of `slot` (its channel says so) asks for a verdict."""

    slot: int
    block: ParsedBlock


@dataclass(frozen=True, slots=True)
class VerdictsReceived:
    """The agent of `slot` answers."""

    slot: int
    batch: VerdictBatch


@dataclass(frozen=True, slots=True)
class Linked:
    """The next link of the chain is durable and in this node's ledger."""

    link: Link
    block: ParsedBlock


@dataclass(frozen=True, slots=True)
class PastKnown:
    """This node's ledger can decide more than before: it was given a filter of the past."""


@dataclass(frozen=True, slots=True)
class Answered:
    """Storage did not append a block of this agent."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A channel to the agent of `slot` stands."""

    slot: int


@dataclass(frozen=True, slots=True)
class PeerDown:
    """It does not stand any more."""

    slot: int


@dataclass(frozen=True, slots=True)
class StorageUp:
    """A channel to storage stands."""


@dataclass(frozen=True, slots=True)
class StorageDown:
    """It does not stand any more."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A timer that was asked for went off (or any other time: ticks do no harm)."""


@dataclass(frozen=True, slots=True)
class ClockSet:
    """Wall clock minus `now`, in microseconds: only for the times that blocks claim."""

    offset_us: int


@dataclass(frozen=True, slots=True)
class Seal:
    """A flush: seal what is drafted, whatever its size."""


@dataclass(frozen=True, slots=True)
class Release:
    """Nothing that could resolve a held transaction is under way anywhere: propose what is held."""


AgentEvent: TypeAlias = (
    Submitted
    | Solved
    | ProposalReceived
    | VerdictsReceived
    | Linked
    | PastKnown
    | Answered
    | PeerUp
    | PeerDown
    | StorageUp
    | StorageDown
    | Tick
    | ClockSet
    | Seal
    | Release
)


# --- at the storage node ----------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Pushed:
    """The agent of `slot` brings a block with its certificate."""

    slot: int
    block: ParsedBlock
    certificate: QuorumCertificate


@dataclass(frozen=True, slots=True)
class Extended:
    """The agent of `slot` brings a block that got no quorum."""

    slot: int
    block: ParsedBlock
    solution: Solution | None
    votes: tuple[Vote, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class EpochInForce:
    """An epoch link is durable."""

    epoch: Epoch
