"""What can happen to the machines. Times are arguments of `step`, never part of an event.

The driver parses what comes off the wire (`messages.decode`, then the strict parser for a block's transactions); what
does not parse never becomes an event. `slot` is always whose channel an event came over, as the channel itself says.
"""

from __future__ import annotations

from binascii import unhexlify
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from scichain_wf.consensus import validity

if TYPE_CHECKING:
    from scichain_wf.consensus.messages import Answer, Found, Puzzle
    from scichain_wf.consensus.roster import Roster
    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.model.certificate import QuorumCertificate, Solution
    from scichain_wf.model.facts import Facts
    from scichain_wf.model.link import Link
    from scichain_wf.model.verdict import VerdictBatch, Vote


@dataclass(frozen=True)
class Item:
    """One transaction that waits to be committed.

    Attributes:
        source: what its block's header will say.
        own: this machine made it by itself (evidence): nobody waits to hear what became of it.
    """

    id: bytes
    data: bytes
    facts: Facts
    source: str = "outbox"
    own: bool = False

    @property
    def key(self) -> bytes:
        """Its key, 16 bytes."""
        return self.facts[1]

    @cached_property
    def needs(self) -> tuple[tuple[str, bytes, bytes], ...]:
        """(URI, digest, origin as in `facts`) of every input that states a content and is not declared unresolved."""
        stated = [(uri, digest, origin) for uri, digest, origin, declared in self.facts[4] if not declared]
        return tuple((uri.decode(), unhexlify(digest), origin) for uri, digest, origin in stated)

    @cached_property
    def outputs(self) -> tuple[tuple[str, bytes | None], ...]:
        """(URI, digest or None) of every output."""
        return tuple(validity.versions(self.facts[5]))


# --- at an agent ------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Submitted:
    """Transactions came out of the outbox or the spool; each passed the strict parser."""

    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Solved:
    """The search that `effects.Mine` asked for, for a block of `slot`, has ended; nonce None: it was given up."""

    slot: int
    block: bytes
    nonce: int | None


@dataclass(frozen=True, slots=True)
class ProposalReceived:
    """A block whose proposer asks for a verdict. `slot` is who passed it on; its signature says who made it."""

    slot: int
    block: ParsedBlock


@dataclass(frozen=True, slots=True)
class VerdictsReceived:
    """The agent of `slot` answers."""

    slot: int
    batch: VerdictBatch


@dataclass(frozen=True, slots=True)
class PuzzleReceived:
    """The agent of `slot` asks for help with the puzzle of its block (mining = race)."""

    slot: int
    message: Puzzle


@dataclass(frozen=True, slots=True)
class SolutionReceived:
    """The agent of `slot` says that it solved the puzzle of one of this agent's blocks."""

    slot: int
    message: Found


@dataclass(frozen=True, slots=True)
class Welcomed:
    """Storage admitted this agent to the chain.

    Attributes:
        size: links follow from this height on.
        nodes: the full subtrees of the tree of the links before it, largest first.
        anchors: (height, link time in microseconds) of the newest retarget anchors below `size`.
    """

    size: int
    nodes: tuple[bytes, ...]
    anchors: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class CommittedReceived:
    """A durable link, as storage sent it: in any order, perhaps twice, without the block for who has it already."""

    link: Link
    block: ParsedBlock | None


@dataclass(frozen=True, slots=True)
class CheckpointReceived:
    """Storage's newest signed tree head (C2SP text)."""

    text: bytes


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
    """It does not stand any more, or could not be made when something was to be sent."""

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
    """Somebody waits: seal what is drafted, whatever its size."""


@dataclass(frozen=True, slots=True)
class Release:
    """Nothing that could resolve a held transaction is under way anywhere: propose what is held."""


AgentEvent: TypeAlias = (
    Submitted
    | Solved
    | ProposalReceived
    | VerdictsReceived
    | PuzzleReceived
    | SolutionReceived
    | Welcomed
    | CommittedReceived
    | CheckpointReceived
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

    roster: Roster


@dataclass(frozen=True, slots=True)
class SyncReceived:
    """The agent of `slot` lacks the links from height `next` on."""

    slot: int
    next: int


@dataclass(frozen=True, slots=True)
class Presented:
    """The agent of `slot` says that its newest link is `head` at `height`.

    Attributes:
        own: hash of storage's durable link at that height; None where there is none.
        proven: False where only that slot says so: a liar can say anything.
    """

    slot: int
    height: int
    head: bytes
    own: bytes | None
    proven: bool = True
