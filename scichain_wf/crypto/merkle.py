"""Merkle trees of RFC 6962 §2.1, with the proof verification of RFC 9162 §2.1.3 and §2.1.4.

A leaf's hash is SHA-256(0x00 ‖ data), a node's SHA-256(0x01 ‖ left ‖ right); a tree of n > 1 leaves splits at the
largest power of two below n. Node (level, index) covers the leaves from index · 2^level up to, but not with,
(index + 1) · 2^level; it is *complete* once all of them exist, and never changes after that. A store keeps
complete nodes only: every root and every path, of this size or an older one, is made of O(log n) of them.

Invariants: `append` returns each complete node exactly once; every path has at most `limits.PROOF_NODES_MAX`
hashes; a verifier returns only when the recomputed root equals the given one, and reads nothing but its
arguments.

What it does not do: it takes leaf *hashes* of 32 bytes and does not rehash payloads. A root commits to its
leaves but not to their number, and trees of different size can share the shape of a path; so take size and root
from one signed statement (a block header, a checkpoint), never from two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from scichain_wf import limits
from scichain_wf.crypto.hashing import DIGEST_BYTES
from scichain_wf.errors import UsageError, VerificationError

Node: TypeAlias = tuple[int, int, bytes]
"""Level, index and hash of one complete node."""
NodeReader: TypeAlias = Callable[[int, int], bytes]
"""Hash of the complete node at (level, index); only ever asked for complete nodes."""

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""Root of the tree without leaves."""


