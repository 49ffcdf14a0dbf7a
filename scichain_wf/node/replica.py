"""What an agent holds of the chain: links applied in order to its tail, checked against storage's checkpoints.

A link comes without its block where this node has it already (it voted on it or made it). Where something is missing,
links are asked for again from the first one that is. A checkpoint must be signed by the storage key of the epoch in
force and agree with the tree of the links that came: a storage node that shows two chains is noticed here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from scichain_wf import limits
from scichain_wf.crypto.merkle import CompactRange
from scichain_wf.errors import PeerError, VerificationError
from scichain_wf.ledger.prepared import PreparedBlock, prepared
from scichain_wf.model.checkpoint import Checkpoint

if TYPE_CHECKING:
    from scichain_wf.consensus.messages import Committed
    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.crypto.signing import VerifyKey
    from scichain_wf.model.link import Link
    from scichain_wf.node.tail import Tail


class Replica:
    """The newest part of the chain on this node.

    Attributes:
        height: of the newest link applied; -1 before the first.
        is_behind: links are missing and were not asked for since they were found to be.
    """

    def __init__(self, chain: bytes, tail: Tail) -> None:
        self._chain = chain
        self._tail = tail
        self._tree = CompactRange()
        self._head: bytes | None = None
        self._foreign: OrderedDict[bytes, PreparedBlock] = OrderedDict()
        self._foreign_bytes = 0
        self.height = -1
        self.is_behind = False

    def begin(self, size: int, nodes: list[bytes]) -> None:
        """Links follow from height `size` on; `nodes` are the full subtrees of the tree before them."""
        if self.height < 0:
            self._tree = CompactRange(size, nodes)
            self.height = size - 1
        self.is_behind = False

    def remember(self, block: PreparedBlock) -> None:
        """Keep the body of a foreign proposal for a while: its link comes without it."""
        size_bytes = sum(map(len, block.block.transactions))
        if block.block.id in self._foreign or size_bytes > limits.REMEMBERED_BYTES_MAX // 4:
            return
        self._foreign[block.block.id] = block
        self._foreign_bytes += size_bytes
        while len(self._foreign) > limits.REMEMBERED_BLOCKS_MAX or self._foreign_bytes > limits.REMEMBERED_BYTES_MAX:
            self._forget(next(iter(self._foreign)))

    def take(
        self, committed: Committed, own: Callable[[bytes], ParsedBlock | None]
    ) -> tuple[Link, PreparedBlock] | None:
        """Apply a link; returns it with its block, or None if it is old or something before it is missing.

        Raises:
            PeerError: it does not follow the link before it.
            DecodeError: its block is malformed.
        """
        link = committed.link
        if link.height <= self.height:
            return None
        block = self._body(committed, own)
        if link.height != self.height + 1 or block is None:
            self.is_behind = True
            return None
        if self._head is not None and link.previous != self._head:
            raise PeerError(f"storage sent a link {link.height} that does not follow the one before it")
        self._tail.apply(link, block)
        self._head, self.height = link.hash, link.height
        self._tree.append(self._head)
        self._forget(link.block)
        return link, block

    def check(self, text: bytes, storage: VerifyKey) -> None:
        """Hold a checkpoint of exactly the links that are here against them; others are passed over.

        Raises:
            VerificationError: storage did not sign it, or signed another chain.
        """
        checkpoint = Checkpoint.parse(text)
        if checkpoint.size != self._tree.size:
            return
        checkpoint.verify_storage(storage)
        if checkpoint.chain != self._chain or checkpoint.root != self._tree.root():
            raise VerificationError(
                f"storage signed another chain of {checkpoint.size} links than the one it sent: "
                "keep this log and the checkpoint, they prove it"
            )

    def _body(self, committed: Committed, own: Callable[[bytes], ParsedBlock | None]) -> PreparedBlock | None:
        if committed.block is not None:
            return prepared(committed.block)
        made = own(committed.link.block)
        if made is not None:
            return prepared(made.block)
        return self._foreign.get(committed.link.block)

    def _forget(self, identity: bytes) -> None:
        block = self._foreign.pop(identity, None)
        if block is not None:
            self._foreign_bytes -= sum(map(len, block.block.transactions))
