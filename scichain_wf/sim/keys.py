"""Keys of a simulated world: real public points, and signatures that cost a hash instead of a multiplication.

A cheap signature is SHA-512 over a secret and what is signed; it verifies through the registry of the world that made
the key. So nobody signs for another, a signature of one domain does not serve in another, and each byte counts: what
the protocol needs of a signature. With `real`, everything is Ed25519 as it is in `crypto`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache

from scichain_wf.crypto.hashing import Domain, sha256, tagged
from scichain_wf.crypto.signing import SigningKey, VerifyKey


@lru_cache(maxsize=4_096)
def _point(label: str) -> SigningKey:
    """A real key; the same for the same label in every world, since making one costs more than a small run's rest."""
    return SigningKey.from_seed(sha256(f"simulated key {label}".encode()))


class SimKeys:
    """The keys of one world.

    Attributes:
        signed, verified: how many signatures were made and checked; the processor model charges for them.
    """

    def __init__(self, *, real: bool) -> None:
        self.real = real
        self.signed = 0
        self.verified = 0
        self._secrets: dict[bytes, bytes] = {}
        self._verify_keys: dict[bytes, SimVerifyKey] = {}
        self._known: dict[tuple[bytes, bytes, bytes], bool] = {}

    def make(self, label: str) -> SimSigningKey:
        """The key of this name; the same key for the same name."""
        point = _point(label)
        self._secrets[point.public.raw] = sha256(f"simulated secret {label}".encode())
        return SimSigningKey(point, self.verify_key(point.public))

    def verify_key(self, key: VerifyKey) -> SimVerifyKey:
        """The same public key, verified the way of this world."""
        found = self._verify_keys.get(key.raw)
        if found is None:
            found = self._verify_keys[key.raw] = SimVerifyKey(key.raw, key.fingerprint, key, self)
        return found

    def is_valid(self, raw: bytes, domain: str, signature: bytes, data: bytes) -> bool:
        """Whether the key whose public bytes are `raw` made `signature` over `data` in the domain of that value."""
        return self.holds(VerifyKey.from_bytes(raw), signature, tagged(Domain(domain), data))

    def holds(self, key: VerifyKey, signature: bytes, message: bytes) -> bool:
        """Whether the signature is that key's over the message."""
        if not self.real:
            secret = self._secrets.get(key.raw)
            return secret is not None and signature == _cheap(secret, message)
        question = key.raw, signature, sha256(message)  # every validator asks the same about a block
        answer = self._known.get(question)
        if answer is None:
            answer = self._known[question] = key.is_valid_raw(signature, message)
        return answer

    def cheap(self, key: VerifyKey, message: bytes) -> bytes:
        """What the holder of `key` signs."""
        return _cheap(self._secrets[key.raw], message)


@dataclass(frozen=True, slots=True, repr=False)
class SimVerifyKey(VerifyKey):
    """A public key of a world."""

    _point: VerifyKey = field(compare=False)
    keys: SimKeys = field(compare=False)

    def __init__(self, raw: bytes, fingerprint: bytes, point: VerifyKey, keys: SimKeys) -> None:
        for name, value in (("raw", raw), ("fingerprint", fingerprint), ("_point", point), ("keys", keys)):
            object.__setattr__(self, name, value)

    def is_valid_raw(self, signature: bytes, message: bytes) -> bool:
        """See `VerifyKey`."""
        self.keys.verified += 1
        return self.keys.holds(self._point, signature, message)


class SimSigningKey(SigningKey):
    """A private key of a world."""

    __slots__ = ("_keys", "_point")

    def __init__(self, point: SigningKey, public: SimVerifyKey) -> None:
        self._point, self._public, self._keys = point, public, public.keys

    def sign(self, domain: Domain, data: bytes) -> bytes:
        """See `SigningKey`."""
        return self.sign_raw(tagged(domain, data))

    def sign_raw(self, message: bytes) -> bytes:
        """See `SigningKey`."""
        self._keys.signed += 1
        return self._point.sign_raw(message) if self._keys.real else self._keys.cheap(self._public, message)


def _cheap(secret: bytes, message: bytes) -> bytes:
    return hashlib.sha512(secret + message).digest()
