"""The chain of a simulated world, kept once: storage and every node see as much of it as they hold.

A node's tail is a view: a height up to which it applied links, and a floor below which it holds nothing but the
filter. Since links only follow one another, what a node knows is a function of these two numbers; thousands of nodes
cost no more memory than one. Storage that went back to an older image may append other links: then there are two
histories, and each view keeps to the one whose links it applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scichain_wf import limits
from scichain_wf.consensus.validity import Known, versions
from scichain_wf.crypto import merkle
from scichain_wf.errors import InvariantViolation
from scichain_wf.model.link import Mark

if TYPE_CHECKING:
    from collections.abc import Callable

    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.model.link import Link

Version = tuple[int, bytes | None]
"""(height, digest)."""


class Index:
    """What blocks record, by the height of their link."""

    def __init__(self) -> None:
        self.versions: dict[str, list[Version]] = {}
        self._ids: dict[bytes, list[tuple[int, bytes]]] = {}
        self._proposals: dict[tuple[bytes, int], tuple[int, bytes]] = {}

    def take(self, link: Link, block: ParsedBlock) -> None:
        """Take in what the block of `link` records; duplicates count for nothing."""
        height, header = link.height, block.block.header
        self._proposals[header.proposer, header.sequence] = height, link.block
        duplicates = {a.index for a in link.annotations if a.mark is Mark.DUPLICATE}
        for index, ((_, key, _, _, _, outputs), leaf) in enumerate(zip(block.facts, block.leaves, strict=True)):
            if index not in duplicates:
                self._ids.setdefault(key, []).append((height, leaf))
                for uri, digest in versions(outputs):
                    self.versions.setdefault(uri, []).append((height, digest))

    def lookup(self, uri: str, digest: bytes, floor: int, height: int) -> Known:
        """What the links from `floor` to `height` say of this version."""
        known = Known.NEW
        for at, recorded in self.versions.get(uri, ()):
            if floor <= at <= height:
                if recorded == digest:
                    return Known.KNOWN
                known = Known.UNHASHED if recorded is None or known is Known.UNHASHED else Known.OTHER
        return known

    def under(self, key: bytes, floor: int, height: int) -> list[bytes]:
        """Ids of the transactions with this key in those links."""
        found = self._ids.get(key)
        return [] if found is None else [leaf for at, leaf in found if floor <= at <= height]

    def proposal(self, proposer: bytes, sequence: int, height: int) -> tuple[int, bytes] | None:
        """Height and block id of what a proposer committed under a sequence number, up to `height`."""
        found = self._proposals.get((proposer, sequence))
        return None if found is None or found[0] > height else found


class History(Index):
    """One chain: links, blocks and what they record. `certificates` are those that storage stored."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[Link] = []
        self.hashes: list[bytes] = []
        self.blocks: list[ParsedBlock] = []
        self.certificates: list[bytes | None] = []
        self._nodes: dict[tuple[int, int], bytes] = {}
        self._tree = merkle.CompactRange()

    def add(self, link: Link, block: ParsedBlock, certificate: bytes | None) -> None:
        """Append the next link."""
        if link.height != len(self.links):
            raise InvariantViolation(f"link {link.height} is to follow {len(self.links)} links")
        self.links.append(link)
        self.hashes.append(link.hash)
        self.blocks.append(block)
        self.certificates.append(certificate)
        self._nodes.update(((level, index), node) for level, index, node in self._tree.append(self.hashes[-1]))
        self.take(link, block)

    def copy(self, size: int) -> History:
        """The first `size` links, to be gone on with differently."""
        other = History()
        for height in range(size):
            other.add(self.links[height], self.blocks[height], self.certificates[height])
        return other

    def subtrees(self, size: int) -> tuple[bytes, ...]:
        """Roots of the perfect subtrees of the first `size` links' tree, largest first."""
        found, start = [], 0
        for level in range(size.bit_length() - 1, -1, -1):
            if size >> level & 1:
                found.append(self._nodes[level, start >> level])
                start += 1 << level
        return tuple(found)

    def filter_bytes(self, height: int) -> int:
        """Size of a filter of everything that was produced below `height`."""
        produced = sum(versions[0][0] < height for versions in self.versions.values())
        return produced * limits.FILTER_BITS_PER_KEY // 8

    def root(self, size: int) -> bytes:
        """Root of the first `size` links' tree."""
        return merkle.CompactRange(size, self.subtrees(size)).root()


class Histories:
    """Every history of one world; nearly always one."""

    def __init__(self) -> None:
        self.all = [History()]

    def extended(self, history: History, link: Link, block: ParsedBlock, certificate: bytes | None) -> History:
        """The history with this link after those of `history` below it: a new one where `history` has another."""
        known = history.links[link.height] if link.height < len(history.links) else None
        if known == link:
            if certificate is not None:
                history.certificates[link.height] = certificate  # a node knew the link before storage's disk did
            return history
        for other in self.all:
            if link.height < len(other.links) and other.links[link.height] == link:
                return other
        if known is not None:
            history = history.copy(link.height)
            self.all.append(history)
        history.add(link, block, certificate)
        return history


