"""What a node holds of the chain: links applied in order to its ledger, checked against storage's checkpoints.

Links may come in any order and twice, and without the block for who has it (it voted on it or made it). Where one is
missing, links are asked for again from the first that is (SciChain §3.1, "synchronise from the shared storage"). A
checkpoint must agree with the tree of the links that came, and a height has one link: a storage node that shows two
chains is noticed here. `VerificationError` always means that: storage broke the protocol, or this node has fallen
behind further than storage replays.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from scichain_wf import limits
from scichain_wf.consensus.messages import Sync
from scichain_wf.crypto.merkle import CompactRange
from scichain_wf.errors import DecodeError, UsageError, VerificationError
from scichain_wf.model import difficulty
from scichain_wf.model.checkpoint import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from scichain_wf.consensus.roster import Roster
    from scichain_wf.consensus.timing import Timing
    from scichain_wf.consensus.validator import NodeLedger
    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.crypto.signing import VerifyKey
    from scichain_wf.model.link import Link


class Replica:
    """The newest part of the chain on this node.

    Attributes:
        height: of the newest link applied; -1 before the first.
        head: its hash; None before the first.
        sync_at: when missing links are asked for again; None while nothing is missing.
    """

    def __init__(self, chain: bytes, ledger: NodeLedger, timing: Timing) -> None:
        self._chain, self._ledger, self._timing = chain, ledger, timing
        self._tree = CompactRange()
        self._early: dict[int, tuple[Link, ParsedBlock | None]] = {}
        self._linked: OrderedDict[bytes, None] = OrderedDict()
        self._anchors: dict[int, int] = {}
        self._welcomed = False
        self._pause_s = timing.backoff_s
        self._grown = False
        self.head: bytes | None = None
        self.height = -1
        self.sync_at: float | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no link is missing."""
        return not self._early and self.sync_at is None

    def begin(self, size: int, nodes: tuple[bytes, ...], anchors: tuple[tuple[int, int], ...]) -> None:
        """Storage admitted this node; see `events.Welcomed`. A node that has links goes on from them.

        Raises:
            VerificationError: links between its own and `size` will never come; or `nodes` are not that tree's.
        """
        self._welcomed = True
        if self.height >= 0:
            if size > self.height + 1:
                raise _too_far_behind(self.height, size)
            return
        try:
            self._tree = CompactRange(size, nodes)
        except UsageError as error:
            raise VerificationError(f"storage described a tree that cannot be: {error}") from None
        self.height = size - 1
        self._anchors = dict(anchors)
        self._early = {height: early for height, early in self._early.items() if height >= size}

    def take(self, link: Link, block: ParsedBlock | None) -> str:
        """Take in a link; returns why it is of no use, or "".

        Raises:
            VerificationError: another link was committed at its height; or this node has fallen too far behind.
        """
        if link.height <= self.height:
            known = self.head if link.height == self.height else self._ledger.link_hash(link.height)
            if known is not None and known != link.hash:
                raise VerificationError(f"storage sent two different links of height {link.height}")
            return "link replayed"
        if block is not None and block.block.id != link.block:
            return "not the link's block"
        following = link.height == self.height + 1
        if self._is_placed and link.height - self.height > limits.SYNC_LINKS_MAX:
            raise _too_far_behind(self.height, link.height + 1)
        early = self._early.get(link.height)
        if early is not None and (early[1] is not None or block is None):
            return "link replayed"
        if len(self._early) >= limits.EARLY_LINKS_MAX and not following:
            return "link too early"
        self._early[link.height] = link, block
        return ""

    def ready(self, body: Callable[[bytes], ParsedBlock | None]) -> tuple[Link, ParsedBlock] | None:
        """The next link with its block, if both are here. `body` finds blocks that this node has.

        Raises:
            VerificationError: it does not follow the link before it.
        """
        if self.height + 1 not in self._early:
            return None
        link, sent = self._early[self.height + 1]
        block = sent if sent is not None else body(link.block)
        if block is None:
            return None
        if (link.height == 0 and link.hash != self._chain) or self.head not in (None, link.previous):
            raise VerificationError(f"storage sent a link {link.height} that does not follow the one before it")
        return link, block

    def apply(self, link: Link, block: ParsedBlock) -> None:
        """Append what `ready` returned. Errors as of the ledger."""
        self._ledger.apply(link, block)
        del self._early[link.height]
        self.head, self.height = link.hash, link.height
        self._tree.append(self.head)
        self._grown = True
        self._linked[link.block] = None
        if len(self._linked) > limits.LINKED_BLOCKS_REMEMBERED_MAX:
            self._linked.popitem(last=False)
        if link.height % limits.RETARGET_LINKS == 0:
            oldest = link.height - limits.RETARGET_LINKS
            self._anchors = {height: time_us for height, time_us in self._anchors.items() if height >= oldest}
            self._anchors[link.height] = link.time_us

    def has_linked(self, block: bytes) -> bool:
        """Whether this block is known to be linked; of old ones nothing is known."""
        return block in self._linked

    def missing(self, now: float) -> Sync | None:
        """The request for what is missing, if it is time to send it."""
        if not self._early or not self._is_placed:
            self.sync_at = None
            return None
        if self._grown:  # the answer is coming
            self._grown = False
            self._pause_s = self._timing.backoff_s
            self.sync_at = None if self.sync_at is None else now + self._pause_s
        if self.sync_at is not None and now < self.sync_at:
            return None
        self.sync_at = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, self._timing.backoff_s_max)
        return Sync(self.height + 1)

    def difficulty(self, roster: Roster) -> int:
        """Of a block whose parent is the head.

        Raises:
            VerificationError: it follows from links of which storage did not say when they were appended.
        """
        settings, slots = roster.epoch.settings, roster.epoch.slots
        return difficulty.expected(settings.difficulty, settings.mining, slots, self.height, self._time_us)

    def _time_us(self, height: int) -> int:
        if height not in self._anchors:
            raise VerificationError(f"the time of link {height} is unknown, and the difficulty follows from it")
        return self._anchors[height]

    def check(self, text: bytes, storage: VerifyKey) -> str:
        """Hold a checkpoint of exactly the links that are here against them; returns why it is of no use, or "".

        Raises:
            VerificationError: storage signed another chain than the one it sent.
        """
        try:
            checkpoint = Checkpoint.parse(text)
        except DecodeError:
            return "malformed checkpoint"
        if checkpoint.chain != self._chain:
            return "wrong chain"
        if checkpoint.size != self._tree.size:
            return ""
        try:
            checkpoint.verify_storage(storage)
        except VerificationError:
            return "bad signature"
        if checkpoint.root != self._tree.root():
            raise VerificationError(
                f"storage signed another chain of {checkpoint.size} links than the one it sent: "
                "keep this log and the checkpoint, they prove it"
            )
        return ""

    @property
    def _is_placed(self) -> bool:
        """Whether it is known where the links for this node begin."""
        return self._welcomed or self.height >= 0


def _too_far_behind(height: int, size: int) -> VerificationError:
    return VerificationError(f"this node ends at link {height}, storage at {size - 1}: it has to boot anew")
