r"""SHA-256 with domain separation.

What is hashed or signed is `scichain-wf/1/<domain>\0<data>`. A domain holds no zero byte, so the prefix can be
read back in one way only: bytes that were hashed or signed as one kind of record can never be presented as
another kind. Merkle leaves and nodes have RFC 6962's own one-byte prefixes instead (see `merkle`); no tagged
input begins with 0x00 or 0x01.

It does not encode: callers bring canonical bytes.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import Final

DIGEST_BYTES: Final = 32
"""Length of a SHA-256 digest."""


class Domain(Enum):
    """What a hash or signature is about. The value is the name inside the prefix and never changes."""

    BLOCK = "block"
    VERDICT_BATCH = "verdict-batch"
    CERTIFICATE = "certificate"
    PUZZLE = "puzzle"
    STORAGE = "storage-certificate"
    DELEGATION = "delegation"
    JOIN_TOKEN = "join-token"  # noqa: S105  a domain's name, not a secret
    BINDING = "binding"
    MEMBERSHIP = "membership"
    KEY = "key"
    ANNOTATIONS = "annotations"
    REASONS = "reasons"
    MANIFEST = "manifest"

    def __init__(self, name: str) -> None:
        """Keep the prefix on the member: reading an attribute is cheaper than looking an Enum up in a dict."""
        self.prefix: bytes = b"scichain-wf/1/" + name.encode("ascii") + b"\0"


def sha256(data: bytes) -> bytes:
    """SHA-256 of `data` as 32 raw bytes, without a domain: for artifacts and for formats that have their own."""
    return hashlib.sha256(data).digest()


def tagged(domain: Domain, data: bytes) -> bytes:
    """The bytes that are hashed or signed for `data` in `domain`."""
    return domain.prefix + data


def digest(domain: Domain, data: bytes) -> bytes:
    """SHA-256 of `tagged(domain, data)` as 32 raw bytes."""
    return hashlib.sha256(domain.prefix + data).digest()