class NodeView:
    """`consensus.validator.NodeLedger`: a node's tail, as a part of a history.

    Args:
        histories: of the world.
        tail_links: how many links are held at most.
        applied: called with each link when it is applied.

    Attributes:
        height: of the newest link applied; `start` − 1 before the first.
        has_past: whether the filter holds what was produced before the first link that was sent.
    """

    def __init__(self, histories: Histories, tail_links: int, applied: Callable[[Link], None]) -> None:
        self._histories, self._history = histories, histories.all[0]
        self._tail_links, self._applied = tail_links, applied
        self._first: int | None = None
        self.height = -1
        self.has_past = False

    @property
    def floor(self) -> int:
        """Height of the oldest link held."""
        return max(self._first or 0, self.height - self._tail_links + 1)

    @property
    def needs_past(self) -> bool:
        """Whether a miss decides nothing, for want of the filter."""
        return bool(self._first) and not self.has_past

    def adopt(self, height: int) -> bool:
        """Take over a filter of everything produced below `height`; False if it does not reach the tail any more."""
        self.has_past = self._first is not None and height >= self.floor
        return self.has_past

    def apply(self, link: Link, block: ParsedBlock, /) -> None:
        """See `NodeLedger`."""
        if self._first is None:
            self._first = link.height
            self._history = self._of(link)
        self._history = self._histories.extended(self._history, link, block, None)
        self.height = link.height
        self._applied(link)

    def _of(self, link: Link) -> History:
        """The history that the first link belongs to, whose beginning this node never saw."""
        for history in self._histories.all:
            if link.height < len(history.links) and history.links[link.height] == link:
                return history
        return self._history

    def lookup(self, uri: str, digest: bytes, /) -> Known:
        """See `Lookup`."""
        if self._first is None:
            return Known.UNKNOWN
        floor = self.floor
        known = self._history.lookup(uri, digest, floor, self.height)
        if floor and known in (Known.NEW, Known.OTHER) and (not self._filter_covers or self._was_produced(uri, floor)):
            return Known.UNKNOWN  # a version that went may have had this digest
        return known

    @property
    def _filter_covers(self) -> bool:
        return self.has_past or not self._first

    def _was_produced(self, uri: str, floor: int) -> bool:
        versions = self._history.versions.get(uri)
        return versions is not None and versions[0][0] < floor

    def contains(self, key: bytes, transaction: bytes, /) -> bool:
        """See `Lookup`."""
        return transaction in self._history.under(key, self.floor, self.height)

    def clashes(self, key: bytes, transaction: bytes, /) -> bool:
        """See `Lookup`."""
        return any(leaf != transaction for leaf in self._history.under(key, self.floor, self.height))

    def link_hash(self, height: int, /) -> bytes | None:
        """See `NodeLedger`."""
        return self._history.hashes[height] if self._first is not None and self.floor <= height <= self.height else None


class ChainView:
    """`consensus.storage.WholeChain`: the links on storage's disk and, on top, what is appended and not synced.

    Args:
        history: what is on the disk, and perhaps more.
        size: how many links of it are.
    """

    def __init__(self, history: History, size: int) -> None:
        self._history, self._durable = history, size
        self._added = Index()
        self.added: list[tuple[Link, ParsedBlock, bytes | None]] = []

    @property
    def size(self) -> int:
        """How many links there are."""
        return self._durable + len(self.added)

    @property
    def head(self) -> bytes:
        """Hash of the newest link; zeros before the first."""
        return self.link_hash(self.size - 1) or bytes(32)

    def append(self, link: Link, block: ParsedBlock, certificate: bytes | None) -> None:
        """Append the next link, on top."""
        self.added.append((link, block, certificate))
        self._added.take(link, block)

    def lookup(self, uri: str, digest: bytes, /) -> Known:
        """See `Lookup`."""
        below = self._history.lookup(uri, digest, 0, self._durable - 1)
        if not self.added or below is Known.KNOWN:
            return below
        above = self._added.lookup(uri, digest, 0, self.size)
        for known in (Known.KNOWN, Known.UNHASHED, Known.OTHER):
            if known in (below, above):
                return known
        return Known.NEW

    def contains(self, key: bytes, transaction: bytes, /) -> bool:
        """See `Lookup`."""
        return transaction in self._under(key)

    def clashes(self, key: bytes, transaction: bytes, /) -> bool:
        """See `Lookup`."""
        return any(leaf != transaction for leaf in self._under(key))

    def link(self, height: int, /) -> Link:
        """See `WholeChain`."""
        return self._history.links[height] if height < self._durable else self.added[height - self._durable][0]

    def link_hash(self, height: int, /) -> bytes | None:
        """See `WholeChain`."""
        if not 0 <= height < self.size:
            return None
        return self._history.hashes[height] if height < self._durable else self.link(height).hash

    def link_time_us(self, height: int, /) -> int:
        """See `WholeChain`."""
        return self.link(height).time_us

    def head_height(self) -> int:
        """See `WholeChain`."""
        return self.size - 1

    def proposal(self, proposer: bytes, sequence: int, /) -> tuple[int, bytes] | None:
        """See `WholeChain`."""
        above = self._added.proposal(proposer, sequence, self.size)
        return above or self._history.proposal(proposer, sequence, self._durable - 1)

    def root(self, size: int, /) -> bytes | None:
        """See `consensus.rollback.DurableChain`."""
        return self._history.root(size) if size <= self._durable else None

    def recorder(self, uri: str, /) -> bytes | None:
        """See `WholeChain`."""
        for height, _ in self._history.versions.get(uri, ()):
            if height < self._durable:
                return self._history.blocks[height].block.header.proposer
        for height, _ in self._added.versions.get(uri, ()):
            return self.added[height - self._durable][1].block.header.proposer
        return None

    def _under(self, key: bytes) -> list[bytes]:
        return self._history.under(key, 0, self._durable - 1) + self._added.under(key, 0, self.size)
