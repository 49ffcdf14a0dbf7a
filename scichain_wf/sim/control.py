"""What agents and storage tell each other beside the protocol: the frames of `node.wire`, without bytes.

`size_bytes` is about what the real frame has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scichain_wf.consensus.membership import Join


@dataclass(frozen=True, slots=True)
class Hello:
    """An agent has a channel to storage: who it is, what its newest link is, and the newest checkpoint it was sent."""

    join: Join
    height: int
    head: bytes | None
    checkpoint: bytes | None

    @property
    def size_bytes(self) -> int:
        """About."""
        return 800 + len(self.checkpoint or b"")


@dataclass(frozen=True, slots=True)
class Welcome:
    """Storage admits an agent; see `events.Welcomed`."""

    size: int
    nodes: tuple[bytes, ...]
    anchors: tuple[tuple[int, int], ...]

    @property
    def size_bytes(self) -> int:
        """About."""
        return 30 + 67 * len(self.nodes) + 30 * len(self.anchors)


@dataclass(frozen=True, slots=True)
class Query:
    """Which of these (key, id) are committed?"""

    asked: tuple[tuple[bytes, bytes], ...]

    @property
    def size_bytes(self) -> int:
        """As on the wire."""
        return 48 * len(self.asked)


@dataclass(frozen=True, slots=True)
class Known:
    """The answer, from durable state."""

    committed: tuple[tuple[bytes, bool], ...]

    @property
    def size_bytes(self) -> int:
        """As on the wire."""
        return len(self.committed)


@dataclass(frozen=True, slots=True)
class FilterWanted:
    """An agent that began late wants to know what was produced before its tail."""

    height: int

    @property
    def size_bytes(self) -> int:
        """About."""
        return 60


@dataclass(frozen=True, slots=True)
class Filter:
    """What was produced below `height`: an agent with a tail from there on can decide everything."""

    height: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Storage's signed tree head."""

    text: bytes

    @property
    def size_bytes(self) -> int:
        """As on the wire."""
        return len(self.text)
