"""Merkle trees exactly as RFC 6962 §2.1 writes them down: recursive, slow, and sharing nothing with the library.

`mth`, `path`, `proof` and `subproof` are the RFC's functions of the same names over lists of leaf *data*.
`root_of_path` and `roots_of_proof` are PATH and PROOF read backwards; they answer None where a proof has another shape.
"""

from __future__ import annotations

from hashlib import sha256


def split(n: int) -> int:
    """The largest power of two smaller than n."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def mth(data: list[bytes]) -> bytes:
    """Merkle Tree Hash (§2.1)."""
    if not data:
        return sha256().digest()
    if len(data) == 1:
        return sha256(b"\x00" + data[0]).digest()
    k = split(len(data))
    return sha256(b"\x01" + mth(data[:k]) + mth(data[k:])).digest()


def path(m: int, data: list[bytes]) -> list[bytes]:
    """Audit path of leaf m (§2.1.1)."""
    if len(data) == 1:
        return []
    k = split(len(data))
    if m < k:
        return [*path(m, data[:k]), mth(data[k:])]
    return [*path(m - k, data[k:]), mth(data[:k])]


def proof(m: int, data: list[bytes]) -> list[bytes]:
    """Consistency proof from the first m leaves, 0 < m <= n (§2.1.2)."""
    return subproof(m, data, True)


def subproof(m: int, data: list[bytes], known: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b) (§2.1.2)."""
    if m == len(data):
        return [] if known else [mth(data)]
    k = split(len(data))
    if m <= k:
        return [*subproof(m, data[:k], known), mth(data[k:])]
    return [*subproof(m - k, data[k:], False), mth(data[:k])]


def root_of_path(m: int, n: int, leaf: bytes, nodes: list[bytes]) -> bytes | None:
    """The root to which a leaf hash and its audit path lead."""
    if not 0 <= m < n:
        return None
    if n == 1:
        return None if nodes else leaf
    if not nodes:
        return None
    k, last = split(n), nodes[-1]
    if m < k:
        left = root_of_path(m, k, leaf, nodes[:-1])
        return left and sha256(b"\x01" + left + last).digest()
    right = root_of_path(m - k, n - k, leaf, nodes[:-1])
    return right and sha256(b"\x01" + last + right).digest()


def roots_of_proof(m: int, n: int, old: bytes, nodes: list[bytes], known: bool = True) -> tuple[bytes, bytes] | None:
    """The old and the new root to which a consistency proof leads, 0 < m <= n."""
    if not 0 < m <= n:
        return None
    if m == n:
        if known:
            return None if nodes else (old, old)
        return (nodes[0], nodes[0]) if len(nodes) == 1 else None
    if not nodes:
        return None
    k, last = split(n), nodes[-1]
    if m <= k:
        below = roots_of_proof(m, k, old, nodes[:-1], known)
        return below and (below[0], sha256(b"\x01" + below[1] + last).digest())
    below = roots_of_proof(m - k, n - k, old, nodes[:-1], False)
    return below and (sha256(b"\x01" + last + below[0]).digest(), sha256(b"\x01" + last + below[1]).digest())
