"""The named databases of a chain store and how their keys and values are spelled. Pure.

Integers are big endian, so that LMDB's byte order is numeric order. Every index is keyed by something that grows with
time (transaction key, height) or that neighbours share (URI), never by a bare hash: random inserts touch a page each.

    meta          b"format" -> b"1"; b"chain" -> chain id
    links         height u64                            -> link
    blocks        height u64                            -> block
    certificates  height u64                            -> certificate (none for mode `epoch`)
    tree          level u8, index u64                   -> hash of that completed subtree over link hashes (RFC 6962)
    transactions  key 16, id 32                         -> height u64, index u32 (duplicates are not indexed)
    artifacts     URI key, height u64, index u32, output u16 -> digest, or empty where there is none
    runs          run 16, height u64, index u32         -> kind (not for the zero run)
    proposals     proposer 32, sequence u64             -> height u64, block id 32
    epochs        epoch u64                             -> height u64
    subtrees      height u64                            -> root of every 16 transactions in turn, for a block with more

`subtrees` only saves time: a proof inside a block hashes 16 transactions instead of all of them. Nothing rests on it,
since who reads it holds the proof against the block's own root and does without where it does not fit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, cast

from scichain_wf.crypto.hashing import sha256

FORMAT: Final = 1
"""Version of this layout; a store with a higher one is refused."""
META_FORMAT: Final = b"format"
META_CHAIN: Final = b"chain"

META: Final = "meta"
LINKS: Final = "links"
BLOCKS: Final = "blocks"
CERTIFICATES: Final = "certificates"
TREE: Final = "tree"
TRANSACTIONS: Final = "transactions"
ARTIFACTS: Final = "artifacts"
RUNS: Final = "runs"
PROPOSALS: Final = "proposals"
EPOCHS: Final = "epochs"
SUBTREES: Final = "subtrees"
DATABASES: Final = (META, LINKS, BLOCKS, CERTIFICATES, TREE, TRANSACTIONS, ARTIFACTS, RUNS, PROPOSALS, EPOCHS, SUBTREES)

SPAN: Final = 16
"""Transactions below one hash of `subtrees`; a power of two."""
_URI_PLAIN_MAX: Final = 400
_URI_PREFIX: Final = 368

U64: Final = struct.Struct(">Q")
"""A height, an epoch."""
POSITION: Final = struct.Struct(">QI")
"""Height and index of a transaction."""
OUTPUT: Final = struct.Struct(">QIH")
"""Height, index and output number of an artifact version."""
PROPOSAL: Final = struct.Struct(">Q32s")
_NODE = struct.Struct(">BQ")

height_key: Final = cast("Callable[[int], bytes]", U64.pack)
position: Final = cast("Callable[[int, int], bytes]", POSITION.pack)
node_key: Final = cast("Callable[[int, int], bytes]", _NODE.pack)


def uri_key(uri: str | bytes) -> bytes:
    """Prefix of an artifact's versions; no URI's prefix continues into another's.

    LMDB keys have at most 511 bytes, so a long URI keeps its beginning (neighbours stay together) and a hash.
    """
    data = uri if isinstance(uri, bytes) else uri.encode("utf-8", "surrogatepass")  # a question may be any text
    if len(data) <= _URI_PLAIN_MAX:
        return b"s%b\0" % data
    return b"l" + data[:_URI_PREFIX] + sha256(data)


def successor(prefix: bytes) -> bytes:
    """The smallest byte string after everything that begins with `prefix`; empty where there is none."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes([head[-1] + 1]) if head else b""
