"""Frames: kind (u8), length (u32, big endian), payload. The length is held to the limit before anything is allocated.

Kind 0 is the heartbeat: empty, never handed on.
"""

from __future__ import annotations

import struct
from typing import Final

from scichain_wf import limits
from scichain_wf.errors import PeerError, UsageError

HEADER: Final = struct.Struct(">BI")
HEARTBEAT: Final = 0


def encoded(kind: int, payload: bytes) -> bytes:
    """A frame's bytes.

    Raises:
        UsageError: over the limit; the caller must not have made such a message.
    """
    if not 0 <= kind <= 255 or len(payload) > limits.FRAME_BYTES_MAX:
        raise UsageError(f"a frame of kind {kind} with {len(payload)} bytes cannot be sent")
    return HEADER.pack(kind, len(payload)) + payload


def checked(header: bytes, size_bytes_max: int) -> tuple[int, int]:
    """Kind and payload length of a frame's header.

    Raises:
        PeerError: the length is over the limit, or a heartbeat has a payload.
    """
    kind, length = HEADER.unpack(header)
    if length > size_bytes_max or (kind == HEARTBEAT and length):
        raise PeerError(f"frame of kind {kind} announces {length} bytes, allowed are {size_bytes_max}")
    return kind, length
