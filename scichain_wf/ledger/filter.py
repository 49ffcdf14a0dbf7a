"""Which artifacts were ever produced: approximate, one-sided, small. What a ledger tail knows of the past it dropped.

Artifacts go by their index key (`keys.uri_key`), which a store can list without reading a block. `key in filter` is
false only if the key was never added; it is true for what was added and, about once in 2,000 times, for something
else. So "no" decides and "perhaps" does not.

A scalable Bloom filter (Almeida et al., 2007): layers of doubling capacity, each with one bit a key more than the one
before, so that the false positives of all layers together stay bounded however many keys come. The positions of a key
come from BLAKE2b keyed with a salt that each node draws for itself: nobody can prepare a URI that every node takes
for a known one, and the errors of two nodes are independent.

Growth is by adding a layer; nothing is ever removed, and keys are not counted twice. Filters of different salts cannot
be united (their keys are gone): who wants a node's filter over more of the chain builds it from the keys.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import Final, Self

from scichain_wf import limits
from scichain_wf.errors import DecodeError, UsageError

SALT_BYTES: Final = 16
_MAGIC: Final = b"scichain-wf-filter-v1\n"
_HEAD = struct.Struct(">16sBQ")  # salt, layers, keys in the newest layer
_HASHES = struct.Struct(">QQ")
_FIRST_KEYS: Final = 4_096
_FIRST_BITS: Final = limits.FILTER_BITS_PER_KEY + 2  # 1 in 5,700 in a full first layer; over all layers 1 in 2,180
_LAYERS_MAX: Final = 32
_SUM_BYTES: Final = 32


class _Layer:
    """One Bloom filter with room for `_FIRST_KEYS << number` keys."""

    __slots__ = ("bits", "capacity", "keys", "probes", "table")

    def __init__(self, number: int) -> None:
        bits_per_key = _FIRST_BITS + number
        self.capacity = _FIRST_KEYS << number
        self.bits = self.capacity * bits_per_key
        self.probes = round(bits_per_key * 0.693)  # ln 2: half of the bits are set when the layer is full
        self.keys = 0
        self.table = bytearray(self.bits // 8)

    def has(self, start: int, step: int) -> bool:
        """Whether all bits of a key are set."""
        table, bits = self.table, self.bits
        for probe in range(self.probes):
            at = (start + probe * step) % bits
            if not table[at >> 3] >> (at & 7) & 1:
                return False
        return True

    def add(self, start: int, step: int) -> None:
        """Set all bits of a key."""
        table, bits = self.table, self.bits
        for probe in range(self.probes):
            at = (start + probe * step) % bits
            table[at >> 3] |= 1 << (at & 7)
        self.keys += 1


class MembershipFilter:
    """A set of keys that only grows.

    Args:
        salt: 16 bytes of the node's own.
        members: what it holds from the start.
    """

    def __init__(self, salt: bytes, members: Iterable[bytes] = ()) -> None:
        if len(salt) != SALT_BYTES:
            raise UsageError(f"a filter's salt has {SALT_BYTES} bytes, not {len(salt)}")
        self.salt: Final = salt
        self._layers = [_Layer(0)]
        for key in members:
            self.add(key)

    def __contains__(self, key: bytes) -> bool:
        """False: certainly never added."""
        if not self._layers[0].keys:
            return False
        start, step = self._hashes(key)
        return any(layer.has(start, step) for layer in self._layers)

    def __len__(self) -> int:
        """How many different keys were added; a few less, where a new one was taken for an old one."""
        return sum(layer.keys for layer in self._layers)

    @property
    def size_bytes(self) -> int:
        """Memory of the tables."""
        return sum(len(layer.table) for layer in self._layers)

    def add(self, key: bytes) -> None:
        """Add a key; adds a layer where the newest is full.

        Raises:
            UsageError: 10^13 keys are in it.
        """
        start, step = self._hashes(key)
        if any(layer.has(start, step) for layer in self._layers):
            return
        newest = self._layers[-1]
        if newest.keys >= newest.capacity:
            if len(self._layers) >= _LAYERS_MAX:
                raise UsageError("the filter is full")
            newest = _Layer(len(self._layers))
            self._layers.append(newest)
        newest.add(start, step)

    def encode(self) -> bytes:
        """Bytes for a file or a message; ends with their SHA-256, against damage (not against a liar)."""
        head = _HEAD.pack(self.salt, len(self._layers), self._layers[-1].keys)
        data = b"".join((_MAGIC, head, *(layer.table for layer in self._layers)))
        return data + hashlib.sha256(data).digest()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Strict inverse of `encode`.

        Raises:
            DecodeError: damaged, or not a filter.
        """
        if not data.startswith(_MAGIC) or len(data) < len(_MAGIC) + _HEAD.size + _SUM_BYTES:
            raise DecodeError("not a membership filter of a version that this scichain-wf reads")
        if hashlib.sha256(data[:-_SUM_BYTES]).digest() != data[-_SUM_BYTES:]:
            raise DecodeError("membership filter: damaged")
        salt, count, newest_keys = _HEAD.unpack_from(data, len(_MAGIC))
        at = len(_MAGIC) + _HEAD.size
        sizes = [(_FIRST_KEYS << number) * (_FIRST_BITS + number) // 8 for number in range(min(count, _LAYERS_MAX))]
        if not 1 <= count <= _LAYERS_MAX or at + sum(sizes) + _SUM_BYTES != len(data):
            raise DecodeError("membership filter: its layers do not fit its size")
        loaded = cls(salt)
        loaded._layers = []
        for number, size in enumerate(sizes):
            layer = _Layer(number)
            layer.table[:] = data[at : at + size]
            layer.keys = layer.capacity if number < count - 1 else newest_keys
            loaded._layers.append(layer)
            at += size
        if newest_keys > loaded._layers[-1].capacity:
            raise DecodeError("membership filter: more keys than fit")
        return loaded

    def _hashes(self, key: bytes) -> tuple[int, int]:
        start, step = _HASHES.unpack(hashlib.blake2b(key, digest_size=16, key=self.salt).digest())
        return start, step | 1  # a step of 0 would set one bit only