def leaf_hash(data: bytes | memoryview) -> bytes:
    """Hash of a leaf that carries `data` (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def leaf_hashes(items: Iterable[bytes]) -> list[bytes]:
    """`leaf_hash` of many; a hash that has begun is cheaper copied than begun."""
    begun, found = hashlib.sha256(b"\x00").copy, []
    for data in items:
        leaf = begun()
        leaf.update(data)
        found.append(leaf.digest())
    return found


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of the node above `left` and `right`, 32 bytes each (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


# --- making roots -----------------------------------------------------------------------------------
def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """Root over leaf hashes of 32 bytes each.

    Goes level by level and carries an odd last node up unchanged, which is the RFC's recursion read from below.
    """
    if not leaf_hashes:
        return EMPTY_ROOT
    sha256 = hashlib.sha256
    level = list(leaf_hashes)
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)  # not strict: an odd last node has no partner
        above = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]


class CompactRange:
    """Append-only accumulator: the roots of the perfect subtrees that a tree of `size` leaves consists of.

    Holds O(log size) hashes, enough to append and to know the root. Only `append` changes it.
    """

    __slots__ = ("_nodes", "_size")

    def __init__(self, size: int = 0, nodes: Sequence[bytes] = ()) -> None:
        """Resume at `size` leaves from `nodes`, as the property of that name gave them.

        Raises:
            UsageError: `size` is out of bounds, or `nodes` are not one hash of 32 bytes for each bit set in `size`.
        """
        _require_size(size)
        if len(nodes) != size.bit_count():
            raise UsageError(f"a tree of {size} leaves has {size.bit_count()} perfect subtrees, got {len(nodes)}")
        for node in nodes:
            _require_hash(node)
        self._size = size
        self._nodes = list(nodes)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    @property
    def nodes(self) -> tuple[bytes, ...]:
        """Roots of the perfect subtrees, the largest (leftmost) first."""
        return tuple(self._nodes)

    def append(self, leaf_hash: bytes) -> list[Node]:
        """Add one leaf hash and return every node that it completed, from the leaf (level 0) upward.

        Raises:
            UsageError: `leaf_hash` is not 32 bytes; nothing was added.
        """
        _require_hash(leaf_hash)
        level, index, node = 0, self._size, leaf_hash
        completed = [(level, index, node)]
        while index & 1:  # the left sibling is complete: so is the parent
            node = node_hash(self._nodes.pop(), node)
            level, index = level + 1, index >> 1
            completed.append((level, index, node))
        self._nodes.append(node)
        self._size += 1
        return completed

    def root(self) -> bytes:
        """Root of the tree as it is now."""
        return _joined(self._nodes) if self._nodes else EMPTY_ROOT


def root_from(node: NodeReader, size: int) -> bytes:
    """Root of the tree's first `size` leaves, from its complete nodes.

    Raises:
        UsageError: `size` is out of bounds.
    """
    _require_size(size)
    return _range_root(node, 0, size) if size else EMPTY_ROOT


# --- making proofs ----------------------------------------------------------------------------------
def inclusion_path(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """PATH(index, leaves) of RFC 6962 §2.1.1: sibling hashes from the leaf to the root.

    Raises:
        UsageError: there is no leaf `index`.
    """
    return inclusion_path_from(_reader(leaf_hashes), index, len(leaf_hashes))


def inclusion_path_from(node: NodeReader, index: int, size: int) -> list[bytes]:
    """PATH(index, first `size` leaves) of RFC 6962 §2.1.1, from O(log size) complete nodes.

    Raises:
        UsageError: there is no leaf `index` in a tree of `size` leaves, or `size` is out of bounds.
    """
    _require_size(size)
    if not 0 <= index < size:
        raise UsageError(f"there is no leaf {index} in a tree of {size} leaves")
    path: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        split = _split(begin, end)
        if index < split:
            path.append(_range_root(node, split, end))
            end = split
        else:
            path.append(_range_root(node, begin, split))
            begin = split
    path.reverse()
    return path


def consistency_path(leaf_hashes: Sequence[bytes], old_size: int) -> list[bytes]:
    """PROOF(old_size, leaves) of RFC 6962 §2.1.2.

    Raises:
        UsageError: `old_size` is not between 0 and the number of leaves.
    """
    return consistency_path_from(_reader(leaf_hashes), old_size, len(leaf_hashes))


def consistency_path_from(node: NodeReader, old_size: int, new_size: int) -> list[bytes]:
    """PROOF(old_size, first `new_size` leaves) of RFC 6962 §2.1.2, from O(log new_size) complete nodes.

    Beyond the RFC, which leaves these cases out, it is empty for an empty old tree and for two equal sizes.

    Raises:
        UsageError: `old_size` is not between 0 and `new_size`, or `new_size` is out of bounds.
    """
    _require_size(new_size)
    if not 0 <= old_size <= new_size:
        raise UsageError(f"a tree of {new_size} leaves has no earlier state of {old_size} leaves")
    path: list[bytes] = []
    begin, end = 0, new_size
    while 0 < old_size < end:  # SUBPROOF, with the subtree as [begin, end)
        split = _split(begin, end)
        if old_size <= split:
            path.append(_range_root(node, split, end))
            end = split
        else:
            path.append(_range_root(node, begin, split))
            begin = split
    if begin:  # SUBPROOF's flag is false once it went right: the verifier cannot know this subtree's hash
        path.append(_range_root(node, begin, end))
    path.reverse()
    return path


# --- verifying proofs -------------------------------------------------------------------------------
def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf hash `leaf` is number `index` of the `size` leaves under `root` (RFC 9162 §2.1.3.2).

    `size` and `root` must come from one trusted statement (see the module's last paragraph).

    Raises:
        VerificationError: the proof does not hold, or is not a proof of this shape.
    """
    what = f"inclusion proof of leaf {index} in a tree of {size} leaves"
    if not 0 <= index < size <= limits.INTEGER_MAX:
        raise VerificationError(f"{what}: there is no such leaf")
    _check_hashes(what, path, leaf, root)
    number, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise VerificationError(f"{what} has too many hashes ({len(path)})")
        if number & 1 or number == last:
            found = node_hash(sibling, found)
            number, last = _skip_levels_without_sibling(number, last)
        else:
            found = node_hash(found, sibling)
        number, last = number >> 1, last >> 1
    if last:
        raise VerificationError(f"{what} has too few hashes ({len(path)})")
    if found != root:
        raise VerificationError(f"{what} leads to root {found.hex()}, not to {root.hex()}")


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """Check that the tree under `new_root` begins with the tree under `old_root` (RFC 9162 §2.1.4.2).

    Each size and root must come from one trusted statement. Every tree begins with the empty one, so nothing is
    learned about `new_root` when `old_size` is 0.

    Raises:
        VerificationError: the proof does not hold, or is not a proof of this shape.
    """
    what = f"consistency proof from {old_size} to {new_size} leaves"
    if not 0 <= old_size <= new_size <= limits.INTEGER_MAX:
        raise VerificationError(f"{what}: a tree does not shrink")
    _check_hashes(what, path, old_root, new_root)
    if old_size in {0, new_size}:
        expected = new_root if old_size else EMPTY_ROOT
        if path or old_root != expected or (new_size == 0 and new_root != EMPTY_ROOT):
            raise VerificationError(f"{what} does not hold: the roots differ, or hashes are left over")
        return
    # An old tree that is one perfect subtree is the first node of the new one: its hash is not sent.
    nodes = list(path) if old_size & (old_size - 1) else [old_root, *path]
    if not nodes:
        raise VerificationError(f"{what} has too few hashes (0)")
    number, last = old_size - 1, new_size - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    old_found = new_found = nodes[0]
    for sibling in nodes[1:]:
        if last == 0:
            raise VerificationError(f"{what} has too many hashes ({len(path)})")
        if number & 1 or number == last:
            old_found, new_found = node_hash(sibling, old_found), node_hash(sibling, new_found)
            number, last = _skip_levels_without_sibling(number, last)
        else:
            new_found = node_hash(new_found, sibling)
        number, last = number >> 1, last >> 1
    if last:
        raise VerificationError(f"{what} has too few hashes ({len(path)})")
    if old_found != old_root or new_found != new_root:
        which, found = ("old", old_found) if old_found != old_root else ("new", new_found)
        raise VerificationError(f"{what} leads to another {which} root: {found.hex()}")


