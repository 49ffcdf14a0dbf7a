"""Ed25519 keys (RFC 8032 §5.1) over domain-separated messages; the primitive is `cryptography`'s (OpenSSL).

`sign` and `verify` work on `tagged(domain, data)`: a signature of one kind of record cannot serve as another.
The `_raw` forms sign a message as it is, and exist only for formats that carry their own separation (C2SP
signed notes).

What the library refuses, and tests hold it to: a signature of another length than 64 bytes, and one whose S is
not below the group order. So nobody can turn a valid signature into another valid one for the same message
without the key. What the library accepts and `VerifyKey.from_bytes` refuses: bytes that are no point of the
curve, a second spelling of a point (y >= 2^255 - 19: one key would have two fingerprints), and points of order
1, 2, 4 or 8, for which anybody can make a signature that holds for any message.

It does not make keys up: a key comes from a seed of the caller's (`scichain_wf.keystore` draws and stores it).
Signatures are deterministic. Private bytes are not wiped from memory: Python cannot.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from scichain_wf import limits
from scichain_wf.crypto.hashing import Domain, digest, tagged
from scichain_wf.errors import DecodeError, UsageError, VerificationError

SIGNATURE_BYTES: Final = 64
PUBLIC_KEY_BYTES: Final = 32
SEED_BYTES: Final = 32

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
"""The curve is -x² + y² = 1 + d·x²·y² modulo p (RFC 8032 §5.1)."""


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """A public key. Equal and hashed by its 32 bytes; make one with `from_bytes`, which checks them."""

    raw: bytes
    fingerprint: bytes = field(compare=False)
    """digest(Domain.KEY, raw), 32 bytes: what names the key in a record."""
    _key: Ed25519PublicKey = field(compare=False)

    @classmethod
    def from_bytes(cls, raw: bytes) -> VerifyKey:
        """The key with these 32 bytes; the same object for the same bytes while it is cached.

        Raises:
            DecodeError: another length, not a canonical point of the curve, or a point of small order.
        """
        return _verify_key(bytes(raw))

    def verify(self, domain: Domain, signature: bytes, data: bytes) -> None:
        """Check a signature of `sign(domain, data)`.

        Raises:
            VerificationError: it does not hold.
        """
        if not self.is_valid(domain, signature, data):
            raise VerificationError(
                f"{domain.value} signature by key {self.fingerprint.hex()} does not hold:"
                " the bytes were altered, or another key signed them"
            )

    def is_valid(self, domain: Domain, signature: bytes, data: bytes) -> bool:
        """Whether `signature` is this key's over `data` in `domain`. Any bytes may be given; none raise."""
        return self.is_valid_raw(signature, tagged(domain, data))

    def is_valid_raw(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` is this key's over `message` without a domain."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def __repr__(self) -> str:
        return f"VerifyKey({self.raw.hex()})"

    def __reduce__(self) -> tuple[object, tuple[bytes]]:
        """Copy and pickle by value: the library's object can do neither, and what is read back is checked again."""
        return VerifyKey.from_bytes, (self.raw,)


class SigningKey:
    """A private key. Neither shown by `repr` nor picklable, so that it does not end up in a log or on a wire."""

    __slots__ = ("_key", "_public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        """Wrap the library's key; use `from_seed`."""
        self._key = key
        self._public = VerifyKey.from_bytes(key.public_key().public_bytes_raw())

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """The key with this secret seed of 32 bytes (RFC 8032 §5.1.5).

        Raises:
            UsageError: another length.
        """
        if len(seed) != SEED_BYTES:
            raise UsageError(f"a signing key's seed has {SEED_BYTES} bytes, got {len(seed)}")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def public(self) -> VerifyKey:
        """The key that verifies what this one signs."""
        return self._public

    @property
    def seed(self) -> bytes:
        """The secret: for the key store only."""
        return self._key.private_bytes_raw()

    def sign(self, domain: Domain, data: bytes) -> bytes:
        """Signature of 64 bytes over `data` in `domain`."""
        return self._key.sign(tagged(domain, data))

    def sign_raw(self, message: bytes) -> bytes:
        """Signature of 64 bytes over `message` without a domain: only for formats that carry their own."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey(public={self._public.raw.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SigningKey is not copied or pickled: save it with scichain_wf.keystore")


# Two keys for each slot of a full epoch. Checking one costs more than verifying a signature, and every epoch of a
# chain names the same keys again.
@lru_cache(maxsize=2 * limits.SLOTS_MAX)
def _verify_key(raw: bytes) -> VerifyKey:
    if len(raw) != PUBLIC_KEY_BYTES:
        raise DecodeError(f"a public key has {PUBLIC_KEY_BYTES} bytes, got {len(raw)}")
    _check_point(raw)
    return VerifyKey(raw, digest(Domain.KEY, raw), Ed25519PublicKey.from_public_bytes(raw))


def _check_point(raw: bytes) -> None:
    """Refuse what is not the one spelling (RFC 8032 §5.1.2) of a point of large order.

    The key is public, so variable time is harmless. With x = 0 the sign bit would be a second spelling; those points
    have y = ±1 and are of small order.
    """
    y = int.from_bytes(raw, "little") & ~(1 << 255)
    yy = y * y % _P
    u, v = yy - 1, _D * yy + 1  # x² = u / v, and v is never 0, because -1/d is not a square
    if y >= _P or pow(u * v, (_P - 1) // 2, _P) == _P - 1:
        raise DecodeError(f"public key {raw.hex()} is not a point of Ed25519")
    # Order 1 and 2: y = ±1. Order 4: y = 0. Order 8: the double has y = 0, so x² = -y², so d·y⁴ + 2·y² = 1.
    if y * u * (_D * yy * yy + 2 * yy - 1) % _P == 0:
        raise DecodeError(f"public key {raw.hex()} is of small order: anybody could sign for it")
