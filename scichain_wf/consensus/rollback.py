"""What an agent has of the chain, held against what storage has there: a chain that went back in time is noticed so.

The agent's newest checkpoint is proof, since storage itself signed it; its newest link is its word (SAFE-7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from scichain_wf.consensus.events import Presented
from scichain_wf.errors import VerificationError

if TYPE_CHECKING:
    from scichain_wf.crypto.signing import VerifyKey
    from scichain_wf.model.checkpoint import Checkpoint


class DurableChain(Protocol):
    """What is on storage's disk."""

    def link_hash(self, height: int, /) -> bytes | None:
        """Hash of the link at `height`, or None above the head."""

    def root(self, size: int, /) -> bytes | None:
        """Root of the tree over the first `size` links, or None where there are fewer."""


def presented(
    slot: int, head: tuple[int, bytes] | None, note: Checkpoint | None, chain: DurableChain, storage: VerifyKey
) -> list[Presented]:
    """What the agent of `slot` has, beside what the chain has there.

    Args:
        slot: the agent's.
        head: height and hash of its newest link.
        note: its newest checkpoint; one that storage did not sign, or of another chain, says nothing.
        chain: storage's own.
        storage: what storage signs with.
    """
    found = []
    if head is not None:
        found.append(Presented(slot, *head, chain.link_hash(head[0]), proven=False))
    if note is not None and note.size > 0 and note.chain == chain.link_hash(0) and _is_signed(note, storage):
        found.append(Presented(slot, note.size - 1, note.root, chain.root(note.size)))
    return found


def _is_signed(note: Checkpoint, storage: VerifyKey) -> bool:
    try:
        note.verify_storage(storage)
    except VerificationError:
        return False
    return True