# --- inside -----------------------------------------------------------------------------------------
def _split(begin: int, end: int) -> int:
    """Where the RFC divides the leaves [begin, end): after the largest power of two below their number."""
    return begin + (1 << ((end - begin - 1).bit_length() - 1))


def _range_root(node: NodeReader, begin: int, end: int) -> bytes:
    """Root over the leaves [begin, end), one of the RFC's subtrees, from its perfect parts."""
    parts: list[bytes] = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        parts.append(node(level, begin >> level))
        begin += 1 << level
    return _joined(parts)


def _joined(parts: Sequence[bytes]) -> bytes:
    """Root over perfect subtrees, the largest first; at least one."""
    found = parts[-1]
    for left in reversed(parts[:-1]):
        found = node_hash(left, found)
    return found


def _reader(leaf_hashes: Sequence[bytes]) -> NodeReader:
    """Complete nodes computed from the leaves: for trees that are small enough to have in memory."""

    def node(level: int, index: int) -> bytes:
        return root(leaf_hashes[index << level : (index + 1) << level])

    return node


def _skip_levels_without_sibling(number: int, last: int) -> tuple[int, int]:
    """Go up to the level at which the node just joined was a right child: the odd last node was carried up to it."""
    while number and not number & 1:
        number, last = number >> 1, last >> 1
    return number, last


def _require_size(size: int) -> None:
    if not 0 <= size <= limits.INTEGER_MAX:
        raise UsageError(f"a tree has between 0 and {limits.INTEGER_MAX} leaves, not {size}")


def _require_hash(value: bytes) -> None:
    if len(value) != DIGEST_BYTES:
        raise UsageError(f"a hash has {DIGEST_BYTES} bytes, got {len(value)}")


def _check_hashes(what: str, path: Sequence[bytes], *ends: bytes) -> None:
    """Bound the work, and keep `left ‖ right` readable in one way only, which needs hashes of exactly 32 bytes."""
    if len(path) > limits.PROOF_NODES_MAX:
        raise VerificationError(f"{what} has {len(path)} hashes, over the limit of {limits.PROOF_NODES_MAX}")
    if any(len(value) != DIGEST_BYTES for value in (*path, *ends)):
        raise VerificationError(f"{what} holds a hash that is not {DIGEST_BYTES} bytes long")
