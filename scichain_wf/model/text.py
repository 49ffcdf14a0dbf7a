"""Text forms of binary values in records: digests, 128-bit keys, public keys and signatures.

Inside the program a digest is 32 raw bytes; in JSON it is `sha256:<64 lower-case hex digits>`, so that a
reader sees what it is and a later algorithm has a place. The functions are inverse to each other and accept
exactly one spelling.
"""

from __future__ import annotations

import re
from typing import Final

from scichain_wf.errors import DecodeError

ZERO_DIGEST: Final = bytes(32)
"""Stands for "nothing before this": the chain id inside a genesis, the link before height 0."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PUBLIC_KEY = re.compile(r"ed25519:[0-9a-f]{64}")


def digest_text(digest: bytes) -> str:
    """`sha256:<hex>` of 32 raw bytes."""
    if len(digest) != 32:
        raise DecodeError(f"a digest has 32 bytes, not {len(digest)}")
    return "sha256:" + digest.hex()


def digest_bytes(text: str) -> bytes:
    """32 raw bytes of `sha256:<hex>`.

    Raises:
        DecodeError: not exactly that spelling.
    """
    if not _DIGEST.fullmatch(text):
        raise DecodeError(f"{text!r:.90} is not a digest of the form sha256:<64 hex digits>")
    return bytes.fromhex(text[7:])


def public_key_text(raw: bytes) -> str:
    """`ed25519:<hex>` of 32 raw bytes."""
    if len(raw) != 32:
        raise DecodeError(f"a public key has 32 bytes, not {len(raw)}")
    return "ed25519:" + raw.hex()


def public_key_bytes(text: str) -> bytes:
    """32 raw bytes of `ed25519:<hex>`.

    Raises:
        DecodeError: not exactly that spelling.
    """
    if not _PUBLIC_KEY.fullmatch(text):
        raise DecodeError(f"{text!r:.90} is not a public key of the form ed25519:<64 hex digits>")
    return bytes.fromhex(text[8:])


def hex_bytes(text: str, size_bytes: int) -> bytes:
    """Raw bytes of exactly `size_bytes` in lower-case hex (keys, signatures, proof nodes).

    Raises:
        DecodeError: another length, upper case, or not hex.
    """
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != size_bytes or raw.hex() != text:  # `fromhex` also takes upper case and white space
        raise DecodeError(f"{text!r:.90} is not {size_bytes} bytes in lower-case hex")
    return raw
